//! Roles: `postern role …` and the tutorial's `create-role`, `set-role-rule` and their kin.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use postern_proto::pb;
use postern_proto::pb::role_service_client::RoleServiceClient as Client;
use serde_json::{Value, json};

use crate::failure::{Exit, Failure};
use crate::flags::{Connection, OutputFlags, present};
use crate::session::{Administrator, Session};
use crate::{output, paging, values};

const MESSAGE: &str = "postern.v1.Role";

/// Roles: what a token may do, here and elsewhere
#[derive(Debug, Subcommand)]
pub(crate) enum RoleCommand {
    /// Create a role
    Create(CreateArgs),
    /// Show a role and who has it
    Get(NameArgs),
    /// List roles
    List(ListArgs),
    /// Change a role
    Update(UpdateArgs),
    /// Delete a role
    Delete(DeleteArgs),
    /// Set what a role may do at a path
    SetRule(SetRuleArgs),
    /// Remove what a role says of a path
    DeleteRule(DeleteRuleArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The role's name
    #[arg(long, short = 'n', value_name = "NAME")]
    name: String,
    /// For people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// What its holders may do here; `postern describe-permissions` lists them
    #[arg(long, value_name = "PERMISSION", value_delimiter = ',')]
    permission: Vec<String>,
    /// It can't be deleted while set
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    delete_protection: Option<bool>,
}

#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// The role's name
    #[arg(long, short = 'n', value_name = "NAME")]
    name: String,
    /// For people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// What its holders may do here, in place of what they might before
    #[arg(long, value_name = "PERMISSION", value_delimiter = ',')]
    permission: Vec<String>,
    /// It can't be deleted while set
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    delete_protection: Option<bool>,
    /// Empty a field: description, permission, rules
    #[arg(long, value_name = "FIELD", value_delimiter = ',')]
    clear: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    /// The role's name
    #[arg(long, short = 'n', value_name = "NAME")]
    name: String,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// At most so many [default: all]
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The role's name
    #[arg(long, short = 'n', value_name = "NAME")]
    name: String,
    /// Delete its associations too
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SetRuleArgs {
    /// The role's name
    #[arg(long, short = 'r', alias = "name", value_name = "NAME")]
    role_name: String,
    /// Where: `+` is one segment, `*` any run of characters, `{{namespace}}` the token's own
    #[arg(long, short = 'p', value_name = "PATH")]
    path: String,
    /// What: read, create, update, delete, list, or deny alone
    #[arg(
        long,
        short = 'c',
        value_name = "CAPABILITY",
        value_delimiter = ',',
        required = true
    )]
    capability: Vec<String>,
    /// How long it counts, in minutes or such as 24h [default: for good]
    #[arg(long, value_name = "MINUTES")]
    ttl: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteRuleArgs {
    /// The role's name
    #[arg(long, short = 'r', alias = "name", value_name = "NAME")]
    role_name: String,
    /// As it was set
    #[arg(long, short = 'p', value_name = "PATH")]
    path: String,
}

pub(crate) async fn run(
    command: &RoleCommand,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    match command {
        RoleCommand::Create(args) => create(args, connection, flags).await,
        RoleCommand::Get(args) => get(args, connection, flags).await,
        RoleCommand::List(args) => list(args, connection, flags).await,
        RoleCommand::Update(args) => update(args, connection, flags).await,
        RoleCommand::Delete(args) => delete(args, connection, flags).await,
        RoleCommand::SetRule(args) => set_rule(args, connection, flags).await,
        RoleCommand::DeleteRule(args) => delete_rule(args, connection, flags).await,
    }
}

/// The full name of a role, from what a flag says.
pub(crate) fn full_name(flag: &str, name: &str) -> Result<String, Failure> {
    let name = present(flag, name)?;
    let name = name.trim_start_matches('/');
    Ok(match name.starts_with("roles/") {
        true => name.to_owned(),
        false => format!("roles/{name}"),
    })
}

