use jiff::Timestamp;
use postern_core::audit::chain::{Chain, Fault, Finding, Head, Verifier};
use postern_core::audit::{Component, Event, EventKind};
use postern_core::own_keys::OwnKeys;
use uuid::Uuid;

use super::bed::Bed;
use super::fixtures::{facts, later, noon};
use crate::store::{EventFilter, LoginStat, StatsWindow, Store, TailCursor};

super::on_both_engines! {
    records_are_sealed_in_batches_each_once_and_none_is_missed,
    several_processes_make_one_chain,
    what_is_done_to_sealed_records_is_found,
    what_is_done_to_seals_is_found,
    a_log_that_was_cut_off_is_found_by_a_head_that_was_kept,
    retention_removes_whole_seals_and_leaves_an_anchor,
    nothing_is_removed_past_a_gap,
    retention_removes_no_seal_whose_time_was_altered,
    retention_removes_no_record_that_was_altered,
    a_record_that_claims_a_seal_of_before_the_anchor_is_found,
    a_follower_gets_each_record_once_in_the_order_of_the_seals,
    a_search_finds_what_it_asks_for_and_a_page_ends_although_it_finds_little,
    logins_are_counted_once_by_minute_config_and_reason,
    a_flood_of_wrong_keys_is_ten_records_and_a_count,
    what_a_limit_turns_away_costs_no_write_until_all_are_written_at_once,
}

const CHAIN: Chain = Chain(Uuid::from_u128(7));

fn keys() -> OwnKeys {
    let line = OwnKeys::generate_line(&"k1".parse().unwrap()).unwrap();
    OwnKeys::parse(&line).unwrap()
}

fn event(id: u128, seconds: i64) -> Event {
    Event {
        id: Uuid::from_u128(id),
        request_id: format!("r{id}"),
        facts: Some(facts()),
        reason: "POD_NAME_NOT_BOUND".to_owned(),
        k8s_auth_config: "gateways/g/k8sAuthConfigs/c".to_owned(),
        ..Event::new(EventKind::LoginDenied, Component::Gateway, later(seconds))
    }
}

async fn report(store: &Store, ids: std::ops::Range<u128>) {
    let events: Vec<Event> = ids.map(|id| event(id, 0)).collect();
    store.report_events(&events).await.unwrap();
}

async fn seal_at(store: &Store, keys: &OwnKeys, now: Timestamp) -> Option<Head> {
    let sealed = store.seal_events(CHAIN, keys, now).await.unwrap();
    sealed.map(|sealed| sealed.seal.head())
}

/// Three seals of three records each: 0 to 2, 10 to 12, 20 to 22.
async fn three_seals(bed: &Bed, keys: &OwnKeys) -> Vec<Head> {
    let mut heads = Vec::new();
    for n in 0..3 {
        report(&bed.store, n * 10..n * 10 + 3).await;
        heads.extend(seal_at(&bed.store, keys, noon()).await);
    }
    heads
}

async fn verify(store: &Store, keys: &OwnKeys, known: &[Head]) -> Vec<Finding> {
    let mut verifier = Verifier::new(CHAIN, keys, known.iter().copied());
    let mut findings = Vec::new();
    loop {
        let page = store.sealed(CHAIN, verifier.at().sequence).await.unwrap();
        if let Some(anchor) = &page.anchor {
            findings.extend(verifier.anchor(anchor));
        }
        for found in &page.found {
            findings.extend(verifier.seal(found));
        }
        for (seal, id) in page.strays {
            findings.push(Finding::of_record(Fault::RecordInserted, seal, id));
        }
        if page.last {
            findings.extend(verifier.finish(page.head));
            return findings;
        }
    }
}

fn of_record(fault: Fault, sequence: i64, id: u128) -> Finding {
    Finding::of_record(fault, sequence, Uuid::from_u128(id))
}

fn of_seals(findings: &[Finding]) -> Vec<(Fault, i64)> {
    findings.iter().map(|f| (f.fault, f.sequence)).collect()
}

async fn records_are_sealed_in_batches_each_once_and_none_is_missed(bed: Bed) {
    let keys = keys();
    assert_eq!(seal_at(&bed.store, &keys, noon()).await, None);
    let events: Vec<Event> = (0..1500).map(|id| event(id, 100)).collect();
    bed.store.report_events(&events).await.unwrap();
    let first = bed.store.seal_events(CHAIN, &keys, noon()).await.unwrap();
    let first = first.unwrap();
    assert!(first.full);
    assert_eq!(first.seal.leaves.len(), 1000);
    // Older than what is sealed already, and committed later.
    bed.store.report_events(&[event(5000, 0)]).await.unwrap();
    let second = bed.store.seal_events(CHAIN, &keys, noon()).await.unwrap();
    let second = second.unwrap();
    assert!(!second.full);
    assert_eq!(second.seal.leaves.len(), 501);
    assert_eq!(seal_at(&bed.store, &keys, noon()).await, None);
    let heads = [first.seal.head(), second.seal.head()];
    assert_eq!(verify(&bed.store, &keys, &heads).await, []);
    assert_eq!(bed.record("r5000").await.seal, Some(2));
}

