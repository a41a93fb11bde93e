//! `postern token list`, `get`, and `revoke` of all tokens that match.

use clap::Args;
use postern_proto::pb;
use postern_proto::pb::token_admin_service_client::TokenAdminServiceClient as Client;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::flags::{self, Connection, OutputFlags, present};
use crate::session::Session;
use crate::{output, paging};

const MESSAGE: &str = "postern.v1.Token";

/// All tokens that match.
#[derive(Debug, Args)]
pub(crate) struct AllFlags {
    #[command(flatten)]
    filter: FilterFlags,
    /// Of all tokens that match: count them, and end none
    #[arg(long)]
    validate_only: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    filter: FilterFlags,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value = "50")]
    limit: usize,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The token's accessor, not the token
    #[arg(value_name = "ACCESSOR")]
    accessor: String,
}

/// Which tokens: those that are all of what is said
#[derive(Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Which tokens")]
pub(crate) struct FilterFlags {
    /// Of an auth method, by name or access ID
    #[arg(long, value_name = "NAME")]
    auth_method: Option<String>,
    /// Of a namespace
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Of a service account
    #[arg(long, value_name = "NAMESPACE/NAME")]
    service_account: Option<String>,
    /// Of this service account, and none that is made anew under its name
    #[arg(long, value_name = "UID")]
    service_account_uid: Option<String>,
    /// Of a pod
    #[arg(long, value_name = "UID")]
    pod_uid: Option<String>,
}

pub(crate) async fn list(
    args: &ListArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let filter = args.filter.message()?;
    let administrator = Session::open(connection)?.administrator().await?;
    let tokens = paging::collect(args.limit, async |page| {
        let request = pb::ListTokensRequest {
            page_size: page.size,
            page_token: page.token,
            filter: filter.clone(),
        };
        let page = administrator
            .call(&request, |channel, request| async move {
                Client::new(channel).list_tokens(request).await
            })
            .await?;
        Ok((page.tokens, page.next_page_token))
    })
    .await?;
    let documents: Vec<Value> = tokens
        .iter()
        .map(|token| output::message(MESSAGE, token))
        .collect::<Result<_, _>>()?;
    let rows = tokens.iter().zip(&documents).map(row).collect();
    let headers = [
        "ACCESSOR",
        "KIND",
        "ACCESS ID",
        "NAMESPACE",
        "SERVICE ACCOUNT",
        "POD UID",
        "EXPIRES",
    ];
    let table = output::table(&headers, rows);
    output::print(flags.format(), &json!({ "tokens": documents }), &table)
}

fn row((token, document): (&pb::Token, &Value)) -> Vec<String> {
    vec![
        token.name.trim_start_matches("tokens/").to_owned(),
        token.kind.clone(),
        token.access_id.clone(),
        token.namespace.clone(),
        token.service_account_name.clone(),
        token.pod_uid.clone(),
        document["expire_time"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    ]
}

pub(crate) async fn get(
    args: &GetArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let accessor = present("ACCESSOR", &args.accessor)?;
    let name = format!("tokens/{}", accessor.trim_start_matches("tokens/"));
    let request = pb::GetTokenRequest { name };
    let administrator = Session::open(connection)?.administrator().await?;
    let response = administrator
        .call(&request, |channel, request| async move {
            Client::new(channel).get_token(request).await
        })
        .await?;
    let document = output::message(MESSAGE, &response.token.unwrap_or_default())?;
    output::print(flags.format(), &document, &output::describe(&document))
}

/// All that match.
pub(crate) async fn revoke(
    all: &AllFlags,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let request = pb::RevokeTokensRequest {
        filter: all.filter.message()?,
        validate_only: all.validate_only,
    };
    let administrator = Session::open(connection)?.administrator().await?;
    let response = administrator
        .change(&request, |channel, request| async move {
            Client::new(channel).revoke_tokens(request).await
        })
        .await?;
    let (count, key) = (
        response.count,
        if all.validate_only {
            "would_be_revoked"
        } else {
            "revoked"
        },
    );
    let text = match all.validate_only {
        true => format!("{count} tokens would be revoked; nothing was changed."),
        false => format!("{count} tokens revoked."),
    };
    output::print(flags.format(), &json!({ key: count }), &text)
}

// === impl AllFlags ===

impl AllFlags {
    pub(crate) fn are_given(&self) -> bool {
        self.filter != FilterFlags::default() || self.validate_only
    }
}

// === impl FilterFlags ===

impl FilterFlags {
    fn message(&self) -> Result<Option<pb::TokenFilter>, Failure> {
        let text = |flag: &str, value: &Option<String>| {
            let value = value.as_deref().map(|value| present(flag, value));
            value.transpose().map(Option::unwrap_or_default)
        };
        let uid = |flag: &str, value: &Option<String>| {
            let value = value.as_deref().map(|value| flags::uid(flag, value));
            value.transpose().map(Option::unwrap_or_default)
        };
        let method = text("--auth-method", &self.auth_method)?;
        let filter = pb::TokenFilter {
            auth_method: match method.as_str() {
                "" => String::new(),
                method => format!("authMethods/{}", method.trim_start_matches('/')),
            },
            namespace: text("--namespace", &self.namespace)?,
            service_account: text("--service-account", &self.service_account)?,
            service_account_uid: uid("--service-account-uid", &self.service_account_uid)?,
            pod_uid: uid("--pod-uid", &self.pod_uid)?,
        };
        Ok((filter != pb::TokenFilter::default()).then_some(filter))
    }
}
