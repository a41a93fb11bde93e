//! A control plane that runs, and the people and programs that call it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use postern_control_plane::SubjectLimits;
use postern_control_plane::bootstrap::{Bootstrap, BootstrapAdmin, BootstrapGateway};
use postern_control_plane::{Bound, Config, ServeError};
use postern_core::access_id::{AccessId, AccessType};
use postern_core::access_token::AccessKey;
use postern_core::auth_method::TokenMaxima;
use postern_core::clock::Clock;
use postern_core::own_keys::OwnKeys;
use postern_proto::pb;
use postern_proto::pb::access_key_auth_service_client::AccessKeyAuthServiceClient;
use postern_proto::pb::audit_service_client::AuditServiceClient;
use postern_proto::pb::auth_method_service_client::AuthMethodServiceClient;
use postern_proto::pb::gateway_service_client::GatewayServiceClient;
use postern_proto::pb::gateway_sync_service_client::GatewaySyncServiceClient;
use postern_proto::pb::sealed_k8s_auth_config_service_client::SealedK8sAuthConfigServiceClient;
use postern_rpc::caller::BearerToken;
use postern_rpc::client::{self, Channel, Credentials as _, Target};
use postern_rpc::deadline::Deadline;
use postern_rpc::error::Failure;
use postern_rpc::http::Readiness;
use postern_rpc::server;
use tempfile::TempDir;
use test_support::capture::LogBuffer;
use test_support::fixtures::tempdir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use uuid::Uuid;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const GATEWAY: &str = "default";

/// A clock that stands still until it is moved.
#[derive(Clone)]
pub(crate) struct TestClock(Arc<AtomicI64>);

/// An access ID and its key.
pub(crate) struct Key {
    pub(crate) access_id: String,
    pub(crate) key: String,
}

/// Who calls: what goes into the headers.
#[derive(Clone, Default)]
pub(crate) struct Persona {
    bearer: Option<BearerToken>,
    on_behalf_of: Option<BearerToken>,
    relayed_request_id: Option<String>,
}

pub(crate) struct World {
    pub(crate) clock: TestClock,
    pub(crate) audit: LogBuffer,
    pub(crate) deployment: Uuid,
    pub(crate) admin: Key,
    pub(crate) gateway: Key,
    pub(crate) addr: SocketAddr,
    pub(crate) channel: Channel,
    pub(crate) folder: TempDir,
    database: String,
    shutdown: CancellationToken,
    serving: Option<JoinHandle<()>>,
}

// === impl TestClock ===

impl TestClock {
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::SeqCst)).unwrap()
    }

    pub(crate) fn advance(&self, by: SignedDuration) {
        self.0.fetch_add(by.as_secs(), Ordering::SeqCst);
    }

    fn noon() -> Self {
        let noon: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        Self(Arc::new(AtomicI64::new(noon.as_second())))
    }

    fn clock(&self) -> Clock {
        let this = self.clone();
        Clock::new(move || this.now())
    }
}

// === impl Key ===

impl Key {
    fn generate() -> Self {
        Self {
            access_id: AccessId::generate(AccessType::AccessKey)
                .unwrap()
                .to_string(),
            key: AccessKey::generate().unwrap().expose().to_owned(),
        }
    }

    fn parsed(&self) -> AccessKey {
        self.key.parse().unwrap()
    }
}

// === impl Persona ===

impl Persona {
    pub(crate) fn anonymous() -> Self {
        Self::default()
    }

    pub(crate) fn bearer(token: &str) -> Self {
        Self {
            bearer: Some(BearerToken::new(token)),
            ..Self::default()
        }
    }

    pub(crate) fn on_behalf_of(&self, administrator: &Self) -> Self {
        Self {
            on_behalf_of: administrator.bearer.clone(),
            ..self.clone()
        }
    }

    pub(crate) fn relaying(&self, request_id: &str) -> Self {
        Self {
            relayed_request_id: Some(request_id.to_owned()),
            ..self.clone()
        }
    }

