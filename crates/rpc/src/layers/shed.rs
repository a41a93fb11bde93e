//! Beyond a number of calls at once, more are turned away instead of queued.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tokio::sync::Semaphore;

use crate::caller::Caller;
use crate::error::{self, Error, Outage};
use crate::metrics::{Limited, Scope};
use crate::peer::PerPeer;

/// How many calls a server takes at once, and how many of them from one peer.
pub(crate) struct CallLimits {
    all: Semaphore,
    per_peer: Arc<PerPeer>,
    limited: Limited,
}

impl CallLimits {
    pub(crate) fn new(all: usize, per_peer: usize, limited: Limited) -> Arc<Self> {
        Arc::new(Self {
            all: Semaphore::new(all),
            per_peer: PerPeer::new(per_peer),
            limited,
        })
    }
}

/// Counts a call until its answer begins, so that open streams don't use the limit up.
pub(crate) async fn shed(
    State(limits): State<Arc<CallLimits>>,
    request: Request,
    next: Next,
) -> Response {
    let caller = request.extensions().get::<Caller>();
    let peer = caller.and_then(|caller| caller.ip).into();
    let Some(_held) = limits.per_peer.hold(peer) else {
        limits.limited.count(Scope::PeerCalls);
        return error::answer(Error::ResourceExhausted {
            retry_after: Duration::from_secs(1),
        });
    };
    let Ok(_permit) = limits.all.try_acquire() else {
        limits.limited.count(Scope::Calls);
        return error::answer(Error::Unavailable {
            reason: Outage::Overloaded,
            message: "too many calls at once; try again in a moment".to_owned(),
            source: None,
        });
    };
    next.run(request).await
}
