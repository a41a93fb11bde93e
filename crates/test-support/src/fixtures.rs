//! Folders and certificates.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use tempfile::TempDir;

/// An empty folder, removed when dropped.
pub fn tempdir() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// A certificate authority that nobody else trusts. Its certificates are valid at any time that a
/// test may set its clock to.
pub struct TestCa {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Default for TestCa {
    fn default() -> Self {
        Self::new("test CA")
    }
}

impl TestCa {
    pub fn new(common_name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.remove(DnType::CommonName);
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("generate a key");
        let certificate = params.self_signed(&key).expect("sign the CA's certificate");
        Self {
            certificate,
            issuer: Issuer::new(params, key),
        }
    }

    /// The CA's certificate as PEM.
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// Writes the CA's certificate to `ca.pem` in `folder`.
    pub fn write(&self, folder: &Path) -> PathBuf {
        write(folder, "ca.pem", &self.pem())
    }

    /// What a gateway shows the control plane, as `client.crt` and `client.key` in `folder`.
    pub fn write_client(&self, folder: &Path, gateway: &str) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::default();
        let uri = format!("postern://gateway/{gateway}");
        params.subject_alt_names = vec![SanType::URI(uri.try_into().expect("a URI"))];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("generate a key");
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("sign a certificate");
        let path = write(folder, "client.crt", &certificate.pem());
        (path, write(folder, "client.key", &key.serialize_pem()))
    }

    /// A server certificate for `names`: DNS names or IP addresses, at least one.
    pub fn issue(&self, names: &[&str]) -> ServerCertificate {
        assert!(
            !names.is_empty(),
            "a server certificate without a name fits no server"
        );
        let names: Vec<String> = names.iter().copied().map(str::to_owned).collect();
        let mut params = CertificateParams::new(names).expect("names or addresses");
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().expect("generate a key");
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("sign a certificate");
        ServerCertificate {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        }
    }
}

/// A server's certificate and its P-256 key (PKCS#8), both as PEM.
pub struct ServerCertificate {
    pub certificate_pem: String,
    pub key_pem: String,
}

impl ServerCertificate {
    /// Writes `tls.crt` and `tls.key` to `folder` and returns both paths.
    pub fn write(&self, folder: &Path) -> (PathBuf, PathBuf) {
        let certificate = write(folder, "tls.crt", &self.certificate_pem);
        (certificate, write(folder, "tls.key", &self.key_pem))
    }
}

fn write(folder: &Path, name: &str, contents: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, contents).expect("write a fixture");
    path
}
