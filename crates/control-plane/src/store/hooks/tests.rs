use std::net::IpAddr;
use std::sync::Arc;

use jiff::SignedDuration;

use postern_core::audit::flood::{MAX_RECORDS, MAX_WINDOWS};

use super::*;

#[test]
fn what_is_refused_beyond_all_windows_is_one_count_that_stays_until_it_is_taken() {
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
    let counts = hooks.waiting(Some(now));
    assert_eq!(counts.len(), 1, "a minute that isn't over");
    let overflow = &counts[0];
    assert_eq!(
        (overflow.kind, overflow.count, overflow.request_id.as_str()),
        (EventKind::RefusalsOverflow, 3, "20000")
    );
    assert_eq!(
        hooks.waiting(None).len(),
        2,
        "they come again until they are taken"
    );
    hooks.taken(2);
    assert!(hooks.waiting(None).is_empty());
}

#[test]
fn what_waits_for_a_database_that_is_away_takes_bounded_memory() {
    let hooks = Hooks::new(Arc::new(|_| {}));
    let noon: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
    let room = u32::try_from(MAX_WAITING).unwrap();
    for minute in 0..3 {
        let time = noon + SignedDuration::from_mins(minute);
        for peer in 0..room / 2 {
            hooks.limited(Event {
                caller_ip: Some(IpAddr::from(peer.to_be_bytes())),
                ..Event::new(EventKind::CallLimited, Component::ControlPlane, time)
            });
        }
        hooks.waiting(Some(time));
    }
    assert_eq!(hooks.waiting(None).len(), MAX_WAITING);
    hooks.taken(MAX_WAITING);
    let rest = hooks.waiting(None);
    let rest: Vec<_> = rest.iter().map(|event| (event.kind, event.count)).collect();
    assert_eq!(rest, [(EventKind::RefusalsOverflow, room / 2)]);
}
