use std::net::{IpAddr, Ipv6Addr};

use jiff::{SignedDuration, Timestamp};
use postern_core::audit::flood::{MAX_RECORDS, MAX_WINDOWS};
use postern_core::audit::{Component, Event, EventKind};

use super::queue::{MAX_BATCH, MAX_QUEUED, Queue};
use crate::metrics::AuditCounts;
use crate::sample::noon;

fn event(peer: u32, request_id: &str, time: Timestamp) -> Event {
    let mut event = Event::new(EventKind::LoginDenied, Component::Gateway, time);
    event.caller_ip = Some(IpAddr::from(peer.to_be_bytes()));
    event.reason = "CONFIG_UNKNOWN".to_owned();
    event.request_id = request_id.to_owned();
    event
}

fn queue() -> Queue {
    Queue::new("default".to_owned(), AuditCounts::default())
}

fn drained(queue: &mut Queue) -> Vec<Event> {
    let mut all = Vec::new();
    while let Some(batch) = queue.batch() {
        assert!(batch.len() <= MAX_BATCH);
        queue.taken(batch.len());
        all.extend(batch);
    }
    all
}

fn counts(events: &[Event]) -> Vec<(EventKind, &str, u32)> {
    let mut counts = Vec::new();
    for event in events {
        counts.push((event.kind, event.request_id.as_str(), event.count));
    }
    counts
}

#[test]
fn a_batch_stays_until_it_was_taken_and_keeps_its_ids() {
    let mut queue = queue();
    for i in 0..MAX_BATCH + 1 {
        queue.push(event(1, &i.to_string(), noon()));
    }
    let batch = queue.batch().unwrap();
    assert_eq!(batch.len(), MAX_BATCH);
    queue.push(event(1, "later", noon()));
    let again = queue.batch().unwrap();
    let ids = |batch: &[Event]| batch.iter().map(|e| e.id).collect::<Vec<_>>();
    assert_eq!(ids(&batch), ids(&again));
    queue.taken(batch.len());
    assert_eq!(
        counts(&queue.batch().unwrap()),
        [
            (EventKind::LoginDenied, "500", 1),
            (EventKind::LoginDenied, "later", 1)
        ]
    );
}

#[test]
fn what_finds_no_room_is_counted_and_reported() {
    let mut queue = queue();
    for i in 0..MAX_QUEUED + 7 {
        queue.push(event(1, &i.to_string(), noon()));
    }
    assert_eq!(queue.len(), MAX_QUEUED);
    let all = drained(&mut queue);
    assert_eq!(all.len(), MAX_QUEUED + 1);
    let last = all.last().unwrap();
    let first_lost = MAX_QUEUED.to_string();
    assert_eq!(
        counts(std::slice::from_ref(last)),
        [(EventKind::LoginDeniedOverflow, first_lost.as_str(), 7)]
    );
    assert_eq!(last.gateway, "default");
}

#[test]
fn the_first_ten_of_a_flood_are_records_and_the_rest_is_one() {
    let mut queue = queue();
    for i in 0..1000 {
        queue.push_limited(event(1, &i.to_string(), noon()));
    }
    queue.push_limited(event(2, "another peer", noon()));
    let mut other = event(1, "another reason", noon());
    other.reason = "TOKEN_EXPIRED".to_owned();
    queue.push_limited(other);
    assert_eq!(queue.len(), MAX_RECORDS as usize + 2);
    drained(&mut queue);

    queue.close_minutes(Some(noon()));
    assert_eq!(queue.len(), 0, "the minute isn't over");
    let later = noon() + SignedDuration::from_secs(60);
    queue.close_minutes(Some(later));
    let rest = drained(&mut queue);
    assert_eq!(counts(&rest), [(EventKind::LoginDenied, "10", 990)]);
    assert_eq!(rest[0].reason, "CONFIG_UNKNOWN");

    queue.push_limited(event(1, "a new minute", later));
    assert_eq!(queue.len(), 1);
}

#[test]
fn the_addresses_of_one_ipv6_client_are_one_peer() {
    let mut queue = queue();
    let network = |n: u128| 0x2001_0db8_u128 << 96 | n << 64;
    for i in 0..100 {
        let mut event = event(1, &i.to_string(), noon());
        event.caller_ip = Some(Ipv6Addr::from_bits(network(0) | i).into());
        queue.push_limited(event);
    }
    assert_eq!(queue.len(), MAX_RECORDS as usize);
    let mut event = event(1, "a neighbour", noon());
    event.caller_ip = Some(Ipv6Addr::from_bits(network(1)).into());
    queue.push_limited(event);
    assert_eq!(queue.len(), MAX_RECORDS as usize + 1);
}

#[test]
fn many_peers_take_bounded_memory_and_are_counted() {
    let mut queue = queue();
    let peers = u32::try_from(MAX_WINDOWS).unwrap() + 5;
    for peer in 0..peers {
        queue.push_limited(event(peer, "x", noon()));
    }
    let overflow: Vec<_> = drained(&mut queue)
        .into_iter()
        .filter(|event| event.kind == EventKind::LoginDeniedOverflow)
        .collect();
    assert_eq!(
        counts(&overflow),
        [(EventKind::LoginDeniedOverflow, "x", 5)]
    );
    queue.close_minutes(None);
    queue.push_limited(event(peers, "room again", noon()));
    assert_eq!(queue.len(), 1);
}

#[test]
fn what_the_control_plane_never_takes_is_counted_and_blocks_nothing() {
    let mut queue = queue();
    queue.push(event(1, "bad", noon()));
    queue.push(event(1, "good", noon()));
    queue.rejected(1);
    let all = drained(&mut queue);
    assert_eq!(
        counts(&all),
        [
            (EventKind::LoginDenied, "good", 1),
            (EventKind::LoginDeniedOverflow, "bad", 1)
        ]
    );
    queue.push(all[1].clone());
    queue.rejected(1);
    assert!(queue.batch().is_none(), "a rejected count is given up");
}

#[test]
fn a_batch_is_bounded_in_bytes_too() {
    let mut queue = queue();
    for _ in 0..MAX_BATCH {
        let mut event = event(1, "x", noon());
        event.k8s_auth_config = "x".repeat(16 * 1024);
        queue.push(event);
    }
    let batch = queue.batch().unwrap().len();
    assert!(batch > 10 && batch < 60, "{batch}");
}
