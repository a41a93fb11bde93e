//! Times and durations.

use jiff::{SignedDuration, Timestamp};

/// A time as protobuf has it.
pub fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: time.as_second(),
        nanos: time.subsec_nanosecond(),
    }
}

/// A timestamp that no calendar has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a valid timestamp")]
pub struct BadTimestamp;

/// A time from protobuf's.
///
/// # Errors
/// When it lies outside the years -9999 to 9999.
pub fn from_timestamp(time: &prost_types::Timestamp) -> Result<Timestamp, BadTimestamp> {
    Timestamp::new(time.seconds, time.nanos).map_err(|_| BadTimestamp)
}

/// A duration as protobuf has it.
pub fn duration(duration: SignedDuration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: duration.as_secs(),
        nanos: duration.subsec_nanos(),
    }
}

/// A duration as protobuf has it.
pub fn from_std(std: std::time::Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(std.as_secs()).unwrap_or(i64::MAX),
        nanos: std.subsec_nanos().cast_signed(),
    }
}

/// A duration as protobuf has it.
pub fn from_millis(millis: i64) -> prost_types::Duration {
    duration(SignedDuration::from_millis(millis))
}
