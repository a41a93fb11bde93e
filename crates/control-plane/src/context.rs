//! What every handler works with.

use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use postern_core::auth_method::TokenMaxima;
use postern_core::clock::Clock;
use postern_core::jwt::IssuerUrl;
use postern_core::own_keys::OwnKeys;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::gateways::GatewayCertificates;
use crate::jwts::Opened;
use crate::limits::SubjectLimits;
use crate::metrics::Metrics;
use crate::store::{Intent, Signs, Store, StoreError};

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) keys: Arc<OwnKeys>,
    pub(crate) signs: Signs,
    /// `None`: no JWT can be issued.
    pub(crate) issuer: Option<IssuerUrl>,
    pub(crate) opened: Arc<Opened>,
    /// What the database holds, once it is open.
    pub(crate) deployment: Arc<OnceLock<Uuid>>,
    pub(crate) certificates: GatewayCertificates,
    pub(crate) metrics: Metrics,
    pub(crate) limits: SubjectLimits,
    pub(crate) token_maxima: TokenMaxima,
    /// Wakes the sweep before its time.
    pub(crate) swept_for: Arc<Notify>,
}

// === impl Context ===

impl Context {
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Everybody is answered from `connected` from now on.
    pub(crate) fn open(&self, connected: Store, deployment: Uuid) {
        // It is set once.
        let _ = self.deployment.set(deployment);
        self.store.open(&connected);
    }

    pub(crate) fn deployment(&self) -> Result<Uuid, StoreError> {
        self.deployment.get().copied().ok_or(StoreError::NotOpen)
    }
}

/// What a request's `validate_only` asks of the store.
pub(crate) fn intent(validate_only: bool) -> Intent {
    if validate_only {
        Intent::ValidateOnly
    } else {
        Intent::Write
    }
}
