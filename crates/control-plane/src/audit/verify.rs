//! Whether the records are those that were sealed.

use std::time::{Duration, Instant};

use futures::stream::{BoxStream, StreamExt as _};
use postern_core::audit::chain::{Chain, Fault, Finding, Head, Verifier};
use postern_core::invalid::{Invalid, Violations};
use postern_proto::pb;
use postern_proto::pb::verify_audit_log_response::Message;
use postern_rpc::error::Error;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::context::Context;
use crate::store::SealedPage;

use super::reader::Reader;

pub(super) type Stream = BoxStream<'static, Result<pb::VerifyAuditLogResponse, Status>>;

const MAX_HEADS: usize = 1000;
/// That are sent; the rest is counted.
const MAX_FINDINGS: i64 = 1000;
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

pub(super) fn heads(request: &pb::VerifyAuditLogRequest) -> Result<Vec<Head>, Invalid> {
    if request.known_heads.len() > MAX_HEADS {
        let fault = format!("has more than {MAX_HEADS} entries");
        return Err(Invalid::field("known_heads", fault));
    }
    let mut faults = Violations::default();
    let heads = request
        .known_heads
        .iter()
        .enumerate()
        .filter_map(|(i, head)| {
            let text = format!("{}:{}", head.sequence, head.digest);
            faults.check(format!("known_heads[{i}]"), text.parse())
        });
    let heads = heads.collect();
    faults.finish()?;
    Ok(heads)
}

/// Reads as fast as the caller does.
pub(super) fn stream(context: Context, mut reader: Reader, known: Vec<Head>) -> Stream {
    let (messages, stream) = mpsc::channel(16);
    tokio::spawn(async move {
        let mut walk = Walk {
            messages: messages.clone(),
            summary: pb::VerifyAuditLogSummary::default(),
            said: Instant::now(),
        };
        // Also while the database or the caller is slow.
        let ended = tokio::select! {
            ended = walk.run(&context, known) => ended,
            lost = reader.lost() => Err(lost),
        };
        if let Err(error) = ended {
            // The caller may be gone.
            let _ = messages.send(Err(error.into())).await;
        }
    });
    ReceiverStream::new(stream).boxed()
}

struct Walk {
    messages: mpsc::Sender<Result<pb::VerifyAuditLogResponse, Status>>,
    summary: pb::VerifyAuditLogSummary,
    said: Instant,
}

// === impl Walk ===

impl Walk {
    /// Ends early when nobody listens.
    async fn run(&mut self, context: &Context, known: Vec<Head>) -> Result<(), Error> {
        let chain = Chain(context.deployment()?);
        let mut verifier = Verifier::new(chain, &context.keys, known);
        loop {
            let page = context.store.sealed(chain, verifier.at().sequence).await?;
            for finding in look(&mut verifier, &page) {
                self.found(finding).await;
            }
            self.count(&page);
            if self.messages.is_closed() {
                return Ok(());
            }
            if page.last {
                self.summary.head = Some(wire(verifier.at()));
                for finding in verifier.finish(page.head) {
                    self.found(finding).await;
                }
                self.progress().await;
                let summary = std::mem::take(&mut self.summary);
                self.say(Message::Summary(summary)).await;
                return Ok(());
            }
            if self.said.elapsed() >= PROGRESS_EVERY {
                self.progress().await;
            }
        }
    }

    fn count(&mut self, page: &SealedPage) {
        let records: usize = page.found.iter().map(|found| found.records.len()).sum();
        self.summary.seals += i64::try_from(page.found.len()).unwrap_or(i64::MAX);
        self.summary.records += i64::try_from(records).unwrap_or(i64::MAX);
        self.summary.unsealed = page.unsealed;
        self.summary.anchor = page.anchor.as_ref().map(|anchor| wire(anchor.head));
    }

    async fn found(&mut self, finding: Finding) {
        self.summary.findings += 1;
        if self.summary.findings <= MAX_FINDINGS {
            self.say(Message::Finding(pb::AuditFinding {
                fault: finding.fault.as_str().to_owned(),
                sequence: finding.sequence,
                record_id: finding.record.map(|id| id.to_string()).unwrap_or_default(),
            }))
            .await;
        }
    }

    async fn progress(&mut self) {
        self.said = Instant::now();
        let progress = pb::VerifyAuditLogProgress {
            seals: self.summary.seals,
            records: self.summary.records,
        };
        self.say(Message::Progress(progress)).await;
    }

    async fn say(&self, message: Message) {
        let message = Some(message);
        // Whoever stopped listening is noticed at the next page.
        let _ = self
            .messages
            .send(Ok(pb::VerifyAuditLogResponse { message }))
            .await;
    }
}

fn look(verifier: &mut Verifier<'_>, page: &SealedPage) -> Vec<Finding> {
    // Also when retention has overtaken this walk meanwhile.
    let mut findings: Vec<Finding> = page
        .anchor
        .as_ref()
        .map(|anchor| verifier.anchor(anchor))
        .unwrap_or_default();
    for found in &page.found {
        findings.extend(verifier.seal(found));
    }
    let stray = |(seal, id): &(_, _)| Finding::of_record(Fault::RecordInserted, *seal, *id);
    findings.extend(page.strays.iter().map(stray));
    findings
}

fn wire(head: Head) -> pb::AuditHead {
    pb::AuditHead {
        sequence: head.sequence,
        digest: head.digest.to_string(),
    }
}
