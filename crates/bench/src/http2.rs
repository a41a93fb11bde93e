//! The barest client of an API server: one HTTP/2 connection, and no work but the request's own.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// An API server, and whom to be there.
#[derive(Clone)]
pub(crate) struct Endpoint {
    /// `https://host:port`
    pub(crate) url: String,
    /// PEM.
    pub(crate) ca_cert: String,
    /// A certificate and its key, PEM.
    pub(crate) identity: Option<(Vec<u8>, SecretString)>,
    pub(crate) bearer: Option<SecretString>,
}

/// One connection. Clones send over the same one.
#[derive(Clone)]
pub(crate) struct Connection {
    send: SendRequest<Full<Bytes>>,
    endpoint: Arc<Endpoint>,
}

impl Endpoint {
    pub(crate) async fn connect(self) -> Result<Connection> {
        let authority = self.authority()?.to_owned();
        let host = authority.rsplit_once(':').map_or("", |(host, _)| host);
        let name = ServerName::try_from(host.to_owned())?;
        let tcp = TcpStream::connect(&authority).await;
        let tcp = tcp.with_context(|| format!("can't connect to {authority}"))?;
        tcp.set_nodelay(true)?;
        let connector = TlsConnector::from(Arc::new(self.tls()?));
        let stream = connector.connect(name, tcp).await?;
        let (send, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        // Its end is seen by whoever sends next.
        tokio::spawn(connection);
        Ok(Connection {
            send,
            endpoint: Arc::new(self),
        })
    }

    fn authority(&self) -> Result<&str> {
        let authority = self.url.strip_prefix("https://");
        authority.context("the API server's URL isn't https://host:port")
    }

    fn tls(&self) -> Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.ca_cert.as_bytes()) {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain: Result<_, _> = CertificateDer::pem_slice_iter(certificate).collect();
                let key = PrivateKeyDer::from_pem_slice(key.expose_secret().as_bytes())?;
                builder.with_client_auth_cert(chain?, key)?
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}

impl Connection {
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes)> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.endpoint.url))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json");
        if let Some(bearer) = &self.endpoint.bearer {
            let value = format!("Bearer {}", bearer.expose_secret());
            request = request.header(header::AUTHORIZATION, value);
        }
        self.send.ready().await?;
        let response = self
            .send
            .send_request(request.body(Full::new(body))?)
            .await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }

    /// Sends JSON and wants JSON and success.
    pub(crate) async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<serde_json::Value> {
        let body = match body {
            serde_json::Value::Null => Bytes::new(),
            body => Bytes::from(serde_json::to_vec(body)?),
        };
        let (status, answer) = self.send(method, path, body).await?;
        if !status.is_success() && status != StatusCode::CONFLICT {
            bail!("{path}: {status}: {}", String::from_utf8_lossy(&answer));
        }
        Ok(serde_json::from_slice(&answer)?)
    }
}
