//! Mutual TLS: a gateway's credential and the connection that it comes over.

use std::path::PathBuf;
use std::time::Duration;

use postern_control_plane::SubjectLimits;
use postern_control_plane::{BindError, Config};
use postern_core::auth_method::TokenMaxima;
use postern_core::clock::Clock;
use postern_proto::pb;
use postern_proto::pb::access_key_auth_service_client::AccessKeyAuthServiceClient;
use postern_proto::pb::audit_service_client::AuditServiceClient;
use postern_proto::pb::auth_method_service_client::AuthMethodServiceClient;
use postern_proto::pb::gateway_sync_service_client::GatewaySyncServiceClient;
use postern_rpc::client::{Channel, FileTarget, connect_by_files};
use postern_rpc::error::Failure;
use postern_rpc::server;
use postern_rpc::tls::{ClientCaFiles, PairFiles};
use tempfile::TempDir;
use test_support::fixtures::{TestCa, tempdir};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::messages::{creation, method, signing_key};
use crate::world::{GATEWAY, Key, PATIENCE, Persona, a_key, bootstrap, opened, own_keys};

/// A control plane that takes the client certificates of one CA.
struct Secured {
    ca: TestCa,
    client_ca: TestCa,
    folder: TempDir,
    url: String,
    admin: Key,
    gateway: Key,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

fn config(folder: &TempDir, ca: &TestCa, admin: &Key, gateway: &Key) -> Config {
    let (certificate, key) = ca.issue(&["localhost"]).write(folder.path());
    let mut server = server::Config::new("127.0.0.1:0".parse().unwrap()).with_tls(certificate, key);
    server.reload_every = Duration::from_millis(10);
    let database = format!("sqlite:{}", folder.path().join("postern.db").display());
    Config {
        server,
        require_gateway_certificate: true,
        database_url: database.parse().ok().unwrap(),
        bootstrap: Some(bootstrap(Uuid::now_v7(), admin, gateway)),
        keys: own_keys(),
        issuer: None,
        clock: Clock::system(),
        limits: SubjectLimits::default(),
        token_maxima: TokenMaxima::default(),
        audit: Box::new(std::io::sink()),
        audit_retention: None,
    }
}

impl Secured {
    async fn start(required: bool) -> Self {
        let (ca, client_ca, folder) = (TestCa::new("servers"), TestCa::new("clients"), tempdir());
        let (admin, gateway) = (a_key(), a_key());
        let mut config = config(&folder, &ca, &admin, &gateway);
        config.require_gateway_certificate = required;
        config.server.client_ca = Some(ClientCaFiles {
            ca: client_ca.write(folder.path()),
            revoked: None,
        });
        let bound = postern_control_plane::bind(config).await.unwrap();
        let url = format!("https://localhost:{}", bound.addr().port());
        let (readiness, shutdown) = (bound.readiness(), CancellationToken::new());
        let stop = shutdown.clone();
        let serving = tokio::spawn(async move { bound.serve(stop).await.unwrap() });
        opened(&readiness).await;
        Self {
            ca,
            client_ca,
            folder,
            url,
            admin,
            gateway,
            shutdown,
            serving,
        }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.serving.await.unwrap();
    }

    /// Shows that gateway's certificate, or none.
    fn showing(&self, gateway: Option<&str>) -> Channel {
        let folder = tempdir();
        let pair = gateway.map(|name| self.client_ca.write_client(folder.path(), name));
        let ca: PathBuf = self.folder.path().join("servers.pem");
        std::fs::write(&ca, self.ca.pem()).unwrap();
        let target = FileTarget {
            url: self.url.clone(),
            ca: Some(ca),
            certificate: pair.map(|(certificate, key)| PairFiles { certificate, key }),
        };
        connect_by_files(target).unwrap().0
    }

    async fn log_in(&self, channel: &Channel, key: &Key) -> Result<Persona, Failure> {
        let message = pb::AuthenticateAccessKeyRequest {
            access_id: key.access_id.clone(),
            access_key: key.key.clone(),
            gateway: String::new(),
        };
        let mut client = AccessKeyAuthServiceClient::new(channel.clone());
        let answer = client.authenticate_access_key(Persona::anonymous().request(message));
        let answer = answer.await.map_err(Failure::from)?.into_inner();
        Ok(Persona::bearer(&answer.access_token))
    }

