//! `postern explain`: why a login with a token would be allowed or refused.

use clap::Args;
use postern_proto::pb;
use postern_proto::pb::diagnostics_service_client::DiagnosticsServiceClient as Client;
use secrecy::ExposeSecret as _;

use crate::failure::{Exit, Failure};
use crate::flags::{Connection, OutputFlags, present};
use crate::session::Session;
use crate::{output, values};

/// Say why a login with a service-account token would be allowed or refused; issues nothing
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The K8s auth config's name at the gateway
    #[arg(long, visible_alias = "k8s-auth-config-name", value_name = "NAME")]
    config: String,
    /// File of the service-account token; `-` is standard input
    #[arg(long, value_name = "FILE")]
    token_file: String,
    /// The access ID that the login would name [default: the config's]
    #[arg(long, short = 'i', value_name = "ID")]
    access_id: Option<String>,
    /// The address that the login would come from
    #[arg(long, value_name = "ADDRESS")]
    client_ip: Option<String>,
}

pub(crate) async fn run(
    args: &ExplainArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let optional = |flag: &str, value: &Option<String>| {
        let value = value.as_deref().map(|value| present(flag, value));
        value.transpose().map(Option::unwrap_or_default)
    };
    let token = values::read("--token-file", &args.token_file)?;
    let request = pb::ExplainAuthenticationRequest {
        k8s_auth_config: present("--config", &args.config)?,
        service_account_token: values::service_account_token(token.expose_secret()),
        access_id: optional("--access-id", &args.access_id)?,
        client_ip: optional("--client-ip", &args.client_ip)?,
    };
    let administrator = Session::open(connection)?.gateway_administrator().await?;
    let response = administrator
        .call(&request, |channel, request| async move {
            Client::new(channel).explain_authentication(request).await
        })
        .await?;
    show(flags, &response.explanation.unwrap_or_default())
}

/// Prints an explanation; a refusal is a failure of the command too.
pub(crate) fn show(flags: &OutputFlags, explanation: &pb::Explanation) -> Result<(), Failure> {
    let document = output::message("postern.v1.Explanation", explanation)?;
    output::print(flags.format(), &document, &table(explanation)?)?;
    if explanation.allowed {
        return Ok(());
    }
    let reason = &explanation.reason;
    Err(Failure::new(
        Exit::Refused,
        format!("the login would be refused: {reason}"),
    ))
}

fn table(explanation: &pb::Explanation) -> Result<String, Failure> {
    let mut lines = Vec::new();
    if let Some(facts) = &explanation.facts {
        let facts = output::message("postern.v1.Facts", facts)?;
        lines.push("facts:".to_owned());
        let described = output::describe(&facts);
        lines.extend(described.lines().map(|line| format!("  {line}")));
    }
    lines.push("checks:".to_owned());
    let names: Vec<String> = explanation.checks.iter().map(name).collect();
    let width = names.iter().map(String::len).max().unwrap_or_default();
    for (check, name) in explanation.checks.iter().zip(names) {
        let pb::Check {
            wanted,
            got,
            reason,
            ..
        } = check;
        let mark = if check.matched { "✓" } else { "✗" };
        let reason = if reason.is_empty() {
            String::new()
        } else {
            format!("  {reason}")
        };
        lines.push(format!(
            "  {mark} {name:width$}  wanted: {wanted}; got: {got}{reason}"
        ));
    }
    lines.push(verdict(explanation));
    let notes = explanation.notes.iter();
    lines.extend(notes.map(|note| format!("note: {note}")));
    Ok(lines.join("\n"))
}

fn name(check: &pb::Check) -> String {
    match check.rule {
        Some(rule) => format!("{}[{rule}].{}", check.step, check.bound),
        None => format!("{}.{}", check.step, check.bound),
    }
}

fn verdict(explanation: &pb::Explanation) -> String {
    let rule = explanation.rule.map(|rule| format!("rule {rule}"));
    match (explanation.allowed, rule) {
        (true, rule) => format!("allowed by {}", rule.as_deref().unwrap_or("the method")),
        (false, Some(rule)) => format!("refused: {} ({rule} came nearest)", explanation.reason),
        (false, None) => format!("refused: {}", explanation.reason),
    }
}
