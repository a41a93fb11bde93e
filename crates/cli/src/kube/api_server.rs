//! An API server, called as the administrator of a kubeconfig.

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, redirect};
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::kubeconfig::{Access, ClientCertificate};
use super::reviewer::{Object, Reviewer};
use crate::failure::{Exit, Failure};

const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;
/// How long the cluster may take to put a token into its Secret.
const FILLED_WITHIN: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(200);
/// Who owns the fields that are applied.
const FIELD_MANAGER: &str = "postern";

/// One cluster's API server and a credential for it.
pub(crate) struct ApiServer {
    client: Client,
    base: String,
    token: Option<SecretString>,
    label: String,
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applied {
    Created,
    /// It was there, and says now what it should.
    Updated,
}

impl ApiServer {
    pub(crate) async fn new(access: &Access) -> Result<Self, Failure> {
        let failed = |error: &dyn StdError| {
            Failure::usage(format!(
                "--kubeconfig: no client can be made from it: {error}"
            ))
        };
        let tls = tls(access)?;
        let mut builder = Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            .no_proxy()
            // A redirect would carry the credential elsewhere.
            .redirect(redirect::Policy::none())
            .timeout(TIMEOUT);
        let mut base = access.server.to_string();
        if let Some(name) = &access.tls_server_name {
            let (host, port, renamed) = renamed(&base, name)?;
            let resolved = tokio::net::lookup_host((host.as_str(), port)).await;
            let addresses = resolved.map_err(|error| {
                Failure::new(Exit::Unavailable, format!("{}: {error}", access.server))
            })?;
            builder = builder.resolve_to_addrs(name, &addresses.collect::<Vec<_>>());
            base = renamed;
        }
        Ok(Self {
            client: builder.build().map_err(|error| failed(&error))?,
            base: base.trim_end_matches('/').to_owned(),
            token: access.token.clone(),
            label: format!("the API server {}", access.server),
        })
    }

    /// The cluster's issuer, as its discovery document says.
    pub(crate) async fn issuer(&self) -> Result<String, Failure> {
        let (_, document) = self
            .call(self.request(Method::GET, "/.well-known/openid-configuration"))
            .await?;
        document["issuer"]
            .as_str()
            .filter(|issuer| !issuer.is_empty())
            .map(str::to_owned)
            .ok_or_else(|| {
                Failure::new(
                    Exit::Unavailable,
                    format!("{} doesn't say what its issuer is", self.label),
                )
                .hint("say it with --k8s-issuer")
            })
    }

    /// Makes an object, or makes it say what it should.
    pub(crate) async fn apply(&self, object: &Object) -> Result<Applied, Failure> {
        let path = format!("{}?fieldManager={FIELD_MANAGER}&force=true", object.path);
        let request = self
            .request(Method::PATCH, &path)
            .header("content-type", "application/apply-patch+yaml")
            .body(object.manifest.to_string());
        let (status, _) = self.call(request).await?;
        Ok(match status {
            StatusCode::CREATED => Applied::Created,
            _ => Applied::Updated,
        })
    }

    /// The token that the cluster puts into the reviewer's Secret.
    pub(crate) async fn secret_token(&self, reviewer: &Reviewer) -> Result<SecretString, Failure> {
        let path = reviewer.secret().path;
        let until = Instant::now() + FILLED_WITHIN;
        loop {
            let (_, secret) = self.call(self.request(Method::GET, &path)).await?;
            if let Some(token) = secret["data"]["token"].as_str().and_then(decoded) {
                return Ok(token);
            }
            if Instant::now() >= until {
                return Err(Failure::new(
                    Exit::Unavailable,
                    format!(
                        "{} put no token into the Secret {} within {} s",
                        self.label,
                        reviewer.secret_name(),
                        FILLED_WITHIN.as_secs()
                    ),
                )
                .hint("ask for a token with an expiry instead: --token-duration 8760h"));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// A token that expires, and when: the cluster may make it shorter than asked.
    pub(crate) async fn request_token(
        &self,
        reviewer: &Reviewer,
        seconds: i64,
    ) -> Result<(SecretString, Timestamp), Failure> {
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": { "expirationSeconds": seconds },
        });
        let request = self
            .request(Method::POST, &reviewer.token_path())
            .json(&body);
        let (_, answer) = self.call(request).await?;
        let token = answer["status"]["token"].as_str().map(SecretString::from);
        let end = answer["status"]["expirationTimestamp"].as_str();
        let end = end.and_then(|end| end.parse().ok());
        token.zip(end).ok_or_else(|| {
            Failure::new(
                Exit::Unavailable,
                format!("{} answered without a token", self.label),
            )
        })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        }
    }

