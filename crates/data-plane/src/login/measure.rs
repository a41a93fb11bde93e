//! How long a login's stages took, and how it ended, for the metrics.

use std::time::{Duration, Instant};

use postern_proto::pb;
use postern_rpc::error::Reason;
use postern_rpc::metrics::UNKNOWN;

use super::stop::{Fault, Stop};
use super::{Attempt, Login};
use crate::cluster::ReviewFault;
use crate::metrics::LoginLabels;

/// The stages that operators see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Prefilter,
    Verify,
    Policy,
    Exchange,
}

/// Adds up what each step took.
pub(super) struct Stopwatch {
    step: Step,
    since: Instant,
    taken: [Option<Duration>; 4],
}

// === impl Step ===

impl Step {
    const ALL: [Self; 4] = [Self::Prefilter, Self::Verify, Self::Policy, Self::Exchange];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Prefilter => "prefilter",
            Self::Verify => "verify",
            Self::Policy => "policy",
            Self::Exchange => "exchange",
        }
    }
}

// === impl Stopwatch ===

impl Stopwatch {
    pub(super) fn start() -> Self {
        Self {
            step: Step::Prefilter,
            since: Instant::now(),
            taken: [None; 4],
        }
    }

    /// The step before it ends here.
    pub(super) fn enter(&mut self, step: Step) {
        let now = Instant::now();
        let taken = self.taken[self.step as usize].get_or_insert_default();
        *taken += now - self.since;
        (self.step, self.since) = (step, now);
    }

    fn stop(mut self) -> Vec<(&'static str, Duration)> {
        self.enter(Step::Prefilter);
        let steps = Step::ALL.iter().zip(self.taken);
        steps
            .filter_map(|(step, taken)| Some((step.as_str(), taken?)))
            .collect()
    }
}

impl Login {
    pub(super) fn measure(
        &self,
        attempt: &Attempt,
        result: &Result<pb::ExchangeAssertionResponse, Stop>,
        stopwatch: Stopwatch,
    ) {
        let method = self.snapshot.method(&attempt.access_id);
        let config = self.snapshot.config(&attempt.config);
        let (result, reason) = ended(result);
        let labels = LoginLabels {
            method: method.map_or(UNKNOWN.to_owned(), |method| method.id.to_string()),
            config: config
                .map_or(UNKNOWN, |_| attempt.config.as_str())
                .to_owned(),
            result,
            reason,
        };
        self.metrics.login(&labels, &stopwatch.stop());
    }
}

fn ended(result: &Result<pb::ExchangeAssertionResponse, Stop>) -> (&'static str, &'static str) {
    match result {
        Ok(_) => ("allow", "OK"),
        Err(Stop::Shape(_)) => ("invalid", Reason::InvalidArgument.as_str()),
        Err(Stop::Denied(denied)) => ("deny", denied.reason.as_str()),
        Err(Stop::RefusedByControlPlane) => ("deny", "REFUSED_BY_CONTROL_PLANE"),
        Err(Stop::Limited(limited)) => ("deny", limited.limit.reason().as_str()),
        Err(Stop::Fault(fault)) => ("fault", reason(fault).as_str()),
    }
}

fn reason(fault: &Fault) -> Reason {
    match fault {
        Fault::Behind(_) => Reason::Snapshot,
        Fault::ConfigUnusable(_) => Reason::ConfigUnusable,
        Fault::Review(_, review) => match **review {
            ReviewFault::QueueFull => Reason::RateLimited,
            ref review => review.outage().reason(),
        },
        Fault::NotSigned => Reason::ControlPlane,
        Fault::Exchange(failure) => failure.reason.unwrap_or(Reason::ControlPlane),
        Fault::Internal(_) => Reason::Internal,
    }
}
