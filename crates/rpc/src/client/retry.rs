//! Repeating what may succeed in a moment.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tonic::{Response, Status};

use crate::deadline::Deadline;
use crate::error::Failure;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Calls `op` until it succeeds, fails for good, or the deadline is too near for another
/// try; then the last failure is returned. Only for operations that are safe to repeat.
/// Each try makes its request anew, by [`super::request`] with the same deadline.
///
/// # Errors
/// The last try's failure.
pub async fn retry<T, F, Fut>(deadline: Deadline, op: F) -> Result<T, Failure>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Response<T>, Status>>,
{
    retry_if(Failure::retryable, deadline, op).await
}

/// The same for a call that must not be carried out twice: another try only when the one
/// before can't have been.
///
/// # Errors
/// The last try's failure.
pub async fn retry_unsent<T, F, Fut>(deadline: Deadline, op: F) -> Result<T, Failure>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Response<T>, Status>>,
{
    let unsent = |failure: &Failure| failure.retryable() && !failure.may_have_been_carried_out();
    retry_if(unsent, deadline, op).await
}

async fn retry_if<T, F, Fut>(
    again: impl Fn(&Failure) -> bool,
    deadline: Deadline,
    mut op: F,
) -> Result<T, Failure>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Response<T>, Status>>,
{
    let mut backoff = FIRST_PAUSE;
    let mut before: Option<Failure> = None;
    loop {
        let failure = match deadline.run(op()).await {
            Ok(Ok(response)) => return Ok(response.into_inner()),
            Ok(Err(status)) => Failure::from(status),
            Err(_) => Failure::deadline_exceeded(),
        };
        let pause = jittered(
            failure
                .retry_after
                .unwrap_or_default()
                .clamp(backoff, MAX_PAUSE),
        );
        // A server that says when says that nothing helps before.
        let too_late = failure
            .retry_after
            .is_some_and(|after| deadline.remaining() <= after);
        if !again(&failure) || too_late || deadline.remaining() <= pause {
            return Err(failure.after(before.as_ref()));
        }
        tokio::time::sleep(pause).await;
        backoff = (backoff * 2).min(MAX_PAUSE);
        before = Some(failure);
    }
}

/// Up to a half more, so that clients that failed together don't come back together.
fn jittered(pause: Duration) -> Duration {
    // The standard library's only source of randomness.
    let random = RandomState::new().hash_one(());
    #[expect(clippy::cast_precision_loss, reason = "a jitter needs no precision")]
    let fraction = random as f64 / u64::MAX as f64;
    pause + pause.mul_f64(fraction / 2.0)
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tonic::Code;

    use super::*;
    use crate::error::{Error, Outage};

    #[tokio::test(start_paused = true)]
    async fn whom_the_deadline_ends_is_told_what_went_wrong_before() {
        let mut tries = 0;
        let deadline = Deadline::after(Duration::from_secs(1));
        let op = || {
            tries += 1;
            let first = tries == 1;
            async move {
                match first {
                    true => {
                        let away = Error::unavailable(Outage::Database, "nothing listens", "");
                        Err::<Response<()>, _>(Status::from(away))
                    }
                    false => pending().await,
                }
            }
        };
        let failure = retry(deadline, op).await.unwrap_err();
        assert_eq!(failure.code, Code::DeadlineExceeded);
        let message = "no answer before the deadline; before that: nothing listens";
        assert_eq!(failure.message, message);
    }
}
