//! A lazy connection to one server.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response, StatusCode, Uri};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tonic::body::Body;
use tonic::transport::{self, Endpoint};
use tower::{Service, service_fn};

use super::USER_AGENT;
use super::connect::{self, Dial, Refusal};
use super::details::{self, Readable};
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
    #[error("the client certificate can't be used")]
    Certificate(#[source] tls::Error),
}

/// A connection for any generated client; cheap to clone. It connects at the first call and
/// again after a loss, takes no proxy from the environment, and turns answers that
/// aren't gRPC into a [`ConnectFault`].
#[derive(Debug, Clone)]
pub struct Channel {
    connection: transport::Channel,
    /// The one to use instead, once there is another.
    newest: Option<watch::Receiver<transport::Channel>>,
    refusal: Refusal,
}

/// A target's URL, taken apart.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    url: String,
    endpoint: Endpoint,
    host: String,
    port: u16,
    /// Whom the server's certificate must be for; `None`: plain text.
    name: Option<ServerName<'static>>,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type BoxFuture<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// Makes a channel, and connects to nothing yet.
///
/// # Errors
/// The URL or the CA can't be used. Must be called inside a tokio runtime.
pub fn connect(target: &Target) -> Result<Channel, TargetError> {
    let origin = Origin::parse(&target.url)?;
    let ca_pem = target.ca_pem.as_deref();
    let config = origin
        .is_tls()
        .then(|| tls::client_config(ca_pem))
        .transpose()?;
    let refusal = Refusal::default();
    Ok(Channel {
        connection: origin.channel(config, refusal.clone()),
        newest: None,
        refusal,
    })
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

// === impl Origin ===

impl Origin {
    pub(super) fn parse(url: &str) -> Result<Self, TargetError> {
        let wrong = |fault| TargetError::Url {
            url: url.to_owned(),
            fault,
        };
        let uri: Uri = url.parse().map_err(|_| wrong("malformed"))?;
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
        let (name, port) = match uri.scheme_str() {
            Some("https") => {
                let name = ServerName::try_from(host.clone())
                    .map_err(|_| wrong("the host is neither a DNS name nor an address"))?;
                (Some(name), authority.port_u16().unwrap_or(443))
            }
            Some("http") if is_loopback(&host) => (None, authority.port_u16().unwrap_or(80)),
            Some("http") => return Err(wrong("plain http is for loopback only; use https")),
            _ => return Err(wrong("it must begin with https://")),
        };
        let scheme = if name.is_some() { "https" } else { "http" };
        let authority = connect::authority(&host, port);
        let origin = format!("{scheme}://{authority}").parse();
        // The scheme here only keeps the library's own TLS out; `origin` is what is sent.
        let endpoint = Endpoint::from_shared(format!("http://{authority}"))
            .and_then(|endpoint| endpoint.user_agent(USER_AGENT))
            .map_err(|_| wrong("malformed"))?
            .origin(origin.map_err(|_| wrong("malformed"))?)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        Ok(Self {
            url: url.to_owned(),
            endpoint,
            host,
            port,
            name,
        })
    }

    pub(super) fn is_tls(&self) -> bool {
        self.name.is_some()
    }

    pub(super) fn wrong(&self, fault: &'static str) -> TargetError {
        TargetError::Url {
            url: self.url.clone(),
            fault,
        }
    }

    /// Connects to nothing yet.
    pub(super) fn channel(
        &self,
        config: Option<ClientConfig>,
        refusal: Refusal,
    ) -> transport::Channel {
        let tls = config.zip(self.name.clone()).map(|(mut config, name)| {
            config.alpn_protocols = vec![b"h2".to_vec()];
            (TlsConnector::from(Arc::new(config)), name)
        });
        let dial = Dial::new(self.host.clone(), self.port, tls, CONNECT_TIMEOUT, refusal);
        let dial = Arc::new(dial);
        let connector = service_fn(move |_: Uri| {
            let dial = Arc::clone(&dial);
            async move { dial.connect().await }
        });
        self.endpoint.connect_with_connector_lazy(connector)
    }
}

// === impl Channel ===

impl Channel {
    pub(super) fn following(newest: watch::Receiver<transport::Channel>, refusal: Refusal) -> Self {
        let connection = newest.borrow().clone();
        Self {
            connection,
            newest: Some(newest),
            refusal,
        }
    }

    fn use_newest(&mut self) {
        // An error means that nothing looks after the files any more.
        if let Some(newest) = &mut self.newest
            && newest.has_changed().unwrap_or_default()
        {
            self.connection = newest.borrow_and_update().clone();
        }
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<Response<Body>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.use_newest();
        self.connection.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.connection.call(request);
        let refusal = self.refusal.clone();
        Box::pin(async move {
            match answer.await {
                Ok(answer) => checked(answer).map_err(Into::into),
                Err(error) => Err(match refusal.fault() {
                    Some(fault) => fault.into(),
                    None => error.into(),
                }),
            }
        })
    }
}

fn checked(mut response: Response<Body>) -> Result<Response<Body>, ConnectFault> {
    let content_type = response.headers().get(http::header::CONTENT_TYPE);
    let is_grpc = content_type.is_some_and(|v| v.as_bytes().starts_with(b"application/grpc"));
    if is_grpc && response.status() == StatusCode::OK {
        details::drop_unreadable(response.headers_mut());
        return Ok(response.map(|body| Body::new(Readable(body))));
    }
    Err(ConnectFault::NotGrpc {
        http_status: Some(response.status().as_u16()),
    })
}
