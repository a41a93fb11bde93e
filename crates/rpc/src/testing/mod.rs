//! A private CA and a small server, for tests with real sockets.

mod services;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use postern_proto::pb;
use postern_proto::permissions::{Need, Server};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, RevokedCertParams, SanType, SerialNumber,
};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::client::{Channel, Target, connect};
use crate::error::Error;
use crate::http::introspection::{self, Introspector, Question};
use crate::http::{Component, Readiness};
use crate::layers::{Answered, Authorizer, Call, LimitedCall, Refused};
use crate::metrics::Metrics;
use crate::server::{App, Config, ServeError, bind};

pub(crate) const ADMINISTRATOR: &str = "t-administrator";

/// A CA of its own, and a folder for what it issues.
pub(crate) struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

/// PEM files of a server.
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self {
            issuer,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn pem(&self) -> Vec<u8> {
        self.issuer.pem().into_bytes()
    }

    pub(crate) fn issue(&self, name: &str) -> Files {
        self.issue_with(name, |_| {})
    }

    pub(crate) fn issue_with(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Files {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = Files {
            certificate: self.folder.path().join("cert.pem"),
            key: self.folder.path().join("key.pem"),
        };
        std::fs::write(&files.certificate, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }
}

/// A client's certificate and its key.
pub(crate) struct ClientPair {
    pub(crate) files: Files,
    pub(crate) serial: SerialNumber,
}

impl Ca {
    /// In `folder`, for one gateway.
    pub(crate) fn issue_client(
        &self,
        folder: &Path,
        gateway: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> ClientPair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        let uri = format!("postern://gateway/{gateway}").try_into().unwrap();
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.serial_number = Some(SerialNumber::from(u64::from(std::process::id()) + 7));
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = Files {
            certificate: folder.join("client.pem"),
            key: folder.join("client-key.pem"),
        };
        std::fs::write(&files.certificate, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        let serial = params.serial_number.unwrap();
        ClientPair { files, serial }
    }

    /// A revocation list.
    pub(crate) fn revoke(&self, serials: &[&SerialNumber]) -> String {
        let now = rcgen::date_time_ymd(2020, 1, 1);
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: (*serial).clone(),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: now,
            next_update: rcgen::date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

/// Knows one administrator, and takes nothing for granted.
#[derive(Clone, Default)]
pub(crate) struct TestAuthorizer {
    /// What it was told of.
    limited: Arc<Mutex<Vec<LimitedCall>>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Administrator(pub(crate) String);

impl Authorizer for TestAuthorizer {
    type Identity = Administrator;

    async fn authorize(&self, call: Call) -> Result<Administrator, Error> {
        match (call.need, call.bearer.expose()) {
            (Need::Holder(_) | Need::Gateway, ADMINISTRATOR) => Ok(Administrator(call.method)),
            (_, ADMINISTRATOR) => Err(Error::permission_denied("not for administrators")),
            _ => Err(Error::Unauthenticated),
        }
    }

    async fn refused(&self, _: Refused) {}

    fn limited(&self, limited: LimitedCall) {
        self.limited.lock().unwrap().push(limited);
    }

    async fn answered(&self, _: Administrator, _: Answered) {}
}

/// Every token is somebody's.
struct TestIntrospector;

impl Introspector for TestIntrospector {
    async fn introspect(&self, question: Question) -> Result<pb::IntrospectResponse, Error> {
        Ok(pb::IntrospectResponse {
            active: true,
            access_id: question.token.expose().to_owned(),
            ..pb::IntrospectResponse::default()
        })
    }
}

/// A running control plane with the services of [`services`].
pub(crate) struct Running {
    pub(crate) addr: SocketAddr,
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) database: Component,
    /// Told when a ListAuthMethods has begun, which never ends.
    pub(crate) listing: Arc<Notify>,
    /// What limits turned away.
    pub(crate) limited: Arc<Mutex<Vec<LimitedCall>>>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) served: JoinHandle<Result<(), ServeError>>,
    pub(crate) ca: Option<Ca>,
}

pub(crate) fn loopback() -> Config {
    Config::new("127.0.0.1:0".parse().unwrap())
}

impl Running {
    pub(crate) async fn plain(config: Config) -> Self {
        Self::start(config, None).await
    }

    pub(crate) async fn tls(config: Config) -> Self {
        let ca = Ca::new();
        let files = ca.issue("localhost");
        let config = config.with_tls(files.certificate, files.key);
        Self::start(config, Some(ca)).await
    }

    pub(crate) async fn start(config: Config, ca: Option<Ca>) -> Self {
        let bound = bind(config).await.unwrap();
        let (addr, admin) = (bound.addr(), bound.admin_addr());
        let readiness = Readiness::new();
        let database = readiness.component("database");
        let (shutdown, listing) = (CancellationToken::new(), Arc::new(Notify::new()));
        let authorizer = TestAuthorizer::default();
        let limited = Arc::clone(&authorizer.limited);
        let app = App {
            server: Server::ControlPlane,
            grpc: services::routes(Arc::clone(&listing)),
            http: introspection::routes(TestIntrospector),
            authorizer,
            readiness,
            metrics: Metrics::new(),
        };
        let served = tokio::spawn(bound.serve(app, shutdown.clone()));
        Self {
            addr,
            admin,
            database,
            listing,
            limited,
            shutdown,
            served,
            ca,
        }
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.ca.is_some() { "https" } else { "http" };
        format!("{scheme}://localhost:{}", self.addr.port())
    }

    pub(crate) fn target(&self) -> Target {
        Target {
            url: self.url(),
            ca_pem: self.ca.as_ref().map(Ca::pem),
        }
    }

    pub(crate) fn channel(&self) -> Channel {
        connect(&self.target()).unwrap()
    }

    /// Stops it and waits for the end.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.served.await.unwrap().unwrap();
    }
}
