//! Beyond a number of calls at once, more are turned away instead of queued.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::observe::{method, says_grpc};
use super::{Authorizer, LimitedCall};
use crate::caller::Caller;
use crate::error::{self, Error, Outage};
use crate::http::introspection;
use crate::metrics::{Limited, Scope, UNKNOWN};
use crate::peer::{Held, PerPeer};

/// How many calls a server takes at once, and how many of them from one peer. gRPC and plain HTTP count alike.
pub(crate) struct CallLimits<A> {
    all: Semaphore,
    per_peer: Arc<PerPeer>,
    limited: Limited,
    authorizer: A,
}

/// A call's place among its peer's, and among all.
type Place<'l> = (Held, SemaphorePermit<'l>);

/// Counts a call until its answer begins, so that open streams don't use the limit up.
pub(crate) async fn shed<A: Authorizer>(
    State(limits): State<Arc<CallLimits<A>>>,
    request: Request,
    next: Next,
) -> Response {
    match limits.place(&request) {
        Ok(_held) => next.run(request).await,
        Err(error) if says_grpc(request.headers()) => error::answer(error),
        Err(error) => introspection::refusal(error),
    }
}

// === impl CallLimits ===

impl<A: Authorizer> CallLimits<A> {
    /// What is turned away for its peer's sake is told to `authorizer`, for its records.
    pub(crate) fn new(all: usize, per_peer: usize, limited: Limited, authorizer: A) -> Arc<Self> {
        Arc::new(Self {
            all: Semaphore::new(all),
            per_peer: PerPeer::new(per_peer),
            limited,
            authorizer,
        })
    }

    fn place(&self, request: &Request) -> Result<Place<'_>, Error> {
        let caller = request.extensions().get::<Caller>();
        let peer = caller.and_then(|caller| caller.ip).into();
        let Some(held) = self.per_peer.hold(peer) else {
            self.limited.count(Scope::PeerCalls);
            if let Some(caller) = caller {
                self.authorizer.limited(LimitedCall {
                    scope: Scope::PeerCalls,
                    method: Some(method(request)).filter(|method| method != UNKNOWN),
                    caller: caller.clone(),
                });
            }
            return Err(Error::ResourceExhausted {
                retry_after: Duration::from_secs(1),
            });
        };
        let Ok(permit) = self.all.try_acquire() else {
            self.limited.count(Scope::Calls);
            return Err(Error::Unavailable {
                reason: Outage::Overloaded,
                message: "too many calls at once; try again in a moment".to_owned(),
                source: None,
            });
        };
        Ok((held, permit))
    }
}
