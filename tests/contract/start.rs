//! The two servers, and a client of each.

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use kube_sim::{KubeSim, Options};
use reqwest::Client;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;

use crate::server::{Ageing, Server};
use crate::token;

pub(crate) async fn on_simulator(check: impl AsyncFn(&Server)) {
    let ahead = Arc::new(AtomicI64::new(0));
    let clock_ahead = Arc::clone(&ahead);
    let clock =
        move || Timestamp::now() + SignedDuration::from_secs(clock_ahead.load(Ordering::SeqCst));
    let sim = KubeSim::start(Options {
        clock: Arc::new(clock),
        ..Options::default()
    })
    .await
    .unwrap();
    let token = sim.admin_token().to_owned();
    let client = client(sim.ca_pem().as_bytes(), None);
    let server = Server::new(
        sim.host(),
        client.clone(),
        Some(token),
        client,
        Ageing::Clock(ahead),
    )
    .await;
    check(&server).await;
    sim.shutdown().await;
}

pub(crate) async fn on_real_server(check: impl AsyncFn(&Server)) {
    let Ok(path) = std::env::var("POSTERN_TEST_KUBECONFIG") else {
        return left_out();
    };
    let kubeconfig: Value = serde_norway::from_slice(&std::fs::read(path).unwrap()).unwrap();
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
    let server = Server::new(
        base,
        client(&ca, Some(identity)),
        None,
        client(&ca, None),
        age,
    )
    .await;
    let outcome = AssertUnwindSafe(check(&server)).catch_unwind().await;
    server.clean_up().await;
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

/// Past the capture of output that the test harness does, so that it can't go unnoticed.
fn left_out() {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        let line = "\n*** LEFT OUT: the contract on a real API server, as POSTERN_TEST_KUBECONFIG isn't set ***\n";
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    });
}

fn client(ca: &[u8], identity: Option<(Vec<u8>, Vec<u8>)>) -> Client {
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
