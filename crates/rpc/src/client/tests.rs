//! Wrong addresses, each with its own fault, against real sockets.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Response;
use http_body::Frame;
use http_body_util::StreamBody;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use pb::auth_method_service_client::AuthMethodServiceClient;
use pb::server_info_service_client::ServerInfoServiceClient;
use postern_proto::pb;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tonic::{Code, Status};

use super::*;
use crate::error::{Error, Failure, Outage};
use crate::testing::{ADMINISTRATOR, Ca, Files, Running, loopback};

async fn fault(url: impl Into<String>, ca: Option<&Ca>) -> ConnectFault {
    let target = Target {
        url: url.into(),
        ca_pem: ca.map(Ca::pem),
    };
    let mut client = ServerInfoServiceClient::new(connect(&target).unwrap());
    let deadline = Deadline::after(Duration::from_secs(10));
    let status = client
        .get_server_info(request(Default::default(), deadline))
        .await
        .unwrap_err();
    let failure = Failure::from(status.clone());
    assert_eq!(failure.code, Code::Unavailable, "{status:?}");
    failure
        .connect
        .unwrap_or_else(|| panic!("no fault in {status:?}"))
}

/// A web server that answers every request alike.
struct Stranger {
    addr: SocketAddr,
    task: AbortHandle,
}

