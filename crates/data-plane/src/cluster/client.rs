//! The HTTP client of one cluster: trusts that cluster's CA and nothing else, and does nothing by
//! itself.

use std::sync::Arc;
use std::time::Duration;

use postern_core::ca_bundle::CaBundle;
use reqwest::redirect;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// For name resolution, TCP and TLS together.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const USER_AGENT: &str = concat!("postern-gateway/", env!("CARGO_PKG_VERSION"));

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
    /// The HTTP client can't be made.
    #[error("the HTTP client can't be made")]
    Client(#[source] reqwest::Error),
}

pub(super) fn build(ca: Option<&CaBundle>) -> Result<reqwest::Client, ClusterError> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls(ca)?)
        .https_only(true)
        .no_proxy()
        // A redirect would carry a pod's token to wherever it points.
        .redirect(redirect::Policy::none())
        .referer(false)
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(Duration::from_secs(60))
        // A connection whose other end is gone without a word isn't kept for the next login.
        .http2_keep_alive_interval(Duration::from_secs(5))
        .http2_keep_alive_timeout(Duration::from_secs(5))
        .build()
        .map_err(ClusterError::Client)
}

fn tls(ca: Option<&CaBundle>) -> Result<rustls::ClientConfig, ClusterError> {
    let roots = match ca {
        Some(ca) => given_roots(ca)?,
        None => system_roots()?,
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ClusterError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
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
