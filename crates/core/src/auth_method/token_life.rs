//! How long a token lives, and how often it can be used.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::seconds::Seconds;

/// A token's life when a method doesn't say.
pub const DEFAULT_TOKEN_TTL: Duration = Duration::from_secs(15 * 60);
/// The longest life that a method can say.
pub const MAX_TOKEN_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a token may live in all: more than 0 and at most 7 days, in whole seconds.
pub type TokenMaxTtl = Seconds<{ 7 * 24 * 60 * 60 }>;

/// The most that a server gives any token, whatever its method says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenMaxima {
    /// At once.
    pub ttl: Duration,
    /// In all, renewals included.
    pub life: Duration,
}

/// More than 0 and at most 24 hours, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenTtl(Duration);

/// Why a duration can't be a token's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenTtlError {
    /// Less than zero.
    #[error("is negative")]
    Negative,
    /// Between zero and a second, or with a fraction.
    #[error("must be whole seconds")]
    Fraction,
    /// More than the maximum.
    #[error("is {0} s; the most is 86400 s (24 hours)")]
    TooLong(i64),
}

/// How often a token can be used: 1 to 1,000,000 times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenUses(NonZeroU32);

/// Why a number can't say how often a token is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenUsesError {
    /// Less than zero.
    #[error("is negative")]
    Negative,
    /// More than the maximum.
    #[error("is {0}; the most is 1000000, and 0 means as often as one likes")]
    TooMany(i64),
}

// === impl TokenMaxima ===

impl Default for TokenMaxima {
    /// What a method can say at most: 24 hours, and 7 days in all.
    fn default() -> Self {
        Self {
            ttl: MAX_TOKEN_TTL,
            life: Duration::from_secs(TokenMaxTtl::MOST),
        }
    }
}

// === impl TokenTtl ===

impl TokenTtl {
    /// From whole seconds and nanoseconds as protobuf's Duration has them; zero is the default.
    ///
    /// # Errors
    /// Negative, fractional or over-long durations.
    pub fn parse(seconds: i64, nanos: i32) -> Result<Self, TokenTtlError> {
        match u64::try_from(seconds) {
            Err(_) => Err(TokenTtlError::Negative),
            Ok(_) if nanos < 0 => Err(TokenTtlError::Negative),
            Ok(_) if nanos > 0 => Err(TokenTtlError::Fraction),
            Ok(0) => Ok(Self::default()),
            Ok(s) if s > MAX_TOKEN_TTL.as_secs() => Err(TokenTtlError::TooLong(seconds)),
            Ok(s) => Ok(Self(Duration::from_secs(s))),
        }
    }

    /// The duration.
    pub fn get(self) -> Duration {
        self.0
    }

    /// The same, or `most` if that is less.
    pub(super) fn at_most(self, most: Duration) -> Self {
        Self(self.0.min(most))
    }
}

impl Default for TokenTtl {
    fn default() -> Self {
        Self(DEFAULT_TOKEN_TTL)
    }
}

// === impl TokenUses ===

impl TokenUses {
    const MAX: u32 = 1_000_000;

    /// Zero is none: no limit.
    ///
    /// # Errors
    /// Negative numbers, and more than a million.
    pub fn parse(uses: i64) -> Result<Option<Self>, TokenUsesError> {
        match u32::try_from(uses) {
            Err(_) if uses < 0 => Err(TokenUsesError::Negative),
            Ok(uses) if uses <= Self::MAX => Ok(NonZeroU32::new(uses).map(Self)),
            _ => Err(TokenUsesError::TooMany(uses)),
        }
    }

    /// How often.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tokens_life_is_bounded_and_zero_means_the_default() {
        assert_eq!(TokenTtl::parse(0, 0).unwrap().get(), DEFAULT_TOKEN_TTL);
        assert_eq!(TokenTtl::parse(86_400, 0).unwrap().get(), MAX_TOKEN_TTL);
        assert_eq!(
            TokenTtl::parse(86_401, 0),
            Err(TokenTtlError::TooLong(86_401))
        );
        assert_eq!(TokenTtl::parse(-1, 0), Err(TokenTtlError::Negative));
        assert_eq!(TokenTtl::parse(0, -1), Err(TokenTtlError::Negative));
        assert_eq!(TokenTtl::parse(1, 1), Err(TokenTtlError::Fraction));
    }

    #[test]
    fn uses_are_a_million_at_most_and_zero_means_no_limit() {
        let parse = |uses| TokenUses::parse(uses).map(|uses| uses.map(TokenUses::get));
        assert_eq!(parse(0), Ok(None));
        assert_eq!(parse(1), Ok(Some(1)));
        assert_eq!(parse(1_000_000), Ok(Some(1_000_000)));
        assert_eq!(parse(1_000_001), Err(TokenUsesError::TooMany(1_000_001)));
        assert_eq!(parse(i64::MAX), Err(TokenUsesError::TooMany(i64::MAX)));
        assert_eq!(parse(-1), Err(TokenUsesError::Negative));
    }
}
