//! Associations: `postern association …` and the tutorial's `assoc-role-am` and its kin.

use std::collections::{BTreeMap, HashMap};

use clap::{Args, Subcommand};
use postern_proto::pb;
use postern_proto::pb::association_service_client::AssociationServiceClient as Client;
use serde_json::{Value, json};
use uuid::Uuid;

use super::role;
use crate::failure::Failure;
use crate::flags::{Connection, OutputFlags, present};
use crate::session::{Administrator, Session};
use crate::{output, paging};

const MESSAGE: &str = "postern.v1.Association";

/// Associations: which tokens of an auth method have a role
#[derive(Debug, Subcommand)]
pub(crate) enum AssociationCommand {
    /// Give a role to an auth method's tokens
    Create(CreateArgs),
    /// Show an association
    Get(IdArgs),
    /// List associations
    List(ListArgs),
    /// Change which tokens have the role
    Update(UpdateArgs),
    /// Take the role away again
    Delete(IdArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The role's name
    #[arg(long, short = 'r', value_name = "NAME")]
    role_name: String,
    /// The auth method's name or access ID
    #[arg(long, short = 'a', value_name = "NAME")]
    am_name: String,
    #[command(flatten)]
    sub_claims: SubClaimFlags,
}

#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// The association's ID
    #[arg(long, short = 'a', value_name = "ID")]
    assoc_id: String,
    #[command(flatten)]
    sub_claims: SubClaimFlags,
    /// Empty a field: sub_claims
    #[arg(long, value_name = "FIELD", value_delimiter = ',')]
    clear: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct IdArgs {
    /// The association's ID
    #[arg(long, short = 'a', value_name = "ID")]
    assoc_id: String,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only of this auth method
    #[arg(long, short = 'a', value_name = "NAME")]
    am_name: Option<String>,
    /// Only with this role
    #[arg(long, short = 'r', value_name = "NAME")]
    role_name: Option<String>,
    /// At most so many [default: all]
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
}

/// Which of the tokens.
#[derive(Debug, Args)]
pub(crate) struct SubClaimFlags {
    /// What a token must say, such as namespace=a,b; several names must all hold, `*` and `?` are wildcards
    #[arg(long, short = 's', value_name = "NAME=VALUES")]
    sub_claims: Vec<String>,
    /// Whether upper and lower case differ [default: true]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    case_sensitive: Option<bool>,
}

impl SubClaimFlags {
    /// `namespace=a,b`; several pairs may stand in one flag, as in `namespace=a,pod_name=b`.
    fn claims(&self) -> Result<HashMap<String, pb::StringList>, Failure> {
        let mut claims: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for text in &self.sub_claims {
            let mut name = None;
            for part in present("--sub-claims", text)?.split(',') {
                let value = match part.split_once('=') {
                    Some((claim, value)) => {
                        name = Some(claim.trim().to_owned());
                        value
                    }
                    None => part,
                };
                let Some(name) = &name else {
                    return Err(Failure::usage(format!(
                        "--sub-claims: `{text}` isn't of the form name=value,value"
                    )));
                };
                let values = claims.entry(name.clone()).or_default();
                values.push(value.trim().to_owned());
            }
        }
        let list = |(name, values)| (name, pb::StringList { values });
        Ok(claims.into_iter().map(list).collect())
    }

