//! Beyond a number of calls at once, more are turned away instead of queued.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tokio::sync::Semaphore;

use crate::error::{self, Error, Outage};

/// Counts a call until its answer begins, so that open streams don't use the limit up.
pub(crate) async fn shed(
    State(limit): State<Arc<Semaphore>>,
    request: Request,
    next: Next,
) -> Response {
    let Ok(_permit) = limit.try_acquire() else {
        return error::answer(Error::Unavailable {
            reason: Outage::Overloaded,
            message: "too many calls at once; try again in a moment".to_owned(),
            source: None,
        });
    };
    next.run(request).await
}