async fn several_processes_make_one_chain(bed: Bed) {
    let keys = keys();
    let other = bed.another().await;
    for n in 0..5 {
        report(&bed.store, n * 10..n * 10 + 3).await;
        let (one, another) = tokio::join!(
            seal_at(&bed.store, &keys, noon()),
            seal_at(&other, &keys, noon())
        );
        assert!(one.is_some() != another.is_some(), "one of them sealed");
    }
    assert_eq!(verify(&bed.store, &keys, &[]).await, []);
    assert_eq!(bed.count("SELECT COUNT(*) FROM audit_seals").await, 5);
}

async fn what_is_done_to_sealed_records_is_found(bed: Bed) {
    let keys = keys();
    let heads = three_seals(&bed, &keys).await;
    for statement in [
        // Removed, altered in a text, a number, a null and what is searched by, moved, inserted.
        "DELETE FROM audit_events WHERE request_id = 'r1'",
        "UPDATE audit_events SET reason = '' WHERE request_id = 'r10'",
        "UPDATE audit_events SET time = time + 1 WHERE request_id = 'r11'",
        "UPDATE audit_events SET after_json = '{}' WHERE request_id = 'r12'",
        "UPDATE audit_events SET pod = 'other' WHERE request_id = 'r20'",
        "UPDATE audit_events SET seal = 2 WHERE request_id = 'r21'",
        "INSERT INTO audit_events (id, time, event, component, request_id, gateway,
             k8s_auth_config, access_id, user_agent, accessor, resource, reason, count, seal)
         VALUES ('00000000-0000-0000-0000-000000000063', 1, 'login.granted', 'gateway', '', '',
             '', '', '', '', '', '', 1, 3)",
        "INSERT INTO audit_events (id, time, event, component, request_id, gateway,
             k8s_auth_config, access_id, user_agent, accessor, resource, reason, count, seal)
         VALUES ('00000000-0000-0000-0000-000000000064', 1, 'login.granted', 'gateway', '', '',
             '', '', '', '', '', '', 1, 9)",
    ] {
        bed.store.raw(statement).await;
    }
    let mut found = verify(&bed.store, &keys, &heads).await;
    found.sort_by_key(|finding| (finding.sequence, finding.record));
    assert_eq!(
        found,
        [
            of_record(Fault::RecordRemoved, 1, 1),
            of_record(Fault::RecordAltered, 2, 10),
            of_record(Fault::RecordAltered, 2, 11),
            of_record(Fault::RecordAltered, 2, 12),
            of_record(Fault::RecordInserted, 2, 21),
            of_record(Fault::RecordAltered, 3, 20),
            of_record(Fault::RecordRemoved, 3, 21),
            of_record(Fault::RecordInserted, 3, 0x63),
            of_record(Fault::RecordInserted, 9, 0x64),
        ]
    );
}

async fn what_is_done_to_seals_is_found(bed: Bed) {
    let keys = keys();
    let heads = three_seals(&bed, &keys).await;
    // The record and its place in the list.
    bed.store
        .raw("DELETE FROM audit_events WHERE request_id = 'r10'")
        .await;
    bed.store
        .raw("UPDATE audit_seals SET records = previous WHERE sequence = 2")
        .await;
    let found = verify(&bed.store, &keys, &heads).await;
    assert!(
        of_seals(&found).contains(&(Fault::SealAltered, 2)),
        "{found:?}"
    );
    bed.store
        .raw("DELETE FROM audit_seals WHERE sequence = 2")
        .await;
    let found = of_seals(&verify(&bed.store, &keys, &heads).await);
    for expected in [
        (Fault::SealRemoved, 2),
        (Fault::HeadDiffers, 2),
        (Fault::RecordInserted, 2),
    ] {
        assert!(found.contains(&expected), "{found:?}");
    }
    bed.store
        .raw("UPDATE audit_seals SET key_id = 'other' WHERE sequence = 3")
        .await;
    let found = of_seals(&verify(&bed.store, &keys, &[]).await);
    assert!(found.contains(&(Fault::KeyUnknown, 3)), "{found:?}");
    // Whoever hasn't got the key can't make a seal.
    let stranger = self::keys();
    assert!(!verify(&bed.store, &stranger, &[]).await.is_empty());
}