    fn case_insensitive(&self) -> Option<bool> {
        self.case_sensitive.map(|sensitive| !sensitive)
    }
}

pub(crate) async fn run(
    command: &AssociationCommand,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    match command {
        AssociationCommand::Create(args) => create(args, connection, flags).await,
        AssociationCommand::Get(args) => get(args, connection, flags).await,
        AssociationCommand::List(args) => list(args, connection, flags).await,
        AssociationCommand::Update(args) => update(args, connection, flags).await,
        AssociationCommand::Delete(args) => delete(args, connection, flags).await,
    }
}

fn full_name(id: &str) -> Result<String, Failure> {
    let id = present("--assoc-id", id)?;
    let uid = id.trim_start_matches("associations/");
    match uid.parse::<Uuid>() {
        Ok(uid) => Ok(format!("associations/{uid}")),
        Err(_) => Err(Failure::usage(
            "--assoc-id: is no association's ID: `postern association list` shows them",
        )),
    }
}

fn method_name(flag: &str, name: &str) -> Result<String, Failure> {
    let name = present(flag, name)?;
    let name = name.trim_start_matches('/');
    Ok(match name.starts_with("authMethods/") {
        true => name.to_owned(),
        false => format!("authMethods/{name}"),
    })
}

/// With the bare ID at its top, as the other verbs take it.
pub(crate) fn document(association: &pb::Association) -> Result<Value, Failure> {
    let id = association.name.trim_start_matches("associations/");
    let rest = output::message(MESSAGE, association)?;
    Ok(output::with_first(&[("assoc_id", id)], rest))
}

pub(crate) async fn create(
    args: &CreateArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let request = pb::CreateAssociationRequest {
        association: Some(pb::Association {
            auth_method: method_name("--am-name", &args.am_name)?,
            role: role::full_name("--role-name", &args.role_name)?,
            sub_claims: args.sub_claims.claims()?,
            case_insensitive: args.sub_claims.case_insensitive(),
            ..pb::Association::default()
        }),
        validate_only: false,
    };
    let administrator = Session::open(connection)?.administrator().await?;
    let response = administrator
        .change(&request, |channel, request| async move {
            Client::new(channel).create_association(request).await
        })
        .await?;
    let document = document(&response.association.unwrap_or_default())?;
    let id = document["assoc_id"].as_str().unwrap_or_default();
    let text = format!(
        "Role {} associated with {}.\n- Association ID: {id}",
        args.role_name, args.am_name
    );
    output::print(flags.format(), &document, &text)
}

async fn read(administrator: &Administrator, name: String) -> Result<pb::Association, Failure> {
    let request = pb::GetAssociationRequest { name };
    let response = administrator
        .call(&request, |channel, request| async move {
            Client::new(channel).get_association(request).await
        })
        .await?;
    Ok(response.association.unwrap_or_default())
}

async fn get(args: &IdArgs, connection: &Connection, flags: &OutputFlags) -> Result<(), Failure> {
    let administrator = Session::open(connection)?.administrator().await?;
    let document = document(&read(&administrator, full_name(&args.assoc_id)?).await?)?;
    output::print(flags.format(), &document, &output::describe(&document))
}

/// Full names; empty: any.
pub(crate) async fn of(
    administrator: &Administrator,
    auth_method: String,
    role: String,
) -> Result<Vec<pb::Association>, Failure> {
    paging::collect(usize::MAX, async |page| {
        let request = pb::ListAssociationsRequest {
            page_size: page.size,
            page_token: page.token,
            auth_method: auth_method.clone(),
            role: role.clone(),
        };
        let response = administrator
            .call(&request, |channel, request| async move {
                Client::new(channel).list_associations(request).await
            })
            .await?;
        Ok((response.associations, response.next_page_token))
    })
    .await
}

async fn list(
    args: &ListArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let auth_method = match &args.am_name {
        None => String::new(),
        Some(name) => method_name("--am-name", name)?,
    };
    let role = match &args.role_name {
        None => String::new(),
        Some(name) => role::full_name("--role-name", name)?,
    };
    let administrator = Session::open(connection)?.administrator().await?;
    let mut all = of(&administrator, auth_method, role).await?;
    all.truncate(args.limit.unwrap_or(usize::MAX));
    let documents: Vec<Value> = all.iter().map(document).collect::<Result<_, _>>()?;
    let rows = all.iter().map(row).collect();
    let table = output::table(&["ID", "AUTH METHOD", "ROLE", "SUB-CLAIMS"], rows);
    output::print(
        flags.format(),
        &json!({ "associations": documents }),
        &table,
    )
}

fn row(association: &pb::Association) -> Vec<String> {
    vec![
        association
            .name
            .trim_start_matches("associations/")
            .to_owned(),
        association
            .auth_method
            .trim_start_matches("authMethods/")
            .to_owned(),
        association.role.trim_start_matches("roles/").to_owned(),
        claims_text(&association.sub_claims),
    ]
}

/// `namespace=a,b pod_name=c`, by name.
pub(crate) fn claims_text(claims: &HashMap<String, pb::StringList>) -> String {
    let sorted: BTreeMap<_, _> = claims.iter().collect();
    let texts: Vec<String> = sorted
        .into_iter()
        .map(|(name, list)| format!("{name}={}", list.values.join(",")))
        .collect();
    texts.join(" ")
}

pub(crate) async fn update(
    args: &UpdateArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let clear = match args.clear.as_slice() {
        [] => false,
        [field] if field == "sub_claims" => true,
        _ => return Err(Failure::usage("--clear: takes sub_claims and nothing else")),
    };
    let claims = args.sub_claims.claims()?;
    if clear && !claims.is_empty() {
        return Err(Failure::usage("--clear: contradicts --sub-claims"));
    }
    let administrator = Session::open(connection)?.administrator().await?;
    let mut association = read(&administrator, full_name(&args.assoc_id)?).await?;
    if clear || !claims.is_empty() {
        association.sub_claims = claims;
    }
    let insensitive = args.sub_claims.case_insensitive();
    association.case_insensitive = insensitive.or(association.case_insensitive);
    let request = pb::UpdateAssociationRequest {
        association: Some(association),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["*".to_owned()],
        }),
        validate_only: false,
    };
    let response = administrator
        .change(&request, |channel, request| async move {
            Client::new(channel).update_association(request).await
        })
        .await?;
    let document = document(&response.association.unwrap_or_default())?;
    let text = format!("Association {} updated.", args.assoc_id);
    output::print(flags.format(), &document, &text)
}

pub(crate) async fn delete(
    args: &IdArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let administrator = Session::open(connection)?.administrator().await?;
    let association = read(&administrator, full_name(&args.assoc_id)?).await?;
    let request = pb::DeleteAssociationRequest {
        name: association.name.clone(),
        etag: association.meta.map(|meta| meta.etag).unwrap_or_default(),
    };
    administrator
        .change(&request, |channel, request| async move {
            Client::new(channel).delete_association(request).await
        })
        .await?;
    let text = format!("Association {} deleted.", args.assoc_id);
    output::print(
        flags.format(),
        &json!({ "deleted": association.name }),
        &text,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(flags: &[&str]) -> Result<String, Failure> {
        let flags = SubClaimFlags {
            sub_claims: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            case_sensitive: None,
        };
        flags.claims().map(|claims| claims_text(&claims))
    }

    #[test]
    fn sub_claims_are_names_and_their_values() {
        assert_eq!(claims(&["namespace=a,b"]).unwrap(), "namespace=a,b");
        assert_eq!(
            claims(&["namespace=a,b,pod_name=web-*"]).unwrap(),
            "namespace=a,b pod_name=web-*"
        );
        assert_eq!(
            claims(&["namespace=a", "namespace=b"]).unwrap(),
            "namespace=a,b"
        );
        assert!(claims(&["a"]).is_err());
        assert!(claims(&[""]).is_err());
    }
}
