use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use kube_sim::{KubeSim, Options, Rancher};
use postern_core::facts::Facts;
use postern_core::k8s_auth_config::{CertificateChain, ClientCertificate, ClientKey, Endpoint};
use postern_core::reason::DenyReason;
use postern_rpc::error::Outage;
use serde_json::json;
use tokio::time::timeout;

use super::super::{Cluster, Shared};
use super::*;
use crate::fixtures::{self, parse, sim};
use crate::sample::{endpoint, set_reviewer};

const HOUR: Duration = Duration::from_secs(3600);

fn pair((certificate, key): (String, String)) -> Reviewer {
    let chain = CertificateChain::parse(&certificate).unwrap();
    let key = ClientKey::parse(&key).unwrap();
    Reviewer::Certificate(ClientCertificate::new(chain, key).unwrap())
}

fn certified(sim: &KubeSim, pair: Reviewer) -> Cluster {
    let mut config = fixtures::config(sim);
    set_reviewer(&mut config, pair);
    cluster(config)
}

fn cluster(config: K8sAuthConfig) -> Cluster {
    Cluster::new(config, &Shared::default()).unwrap()
}

async fn verify(cluster: &Cluster, token: &str) -> Result<Result<Facts, DenyReason>, ReviewFault> {
    let token = parse(token).unwrap_or_else(|_| panic!("a readable token"));
    let deadline = Deadline::after(Duration::from_secs(5));
    cluster
        .verify_once(&token, &[], &BTreeSet::new(), Timestamp::now(), deadline)
        .await
}

#[tokio::test]
async fn a_client_certificate_reviews_and_no_bearer_is_sent() {
    let sim = sim().await;
    sim.let_review("postern-reviewer").unwrap();
    let certificate = sim.client_certificate("postern-reviewer", &["reviewers"], HOUR);
    let cluster = certified(&sim, pair(certificate.unwrap()));
    let token = sim.pod_token("my-namespace-a", "mypod1").unwrap();
    let facts = verify(&cluster, &token).await.unwrap().unwrap();
    assert_eq!(facts.pod_name.as_deref(), Some("mypod1"));
    let request = sim.recent_requests().pop().unwrap();
    assert!(request.headers.get("authorization").is_none());
}

#[tokio::test]
async fn a_client_certificate_that_the_cluster_doesnt_take_is_the_reviewer_refused() {
    let (sim, other) = (sim().await, sim().await);
    let token = sim.pod_token("my-namespace-a", "mypod1").unwrap();
    let foreign = other.client_certificate("postern-reviewer", &["system:masters"], HOUR);
    let foreign = certified(&sim, pair(foreign.unwrap()));
    let fault = verify(&foreign, &token).await.unwrap_err();
    assert!(
        matches!(fault, ReviewFault::ReviewerUnauthorized),
        "{fault:?}"
    );

    let powerless = sim.client_certificate("nobody", &[], HOUR).unwrap();
    let fault = verify(&certified(&sim, pair(powerless)), &token).await;
    let fault = fault.unwrap_err();
    assert!(matches!(fault, ReviewFault::ReviewerForbidden), "{fault:?}");
    assert_eq!(fault.outage(), Outage::ReviewerRefused);
}

async fn behind_rancher() -> KubeSim {
    KubeSim::start(Options {
        rancher: Some(Rancher {
            cluster_id: "c-m-abcdefgh".to_owned(),
            api_key: "token-abcde:secret".to_owned(),
        }),
        ..Options::default()
    })
    .await
    .unwrap()
}

fn through_rancher(sim: &KubeSim, cluster_id: &str, api_key: &str) -> Cluster {
    let mut config = fixtures::config(sim);
    let at: Endpoint = endpoint(&mut config).clone();
    config.access = ClusterAccess::Rancher {
        at,
        cluster: cluster_id.parse().unwrap(),
        api_key: api_key.parse().unwrap(),
    };
    cluster(config)
}

