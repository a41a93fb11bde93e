//! What one workload may have: how often it logs in, and how many live tokens.

use std::time::Duration;

/// Of each subject (K8s auth config, service account, pod), after its login was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubjectLimits {
    /// 0: as often as it likes.
    pub logins_per_minute: u32,
    /// How many at once, after a while without any. Taken for 1 where it is 0.
    pub login_burst: u32,
    /// 0: as many as it likes.
    pub live_tokens: u32,
}

/// The pace of logins, as the generic cell rate algorithm has it: each is due some time after the
/// one before, and may come early by the length of a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Between two logins, in microseconds.
    pub(crate) interval: i64,
    pub(crate) burst: i64,
}

impl Default for SubjectLimits {
    /// 10 logins a minute, 20 at once, 100 live tokens.
    fn default() -> Self {
        Self {
            logins_per_minute: 10,
            login_burst: 20,
            live_tokens: 100,
        }
    }
}

impl SubjectLimits {
    pub(crate) fn are_off(self) -> bool {
        self.pace().is_none() && self.tokens().is_none()
    }

    /// None.
    pub const OFF: Self = Self {
        logins_per_minute: 0,
        login_burst: 0,
        live_tokens: 0,
    };

    pub(crate) fn pace(self) -> Option<Pace> {
        let interval = 60_000_000_u32.checked_div(self.logins_per_minute)?;
        Some(Pace {
            interval: interval.max(1).into(),
            burst: self.login_burst.max(1).into(),
        })
    }

    pub(crate) fn tokens(self) -> Option<i64> {
        (self.live_tokens > 0).then_some(self.live_tokens.into())
    }
}

impl Pace {
    /// How long the burst may come early, in microseconds.
    pub(crate) fn earliness(self) -> i64 {
        self.interval.saturating_mul(self.burst)
    }
}

/// From `now` until `then`, in microseconds, and at least a moment.
pub(crate) fn until(then: i64, now: i64) -> Duration {
    const MOMENT: Duration = Duration::from_millis(1);
    let micros = u64::try_from(then.saturating_sub(now)).unwrap_or_default();
    Duration::from_micros(micros).max(MOMENT)
}
