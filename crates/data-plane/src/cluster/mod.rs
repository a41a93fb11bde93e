//! One K8s auth config made live: a cluster whose API server can be asked about tokens.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use postern_core::auth_method::Audiences;
use postern_core::facts::{Facts, VerificationMode};
use postern_core::k8s_auth_config::K8sAuthConfig;
use postern_core::reason::DenyReason;
use postern_rpc::deadline::Deadline;

use self::connection::Connection;
use self::review::Verdict;
use crate::presented_token::PresentedToken;

mod client;
mod connection;
mod fault;
mod own;
pub(crate) mod probe;
mod review;
mod reviewer;
#[cfg(test)]
mod tests;

pub(crate) use self::client::ClusterError;
pub(crate) use self::fault::ReviewFault;
pub(crate) use self::own::{OwnCluster, Pin, SERVICE_ACCOUNT_DIR};

/// The most of a token's own audiences that are sent, when a method takes any.
const MAX_AUDIENCES: usize = 8;

/// A config in use. It never changes: a changed config is another `Cluster`, so that connections
/// made with an old CA, host or credential end with the old one.
pub(crate) struct Cluster {
    config: K8sAuthConfig,
    connection: Connection,
}

impl Cluster {
    /// Connects nowhere yet. Reads the system's roots from disk when the config has no CA.
    ///
    /// # Errors
    /// The config can't be used at all.
    pub(crate) fn new(config: K8sAuthConfig, own: &Arc<OwnCluster>) -> Result<Self, ClusterError> {
        let connection = Connection::new(&config, own)?;
        Ok(Self { config, connection })
    }

    /// Whether the gateway's own cluster is the one that the config is pinned to, and since when;
    /// `None` for a config that names its API server.
    pub(crate) fn pin(&self) -> Option<(Pin, Timestamp)> {
        self.connection.pin()
    }

    /// What it was made from.
    pub(crate) fn config(&self) -> &K8sAuthConfig {
        &self.config
    }

    /// Asks the API server about a token and gathers what it confirmed. The inner error is the
    /// API server's, or the comparison's, no.
    ///
    /// # Errors
    /// There was no verdict.
    pub(crate) async fn verify(
        &self,
        token: &PresentedToken,
        audiences: &Audiences,
        client_ip: Option<IpAddr>,
        deadline: Deadline,
    ) -> Result<Result<Facts, DenyReason>, ReviewFault> {
        let asked = asked(token, audiences);
        let reviewed = match self
            .connection
            .review(token.text(), asked, deadline)
            .await?
        {
            Verdict::Yes(reviewed) => reviewed,
            Verdict::No(reason) => return Ok(Err(reason)),
        };
        let claims = token.claims();
        let (pod_name, pod_uid) = reviewed.pod.unzip();
        let facts = Facts {
            namespace: reviewed.namespace,
            service_account_name: reviewed.service_account_name,
            service_account_uid: reviewed.service_account_uid,
            pod_name,
            pod_uid,
            node_name: reviewed.node_name,
            credential_id: reviewed.credential_id,
            client_ip,
            aud: reviewed.audiences,
            for_api_server: asked.is_empty(),
            legacy: claims.expire_time.is_none(),
            issue_time: claims.issue_time,
            expire_time: claims.expire_time,
            mode: VerificationMode::Review,
            namespace_labels: None,
        };
        Ok(if claims.agree_with(&facts) {
            Ok(facts)
        } else {
            Err(DenyReason::TokenClaimsDiffer)
        })
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("name", &self.config.name)
            .field("uid", &self.config.uid)
            .field("generation", &self.config.generation)
            .finish_non_exhaustive()
    }
}

/// What goes into `spec.audiences`; empty asks for the API server's own.
fn asked<'a>(token: &'a PresentedToken, audiences: &'a Audiences) -> &'a [String] {
    match audiences {
        Audiences::ApiServer => &[],
        Audiences::Listed(listed) => listed,
        Audiences::Any => {
            let own = &token.claims().audiences;
            &own[..own.len().min(MAX_AUDIENCES)]
        }
    }
}
