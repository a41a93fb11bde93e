use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube_sim::{Fault, KubeSim, TokenOptions};
use postern_core::ca_bundle::CaBundle;
use postern_core::k8s_auth_config::Reviewer;
use postern_rpc::error::Outage;
use serde_json::json;
use test_support::chaos::ChaosProxy;
use tokio::net::TcpListener;

use super::*;
use crate::fixtures::{self, parse, sim, strings};
use crate::sample::{endpoint, reviewer_token, set_reviewer};

mod patience;

pub(super) fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(5))
}

fn cluster(sim: &KubeSim) -> Arc<Cluster> {
    made(fixtures::config(sim))
}

/// Asks anew each time.
pub(super) fn made(config: K8sAuthConfig) -> Arc<Cluster> {
    let limits = Limits {
        verdict_cache_ttl_seconds: 0,
        refusal_cache_ttl_seconds: 0,
        ..Limits::default()
    };
    let shared = Shared {
        limits,
        ..Shared::default()
    };
    Arc::new(Cluster::new(config, &shared).unwrap())
}

pub(super) fn question(audiences: &Audiences, deadline: Deadline) -> Ask<'_> {
    Ask {
        audiences,
        label_keys: BTreeSet::new(),
        standing: Standing::Unknown,
        client_ip: Some([10, 2, 3, 4].into()),
        deadline,
    }
}

pub(super) async fn ask(
    cluster: &Arc<Cluster>,
    token: &str,
    audiences: &Audiences,
) -> Result<Result<Facts, DenyReason>, Arc<ReviewFault>> {
    let token = parse(token).unwrap_or_else(|_| panic!("a readable token"));
    cluster
        .verify(&Arc::new(token), question(audiences, soon()))
        .await
        .map(unmeasured)
}

/// What was said, without how long that took and whether it was known.
pub(super) fn unmeasured(verified: Verified) -> Result<Facts, DenyReason> {
    verified.verdict.map(|facts| Facts {
        cached: false,
        review_ms: None,
        ..facts
    })
}

async fn verify(cluster: &Arc<Cluster>, token: &str) -> Result<Facts, DenyReason> {
    ask(cluster, token, &Audiences::ApiServer).await.unwrap()
}

async fn fault(cluster: &Arc<Cluster>) -> Arc<ReviewFault> {
    let token = fixtures::jwt(&json!({ "alg": "RS256" }), &json!({}));
    ask(cluster, &token, &Audiences::ApiServer)
        .await
        .unwrap_err()
}

pub(super) fn token_for(sim: &KubeSim, audiences: &[&str]) -> String {
    sim.pod_token("my-namespace-a", "mypod1").unwrap();
    let options = TokenOptions {
        pod: Some("mypod1".to_owned()),
        audiences: strings(audiences),
        ..TokenOptions::default()
    };
    sim.create_token("my-namespace-a", "default", &options)
        .unwrap()
}

#[tokio::test]
async fn a_pods_token_gives_its_facts() {
    let sim = sim().await;
    let token = sim.pod_token("my-namespace-a", "mypod1").unwrap();
    let facts = verify(&cluster(&sim), &token).await.unwrap();
    assert_eq!(facts.namespace, "my-namespace-a");
    assert_eq!(facts.service_account_name, "default");
    assert_eq!(facts.pod_name.as_deref(), Some("mypod1"));
    assert!(facts.pod_uid.is_some() && !facts.service_account_uid.is_empty());
    assert!(facts.credential_id.unwrap().starts_with("JTI="));
    assert_eq!(facts.aud, [sim.issuer()]);
    assert_eq!(facts.client_ip, Some([10, 2, 3, 4].into()));
    assert!(!facts.legacy && facts.issue_time.is_some());
    assert!(facts.expire_time.unwrap() > Timestamp::now());
}

#[tokio::test]
async fn a_token_without_a_pod_or_an_expiry_is_known_as_such() {
    let sim = sim().await;
    let cluster = cluster(&sim);
    let token = sim
        .create_token("default", "default", &TokenOptions::default())
        .unwrap();
    let facts = verify(&cluster, &token).await.unwrap();
    assert_eq!((facts.pod_name, facts.pod_uid), (None, None));
    let legacy = sim.legacy_token("default", "default", "old").unwrap();
    let facts = verify(&cluster, &legacy).await.unwrap();
    assert!(facts.legacy && facts.expire_time.is_none());
}

