//! A K8s auth config as the control plane keeps it: sealed, beside a clear copy for listing.

use jiff::Timestamp;
use uuid::Uuid;

use crate::access_id::AccessId;
use crate::facts::VerificationMode;
use crate::k8s_auth_config::{Issuers, K8sHost, ReviewerView, Timeouts, TlsServerName, TokenExp};
use crate::resource_id::ConfigName;

/// The clear copy: for listing and for the exchange's checks. No gateway acts on it.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigView {
    /// Its full name.
    pub name: ConfigName,
    /// Drawn by the gateway at create.
    pub uid: Uuid,
    /// Counts the seals, from 1.
    pub generation: i64,
    /// The auth method that it serves.
    pub access_id: AccessId,
    /// The API server; `None`: that of the gateway's own cluster.
    pub k8s_host: Option<K8sHost>,
    /// PEM of the cluster's CA; empty: the system's roots.
    pub k8s_ca_cert: String,
    /// The name that the server's certificate must have; `None`: the host's.
    pub tls_server_name: Option<TlsServerName>,
    /// Who reviews tokens.
    pub reviewer: ReviewerView,
    /// How long the API server may take.
    pub timeouts: Timeouts,
    /// How tokens are verified.
    pub mode: VerificationMode,
    /// JWK set of the cluster's token signers; empty: asked of the cluster.
    pub jwks: String,
    /// Which issuers tokens may come from.
    pub issuers: Issuers,
    /// Every login is refused.
    pub disabled: bool,
    /// Life of an assertion.
    pub token_exp: TokenExp,
    /// Which of the method's keys the gateway signs with.
    pub signing_key_id: String,
    /// Which seal key opens the box.
    pub seal_key_id: String,
    /// When the reviewer's credential expires.
    pub reviewer_credential_expire_time: Option<Timestamp>,
}

/// The clear copy and the box.
#[derive(Debug, Clone)]
pub struct SealedConfig {
    /// For listing.
    pub view: ConfigView,
    /// Version byte, nonce and ciphertext; opened by its gateway only.
    pub sealed: Vec<u8>,
}
