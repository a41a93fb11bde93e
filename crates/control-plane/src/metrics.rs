//! What a control plane counts. Labels are closed sets.

use std::sync::atomic::AtomicU64;

use postern_core::signing_key::State;
use postern_rpc::metrics::Limited;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Unit;

use crate::store::BoxedKey;

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    tokens: Family<TokenLabels, Counter>,
    introspections: Family<ResultLabels, Counter>,
    revoked: Family<CauseLabels, Counter>,
    signing_keys: Family<StateLabels, Gauge<f64, AtomicU64>>,
    pub(crate) audit: AuditCounts,
    pub(crate) limited: Limited,
    /// A gateway's credential came without its certificate.
    pub(crate) certificates_refused: Counter,
}

/// What a token was asked for with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Login {
    /// By a gateway, for a pod.
    Assertion,
    /// By an administrator or a gateway.
    AccessKey,
    /// By the holder of a token, for more time.
    Renewal,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    cause: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabels {
    cause: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

/// Records that were committed, and lines that were written of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct AuditCounts {
    events: Family<SinkLabels, Counter>,
    dropped: Family<SinkLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SinkLabels {
    sink: &'static str,
}

const DATABASE: SinkLabels = SinkLabels { sink: "database" };
const STDOUT: SinkLabels = SinkLabels { sink: "stdout" };

// === impl Metrics ===

impl Metrics {
    pub(crate) fn register(server: &mut postern_rpc::metrics::Metrics) -> Self {
        let this = Self {
            tokens: Family::default(),
            introspections: Family::default(),
            revoked: Family::default(),
            signing_keys: Family::default(),
            audit: AuditCounts::default(),
            limited: server.limited(),
            certificates_refused: Counter::default(),
        };
        this.audit.dropped.get_or_create(&STDOUT).inc_by(0);
        let registry = server.registry();
        registry.register(
            "tokens_issued",
            "Requests for access tokens by what came of them",
            this.tokens.clone(),
        );
        registry.register(
            "introspections",
            "Questions about tokens that were answered, by the answer",
            this.introspections.clone(),
        );
        registry.register(
            "tokens_revoked",
            "Tokens that were ended before their time, by who did it",
            this.revoked.clone(),
        );
        registry.register_with_unit(
            "signing_key_expiry_timestamp",
            "When the first of the keys in that state is good no more; infinite while they sign or are to sign",
            Unit::Seconds,
            this.signing_keys.clone(),
        );
        registry.register(
            "audit_events",
            "Audit records that a sink took",
            this.audit.events.clone(),
        );
        registry.register(
            "audit_dropped",
            "Audit records that a sink lost",
            this.audit.dropped.clone(),
        );
        registry.register(
            "gateway_certificate_refused",
            "Uses of a gateway's credential over a connection without that gateway's certificate",
            this.certificates_refused.clone(),
        );
        this
    }

    /// Tokens were taken away in bulk, or with a block.
    pub(crate) fn tokens_revoked(&self, count: u64) {
        let cause = "bulk";
        let labels = CauseLabels { cause };
        self.revoked.get_or_create(&labels).inc_by(count);
    }

    /// A request for a token was answered.
    pub(crate) fn asked_for_token(&self, login: Login, granted: bool) {
        let labels = TokenLabels {
            cause: match login {
                Login::Assertion => "assertion",
                Login::AccessKey => "access_key",
                Login::Renewal => "renewal",
            },
            result: if granted { "issued" } else { "refused" },
        };
        self.tokens.get_or_create(&labels).inc();
    }

    /// A token was ended before its time, by its holder or by somebody else.
    pub(crate) fn revoked(&self, own: bool) {
        let cause = if own { "holder" } else { "administrator" };
        self.revoked.get_or_create(&CauseLabels { cause }).inc();
    }

    /// The keys that can verify something, as they are now.
    pub(crate) fn signing_keys(&self, keys: &[BoxedKey]) {
        for state in State::ALL {
            let labels = StateLabels {
                state: state.as_str(),
            };
            let stages = keys.iter().map(|key| key.published.stage);
            let ends = stages
                .filter(|stage| stage.state() == *state)
                .map(|stage| stage.end().map(|end| end.as_duration().as_secs_f64()))
                .map(|end| end.unwrap_or(f64::INFINITY));
            match ends.reduce(f64::min) {
                Some(end) => {
                    self.signing_keys.get_or_create(&labels).set(end);
                }
                None => {
                    self.signing_keys.remove(&labels);
                }
            }
        }
    }

    /// A question about a token was answered.
    pub(crate) fn introspected(&self, active: bool) {
        let result = if active { "active" } else { "inactive" };
        self.introspections
            .get_or_create(&ResultLabels { result })
            .inc();
    }
}

// === impl AuditCounts ===

impl AuditCounts {
    pub(crate) fn committed(&self) {
        self.events.get_or_create(&DATABASE).inc();
    }

    /// A record that couldn't be committed, of what needs none to be done.
    pub(crate) fn lost(&self) {
        self.dropped.get_or_create(&DATABASE).inc();
    }

    #[cfg(test)]
    pub(crate) fn lost_lines(&self) -> u64 {
        self.dropped.get_or_create(&STDOUT).get()
    }

    /// A committed record's line.
    pub(crate) fn line(&self, written: bool) {
        let counts = if written { &self.events } else { &self.dropped };
        counts.get_or_create(&STDOUT).inc();
    }
}
