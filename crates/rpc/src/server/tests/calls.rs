//! What a call meets on its way to the handler.

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pb::auth_method_service_client::AuthMethodServiceClient;
use pb::gateway_sync_service_client::GatewaySyncServiceClient;
use pb::server_info_service_client::ServerInfoServiceClient;
use postern_proto::pb;
use tokio::net::TcpStream;
use tonic::{Code, Status};
use tower::{Service as _, ServiceExt as _};

use crate::caller::BearerToken;
use crate::client::{Channel, Credentials as _, request};
use crate::deadline::Deadline;
use crate::error::{Failure, Reason};
use crate::forwarded::TrustedProxies;
use crate::request_id::RequestId;
use crate::testing::{ADMINISTRATOR, Running, loopback};

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(5))
}

fn administrators<T>(message: T) -> tonic::Request<T> {
    request(message, soon()).with_bearer(&BearerToken::new(ADMINISTRATOR))
}

/// The request ID in the details is the one in the metadata.
fn failure(status: Status) -> Failure {
    let header = status
        .metadata()
        .get("x-request-id")
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let failure = Failure::from(status);
    assert_eq!(failure.request_id.as_deref(), Some(header.as_str()));
    assert!(RequestId::parse(&header).is_some());
    failure
}

/// Sends a gRPC request by hand; returns the status.
async fn call(channel: &mut Channel, path: &str, body: &'static [u8]) -> Status {
    let request = http::Request::post(path)
        .header("content-type", "application/grpc")
        .header("x-request-id", "01JAAAAAAAAAAAAAAAAAAAAAAA")
        .body(tonic::body::Body::new(http_body_util::Full::from(body)))
        .unwrap();
    let mut response = channel.ready().await.unwrap().call(request).await.unwrap();
    if let Some(status) = Status::from_header_map(response.headers()) {
        return status;
    }
    let body = response.body_mut().collect().await.unwrap();
    Status::from_header_map(body.trailers().unwrap()).unwrap()
}

