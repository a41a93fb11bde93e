//! Durations that administrators set: whole seconds with a maximum.

use std::time::Duration;

use jiff::SignedDuration;

/// More than 0 and at most `MAX` whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds<const MAX: u64>(u64);

/// Why a duration isn't such a number of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecondsError {
    /// Less than zero.
    #[error("is negative")]
    Negative,
    /// With a fraction of a second.
    #[error("must be whole seconds")]
    Fraction,
    /// More than the maximum.
    #[error("is {0} s; the most is {1} s")]
    TooLong(i64, u64),
}

// === impl Seconds ===

impl<const MAX: u64> Seconds<MAX> {
    /// The maximum.
    pub const MOST: u64 = MAX;

    /// From whole seconds and nanoseconds as protobuf's Duration has them; zero is none.
    ///
    /// # Errors
    /// Negative, fractional or over-long durations.
    pub fn parse(seconds: i64, nanos: i32) -> Result<Option<Self>, SecondsError> {
        match u64::try_from(seconds) {
            Err(_) => Err(SecondsError::Negative),
            Ok(_) if nanos < 0 => Err(SecondsError::Negative),
            Ok(_) if nanos > 0 => Err(SecondsError::Fraction),
            Ok(0) => Ok(None),
            Ok(s) if s > MAX => Err(SecondsError::TooLong(seconds, MAX)),
            Ok(s) => Ok(Some(Self(s))),
        }
    }

    /// The same, or `most` if that is less.
    #[must_use]
    pub fn at_most(self, most: Duration) -> Self {
        Self(self.0.min(most.as_secs()))
    }

    /// How many.
    pub const fn as_secs(self) -> u64 {
        self.0
    }

    /// The duration.
    pub const fn get(self) -> Duration {
        Duration::from_secs(self.0)
    }

    /// The duration, to compare differences of times with.
    pub fn signed(self) -> SignedDuration {
        SignedDuration::from_secs(i64::try_from(self.0).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_whole_seconds_up_to_its_maximum_and_zero_is_none() {
        let parse = Seconds::<60>::parse;
        assert_eq!(parse(0, 0), Ok(None));
        assert_eq!(parse(60, 0).unwrap().map(Seconds::as_secs), Some(60));
        assert_eq!(parse(61, 0), Err(SecondsError::TooLong(61, 60)));
        assert_eq!(parse(-1, 0), Err(SecondsError::Negative));
        assert_eq!(parse(0, -1), Err(SecondsError::Negative));
        assert_eq!(parse(1, 1), Err(SecondsError::Fraction));
    }
}