#[tokio::test]
async fn rancher_is_asked_below_the_clusters_path_with_the_api_key() {
    let sim = behind_rancher().await;
    let token = sim.pod_token("my-namespace-a", "mypod1").unwrap();
    let through = through_rancher(&sim, "c-m-abcdefgh", "token-abcde:secret");
    let facts = verify(&through, &token).await.unwrap().unwrap();
    assert_eq!(facts.namespace, "my-namespace-a");
    let request = sim.recent_requests().pop().unwrap();
    assert_eq!(
        request.headers["authorization"],
        "Bearer token-abcde:secret"
    );
    assert_eq!(request.body["spec"]["token"], json!(token));

    for (id, key) in [
        ("c-m-zzzzzzzz", "token-abcde:secret"),
        ("c-m-abcdefgh", "token-abcde:wrong"),
    ] {
        let fault = verify(&through_rancher(&sim, id, key), &token).await;
        assert!(
            matches!(fault, Err(ReviewFault::ReviewerUnauthorized)),
            "{id} {key}"
        );
    }
    assert!(
        verify(&cluster(fixtures::config(&sim)), &token)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_presented_token_reviews_itself_and_is_the_only_credential() {
    let sim = sim().await;
    let mut config = fixtures::config(&sim);
    set_reviewer(&mut config, Reviewer::PresentedToken);
    let cluster = cluster(config);
    let pod = sim.pod_token("my-namespace-a", "mypod1").unwrap();
    let fault = verify(&cluster, &pod).await.unwrap_err();
    assert!(
        matches!(fault, ReviewFault::ReviewerForbidden),
        "the service account may not review: {fault:?}"
    );

    sim.reviewer_token("my-namespace-a", "default").unwrap();
    let facts = verify(&cluster, &pod).await.unwrap().unwrap();
    assert_eq!(facts.pod_name.as_deref(), Some("mypod1"));
    let request = sim.recent_requests().pop().unwrap();
    assert_eq!(request.headers["authorization"], format!("Bearer {pod}"));

    let (signed, _) = pod.rsplit_once('.').unwrap();
    let forged = format!("{signed}.AAAA");
    assert_eq!(
        verify(&cluster, &forged).await.unwrap(),
        Err(DenyReason::TokenNotAuthenticated),
        "the API server's own verdict on the token"
    );
}

#[tokio::test]
async fn the_servers_certificate_is_verified_for_the_name_that_the_config_gives() {
    let sim = sim().await;
    let token = sim.pod_token("my-namespace-a", "mypod1").unwrap();
    let named = |name: &str| {
        let mut config = fixtures::config(&sim);
        endpoint(&mut config).tls_server_name = Some(name.parse().unwrap());
        cluster(config)
    };
    assert!(
        verify(&named("kubernetes.default.svc"), &token)
            .await
            .is_ok()
    );
    let request = sim.recent_requests().pop().unwrap();
    assert!(
        request.is_review(),
        "it is the server at k8s_host that was asked"
    );
    let fault = verify(&named("elsewhere.example"), &token).await;
    assert!(matches!(fault, Err(ReviewFault::Tls(_))), "{fault:?}");
}

#[tokio::test]
async fn many_reviews_share_one_connection() {
    let sim = sim().await;
    let cluster = cluster(fixtures::config(&sim));
    let token = sim.pod_token("my-namespace-a", "mypod1").unwrap();
    verify(&cluster, &token).await.unwrap().unwrap();
    let reviews = (0..50).map(|_| verify(&cluster, &token));
    for verdict in join_all(reviews).await {
        verdict.unwrap().unwrap();
    }
    assert_eq!(sim.reviews(), 51);
    assert_eq!(sim.connections_made(), 1);
}

#[tokio::test]
async fn connections_close_with_the_config_that_they_were_made_for() {
    let sim = sim().await;
    let token = sim.pod_token("my-namespace-a", "mypod1").unwrap();
    let old = cluster(fixtures::config(&sim));
    verify(&old, &token).await.unwrap().unwrap();
    sim.until_open(1).await;
    drop(old);
    let closed = timeout(Duration::from_secs(5), sim.until_open(0)).await;
    assert!(closed.is_ok(), "an old connection stayed open");
}

#[tokio::test(start_paused = true)]
async fn a_config_can_wait_less_long_for_an_answer() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = fixtures::config(&sim().await);
    endpoint(&mut config).host = format!("https://{}", silent.local_addr().unwrap())
        .parse()
        .unwrap();
    let (connect, total) = (Duration::from_millis(700), Duration::from_millis(900));
    config.timeouts = Timeouts::new(Some(connect), Some(total)).unwrap();
    let cluster = cluster(config);
    let before = tokio::time::Instant::now();
    let token = fixtures::jwt(&json!({ "alg": "RS256" }), &json!({}));
    let fault = verify(&cluster, &token).await.unwrap_err();
    assert_eq!(fault.outage(), Outage::ClusterUnreachable);
    assert!(before.elapsed() <= total, "{:?}", before.elapsed());
}