pub(crate) async fn create(
    args: &CreateArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let request = pb::CreateRoleRequest {
        role_id: present("--name", &args.name)?,
        role: Some(pb::Role {
            description: args.description.clone(),
            permissions: args.permission.clone(),
            delete_protection: args.delete_protection,
            ..pb::Role::default()
        }),
        validate_only: false,
    };
    let administrator = Session::open(connection)?.administrator().await?;
    let response = administrator
        .change(&request, |channel, request| async move {
            Client::new(channel).create_role(request).await
        })
        .await?;
    show(
        &response.role.unwrap_or_default(),
        &format!("Role {} created.", args.name),
        flags,
    )
}

fn show(role: &pb::Role, text: &str, flags: &OutputFlags) -> Result<(), Failure> {
    output::print(flags.format(), &output::message(MESSAGE, role)?, text)
}

/// By its full name.
pub(crate) async fn read(administrator: &Administrator, name: String) -> Result<pb::Role, Failure> {
    let request = pb::GetRoleRequest { name };
    let response = administrator
        .call(&request, |channel, request| async move {
            Client::new(channel).get_role(request).await
        })
        .await?;
    Ok(response.role.unwrap_or_default())
}

pub(crate) async fn get(
    args: &NameArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let administrator = Session::open(connection)?.administrator().await?;
    let role = read(&administrator, full_name("--name", &args.name)?).await?;
    let associations =
        super::association::of(&administrator, String::new(), role.name.clone()).await?;
    let mut document = output::message(MESSAGE, &role)?;
    if let Value::Object(map) = &mut document {
        let given = associations
            .iter()
            .map(super::association::document)
            .collect::<Result<Vec<_>, _>>()?;
        map.insert("associations".to_owned(), Value::Array(given));
    }
    output::print(flags.format(), &document, &output::describe(&document))
}

pub(crate) async fn list(
    args: &ListArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let administrator = Session::open(connection)?.administrator().await?;
    let all = paging::collect(args.limit.unwrap_or(usize::MAX), async |page| {
        let request = pb::ListRolesRequest {
            page_size: page.size,
            page_token: page.token,
        };
        let response = administrator
            .call(&request, |channel, request| async move {
                Client::new(channel).list_roles(request).await
            })
            .await?;
        Ok((response.roles, response.next_page_token))
    })
    .await?;
    let documents: Vec<Value> = all
        .iter()
        .map(|role| output::message(MESSAGE, role))
        .collect::<Result<_, _>>()?;
    let rows = all
        .iter()
        .map(|role| {
            vec![
                role.name.trim_start_matches("roles/").to_owned(),
                role.rules.len().to_string(),
                role.permissions.len().to_string(),
                role.description().to_owned(),
            ]
        })
        .collect();
    let table = output::table(&["NAME", "RULES", "PERMISSIONS", "DESCRIPTION"], rows);
    output::print(flags.format(), &json!({ "roles": documents }), &table)
}

pub(crate) async fn update(
    args: &UpdateArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let name = full_name("--name", &args.name)?;
    let edit = |role: &mut pb::Role| {
        if args.description.is_some() {
            role.description.clone_from(&args.description);
        }
        if !args.permission.is_empty() {
            role.permissions.clone_from(&args.permission);
        }
        role.delete_protection = args.delete_protection.or(role.delete_protection);
        for field in &args.clear {
            match field.as_str() {
                "description" => role.description = None,
                "permission" => role.permissions.clear(),
                "rules" => role.rules.clear(),
                _ => {
                    return Err(Failure::usage(format!(
                        "--clear: `{field}` is none of description, permission, rules"
                    )));
                }
            }
        }
        Ok(())
    };
    let text = format!("Role {} updated.", args.name);
    change(name, edit, &text, connection, flags).await
}

