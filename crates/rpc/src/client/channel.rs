//! A lazy connection to one server.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response, StatusCode, Uri};
use rustls_pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tonic::body::Body;
use tonic::transport::Endpoint;
use tower::{Service, service_fn};

use super::USER_AGENT;
use super::connect::Dial;
use super::fault::ConnectFault;
use crate::tls;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Which server, and whom to believe that it is it.
#[derive(Debug, Clone)]
pub struct Target {
    /// `https://host[:port]`; `http://` only to a loopback host.
    pub url: String,
    /// Roots beside the system's.
    pub ca_pem: Option<Vec<u8>>,
}

/// A target that can't be connected to at all.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    #[error("{url:?} is no URL of a server: {fault}")]
    Url { url: String, fault: &'static str },
    #[error("the CA certificate can't be used")]
    Ca(#[from] tls::Error),
}

/// A connection for any generated client; cheap to clone. It connects at the first call and
/// again after a loss, takes no proxy from the environment, and turns answers that
/// aren't gRPC into a [`ConnectFault`].
#[derive(Debug, Clone)]
pub struct Channel(tonic::transport::Channel);

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type BoxFuture<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// Makes a channel, and connects to nothing yet.
///
/// # Errors
/// The URL or the CA can't be used. Must be called inside a tokio runtime.
pub fn connect(target: &Target) -> Result<Channel, TargetError> {
    let dial = Arc::new(dial(target)?);
    let invalid = |_| TargetError::Url {
        url: target.url.clone(),
        fault: "malformed",
    };
    let origin: Uri = dial.origin().parse().map_err(|_| TargetError::Url {
        url: target.url.clone(),
        fault: "malformed",
    })?;
    // The scheme here only keeps the library's own TLS out; `origin` is what is sent.
    let endpoint = Endpoint::from_shared(format!("http://{}", dial.authority()))
        .and_then(|endpoint| endpoint.user_agent(USER_AGENT))
        .map_err(invalid)?
        .origin(origin)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    let connector = service_fn(move |_: Uri| {
        let dial = Arc::clone(&dial);
        async move { dial.connect().await }
    });
    Ok(Channel(endpoint.connect_with_connector_lazy(connector)))
}

fn dial(target: &Target) -> Result<Dial, TargetError> {
    let wrong = |fault| TargetError::Url {
        url: target.url.clone(),
        fault,
    };
    let uri: Uri = target.url.parse().map_err(|_| wrong("malformed"))?;
    let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
    if authority.as_str().contains('@') {
        return Err(wrong("user names have no place in it"));
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(wrong("nothing may follow the host and the port"));
    }
    let host = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    match uri.scheme_str() {
        Some("https") => {
            let name = ServerName::try_from(host.clone())
                .map_err(|_| wrong("the host is neither a DNS name nor an address"))?;
            let mut config = tls::client_config(target.ca_pem.as_deref())?;
            config.alpn_protocols = vec![b"h2".to_vec()];
            let tls = Some((TlsConnector::from(Arc::new(config)), name));
            Ok(Dial::new(
                host,
                authority.port_u16().unwrap_or(443),
                tls,
                CONNECT_TIMEOUT,
            ))
        }
        Some("http") if is_loopback(&host) => Ok(Dial::new(
            host,
            authority.port_u16().unwrap_or(80),
            None,
            CONNECT_TIMEOUT,
        )),
        Some("http") => Err(wrong("plain http is for loopback only; use https")),
        _ => Err(wrong("it must begin with https://")),
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

// === impl Channel ===

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<Response<Body>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move { checked(answer.await?).map_err(Into::into) })
    }
}

fn checked(response: Response<Body>) -> Result<Response<Body>, ConnectFault> {
    let content_type = response.headers().get(http::header::CONTENT_TYPE);
    let is_grpc = content_type.is_some_and(|v| v.as_bytes().starts_with(b"application/grpc"));
    if is_grpc && response.status() == StatusCode::OK {
        return Ok(response);
    }
    Err(ConnectFault::NotGrpc {
        http_status: Some(response.status().as_u16()),
    })
}