async fn a_log_that_was_cut_off_is_found_by_a_head_that_was_kept(bed: Bed) {
    let keys = keys();
    let heads = three_seals(&bed, &keys).await;
    bed.store
        .raw("DELETE FROM audit_events WHERE seal > 1")
        .await;
    bed.store
        .raw("DELETE FROM audit_seals WHERE sequence > 1")
        .await;
    let found = of_seals(&verify(&bed.store, &keys, &[]).await);
    assert_eq!(found, [(Fault::CutOff, 2)], "the chain's own row says so");
    bed.store
        .raw("UPDATE audit_chain SET sequence = 1, digest = (SELECT digest FROM audit_seals)")
        .await;
    assert_eq!(
        verify(&bed.store, &keys, &[]).await,
        [],
        "nobody else knows"
    );
    let found = of_seals(&verify(&bed.store, &keys, &heads[2..]).await);
    assert_eq!(found, [(Fault::CutOff, 2)]);
    // It goes on, as if nothing had been.
    report(&bed.store, 30..33).await;
    report(&bed.store, 40..43).await;
    seal_at(&bed.store, &keys, noon()).await;
    let found = of_seals(&verify(&bed.store, &keys, &heads[1..2]).await);
    assert_eq!(found, [(Fault::HeadDiffers, 2)]);
}

async fn retention_removes_whole_seals_and_leaves_an_anchor(bed: Bed) {
    let keys = keys();
    let mut heads = Vec::new();
    for n in 0..30 {
        report(&bed.store, n * 10..n * 10 + 2).await;
        let at = later(i64::try_from(n).unwrap());
        heads.extend(seal_at(&bed.store, &keys, at).await);
    }
    let prune = async |before| bed.store.prune_events(CHAIN, &keys, before).await.unwrap();
    assert_eq!(prune(later(25)).await, 25 * 3);
    assert_eq!(prune(later(25)).await, 0);
    assert_eq!(bed.count("SELECT COUNT(*) FROM audit_events").await, 10);
    assert_eq!(verify(&bed.store, &keys, &heads).await, []);
    report(&bed.store, 900..901).await;
    seal_at(&bed.store, &keys, later(40)).await;
    assert_eq!(prune(later(30)).await, 5 * 3);
    assert_eq!(verify(&bed.store, &keys, &heads).await, []);
    // Removed by somebody else, who can move the anchor but not sign it.
    bed.store.raw("DELETE FROM audit_events").await;
    bed.store
        .raw("UPDATE audit_chain SET anchor_sequence = 31")
        .await;
    let found = of_seals(&verify(&bed.store, &keys, &[]).await);
    assert_eq!(found[0], (Fault::AnchorAltered, 31));
}

async fn nothing_is_removed_past_a_gap(bed: Bed) {
    let keys = keys();
    three_seals(&bed, &keys).await;
    bed.store
        .raw("DELETE FROM audit_seals WHERE sequence = 2")
        .await;
    let pruned = bed.store.prune_events(CHAIN, &keys, later(9)).await;
    assert_eq!(pruned.unwrap(), 4, "the first seal and its records");
    let found = of_seals(&verify(&bed.store, &keys, &[]).await);
    assert!(found.contains(&(Fault::SealRemoved, 2)), "{found:?}");
}

/// Whoever has the database makes seals old, for the control plane to remove and vouch for that.
async fn retention_removes_no_seal_whose_time_was_altered(bed: Bed) {
    let keys = keys();
    let heads = three_seals(&bed, &keys).await;
    bed.store.raw("UPDATE audit_seals SET time = 0").await;
    let pruned = bed.store.prune_events(CHAIN, &keys, later(-3600)).await;
    assert_eq!(pruned.unwrap(), 0);
    let found = of_seals(&verify(&bed.store, &keys, &heads).await);
    assert!(found.contains(&(Fault::SealAltered, 1)), "{found:?}");
}

async fn retention_removes_no_record_that_was_altered(bed: Bed) {
    let keys = keys();
    let heads = three_seals(&bed, &keys).await;
    bed.store
        .raw("UPDATE audit_events SET reason = 'X' WHERE request_id = 'r11'")
        .await;
    let prune = async || {
        bed.store
            .prune_events(CHAIN, &keys, later(9))
            .await
            .unwrap()
    };
    assert_eq!(prune().await, 4, "the first seal and its records");
    assert_eq!(prune().await, 0);
    let found = verify(&bed.store, &keys, &heads).await;
    let altered = Finding::of_record(Fault::RecordAltered, 2, Uuid::from_u128(11));
    assert_eq!(found, [altered]);
}

