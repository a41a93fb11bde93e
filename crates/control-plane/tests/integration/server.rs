//! One TLS port: gRPC, health and reflection.

use postern_control_plane::Config;
use postern_control_plane::SubjectLimits;
use postern_core::auth_method::TokenMaxima;
use postern_core::clock::Clock;
use postern_proto::pb;
use postern_proto::pb::server_info_service_client::ServerInfoServiceClient;
use postern_rpc::client::{self, Target};
use postern_rpc::server;
use test_support::fixtures::{TestCa, tempdir};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::world::{Persona, World, a_key, bootstrap, own_keys};

#[tokio::test]
async fn it_says_what_it_is() {
    let world = World::start().await;
    let mut client = ServerInfoServiceClient::new(world.channel.clone());
    let request = Persona::anonymous().request(pb::GetServerInfoRequest {});
    let info = client.get_server_info(request).await.unwrap().into_inner();
    assert_eq!(info.role(), pb::ServerRole::ControlPlane);
    assert_eq!(info.gateway, "");
    assert!(!info.version.is_empty());
}

pub(crate) async fn get(world: &World, path: &str) -> (u16, serde_json::Value) {
    let (status, body) = get_text(world, path).await;
    let body = &body[body.find('{').unwrap()..=body.rfind('}').unwrap()];
    (status, serde_json::from_str(body).unwrap())
}

pub(crate) async fn get_text(world: &World, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(world.addr).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    (status, body.to_owned())
}

#[tokio::test]
async fn it_is_ready_when_its_database_is() {
    let world = World::start().await;
    assert_eq!(get(&world, "/livez").await.0, 200);
    let ready = async {
        while get(&world, "/readyz/database").await.0 != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::world::PATIENCE, ready)
        .await
        .unwrap();
    let (status, body) = get(&world, "/readyz").await;
    assert_eq!(status, 200);
    assert_eq!(body["components"]["database"]["ready"], true);
}

#[tokio::test]
async fn it_serves_tls_on_the_same_port() {
    let folder = tempdir();
    let ca = TestCa::new("a test CA");
    let (certificate, key) = ca.issue(&["localhost", "127.0.0.1"]).write(folder.path());
    let database = format!("sqlite:{}", folder.path().join("postern.db").display());
    let config = Config {
        server: server::Config::new("127.0.0.1:0".parse().unwrap()).with_tls(certificate, key),
        require_gateway_certificate: false,
        database_url: database.parse().ok().unwrap(),
        bootstrap: Some(bootstrap(Uuid::now_v7(), &a_key(), &a_key())),
        keys: own_keys(),
        issuer: None,
        clock: Clock::system(),
        limits: SubjectLimits::default(),
        token_maxima: TokenMaxima::default(),
        audit: Box::new(std::io::sink()),
        audit_retention: None,
    };
    let bound = postern_control_plane::bind(config).await.unwrap();
    let url = format!("https://localhost:{}", bound.addr().port());
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(bound.serve(shutdown.clone()));
    let info = async |ca_pem| {
        let channel = client::connect(&Target {
            url: url.clone(),
            ca_pem,
        })
        .unwrap();
        let request = Persona::anonymous().request(pb::GetServerInfoRequest {});
        ServerInfoServiceClient::new(channel)
            .get_server_info(request)
            .await
    };
    assert!(info(Some(ca.pem().into_bytes())).await.is_ok());
    assert!(info(None).await.is_err(), "nobody else trusts that CA");
    shutdown.cancel();
    serving.await.unwrap().unwrap();
}
