//! Asking the servers of the stack whether they are ready.

use std::time::Duration;

use postern_rpc::tls;

const TIMEOUT: Duration = Duration::from_secs(2);

/// An HTTP client that trusts the deployment's CA.
pub(crate) struct Probe(reqwest::Client);

/// Why there is no such client.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error("the deployment's CA can't be used")]
    Tls(#[from] tls::Error),
    #[error("the HTTP client can't be made")]
    Client(#[from] reqwest::Error),
}

impl Probe {
    pub(crate) fn new(ca_pem: &str) -> Result<Self, ProbeError> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client_config(Some(ca_pem.as_bytes()))?)
            .no_proxy()
            // A kept connection would have to be waited for when the server stops.
            .pool_max_idle_per_host(0)
            .timeout(TIMEOUT)
            .build()?;
        Ok(Self(client))
    }

    pub(crate) async fn ready(&self, url: &str) -> bool {
        let answer = self.0.get(format!("{url}/readyz")).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }
}