/// The address that a handler sees of a call from loopback with that header.
async fn seen(trusted: &[&str], header: Option<&'static str>) -> String {
    let mut config = loopback();
    let blocks = trusted.iter().map(|block| block.parse().unwrap());
    config.trusted_proxies = TrustedProxies::new(blocks.collect());
    let server = Running::tls(config).await;
    let mut request = request(pb::GetServerInfoRequest {}, soon());
    if let Some(value) = header {
        let value = value.parse().unwrap();
        request.metadata_mut().insert("x-forwarded-for", value);
    }
    let mut client = ServerInfoServiceClient::new(server.channel());
    let answer = client.get_server_info(request).await.unwrap().into_inner();
    server.stop().await;
    let address = answer.version.split(' ').next();
    address.unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_forwarded_address_counts_from_a_configured_proxy_alone() {
    let header = Some("198.51.100.1, ::ffff:192.0.2.7");
    assert_eq!(seen(&[], header).await, "127.0.0.1");
    assert_eq!(seen(&["10.0.0.0/8"], header).await, "127.0.0.1");
    assert_eq!(seen(&["127.0.0.1"], header).await, "192.0.2.7");
    assert_eq!(seen(&["127.0.0.0/8"], Some("nonsense")).await, "");
    assert_eq!(seen(&["127.0.0.0/8"], None).await, "");
}

#[tokio::test]
async fn a_handler_knows_its_caller_and_the_caller_its_request_id() {
    let server = Running::tls(loopback()).await;
    let mut client = ServerInfoServiceClient::new(server.channel());
    let mut request = request(pb::GetServerInfoRequest {}, soon());
    request.metadata_mut().insert(
        "x-request-id",
        "01JAAAAAAAAAAAAAAAAAAAAAAA".parse().unwrap(),
    );
    let response = client.get_server_info(request).await.unwrap();
    let id = response
        .metadata()
        .get("x-request-id")
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let info = response.into_inner();
    assert_eq!(info.version, format!("127.0.0.1 5 {id}"));
    assert!(info.gateway.starts_with("postern/"), "{}", info.gateway);
    assert_ne!(
        id, "01JAAAAAAAAAAAAAAAAAAAAAAA",
        "a caller can't choose its ID"
    );
    server.stop().await;
}

#[tokio::test]
async fn who_may_not_call_is_refused_before_the_message_is_read() {
    let server = Running::plain(loopback()).await;
    let mut channel = server.channel();
    let get = "/postern.v1.AuthMethodService/GetAuthMethod";

    let refused = failure(call(&mut channel, get, b"\0\0\0\0\x03\xff\xff\xff").await);
    assert_eq!(refused.reason, Some(Reason::Unauthenticated), "{refused:?}");

    let mut client = AuthMethodServiceClient::new(channel);
    let wrong = request(pb::GetAuthMethodRequest::default(), soon())
        .with_bearer(&BearerToken::new("t-nobody"));
    let refused = failure(client.get_auth_method(wrong).await.unwrap_err());
    assert_eq!(refused.reason, Some(Reason::Unauthenticated));

    let allowed = administrators(pb::GetAuthMethodRequest::default());
    let method = client
        .get_auth_method(allowed)
        .await
        .unwrap()
        .into_inner()
        .auth_method
        .unwrap();
    assert_eq!(method.name, get);
    server.stop().await;
}

#[tokio::test]
async fn a_method_on_behalf_of_somebody_needs_that_somebody() {
    let server = Running::plain(loopback()).await;
    let mut client = GatewaySyncServiceClient::new(server.channel());
    let bare = administrators(pb::AuthorizeAdministratorRequest::default());
    let refused = failure(client.authorize_administrator(bare).await.unwrap_err());
    assert_eq!(refused.reason, Some(Reason::OnBehalfUnauthenticated));
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_in_the_table_is_denied() {
    let server = Running::plain(loopback()).await;
    let mut channel = server.channel();
    for (path, code) in [
        ("/postern.v1.AuthMethodService/Nope", Code::PermissionDenied),
        (
            "/postern.v1.AuthMethodService/GetAuthMethod/",
            Code::PermissionDenied,
        ),
        (
            "/postern.v1.AuthMethodService/%47etAuthMethod",
            Code::PermissionDenied,
        ),
        (
            "/postern.v1.ServerInfoService/getserverinfo",
            Code::PermissionDenied,
        ),
        ("/postern.v1.AuthService/Authenticate", Code::Unimplemented),
        ("/postern.v1.NopeService/Nope", Code::Unimplemented),
        ("/", Code::Unimplemented),
    ] {
        assert_eq!(
            failure(call(&mut channel, path, b"\0\0\0\0\0").await).code,
            code,
            "{path}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn every_failure_has_a_reason_and_a_request_id_and_no_cause() {
    let server = Running::tls(loopback()).await;
    let mut client = AuthMethodServiceClient::new(server.channel());

    let panicked = client
        .create_auth_method(administrators(Default::default()))
        .await;
    let panicked = failure(panicked.unwrap_err());
    assert_eq!(
        (panicked.code, panicked.reason),
        (Code::Internal, Some(Reason::Internal))
    );
    assert!(!panicked.message.contains("text"));

    let broken = client
        .update_auth_method(administrators(Default::default()))
        .await;
    let broken = failure(broken.unwrap_err());
    assert_eq!(broken.reason, Some(Reason::Internal));
    assert!(!broken.message.contains("stays here"));

    let name = "authMethods/x".to_owned();
    let delete = pb::DeleteAuthMethodRequest {
        name: name.clone(),
        ..Default::default()
    };
    let missing = failure(
        client
            .delete_auth_method(administrators(delete))
            .await
            .unwrap_err(),
    );
    assert_eq!(
        (missing.reason, missing.resource),
        (Some(Reason::NotFound), Some(name))
    );

    let info = "/postern.v1.ServerInfoService/GetServerInfo";
    let garbage = failure(call(&mut server.channel(), info, b"\0\0\0\0\x03\xff\xff\xff").await);
    assert_eq!(garbage.reason, Some(Reason::Internal));

    let large = pb::DeleteAuthMethodRequest {
        name: "x".repeat(5 << 20),
        ..Default::default()
    };
    let large = failure(
        client
            .delete_auth_method(administrators(large))
            .await
            .unwrap_err(),
    );
    assert_eq!(
        (large.code, large.reason),
        (Code::OutOfRange, Some(Reason::MessageTooLarge))
    );
    server.stop().await;
}

#[tokio::test]
async fn a_stream_that_ends_in_an_error_names_its_request() {
    let server = Running::tls(loopback()).await;
    let mut client = GatewaySyncServiceClient::new(server.channel());
    let watch = pb::WatchRequest {
        instance: "fail".to_owned(),
        ..Default::default()
    };
    let response = client.watch(administrators(watch)).await.unwrap();
    let id = response
        .metadata()
        .get("x-request-id")
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let mut stream = response.into_inner();
    assert!(stream.message().await.unwrap().is_some());
    let failure = Failure::from(stream.message().await.unwrap_err());
    assert_eq!(failure.reason, Some(Reason::Unauthenticated));
    assert_eq!(failure.request_id, Some(id));
    server.stop().await;
}

#[tokio::test]
async fn a_call_ends_at_its_deadline_with_our_own_answer() {
    let server = Running::plain(loopback()).await;
    // By hand: our own client keeps the same time, and who of the two is first is nobody's business here.
    let tcp = TcpStream::connect(server.addr).await.unwrap();
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut sender, connection) = builder.handshake(TokioIo::new(tcp)).await.unwrap();
    tokio::spawn(connection);
    let request =
        http::Request::post("http://localhost/postern.v1.AuthMethodService/ListAuthMethods")
            .header("content-type", "application/grpc")
            .header("authorization", format!("Bearer {ADMINISTRATOR}"))
            .header("grpc-timeout", "300m")
            .body(http_body_util::Full::<bytes::Bytes>::from(
                &b"\0\0\0\0\0"[..],
            ))
            .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let late = failure(Status::from_header_map(answer.headers()).unwrap());
    assert_eq!(
        (late.code, late.reason),
        (Code::DeadlineExceeded, Some(Reason::DeadlineExceeded))
    );
    assert!(late.request_id.is_some());
    server.stop().await;
}

#[tokio::test]
async fn who_names_no_deadline_has_the_servers() {
    let mut config = loopback();
    config.max_deadline = Duration::from_millis(100);
    let server = Running::plain(config).await;
    let mut client = AuthMethodServiceClient::new(server.channel());
    let request = tonic::Request::new(pb::ListAuthMethodsRequest::default())
        .with_bearer(&BearerToken::new(ADMINISTRATOR));
    let late = failure(client.list_auth_methods(request).await.unwrap_err());
    assert_eq!(late.reason, Some(Reason::DeadlineExceeded));
    server.stop().await;
}

#[tokio::test]
async fn beyond_the_limit_calls_are_turned_away_and_probes_are_not() {
    let mut config = loopback();
    config.max_calls = 1;
    let server = Running::plain(config).await;
    let mut slow = AuthMethodServiceClient::new(server.channel());
    let slow = tokio::spawn(async move {
        slow.list_auth_methods(administrators(Default::default()))
            .await
            .map(drop)
    });
    server.listing.notified().await;

    let mut client = ServerInfoServiceClient::new(server.channel());
    let refused = client
        .get_server_info(request(Default::default(), soon()))
        .await;
    let refused = failure(refused.unwrap_err());
    assert_eq!(
        (refused.code, refused.reason),
        (Code::Unavailable, Some(Reason::Overloaded))
    );
    assert_eq!(refused.retry_after, Some(Duration::from_secs(1)));

    let mut health = tonic_health::pb::health_client::HealthClient::new(server.channel());
    health
        .check(tonic_health::pb::HealthCheckRequest::default())
        .await
        .unwrap();
    slow.abort();
    server.stop().await;
}