/// Reads, edits, and writes back what nobody else has changed meanwhile.
async fn change(
    name: String,
    edit: impl FnOnce(&mut pb::Role) -> Result<(), Failure>,
    text: &str,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let administrator = Session::open(connection)?.administrator().await?;
    let mut role = read(&administrator, name).await?;
    edit(&mut role)?;
    let request = pb::UpdateRoleRequest {
        role: Some(role),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["*".to_owned()],
        }),
        validate_only: false,
    };
    let response = administrator
        .change(&request, |channel, request| async move {
            Client::new(channel).update_role(request).await
        })
        .await?;
    show(&response.role.unwrap_or_default(), text, flags)
}

pub(crate) async fn delete(
    args: &DeleteArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let administrator = Session::open(connection)?.administrator().await?;
    let role = read(&administrator, full_name("--name", &args.name)?).await?;
    let request = pb::DeleteRoleRequest {
        name: role.name.clone(),
        etag: role.meta.map(|meta| meta.etag).unwrap_or_default(),
        force: args.force,
    };
    administrator
        .change(&request, |channel, request| async move {
            Client::new(channel).delete_role(request).await
        })
        .await?;
    let text = format!("Role {} deleted.", args.name);
    output::print(flags.format(), &json!({ "deleted": role.name }), &text)
}

pub(crate) async fn set_rule(
    args: &SetRuleArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let expire_time = match &args.ttl {
        None => None,
        Some(text) => Some(end("--ttl", text)?),
    };
    let rule = pb::RoleRule {
        path: present("--path", &args.path)?,
        capabilities: args
            .capability
            .iter()
            .map(|text| capability("--capability", text).map(Into::into))
            .collect::<Result<_, _>>()?,
        expire_time,
    };
    let edit = |role: &mut pb::Role| {
        role.rules.retain(|old| !same_path(&old.path, &rule.path));
        role.rules.push(rule);
        Ok(())
    };
    let text = format!("Role {} has a rule for {}.", args.role_name, args.path);
    let name = full_name("--role-name", &args.role_name)?;
    change(name, edit, &text, connection, flags).await
}

pub(crate) async fn delete_rule(
    args: &DeleteRuleArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let path = present("--path", &args.path)?;
    let edit = |role: &mut pb::Role| {
        let before = role.rules.len();
        role.rules.retain(|rule| !same_path(&rule.path, &path));
        if role.rules.len() == before {
            return Err(Failure::new(
                Exit::NotFound,
                format!("the role has no rule for `{path}`"),
            ));
        }
        Ok(())
    };
    let text = format!("Role {} has no rule for {} any more.", args.role_name, path);
    let name = full_name("--role-name", &args.role_name)?;
    change(name, edit, &text, connection, flags).await
}

fn same_path(a: &str, b: &str) -> bool {
    a.trim_start_matches('/') == b.trim_start_matches('/')
}

/// A moment that lies so far ahead.
fn end(flag: &str, text: &str) -> Result<prost_types::Timestamp, Failure> {
    let ttl = values::duration(flag, text, values::Unit::Minutes)?;
    if ttl.seconds <= 0 {
        return Err(Failure::usage(format!("{flag}: must be more than nothing")));
    }
    let end = Timestamp::now().saturating_add(jiff::SignedDuration::from_secs(ttl.seconds));
    end.map(postern_proto::convert::time::timestamp)
        .map_err(|_| Failure::usage(format!("{flag}: is too long")))
}

/// By its name.
pub(crate) fn capability(flag: &str, text: &str) -> Result<pb::Capability, Failure> {
    let name = format!("CAPABILITY_{}", text.trim().to_ascii_uppercase());
    pb::Capability::from_str_name(&name)
        .filter(|capability| *capability != pb::Capability::Unspecified)
        .ok_or_else(|| {
            Failure::usage(format!(
                "{flag}: `{text}` is none of read, create, update, delete, list, deny"
            ))
        })
}
