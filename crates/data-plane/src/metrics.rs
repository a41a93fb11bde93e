//! What a gateway counts. Labels are closed sets, or names of configs and methods that exist.

mod gauges;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use postern_core::resource_id::ResourceId;
use postern_rpc::metrics::{Durations, Limited, Scope, durations, histogram};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

pub(crate) use self::gauges::Gauges;

/// What all of a gateway counts with. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    logins: Family<LoginLabels, Counter>,
    stages: Durations<StageLabels>,
    clusters: Clusters,
    pub(crate) verdict_cache: VerdictCacheMetrics,
    propagation: Histogram,
    audit: AuditCounts,
    pub(crate) limited: Limited,
}

/// How a login ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct LoginLabels {
    /// The auth method's name, or `unknown`.
    pub(crate) method: String,
    /// The K8s auth config's name, or `unknown`.
    pub(crate) config: String,
    /// `allow`, `deny`, `invalid` or `fault`.
    pub(crate) result: &'static str,
    /// A deny reason, or what callers are told doesn't work.
    pub(crate) reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabels {
    config: String,
    result: &'static str,
    stage: &'static str,
}

#[derive(Debug, Clone)]
struct Clusters {
    reviews: Family<ReviewLabels, Counter>,
    review_durations: Durations<ReviewLabels>,
    queue_waits: Durations<ConfigLabels>,
    rejected: Family<ConfigLabels, Counter>,
    jwks_fetches: Family<FetchLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConfigLabels {
    config: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReviewLabels {
    config: String,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FetchLabels {
    config: String,
    status: &'static str,
}

/// What one cluster counts with, and what it says when it is asked. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct ClusterMetrics {
    config: Arc<ConfigLabels>,
    counts: Clusters,
    limited: Limited,
    now: Arc<ClusterGauges>,
}

/// Zero: not known.
#[derive(Debug, Default)]
struct ClusterGauges {
    in_flight: AtomicI64,
    /// 1 for yes, -1 for no.
    reviewer_up: AtomicI64,
    /// In seconds since 1970.
    jwks_success: AtomicI64,
}

/// A verification, while it runs.
pub(crate) struct InFlight(ClusterMetrics);

/// Counts how the caches of verdicts were used.
#[derive(Debug, Clone, Default)]
pub(crate) struct VerdictCacheMetrics(Family<CacheLabels, Counter>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CacheLabels {
    cache: &'static str,
    status: &'static str,
}

/// What looking for a verdict came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CacheUse {
    ConfirmedHit,
    RefusedHit,
    Joined,
    Miss,
}

/// Records for the control plane's audit. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct AuditCounts {
    events: Family<SinkLabels, Counter>,
    dropped: Family<SinkLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SinkLabels {
    sink: &'static str,
}

const CONTROL_PLANE: SinkLabels = SinkLabels {
    sink: "control_plane",
};

// === impl Metrics ===

impl Default for Metrics {
    /// Nobody reads it.
    fn default() -> Self {
        Self::register(&mut postern_rpc::metrics::Metrics::new())
    }
}

impl Metrics {
    pub(crate) fn register(server: &mut postern_rpc::metrics::Metrics) -> Self {
        let this = Self {
            logins: Family::default(),
            stages: durations(),
            clusters: Clusters::register(server),
            verdict_cache: VerdictCacheMetrics::default(),
            propagation: histogram(),
            audit: AuditCounts::default(),
            limited: server.limited(),
        };
        this.audit.dropped.get_or_create(&CONTROL_PLANE).inc_by(0);
        let registry = server.registry();
        registry.register("logins", "Logins by how they ended", this.logins.clone());
        registry.register_with_unit(
            "login_duration",
            "How long the stages of logins took",
            Unit::Seconds,
            this.stages.clone(),
        );
        registry.register(
            "verdict_cache_requests",
            "How verdicts were looked for: found, joined while under way, or missed",
            this.verdict_cache.0.clone(),
        );
        registry.register_with_unit(
            "config_propagation",
            "From a change's write at the control plane to its use here",
            Unit::Seconds,
            this.propagation.clone(),
        );
        registry.register(
            "audit_events",
            "Audit records that a sink took",
            this.audit.events.clone(),
        );
        registry.register(
            "audit_dropped",
            "Audit records that were replaced by a count or lost",
            this.audit.dropped.clone(),
        );
        this
    }

    /// The handle of one config's cluster.
    pub(crate) fn cluster(&self, config: &ResourceId) -> ClusterMetrics {
        let config = ConfigLabels {
            config: config.as_str().to_owned(),
        };
        // There from the start, so that the first one shows as an increase.
        self.clusters.rejected.get_or_create(&config).inc_by(0);
        ClusterMetrics {
            config: Arc::new(config),
            counts: self.clusters.clone(),
            limited: self.limited.clone(),
            now: Arc::default(),
        }
    }

    pub(crate) fn login(&self, labels: &LoginLabels, stages: &[(&'static str, Duration)]) {
        self.logins.get_or_create(labels).inc();
        for (stage, took) in stages {
            let labels = StageLabels {
                config: labels.config.clone(),
                result: labels.result,
                stage,
            };
            self.stages
                .get_or_create(&labels)
                .observe(took.as_secs_f64());
        }
    }

    /// A change that was written at `written` is in use.
    pub(crate) fn propagated(&self, written: Timestamp, now: Timestamp) {
        let took = now.duration_since(written).as_secs_f64();
        self.propagation.observe(took.max(0.0));
    }

    pub(crate) fn audit(&self) -> AuditCounts {
        self.audit.clone()
    }
}

// === impl Clusters ===

impl Clusters {
    fn register(server: &mut postern_rpc::metrics::Metrics) -> Self {
        let this = Self {
            reviews: Family::default(),
            review_durations: durations(),
            queue_waits: durations(),
            rejected: Family::default(),
            jwks_fetches: Family::default(),
        };
        let registry = server.registry();
        registry.register(
            "tokenreview_requests",
            "TokenReviews by what came of them: an HTTP status, or why there was no answer",
            this.reviews.clone(),
        );
        registry.register_with_unit(
            "tokenreview_duration",
            "How long TokenReviews took",
            Unit::Seconds,
            this.review_durations.clone(),
        );
        registry.register_with_unit(
            "tokenreview_queue_wait",
            "How long verifications waited for their turn",
            Unit::Seconds,
            this.queue_waits.clone(),
        );
        registry.register(
            "tokenreview_rejected",
            "Logins that were turned away because as many as may waited for the cluster",
            this.rejected.clone(),
        );
        registry.register(
            "jwks_fetch",
            "Fetches of a cluster's keys",
            this.jwks_fetches.clone(),
        );
        this
    }
}

// === impl ClusterMetrics ===

impl Default for ClusterMetrics {
    /// Nobody reads it.
    fn default() -> Self {
        let config = ConfigLabels {
            config: String::new(),
        };
        Self {
            config: Arc::new(config),
            counts: Metrics::default().clusters,
            limited: Limited::default(),
            now: Arc::default(),
        }
    }
}

impl ClusterMetrics {
    /// A TokenReview that ended with `code`, one of a closed set.
    pub(crate) fn reviewed(&self, code: &'static str, took: Duration) {
        let labels = ReviewLabels {
            config: self.config.config.clone(),
            code,
        };
        self.counts.reviews.get_or_create(&labels).inc();
        self.counts
            .review_durations
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
    }

    /// Whether the API server accepts the reviewer's credential.
    pub(crate) fn reviewer(&self, accepted: bool) {
        let up = if accepted { 1 } else { -1 };
        self.now.reviewer_up.store(up, Ordering::Relaxed);
    }

    /// The cluster's keys were fetched at `now`, or couldn't be.
    pub(crate) fn jwks_fetched(&self, success: bool, now: Timestamp) {
        let labels = FetchLabels {
            config: self.config.config.clone(),
            status: if success { "success" } else { "failure" },
        };
        self.counts.jwks_fetches.get_or_create(&labels).inc();
        if success {
            self.now
                .jwks_success
                .store(now.as_second(), Ordering::Relaxed);
        }
    }

    pub(crate) fn waited(&self, wait: Duration) {
        self.counts
            .queue_waits
            .get_or_create(&self.config)
            .observe(wait.as_secs_f64());
    }

    pub(crate) fn rejected(&self) {
        self.counts.rejected.get_or_create(&self.config).inc();
        self.limited.count(Scope::ClusterQueue);
    }

    pub(crate) fn in_flight(&self) -> InFlight {
        self.now.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.now.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl VerdictCacheMetrics ===

impl VerdictCacheMetrics {
    pub(crate) fn count(&self, what: CacheUse) {
        let (cache, status) = match what {
            CacheUse::ConfirmedHit => ("success", "hit"),
            CacheUse::RefusedHit => ("refusal", "hit"),
            CacheUse::Joined => ("success", "joined"),
            CacheUse::Miss => ("success", "miss"),
        };
        self.0.get_or_create(&CacheLabels { cache, status }).inc();
    }
}

// === impl AuditCounts ===

impl AuditCounts {
    pub(crate) fn sent(&self, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.events.get_or_create(&CONTROL_PLANE).inc_by(count);
    }

    pub(crate) fn dropped(&self, count: u32) {
        self.dropped
            .get_or_create(&CONTROL_PLANE)
            .inc_by(count.into());
    }
}
