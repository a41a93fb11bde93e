//! SigningKeyService, and the pages that others find the keys by.

use jiff::SignedDuration;
use postern_control_plane::{ServeError, SigningKeysError, Unusable};
use postern_core::own_keys::OwnKeys;
use postern_core::seal::OpenError;
use postern_proto::pb;
use postern_proto::pb::signing_key_service_client::SigningKeyServiceClient;
use postern_rpc::client::Channel;
use postern_rpc::error::Reason;
use serde_json::{Value, json};
use tonic::Code;

use crate::server::{get, get_text};
use crate::world::{PATIENCE, Persona, World, failed, fields, own_keys, start_with};

const OLD: &str = "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const NEW: &str = "k2:AAAAAAQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn client(world: &World) -> SigningKeyServiceClient<Channel> {
    SigningKeyServiceClient::new(world.channel.clone())
}

async fn listed(world: &World, admin: &Persona) -> Vec<pb::SigningKey> {
    let request = admin.request(pb::ListSigningKeysRequest {});
    let answer = client(world).list_signing_keys(request).await.unwrap();
    answer.into_inner().signing_keys
}

async fn prepare(world: &World, admin: &Persona) -> pb::SigningKey {
    let request = admin.request(pb::PrepareSigningKeyRequest {});
    let answer = client(world).prepare_signing_key(request).await.unwrap();
    answer.into_inner().signing_key.unwrap()
}

async fn published(world: &World) -> Vec<String> {
    let (status, set) = get(world, "/.well-known/jwks.json").await;
    assert_eq!(status, 200);
    let keys = set["keys"].as_array().unwrap().iter();
    let mut ids: Vec<String> = keys
        .map(|key| {
            assert_eq!(key["alg"], "ES256");
            assert_eq!(key["use"], "sig");
            assert_eq!(key["d"], Value::Null, "nothing private");
            key["kid"].as_str().unwrap().to_owned()
        })
        .collect();
    ids.sort();
    ids
}