    pub(crate) fn token(&self) -> &str {
        self.bearer.as_ref().unwrap().expose()
    }

    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = client::request(message, Deadline::after(PATIENCE));
        if let Some(token) = &self.bearer {
            request = request.with_bearer(token);
        }
        if let Some(token) = &self.on_behalf_of {
            request = request.with_on_behalf_of(token);
        }
        if let Some(id) = &self.relayed_request_id {
            let id = id.parse().unwrap();
            request.metadata_mut().insert("postern-request-id", id);
        }
        request
    }
}

pub(crate) fn failed<T: std::fmt::Debug>(answer: Result<Response<T>, Status>) -> Failure {
    Failure::from(answer.unwrap_err())
}

/// The fields that an INVALID_ARGUMENT names.
pub(crate) fn fields<T: std::fmt::Debug>(answer: Result<Response<T>, Status>) -> Vec<String> {
    let failure = failed(answer);
    assert_eq!(failure.code, tonic::Code::InvalidArgument, "{failure}");
    let violations = failure.violations.into_iter();
    violations.map(|violation| violation.field).collect()
}

// === impl World ===

impl World {
    pub(crate) async fn start() -> Self {
        let folder = tempdir();
        let database = sqlite(folder.path());
        Self::start_on(folder, database).await
    }

    pub(crate) async fn start_on(folder: TempDir, database: String) -> Self {
        let (world, readiness) = Self::start_before(folder, database).await;
        opened(&readiness).await;
        world
    }

    /// With limits of the server's own.
    pub(crate) async fn start_limited(limit: impl FnOnce(&mut server::Config)) -> Self {
        let folder = tempdir();
        let database = sqlite(folder.path());
        let (world, readiness) = Self::start_as(folder, database, limit).await;
        opened(&readiness).await;
        world
    }

    /// Whose database may come later.
    pub(crate) async fn start_before(folder: TempDir, database: String) -> (Self, Readiness) {
        Self::start_as(folder, database, |_| {}).await
    }

    async fn start_as(
        folder: TempDir,
        database: String,
        limit: impl FnOnce(&mut server::Config),
    ) -> (Self, Readiness) {
        let (admin, gateway, deployment) = (Key::generate(), Key::generate(), Uuid::now_v7());
        let bootstrap = bootstrap(deployment, &admin, &gateway);
        let clock = TestClock::noon();
        let audit = LogBuffer::default();
        let mut config = config(&database, Some(bootstrap), &clock, &audit);
        limit(&mut config.server);
        let bound = postern_control_plane::bind(config).await.unwrap();
        let (addr, readiness) = (bound.addr(), bound.readiness());
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(serve(bound, shutdown.clone()));
        let world = Self {
            channel: channel(addr),
            clock,
            audit,
            deployment,
            admin,
            gateway,
            addr,
            folder,
            database,
            shutdown,
            serving: Some(serving),
        };
        (world, readiness)
    }

    /// Shuts down, and waits until it is done.
    pub(crate) async fn stop(&mut self) {
        self.shutdown.cancel();
        if let Some(serving) = self.serving.take() {
            serving.await.unwrap();
        }
    }

