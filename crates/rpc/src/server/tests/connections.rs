//! TLS, slow peers, certificates that change, and shutdown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pb::gateway_sync_service_client::GatewaySyncServiceClient;
use pb::server_info_service_client::ServerInfoServiceClient;
use postern_proto::pb;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::caller::BearerToken;
use crate::client::{ConnectFault, Credentials as _, connect, request, retry};
use crate::deadline::Deadline;
use crate::error::Failure;
use crate::server::{BindError, Config, bind};
use crate::testing::{ADMINISTRATOR, Ca, Running, loopback};
use crate::tls;

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(5))
}

pub(super) async fn greet(addr: SocketAddr, ca: &Ca, alpn: &[u8]) -> TlsStream<TcpStream> {
    let mut config = tls::client_config(Some(&ca.pem())).unwrap();
    config.alpn_protocols = vec![alpn.to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    let tcp = TcpStream::connect(addr).await.unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .unwrap()
}

async fn server_answers(server: &Running) -> bool {
    let mut client = ServerInfoServiceClient::new(server.channel());
    client
        .get_server_info(request(Default::default(), soon()))
        .await
        .is_ok()
}

#[tokio::test]
async fn one_port_speaks_grpc_and_http_1() {
    let server = Running::tls(loopback()).await;
    assert!(server_answers(&server).await);
    let mut stream = greet(server.addr, server.ca.as_ref().unwrap(), b"http/1.1").await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let request = b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(
        answer.contains("x-request-id: ") && answer.ends_with(r#"{"live":true}"#),
        "{answer}"
    );
    server.stop().await;
}

#[tokio::test]
async fn slow_peers_delay_nobody_and_are_dropped() {
    let mut config = loopback();
    config.handshake_timeout = Duration::from_millis(500);
    let server = Running::tls(config).await;
    let mut mute = Vec::new();
    for _ in 0..20 {
        mute.push(TcpStream::connect(server.addr).await.unwrap());
    }
    let mut greeted = greet(server.addr, server.ca.as_ref().unwrap(), b"h2").await;
    assert!(server_answers(&server).await);
    let closed = soon().run(async {
        for stream in &mut mute {
            // Closed or reset, but not kept.
            let _ = stream.read(&mut [0; 1]).await;
        }
        let _ = greeted.read_to_end(&mut Vec::new()).await;
    });
    closed.await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_changed_certificate_is_served_without_a_restart() {
    let mut config = loopback();
    config.reload_every = Duration::from_millis(20);
    let server = Running::tls(config).await;
    let ca = server.ca.as_ref().unwrap();
    let serial =
        |stream: &TlsStream<TcpStream>| stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    let before = serial(&greet(server.addr, ca, b"h2").await);

    std::fs::write(ca.issue("localhost").key, "not a key").unwrap();
    assert_eq!(
        serial(&greet(server.addr, ca, b"h2").await),
        before,
        "a broken pair changes nothing"
    );

    ca.issue("localhost");
    let changed = soon().run(async {
        while serial(&greet(server.addr, ca, b"h2").await) == before {
            tokio::task::yield_now().await;
        }
    });
    changed.await.unwrap();
    assert!(server_answers(&server).await);
    server.stop().await;
}

#[tokio::test]
async fn plain_text_is_for_loopback_only() {
    let refused = bind(Config::new("0.0.0.0:0".parse().unwrap()))
        .await
        .unwrap_err();
    assert!(matches!(refused, BindError::PlainTextBeyondLoopback(_)));
}

#[tokio::test]
async fn a_certificate_that_does_not_fit_its_key_is_refused_at_start() {
    let (ours, theirs) = (Ca::new(), Ca::new());
    let (ours, theirs) = (ours.issue("localhost"), theirs.issue("localhost"));
    let refused = bind(loopback().with_tls(ours.certificate, theirs.key))
        .await
        .unwrap_err();
    assert!(matches!(refused, BindError::Tls(_)), "{refused}");
    let missing = bind(loopback().with_tls("/nonexistent", "/nonexistent"))
        .await
        .unwrap_err();
    assert!(
        matches!(missing, BindError::Tls(tls::Error::Read { .. })),
        "{missing}"
    );
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_at_start() {
    let server = Running::plain(loopback()).await;
    let refused = bind(Config::new(server.addr)).await.unwrap_err();
    assert!(matches!(refused, BindError::Listen { .. }));
    server.stop().await;
}

#[tokio::test]
async fn shutdown_is_announced_and_then_cuts_what_will_not_end() {
    let mut config = loopback();
    config.shutdown_grace = Duration::from_millis(300);
    let server = Running::tls(config).await;
    server.database.ready();
    let mut sync = GatewaySyncServiceClient::new(server.channel());
    let watch =
        request(pb::WatchRequest::default(), soon()).with_bearer(&BearerToken::new(ADMINISTRATOR));
    let mut endless = sync.watch(watch).await.unwrap().into_inner();
    assert!(endless.message().await.unwrap().is_some());
    let mut health = HealthClient::new(server.channel());
    let mut statuses = health
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    let mut next = async || {
        soon()
            .run(statuses.message())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
            .status()
    };
    while next().await != ServingStatus::Serving {}

    let target = server.target();
    server.shutdown.cancel();
    assert_eq!(next().await, ServingStatus::NotServing);
    soon()
        .run(server.served)
        .await
        .expect("it ends")
        .unwrap()
        .unwrap();
    let cut = soon()
        .run(endless.message())
        .await
        .expect("the stream is cut");
    assert_eq!(
        Failure::from(cut.unwrap_err()).connect,
        Some(ConnectFault::Lost)
    );

    let mut client = ServerInfoServiceClient::new(connect(&target).unwrap());
    let gone = client
        .get_server_info(request(Default::default(), soon()))
        .await
        .unwrap_err();
    let fault = Failure::from(gone).connect;
    assert!(
        matches!(fault, Some(ConnectFault::Refused { .. })),
        "{fault:?}"
    );
}

#[tokio::test]
async fn who_watches_health_does_not_hold_up_a_shutdown() {
    let server = Running::tls(loopback()).await;
    let mut health = HealthClient::new(server.channel());
    let mut statuses = health
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(statuses.message().await.unwrap().is_some());
    soon()
        .run(server.stop())
        .await
        .expect("before the grace time is over");
    while statuses.message().await.expect("it isn't cut").is_some() {}
}

#[tokio::test]
async fn a_client_comes_back_when_its_server_does() {
    let server = Running::plain(loopback()).await;
    let addr = server.addr;
    let client = ServerInfoServiceClient::new(server.channel());
    let deadline = Deadline::after(Duration::from_secs(10));
    let call = || {
        let mut client = client.clone();
        async move {
            client
                .get_server_info(request(Default::default(), deadline))
                .await
        }
    };
    retry(deadline, call).await.unwrap();
    server.stop().await;
    let (answer, again) = tokio::join!(retry(deadline, call), Running::plain(Config::new(addr)));
    answer.unwrap();
    again.stop().await;
}
