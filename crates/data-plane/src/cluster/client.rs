//! The HTTP client of one cluster: trusts that cluster's CA and nothing else, and does nothing by
//! itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use postern_core::ca_bundle::CaBundle;
use postern_core::k8s_auth_config::{
    ClientCertificate, Endpoint, K8sHost, K8sHostError, Timeouts, TlsServerName,
};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect;
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

const USER_AGENT: &str = concat!("postern-gateway/", env!("CARGO_PKG_VERSION"));

/// Where to connect to, whom to trust there, and by which certificate to be known.
pub(super) struct Way<'w> {
    pub(super) host: &'w K8sHost,
    /// `None`: the system's roots.
    pub(super) ca: Option<&'w CaBundle>,
    pub(super) tls_server_name: Option<&'w TlsServerName>,
    pub(super) certificate: Option<&'w ClientCertificate>,
    pub(super) timeouts: Timeouts,
}

/// Resolves every name as this host: URLs have the name that the server's certificate must have,
/// so that names are sent and verified as ever.
struct ConnectTo(String);

/// Why a config can't be used at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    /// A certificate that X.509 knows and TLS can't trust.
    #[error("the CA bundle holds no certificate that can be trusted for TLS")]
    Ca(#[source] rustls::Error),
    /// No CA given, and none on this machine.
    #[error("no CA bundle is given, and this machine has no trusted certificates of its own")]
    NoSystemRoots,
    /// TLS can't be set up.
    #[error("TLS can't be set up")]
    Tls(#[source] rustls::Error),
    /// A key that TLS can't use.
    #[error("the client certificate can't be used for TLS")]
    ClientCertificate(#[source] rustls::Error),
    /// PEM that no longer is.
    #[error("the client certificate can't be read")]
    ClientPem(#[source] rustls_pki_types::pem::Error),
    /// A name that fits into no URL.
    #[error("the TLS server name can't be used")]
    ServerName(#[source] K8sHostError),
    /// The HTTP client can't be made.
    #[error("the HTTP client can't be made")]
    Client(#[source] reqwest::Error),
}

pub(super) fn build(way: &Way<'_>) -> Result<reqwest::Client, ClusterError> {
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls(way)?)
        .https_only(true)
        .no_proxy()
        // A redirect would carry a pod's token to wherever it points.
        .redirect(redirect::Policy::none())
        .referer(false)
        .user_agent(USER_AGENT)
        .connect_timeout(way.timeouts.connect())
        .pool_idle_timeout(Duration::from_secs(60))
        // A connection whose other end is gone without a word isn't kept for the next login.
        .http2_keep_alive_interval(Duration::from_secs(5))
        .http2_keep_alive_timeout(Duration::from_secs(5));
    if way.tls_server_name.is_some() {
        let connect_to = ConnectTo(way.host.host().to_owned());
        builder = builder.dns_resolver(Arc::new(connect_to));
    }
    builder.build().map_err(ClusterError::Client)
}

fn tls(way: &Way<'_>) -> Result<rustls::ClientConfig, ClusterError> {
    let roots = match way.ca {
        Some(ca) => given_roots(ca)?,
        None => system_roots()?,
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ClusterError::Tls)?
        .with_root_certificates(roots);
    let mut config = match way.certificate {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let (chain, key) = client_auth(pair).map_err(ClusterError::ClientPem)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(ClusterError::ClientCertificate)?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

type ClientAuth = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn client_auth(pair: &ClientCertificate) -> Result<ClientAuth, rustls_pki_types::pem::Error> {
    let chain = CertificateDer::pem_slice_iter(pair.chain_pem().as_bytes());
    let key = PrivateKeyDer::from_pem_slice(pair.expose_key().as_bytes())?;
    Ok((chain.collect::<Result<_, _>>()?, key))
}

/// Only these. Certificates that TLS can't use are passed over while one is left: an old one in a
/// bundle must not keep the new one out.
fn given_roots(ca: &CaBundle) -> Result<RootCertStore, ClusterError> {
    let mut roots = RootCertStore::empty();
    let mut fault = rustls::Error::NoCertificatesPresented;
    for certificate in CertificateDer::pem_slice_iter(ca.pem().as_bytes()).flatten() {
        if let Err(error) = roots.add(certificate) {
            fault = error;
        }
    }
    if roots.is_empty() {
        Err(ClusterError::Ca(fault))
    } else {
        Ok(roots)
    }
}

fn system_roots() -> Result<RootCertStore, ClusterError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        Err(ClusterError::NoSystemRoots)
    } else {
        Ok(roots)
    }
}

// === impl Way ===

impl<'w> Way<'w> {
    /// To `host`, at an endpoint, without a certificate of one's own.
    pub(super) fn to(at: &'w Endpoint, host: &'w K8sHost, timeouts: Timeouts) -> Self {
        Self {
            host,
            ca: at.ca.as_ref(),
            tls_server_name: at.tls_server_name.as_ref(),
            certificate: None,
            timeouts,
        }
    }

    /// What requests' URLs begin with.
    pub(super) fn url(&self) -> Result<K8sHost, ClusterError> {
        match self.tls_server_name {
            None => Ok(self.host.clone()),
            Some(name) => self.host.named(name).map_err(ClusterError::ServerName),
        }
    }
}

// === impl ConnectTo ===

impl Resolve for ConnectTo {
    fn resolve(&self, _: Name) -> Resolving {
        let host = self.0.clone();
        Box::pin(async move {
            let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await?.collect();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}
