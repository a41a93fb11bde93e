//! What one server counts, as OpenMetrics text for `/metrics`. Nothing is global.
//!
//! Labels are closed sets, or names that an administrator configured: never what a caller sent.

mod page;
#[cfg(test)]
mod tests;

use std::fmt::{self, Write as _};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tonic::Code;

pub(crate) use page::routes;

/// Stands for what a caller named and the server doesn't know.
pub const UNKNOWN: &str = "unknown";

/// From a login without a review to the longest deadline, in seconds.
const BUCKETS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// A histogram of seconds, by labels.
pub type Durations<L> = Family<L, Histogram, fn() -> Histogram>;

/// A server's registry, while what it counts is added.
pub struct Metrics {
    registry: Registry,
    calls: Calls,
    limited: Limited,
    tls: TlsState,
}

/// What was turned away or slowed down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// All call permits were taken.
    Calls,
    /// One peer's were.
    PeerCalls,
    /// One peer's connections were.
    PeerConnections,
    /// A cluster had as many logins waiting as it may.
    ClusterQueue,
    /// The peer had been refused too often: its unknown credentials get the smallest share.
    PeerRefusals,
    /// A workload logged in too often.
    SubjectLogins,
    /// A workload had too many live tokens.
    SubjectTokens,
}

/// Counts what limits did. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Limited(Family<LimitedLabels, Counter>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitedLabels {
    scope: Scope,
}

/// Which end of connections TLS files are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// What callers see.
    Server,
    /// What this server shows and trusts where it calls another one.
    Client,
}

/// Says how TLS files are. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct TlsState {
    failing: Family<SideLabels, Gauge>,
    expiry: Family<SideLabels, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SideLabels {
    side: Side,
}

/// Counts calls by what the table of permissions and health know.
#[derive(Debug, Clone)]
pub(crate) struct Calls {
    handled: Family<CallLabels, Counter>,
    handling: Durations<CallLabels>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    service: String,
    method: String,
    code: CodeLabel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct CodeLabel(Code);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

/// For [`Durations`].
pub fn durations<L: Clone + std::hash::Hash + Eq>() -> Durations<L> {
    Family::new_with_constructor(histogram)
}

/// Of seconds.
pub fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

// === impl Metrics ===

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// With what every server counts.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("postern");
        let build = Family::<BuildLabels, Gauge>::default();
        let version = env!("CARGO_PKG_VERSION");
        build.get_or_create(&BuildLabels { version }).set(1);
        registry.register("build_info", "The version that runs; always 1", build);
        let (calls, limited, tls) = (Calls::default(), Limited::default(), TlsState::default());
        registry.register(
            "grpc_server_handled",
            "gRPC calls that were answered, or cut off (`Cancelled`)",
            calls.handled.clone(),
        );
        registry.register_with_unit(
            "grpc_server_handling",
            "How long gRPC calls took",
            Unit::Seconds,
            calls.handling.clone(),
        );
        for scope in Scope::ALL {
            limited.0.get_or_create(&LimitedLabels { scope }).inc_by(0);
        }
        registry.register(
            "rate_limited",
            "What a limit turned away or slowed down",
            limited.0.clone(),
        );
        registry.register(
            "tls_reload_failing",
            "Whether changed TLS files can't be used, so that the old ones stay",
            tls.failing.clone(),
        );
        registry.register_with_unit(
            "tls_certificate_expiry_timestamp",
            "When the TLS certificate in use expires",
            Unit::Seconds,
            tls.expiry.clone(),
        );
        Self {
            registry,
            calls,
            limited,
            tls,
        }
    }

    /// For what a server adds; names get the prefix `postern_`.
    pub fn registry(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// Counts what limits do.
    pub fn limited(&self) -> Limited {
        self.limited.clone()
    }

    /// Says how TLS files are.
    pub fn tls(&self) -> TlsState {
        self.tls.clone()
    }

    pub(crate) fn calls(&self) -> Calls {
        self.calls.clone()
    }

    /// Everything as OpenMetrics text.
    ///
    /// # Errors
    /// A collector failed.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

// === impl Limited ===

impl Limited {
    pub fn count(&self, scope: Scope) {
        self.0.get_or_create(&LimitedLabels { scope }).inc();
    }
}

// === impl TlsState ===

impl TlsState {
    pub(crate) fn set(&self, side: Side, failing: bool, expires: Option<i64>) {
        let labels = SideLabels { side };
        self.failing.get_or_create(&labels).set(failing.into());
        if let Some(expires) = expires {
            self.expiry.get_or_create(&labels).set(expires);
        }
    }
}

impl EncodeLabelValue for Side {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        encoder.write_str(match self {
            Self::Server => "server",
            Self::Client => "client",
        })
    }
}

impl Scope {
    /// They are there from the start, so that the first one shows as an increase.
    const ALL: [Self; 5] = [
        Self::Calls,
        Self::PeerCalls,
        Self::PeerConnections,
        Self::ClusterQueue,
        Self::PeerRefusals,
    ];

    /// Its name in audit records, where it is a reason.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Calls => "CALLS",
            Self::PeerCalls => "PEER_CALLS",
            Self::PeerConnections => "PEER_CONNECTIONS",
            Self::ClusterQueue => "CLUSTER_QUEUE",
            Self::PeerRefusals => "PEER_REFUSALS",
            Self::SubjectLogins => "SUBJECT_LOGINS",
            Self::SubjectTokens => "SUBJECT_TOKENS",
        }
    }

    /// Whether that reason is a limit's.
    pub fn is_reason(text: &str) -> bool {
        Self::ALL.iter().any(|scope| scope.reason() == text)
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::PeerCalls => "peer_calls",
            Self::PeerConnections => "peer_connections",
            Self::ClusterQueue => "cluster_queue",
            Self::PeerRefusals => "peer_refusals",
            Self::SubjectLogins => "subject_logins",
            Self::SubjectTokens => "subject_tokens",
        }
    }
}

impl EncodeLabelValue for Scope {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        encoder.write_str(self.as_str())
    }
}

// === impl Calls ===

impl Default for Calls {
    fn default() -> Self {
        Self {
            handled: Family::default(),
            handling: durations(),
        }
    }
}

impl Calls {
    /// `method` is `/package.Service/Method`, or a pattern of such, or unknown.
    pub(crate) fn handled(&self, method: &str, code: Code, took: Duration) {
        let (service, method) = split(method);
        let labels = CallLabels {
            service: service.to_owned(),
            method: method.to_owned(),
            code: CodeLabel(code),
        };
        self.handled.get_or_create(&labels).inc();
        self.handling
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
    }
}

fn split(path: &str) -> (&str, &str) {
    let parts = path.strip_prefix('/').and_then(|path| path.split_once('/'));
    match parts {
        Some((service, method)) if !method.contains(['{', '/']) => (service, method),
        Some((service, _)) => (service, UNKNOWN),
        None => (UNKNOWN, UNKNOWN),
    }
}

impl EncodeLabelValue for CodeLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        write!(encoder, "{:?}", self.0)
    }
}
