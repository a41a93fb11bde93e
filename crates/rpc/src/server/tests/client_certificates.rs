//! Mutual TLS: which gateway a connection speaks for, at every call.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use pb::gateway_sync_service_client::GatewaySyncServiceClient;
use pb::server_info_service_client::ServerInfoServiceClient;
use postern_proto::pb;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use super::connections::greet;
use crate::caller::BearerToken;
use crate::client::{
    Channel, ConnectFault, Credentials as _, FileTarget, FollowTarget, connect_by_files, request,
};
use crate::deadline::Deadline;
use crate::error::Failure;
use crate::metrics::Metrics;
use crate::server::{BindError, bind};
use crate::testing::{ADMINISTRATOR, Ca, Files, Running, loopback};
use crate::tls::{ClientCaFiles, PairFiles};

/// How often files are looked at.
const OFTEN: Duration = Duration::from_millis(10);

/// A server that takes the certificates of its own CA, and the folder with that trust.
struct Trusting {
    server: Running,
    folder: TempDir,
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(10))
}

fn unchanged(_: &mut CertificateParams) {}

impl Trusting {
    async fn start() -> Self {
        let (ca, folder) = (Ca::new(), tempfile::tempdir().unwrap());
        let files = ca.issue("localhost");
        std::fs::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
        std::fs::write(folder.path().join("crl.pem"), ca.revoke(&[])).unwrap();
        let mut config = loopback().with_tls(files.certificate, files.key);
        config.reload_every = OFTEN;
        config.client_ca = Some(ClientCaFiles {
            ca: folder.path().join("ca.pem"),
            revoked: Some(folder.path().join("crl.pem")),
        });
        Self {
            server: Running::start(config, Some(ca)).await,
            folder,
        }
    }

    fn ca(&self) -> &Ca {
        self.server.ca.as_ref().unwrap()
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// A channel that shows a certificate.
    fn showing(&self, files: Option<&Files>) -> (Channel, FollowTarget) {
        let ca = self.folder.path().join("server-ca.pem");
        std::fs::write(&ca, self.ca().pem()).unwrap();
        let target = FileTarget {
            url: self.server.url(),
            ca: Some(ca),
            certificate: files.map(pair),
        };
        connect_by_files(target).unwrap()
    }

    /// The gateway that a connection with a certificate of this CA speaks for.
    async fn seen(&self, change: impl FnOnce(&mut CertificateParams)) -> Result<String, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let client = self.ca().issue_client(folder.path(), "east", change);
        gateway(&self.showing(Some(&client.files)).0).await
    }