    async fn call(&self, request: RequestBuilder) -> Result<(StatusCode, Value), Failure> {
        let broken = |error: reqwest::Error| {
            Failure::new(
                Exit::Unavailable,
                format!("{}: {}", self.label, chain(&error.without_url())),
            )
        };
        let response = request.send().await.map_err(broken)?;
        let status = response.status();
        let body = read(response).await.map_err(broken)?;
        let body = body.ok_or_else(|| {
            Failure::new(
                Exit::Unavailable,
                format!(
                    "{} answers with more than {MAX_ANSWER} bytes, as no API server does",
                    self.label
                ),
            )
        })?;
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status.is_success() {
            return Ok((status, answer));
        }
        Err(self.refused(status, answer["message"].as_str().unwrap_or_default()))
    }

    fn refused(&self, status: StatusCode, message: &str) -> Failure {
        let label = &self.label;
        match status {
            StatusCode::UNAUTHORIZED => Failure::new(
                Exit::Refused,
                format!("{label} doesn't accept the kubeconfig's credential"),
            )
            .hint("does `kubectl --context … get namespaces` still work with it?"),
            StatusCode::FORBIDDEN => Failure::new(Exit::Refused, format!("{label}: {message}"))
                .hint("importing needs an administrator of the cluster (cluster-admin)"),
            _ if message.is_empty() => Failure::new(
                Exit::Unavailable,
                format!("{label} answered HTTP {}", status.as_u16()),
            ),
            _ => Failure::new(Exit::Unavailable, format!("{label}: {message}")),
        }
    }
}

fn tls(access: &Access) -> Result<rustls::ClientConfig, Failure> {
    let unusable = |error: String| Failure::usage(format!("--kubeconfig: {error}"));
    let mut roots = RootCertStore::empty();
    match &access.ca {
        Some(pem) => {
            let certificates = CertificateDer::pem_slice_iter(pem.as_bytes()).flatten();
            roots.add_parsable_certificates(certificates);
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.to_string()))?
        .with_root_certificates(roots);
    let mut config = match &access.certificate {
        None => builder.with_no_client_auth(),
        Some(ClientCertificate { chain, key }) => {
            let chain = CertificateDer::pem_slice_iter(chain.as_bytes());
            let chain: Vec<_> = chain
                .collect::<Result<_, _>>()
                .map_err(|_| unusable("its client certificate is not in PEM".to_owned()))?;
            let key = PrivateKeyDer::from_pem_slice(key.expose_secret().as_bytes())
                .map_err(|_| unusable("its client key is not in PEM".to_owned()))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| {
                unusable(format!(
                    "its client certificate and key can't be used: {error}"
                ))
            })?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The host and port to connect to, and the URL under the name that the certificate is for.
fn renamed(base: &str, name: &str) -> Result<(String, u16, String), Failure> {
    let wrong = || {
        Failure::usage(format!(
            "--kubeconfig: tls-server-name `{name}` is no host name"
        ))
    };
    let mut url = url::Url::parse(base).map_err(|_| wrong())?;
    let host = url.host_str().ok_or_else(wrong)?;
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let port = url.port_or_known_default().unwrap_or(443);
    url.set_host(Some(name)).map_err(|_| wrong())?;
    match url.host() {
        Some(url::Host::Domain(domain)) if domain == name => Ok((host, port, url.to_string())),
        _ => Err(wrong()),
    }
}

/// `None`: more than is read.
async fn read(mut response: Response) -> Result<Option<Zeroizing<Vec<u8>>>, reqwest::Error> {
    let mut body = Zeroizing::new(Vec::new());
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

fn decoded(data: &str) -> Option<SecretString> {
    let bytes = STANDARD.decode(data).map(Zeroizing::new).ok()?;
    let text = std::str::from_utf8(&bytes).ok()?;
    (!text.is_empty()).then(|| SecretString::from(text))
}

fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let _ = write!(text, ": {error}");
        next = error.source();
    }
    text
}

// === impl Applied ===

impl Applied {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
        }
    }
}
