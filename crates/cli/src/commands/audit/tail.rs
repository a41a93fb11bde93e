//! `postern audit tail`: records as they come.

use std::time::Duration;

use clap::Args;
use postern_proto::pb;
use postern_proto::pb::audit_service_client::AuditServiceClient;
use tonic::Code;

use super::filter::FilterFlags;
use super::{MESSAGE, row};
use crate::failure::Failure;
use crate::flags::{Connection, OutputFlags};
use crate::output::{self, Format};
use crate::session::{Administrator, Session};

/// Before the stream is opened again.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    #[command(flatten)]
    filter: FilterFlags,
    /// Go on after this one, which the JSON of each record has; without it from now on
    #[arg(long, value_name = "CURSOR", default_value = "")]
    cursor: String,
}

/// Ends with an error of its own making, or when whoever reads goes away.
pub(super) async fn run(
    args: &TailArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let session = Session::open(connection)?;
    let mut request = pb::TailAuditEventsRequest {
        filter: Some(args.filter.parse()?),
        cursor: args.cursor.clone(),
    };
    loop {
        let administrator = session.administrator().await?;
        follow(&administrator, &mut request, flags).await?;
        // The token has ended, or the server goes away: another one goes on where this one was.
        tokio::time::sleep(PAUSE).await;
    }
}

async fn follow(
    administrator: &Administrator,
    request: &mut pb::TailAuditEventsRequest,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let mut stream = administrator
        .call(request, |channel, request| async move {
            AuditServiceClient::new(channel)
                .tail_audit_events(request)
                .await
        })
        .await?;
    loop {
        match stream.message().await {
            Ok(Some(message)) => {
                if let Some(event) = &message.audit_event {
                    print(event, &message.cursor, flags)?;
                }
                request.cursor = message.cursor;
            }
            Ok(None) => return Ok(()),
            Err(status) if goes_on(status.code()) => return Ok(()),
            Err(status) => return Err(administrator.ended(status)),
        }
    }
}

/// Whether it may go on with another token, or in a moment.
fn goes_on(code: Code) -> bool {
    matches!(
        code,
        Code::Unauthenticated | Code::Unavailable | Code::Unknown | Code::Cancelled
    )
}

fn print(event: &pb::AuditEvent, cursor: &str, flags: &OutputFlags) -> Result<(), Failure> {
    let document = output::message(MESSAGE, event)?;
    match flags.format() {
        Format::Table => output::line(&row(event, &document).join("  ")),
        Format::Json | Format::Yaml => {
            let line = output::with_first(&[("cursor", cursor)], document);
            output::line(&line.to_string())
        }
    }
}
