use std::time::Instant as RealInstant;

use kube_sim::{Fault, KubeSim};
use postern_core::auth_method::Audiences;
use postern_core::facts::{Facts, VerificationMode};
use postern_core::k8s_auth_config::{K8sAuthConfig, Reviewer};
use postern_rpc::error::Outage;
use serde_json::json;

use super::super::tests::{ask, made, soon, token_for};
use super::super::{Cluster, verify::Means};
use super::*;
use crate::fixtures::{self, sim, strings};

fn config(sim: &KubeSim, mode: VerificationMode) -> K8sAuthConfig {
    K8sAuthConfig {
        mode,
        ..fixtures::config(sim)
    }
}

fn offline(sim: &KubeSim) -> Arc<Cluster> {
    made(config(sim, VerificationMode::Offline))
}

async fn verify(
    cluster: &Arc<Cluster>,
    token: &str,
) -> Result<Result<Facts, DenyReason>, Arc<ReviewFault>> {
    ask(cluster, token, &Audiences::Listed(strings(&["postern"]))).await
}

async fn verdict(cluster: &Arc<Cluster>, token: &str) -> Result<Facts, DenyReason> {
    verify(cluster, token).await.unwrap()
}

async fn outage(cluster: &Arc<Cluster>, token: &str) -> Outage {
    verify(cluster, token).await.unwrap_err().outage()
}

fn discovered(cluster: &Cluster) -> &Shared {
    match &cluster.means {
        Means::Offline(Keys::Discovered(discovered)) => &discovered.shared,
        _ => panic!("keys that are asked for"),
    }
}

/// Lets the clock run ahead, and waits for that fetch since the start.
async fn later(cluster: &Cluster, time: Duration, fetch: u64) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
    let mut rounds = discovered(cluster).rounds.subscribe();
    rounds
        .wait_for(|round| round.number >= fetch)
        .await
        .unwrap();
}

/// A token of a key that the cluster doesn't have, by another name each time.
fn of_a_stranger(token: &str, number: usize) -> String {
    let (_, rest) = token.split_once('.').unwrap();
    let header = json!({ "alg": "RS256", "kid": format!("stranger-{number}") });
    let jwt = fixtures::jwt(&header, &json!({}));
    format!("{}.{rest}", jwt.split('.').next().unwrap())
}

#[tokio::test]
async fn offline_facts_are_those_of_a_review_and_no_review_is_sent() {
    let sim = sim().await;
    let token = token_for(&sim, &["postern", "other"]);
    let reviewed = verdict(&made(fixtures::config(&sim)), &token)
        .await
        .unwrap();
    let reviews = sim.reviews();
    let facts = verdict(&offline(&sim), &token).await.unwrap();
    assert_eq!(sim.reviews(), reviews);
    assert_eq!(facts.mode, VerificationMode::Offline);
    assert!(facts.credential_id.as_ref().unwrap().starts_with("JTI="));
    assert_eq!(facts.aud, ["postern"]);
    let mode = VerificationMode::Review;
    assert_eq!(Facts { mode, ..facts }, reviewed);
}

#[tokio::test]
async fn a_forged_token_costs_no_review() {
    let sim = sim().await;
    let token = token_for(&sim, &["postern"]);
    let cluster = made(config(&sim, VerificationMode::JwksThenReview));
    let (message, signature) = token.rsplit_once('.').unwrap();
    let other = token_for(&sim, &["postern"]);
    let forged = format!("{message}.{}", other.rsplit_once('.').unwrap().1);
    let (header, payload) = message.split_once('.').unwrap();
    let mut claims: serde_json::Value = serde_json::from_slice(
        &base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, payload)
            .unwrap(),
    )
    .unwrap();
    claims["sub"] = json!("system:serviceaccount:kube-system:default");
    let payload = fixtures::jwt(&json!({}), &claims);
    let altered = format!(
        "{header}.{}.{signature}",
        payload.split('.').nth(1).unwrap()
    );
    for token in [forged, altered] {
        let refused = verdict(&cluster, &token).await;
        assert_eq!(refused, Err(DenyReason::TokenSignatureInvalid));
    }
    let stranger = verdict(&cluster, &of_a_stranger(&token, 0)).await;
    assert_eq!(stranger, Err(DenyReason::TokenKeyUnknown));
    assert_eq!(sim.reviews(), 0);

    let facts = verdict(&cluster, &token).await.unwrap();
    assert_eq!(facts.mode, VerificationMode::JwksThenReview);
    assert_eq!(sim.reviews(), 1);
    sim.delete_pod("my-namespace-a", "mypod1").unwrap();
    let refused = verdict(&cluster, &token).await;
    assert_eq!(refused, Err(DenyReason::TokenNotAuthenticated));
}

