//! A certificate authority that lives as long as the simulator, the server's certificate, and those of clients.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
};

use crate::error::Error;

const HOSTS: [&str; 4] = [
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
];

/// What the simulator has of X.509.
pub(crate) struct Pki {
    ca: CertifiedIssuer<'static, KeyPair>,
    clients: Arc<dyn ClientCertVerifier>,
}

/// Takes any certificate whose key the client has, as the real server's TLS does: whom it names, and whether it is
/// worth anything, is asked when a request is authenticated.
#[derive(Debug)]
struct AnyClient(Arc<dyn ClientCertVerifier>);

impl Pki {
    pub(crate) fn new() -> Result<Self, Error> {
        let ca = authority()?;
        let mut roots = RootCertStore::empty();
        roots.add(ca.der().clone())?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| Error::Tls(rustls::Error::General(error.to_string())))?;
        Ok(Self { ca, clients })
    }

    pub(crate) fn ca_pem(&self) -> String {
        self.ca.pem()
    }

    pub(crate) fn ca_key_pem(&self) -> String {
        self.ca.key().serialize_pem()
    }

    /// The server's TLS configuration.
    pub(crate) fn server(
        &self,
        listen: IpAddr,
        extra_hosts: &[String],
    ) -> Result<Arc<ServerConfig>, Error> {
        let mut names: Vec<String> = HOSTS.iter().map(|&host| host.to_owned()).collect();
        names.extend(["127.0.0.1".to_owned(), "::1".to_owned()]);
        names.push(listen.to_string());
        names.extend_from_slice(extra_hosts);
        names.sort();
        names.dedup();

        let mut params = CertificateParams::new(names)?;
        params
            .distinguished_name
            .push(DnType::CommonName, "kube-apiserver");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.ca)?;

        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(Arc::new(AnyClient(Arc::clone(&self.clients))))
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// A client's certificate, valid from a minute before `now` for `life`, and its key, both as PEM.
    pub(crate) fn client(
        &self,
        name: &str,
        groups: &[&str],
        now: Timestamp,
        life: Duration,
    ) -> Result<(String, String), Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for group in groups {
            params
                .distinguished_name
                .push(DnType::OrganizationName, *group);
        }
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_second().unsigned_abs());
        params.not_before = (now - Duration::from_secs(60)).into();
        params.not_after = (now + life).into();
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.ca)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }

    /// Whether this CA issued a client's certificate, and it is valid at `now`.
    pub(crate) fn vouches(&self, chain: &[CertificateDer<'_>], now: Timestamp) -> bool {
        let Some((first, others)) = chain.split_first() else {
            return false;
        };
        let now = Duration::from_secs(now.as_second().unsigned_abs());
        let now = UnixTime::since_unix_epoch(now);
        self.clients.verify_client_cert(first, others, now).is_ok()
    }
}

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "kubernetes");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}
