//! TLS of servers and clients, always with the same crypto provider.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::ResolvesServerCert;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Bigger files aren't certificates.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// What is wrong with a certificate, a key or a bundle of roots. Never says what is in a key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("can't read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("no certificate in PEM form found")]
    NoCertificate,
    #[error("a certificate is damaged: {0}")]
    Certificate(String),
    #[error("no private key in PEM form found")]
    NoKey,
    #[error("the certificate and the key can't be used together: {0}")]
    Pair(#[source] rustls::Error),
    #[error("TLS can't be set up")]
    Setup(#[source] rustls::Error),
}

/// Makes the one crypto provider the process's default, for libraries that ask for it.
/// Call it first in `main`; calling it again does nothing.
pub fn install_crypto_provider() {
    // An error means that there is a default already.
    let _ = aws_lc_rs::default_provider().install_default();
}

/// Trusts the system's roots and the certificates of `extra_roots_pem`. Verification can't
/// be switched off. Sets no ALPN.
///
/// # Errors
/// `extra_roots_pem` holds no certificate, or a damaged one.
pub fn client_config(extra_roots_pem: Option<&[u8]>) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    // A system without roots is normal in a container.
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    if let Some(pem) = extra_roots_pem {
        for certificate in certificates(pem)? {
            let damaged = |error: rustls::Error| Error::Certificate(error.to_string());
            roots.add(certificate).map_err(damaged)?;
        }
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(Error::Setup)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

pub(crate) fn server_config(resolver: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(Error::Setup)?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Checks that the two belong together.
pub(crate) fn certified_key(certificate_pem: &[u8], key_pem: &[u8]) -> Result<CertifiedKey, Error> {
    let chain = certificates(certificate_pem)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|_| Error::NoKey)?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(Error::Pair)
}

pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    if fs::metadata(path).map_err(failed)?.len() > MAX_FILE_BYTES {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    fs::read(path).map_err(failed)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = parsed.map_err(|error| Error::Certificate(error.to_string()))?;
    if certificates.is_empty() {
        return Err(Error::NoCertificate);
    }
    Ok(certificates)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
