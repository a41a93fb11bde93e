//! `/livez`, `/readyz` and gRPC health agree.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::deadline::Deadline;
use crate::testing::{Running, loopback};

/// Status and JSON body, over HTTP/1.1.
async fn get(server: &Running, path: &str) -> (u16, Value) {
    let (status, body) = get_text(server.addr, path).await;
    (status, serde_json::from_str(&body).unwrap())
}

async fn get_text(addr: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("\r\nx-request-id: "), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// Polls until the health service, which follows, has the status.
async fn health_becomes(server: &Running, service: &str, status: ServingStatus) {
    let mut client = HealthClient::new(server.channel());
    let seen = Deadline::after(Duration::from_secs(5)).run(async {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        while client
            .check(request.clone())
            .await
            .unwrap()
            .into_inner()
            .status()
            != status
        {}
    });
    seen.await.unwrap();
}

#[tokio::test]
async fn a_server_is_ready_when_its_components_are() {
    let server = Running::plain(loopback()).await;
    assert_eq!(get(&server, "/livez").await, (200, json!({"live": true})));
    let starting = json!({"ready": false, "reason": "starting"});
    let all = json!({"ready": false, "components": {"database": starting}});
    assert_eq!(get(&server, "/readyz").await, (503, all));
    assert_eq!(get(&server, "/readyz/database").await, (503, starting));
    health_becomes(&server, "", ServingStatus::NotServing).await;

    server.database.ready();
    let all = json!({"ready": true, "components": {"database": {"ready": true}}});
    assert_eq!(get(&server, "/readyz").await, (200, all));
    assert_eq!(
        get(&server, "/readyz/database").await,
        (200, json!({"ready": true}))
    );
    health_becomes(&server, "", ServingStatus::Serving).await;
    health_becomes(&server, "postern.v1.AuditService", ServingStatus::Serving).await;

    server.database.not_ready("no connection");
    assert_eq!(get(&server, "/readyz").await.0, 503);
    assert_eq!(get(&server, "/livez").await.0, 200);
    health_becomes(
        &server,
        "postern.v1.AuditService",
        ServingStatus::NotServing,
    )
    .await;
    server.stop().await;
}

#[tokio::test]
async fn metrics_are_served_before_anything_is_ready_and_count_calls() {
    let server = Running::plain(loopback()).await;
    let mut health = HealthClient::new(server.channel());
    health.check(HealthCheckRequest::default()).await.unwrap();
    let (status, text) = get_text(server.addr, "/metrics").await;
    assert_eq!(status, 200);
    assert!(text.contains("postern_build_info{version="), "{text}");
    let handled = "postern_grpc_server_handled_total{service=\"grpc.health.v1.Health\",";
    assert!(text.contains(handled), "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    server.stop().await;
}

#[tokio::test]
async fn with_a_port_for_administrators_the_other_one_serves_no_metrics() {
    let mut config = loopback();
    config.admin_listen = Some(config.listen);
    let server = Running::plain(config).await;
    let admin = server.admin.unwrap();
    assert_eq!(get_text(server.addr, "/metrics").await.0, 404);
    for path in ["/metrics", "/livez"] {
        assert_eq!(get_text(admin, path).await.0, 200, "{path}");
    }
    assert_eq!(get_text(server.addr, "/livez").await.0, 200);
    server.stop().await;
}

#[tokio::test]
async fn other_pages_are_not_found() {
    let server = Running::plain(loopback()).await;
    for path in ["/", "/readyz/nope", "/metrics/x", "/..%2f"] {
        assert_eq!(get(&server, path).await.0, 404, "{path}");
    }
    let mut client = HealthClient::new(server.channel());
    let request = HealthCheckRequest {
        service: "postern.v1.AuthService".to_owned(),
    };
    let unknown = client.check(request).await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::NotFound, "a gateway's service");
    server.stop().await;
}
