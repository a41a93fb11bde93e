//! A gateway whose control plane isn't there.

use std::time::Duration;

use postern_core::access_token::{AccessKey, AccessToken};
use postern_proto::pb;
use postern_proto::pb::auth_service_client::AuthServiceClient;
use postern_proto::pb::k8s_auth_config_service_client::K8sAuthConfigServiceClient;
use postern_proto::pb::server_info_service_client::ServerInfoServiceClient;
use postern_rpc::caller::BearerToken;
use postern_rpc::client::{self, Channel, Credentials as _, Target};
use postern_rpc::deadline::Deadline;
use postern_rpc::error::{Failure, Reason};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tonic::Code;

use super::*;
use crate::config::GatewayFile;
use crate::sample::key_line;

struct Running {
    channel: Channel,
    readiness: Readiness,
    shutdown: CancellationToken,
    served: JoinHandle<Result<(), ServeError>>,
    _dir: TempDir,
}

async fn gateway() -> Running {
    let dir = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned()];
    let certificate = rcgen::CertificateParams::new(names)
        .unwrap()
        .self_signed(&key)
        .unwrap();
    std::fs::write(dir.path().join("server.pem"), certificate.pem()).unwrap();
    std::fs::write(dir.path().join("server-key.pem"), key.serialize_pem()).unwrap();
    std::fs::write(dir.path().join("seal-keys"), key_line("k1")).unwrap();
    let file = GatewayFile {
        gateway: "default".to_owned(),
        access_id: "p-abcdefghijklam".to_owned(),
        access_key: AccessKey::generate().unwrap().expose().into(),
        deployment_id: Uuid::from_u128(1).to_string(),
        control_plane_url: "http://127.0.0.1:1".to_owned(),
        tls_cert: "server.pem".into(),
        tls_key: "server-key.pem".into(),
        seal_keys: "seal-keys".into(),
        ..GatewayFile::default()
    };
    let listen = "127.0.0.1:0".parse().unwrap();
    let config = Config::new(&file, dir.path(), listen, Clock::system()).unwrap();
    let bound = bind(config).await.unwrap();
    let target = Target {
        url: format!("https://localhost:{}", bound.addr().port()),
        ca_pem: Some(certificate.pem().into_bytes()),
    };
    let (readiness, shutdown) = (bound.readiness(), CancellationToken::new());
    Running {
        channel: client::connect(&target).unwrap(),
        readiness,
        served: tokio::spawn(bound.serve(shutdown.clone())),
        shutdown,
        _dir: dir,
    }
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(2))
}

async fn list(gateway: &Running, bearer: Option<&str>) -> Failure {
    let mut request = client::request(pb::ListK8sAuthConfigsRequest::default(), soon());
    if let Some(bearer) = bearer {
        request = request.with_bearer(&BearerToken::new(bearer));
    }
    let mut client = K8sAuthConfigServiceClient::new(gateway.channel.clone());
    client
        .list_k8s_auth_configs(request)
        .await
        .unwrap_err()
        .into()
}

#[tokio::test]
async fn it_starts_without_a_control_plane_says_what_it_is_and_stops() {
    let gateway = gateway().await;
    let mut client = ServerInfoServiceClient::new(gateway.channel.clone());
    let request = client::request(pb::GetServerInfoRequest {}, soon());
    let info = client.get_server_info(request).await.unwrap().into_inner();
    assert_eq!(info.role(), pb::ServerRole::Gateway);
    assert_eq!(info.gateway, "default");
    assert!(!gateway.readiness.is_ready());

    drop(client);
    let Running {
        channel,
        shutdown,
        served,
        ..
    } = gateway;
    drop(channel);
    shutdown.cancel();
    let stopped = tokio::time::timeout(Duration::from_secs(10), served).await;
    stopped.expect("stops in time").unwrap().unwrap();
}

#[tokio::test]
async fn a_login_before_there_is_a_snapshot_is_an_outage_and_no_refusal() {
    let gateway = gateway().await;
    let request = pb::AuthenticateRequest {
        token_audiences: Vec::new(),
        access_id: "p-abcdefghijkl".to_owned(),
        k8s_auth_config: "k8s-conf".to_owned(),
        credential: Some(pb::authenticate_request::Credential::ServiceAccountToken(
            // {"alg":"RS256"}.{"iss":"a"}
            "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJhIn0.c2ln".to_owned(),
        )),
    };
    let mut client = AuthServiceClient::new(gateway.channel.clone());
    let failure = client
        .authenticate(client::request(request, soon()))
        .await
        .unwrap_err();
    let failure = Failure::from(failure);
    assert_eq!(failure.code, Code::Unavailable, "{failure}");
    assert_eq!(failure.reason, Some(Reason::Snapshot));
    assert!(failure.request_id.is_some());
}

#[tokio::test]
async fn what_is_no_token_of_ours_is_refused_without_asking_anybody() {
    let gateway = gateway().await;
    for bearer in [
        None,
        Some("eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJhIn0.c2ln"),
        Some("t-short"),
    ] {
        let failure = list(&gateway, bearer).await;
        assert_eq!(failure.code, Code::Unauthenticated, "{bearer:?}: {failure}");
    }
}

#[tokio::test]
async fn an_administrator_hears_that_the_control_plane_is_away() {
    let gateway = gateway().await;
    let token = AccessToken::generate().unwrap();
    let failure = list(&gateway, Some(token.expose())).await;
    assert_eq!(failure.code, Code::Unavailable, "{failure}");
    assert_eq!(failure.reason, Some(Reason::ControlPlane));
}
