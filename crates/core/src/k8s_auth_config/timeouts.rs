//! How long an API server may take.

use std::time::Duration;

/// For name resolution, TCP and TLS together, when a config doesn't say.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// From the first step to the last byte of an answer; the default, and the most.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an API server may take, in whole milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    connect: Duration,
    total: Duration,
}

/// Why a duration can't be a time-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TimeoutError {
    /// Less than zero.
    #[error("is negative")]
    Negative,
    /// With a fraction of a millisecond.
    #[error("must be whole milliseconds")]
    Fraction,
    /// More than the maximum.
    #[error("is longer than 10 s, which is the most")]
    TooLong,
}

/// A connect time-out above the total one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is longer than the total time-out (--total-timeout)")]
pub struct ConnectTooLong;

// === impl Timeouts ===

impl Timeouts {
    /// `None` takes the default, which for connecting is never above the total.
    ///
    /// # Errors
    /// A connect time-out above the total one.
    pub fn new(connect: Option<Duration>, total: Option<Duration>) -> Result<Self, ConnectTooLong> {
        let total = total.unwrap_or(MAX_TIMEOUT);
        let connect = connect.unwrap_or(DEFAULT_CONNECT_TIMEOUT.min(total));
        if connect > total {
            return Err(ConnectTooLong);
        }
        Ok(Self { connect, total })
    }

    /// From seconds and nanoseconds as protobuf's Duration has them; zero is the default.
    ///
    /// # Errors
    /// Negative, fractional or over-long durations.
    pub fn parse(seconds: i64, nanos: i32) -> Result<Option<Duration>, TimeoutError> {
        let (Ok(seconds), Ok(nanos)) = (u64::try_from(seconds), u32::try_from(nanos)) else {
            return Err(TimeoutError::Negative);
        };
        if nanos % 1_000_000 != 0 {
            return Err(TimeoutError::Fraction);
        }
        let millis = Duration::from_millis(u64::from(nanos / 1_000_000));
        match Duration::from_secs(seconds).checked_add(millis) {
            Some(Duration::ZERO) => Ok(None),
            Some(duration) if duration <= MAX_TIMEOUT => Ok(Some(duration)),
            _ => Err(TimeoutError::TooLong),
        }
    }

    /// For name resolution, TCP and TLS together.
    pub fn connect(self) -> Duration {
        self.connect
    }

    /// From the first step to the last byte of the answer.
    pub fn total(self) -> Duration {
        self.total
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: DEFAULT_CONNECT_TIMEOUT,
            total: MAX_TIMEOUT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_at_most_ten_seconds_and_connecting_is_a_part_of_it() {
        let second = Duration::from_secs(1);
        assert_eq!(Timeouts::parse(0, 0), Ok(None));
        assert_eq!(Timeouts::parse(1, 0), Ok(Some(second)));
        assert_eq!(Timeouts::parse(10, 0), Ok(Some(MAX_TIMEOUT)));
        for (seconds, nanos, error) in [
            (-1, 0, TimeoutError::Negative),
            (0, -1, TimeoutError::Negative),
            (0, 1, TimeoutError::Fraction),
            (10, 1_000_000, TimeoutError::TooLong),
            (i64::MAX, 0, TimeoutError::TooLong),
        ] {
            assert_eq!(Timeouts::parse(seconds, nanos), Err(error));
        }
        assert_eq!(Timeouts::new(None, Some(second)).unwrap().connect(), second);
        assert_eq!(Timeouts::new(None, None), Ok(Timeouts::default()));
        assert!(Timeouts::new(Some(second * 2), Some(second)).is_err());
    }
}