#[tokio::test]
async fn a_token_that_names_no_key_or_another_algorithm_is_refused() {
    let sim = sim().await;
    let cluster = offline(&sim);
    let token = token_for(&sim, &["postern"]);
    let (_, rest) = token.split_once('.').unwrap();
    let with = |header: serde_json::Value| {
        let jwt = fixtures::jwt(&header, &json!({}));
        format!("{}.{rest}", jwt.split('.').next().unwrap())
    };
    let kid = sim.signing_key();
    for (header, reason) in [
        (json!({ "alg": "RS256" }), DenyReason::TokenKeyUnknown),
        (
            json!({ "alg": "RS256", "kid": "" }),
            DenyReason::TokenKeyUnknown,
        ),
        (
            json!({ "alg": "RS512", "kid": kid }),
            DenyReason::TokenAlgorithmNotAllowed,
        ),
        (
            json!({ "alg": "ES256", "kid": kid }),
            DenyReason::TokenAlgorithmNotAllowed,
        ),
        (
            json!({ "alg": "RS256", "kid": kid, "x": 1 }),
            DenyReason::TokenSignatureInvalid,
        ),
    ] {
        assert_eq!(verdict(&cluster, &with(header)).await, Err(reason));
    }
}

#[tokio::test]
async fn unknown_keys_cause_one_fetch_and_then_none_for_five_seconds() {
    let sim = sim().await;
    let cluster = offline(&sim);
    let token = token_for(&sim, &["postern"]);
    assert!(verdict(&cluster, &token).await.is_ok());
    assert_eq!(sim.requests(KEYS), 1);
    for number in 0..20 {
        let refused = verdict(&cluster, &of_a_stranger(&token, number)).await;
        assert_eq!(refused, Err(DenyReason::TokenKeyUnknown));
    }
    assert_eq!(sim.requests(KEYS), 1);

    later(&cluster, PAUSE, 1).await;
    let many = (20..40).map(|number| of_a_stranger(&token, number));
    let many: Vec<String> = many.collect();
    let answers = many.iter().map(|token| verdict(&cluster, token));
    for refused in futures::future::join_all(answers).await {
        assert_eq!(refused, Err(DenyReason::TokenKeyUnknown));
    }
    assert_eq!((sim.requests(DOCUMENT), sim.requests(KEYS)), (2, 2));
}

#[tokio::test]
async fn a_new_key_works_at_once_and_an_old_one_until_the_cluster_drops_it() {
    let sim = sim().await;
    let cluster = offline(&sim);
    let (old_key, old) = (sim.signing_key(), token_for(&sim, &["postern"]));
    assert!(verdict(&cluster, &old).await.is_ok());
    let new_key = sim.add_signing_key().await.unwrap();
    assert!(sim.sign_with(&new_key));
    let new = token_for(&sim, &["postern"]);
    later(&cluster, PAUSE, 1).await;
    assert!(verdict(&cluster, &new).await.is_ok());
    assert!(verdict(&cluster, &old).await.is_ok());
    assert_eq!(sim.requests(KEYS), 2);

    sim.retire_signing_key(&old_key);
    assert!(verdict(&cluster, &new).await.is_ok());
    later(&cluster, PAUSE, 2).await;
    // Signed by the key that is gone, the reviewer's own token no longer lets the gateway in.
    later(&cluster, REFRESH, 3).await;
    assert_eq!(
        outage(&cluster, &of_a_stranger(&new, 0)).await,
        Outage::ClusterKeysUnknown
    );

    let mut renewed = config(&sim, VerificationMode::Offline);
    let token = sim.admin_token().parse().unwrap();
    crate::sample::set_reviewer(&mut renewed, Reviewer::Token(token));
    let cluster = made(renewed);
    assert!(verdict(&cluster, &new).await.is_ok());
    let ended = verdict(&cluster, &old).await;
    assert_eq!(ended, Err(DenyReason::TokenKeyUnknown));
}

