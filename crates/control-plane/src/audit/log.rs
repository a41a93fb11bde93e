//! Audit records as lines of JSON.

use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use postern_core::audit::chain::Seal;
use postern_core::audit::{Component, Event, EventKind, Severity};
use postern_core::facts::{Facts, SubClaims};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::metrics::AuditCounts;
use crate::store::AuditSink;

/// Of the format. It changes when a reader of the old one would misunderstand a line.
const VERSION: u32 = 1;
/// Lines that wait for a reader.
const MAX_LINES: usize = 10_000;
/// And their bytes.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// One record. Absent fields are unknown or not concerned.
#[derive(Serialize)]
struct Line<'a> {
    ts: Timestamp,
    v: u32,
    id: Uuid,
    event: &'static str,
    severity: Severity,
    component: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    request_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    gateway: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    config: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    access_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    resource: &'a str,
    caller: Caller<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Subject<'a>>,
    #[serde(skip_serializing_if = "SubClaims::is_empty")]
    sub_claims: &'a SubClaims,
    #[serde(skip_serializing_if = "Option::is_none")]
    verification: Option<Verification>,
    decision: Decision<'a>,
    token: Token<'a>,
    count: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Value>,
}

#[derive(Serialize)]
struct Caller<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<IpAddr>,
    #[serde(skip_serializing_if = "str::is_empty")]
    user_agent: &'a str,
}

/// What was verified about a workload.
#[derive(Serialize)]
struct Subject<'a> {
    namespace: &'a str,
    service_account: &'a str,
    service_account_uid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod_uid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_ip: Option<IpAddr>,
    aud: &'a [String],
}

/// How it was verified.
#[derive(Serialize)]
struct Verification {
    mode: &'static str,
    /// For another login, a moment before.
    cached: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    review_ms: Option<u32>,
}

#[derive(Serialize)]
struct Decision<'a> {
    result: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<i64>,
}

#[derive(Serialize)]
struct Token<'a> {
    accessor: Option<&'a str>,
    expires_at: Option<Timestamp>,
}

/// How far the chain of seals has got. Kept elsewhere, it shows that the end was cut off.
#[derive(Serialize)]
struct HeadLine<'a> {
    ts: Timestamp,
    v: u32,
    event: &'static str,
    severity: Severity,
    component: &'static str,
    head: HeadOf<'a>,
}

#[derive(Serialize)]
struct HeadOf<'a> {
    sequence: i64,
    digest: String,
    key_id: &'a str,
    mac: String,
}

/// Lines on their way out: a queue, and a thread that may wait for a reader. Nobody else does. What
/// finds no room is counted; the records themselves are in the database.
#[derive(Clone)]
pub(crate) struct Log {
    queue: mpsc::Sender<Message>,
    /// Of the lines in the queue.
    bytes: Arc<AtomicUsize>,
    counts: AuditCounts,
    /// Whether the last line found no room: said once.
    losing: Arc<AtomicBool>,
}

enum Message {
    Line(Vec<u8>),
    /// Answered when everything before it was written.
    Flush(oneshot::Sender<()>),
}

// === impl Log ===

impl Log {
    /// # Errors
    /// The system has no thread to spare.
    pub(crate) fn start(out: Box<dyn Write + Send>, counts: AuditCounts) -> io::Result<Self> {
        let (queue, lines) = mpsc::channel(MAX_LINES);
        let log = Self {
            queue,
            bytes: Arc::default(),
            counts: counts.clone(),
            losing: Arc::default(),
        };
        let bytes = Arc::clone(&log.bytes);
        let write = move || write_all(lines, out, &bytes, &counts);
        thread::Builder::new()
            .name("audit-log".to_owned())
            .spawn(write)?;
        Ok(log)
    }

    /// Every record that was committed.
    pub(crate) fn sink(&self) -> AuditSink {
        let log = self.clone();
        Arc::new(move |event| {
            log.counts.committed();
            log.push(serde_json::to_vec(&line(event)));
        })
    }

    pub(crate) fn head(&self, seal: &Seal, now: Timestamp) {
        self.push(serde_json::to_vec(&HeadLine {
            ts: now,
            v: VERSION,
            event: "audit.head",
            severity: Severity::Info,
            component: Component::ControlPlane.as_str(),
            head: HeadOf {
                sequence: seal.sequence,
                digest: seal.digest.to_string(),
                key_id: &seal.key_id,
                mac: seal.mac.to_string(),
            },
        }));
    }

