//! Administrators and gateways log in.

use jiff::SignedDuration;
use postern_proto::pb;
use postern_proto::pb::access_key_auth_service_client::AccessKeyAuthServiceClient;
use postern_proto::pb::auth_method_service_client::AuthMethodServiceClient;
use postern_rpc::error::{LOGIN_REFUSED, Reason};
use tonic::Code;

use crate::world::{GATEWAY, Key, Persona, World, a_key, failed, fields};

#[tokio::test]
async fn the_right_key_gets_a_token_for_a_while() {
    let world = World::start().await;
    for (key, gateway, minutes) in [
        (&world.admin, "", 15),
        (&world.admin, GATEWAY, 5),
        (&world.admin, "gateways/default", 5),
        (&world.gateway, "", 60),
    ] {
        let answer = world.log_in(key, gateway).await.unwrap().into_inner();
        assert!(answer.access_token.starts_with("t-") && answer.accessor.starts_with("a-"));
        let expires = world.clock.now() + SignedDuration::from_mins(minutes);
        assert_eq!(answer.expire_time.unwrap().seconds, expires.as_second());
        assert_eq!(answer.expires_in.unwrap().seconds, minutes * 60);
    }
}

#[tokio::test]
async fn a_wrong_key_and_a_wrong_id_are_one_refusal() {
    let world = World::start().await;
    let stranger = a_key();
    let wrong_key = Key {
        access_id: world.admin.access_id.clone(),
        key: stranger.key.clone(),
    };
    let swapped = Key {
        access_id: world.admin.access_id.clone(),
        key: world.gateway.key.clone(),
    };
    // Not even a gateway that doesn't exist shows before the key was right.
    for (key, gateway) in [
        (&stranger, ""),
        (&wrong_key, ""),
        (&swapped, ""),
        (&wrong_key, "nope"),
    ] {
        let failure = failed(world.log_in(key, gateway).await);
        assert_eq!(failure.code, Code::Unauthenticated);
        assert_eq!(failure.reason, Some(Reason::LoginRefused));
        assert_eq!(failure.message, LOGIN_REFUSED);
        let events = world.events(&failure.request_id.unwrap()).await;
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].event, "access_key.denied");
        assert!(!events[0].reason.is_empty());
    }
}

#[tokio::test]
async fn a_refusal_names_no_id_that_matches_nothing() {
    let world = World::start().await;
    let stranger = a_key();
    let failure = failed(world.log_in(&stranger, "").await);
    let events = world.events(&failure.request_id.unwrap()).await;
    assert_eq!(events[0].access_id, "unknown");
    assert!(!world.audit.contents().contains(&stranger.access_id));
}

#[tokio::test]
async fn who_has_the_key_learns_what_else_is_wrong() {
    let world = World::start().await;
    assert_eq!(
        fields(world.log_in(&world.admin, "nope").await),
        ["gateway"]
    );
    assert_eq!(
        fields(world.log_in(&world.gateway, GATEWAY).await),
        ["gateway"]
    );
}

#[tokio::test]
async fn what_is_no_credential_is_named_without_its_text() {
    let world = World::start().await;
    let message = |access_id: &str, access_key: &str| pb::AuthenticateAccessKeyRequest {
        access_id: access_id.to_owned(),
        access_key: access_key.to_owned(),
        gateway: "../x".to_owned(),
    };
    let request = Persona::anonymous().request(message("", "k-secret"));
    let answer = world.access_keys().authenticate_access_key(request).await;
    let failure = failed(answer);
    let named: Vec<_> = failure
        .violations
        .iter()
        .map(|v| v.field.as_str())
        .collect();
    assert_eq!(named, ["access_id", "access_key", "gateway"]);
    assert!(!format!("{failure:?}").contains("secret"));
}

#[tokio::test]
async fn a_login_is_on_record() {
    let world = World::start().await;
    let answer = world.log_in(&world.admin, GATEWAY).await.unwrap();
    let request_id = answer
        .metadata()
        .get("x-request-id")
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let events = world.events(&request_id).await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].event, "access_key.granted");
    assert_eq!(events[0].access_id, world.admin.access_id);
    assert_eq!(events[0].accessor, answer.into_inner().accessor);
    assert_eq!(events[0].caller_ip, "127.0.0.1");
}

