//! AuditService and the lines on standard output.

use postern_core::access_token::AccessToken;
use postern_proto::pb;
use postern_proto::pb::audit_service_client::AuditServiceClient;

use crate::messages::pod;
use crate::world::{World, fields};

#[tokio::test]
async fn records_come_newest_first_and_page_by_page() {
    let world = World::start().await;
    world.setup().await;
    let admin = world.administrator().await;
    let list = async |page_size, page_token: String, request_id: &str| {
        let message = pb::ListAuditEventsRequest {
            page_size,
            page_token,
            request_id: request_id.to_owned(),
            filter: None,
        };
        let mut client = AuditServiceClient::new(world.channel.clone());
        client.list_audit_events(admin.request(message)).await
    };
    let all = list(0, String::new(), "")
        .await
        .unwrap()
        .into_inner()
        .audit_events;
    assert!(all.len() > 4);
    assert!(all.is_sorted_by_key(|event| std::cmp::Reverse(event.id.clone())));
    assert!(
        all.iter()
            .any(|event| event.event == "deployment.bootstrapped")
    );
    let (mut paged, mut token) = (Vec::new(), String::new());
    loop {
        let page = list(2, token, "").await.unwrap().into_inner();
        paged.extend(page.audit_events);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    // Each page is a call, and has a record of its own by the next one.
    let ids = |events: &[pb::AuditEvent]| -> Vec<String> {
        events.iter().map(|event| event.id.clone()).collect()
    };
    let known = ids(&all);
    paged.retain(|event| known.contains(&event.id));
    assert_eq!(ids(&paged), known);
    let token = list(1, String::new(), "")
        .await
        .unwrap()
        .into_inner()
        .next_page_token;
    assert_eq!(
        fields(list(1, token, "another filter").await),
        ["page_token"]
    );
    let nobody = list(0, String::new(), "nobody's")
        .await
        .unwrap()
        .into_inner();
    assert!(nobody.audit_events.is_empty() && nobody.next_page_token.is_empty());
}

#[tokio::test]
async fn every_record_is_a_line_and_none_holds_a_secret() {
    let world = World::start().await;
    let setup = world.setup().await;
    let gateway = world.gateway().await;
    let administrator = world.administrator().await;
    let token = AccessToken::generate().unwrap();
    let assertions = [
        world.assertion(&setup, &token, &pod("mypod1")),
        world.assertion(&setup, &AccessToken::generate().unwrap(), &pod("mypod3")),
    ];
    for assertion in &assertions {
        let _ = world
            .sync()
            .exchange_assertion(gateway.request(assertion.clone()))
            .await;
    }
    let records = world.events("").await;
    let lines = world.audit.contents();
    let parsed: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for record in &records {
        let line = parsed
            .iter()
            .find(|line| line["id"] == record.id.as_str())
            .unwrap();
        assert_eq!(line["event"], record.event.as_str());
        assert_eq!(line["v"], 1);
        assert_eq!(
            line["severity"],
            if line["decision"]["result"] == "deny" {
                "warning"
            } else {
                "info"
            }
        );
    }
    let everything = format!("{lines}{records:?}");
    let secrets = [
        token.expose(),
        gateway.token(),
        administrator.token(),
        &world.admin.key,
        &world.gateway.key,
    ];
    for secret in secrets {
        assert!(
            !everything.contains(&secret[2..22]),
            "a part of a secret is on record"
        );
    }
    for assertion in &assertions {
        let signature = assertion.assertion.rsplit('.').next().unwrap();
        assert!(!everything.contains(&signature[..20]));
    }
    assert!(!everything.contains("ciphertext"));
}
