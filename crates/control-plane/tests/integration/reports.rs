//! What gateways report.

use postern_proto::convert::time;
use postern_proto::pb;
use postern_rpc::request_id::RequestId;
use uuid::Uuid;

use crate::messages::pod;
use crate::world::{World, fields};

fn denied(world: &World, request_id: &str) -> pb::AuditEvent {
    pb::AuditEvent {
        id: Uuid::now_v7().to_string(),
        time: Some(time::timestamp(world.clock.now())),
        event: "login.denied".to_owned(),
        request_id: request_id.to_owned(),
        gateway: "somebody-else".to_owned(),
        k8s_auth_config: "gateways/default/k8sAuthConfigs/k8s-conf".to_owned(),
        access_id: "p-abcdefghijkl".to_owned(),
        caller_ip: "10.2.3.4".to_owned(),
        reason: "POD_NAME_NOT_BOUND".to_owned(),
        facts: Some(postern_proto::convert::audit::facts_to_pb(&pod("mypod3"))),
        ..pb::AuditEvent::default()
    }
}

#[tokio::test]
async fn a_report_is_found_under_its_request_id_and_is_the_callers_own() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    let id = RequestId::generate().to_string();
    let message = pb::ReportEventsRequest {
        events: vec![denied(&world, &id)],
    };
    // Repeated, as after a lost answer.
    for _ in 0..2 {
        world
            .sync()
            .report_events(gateway.request(message.clone()))
            .await
            .unwrap();
    }
    let events = world.events(&id).await;
    assert_eq!(events.len(), 1);
    assert_eq!(
        events[0].gateway, "default",
        "the credential says which gateway it is"
    );
    assert_eq!(events[0].component, "gateway");
    assert_eq!(events[0].reason, "POD_NAME_NOT_BOUND");
    assert_eq!(events[0].facts.as_ref().unwrap().pod_name, "mypod3");
    let lines = world.audit.contents();
    assert_eq!(lines.lines().filter(|line| line.contains(&id)).count(), 1);
}

#[tokio::test]
async fn names_that_match_nothing_arent_kept() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    let id = RequestId::generate().to_string();
    let mut event = denied(&world, &id);
    event.k8s_auth_config = "eyJhbGciOiJSUzI1NiJ9".to_owned();
    event.access_id = "eyJhbGciOiJSUzI1NiJ9".to_owned();
    let message = pb::ReportEventsRequest {
        events: vec![event],
    };
    world
        .sync()
        .report_events(gateway.request(message))
        .await
        .unwrap();
    let events = world.events(&id).await;
    assert_eq!(
        (&*events[0].k8s_auth_config, &*events[0].access_id),
        ("unknown", "unknown")
    );
    assert!(!world.audit.contents().contains("eyJ"));
}

#[tokio::test]
async fn a_gateway_reports_what_its_limits_turned_away_by_a_limits_name_only() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    let id = RequestId::generate().to_string();
    let limited = |reason: &str, resource: &str| pb::AuditEvent {
        id: Uuid::now_v7().to_string(),
        event: "call.limited".to_owned(),
        reason: reason.to_owned(),
        resource: resource.to_owned(),
        facts: None,
        ..denied(&world, &id)
    };
    let report = async |event: pb::AuditEvent| {
        let events = vec![event];
        let message = pb::ReportEventsRequest { events };
        world.sync().report_events(gateway.request(message)).await
    };
    for reason in ["POD_NAME_NOT_BOUND", "eyJ"] {
        assert_eq!(
            fields(report(limited(reason, "")).await),
            ["events[0].reason"]
        );
    }
    let method = "/postern.v1.AuthService/Authenticate";
    report(limited("PEER_CALLS", method)).await.unwrap();
    report(limited("PEER_CALLS", "/v1/introspect"))
        .await
        .unwrap();
    report(limited("CLUSTER_QUEUE", "eyJ")).await.unwrap();
    let mut events = world.events(&id).await;
    events.sort_by(|a, b| a.resource.cmp(&b.resource));
    let said: Vec<_> = events.iter().map(|e| (&*e.reason, &*e.resource)).collect();
    let page = "/v1/introspect";
    assert_eq!(
        said,
        [
            ("PEER_CALLS", method),
            ("PEER_CALLS", page),
            ("CLUSTER_QUEUE", "unknown")
        ]
    );
}

#[tokio::test]
async fn a_gateway_reports_refusals_and_nothing_else() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    let id = RequestId::generate().to_string();
    let report = async |events: Vec<pb::AuditEvent>| {
        let message = pb::ReportEventsRequest { events };
        world.sync().report_events(gateway.request(message)).await
    };
    let good = denied(&world, &id);
    let granted = pb::AuditEvent {
        event: "login.granted".to_owned(),
        ..good.clone()
    };
    let made_up = pb::AuditEvent {
        reason: "eyJ".to_owned(),
        ..good.clone()
    };
    let elsewhere = pb::AuditEvent {
        request_id: "x".to_owned(),
        ..good.clone()
    };
    assert_eq!(
        fields(report(vec![good.clone(), granted]).await),
        ["events[1].event"]
    );
    assert_eq!(fields(report(vec![made_up]).await), ["events[0].reason"]);
    assert_eq!(
        fields(report(vec![elsewhere]).await),
        ["events[0].request_id"]
    );
    assert_eq!(fields(report(vec![good; 501]).await), ["events"]);
    assert!(
        world.events(&id).await.is_empty(),
        "all of a report or nothing"
    );
}