#[tokio::test]
async fn what_the_cluster_refuses_is_refused() {
    let (sim, other) = (sim().await, sim().await);
    let cluster = cluster(&sim);
    let token = sim.pod_token("my-namespace-a", "mypod1").unwrap();
    let foreign = other.pod_token("my-namespace-a", "mypod1").unwrap();
    let (signed, _) = token.rsplit_once('.').unwrap();
    let (_, other_signature) = foreign.rsplit_once('.').unwrap();
    for token in [foreign.as_str(), &format!("{signed}.{other_signature}")] {
        assert_eq!(
            verify(&cluster, token).await,
            Err(DenyReason::TokenNotAuthenticated)
        );
    }
    assert!(verify(&cluster, &token).await.is_ok());
    sim.delete_pod("my-namespace-a", "mypod1").unwrap();
    assert_eq!(
        verify(&cluster, &token).await,
        Err(DenyReason::TokenNotAuthenticated)
    );
}

#[tokio::test]
async fn audiences_are_asked_for_as_the_method_says() {
    let sim = sim().await;
    let cluster = cluster(&sim);
    let vault = token_for(&sim, &["vault", "spare"]);
    assert_eq!(
        verify(&cluster, &vault).await,
        Err(DenyReason::TokenNotAuthenticated),
        "it's for others"
    );

    let listed = Audiences::Listed(strings(&["postern", "vault"]));
    let facts = ask(&cluster, &vault, &listed).await.unwrap().unwrap();
    assert_eq!(facts.aud, ["vault"], "exactly what came back");
    let own = token_for(&sim, &[]);
    let refused = ask(&cluster, &own, &listed).await.unwrap();
    assert_eq!(refused, Err(DenyReason::TokenNotAuthenticated));

    let facts = ask(&cluster, &vault, &Audiences::Any)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(facts.aud, ["vault", "spare"]);
    let many: Vec<_> = (0..12).map(|i| format!("aud-{i}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let facts = ask(&cluster, &token_for(&sim, &many), &Audiences::Any)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(facts.aud, many[..MAX_AUDIENCES]);

    let sent: Vec<_> = sim
        .recent_requests()
        .into_iter()
        .filter(|r| r.is_review())
        .map(|r| r.body["spec"]["audiences"].clone())
        .collect();
    assert_eq!(sent[0], json!(null), "the API server's own");
    assert_eq!(sent[1], json!(["postern", "vault"]));
    assert_eq!(sent[3], json!(["vault", "spare"]));
}

#[tokio::test]
async fn an_audience_that_isnt_confirmed_is_refused() {
    let sim = sim().await;
    let cluster = cluster(&sim);
    let token = token_for(&sim, &["vault"]);
    for audiences in [json!(null), json!([]), json!(["other"])] {
        sim.set_fault(Fault::Patch(json!({ "audiences": audiences })));
        let answer = ask(&cluster, &token, &Audiences::Listed(strings(&["vault"])))
            .await
            .unwrap();
        assert_eq!(answer, Err(DenyReason::AudienceNotConfirmed), "{audiences}");
        let answer = ask(&cluster, &token, &Audiences::Any).await.unwrap();
        assert_eq!(answer, Err(DenyReason::AudienceNotConfirmed), "{audiences}");
    }
}

#[tokio::test]
async fn an_answer_that_says_less_than_yes_is_no() {
    let sim = sim().await;
    let cluster = cluster(&sim);
    let token = sim.pod_token("my-namespace-a", "mypod1").unwrap();
    for (patch, reason) in [
        (json!(null), DenyReason::TokenNotAuthenticated),
        (
            json!({ "authenticated": null }),
            DenyReason::TokenNotAuthenticated,
        ),
        (
            json!({ "authenticated": false }),
            DenyReason::TokenNotAuthenticated,
        ),
        (
            json!({ "error": "a webhook failed" }),
            DenyReason::TokenNotAuthenticated,
        ),
        (json!({ "user": null }), DenyReason::NotAServiceAccount),
        (
            json!({ "user": { "uid": null } }),
            DenyReason::NotAServiceAccount,
        ),
        (
            json!({ "user": { "username": "system:node:a:b" } }),
            DenyReason::NotAServiceAccount,
        ),
        (
            json!({ "user": { "username": "system:serviceaccount:kube-system:default" } }),
            DenyReason::TokenClaimsDiffer,
        ),
        (
            json!({ "user": { "uid": "another" } }),
            DenyReason::TokenClaimsDiffer,
        ),
    ] {
        sim.set_fault(Fault::Patch(patch.clone()));
        assert_eq!(verify(&cluster, &token).await, Err(reason), "{patch}");
    }
    sim.set_fault(Fault::Body("{}".to_owned()));
    assert_eq!(
        verify(&cluster, &token).await,
        Err(DenyReason::TokenNotAuthenticated)
    );
    let pod =
        json!({ "user": { "extra": { "authentication.kubernetes.io/pod-name": ["a", "b"] } } });
    sim.set_fault(Fault::Patch(pod));
    assert_eq!(verify(&cluster, &token).await.unwrap().pod_name, None);
}

#[tokio::test]
async fn whatever_is_no_verdict_is_a_fault_of_its_own_kind() {
    let sim = sim().await;
    let cluster = cluster(&sim);
    let elsewhere = format!("{}/elsewhere", sim.host());
    for (behaviour, expected, outage) in [
        (
            Fault::Status(401),
            "ReviewerUnauthorized",
            Outage::ReviewerRefused,
        ),
        (
            Fault::Status(403),
            "ReviewerForbidden",
            Outage::ReviewerRefused,
        ),
        (Fault::Status(429), "TooManyRequests", Outage::ClusterError),
        (Fault::Status(500), "ServerError(500)", Outage::ClusterError),
        (Fault::Status(503), "ServerError(503)", Outage::ClusterError),
        (
            Fault::Status(404),
            "UnexpectedStatus(404)",
            Outage::ClusterError,
        ),
        (
            Fault::Redirect(elsewhere),
            "Redirect(307)",
            Outage::ClusterError,
        ),
        (Fault::Html, "NotATokenReview", Outage::ClusterError),
        (
            Fault::Body(String::new()),
            "NotATokenReview",
            Outage::ClusterError,
        ),
        (
            Fault::Body(r#"{"kind":"Status"}"#.to_owned()),
            "NotATokenReview",
            Outage::ClusterError,
        ),
        (Fault::EndlessBody, "TooLarge", Outage::ClusterError),
    ] {
        sim.set_fault(behaviour);
        let fault = fault(&cluster).await;
        assert_eq!(format!("{fault:?}"), expected);
        assert_eq!(fault.outage(), outage, "{expected}");
    }
    let strayed = sim
        .recent_requests()
        .iter()
        .any(|request| request.path.contains("elsewhere"));
    assert!(!strayed, "a redirect was followed");
}

#[tokio::test]
async fn a_silent_server_costs_no_more_than_the_callers_deadline() {
    let sim = sim().await;
    let cluster = cluster(&sim);
    let token = sim.pod_token("my-namespace-a", "mypod1").unwrap();
    let token = Arc::new(parse(&token).unwrap_or_else(|_| panic!("a readable token")));
    for behaviour in [Fault::Hang, Fault::StallBody] {
        sim.set_fault(behaviour);
        let (started, deadline) = (Instant::now(), Deadline::after(Duration::from_millis(300)));
        let answer = cluster
            .verify(&token, question(&Audiences::ApiServer, deadline))
            .await;
        assert!(matches!(
            answer.as_ref().map_err(AsRef::as_ref),
            Err(ReviewFault::Timeout)
        ));
        assert!(started.elapsed() < Duration::from_secs(2));
    }
}

#[tokio::test]
async fn a_server_that_cant_be_reached_is_told_from_one_that_isnt_trusted() {
    let (sim, other) = (sim().await, sim().await);
    let mut untrusted = fixtures::config(&sim);
    endpoint(&mut untrusted).ca =
        Some(CaBundle::parse(other.ca_pem(), Timestamp::now()).unwrap().0);
    let fault_of_untrusted = fault(&made(untrusted)).await;
    assert!(
        matches!(*fault_of_untrusted, ReviewFault::Tls(_)),
        "{fault_of_untrusted:?}"
    );
    assert_eq!(sim.reviews(), 0, "no token was sent");

    let mut systems = fixtures::config(&sim);
    endpoint(&mut systems).ca = None;
    match Cluster::new(systems, &Shared::default()) {
        Ok(cluster) => assert!(matches!(
            *fault(&Arc::new(cluster)).await,
            ReviewFault::Tls(_)
        )),
        Err(error) => assert!(matches!(error, ClusterError::NoSystemRoots)),
    }

    let nobody = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let mut gone = fixtures::config(&sim);
    endpoint(&mut gone).host = format!("https://{nobody}").parse().unwrap();
    let fault_of_gone = fault(&made(gone)).await;
    assert!(
        matches!(*fault_of_gone, ReviewFault::Connect(_)),
        "{fault_of_gone:?}"
    );

    let mut nowhere = fixtures::config(&sim);
    endpoint(&mut nowhere).host = "https://no-such-host.invalid".parse().unwrap();
    let fault_of_nowhere = fault(&made(nowhere)).await;
    assert!(
        matches!(*fault_of_nowhere, ReviewFault::Dns(_)),
        "{fault_of_nowhere:?}"
    );
}

#[tokio::test]
async fn a_connection_that_breaks_is_a_fault_and_the_next_one_works() {
    let sim = sim().await;
    let proxy = ChaosProxy::start(sim.address()).await;
    let mut config = fixtures::config(&sim);
    endpoint(&mut config).host = format!("https://{}", proxy.address()).parse().unwrap();
    let cluster = made(config);
    let token = sim.pod_token("my-namespace-a", "mypod1").unwrap();
    assert!(verify(&cluster, &token).await.is_ok());
    proxy.refuse();
    proxy.cut();
    let answer = ask(&cluster, &token, &Audiences::ApiServer).await;
    assert_eq!(answer.unwrap_err().outage(), Outage::ClusterUnreachable);
    proxy.pass();
    assert!(verify(&cluster, &token).await.is_ok());
}

#[tokio::test]
async fn a_reviewer_without_rights_or_with_a_bad_token_is_no_verdict() {
    let sim = sim().await;
    let mut config = fixtures::config(&sim);
    sim.create_service_account("default", "powerless").unwrap();
    let powerless = sim
        .legacy_token("default", "powerless", "powerless-token")
        .unwrap();
    set_reviewer(&mut config, Reviewer::Token(powerless.parse().unwrap()));
    let token = sim.pod_token("my-namespace-a", "mypod1").unwrap();
    let answer = ask(&made(config), &token, &Audiences::ApiServer).await;
    assert!(
        matches!(
            answer.as_ref().map_err(AsRef::as_ref),
            Err(ReviewFault::ReviewerForbidden)
        ),
        "{answer:?}"
    );

    let mut config = fixtures::config(&sim);
    set_reviewer(
        &mut config,
        Reviewer::Token("eyJ.wrong.token".parse().unwrap()),
    );
    let answer = ask(&made(config), &token, &Audiences::ApiServer).await;
    assert!(
        matches!(
            answer.as_ref().map_err(AsRef::as_ref),
            Err(ReviewFault::ReviewerUnauthorized)
        ),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_request_carries_the_reviewers_token_and_nothing_it_neednt() {
    let sim = sim().await;
    let config = fixtures::config(&sim);
    let bearer = format!("Bearer {}", reviewer_token(&config).expose());
    let cluster = made(config);
    let token = sim.pod_token("my-namespace-a", "mypod1").unwrap();
    verify(&cluster, &token).await.unwrap();
    let request = sim
        .recent_requests()
        .into_iter()
        .find(|request| request.is_review())
        .unwrap();
    let mut names: Vec<_> = request.headers.keys().map(|name| name.as_str()).collect();
    // No `host`: it is HTTP/2.
    names.retain(|name| *name != "content-length");
    names.sort_unstable();
    assert_eq!(
        names,
        ["accept", "authorization", "content-type", "user-agent"]
    );
    assert_eq!(request.headers["authorization"], bearer);
    assert_eq!(
        request.headers["user-agent"],
        concat!("postern-gateway/", env!("CARGO_PKG_VERSION"))
    );
    assert!(request.path.ends_with("/tokenreviews"), "no query");
    assert_eq!(request.body["spec"]["token"], json!(token));
}

#[tokio::test]
async fn faults_tell_callers_neither_hosts_nor_tokens() {
    let sim = sim().await;
    let cluster = cluster(&sim);
    let reviewer = reviewer_token(cluster.config()).expose().to_owned();
    for behaviour in [Fault::Status(500), Fault::Status(401), Fault::Html] {
        sim.set_fault(behaviour);
        let fault = fault(&cluster).await;
        let text = format!("{fault} {fault:?}");
        assert!(
            !text.contains("127.0.0.1") && !text.contains("eyJ") && !text.contains(&reviewer),
            "{text}"
        );
    }
    assert!(!format!("{cluster:?}").contains("eyJ"));
}
