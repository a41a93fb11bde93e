//! How long a request may still take.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

use crate::error::Error;

/// What a caller that names no deadline gets, and the most that a caller can get.
pub const DEFAULT_CAP: Duration = Duration::from_secs(30);

/// Taken off a caller's timeout, so that our own answer, with its request ID, comes first.
const MARGIN: Duration = Duration::from_millis(10);

/// Keeps the clock's arithmetic from overflowing.
const MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A moment after which nobody waits any more. Every wait inside a request inherits it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

/// There was no result before the deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("deadline exceeded")]
pub struct DeadlineExceeded;

impl Deadline {
    /// At most a day from now.
    pub fn after(duration: Duration) -> Self {
        Self(Instant::now() + duration.min(MAX))
    }

    /// From `grpc-timeout`, at most `cap`; `cap` when it is absent or unreadable.
    pub(crate) fn from_headers(headers: &HeaderMap, cap: Duration) -> Self {
        let timeout = headers
            .get("grpc-timeout")
            .and_then(|value| parse(value.as_bytes()));
        match timeout {
            Some(timeout) => {
                let timeout = timeout.saturating_sub(MARGIN.min(timeout / 10));
                Self::after(timeout.min(cap))
            }
            None => Self::after(cap),
        }
    }

    /// Zero when it has passed.
    pub fn remaining(&self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    pub fn has_passed(&self) -> bool {
        self.remaining().is_zero()
    }

    /// The same, or `cap` from now if that is sooner.
    #[must_use]
    pub fn within(self, cap: Duration) -> Self {
        Self(self.0.min(Self::after(cap).0))
    }

    /// Waits for `future` until the deadline, then drops it.
    ///
    /// # Errors
    /// The deadline came first.
    pub async fn run<F: Future>(self, future: F) -> Result<F::Output, DeadlineExceeded> {
        tokio::time::timeout_at(self.0, future)
            .await
            .map_err(|_| DeadlineExceeded)
    }
}

impl From<DeadlineExceeded> for Error {
    fn from(_: DeadlineExceeded) -> Self {
        Self::DeadlineExceeded
    }
}

/// One to eight digits and a unit.
fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    match unit {
        b'H' => Some(Duration::from_secs(number * 3600)),
        b'M' => Some(Duration::from_secs(number * 60)),
        b'S' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_timeout_is_at_most_the_cap(
            value in prop_oneof![prop::collection::vec(any::<u8>(), 0..20), "[0-9]{0,10}[HMSmunx]?".prop_map(String::into_bytes)],
        ) {
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                headers.insert("grpc-timeout", value);
            }
            prop_assert!(Deadline::from_headers(&headers, DEFAULT_CAP).remaining() <= DEFAULT_CAP);
        }
    }

    fn remaining(timeout: &str) -> Duration {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", HeaderValue::from_str(timeout).unwrap());
        Deadline::from_headers(&headers, DEFAULT_CAP).remaining()
    }

    #[tokio::test(start_paused = true)]
    async fn a_callers_timeout_is_taken_up_to_the_cap() {
        assert_eq!(remaining("5S"), Duration::from_millis(4990));
        assert_eq!(remaining("5000m"), Duration::from_millis(4990));
        assert_eq!(remaining("10m"), Duration::from_millis(9));
        assert_eq!(remaining("99999999H"), DEFAULT_CAP);
        assert_eq!(remaining("0S"), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unreadable_timeout_is_the_cap() {
        for text in ["", "S", "5", "5s", "-5S", "123456789S", "5 S", "S5", "+5S"] {
            assert_eq!(remaining(text), DEFAULT_CAP, "{text:?}");
        }
        assert_eq!(
            Deadline::from_headers(&HeaderMap::new(), DEFAULT_CAP).remaining(),
            DEFAULT_CAP
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_never_outlives_the_whole() {
        let whole = Deadline::after(Duration::from_secs(5));
        assert_eq!(
            whole.within(Duration::from_secs(1)).remaining(),
            Duration::from_secs(1)
        );
        assert_eq!(
            whole.within(Duration::from_secs(9)).remaining(),
            Duration::from_secs(5)
        );
        assert_eq!(
            whole.run(std::future::pending::<()>()).await,
            Err(DeadlineExceeded)
        );
        assert!(whole.has_passed());
        assert!(
            Deadline::after(Duration::MAX)
                .within(Duration::MAX)
                .remaining()
                > DEFAULT_CAP
        );
        assert_eq!(whole.run(std::future::ready(1)).await, Ok(1));
    }
}
