//! What one client leaves to others. On Linux every 127.x.x.x is an address of its own.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use pb::auth_method_service_client::AuthMethodServiceClient;
use pb::server_info_service_client::ServerInfoServiceClient;
use postern_proto::pb;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use crate::caller::BearerToken;
use crate::client::{Credentials as _, request};
use crate::deadline::Deadline;
use crate::error::{Failure, Reason};
use crate::metrics::Scope;
use crate::testing::{ADMINISTRATOR, Ca, Running, loopback};
use crate::tls;

const GREEDY: &str = "127.0.0.2";
const OTHER: &str = "127.0.0.3";

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(5))
}

fn channel(server: &Running, from: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", server.addr)).unwrap();
    let from: IpAddr = from.parse().unwrap();
    endpoint.local_address(Some(from)).connect_lazy()
}

async fn tcp(to: SocketAddr, from: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}

async fn greet(addr: SocketAddr, ca: &Ca, from: &str) {
    let mut config = tls::client_config(Some(&ca.pem())).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    let stream = tcp(addr, from).await;
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap();
}

async fn info(channel: &Channel) -> Result<(), Failure> {
    let mut client = ServerInfoServiceClient::new(channel.clone());
    let answer = client.get_server_info(request(Default::default(), soon()));
    answer.await.map(drop).map_err(Failure::from)
}

#[tokio::test]
async fn one_client_cant_take_the_calls_of_all() {
    let mut config = loopback();
    config.max_calls_per_peer = 1;
    let server = Running::plain(config).await;
    let greedy = channel(&server, GREEDY);
    let mut slow = AuthMethodServiceClient::new(greedy.clone());
    let slow = tokio::spawn(async move {
        let list = request(pb::ListAuthMethodsRequest::default(), soon());
        let list = list.with_bearer(&BearerToken::new(ADMINISTRATOR));
        slow.list_auth_methods(list).await.map(drop)
    });
    server.listing.notified().await;

    let refused = info(&greedy).await.unwrap_err();
    assert_eq!(refused.reason, Some(Reason::RateLimited), "{refused:?}");
    assert_eq!(refused.retry_after, Some(Duration::from_secs(1)));
    info(&channel(&server, OTHER)).await.unwrap();
    slow.abort();
    server.stop().await;
}

/// A question to `POST /v1/introspect`.
async fn ask(server: &Running, from: &str, expect: &str) -> TcpStream {
    let mut stream = tcp(server.addr, from).await;
    let head = format!(
        "POST /v1/introspect HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer t-x\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: 9\r\n\
         connection: close\r\n{expect}\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// The rest of it, and the answer.
async fn answer(mut stream: TcpStream) -> String {
    stream.write_all(b"token=t-y").await.unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    soon().run(read).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn questions_over_plain_http_are_calls_of_their_client_and_leave_others_theirs() {
    let mut config = loopback();
    config.max_calls_per_peer = 1;
    let server = Running::plain(config).await;
    // The server asks for the body when the call has its place, and waits for it there.
    let mut first = ask(&server, GREEDY, "expect: 100-continue\r\n").await;
    let mut line = [0; 25];
    first.read_exact(&mut line).await.unwrap();
    assert_eq!(&line, b"HTTP/1.1 100 Continue\r\n\r\n");

    let refused = answer(ask(&server, GREEDY, "").await).await;
    for part in [
        "HTTP/1.1 429",
        "retry-after: 1\r\n",
        "cache-control: no-store\r\n",
        "x-request-id: ",
        "\"error\":\"temporarily_unavailable\"",
    ] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    let called = info(&channel(&server, GREEDY)).await.unwrap_err();
    assert_eq!(called.reason, Some(Reason::RateLimited));
    let others = answer(ask(&server, OTHER, "").await).await;
    assert!(others.contains("\"client_id\":\"t-y\""), "{others}");
    info(&channel(&server, OTHER)).await.unwrap();
    let first = answer(first).await;
    assert!(first.starts_with("HTTP/1.1 200"), "{first}");

    let limited = server.limited.lock().unwrap().split_off(0);
    let methods: Vec<_> = limited.iter().map(|call| call.method.as_deref()).collect();
    let info = "/postern.v1.ServerInfoService/GetServerInfo";
    assert_eq!(methods, [Some("/v1/introspect"), Some(info)]);
    for call in limited {
        assert_eq!(
            (call.scope, call.caller.ip),
            (Scope::PeerCalls, GREEDY.parse().ok())
        );
        let id = call.caller.request_id.to_string();
        assert!(refused.contains(&id) || called.request_id == Some(id));
    }
    server.stop().await;
}

#[tokio::test]
async fn one_clients_calls_are_its_own_again_when_they_are_answered_or_given_up() {
    let mut config = loopback();
    config.max_calls_per_peer = 1;
    let server = Running::plain(config).await;
    let client = channel(&server, GREEDY);
    for _ in 0..3 {
        info(&client).await.unwrap();
    }
    let mut slow = AuthMethodServiceClient::new(client.clone());
    let given_up = tokio::spawn(async move {
        let list = request(pb::ListAuthMethodsRequest::default(), soon());
        let list = list.with_bearer(&BearerToken::new(ADMINISTRATOR));
        slow.list_auth_methods(list).await.map(drop)
    });
    server.listing.notified().await;
    given_up.abort();
    let again = soon().run(async { while info(&client).await.is_err() {} });
    again.await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn one_client_cant_take_the_connections_of_all() {
    let mut config = loopback();
    config.max_connections_per_peer = 2;
    let server = Running::plain(config).await;
    let _held = (
        tcp(server.addr, GREEDY).await,
        tcp(server.addr, GREEDY).await,
    );
    let mut third = tcp(server.addr, GREEDY).await;
    let closed = soon().run(third.read(&mut [0; 1])).await.unwrap();
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
    info(&channel(&server, OTHER)).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn silent_connections_of_one_client_hold_up_nobody_elses_handshake() {
    let mut config = loopback();
    config.handshake_timeout = Duration::from_secs(60);
    config.shutdown_grace = Duration::ZERO;
    (config.max_handshakes, config.max_handshakes_per_peer) = (4, 3);
    let server = Running::tls(config).await;
    let mut mute = Vec::new();
    for _ in 0..20 {
        mute.push(tcp(server.addr, GREEDY).await);
    }
    let ca = server.ca.as_ref().unwrap();
    soon().run(greet(server.addr, ca, OTHER)).await.unwrap();
    drop(mute);
    server.stop().await;
}
