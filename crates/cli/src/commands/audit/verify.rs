//! `postern audit verify`: whether the record is whole.

use std::fs::File;
use std::io::{BufRead as _, BufReader, IsTerminal as _};
use std::path::{Path, PathBuf};

use clap::Args;
use postern_core::audit::chain::Head;
use postern_proto::pb;
use postern_proto::pb::audit_service_client::AuditServiceClient;
use postern_proto::pb::verify_audit_log_response::Message;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::failure::{Exit, Failure};
use crate::flags::OutputFlags;
use crate::output;
use crate::session::Administrator;

/// As many as the control plane takes.
const MAX_HEADS: usize = 1000;

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// A head of the chain that was kept, SEQUENCE:DIGEST; may be given several times
    #[arg(long, value_name = "HEAD")]
    head: Vec<String>,
    /// The control plane's standard output, as it was kept: its heads are compared
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

/// What of a line of the log counts here.
#[derive(Deserialize)]
struct Line {
    event: String,
    head: Option<LineHead>,
}

#[derive(Deserialize)]
struct LineHead {
    sequence: i64,
    digest: String,
}

pub(super) async fn run(
    args: &VerifyArgs,
    administrator: &Administrator,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let known = known_heads(args)?;
    let request = pb::VerifyAuditLogRequest {
        known_heads: known.iter().map(wire).collect(),
    };
    let mut stream = administrator
        .call(&request, |channel, request| async move {
            AuditServiceClient::new(channel)
                .verify_audit_log(request)
                .await
        })
        .await?;
    let mut findings = Vec::new();
    let summary = loop {
        let message = stream.message().await;
        let message = message.map_err(|status| administrator.ended(status))?;
        match message.and_then(|message| message.message) {
            Some(Message::Finding(finding)) => findings.push(finding),
            Some(Message::Progress(progress)) if std::io::stderr().is_terminal() => {
                output::note(&format!("{} records are looked at …", progress.records));
            }
            Some(Message::Progress(_)) => {}
            Some(Message::Summary(summary)) => break summary,
            None => return Err(cut_short()),
        }
    };
    print(&summary, &findings, &known, flags)?;
    verdict(&summary)
}

fn cut_short() -> Failure {
    Failure::new(
        Exit::Unavailable,
        "the control plane stopped before it had looked at all records",
    )
    .hint("run it again")
}

fn verdict(summary: &pb::VerifyAuditLogSummary) -> Result<(), Failure> {
    if summary.findings == 0 {
        return Ok(());
    }
    let message = format!("the audit log isn't whole: {} findings", summary.findings);
    Err(Failure::new(Exit::Refused, message))
}

fn print(
    summary: &pb::VerifyAuditLogSummary,
    findings: &[pb::AuditFinding],
    known: &[Head],
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let documents = findings.iter();
    let documents = documents.map(|f| output::message("postern.v1.AuditFinding", f));
    let documents = documents.collect::<Result<Vec<Value>, _>>()?;
    let document = json!({
        "summary": output::message("postern.v1.VerifyAuditLogSummary", summary)?,
        "findings": documents,
    });
    let rows = findings.iter().map(|finding| {
        vec![
            finding.fault.clone(),
            finding.sequence.to_string(),
            finding.record_id.clone(),
        ]
    });
    let mut text = match findings.is_empty() {
        true => String::new(),
        false => output::table(&["FAULT", "SEAL", "RECORD"], rows.collect()) + "\n\n",
    };
    text += &sentences(summary, known);
    output::print(flags.format(), &document, &text)
}

fn sentences(summary: &pb::VerifyAuditLogSummary, known: &[Head]) -> String {
    let mut lines = vec![format!(
        "{} records in {} seals; {} are not sealed yet",
        summary.records, summary.seals, summary.unsealed
    )];
    if let Some(anchor) = &summary.anchor {
        let sequence = anchor.sequence;
        lines.push(format!("retention removed what was up to seal {sequence}"));
    }
    if let Some(head) = &summary.head {
        lines.push(format!("head: {}:{}", head.sequence, head.digest));
    }
    if known.is_empty() {
        lines.push(
            "no head was compared: a log that was cut off looks like this too (--head, --log)"
                .to_owned(),
        );
    }
    lines.join("\n")
}

/// Each head follows from the one after it: of many, some tell where a difference begins.
fn known_heads(args: &VerifyArgs) -> Result<Vec<Head>, Failure> {
    let parse = |text: &String| {
        text.trim()
            .parse()
            .map_err(|fault| Failure::usage(format!("--head: `{text}` {fault}")))
    };
    let mut heads: Vec<Head> = args.head.iter().map(parse).collect::<Result<_, _>>()?;
    if let Some(path) = &args.log {
        let logged = logged(path)?;
        if logged.is_empty() {
            let path = path.display();
            return Err(Failure::usage(format!(
                "--log: {path} has no line of a head"
            )));
        }
        heads.extend(logged);
    }
    heads.sort_by_key(|head| head.sequence);
    heads.dedup();
    let step = heads.len().div_ceil(MAX_HEADS).max(1);
    Ok(heads.iter().rev().step_by(step).rev().copied().collect())
}

fn logged(path: &Path) -> Result<Vec<Head>, Failure> {
    let failed = |error: std::io::Error| Failure::file(path, &error);
    let mut heads = Vec::new();
    for line in BufReader::new(File::open(path).map_err(failed)?).lines() {
        // Whatever else is in the log.
        let Ok(line) = serde_json::from_str::<Line>(&line.map_err(failed)?) else {
            continue;
        };
        let Some(head) = line.head.filter(|_| line.event == "audit.head") else {
            continue;
        };
        let head = format!("{}:{}", head.sequence, head.digest);
        let head = head.parse();
        heads.push(head.map_err(|fault| Failure::usage(format!("--log: a head {fault}")))?);
    }
    Ok(heads)
}

fn wire(head: &Head) -> pb::AuditHead {
    pb::AuditHead {
        sequence: head.sequence,
        digest: head.digest.to_string(),
    }
}
