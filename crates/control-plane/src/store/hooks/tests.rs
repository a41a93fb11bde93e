use std::net::IpAddr;
use std::sync::Arc;

use postern_core::audit::flood::{MAX_RECORDS, MAX_WINDOWS};

use super::*;

#[test]
fn refusals_from_too_many_addresses_are_counted() {
    let hooks = Hooks::new(Arc::new(|_| {}));
    let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
    let refusal = |peer: u32, request_id: &str| Event {
        caller_ip: Some(IpAddr::from(peer.to_be_bytes())),
        request_id: request_id.to_owned(),
        ..Event::new(EventKind::AccessKeyDenied, Component::ControlPlane, now)
    };
    for peer in 0..u32::try_from(MAX_WINDOWS).unwrap() {
        assert!(hooks.refused(refusal(peer, "x")).is_some());
    }
    for peer in [20_000, 20_001, 20_002] {
        assert!(hooks.refused(refusal(peer, &peer.to_string())).is_none());
    }
    for _ in 1..MAX_RECORDS + 4 {
        hooks.refused(refusal(1, "again"));
    }
    let counts = hooks.counts(Some(now));
    assert_eq!(counts.len(), 1, "a minute that isn't over");
    let overflow = &counts[0];
    assert_eq!(
        (overflow.kind, overflow.count, overflow.request_id.as_str()),
        (EventKind::RefusalsOverflow, 3, "20000")
    );
    assert_eq!(
        hooks.counts(None).len(),
        2,
        "they come again until they are taken"
    );
    hooks.counts_taken(2);
    assert!(hooks.counts(None).is_empty());
}
