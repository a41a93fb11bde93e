//! TLS of servers and clients, always with the same crypto provider.

mod client_certificate;
mod follow;
mod material;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

pub use client_certificate::{ClientCertificate, gateway_uri};
pub(crate) use follow::{Files, Follow, Made};
pub(crate) use material::{Material, follow};

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
    #[error("the client CA or its revocation list can't be used: {0}")]
    ClientCa(String),
}

/// A certificate and its key: PEM files, read again when they change.
#[derive(Debug, Clone)]
pub struct PairFiles {
    /// The certificate, then its intermediates.
    pub certificate: PathBuf,
    /// PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// Whose client certificates count: PEM files, read again when they change.
#[derive(Debug, Clone)]
pub struct ClientCaFiles {
    /// One or more CAs.
    pub ca: PathBuf,
    /// Revocation lists: of every CA in a client's chain, once there are any.
    pub revoked: Option<PathBuf>,
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
    client_config_with(extra_roots_pem, None)
}

/// The same, for a client that shows a certificate where it is asked for one.
pub(crate) fn client_config_with(
    extra_roots_pem: Option<&[u8]>,
    certificate: Option<CertifiedKey>,
) -> Result<ClientConfig, Error> {
    let mut store = match extra_roots_pem {
        Some(pem) => roots(pem)?,
        None => RootCertStore::empty(),
    };
    // A system without roots is normal in a container.
    let system = rustls_native_certs::load_native_certs();
    store.add_parsable_certificates(system.certs);
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(Error::Setup)?
        .with_root_certificates(store);
    Ok(match certificate {
        None => builder.with_no_client_auth(),
        Some(pair) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair))),
    })
}

/// Asks for a client certificate where there is somebody to judge it, and goes on without.
pub(crate) fn server_config(
    pair: CertifiedKey,
    clients: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<ServerConfig, Error> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(Error::Setup)?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => builder.with_client_cert_verifier(clients),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Who shows none is let in; who shows one that isn't right is not.
pub(crate) fn client_verifier(
    ca_pem: &[u8],
    revoked_pem: Option<&[u8]>,
) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let roots = Arc::new(roots(ca_pem)?);
    let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
    if let Some(pem) = revoked_pem {
        let lists = CertificateRevocationListDer::pem_slice_iter(pem);
        let lists: Result<Vec<_>, _> = lists.collect();
        let lists = lists.map_err(|error| Error::ClientCa(error.to_string()))?;
        if lists.is_empty() {
            return Err(Error::ClientCa(
                "no revocation list in PEM form found".to_owned(),
            ));
        }
        builder = builder.with_crls(lists);
    }
    let verifier = builder.allow_unauthenticated().build();
    verifier.map_err(|error| Error::ClientCa(error.to_string()))
}

fn roots(pem: &[u8]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        let damaged = |error: rustls::Error| Error::Certificate(error.to_string());
        roots.add(certificate).map_err(damaged)?;
    }
    Ok(roots)
}

/// When the first of a pair's certificates expires, in seconds since 1970.
pub(crate) fn expiry(pair: &CertifiedKey) -> Option<i64> {
    let (_, certificate) = X509Certificate::from_der(pair.end_entity_cert().ok()?).ok()?;
    Some(certificate.validity.not_after.timestamp())
}

/// Checks that the two belong together.
pub(crate) fn certified_key(certificate_pem: &[u8], key_pem: &[u8]) -> Result<CertifiedKey, Error> {
    let chain = certificates(certificate_pem)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|_| Error::NoKey)?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(Error::Pair)
}

/// Whether a pair of files can be used now.
pub(crate) fn check_pair(files: &PairFiles) -> Result<(), Error> {
    let certificate = read_file(&files.certificate)?;
    let key = Zeroizing::new(read_file(&files.key)?);
    certified_key(&certificate, &key).map(drop)
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
