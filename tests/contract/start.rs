//! The two servers, and a client of each.

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Once};

use futures::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use kube_sim::{KubeSim, Options};

use crate::real::{self, client};
use crate::server::{Ageing, Ca, Server};

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
        Ca {
            certificate: sim.ca_pem().to_owned(),
            key: Some(sim.ca_key_pem()),
        },
    )
    .await;
    check(&server).await;
    sim.shutdown().await;
}

pub(crate) async fn on_real_server(check: impl AsyncFn(&Server)) {
    let Ok(path) = std::env::var("POSTERN_TEST_KUBECONFIG") else {
        return left_out();
    };
    let server = real::connect(&path).await;
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
