//! How long the database may take. Its own time-outs end a statement that hangs, and nothing ends a
//! connection that nobody answers any more: a firewall forgot it, or the host is gone.

use std::io;
use std::time::Duration;

use super::StoreError;

/// How long an operation may take, its waits for others included.
const PATIENCE: Duration = Duration::from_secs(10);

/// What isn't done in time is unavailable, and it isn't known whether it was done.
pub(super) fn bounded<T, E>(
    work: impl Future<Output = Result<T, E>>,
) -> impl Future<Output = Result<T, E>>
where
    E: From<StoreError>,
{
    let done = in_time(PATIENCE, work);
    async move { done.await.unwrap_or_else(|| Err(timed_out().into())) }
}

/// `None`: it wasn't done, and is dropped. The work is on the heap, so that callers stay small.
pub(super) fn in_time<T>(
    patience: Duration,
    work: impl Future<Output = T>,
) -> impl Future<Output = Option<T>> {
    let work = Box::pin(work);
    async move { tokio::time::timeout(patience, work).await.ok() }
}

pub(super) fn timed_out() -> StoreError {
    sqlx::Error::Io(io::ErrorKind::TimedOut.into()).into()
}