    async fn denials(&self) -> Vec<String> {
        let channel = self.showing(None);
        let admin = self.log_in(&channel, &self.admin).await.unwrap();
        let message = pb::ListAuditEventsRequest::default();
        let mut client = AuditServiceClient::new(channel);
        let answer = client.list_audit_events(admin.request(message));
        let events = answer.await.unwrap().into_inner().audit_events.into_iter();
        let denied = events.filter(|event| !event.reason.is_empty());
        denied.map(|event| event.reason).collect()
    }
}

async fn revision(channel: &Channel, gateway: &Persona) -> Result<(), Code> {
    let mut client = GatewaySyncServiceClient::new(channel.clone());
    let answer = client.get_revision(gateway.request(pb::GetRevisionRequest {}));
    answer
        .await
        .map(drop)
        .map_err(|status: Status| status.code())
}

#[tokio::test]
async fn a_gateways_key_is_taken_over_a_connection_with_its_own_certificate_alone() {
    let it = Secured::start(true).await;
    assert!(
        it.log_in(&it.showing(Some(GATEWAY)), &it.gateway)
            .await
            .is_ok()
    );
    for other in [None, Some("west")] {
        let refused = it
            .log_in(&it.showing(other), &it.gateway)
            .await
            .err()
            .unwrap();
        assert_eq!(refused.code, Code::PermissionDenied, "{other:?}");
        assert!(refused.message.contains("client certificate"), "{refused}");
    }
    assert_eq!(
        it.denials().await,
        ["GATEWAY_CERTIFICATE", "GATEWAY_CERTIFICATE"]
    );
    let wrong = Key {
        access_id: it.gateway.access_id.clone(),
        key: a_key().key,
    };
    let stranger = it.log_in(&it.showing(None), &wrong).await.err().unwrap();
    assert_eq!(
        stranger.code,
        Code::Unauthenticated,
        "who has no key learns nothing"
    );
    it.stop().await;
}

#[tokio::test]
async fn a_gateways_token_is_good_over_a_connection_with_its_own_certificate_alone() {
    let it = Secured::start(true).await;
    let own = it.showing(Some(GATEWAY));
    let token = it.log_in(&own, &it.gateway).await.unwrap();
    assert_eq!(revision(&own, &token).await, Ok(()));
    for other in [None, Some("west")] {
        let stolen = revision(&it.showing(other), &token).await;
        assert_eq!(stolen, Err(Code::Unauthenticated), "{other:?}");
    }
    assert_eq!(
        revision(&own, &token).await,
        Ok(()),
        "it is still good where it belongs"
    );
    it.stop().await;
}

#[tokio::test]
async fn another_gateways_certificate_is_refused_even_where_none_is_required() {
    let it = Secured::start(false).await;
    let none = it.showing(None);
    let token = it.log_in(&none, &it.gateway).await.unwrap();
    assert_eq!(revision(&none, &token).await, Ok(()));
    let west = it.showing(Some("west"));
    assert!(it.log_in(&west, &it.gateway).await.is_err());
    assert_eq!(revision(&west, &token).await, Err(Code::Unauthenticated));
    it.stop().await;
}

#[tokio::test]
async fn a_gateways_open_stream_ends_when_its_certificate_is_no_longer_trusted() {
    let it = Secured::start(true).await;
    let own = it.showing(Some(GATEWAY));
    let token = it.log_in(&own, &it.gateway).await.unwrap();
    let mut sync = GatewaySyncServiceClient::new(own.clone());
    let watch = token.request(pb::WatchRequest::default());
    let mut stream = sync.watch(watch).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());

    TestCa::new("others").write(it.folder.path());
    let refused = async { while revision(&own, &token).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, refused).await.unwrap();
    // Any write makes it look.
    let channel = it.showing(None);
    let admin = it.log_in(&channel, &it.admin).await.unwrap();
    let write = creation("m", method(&signing_key()));
    let mut methods = AuthMethodServiceClient::new(channel);
    methods
        .create_auth_method(admin.request(write))
        .await
        .unwrap();
    let end = async {
        loop {
            match stream.message().await {
                Ok(message) => assert!(message.is_some(), "it ends with an error"),
                Err(status) => return status.code(),
            }
        }
    };
    let end = tokio::time::timeout(PATIENCE, end).await.unwrap();
    assert_eq!(end, Code::Unauthenticated);
    it.stop().await;
}

#[tokio::test]
async fn certificates_cant_be_required_of_whom_nobody_trusts() {
    let (ca, folder) = (TestCa::default(), tempdir());
    let config = config(&folder, &ca, &a_key(), &a_key());
    let error = postern_control_plane::bind(config).await.unwrap_err();
    assert!(matches!(error, BindError::NoClientCa), "{error}");
}
