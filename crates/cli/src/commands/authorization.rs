//! Who can do what: `postern who-can`, `describe-permissions`, `describe-sub-claims`.

use clap::Args;
use postern_proto::pb;
use postern_proto::pb::authorization_service_client::AuthorizationServiceClient as Client;
use serde_json::{Value, json};

use super::{association, role};
use crate::failure::Failure;
use crate::flags::{Connection, OutputFlags, present};
use crate::session::Session;
use crate::{output, paging};

/// Say whose tokens can do something at a path
#[derive(Debug, Args)]
pub(crate) struct WhoCanArgs {
    /// The path
    #[arg(long, short = 'p', value_name = "PATH")]
    path: String,
    /// read, create, update, delete or list
    #[arg(long, short = 'c', value_name = "CAPABILITY", default_value = "read")]
    capability: String,
}

pub(crate) async fn who_can(
    args: &WhoCanArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let path = present("--path", &args.path)?;
    let capability = role::capability("--capability", &args.capability)?;
    let administrator = Session::open(connection)?.administrator().await?;
    let all = paging::collect(usize::MAX, async |page| {
        let request = pb::WhoCanRequest {
            path: path.clone(),
            capability: capability.into(),
            page_size: page.size,
            page_token: page.token,
        };
        let response = administrator
            .call(&request, |channel, request| async move {
                Client::new(channel).who_can(request).await
            })
            .await?;
        Ok((response.access, response.next_page_token))
    })
    .await?;
    let documents: Vec<Value> = all
        .iter()
        .map(|access| output::message("postern.v1.Access", access))
        .collect::<Result<_, _>>()?;
    let rows = all.iter().map(row).collect();
    let headers = ["AUTH METHOD", "ROLE", "RULE", "SUB-CLAIMS", "MAY BE DENIED"];
    let table = match all.is_empty() {
        true => format!("Nobody can {} {path}.", args.capability),
        false => output::table(&headers, rows),
    };
    let table = match all.iter().any(|access| access.more_fillings) {
        true => format!("{table}\nA rule's templates can be filled in more ways than are shown."),
        false => table,
    };
    output::print(flags.format(), &json!({ "access": documents }), &table)
}

fn row(access: &pb::Access) -> Vec<String> {
    let mut filled: Vec<String> = access
        .template_claims
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    filled.sort();
    let claims = [
        association::claims_text(&access.sub_claims),
        filled.join(" "),
    ];
    let claims: Vec<&str> = claims
        .iter()
        .map(String::as_str)
        .filter(|text| !text.is_empty())
        .collect();
    vec![
        access
            .auth_method
            .trim_start_matches("authMethods/")
            .to_owned(),
        access.role.trim_start_matches("roles/").to_owned(),
        access.rule_path.clone(),
        claims.join(" "),
        if access.may_be_denied { "yes" } else { "" }.to_owned(),
    ]
}

async fn described(connection: &Connection) -> Result<pb::DescribePermissionsResponse, Failure> {
    let administrator = Session::open(connection)?.administrator().await?;
    administrator
        .call(
            &pb::DescribePermissionsRequest {},
            |channel, request| async move { Client::new(channel).describe_permissions(request).await },
        )
        .await
}

pub(crate) async fn describe_permissions(
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let described = described(connection).await?;
    let rows = described
        .permissions
        .iter()
        .map(|permission| {
            let roles: Vec<&str> = permission
                .roles
                .iter()
                .map(|role| role.trim_start_matches("roles/"))
                .collect();
            let methods: Vec<&str> = permission
                .methods
                .iter()
                .map(|path| path.trim_start_matches("/postern.v1."))
                .collect();
            vec![
                permission.permission.clone(),
                roles.join(", "),
                methods.join(" "),
            ]
        })
        .collect();
    let table = output::table(&["PERMISSION", "BUILT-IN ROLES", "METHODS"], rows);
    let table = format!(
        "{table}\n\nCapabilities of rules: {}",
        described.capabilities.join(", ")
    );
    let document = output::message("postern.v1.DescribePermissionsResponse", &described)?;
    output::print(flags.format(), &document, &table)
}

pub(crate) async fn describe_sub_claims(
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let described = described(connection).await?;
    output::print(
        flags.format(),
        &json!({ "sub_claims": described.sub_claims }),
        &described.sub_claims.join("\n"),
    )
}
