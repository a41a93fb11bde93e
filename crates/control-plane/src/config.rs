//! What a control plane is started with, and why it doesn't start.

use std::fmt;
use std::io::{self, Write};

use jiff::SignedDuration;
use postern_core::auth_method::TokenMaxima;
use postern_core::clock::Clock;
use postern_core::jwt::IssuerUrl;
use postern_core::own_keys::OwnKeys;
use postern_rpc::server;

use crate::bootstrap::Bootstrap;
use crate::limits::SubjectLimits;
use crate::store::DatabaseUrl;

/// What a control plane is started with.
pub struct Config {
    /// Where it listens, with which certificate, and its limits.
    pub server: server::Config,
    /// A gateway's credential counts over a connection with that gateway's certificate only. Needs
    /// the server's `client_ca`.
    pub require_gateway_certificate: bool,
    /// Created if it is missing.
    pub database_url: DatabaseUrl,
    /// Needed by an empty database only; changes nothing that exists.
    pub bootstrap: Option<Bootstrap>,
    /// The same on every replica.
    pub keys: OwnKeys,
    /// Where others reach this control plane: who has issued its JWTs. `None`: what the bootstrap
    /// file says.
    pub issuer: Option<IssuerUrl>,
    pub clock: Clock,
    /// What one workload may have.
    pub limits: SubjectLimits,
    /// How long any token lives, whatever its method says.
    pub token_maxima: TokenMaxima,
    /// Gets every committed audit record, one JSON object a line. The process's standard
    /// output, unless it is a test.
    pub audit: Box<dyn Write + Send>,
    /// Audit records that were sealed longer ago are removed. `None`: none are.
    pub audit_retention: Option<SignedDuration>,
}

/// Why a control plane doesn't start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(transparent)]
    Listen(#[from] server::BindError),
    #[error("gateways' certificates can't be required without a client CA")]
    NoClientCa,
    #[error("can't write the audit log")]
    Audit(#[source] io::Error),
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}