    /// Waits until what is queued was written, if a reader takes it in that time.
    pub(crate) async fn flush(&self, within: Duration) {
        let flushed = async {
            let (done, written) = oneshot::channel();
            if self.queue.send(Message::Flush(done)).await.is_ok() {
                // The thread ends with the last sender, which this is.
                let _ = written.await;
            }
        };
        if tokio::time::timeout(within, flushed).await.is_err() {
            tracing::error!("nobody reads the audit log: lines that waited are lost");
        }
    }

    fn push(&self, line: serde_json::Result<Vec<u8>>) {
        let Ok(mut line) = line else {
            return self.lost();
        };
        line.push(b'\n');
        let length = line.len();
        if self.bytes.fetch_add(length, Ordering::Relaxed) + length > MAX_BYTES
            || self.queue.try_send(Message::Line(line)).is_err()
        {
            self.bytes.fetch_sub(length, Ordering::Relaxed);
            return self.lost();
        }
        self.losing.store(false, Ordering::Relaxed);
    }

    fn lost(&self) {
        self.counts.line(false);
        if !self.losing.swap(true, Ordering::Relaxed) {
            tracing::error!("nobody reads the audit log: its lines are being dropped and counted");
        }
    }
}

/// Ends with the last [`Log`].
fn write_all(
    mut lines: mpsc::Receiver<Message>,
    mut out: Box<dyn Write + Send>,
    bytes: &AtomicUsize,
    counts: &AuditCounts,
) {
    while let Some(message) = lines.blocking_recv() {
        match message {
            Message::Line(line) => {
                // At once, so that lines of two writers to one pipe don't mix.
                let written = out.write_all(&line).and_then(|()| out.flush());
                bytes.fetch_sub(line.len(), Ordering::Relaxed);
                counts.line(written.is_ok());
                if let Err(error) = written {
                    tracing::error!(%error, "a line of the audit log couldn't be written");
                }
            }
            // Whoever waited may have given up.
            Message::Flush(done) => drop(done.send(())),
        }
    }
}

/// A record's line, for whoever runs no server to write it.
pub(crate) fn text(event: &Event) -> serde_json::Result<String> {
    serde_json::to_string(&line(event))
}

fn line(event: &Event) -> Line<'_> {
    Line {
        ts: event.time,
        v: VERSION,
        id: event.id,
        event: event.kind.as_str(),
        severity: event.kind.severity(),
        component: event.component.as_str(),
        request_id: &event.request_id,
        gateway: &event.gateway,
        config: &event.k8s_auth_config,
        access_id: &event.access_id,
        resource: &event.resource,
        caller: Caller {
            ip: event.caller_ip,
            user_agent: &event.user_agent,
        },
        subject: event.facts.as_ref().map(subject),
        sub_claims: &event.sub_claims,
        verification: event.facts.as_ref().map(|facts| Verification {
            mode: facts.mode.as_str(),
            cached: facts.cached,
            review_ms: facts.review_ms,
        }),
        decision: Decision {
            result: result(event.kind),
            reason: &event.reason,
            rule: event.rule,
            revision: event.revision,
        },
        token: Token {
            accessor: (!event.accessor.is_empty()).then_some(&event.accessor),
            expires_at: event.token_expire_time,
        },
        count: event.count,
        before: json(event.before.as_deref()),
        after: json(event.after.as_deref()),
    }
}

fn subject(facts: &Facts) -> Subject<'_> {
    Subject {
        namespace: &facts.namespace,
        service_account: &facts.service_account_name,
        service_account_uid: &facts.service_account_uid,
        pod: facts.pod_name.as_deref(),
        pod_uid: facts.pod_uid.as_deref(),
        node: facts.node_name.as_deref(),
        credential_id: facts.credential_id.as_deref(),
        client_ip: facts.client_ip,
        aud: &facts.aud,
    }
}

fn result(kind: EventKind) -> &'static str {
    match kind {
        EventKind::CallLimited => "limit",
        EventKind::LoginDenied
        | EventKind::LoginDeniedOverflow
        | EventKind::AccessKeyDenied
        | EventKind::RefusalsOverflow
        | EventKind::AdminRefused => "deny",
        _ => "allow",
    }
}

/// The store wrote it as JSON.
fn json(text: Option<&str>) -> Option<Value> {
    serde_json::from_str(text?).ok()
}

#[cfg(test)]
mod tests;