fn sorted(keys: &[&pb::SigningKey]) -> Vec<String> {
    let mut ids: Vec<String> = keys.iter().map(|key| key.key_id.clone()).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn keys_rotate_in_steps_and_every_step_is_on_record() {
    let world = World::start().await;
    let admin = world.administrator().await;
    let first = listed(&world, &admin).await.remove(0);
    assert_eq!(first.state(), pb::SigningKeyState::Active);
    assert_eq!(published(&world).await, sorted(&[&first]));
    let next = prepare(&world, &admin).await;
    assert_eq!(next.state(), pb::SigningKeyState::Prepared);
    assert_eq!(published(&world).await, sorted(&[&first, &next]));
    let activate = |force| {
        let message = pb::ActivateSigningKeyRequest {
            name: next.name.clone(),
            force,
        };
        let (mut client, request) = (client(&world), admin.request(message));
        async move { client.activate_signing_key(request).await }
    };
    let failure = failed(activate(false).await);
    assert_eq!(failure.code, Code::FailedPrecondition);
    assert_eq!(failure.reason, Some(Reason::SigningKeyState));
    world.clock.advance(SignedDuration::from_secs(300));
    let admin = world.administrator().await;
    let _ = &admin;
    let activated = activate(false).await.unwrap().into_inner();
    assert_eq!(
        activated.signing_key.unwrap().state(),
        pb::SigningKeyState::Active
    );
    assert_eq!(published(&world).await, sorted(&[&first, &next]));
    let states: Vec<_> = listed(&world, &admin)
        .await
        .iter()
        .map(|key| (key.key_id.clone(), key.state()))
        .collect();
    let expected = [
        (next.key_id.clone(), pb::SigningKeyState::Active),
        (first.key_id.clone(), pb::SigningKeyState::Retired),
    ];
    assert_eq!(states, expected);
    world.clock.advance(SignedDuration::from_hours(25));
    assert_eq!(published(&world).await, sorted(&[&next]));
    let events = world.events("").await;
    let kinds: Vec<_> = events
        .iter()
        .filter(|event| event.event.starts_with("signing_key."))
        .map(|event| (event.event.as_str(), event.resource.as_str()))
        .collect();
    assert_eq!(
        kinds,
        [
            ("signing_key.activated", next.name.as_str()),
            ("signing_key.prepared", &next.name),
            ("signing_key.activated", &first.name),
        ]
    );
}

#[tokio::test]
async fn a_retired_key_can_be_taken_out_at_once_by_force_only() {
    let world = World::start().await;
    let admin = world.administrator().await;
    let first = listed(&world, &admin).await.remove(0);
    let retire = |key: &pb::SigningKey, force| {
        let message = pb::RetireSigningKeyRequest {
            name: key.name.clone(),
            force,
        };
        let (mut client, request) = (client(&world), admin.request(message));
        async move { client.retire_signing_key(request).await }
    };
    let failure = failed(retire(&first, true).await);
    assert_eq!(failure.reason, Some(Reason::SigningKeyState), "it signs");
    let next = prepare(&world, &admin).await;
    let message = pb::ActivateSigningKeyRequest {
        name: next.name.clone(),
        force: true,
    };
    let request = admin.request(message);
    client(&world).activate_signing_key(request).await.unwrap();
    let failure = failed(retire(&first, false).await);
    assert_eq!(failure.reason, Some(Reason::SigningKeyState));
    retire(&first, true).await.unwrap();
    assert_eq!(published(&world).await, sorted(&[&next]));
    assert_eq!(failed(retire(&first, true).await).code, Code::NotFound);
}

#[tokio::test]
async fn a_name_that_is_none_is_refused() {
    let world = World::start().await;
    let admin = world.administrator().await;
    for name in ["", "signingKeys/", "signingKeys/x", "authMethods/x"] {
        let message = pb::ActivateSigningKeyRequest {
            name: name.to_owned(),
            force: false,
        };
        let request = admin.request(message);
        let answer = client(&world).activate_signing_key(request).await;
        assert_eq!(fields(answer), ["name"]);
    }
}

#[tokio::test]
async fn discovery_says_where_the_keys_are() {
    let world = World::start().await;
    let (status, document) = get(&world, "/.well-known/openid-configuration").await;
    assert_eq!(status, 200);
    assert_eq!(document["issuer"], "https://localhost:8100");
    assert_eq!(
        document["jwks_uri"],
        "https://localhost:8100/.well-known/jwks.json"
    );
    assert_eq!(
        document["id_token_signing_alg_values_supported"],
        json!(["ES256"])
    );
}

#[tokio::test]
async fn other_keys_of_its_own_dont_start_and_the_new_one_opens_beside_the_old() {
    let mut world = World::start().await;
    world.stop().await;
    let folder = world.folder.path();
    let start = |lines: &str| start_with(folder, None, OwnKeys::parse(lines).unwrap());
    let error = start(NEW).await.unwrap_err();
    assert!(
        matches!(
            &error,
            ServeError::SigningKeys(SigningKeysError::Unusable {
                fault: Unusable::Closed(OpenError::UnknownKey(id)),
                ..
            }) if id == "k1"
        ),
        "{error}"
    );
    assert!(error.to_string().contains("key \"k1\""), "{error}");
    let other = start(&NEW.replace("k2", "k1")).await.unwrap_err();
    assert!(
        matches!(
            other,
            ServeError::SigningKeys(SigningKeysError::Unusable {
                fault: Unusable::Closed(OpenError::NotAuthentic),
                ..
            })
        ),
        "{other}"
    );
    start(&format!("{NEW}\n{OLD}")).await.unwrap();
    start_with(folder, None, own_keys()).await.unwrap();
}

#[tokio::test]
async fn the_metrics_say_which_keys_there_are_and_when_a_retired_one_goes() {
    let world = World::start().await;
    let admin = world.administrator().await;
    let says = async |expected: &[&str]| {
        let told = async {
            loop {
                let (_, text) = get_text(&world, "/metrics").await;
                let lines = text.lines();
                let mut lines: Vec<_> = lines
                    .filter_map(|line| line.strip_prefix("postern_signing_key_expiry_timestamp_"))
                    .filter_map(|line| line.strip_prefix("seconds"))
                    .collect();
                lines.sort_unstable();
                if lines == expected {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        let told = tokio::time::timeout(PATIENCE, told).await;
        assert!(told.is_ok(), "never {expected:?}");
    };
    says(&["{state=\"active\"} inf"]).await;
    let next = prepare(&world, &admin).await;
    says(&["{state=\"active\"} inf", "{state=\"prepared\"} inf"]).await;
    let message = pb::ActivateSigningKeyRequest {
        name: next.name.clone(),
        force: true,
    };
    let request = admin.request(message);
    client(&world).activate_signing_key(request).await.unwrap();
    let first = listed(&world, &admin).await.remove(1);
    let end = first.remove_time.unwrap().seconds;
    let retired = format!("{{state=\"retired\"}} {end}.0");
    says(&["{state=\"active\"} inf", &retired]).await;
}