    /// On the same database.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        let config = config(&self.database, None, &self.clock, &self.audit);
        let bound = postern_control_plane::bind(config).await.unwrap();
        let readiness = bound.readiness();
        self.addr = bound.addr();
        self.channel = channel(self.addr);
        self.shutdown = CancellationToken::new();
        self.serving = Some(tokio::spawn(serve(bound, self.shutdown.clone())));
        opened(&readiness).await;
    }

    pub(crate) async fn log_in(
        &self,
        key: &Key,
        gateway: &str,
    ) -> Result<Response<pb::AuthenticateAccessKeyResponse>, Status> {
        let message = pb::AuthenticateAccessKeyRequest {
            access_id: key.access_id.clone(),
            access_key: key.key.clone(),
            gateway: gateway.to_owned(),
        };
        let request = Persona::anonymous().request(message);
        self.access_keys().authenticate_access_key(request).await
    }

    pub(crate) async fn logged_in(&self, key: &Key, gateway: &str) -> Persona {
        let answer = self.log_in(key, gateway).await.unwrap();
        Persona::bearer(&answer.into_inner().access_token)
    }

    pub(crate) async fn administrator(&self) -> Persona {
        self.logged_in(&self.admin, "").await
    }

    /// An administrator's token that is narrowed to the first gateway.
    pub(crate) async fn narrowed(&self) -> Persona {
        self.logged_in(&self.admin, GATEWAY).await
    }

    pub(crate) async fn gateway(&self) -> Persona {
        self.logged_in(&self.gateway, "").await
    }

    /// The first gateway with an administrator behind it.
    pub(crate) async fn relayed(&self) -> Persona {
        self.gateway().await.on_behalf_of(&self.narrowed().await)
    }

    /// Another gateway, made now.
    pub(crate) async fn other_gateway(&self, id: &str) -> Persona {
        let message = pb::CreateGatewayRequest {
            gateway_id: id.to_owned(),
            gateway: Some(pb::Gateway {
                url: Some(format!("https://{id}.example.com:8000")),
                ..pb::Gateway::default()
            }),
        };
        let request = self.administrator().await.request(message);
        let made = self
            .gateways()
            .create_gateway(request)
            .await
            .unwrap()
            .into_inner();
        let key = Key {
            access_id: made.gateway.unwrap().access_id,
            key: made.access_key,
        };
        self.logged_in(&key, "").await
    }

    pub(crate) fn access_keys(&self) -> AccessKeyAuthServiceClient<Channel> {
        AccessKeyAuthServiceClient::new(self.channel.clone())
    }

    pub(crate) fn methods(&self) -> AuthMethodServiceClient<Channel> {
        AuthMethodServiceClient::new(self.channel.clone())
    }

    pub(crate) fn gateways(&self) -> GatewayServiceClient<Channel> {
        GatewayServiceClient::new(self.channel.clone())
    }

    pub(crate) fn configs(&self) -> SealedK8sAuthConfigServiceClient<Channel> {
        SealedK8sAuthConfigServiceClient::new(self.channel.clone())
    }

    pub(crate) fn sync(&self) -> GatewaySyncServiceClient<Channel> {
        GatewaySyncServiceClient::new(self.channel.clone())
    }

    /// All audit records, newest first; their lines are written by then.
    pub(crate) async fn events(&self, request_id: &str) -> Vec<pb::AuditEvent> {
        self.listed(pb::ListAuditEventsRequest {
            request_id: request_id.to_owned(),
            ..pb::ListAuditEventsRequest::default()
        })
        .await
    }

    /// As many records of one kind as are waited for, newest first.
    pub(crate) async fn events_of(&self, kind: &str, count: usize) -> Vec<pb::AuditEvent> {
        let filter = pb::AuditFilter {
            event: kind.to_owned(),
            ..pb::AuditFilter::default()
        };
        let recorded = async {
            loop {
                let events = self.listed(pb::ListAuditEventsRequest {
                    filter: Some(filter.clone()),
                    ..pb::ListAuditEventsRequest::default()
                });
                let events = events.await;
                if events.len() >= count {
                    return events;
                }
            }
        };
        tokio::time::timeout(PATIENCE, recorded).await.unwrap()
    }

    async fn listed(&self, message: pb::ListAuditEventsRequest) -> Vec<pb::AuditEvent> {
        let message = pb::ListAuditEventsRequest {
            page_size: 500,
            ..message
        };
        let request = self.administrator().await.request(message);
        let mut client = AuditServiceClient::new(self.channel.clone());
        let answer = client.list_audit_events(request).await.unwrap();
        let events = answer.into_inner().audit_events;
        let written = async {
            let lines = || self.audit.contents();
            while !events.iter().all(|event| lines().contains(&event.id)) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, written).await.unwrap();
        events
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

async fn serve(bound: Bound, shutdown: CancellationToken) {
    bound.serve(shutdown).await.unwrap();
}

pub(crate) fn bootstrap(deployment: Uuid, admin: &Key, gateway: &Key) -> Bootstrap {
    Bootstrap {
        deployment_id: deployment,
        control_plane_url: Some("https://localhost:8100".parse().unwrap()),
        admin: BootstrapAdmin {
            access_id: admin.access_id.parse().unwrap(),
            access_key_sha256: admin.parsed().hash(),
        },
        gateway: BootstrapGateway {
            name: GATEWAY.parse().unwrap(),
            url: "https://localhost:8000".to_owned(),
            access_id: gateway.access_id.parse().unwrap(),
            access_key_sha256: gateway.parsed().hash(),
        },
    }
}

fn sqlite(folder: &Path) -> String {
    format!("sqlite:{}", folder.join("postern.db").display())
}

fn config(
    database: &str,
    bootstrap: Option<Bootstrap>,
    clock: &TestClock,
    audit: &LogBuffer,
) -> Config {
    Config {
        server: server::Config::new("127.0.0.1:0".parse().unwrap()),
        require_gateway_certificate: false,
        database_url: database.parse().ok().unwrap(),
        bootstrap,
        keys: own_keys(),
        issuer: None,
        clock: clock.clock(),
        limits: SubjectLimits::default(),
        token_maxima: TokenMaxima::default(),
        audit: Box::new(audit.clone()),
        audit_retention: None,
    }
}

/// The same at every start.
pub(crate) fn own_keys() -> OwnKeys {
    OwnKeys::parse("k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap()
}

/// Starts on the database in `folder`, and stops when it is ready: why it doesn't get ready.
pub(crate) async fn start(folder: &Path, bootstrap: Option<Bootstrap>) -> Result<(), ServeError> {
    start_with(folder, bootstrap, own_keys()).await
}

/// The same with other keys of its own.
pub(crate) async fn start_with(
    folder: &Path,
    bootstrap: Option<Bootstrap>,
    keys: OwnKeys,
) -> Result<(), ServeError> {
    start_on(&sqlite(folder), bootstrap, keys).await
}

/// A first start on any database.
pub(crate) async fn start_at(database: &str) -> Result<(), ServeError> {
    let bootstrap = bootstrap(Uuid::now_v7(), &a_key(), &a_key());
    start_on(database, Some(bootstrap), own_keys()).await
}

async fn start_on(
    database: &str,
    bootstrap: Option<Bootstrap>,
    keys: OwnKeys,
) -> Result<(), ServeError> {
    let (clock, audit) = (TestClock::noon(), LogBuffer::default());
    let mut config = config(database, bootstrap, &clock, &audit);
    config.keys = keys;
    let bound = postern_control_plane::bind(config).await.unwrap();
    let (readiness, shutdown) = (bound.readiness(), CancellationToken::new());
    let stop_when_ready = async {
        readiness.ready().await;
        shutdown.cancel();
    };
    let served = bound.serve(shutdown.clone());
    tokio::pin!(served);
    tokio::select! {
        ended = &mut served => ended,
        () = stop_when_ready => served.await,
    }
}

/// Waits until the database has been opened.
pub(crate) async fn opened(readiness: &Readiness) {
    let ready = tokio::time::timeout(PATIENCE, readiness.ready());
    ready.await.expect("the database is opened");
}

pub(crate) fn a_key() -> Key {
    Key::generate()
}

pub(crate) fn channel(addr: SocketAddr) -> Channel {
    client::connect(&Target {
        url: format!("http://{addr}"),
        ca_pem: None,
    })
    .unwrap()
}
