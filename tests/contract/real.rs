//! A real API server, by its administrator's kubeconfig.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Client;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;

use crate::server::{Ageing, Ca, Server};
use crate::token;

pub(crate) async fn connect(kubeconfig: &str) -> Server {
    let kubeconfig: Value = serde_norway::from_slice(&std::fs::read(kubeconfig).unwrap()).unwrap();
    for list in ["clusters", "users"] {
        assert_eq!(
            kubeconfig[list].as_array().map(Vec::len),
            Some(1),
            "the kubeconfig must have one entry in {list}"
        );
    }
    let (cluster, user) = (
        &kubeconfig["clusters"][0]["cluster"],
        &kubeconfig["users"][0]["user"],
    );
    let data =
        |object: &Value, key: &str| STANDARD.decode(object[key].as_str().expect(key)).unwrap();
    let ca = data(cluster, "certificate-authority-data");
    let identity = (
        data(user, "client-certificate-data"),
        data(user, "client-key-data"),
    );
    let age = match std::env::var("POSTERN_TEST_SA_KEY") {
        Ok(path) => Ageing::Key(Box::new(token::read_key(&path))),
        Err(_) => Ageing::Unknown,
    };
    let base = cluster["server"].as_str().unwrap();
    Server::new(
        base,
        client(&ca, Some(identity)),
        None,
        client(&ca, None),
        age,
        Ca {
            certificate: String::from_utf8(ca.clone()).unwrap(),
            key: std::env::var("POSTERN_TEST_CLIENT_CA_KEY")
                .ok()
                .map(|path| std::fs::read_to_string(path).unwrap()),
        },
    )
    .await
}

pub(crate) fn client(ca: &[u8], identity: Option<(Vec<u8>, Vec<u8>)>) -> Client {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = CertificateDer::pem_slice_iter(&certificate)
                .map(Result::unwrap)
                .collect();
            builder
                .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(&key).unwrap())
                .unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Client::builder()
        .tls_backend_preconfigured(config)
        .no_proxy()
        .timeout(Duration::from_secs(20))
        .build()
        .unwrap()
}