/// Calls from another address than everybody else here.
fn from_elsewhere(world: &World) -> tonic::transport::Channel {
    tonic::transport::Endpoint::from_shared(format!("http://{}", world.addr))
        .unwrap()
        .local_address(Some([127, 0, 0, 2].into()))
        .connect_lazy()
}

#[tokio::test]
async fn an_address_limit_holds_at_login_and_at_every_later_use() {
    let world = World::start().await;
    let admin = world.administrator().await;
    let message = pb::UpdateAuthMethodRequest {
        auth_method: Some(pb::AuthMethod {
            name: "authMethods/admin".to_owned(),
            meta: Some(pb::ResourceMeta {
                etag: "*".to_owned(),
                ..Default::default()
            }),
            bound_ips: vec!["127.0.0.1".to_owned()],
            ..Default::default()
        }),
        ..Default::default()
    };
    let request = admin.request(message);
    world.methods().update_auth_method(request).await.unwrap();
    let mut methods = AuthMethodServiceClient::new(from_elsewhere(&world));
    let used = methods.list_auth_methods(admin.request(Default::default()));
    assert_eq!(failed(used.await).code, Code::PermissionDenied);
    let login = pb::AuthenticateAccessKeyRequest {
        access_id: world.admin.access_id.clone(),
        access_key: world.admin.key.clone(),
        gateway: String::new(),
    };
    let mut keys = AccessKeyAuthServiceClient::new(from_elsewhere(&world));
    let login = keys.authenticate_access_key(Persona::anonymous().request(login));
    let failure = failed(login.await);
    assert_eq!(failure.reason, Some(Reason::LoginRefused));
    let events = world.events(&failure.request_id.unwrap()).await;
    assert_eq!(events[0].reason, "CLIENT_IP_NOT_BOUND");
    assert_eq!(events[0].caller_ip, "127.0.0.2");
}

#[tokio::test]
async fn the_right_key_gets_its_token_behind_an_address_that_guesses_and_the_guesses_are_counted() {
    let world = World::start().await;
    let stranger = a_key();
    let guess = || async { failed(world.log_in(&stranger, "").await).reason };
    let guesses = (0..60).map(|_| guess());
    for reason in futures::future::join_all(guesses).await {
        assert_eq!(reason, Some(Reason::LoginRefused));
    }
    assert!(world.log_in(&world.admin, "").await.is_ok());
    let (_, text) = crate::server::get_text(&world, "/metrics").await;
    for line in [
        "postern_tokens_issued_total{cause=\"access_key\",result=\"refused\"} 60",
        "postern_tokens_issued_total{cause=\"access_key\",result=\"issued\"} 1",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(
        text.contains("postern_rate_limited_total{scope=\"peer_refusals\"}"),
        "{text}"
    );
    assert!(
        text.contains("postern_audit_events_total{sink=\"database\"}"),
        "{text}"
    );
}

/// How often somebody had to wait for a turn.
async fn turns(world: &World) -> u32 {
    let (_, text) = crate::server::get_text(world, "/metrics").await;
    let line = "postern_rate_limited_total{scope=\"peer_refusals\"} ";
    let count = text.lines().find_map(|text| text.strip_prefix(line));
    count.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn behind_an_address_that_guesses_only_wrong_keys_wait_for_a_turn() {
    let world = World::start().await;
    let stranger = a_key();
    let guesses = (0..40).map(|_| async { failed(world.log_in(&stranger, "").await) });
    futures::future::join_all(guesses).await;
    let before = turns(&world).await;
    for key in [&world.admin, &world.gateway] {
        assert!(world.log_in(key, "").await.is_ok());
    }
    assert_eq!(
        turns(&world).await,
        before,
        "a right key is nobody's suspect"
    );
    failed(world.log_in(&stranger, "").await);
    assert_eq!(turns(&world).await, before + 1);
    // The right key of somebody else is no key of this one.
    let swapped = Key {
        access_id: world.admin.access_id.clone(),
        key: world.gateway.key.clone(),
    };
    assert_eq!(
        failed(world.log_in(&swapped, "").await).reason,
        Some(Reason::LoginRefused)
    );
}
