//! Whether the caller of an open stream may still have it.

use std::time::Duration;

use postern_core::access_token::TokenHash;
use postern_rpc::error::Error;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::context::Context;
use crate::store::Session;

/// A token that was revoked, or has ended, loses its streams about so soon.
const EVERY: Duration = Duration::from_secs(1);

/// The token that a stream was opened with.
pub(crate) struct Standing {
    context: Context,
    token: TokenHash,
    ticks: Interval,
}

// === impl Standing ===

impl Standing {
    pub(crate) fn new(context: Context, token: TokenHash) -> Self {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            context,
            token,
            ticks,
        }
    }

    /// Whenever it is time to [check](Self::check). May be dropped and asked for again.
    pub(crate) async fn due(&mut self) {
        self.ticks.tick().await;
    }

    /// No use of the token. UNAUTHENTICATED when the token isn't good any more, UNAVAILABLE when nobody can tell.
    pub(crate) async fn check(&self) -> Result<Session, Error> {
        let store = &self.context.store;
        let session = store.standing(&self.token, self.context.now());
        session.await?.ok_or(Error::Unauthenticated)
    }
}