async fn a_record_that_claims_a_seal_of_before_the_anchor_is_found(bed: Bed) {
    let keys = keys();
    let heads = three_seals(&bed, &keys).await;
    report(&bed.store, 30..33).await;
    seal_at(&bed.store, &keys, later(60)).await;
    assert_eq!(
        bed.store
            .prune_events(CHAIN, &keys, later(9))
            .await
            .unwrap(),
        12
    );
    assert_eq!(verify(&bed.store, &keys, &heads).await, []);
    for (id, claim) in [
        (
            90,
            "UPDATE audit_events SET seal = 0 WHERE request_id = 'r90'",
        ),
        (
            91,
            "UPDATE audit_events SET seal = -1 WHERE request_id = 'r91'",
        ),
        (
            92,
            "UPDATE audit_events SET seal = 3 WHERE request_id = 'r92'",
        ),
    ] {
        bed.store.report_events(&[event(id, 0)]).await.unwrap();
        bed.store.raw(claim).await;
    }
    let mut found = verify(&bed.store, &keys, &heads).await;
    found.sort_by_key(|finding| finding.record);
    let inserted = |seal, id| Finding::of_record(Fault::RecordInserted, seal, Uuid::from_u128(id));
    assert_eq!(found, [inserted(0, 90), inserted(-1, 91), inserted(3, 92)]);
}

async fn a_follower_gets_each_record_once_in_the_order_of_the_seals(bed: Bed) {
    let keys = keys();
    three_seals(&bed, &keys).await;
    // Late: older than all of them.
    bed.store.report_events(&[event(99, -100)]).await.unwrap();
    seal_at(&bed.store, &keys, noon()).await;
    report(&bed.store, 100..101).await;
    let any = EventFilter::default();
    let (mut got, mut at) = (Vec::new(), TailCursor::after(0));
    loop {
        let tail = bed.store.tail_events(&any, &at, 2).await.unwrap();
        got.extend(tail.events.iter().map(|event| event.id.as_u128()));
        at = tail.reached;
        if !tail.behind {
            break;
        }
    }
    assert_eq!(got, [0, 1, 2, 10, 11, 12, 20, 21, 22, 99]);
    let nothing = bed.store.tail_events(&any, &at, 2).await.unwrap();
    assert_eq!((nothing.events.len(), &nothing.reached), (0, &at));
    seal_at(&bed.store, &keys, noon()).await;
    let filter = EventFilter {
        namespace: Some("nobody's".to_owned()),
        ..EventFilter::default()
    };
    let filtered = bed.store.tail_events(&filter, &at, 2).await.unwrap();
    assert_eq!((filtered.events.len(), filtered.reached.seal), (0, 5));
    let last = bed.store.tail_events(&any, &at, 2).await.unwrap();
    assert_eq!(last.events[0].id.as_u128(), 100);
    // Retention overtakes whoever is far behind.
    let pruned = bed.store.prune_events(CHAIN, &keys, later(9)).await;
    assert_eq!(pruned.unwrap(), 11 + 5);
    let late = bed.store.tail_events(&any, &TailCursor::after(0), 2).await;
    let late = late.unwrap();
    assert_eq!((late.events.len(), late.behind), (0, false));
}

async fn a_search_finds_what_it_asks_for_and_a_page_ends_although_it_finds_little(bed: Bed) {
    let mut needle = event(1, 0);
    needle.access_id = "p-abcdefghijkl".to_owned();
    bed.store.report_events(&[needle.clone()]).await.unwrap();
    let hay: Vec<Event> = (2..20_100).map(|id| event(id, 10)).collect();
    bed.store.report_events(&hay).await.unwrap();
    let facts = facts();
    let text = |text: &str| Some(text.to_owned());
    let searches = [
        EventFilter {
            access_id: text("p-abcdefghijkl"),
            ..EventFilter::default()
        },
        EventFilter {
            kind: Some(EventKind::LoginDenied),
            namespace: Some(facts.namespace),
            service_account: Some(facts.service_account_name),
            pod: facts.pod_name,
            reason: text("POD_NAME_NOT_BOUND"),
            k8s_auth_config: text("gateways/g/k8sAuthConfigs/c"),
            end: Some(later(1)),
            ..EventFilter::default()
        },
        EventFilter {
            end: Some(later(1)),
            start: Some(noon()),
            ..EventFilter::default()
        },
        EventFilter::request("r1"),
    ];
    for filter in searches {
        let (mut found, mut before, mut pages) = (Vec::new(), None, 0);
        loop {
            let page = bed.store.list_events(&filter, before.as_ref(), 10).await;
            let page = page.unwrap();
            found.extend(page.items.iter().map(|event| event.id));
            (before, pages) = (page.next, pages + 1);
            if before.is_none() {
                break;
            }
        }
        assert_eq!(found, [needle.id], "{filter:?}");
        assert!(pages <= 2, "{pages} pages for {filter:?}");
    }
    let nobody = EventFilter {
        gateway: text("nowhere"),
        ..EventFilter::default()
    };
    let page = bed.store.list_events(&nobody, None, 10).await.unwrap();
    assert!(page.items.is_empty());
    assert!(page.next.is_some(), "it looked at as many as a page may");
}

