//! Audit records as lines of JSON.

use std::io::Write;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use postern_core::audit::{Event, EventKind, Severity};
use postern_core::facts::{Facts, SubClaims};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::metrics::AuditCounts;
use crate::store::AuditSink;

/// Of the format. It changes when a reader of the old one would misunderstand a line.
const VERSION: u32 = 1;

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
}

/// Writes each record as one line. A line that can't be written is reported in the log: the
/// record itself is in the database by then.
pub(crate) fn sink(out: Box<dyn Write + Send>, counts: AuditCounts) -> AuditSink {
    let out = Mutex::new(out);
    Arc::new(move |event| {
        let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
        let written = write(out.as_mut(), event);
        counts.committed();
        counts.line(written.is_ok());
        if let Err(error) = written {
            tracing::error!(%error, id = %event.id, "an audit record couldn't be written out");
        }
    })
}

fn write(out: &mut dyn Write, event: &Event) -> std::io::Result<()> {
    // At once, so that lines of two writers to one pipe don't mix.
    let mut line = serde_json::to_vec(&line(event))?;
    line.push(b'\n');
    out.write_all(&line)?;
    out.flush()
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
        decision: Decision {
            result: result(event.kind),
            reason: &event.reason,
            rule: event.rule,
            revision: event.revision,
        },
        token: Token {
            accessor: (!event.accessor.is_empty()).then_some(&event.accessor),
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
    match kind.severity() {
        Severity::Info => "allow",
        Severity::Warning => "deny",
    }
}

/// The store wrote it as JSON.
fn json(text: Option<&str>) -> Option<Value> {
    serde_json::from_str(text?).ok()
}

#[cfg(test)]
mod tests {
    use std::io;

    use postern_core::audit::Component;
    use postern_core::reason::DenyReason;

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn denied() -> Event {
        let time = "2026-11-23T10:00:00.123456Z".parse().unwrap();
        Event {
            id: Uuid::from_u128(1),
            request_id: "01J00000000000000000000000".to_owned(),
            gateway: "default".to_owned(),
            k8s_auth_config: "gateways/default/k8sAuthConfigs/k8s-conf".to_owned(),
            access_id: "p-abcdefghijkl".to_owned(),
            caller_ip: Some([10, 2, 3, 4].into()),
            reason: DenyReason::PodNameNotBound.to_string(),
            rule: Some(0),
            ..Event::new(EventKind::LoginDenied, Component::Gateway, time)
        }
    }

    #[test]
    fn a_record_is_one_line_of_json() {
        let buffer = Buffer::default();
        let sink = sink(Box::new(buffer.clone()), AuditCounts::default());
        sink(&denied());
        sink(&Event {
            after: Some(r#"{"x": "a\nb"}"#.to_owned()),
            ..denied()
        });
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        let first: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
        assert_eq!(
            first,
            serde_json::json!({
                "ts": "2026-11-23T10:00:00.123456Z", "v": 1,
                "id": "00000000-0000-0000-0000-000000000001",
                "event": "login.denied", "severity": "warning", "component": "gateway",
                "request_id": "01J00000000000000000000000", "gateway": "default",
                "config": "gateways/default/k8sAuthConfigs/k8s-conf",
                "access_id": "p-abcdefghijkl", "caller": {"ip": "10.2.3.4"},
                "decision": {"result": "deny", "reason": "POD_NAME_NOT_BOUND", "rule": 0},
                "token": {"accessor": null}, "count": 1,
            })
        );
        let second: serde_json::Value = serde_json::from_str(lines[1]).unwrap();
        assert_eq!(second["after"]["x"], "a\nb");
    }
}
