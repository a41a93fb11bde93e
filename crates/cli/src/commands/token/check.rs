//! `postern token authorize`, and the tutorial's `validate-token`.

use clap::Args;
use postern_proto::pb;
use serde_json::json;

use super::super::role;
use super::{Client, TokenArgs, by_itself};
use crate::failure::{Exit, Failure};
use crate::flags::{Connection, OutputFlags, present};
use crate::session::Session;
use crate::{output, values};
use secrecy::ExposeSecret as _;

#[derive(Debug, Args)]
pub(crate) struct AuthorizeArgs {
    #[command(flatten)]
    token: TokenArgs,
    /// The path
    #[arg(long, short = 'p', value_name = "PATH")]
    path: String,
    /// read, create, update, delete or list
    #[arg(long, short = 'c', value_name = "CAPABILITY", default_value = "read")]
    capability: String,
    /// Let the token ask about itself, at its gateway, or at the --control-plane-url
    #[arg(long = "self")]
    own: bool,
    /// Where the token was shown, for a method with bound IPs
    #[arg(long, value_name = "ADDRESS", conflicts_with = "own")]
    client_address: Option<String>,
}

/// Say whether a token is valid, and until when; it asks about itself
#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    #[command(flatten)]
    token: TokenArgs,
}

pub(super) async fn authorize(
    args: &AuthorizeArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let token = args.token.read()?;
    let session = Session::open(connection)?;
    let address = args.client_address.as_deref();
    let address = address.map(|address| present("--client-address", address));
    let mut request = pb::AuthorizeRequest {
        client_address: address.transpose()?.unwrap_or_default(),
        path: present("--path", &args.path)?,
        capability: role::capability("--capability", &args.capability)?.into(),
        ..pb::AuthorizeRequest::default()
    };
    let asker = if args.own {
        by_itself(&session, connection, &token).await?
    } else {
        token.expose_secret().clone_into(&mut request.token);
        session.administrator().await?
    };
    // Not sent twice: an answer that allows is a use.
    let answer = asker
        .change(&request, |channel, request| async move {
            Client::new(channel).authorize(request).await
        })
        .await?;
    let document = output::message("postern.v1.AuthorizeResponse", &answer)?;
    output::print(flags.format(), &document, &text(&answer))?;
    if answer.allowed {
        return Ok(());
    }
    Err(Failure::new(Exit::Refused, "the token may not"))
}

fn text(answer: &pb::AuthorizeResponse) -> String {
    let by = format!("by the rule {} of {}", answer.rule_path, answer.role);
    match (answer.allowed, answer.denied_by_rule) {
        (true, _) => format!("Allowed {by}."),
        (false, true) => format!("Denied {by}."),
        (false, false) => "Not allowed: no rule says so, or the token isn't good.".to_owned(),
    }
}

/// The tutorial's `validate-token`.
pub(crate) async fn validate(
    args: &ValidateArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let token = args.token.read()?;
    let session = Session::open(connection)?;
    let asker = by_itself(&session, connection, &token).await?;
    let request = pb::IntrospectRequest::default();
    let answer = asker
        .change(&request, |channel, request| async move {
            Client::new(channel).introspect(request).await
        })
        .await?;
    let expiration = answer.expire_time.as_ref().and_then(values::timestamp);
    let Some(expiration) = expiration.filter(|_| answer.active) else {
        let text = "Token is not valid.";
        output::print(flags.format(), &json!({ "is_valid": false }), text)?;
        return Err(Failure::new(Exit::Refused, "the token isn't good"));
    };
    let document = json!({ "is_valid": true, "expiration": expiration.to_string() });
    let text = format!("Token is valid.\nExpiration: {expiration}");
    output::print(flags.format(), &document, &text)
}
