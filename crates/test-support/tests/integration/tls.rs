use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use test_support::fixtures::{ServerCertificate, TestCa, tempdir};
use tokio_rustls::{TlsAcceptor, TlsConnector};

fn server(certificate: &ServerCertificate) -> TlsAcceptor {
    let folder = tempdir();
    let (certificate, key) = certificate.write(folder.path());
    let chain = CertificateDer::pem_file_iter(certificate)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key);
    TlsAcceptor::from(Arc::new(config.unwrap()))
}

fn client(ca: &TestCa) -> TlsConnector {
    let folder = tempdir();
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(ca.write(folder.path())).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

async fn handshake(ca: &TestCa, certificate: &ServerCertificate, name: &str) -> Result<(), String> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let (connector, acceptor) = (client(ca), server(certificate));
    let (connected, _accepted) = tokio::join!(connector.connect(name, near), acceptor.accept(far));
    connected.map(|_| ()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_client_of_the_ca_accepts_the_names_in_the_certificate() {
    let ca = TestCa::default();
    let certificate = ca.issue(&["localhost", "127.0.0.1"]);

    assert_eq!(handshake(&ca, &certificate, "localhost").await, Ok(()));
    assert_eq!(handshake(&ca, &certificate, "127.0.0.1").await, Ok(()));
}

#[tokio::test]
async fn another_name_and_another_ca_are_rejected() {
    let ca = TestCa::default();
    let certificate = ca.issue(&["localhost"]);

    let other_name = handshake(&ca, &certificate, "example.com")
        .await
        .unwrap_err();
    assert!(other_name.contains("not valid for name"), "{other_name}");
    let other_ca = handshake(&TestCa::new("other"), &certificate, "localhost")
        .await
        .unwrap_err();
    assert!(other_ca.contains("UnknownIssuer"), "{other_ca}");
}
