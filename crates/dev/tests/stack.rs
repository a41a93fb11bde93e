//! A stack as its users meet it: over its sockets.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's own helpers may panic"
)]

use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postern_dev::cluster::{Cluster, ClusterError};
use postern_dev::{Port, Stack, StackOptions};
use secrecy::ExposeSecret as _;
use serde_json::Value;

async fn start(data_dir: Option<PathBuf>) -> Stack {
    let options = StackOptions {
        data_dir,
        ..StackOptions::default()
    };
    let stack = Stack::start(options).await.unwrap();
    ready(&stack).await;
    stack
}

async fn ready(stack: &Stack) {
    let deadline = Duration::from_secs(20);
    tokio::time::timeout(deadline, stack.ready())
        .await
        .expect("not ready in time");
}

/// What `/readyz` says to a client that trusts the stack's CA alone.
async fn readyz(stack: &Stack, url: &str) -> Value {
    let ca = stack.admin().ca_cert.as_bytes();
    let tls = postern_rpc::tls::client_config(Some(ca)).unwrap();
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy();
    let response = client
        .build()
        .unwrap()
        .get(format!("{url}/readyz"))
        .send()
        .await
        .unwrap();
    response.json().await.unwrap()
}

fn listens(url: &str) -> bool {
    let address: std::net::SocketAddr = url.strip_prefix("https://").unwrap().parse().unwrap();
    TcpStream::connect(address).is_ok()
}

#[tokio::test]
async fn each_server_stops_alone_and_comes_back_at_its_address() {
    let mut stack = start(None).await;
    let (control_plane, gateway) = (
        stack.control_plane_url().to_owned(),
        stack.gateway_url().to_owned(),
    );
    assert_eq!(readyz(&stack, &control_plane).await["ready"], true);
    assert_eq!(readyz(&stack, &gateway).await["ready"], true);

    stack.stop_gateway().await.unwrap();
    assert!(listens(&control_plane) && !listens(&gateway));
    stack.start_gateway().await.unwrap();
    ready(&stack).await;
    assert_eq!(readyz(&stack, &gateway).await["ready"], true);

    stack.stop_control_plane().await.unwrap();
    assert!(!listens(&control_plane) && listens(&gateway));
    stack.start_control_plane().await.unwrap();
    ready(&stack).await;
    assert_eq!(readyz(&stack, &control_plane).await["ready"], true);

    let dir = stack.deployment().dir().to_owned();
    assert!(dir.exists());
    stack.shutdown().await.unwrap();
    assert!(!listens(&control_plane) && !listens(&gateway) && !dir.exists());
}

#[tokio::test]
async fn a_data_folder_keeps_addresses_and_credentials() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let first = start(Some(data.clone())).await;
    let urls = |stack: &Stack| {
        let admin = stack.admin();
        let cluster = stack.cluster().host().to_owned();
        (
            admin.control_plane_url.clone(),
            admin.gateway_url.clone(),
            cluster,
        )
    };
    let before = urls(&first);
    let key = first.admin().access_key.clone();
    first.shutdown().await.unwrap();
    let second = start(Some(data.clone())).await;
    assert_eq!(urls(&second), before);
    assert_eq!(
        second.admin().access_key.expose_secret(),
        key.expose_secret()
    );
    assert!(second.deployment().created().is_empty());
    second.shutdown().await.unwrap();
    assert!(data.join("postern.db").exists());
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_names_the_server() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let options = StackOptions {
        gateway: Port::Exactly(holder.local_addr().unwrap().port()),
        ..StackOptions::default()
    };
    let error = Stack::start(options).await.err().unwrap();
    assert_eq!(error.to_string(), "no port for the gateway");
}

#[tokio::test]
async fn two_stacks_run_side_by_side() {
    let (first, second) = tokio::join!(start(None), start(None));
    assert_ne!(first.gateway_url(), second.gateway_url());
    for stack in [first, second] {
        assert_eq!(readyz(&stack, stack.gateway_url()).await["ready"], true);
        stack.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn the_cluster_gives_tokens_to_who_has_its_state() {
    let sim = kube_sim::KubeSim::start(kube_sim::Options::default())
        .await
        .unwrap();
    let state = postern_dev::stack::cluster_state(&sim);
    let cluster = Cluster::new(&state).unwrap();
    cluster.check().await.unwrap();

    for _ in 0..2 {
        let token = cluster.pod_token("my-namespace-a", "mypod1").await.unwrap();
        let claims = claims(token.expose_secret());
        assert_eq!(claims["kubernetes.io"]["pod"]["name"], "mypod1");
        assert_eq!(claims["kubernetes.io"]["namespace"], "my-namespace-a");
        assert_eq!(
            claims["sub"],
            "system:serviceaccount:my-namespace-a:default"
        );
    }
    let first = cluster.reviewer_token().await.unwrap();
    let second = cluster.reviewer_token().await.unwrap();
    assert_eq!(first.expose_secret(), second.expose_secret());
    assert_eq!(
        claims(first.expose_secret())["sub"],
        "system:serviceaccount:default:gateway-token-reviewer"
    );

    let wrong = cluster.pod_token("my-namespace-a", "a/b").await;
    assert!(matches!(wrong, Err(ClusterError::Refused { .. })));

    let mut stranger = state;
    stranger.admin_token = "someone".into();
    let refused = Cluster::new(&stranger).unwrap().check().await;
    assert!(matches!(refused, Err(ClusterError::Refused { .. })));
    sim.shutdown().await;
    assert!(matches!(
        cluster.check().await,
        Err(ClusterError::Unreachable { .. })
    ));
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}