#[tokio::test]
async fn what_is_no_whole_set_leaves_the_old_keys_as_they_are() {
    let sim = sim().await;
    let cluster = offline(&sim);
    let token = token_for(&sim, &["postern"]);
    assert!(verdict(&cluster, &token).await.is_ok());
    let private =
        json!({ "keys": [{ "kty": "RSA", "kid": "a", "n": "AQAB", "e": "AQAB", "d": "AQ" }] });
    let faults = [
        Fault::Status(503),
        Fault::Status(403),
        Fault::Redirect(format!("{}/elsewhere", sim.host())),
        Fault::Html,
        Fault::EndlessBody,
        Fault::Body("{}".to_owned()),
        Fault::Body(r#"{"keys":[]}"#.to_owned()),
        Fault::Body(private.to_string()),
        Fault::Body(r#"{"keys":[{"kty":"RSA","kid":"a","n":"!","e":"AQAB"}]}"#.to_owned()),
    ];
    for (fault, fetch) in faults.into_iter().zip(2..) {
        sim.set_fault_at(KEYS, fault.clone());
        later(&cluster, REFRESH, fetch).await;
        assert!(verdict(&cluster, &token).await.is_ok(), "{fault:?}");
        // Whether the cluster has that key can't be known: no verdict.
        let unknown = outage(&cluster, &of_a_stranger(&token, 0)).await;
        assert_eq!(unknown, Outage::ClusterKeysUnknown, "{fault:?}");
    }
    assert_eq!(sim.requests("/elsewhere"), 0, "a redirect was followed");
}

#[tokio::test]
async fn the_last_good_keys_go_on_for_an_hour_without_their_source() {
    let sim = sim().await;
    let cluster = offline(&sim);
    let token = token_for(&sim, &["postern"]);
    assert!(verdict(&cluster, &token).await.is_ok());
    sim.set_fault_at(DOCUMENT, Fault::Status(500));
    later(&cluster, MAX_AGE - Duration::from_secs(10), 2).await;
    assert!(verdict(&cluster, &token).await.is_ok());
    later(&cluster, RETRY, 3).await;
    let gone = verify(&cluster, &token).await.unwrap_err();
    assert_eq!(gone.outage(), Outage::ClusterKeysUnknown);
    assert!(gone.to_string().contains("HTTP 500"), "{gone}");
    sim.set_fault_at(DOCUMENT, Fault::None);
    later(&cluster, PAUSE, 3).await;
    assert!(verdict(&cluster, &token).await.is_ok());
}

#[tokio::test]
async fn a_source_that_hangs_delays_nobody_whose_key_is_known() {
    let sim = sim().await;
    let cluster = offline(&sim);
    let token = token_for(&sim, &["postern"]);
    assert!(verdict(&cluster, &token).await.is_ok());
    sim.set_fault_at(KEYS, Fault::Hang);
    later(&cluster, REFRESH, 1).await;
    while sim.requests(KEYS) < 2 {
        tokio::task::yield_now().await;
    }
    let started = RealInstant::now();
    assert!(verdict(&cluster, &token).await.is_ok());
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn without_any_keys_there_is_no_verdict() {
    for (path, fault, says) in [
        (
            KEYS,
            Fault::Status(403),
            "system:service-account-issuer-discovery",
        ),
        (DOCUMENT, Fault::Html, "discovery document"),
        (
            DOCUMENT,
            Fault::Patch(json!({ "issuer": null })),
            "discovery document",
        ),
        (
            DOCUMENT,
            Fault::Patch(json!({ "issuer": "https://other" })),
            "k8s_issuers",
        ),
        (
            KEYS,
            Fault::Body(r#"{"keys":[]}"#.to_owned()),
            "holds no key",
        ),
    ] {
        let sim = sim().await;
        sim.set_fault_at(path, fault.clone());
        let cluster = offline(&sim);
        let token = token_for(&sim, &["postern"]);
        let fault_of_keys = verify(&cluster, &token).await.unwrap_err();
        assert_eq!(
            fault_of_keys.outage(),
            Outage::ClusterKeysUnknown,
            "{fault:?}"
        );
        let text = fault_of_keys.to_string();
        assert!(text.contains(says), "{text}");
        assert!(
            !text.contains("127.0.0.1") && !text.contains("https://other"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_document_never_chooses_a_host() {
    let (sim, other) = (sim().await, sim().await);
    let elsewhere = json!({ "jwks_uri": format!("{}{KEYS}", other.host()) });
    sim.set_fault_at(DOCUMENT, Fault::Patch(elsewhere));
    let cluster = offline(&sim);
    assert!(
        verdict(&cluster, &token_for(&sim, &["postern"]))
            .await
            .is_ok()
    );
    let foreign = verdict(&cluster, &token_for(&other, &["postern"])).await;
    assert_eq!(foreign, Err(DenyReason::TokenKeyUnknown));
    assert_eq!(other.requests(KEYS), 0);
}

#[tokio::test]
async fn given_keys_need_no_cluster() {
    let sim = sim().await;
    let token = token_for(&sim, &["postern"]);
    let foreign = {
        let other = fixtures::sim().await;
        token_for(&other, &["postern"])
    };
    let mut config = config(&sim, VerificationMode::Offline);
    let keys = published_keys(&sim).await;
    config.jwks = Some(Arc::new(keys));
    sim.shutdown().await;
    let cluster = made(config);
    assert!(verdict(&cluster, &token).await.is_ok());
    let refused = verdict(&cluster, &foreign).await;
    assert_eq!(refused, Err(DenyReason::TokenKeyUnknown));
}

/// The cluster's keys as an administrator would save them.
async fn published_keys(sim: &KubeSim) -> Jwks {
    let own = super::super::own::OwnCluster::none();
    let connection = Connection::new(&fixtures::config(sim), &own).unwrap();
    let issuers = fixtures::config(sim).issuers;
    fetch(&connection, &issuers).await.unwrap()
}

#[tokio::test]
async fn keys_that_cant_be_fetched_any_more_are_said_with_the_last_time_that_they_could() {
    let sim = sim().await;
    let cluster = offline(&sim);
    let state = async || match cluster.means.keys().unwrap().state(soon()).await {
        KeysState::Discovered {
            usable,
            last_success,
        } => (usable, last_success),
        KeysState::Given(_) => panic!("keys that are asked for"),
    };
    let (usable, first) = state().await;
    assert_eq!(usable.unwrap(), 1);
    sim.set_fault_at(KEYS, Fault::Status(403));
    later(&cluster, Duration::from_secs(60 * 5), 2).await;
    let (usable, last) = state().await;
    assert!(matches!(*usable.unwrap_err(), KeysFault::Forbidden));
    assert_eq!((last.is_some(), last), (true, first));
}

#[tokio::test]
async fn tokens_of_made_up_keys_take_no_place_of_good_ones_while_the_keys_are_slow() {
    let sim = sim().await;
    let limits = crate::limits::Limits {
        logins_per_cluster: 8,
        reviews_per_cluster: 8,
        ..crate::limits::Limits::default()
    };
    let config = config(&sim, VerificationMode::Offline);
    let shared = super::super::Shared {
        limits,
        ..super::super::Shared::default()
    };
    let cluster = Arc::new(Cluster::new(config, &shared).unwrap());
    let token = token_for(&sim, &["postern"]);
    verdict(&cluster, &token).await.unwrap();
    sim.set_fault_at(KEYS, Fault::Hang);
    tokio::time::pause();
    tokio::time::advance(PAUSE).await;
    tokio::time::resume();
    let mut strangers: Vec<_> = (0..4)
        .map(|number| {
            let stranger = of_a_stranger(&token, number);
            let cluster = Arc::clone(&cluster);
            Box::pin(async move { verify(&cluster, &stranger).await })
        })
        .collect();
    for stranger in &mut strangers {
        assert!(
            futures::poll!(stranger).is_pending(),
            "it waits for the keys"
        );
    }
    for _ in 0..8 {
        let good = token_for(&sim, &["postern"]);
        verdict(&cluster, &good).await.unwrap();
    }
    let one_more = verify(&cluster, &of_a_stranger(&token, 9)).await;
    assert!(matches!(*one_more.unwrap_err(), ReviewFault::QueueFull));
}