impl Stranger {
    async fn start(tls: Option<(&Files, &[u8])>, status: u16) -> Self {
        let tls = tls.map(|(files, alpn)| TlsAcceptor::from(Arc::new(config(files, alpn))));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let tls = tls.clone();
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                answer(TokioIo::new(stream), status).await;
                            }
                        }
                        None => answer(TokioIo::new(stream), status).await,
                    }
                });
            }
        });
        Self {
            addr,
            task: task.abort_handle(),
        }
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://localhost:{}", self.addr.port())
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn config(files: &Files, alpn: &[u8]) -> ServerConfig {
    let chain = vec![CertificateDer::from_pem_file(&files.certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    if !alpn.is_empty() {
        config.alpn_protocols = vec![alpn.to_vec()];
    }
    config
}

async fn answer(io: impl hyper::rt::Read + hyper::rt::Write + Unpin + 'static, status: u16) {
    let service = service_fn(move |_| async move {
        let body = r#"{"kind":"Status","message":"Unauthorized"}"#.to_owned();
        let response = Response::builder()
            .status(status)
            .header("content-type", "application/json");
        Ok::<_, Infallible>(response.body(body).unwrap())
    });
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection(io, service)
        .await;
}

#[tokio::test]
async fn a_host_that_nobody_knows() {
    let fault = fault("https://nobody.invalid:8000", None).await;
    assert_eq!(
        fault,
        ConnectFault::Dns {
            host: "nobody.invalid".to_owned()
        }
    );
}

#[tokio::test]
async fn a_port_where_nothing_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let fault = fault(format!("https://{address}"), None).await;
    assert!(fault.to_string().contains(&address), "{fault}");
    assert_eq!(fault, ConnectFault::Refused { address });
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    assert_eq!(
        fault(format!("https://{address}"), None).await,
        ConnectFault::Timeout { address }
    );
}

#[tokio::test]
async fn a_certificate_of_an_unknown_ca() {
    let server = Running::tls(loopback()).await;
    for ca in [None, Some(&Ca::new())] {
        let fault = fault(server.url(), ca).await;
        assert!(
            matches!(fault, ConnectFault::UntrustedCertificate { .. }),
            "{fault:?}"
        );
        assert!(fault.to_string().contains("--ca-cert"), "{fault}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_certificate_for_another_name() {
    let ca = Ca::new();
    let files = ca.issue("gateway.example");
    let server = Stranger::start(Some((&files, b"h2")), 200).await;
    let fault = fault(server.url("https"), Some(&ca)).await;
    assert!(matches!(fault, ConnectFault::WrongName { .. }), "{fault:?}");
    assert!(fault.to_string().contains("gateway.example"), "{fault}");
}

#[tokio::test]
async fn an_expired_certificate() {
    let ca = Ca::new();
    let files = ca.issue_with("localhost", |params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    });
    let server = Stranger::start(Some((&files, b"h2")), 200).await;
    let fault = fault(server.url("https"), Some(&ca)).await;
    assert!(
        matches!(fault, ConnectFault::ExpiredCertificate { .. }),
        "{fault:?}"
    );
}

#[tokio::test]
async fn a_plain_text_server_behind_an_https_url() {
    let server = Stranger::start(None, 200).await;
    let fault = fault(server.url("https"), None).await;
    assert!(
        matches!(fault, ConnectFault::PlainTextServer { .. }),
        "{fault:?}"
    );
}

#[tokio::test]
async fn an_old_web_server() {
    let ca = Ca::new();
    let files = ca.issue("localhost");
    for alpn in [&b"http/1.1"[..], b""] {
        let server = Stranger::start(Some((&files, alpn)), 200).await;
        let fault = fault(server.url("https"), Some(&ca)).await;
        assert_eq!(fault, ConnectFault::NotGrpc { http_status: None });
    }
}

#[tokio::test]
async fn an_api_server_that_answers_json() {
    let ca = Ca::new();
    let files = ca.issue("localhost");
    for status in [200, 401, 403, 404] {
        let server = Stranger::start(Some((&files, b"h2")), status).await;
        let fault = fault(server.url("https"), Some(&ca)).await;
        assert_eq!(
            fault,
            ConnectFault::NotGrpc {
                http_status: Some(status)
            }
        );
        assert!(!fault.retryable());
    }
    let server = Stranger::start(Some((&files, b"h2")), 503).await;
    assert!(
        fault(server.url("https"), Some(&ca)).await.retryable(),
        "a balancer without servers"
    );
}

#[tokio::test]
async fn other_servers_behind_a_plain_url() {
    let web = Stranger::start(None, 404).await;
    assert_eq!(
        fault(web.url("http"), None).await,
        ConnectFault::NotGrpc {
            http_status: Some(404)
        }
    );
    let tls = Running::tls(loopback()).await;
    let fault = fault(tls.url().replace("https", "http"), None).await;
    assert_eq!(fault, ConnectFault::Lost, "{fault}");
    tls.stop().await;
}

#[tokio::test]
async fn a_server_that_hears_a_call_and_never_answers() {
    let server = Running::tls(loopback()).await;
    let client = AuthMethodServiceClient::new(server.channel());
    let deadline = Deadline::after(Duration::from_millis(200));
    let call = || {
        let mut client = client.clone();
        // Names no deadline, so that the server doesn't end it.
        let request = tonic::Request::new(pb::ListAuthMethodsRequest::default())
            .with_bearer(&BearerToken::new(ADMINISTRATOR));
        async move { client.list_auth_methods(request).await }
    };
    let failure = retry(deadline, call).await.unwrap_err();
    assert_eq!(failure.code, Code::DeadlineExceeded);
    assert_eq!(failure.request_id, None, "it is the client's own");
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_dies_in_the_middle_of_a_call() {
    let mut config = loopback();
    config.shutdown_grace = Duration::ZERO;
    let server = Running::tls(config).await;
    let mut client = AuthMethodServiceClient::new(server.channel());
    let deadline = Deadline::after(Duration::from_secs(5));
    let call = async {
        let request = request(pb::ListAuthMethodsRequest::default(), deadline);
        client
            .list_auth_methods(request.with_bearer(&BearerToken::new(ADMINISTRATOR)))
            .await
    };
    let listing = Arc::clone(&server.listing);
    let die = async {
        listing.notified().await;
        server.stop().await;
    };
    let (status, ()) = tokio::join!(call, die);
    let failure = Failure::from(status.unwrap_err());
    assert_eq!(
        (failure.code, failure.connect.clone()),
        (Code::Unavailable, Some(ConnectFault::Lost))
    );
    assert!(failure.retryable());
}

#[tokio::test]
async fn urls_that_are_refused_before_anything_is_sent() {
    for (url, fault) in [
        ("", "malformed"),
        ("localhost:8000", "must begin"),
        ("ftp://localhost", "must begin"),
        ("http://gateway.example:8000", "loopback only"),
        ("http://10.0.0.1", "loopback only"),
        ("https://user:pass@localhost", "user names"),
        ("https://localhost/path", "nothing may follow"),
        ("https://localhost/?q", "nothing may follow"),
        ("https://", "malformed"),
    ] {
        let error = connect(&Target {
            url: url.to_owned(),
            ca_pem: None,
        })
        .unwrap_err();
        assert!(error.to_string().contains(fault), "{url}: {error}");
    }
    for ca in [
        "",
        "nonsense",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let ca_pem = Some(ca.as_bytes().to_vec());
        let target = Target {
            url: "https://localhost".to_owned(),
            ca_pem,
        };
        assert!(matches!(connect(&target), Err(TargetError::Ca(_))), "{ca}");
    }
    for url in [
        "http://127.0.0.1:1",
        "http://[::1]:1",
        "http://localhost",
        "https://[::1]/",
    ] {
        assert!(
            connect(&Target {
                url: url.to_owned(),
                ca_pem: None
            })
            .is_ok(),
            "{url}"
        );
    }
}

async fn tries(error: impl Fn() -> Error, succeed_at: usize) -> (Result<usize, Failure>, usize) {
    let count = AtomicUsize::new(0);
    let result = retry(Deadline::after(Duration::from_secs(20)), || {
        let n = count.fetch_add(1, Ordering::Relaxed) + 1;
        let answer = if n >= succeed_at {
            Ok(tonic::Response::new(n))
        } else {
            Err(Status::from(error()))
        };
        std::future::ready(answer)
    });
    (result.await, count.load(Ordering::Relaxed))
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_tried_again() {
    let outage = || Error::unavailable(Outage::Database, "later", "cause");
    let (result, tries_made) = tries(outage, 4).await;
    assert_eq!((result.unwrap(), tries_made), (4, 4));
    let busy = || Error::ResourceExhausted {
        retry_after: Duration::from_secs(2),
    };
    let began = tokio::time::Instant::now();
    assert_eq!(tries(busy, 2).await.1, 2);
    assert!(
        began.elapsed() >= Duration::from_secs(2),
        "RetryInfo is heeded"
    );
}

#[tokio::test(start_paused = true)]
async fn what_will_not_pass_is_not_tried_again() {
    for error in [
        || Error::LoginRefused,
        || Error::DeadlineExceeded,
        || Error::Unimplemented,
    ] {
        let (result, tries_made) = tries(error, 2).await;
        assert_eq!((result.unwrap_err().code, tries_made), (error().code(), 1));
    }
}

#[tokio::test(start_paused = true)]
async fn trying_ends_before_the_deadline_with_the_last_failure() {
    let began = tokio::time::Instant::now();
    let outage = || Error::unavailable(Outage::Snapshot, "later", "cause");
    let (result, tries_made) = tries(outage, usize::MAX).await;
    assert_eq!(result.unwrap_err().code, Code::Unavailable);
    assert!(
        began.elapsed() <= Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    assert!((5..30).contains(&tries_made), "{tries_made}");
}

/// A server that speaks gRPC and means harm: details that are no base64, among the headers of an
/// answer without a message or behind one.
async fn hostile(in_trailers: bool) -> Stranger {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(move |_| async move {
                let mut status = http::HeaderMap::new();
                status.insert("grpc-status", "3".parse().unwrap());
                status.insert("grpc-message", "no".parse().unwrap());
                status.insert("grpc-status-details-bin", "%%% no base64".parse().unwrap());
                let mut response = Response::builder().header("content-type", "application/grpc");
                let trailers = in_trailers
                    .then(|| Ok::<_, Infallible>(Frame::<bytes::Bytes>::trailers(status.clone())));
                if !in_trailers {
                    response.headers_mut().unwrap().extend(status);
                }
                let frames = futures::stream::iter(trailers);
                Ok::<_, Infallible>(response.body(StreamBody::<_>::new(frames)).unwrap())
            });
            tokio::spawn(async move {
                let io = TokioIo::new(stream);
                let builder = auto::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection(io, service).await;
            });
        }
    });
    Stranger {
        addr,
        task: task.abort_handle(),
    }
}

#[tokio::test]
async fn details_that_are_no_base64_are_left_out_and_nothing_panics() {
    for in_trailers in [false, true] {
        let server = hostile(in_trailers).await;
        let target = Target {
            url: server.url("http"),
            ca_pem: None,
        };
        let mut client = ServerInfoServiceClient::new(connect(&target).unwrap());
        let deadline = Deadline::after(Duration::from_secs(10));
        let status = client
            .get_server_info(request(Default::default(), deadline))
            .await
            .unwrap_err();
        let failure = Failure::from(status);
        assert_eq!(failure.code, Code::InvalidArgument, "{failure:?}");
        assert!(failure.violations.is_empty() && failure.message == "no");
    }
}
