//! How much of a gateway one cluster, one client and one token may use: `limits` in
//! `gateway.json`. docs/load.md says what each is for.

use std::ops::RangeInclusive;

use jiff::SignedDuration;
use postern_core::invalid::{Invalid, Violations};
use postern_rpc::server;
use serde::{Deserialize, Serialize};

/// What is absent has its default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Verifications in flight at one cluster, 8 to 4096.
    pub reviews_per_cluster: usize,
    /// Logins that wait for one cluster at once, 8 to 65536; more are RESOURCE_EXHAUSTED.
    pub logins_per_cluster: usize,
    /// How long verified facts are used again, 0 to 300 seconds; 0: never.
    pub verdict_cache_ttl_seconds: u32,
    /// How long a cluster's no is repeated without asking, 0 to 2 seconds; 0: never.
    pub refusal_cache_ttl_seconds: u32,
    /// Facts that are kept for one cluster, 16 to 1000000.
    pub verdict_cache_entries: usize,
    /// Refusals that are kept for one cluster, 16 to 1000000.
    pub refusal_cache_entries: usize,
    /// Calls at once, 8 to 65536; more are UNAVAILABLE.
    pub max_calls: usize,
    /// Calls at once from one client address, 1 to 65536; more are RESOURCE_EXHAUSTED.
    pub max_calls_per_peer: usize,
    /// Connections at once, 8 to 1000000; more wait.
    pub max_connections: usize,
    /// Connections at once from one client address, 1 to 1000000; more are closed.
    pub max_connections_per_peer: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            reviews_per_cluster: 64,
            logins_per_cluster: 256,
            verdict_cache_ttl_seconds: 10,
            refusal_cache_ttl_seconds: 2,
            verdict_cache_entries: 10_000,
            refusal_cache_entries: 10_000,
            max_calls: 1024,
            max_calls_per_peer: 256,
            max_connections: 4096,
            max_connections_per_peer: 1024,
        }
    }
}

impl Limits {
    /// Half of the calls: who asks for what doesn't exist, while the control plane is away, leaves
    /// the other half to those who ask for what does.
    pub(crate) fn calls_that_wait_for_news(&self) -> usize {
        self.max_calls / 2
    }

    /// # Errors
    /// Each limit that is out of its range, by the file's field names.
    pub fn check(&self) -> Result<(), Invalid> {
        let mut faults = Violations::default();
        let mut within = |field: &str, value: usize, range: RangeInclusive<usize>| {
            if !range.contains(&value) {
                let (least, most) = (range.start(), range.end());
                faults.add(
                    format!("limits.{field}"),
                    format!("must be from {least} to {most}"),
                );
            }
        };
        let seconds = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
        within("reviews_per_cluster", self.reviews_per_cluster, 8..=4096);
        within("logins_per_cluster", self.logins_per_cluster, 8..=65_536);
        let (good, bad) = (
            self.verdict_cache_ttl_seconds,
            self.refusal_cache_ttl_seconds,
        );
        within("verdict_cache_ttl_seconds", seconds(good), 0..=300);
        within("refusal_cache_ttl_seconds", seconds(bad), 0..=2);
        let entries = 16..=1_000_000;
        within(
            "verdict_cache_entries",
            self.verdict_cache_entries,
            entries.clone(),
        );
        within("refusal_cache_entries", self.refusal_cache_entries, entries);
        within("max_calls", self.max_calls, 8..=65_536);
        within("max_calls_per_peer", self.max_calls_per_peer, 1..=65_536);
        within("max_connections", self.max_connections, 8..=1_000_000);
        let connections = self.max_connections_per_peer;
        within("max_connections_per_peer", connections, 1..=1_000_000);
        faults.finish()
    }

    pub(crate) fn verdict_ttl(&self) -> SignedDuration {
        SignedDuration::from_secs(self.verdict_cache_ttl_seconds.into())
    }

    pub(crate) fn refusal_ttl(&self) -> SignedDuration {
        SignedDuration::from_secs(self.refusal_cache_ttl_seconds.into())
    }

    pub(crate) fn apply(&self, server: &mut server::Config) {
        server.max_calls = self.max_calls;
        server.max_calls_per_peer = self.max_calls_per_peer;
        server.max_connections = self.max_connections;
        server.max_connections_per_peer = self.max_connections_per_peer;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_their_ranges_and_everything_else_is_named() {
        Limits::default().check().unwrap();
        let wrong = Limits {
            reviews_per_cluster: 0,
            refusal_cache_ttl_seconds: 3,
            max_calls_per_peer: 0,
            ..Limits::default()
        };
        let invalid = wrong.check().unwrap_err();
        let fields: Vec<_> = invalid
            .violations()
            .iter()
            .map(|v| v.field.as_str())
            .collect();
        assert_eq!(
            fields,
            [
                "limits.reviews_per_cluster",
                "limits.refusal_cache_ttl_seconds",
                "limits.max_calls_per_peer"
            ]
        );
    }
}