async fn logins_are_counted_once_by_minute_config_and_reason(bed: Bed) {
    let keys = keys();
    let many = Event {
        count: 17,
        ..event(1, 0)
    };
    let mut granted = event(2, 30);
    granted.kind = EventKind::LoginGranted;
    granted.reason = String::new();
    let later_one = event(3, 60);
    let other = Event {
        kind: EventKind::AccessKeyDenied,
        ..event(4, 0)
    };
    bed.store
        .report_events(&[many, granted, other])
        .await
        .unwrap();
    seal_at(&bed.store, &keys, noon()).await;
    bed.store
        .report_events(&[later_one, event(5, 1)])
        .await
        .unwrap();
    seal_at(&bed.store, &keys, noon()).await;
    let stat = |result: &str, reason: &str, count| LoginStat {
        k8s_auth_config: "gateways/g/k8sAuthConfigs/c".to_owned(),
        result: result.to_owned(),
        reason: reason.to_owned(),
        count,
    };
    let stats = async |start, end, config: Option<&str>| {
        let window = StatsWindow {
            start,
            end,
            k8s_auth_config: config.map(str::to_owned),
        };
        bed.store.login_stats(&window).await.unwrap()
    };
    assert_eq!(
        stats(noon(), later(60), None).await,
        [
            stat("denied", "POD_NAME_NOT_BOUND", 18),
            stat("granted", "", 1)
        ]
    );
    let config = Some("gateways/g/k8sAuthConfigs/c");
    assert_eq!(
        stats(later(60), later(120), config).await,
        [stat("denied", "POD_NAME_NOT_BOUND", 1)]
    );
    assert_eq!(stats(noon(), later(120), Some("other")).await, []);
    assert_eq!(bed.store.prune_stats(later(60)).await.unwrap(), 2);
    assert_eq!(stats(noon(), later(60), None).await, []);
}

async fn what_a_limit_turns_away_costs_no_write_until_all_are_written_at_once(bed: Bed) {
    let limited = |id| Event {
        kind: EventKind::CallLimited,
        reason: "PEER_CALLS".to_owned(),
        caller_ip: Some([10, 0, 0, 1].into()),
        ..event(id, 0)
    };
    for id in 0..50 {
        bed.store.record_later(limited(id)).unwrap();
    }
    let count = "SELECT COUNT(*) FROM audit_events";
    assert_eq!(bed.count(count).await, 0);
    bed.store.close_refusals(Some(noon())).await.unwrap();
    assert_eq!(bed.count(count).await, 10);
    let first = bed.record("r0").await;
    assert_eq!((first.count, first.kind), (1, EventKind::CallLimited));
    bed.store.close_refusals(Some(later(60))).await.unwrap();
    bed.store.close_refusals(None).await.unwrap();
    assert_eq!(bed.count(count).await, 11);
    assert_eq!(bed.record("r10").await.count, 40);
}

async fn a_flood_of_wrong_keys_is_ten_records_and_a_count(bed: Bed) {
    let refusal = |id| Event {
        kind: EventKind::AccessKeyDenied,
        reason: "ACCESS_KEY_WRONG".to_owned(),
        caller_ip: Some([10, 0, 0, 1].into()),
        ..event(id, 0)
    };
    for id in 0..50 {
        bed.store.record_refusal(refusal(id)).await.unwrap();
    }
    let count = "SELECT COUNT(*) FROM audit_events";
    assert_eq!(bed.count(count).await, 10);
    bed.store.close_refusals(Some(noon())).await.unwrap();
    assert_eq!(bed.count(count).await, 10, "the minute isn't over");
    bed.store.close_refusals(Some(later(60))).await.unwrap();
    bed.store.close_refusals(None).await.unwrap();
    assert_eq!(bed.count(count).await, 11);
    let rest = bed.record("r10").await;
    assert_eq!((rest.count, rest.kind), (40, EventKind::AccessKeyDenied));
}
