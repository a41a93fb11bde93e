//! Every call has a deadline, whether its caller names one or not.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

use crate::deadline::Deadline;
use crate::error;

/// Bounds the time until the answer begins. A stream that has begun isn't cut.
pub(crate) async fn deadline(
    State(cap): State<Duration>,
    mut request: Request,
    next: Next,
) -> Response {
    let deadline = Deadline::from_headers(request.headers(), cap);
    request.extensions_mut().insert(deadline);
    match deadline.run(next.run(request)).await {
        Ok(response) => response,
        Err(exceeded) => error::answer(exceeded.into()),
    }
}
