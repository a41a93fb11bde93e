//! `postern audit …`: what happened, why a login was refused, and whether the record of it is whole.

mod export;
mod filter;
mod stats;
mod tail;
mod verify;

use clap::{Args, Subcommand};
use postern_proto::pb;
use postern_proto::pb::audit_service_client::AuditServiceClient;
use serde_json::{Value, json};

use crate::failure::{Exit, Failure};
use crate::flags::{Connection, OutputFlags, present};
use crate::session::{Administrator, Session};
use crate::{output, paging};

use filter::FilterFlags;

const MESSAGE: &str = "postern.v1.AuditEvent";

/// Audit records
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Show the records of a request ID
    Get(GetArgs),
    /// List records, newest first
    List(ListArgs),
    /// Print records as they come, until Ctrl-C
    Tail(tail::TailArgs),
    /// Write records as JSON, one a line, newest first
    Export(export::ExportArgs),
    /// Count logins by config, result and reason
    Stats(stats::StatsArgs),
    /// Look whether records were removed, altered, inserted or cut off
    Verify(verify::VerifyArgs),
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The request ID that the caller got
    #[arg(value_name = "REQUEST_ID")]
    request_id: String,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    filter: FilterFlags,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value = "50")]
    limit: usize,
}

pub(crate) async fn run(
    command: &AuditCommand,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    if let AuditCommand::Tail(args) = command {
        return tail::run(args, connection, flags).await;
    }
    let administrator = Session::open(connection)?.administrator().await?;
    match command {
        AuditCommand::Get(args) => get(args, &administrator, flags).await,
        AuditCommand::List(args) => list(args, &administrator, flags).await,
        AuditCommand::Export(args) => export::run(args, &administrator).await,
        AuditCommand::Stats(args) => stats::run(args, &administrator, flags).await,
        AuditCommand::Verify(args) => verify::run(args, &administrator, flags).await,
        AuditCommand::Tail(_) => Ok(()),
    }
}

async fn get(
    args: &GetArgs,
    administrator: &Administrator,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let request_id = present("REQUEST_ID", &args.request_id)?;
    let filter = pb::AuditFilter::default();
    let events = read(administrator, &request_id, &filter, usize::MAX).await?;
    if events.is_empty() {
        return Err(Failure::new(
            Exit::NotFound,
            format!("no audit record has the request ID {request_id}"),
        )
        .hint("a refusal's record arrives within 2 seconds; of a flood only the first are kept one by one"));
    }
    let documents = documents(&events)?;
    let text: Vec<String> = documents.iter().map(output::describe).collect();
    output::print(
        flags.format(),
        &json!({ "audit_events": documents }),
        &text.join("\n\n"),
    )
}

async fn list(
    args: &ListArgs,
    administrator: &Administrator,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let filter = args.filter.parse()?;
    let events = read(administrator, "", &filter, args.limit).await?;
    let documents = documents(&events)?;
    let rows = events
        .iter()
        .zip(&documents)
        .map(|(event, document)| row(event, document))
        .collect();
    let table = output::table(
        &[
            "TIME",
            "EVENT",
            "REASON",
            "ACCESS ID",
            "RESOURCE",
            "REQUEST ID",
        ],
        rows,
    );
    output::print(
        flags.format(),
        &json!({ "audit_events": documents }),
        &table,
    )
}

fn row(event: &pb::AuditEvent, document: &Value) -> Vec<String> {
    let resource = if event.resource.is_empty() {
        &event.k8s_auth_config
    } else {
        &event.resource
    };
    vec![
        document["time"].as_str().unwrap_or_default().to_owned(),
        event.event.clone(),
        event.reason.clone(),
        event.access_id.clone(),
        resource.clone(),
        event.request_id.clone(),
    ]
}

fn documents(events: &[pb::AuditEvent]) -> Result<Vec<Value>, Failure> {
    events
        .iter()
        .map(|event| output::message(MESSAGE, event))
        .collect()
}

async fn read(
    administrator: &Administrator,
    request_id: &str,
    filter: &pb::AuditFilter,
    limit: usize,
) -> Result<Vec<pb::AuditEvent>, Failure> {
    paging::collect(limit, async |page| {
        page_of(administrator, request_id, filter, page).await
    })
    .await
}

async fn page_of(
    administrator: &Administrator,
    request_id: &str,
    filter: &pb::AuditFilter,
    page: paging::Page,
) -> Result<(Vec<pb::AuditEvent>, String), Failure> {
    let request = pb::ListAuditEventsRequest {
        page_size: page.size,
        page_token: page.token,
        request_id: request_id.to_owned(),
        filter: Some(filter.clone()),
    };
    let page = administrator
        .call(&request, |channel, request| async move {
            AuditServiceClient::new(channel)
                .list_audit_events(request)
                .await
        })
        .await?;
    Ok((page.audit_events, page.next_page_token))
}
