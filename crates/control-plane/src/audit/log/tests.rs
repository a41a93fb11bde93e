use std::sync::{Condvar, Mutex, PoisonError};

use postern_core::facts::VerificationMode;
use postern_core::reason::DenyReason;
use serde_json::json;

use super::*;

/// A reader that reads only while it is let, and everything that it got.
#[derive(Clone, Default)]
struct Reader(Arc<(Mutex<Read>, Condvar)>);

#[derive(Default)]
struct Read {
    stalled: bool,
    bytes: Vec<u8>,
}

impl Reader {
    fn stall(&self, stalled: bool) {
        let (read, changed) = &*self.0;
        read.lock().unwrap().stalled = stalled;
        changed.notify_all();
    }

    fn lines(&self) -> Vec<Value> {
        let bytes = self.0.0.lock().unwrap().bytes.clone();
        let text = String::from_utf8(bytes).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

impl Write for Reader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (read, changed) = &*self.0;
        let read = read.lock().unwrap_or_else(PoisonError::into_inner);
        let mut read = changed.wait_while(read, |read| read.stalled).unwrap();
        read.bytes.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn facts() -> Facts {
    serde_json::from_value(json!({
        "namespace": "pay", "service_account_name": "api", "service_account_uid": "u-1",
        "pod_name": "api-7c", "credential_id": "JTI=1", "aud": ["a"],
        "for_api_server": false, "legacy": false, "mode": VerificationMode::JwksThenReview,
        "review_ms": 6,
    }))
    .unwrap()
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
        facts: Some(facts()),
        reason: DenyReason::PodNameNotBound.to_string(),
        rule: Some(0),
        ..Event::new(EventKind::LoginDenied, Component::Gateway, time)
    }
}

const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_record_is_one_line_of_json() {
    let reader = Reader::default();
    let log = Log::start(Box::new(reader.clone()), AuditCounts::default()).unwrap();
    let sink = log.sink();
    sink(&denied());
    sink(&Event {
        facts: Some(Facts {
            cached: true,
            review_ms: None,
            ..facts()
        }),
        after: Some(r#"{"x": "a\nb"}"#.to_owned()),
        token_expire_time: Some(denied().time),
        ..denied()
    });
    log.flush(SOON).await;
    let lines = reader.lines();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        lines[0],
        json!({
            "ts": "2026-11-23T10:00:00.123456Z", "v": 1,
            "id": "00000000-0000-0000-0000-000000000001",
            "event": "login.denied", "severity": "warning", "component": "gateway",
            "request_id": "01J00000000000000000000000", "gateway": "default",
            "config": "gateways/default/k8sAuthConfigs/k8s-conf",
            "access_id": "p-abcdefghijkl", "caller": {"ip": "10.2.3.4"},
            "subject": {
                "namespace": "pay", "service_account": "api", "service_account_uid": "u-1",
                "pod": "api-7c", "credential_id": "JTI=1", "aud": ["a"],
            },
            "verification": {"mode": "jwks_then_review", "cached": false, "review_ms": 6},
            "decision": {"result": "deny", "reason": "POD_NAME_NOT_BOUND", "rule": 0},
            "token": {"accessor": null, "expires_at": null}, "count": 1,
        })
    );
    assert_eq!(lines[1]["after"]["x"], "a\nb");
    assert_eq!(
        lines[1]["verification"],
        json!({"mode": "jwks_then_review", "cached": true})
    );
    assert_eq!(
        lines[1]["token"]["expires_at"],
        "2026-11-23T10:00:00.123456Z"
    );
}

#[tokio::test]
async fn a_reader_that_stops_reading_stops_nobody_and_what_it_misses_is_counted() {
    let reader = Reader::default();
    reader.stall(true);
    let counts = AuditCounts::default();
    let log = Log::start(Box::new(reader.clone()), counts.clone()).unwrap();
    let sink = log.sink();
    // One line is in the writer's hands.
    let sent = MAX_LINES + 10;
    for _ in 0..sent {
        sink(&denied());
    }
    let lost = counts.lost_lines();
    assert!((9..=10).contains(&lost), "{lost} lines found no room");
    reader.stall(false);
    log.flush(SOON).await;
    assert_eq!(reader.lines().len() as u64, sent as u64 - lost);
    sink(&denied());
    log.flush(SOON).await;
    assert_eq!(counts.lost_lines(), lost, "there is room again");
}

#[test]
fn only_what_was_refused_is_said_to_be() {
    for kind in EventKind::ALL {
        let words = ["denied", "refused", "overflow"];
        let refusal = words.iter().any(|word| kind.as_str().contains(word));
        let said = result(*kind);
        assert_eq!(said == "deny", refusal, "{kind:?}: {said}");
    }
}
