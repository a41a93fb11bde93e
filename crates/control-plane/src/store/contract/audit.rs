use postern_core::audit::{Component, Event, EventKind};

use super::bed::Bed;
use super::fixtures::{facts, later, noon};
use crate::store::EventFilter;

super::on_both_engines! {
    a_record_is_read_as_it_was_reported,
    a_report_sent_twice_is_stored_once,
    pages_go_from_the_newest_to_the_oldest,
}

fn event(request_id: &str, seconds: i64) -> Event {
    Event {
        request_id: request_id.to_owned(),
        gateway: "g".to_owned(),
        k8s_auth_config: "gateways/g/k8sAuthConfigs/c".to_owned(),
        access_id: "p-abcdefghijkl".to_owned(),
        caller_ip: Some("2001:db8::1".parse().unwrap()),
        user_agent: "curl".to_owned(),
        accessor: "a-x".to_owned(),
        resource: "x".to_owned(),
        facts: Some(facts()),
        reason: "POD_NAME_NOT_BOUND".to_owned(),
        rule: Some(3),
        count: 17,
        revision: Some(5),
        before: Some("{}".to_owned()),
        after: Some("{\"a\":1}".to_owned()),
        ..Event::new(EventKind::LoginDenied, Component::Gateway, later(seconds))
    }
}

async fn a_record_is_read_as_it_was_reported(bed: Bed) {
    let reported = event("r1", 0);
    bed.store
        .report_events(std::slice::from_ref(&reported))
        .await
        .unwrap();
    let read = bed.record("r1").await;
    assert_eq!(format!("{read:?}"), format!("{reported:?}"));
    let bare = Event::new(EventKind::LoginDeniedOverflow, Component::Gateway, noon());
    let odd = Event {
        user_agent: "nul\0'); DROP TABLE tokens; --".to_owned(),
        request_id: "r2".to_owned(),
        ..bare
    };
    bed.store.report_events(&[odd]).await.unwrap();
    let read = bed.record("r2").await;
    assert_eq!(read.user_agent, "nul\u{fffd}'); DROP TABLE tokens; --");
    assert_eq!((read.facts, read.rule, read.revision), (None, None, None));
}

async fn a_report_sent_twice_is_stored_once(bed: Bed) {
    let events: Vec<_> = (0..700).map(|i| event(&format!("r{i}"), i)).collect();
    bed.store.report_events(&events[..600]).await.unwrap();
    let again = futures::future::join(
        bed.store.report_events(&events),
        bed.store.report_events(&events),
    )
    .await;
    again.0.and(again.1).unwrap();
    let twice = [events[0].clone(), events[0].clone()];
    bed.store.report_events(&twice).await.unwrap();
    bed.store.report_events(&[]).await.unwrap();
    assert_eq!(bed.count("SELECT COUNT(*) FROM audit_events").await, 700);
    assert_eq!(bed.lines().len(), 700, "the sink got each once");
}

async fn pages_go_from_the_newest_to_the_oldest(bed: Bed) {
    // Several of one instant: the ID decides.
    let events: Vec<_> = (0..7).map(|i| event("same", i / 3)).collect();
    bed.store.report_events(&events).await.unwrap();
    bed.store
        .report_events(&[event("other", 100)])
        .await
        .unwrap();
    let mut expected = events.clone();
    expected.sort_by_key(|event| std::cmp::Reverse((event.time, event.id)));
    let (mut walked, mut before) = (Vec::new(), None);
    loop {
        let page = bed
            .store
            .list_events(&EventFilter::request("same"), before.as_ref(), 2)
            .await
            .unwrap();
        walked.extend(page.items.iter().map(|event| event.id));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    let expected: Vec<_> = expected.iter().map(|event| event.id).collect();
    assert_eq!(walked, expected);
    let any = EventFilter::default();
    let all = bed.store.list_events(&any, None, 100).await.unwrap();
    assert_eq!(
        (all.items.len(), all.items[0].request_id.as_str(), all.next),
        (8, "other", None)
    );
}