    async fn metrics(&self) -> String {
        let mut stream = greet(self.server.addr, self.ca(), b"http/1.1").await;
        let request = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn metrics_become(&self, line: &str) {
        let seen = soon().run(async { while !self.metrics().await.contains(line) {} });
        seen.await.unwrap_or_else(|_| panic!("never: {line}"));
    }
}

fn pair(files: &Files) -> PairFiles {
    PairFiles {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
    }
}

async fn gateway(channel: &Channel) -> Result<String, Failure> {
    let ask = request(pb::GetRevisionRequest {}, soon());
    let ask = ask.with_bearer(&BearerToken::new(ADMINISTRATOR));
    let mut client = GatewaySyncServiceClient::new(channel.clone());
    let answer = client.get_revision(ask).await.map_err(Failure::from)?;
    Ok(answer.into_inner().revision)
}

async fn becomes(channel: &Channel, expected: &str) {
    let seen = soon().run(async { while gateway(channel).await.unwrap() != expected {} });
    seen.await.unwrap_or_else(|_| panic!("never {expected:?}"));
}

fn refused(result: Result<String, Failure>) -> String {
    match result.unwrap_err().connect {
        Some(ConnectFault::OwnCertificate { fault, .. }) => fault,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_call_knows_the_gateway_of_its_connections_certificate_and_others_go_on_without() {
    let it = Trusting::start().await;
    assert_eq!(it.seen(unchanged).await.unwrap(), "east");
    assert_eq!(gateway(&it.showing(None).0).await.unwrap(), "");
    let mut administrator = ServerInfoServiceClient::new(it.server.channel());
    let ask = request(pb::GetServerInfoRequest {}, soon());
    assert!(administrator.get_server_info(ask).await.is_ok());
    it.server.stop().await;
}

#[tokio::test]
async fn a_client_certificate_that_has_expired_ends_the_handshake() {
    let it = Trusting::start().await;
    let expired = it.seen(|params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    assert_eq!(refused(expired.await), "CertificateExpired");
    it.server.stop().await;
}

#[tokio::test]
async fn a_client_certificate_of_another_ca_ends_the_handshake() {
    let it = Trusting::start().await;
    let folder = tempfile::tempdir().unwrap();
    let foreign = Ca::new().issue_client(folder.path(), "east", unchanged);
    let (channel, _files) = it.showing(Some(&foreign.files));
    // The two CAs have one name: either its signature or its issuer is what is wrong.
    let fault = refused(gateway(&channel).await);
    assert!(
        ["UnknownCA", "DecryptError", "BadCertificate"].contains(&&*fault),
        "{fault}"
    );
    it.server.stop().await;
}

#[tokio::test]
async fn a_servers_certificate_is_none_of_a_client() {
    let it = Trusting::start().await;
    let server = it.seen(|params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    refused(server.await);
    it.server.stop().await;
}

#[tokio::test]
async fn a_revoked_client_certificate_is_refused_and_its_open_connections_speak_for_nobody() {
    let it = Trusting::start().await;
    let folder = tempfile::tempdir().unwrap();
    let client = it.ca().issue_client(folder.path(), "east", unchanged);
    let (open, _files) = it.showing(Some(&client.files));
    assert_eq!(gateway(&open).await.unwrap(), "east");

    it.write("crl.pem", it.ca().revoke(&[&client.serial]));
    becomes(&open, "").await;
    let (new, _files) = it.showing(Some(&client.files));
    assert_eq!(refused(gateway(&new).await), "CertificateRevoked");

    it.write("crl.pem", it.ca().revoke(&[]));
    becomes(&open, "east").await;
    it.server.stop().await;
}

#[tokio::test]
async fn a_client_ca_that_is_replaced_is_trusted_no_more_and_a_broken_one_changes_nothing() {
    let it = Trusting::start().await;
    let folder = tempfile::tempdir().unwrap();
    let client = it.ca().issue_client(folder.path(), "east", unchanged);
    let (open, _files) = it.showing(Some(&client.files));
    assert_eq!(gateway(&open).await.unwrap(), "east");

    it.metrics_become(r#"postern_tls_reload_failing{side="server"} 0"#)
        .await;
    let expiry = r#"postern_tls_certificate_expiry_timestamp_seconds{side="server"}"#;
    assert!(it.metrics().await.contains(expiry));
    it.write("ca.pem", "no certificate");
    it.metrics_become(r#"postern_tls_reload_failing{side="server"} 1"#)
        .await;
    assert_eq!(gateway(&open).await.unwrap(), "east", "the old one stays");
    let (new, _files) = it.showing(Some(&client.files));
    assert_eq!(gateway(&new).await.unwrap(), "east");

    let next = Ca::new();
    it.write("crl.pem", next.revoke(&[]));
    it.write("ca.pem", next.pem());
    becomes(&open, "").await;
    it.metrics_become(r#"postern_tls_reload_failing{side="server"} 0"#)
        .await;
    it.server.stop().await;
}

#[tokio::test]
async fn a_client_shows_a_changed_certificate_without_a_restart_and_open_streams_go_on() {
    let it = Trusting::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mount = Mount::new(folder.path());
    mount.swap(|folder| drop(it.ca().issue_client(folder, "east", unchanged)));
    let files = Files {
        certificate: folder.path().join("client.pem"),
        key: folder.path().join("client-key.pem"),
    };
    let (channel, follow) = it.showing(Some(&files));
    let (stop, metrics) = (CancellationToken::new(), Metrics::new());
    let following = tokio::spawn(follow.run_every(OFTEN, metrics.tls(), stop.clone()));
    assert_eq!(gateway(&channel).await.unwrap(), "east");
    let mut sync = GatewaySyncServiceClient::new(channel.clone());
    let watch = request(
        pb::WatchRequest::default(),
        Deadline::after(Duration::from_secs(60)),
    );
    let watch = watch.with_bearer(&BearerToken::new(ADMINISTRATOR));
    let mut stream = sync.watch(watch).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());

    mount.swap(|folder| std::fs::write(folder.join("client.pem"), "broken").unwrap());
    let failing = r#"postern_tls_reload_failing{side="client"} 1"#;
    let seen = soon().run(async {
        while !metrics.text().unwrap().contains(failing) {
            tokio::task::yield_now().await;
        }
    });
    seen.await.unwrap();
    assert_eq!(
        gateway(&channel).await.unwrap(),
        "east",
        "the old one stays"
    );

    mount.swap(|folder| drop(it.ca().issue_client(folder, "west", unchanged)));
    becomes(&channel, "west").await;
    let next = tokio::time::timeout(Duration::from_millis(50), stream.message()).await;
    assert!(next.is_err(), "the open stream is still open: {next:?}");
    stop.cancel();
    following.await.unwrap();
    drop(stream);
    it.server.stop().await;
}

#[tokio::test]
async fn client_certificates_need_tls_and_a_sound_ca() {
    let (ca, folder) = (Ca::new(), tempfile::tempdir().unwrap());
    let trust = folder.path().join("ca.pem");
    std::fs::write(&trust, "no certificate").unwrap();
    let client_ca = Some(ClientCaFiles {
        ca: trust,
        revoked: None,
    });
    let mut plain = loopback();
    plain.client_ca = client_ca.clone();
    let refused = bind(plain).await.unwrap_err();
    assert!(
        matches!(refused, BindError::ClientCaWithoutTls),
        "{refused}"
    );
    let files = ca.issue("localhost");
    let mut broken = loopback().with_tls(files.certificate, files.key);
    broken.client_ca = client_ca;
    let refused = bind(broken).await.unwrap_err();
    assert!(matches!(refused, BindError::Tls(_)), "{refused}");
}

/// A folder as Kubernetes mounts a Secret: files are links into `..data`, itself a link that is
/// replaced as a whole.
struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    fn new(folder: &'a Path) -> Self {
        for name in ["client.pem", "client-key.pem"] {
            symlink(Path::new("..data").join(name), folder.join(name)).unwrap();
        }
        Self(folder)
    }

    fn swap(&self, write: impl FnOnce(&Path)) {
        let version = tempfile::tempdir_in(self.0).unwrap().keep();
        write(&version);
        let link = self.0.join("..data_tmp");
        symlink(&version, &link).unwrap();
        std::fs::rename(link, self.0.join("..data")).unwrap();
    }
}
