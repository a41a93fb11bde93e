//! Times as databases keep them: microseconds since 1970 UTC.

use jiff::Timestamp;

/// Whole microseconds, rounded down.
pub(super) fn micros(time: Timestamp) -> i64 {
    time.as_nanosecond()
        .div_euclid(1_000)
        .try_into()
        .unwrap_or(i64::MAX)
}

pub(super) fn time(micros: i64) -> Option<Timestamp> {
    Timestamp::from_microsecond(micros).ok()
}

/// The same time as it will be read back.
pub(super) fn stored(time: Timestamp) -> Timestamp {
    self::time(micros(time)).unwrap_or(time)
}
