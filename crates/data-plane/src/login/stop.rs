//! How a login ends when it doesn't succeed: a refusal and a fault are two things, and meet here.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use postern_core::facts::Facts;
use postern_core::reason::DenyReason;
use postern_core::resource_id::ResourceId;
use postern_core::subject::SubjectLimit;
use postern_rpc::error::{Error, Failure, Outage};

use crate::cluster::ReviewFault;

/// When to try again a login that found no place in its cluster's queue.
const QUEUE_FULL: Duration = Duration::from_secs(1);

/// Why there is no token.
#[derive(Debug)]
pub(crate) enum Stop {
    /// What was presented is no token: the fault in words.
    Shape(&'static str),
    Denied(Denied),
    /// The control plane refused, and has recorded why.
    RefusedByControlPlane,
    Limited(Limited),
    Fault(Fault),
}

/// A refusal of this gateway's.
#[derive(Debug)]
pub(crate) struct Denied {
    pub(crate) reason: DenyReason,
    /// The rule that came nearest.
    pub(crate) rule: Option<usize>,
    /// What had been verified by then.
    pub(crate) facts: Option<Box<Facts>>,
}

/// The workload has had what it may have for now; the control plane counts and this gateway records.
#[derive(Debug)]
pub(crate) struct Limited {
    pub(crate) limit: SubjectLimit,
    pub(crate) retry_after: Duration,
    pub(crate) facts: Box<Facts>,
}

/// Whether a refusal came before or after the API server's yes: anybody can cause the former.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Unverified,
    Verified,
    /// After it too, and anybody who has such a token can cause any number.
    Limited,
}

/// What says nothing about the caller. Sources are for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// Whether the config or method exists can't be found out.
    #[error("the gateway can't find out whether it is up to date")]
    Behind(#[source] Box<dyn StdError + Send + Sync>),
    /// The config's condition says why.
    #[error("K8s auth config `{0}` can't be used; its conditions say why")]
    ConfigUnusable(ResourceId),
    /// The API server gave no verdict.
    #[error("K8s auth config `{0}`")]
    Review(ResourceId, #[source] Arc<ReviewFault>),
    /// The control plane gave no token.
    #[error("the assertion couldn't be exchanged")]
    Exchange(#[source] Box<Failure>),
    /// The control plane knows no renewal of JWTs.
    #[error("the control plane is older than this gateway, and renewed a JWT without signing it")]
    NotSigned,
    /// This gateway's own.
    #[error("the token couldn't be made")]
    Internal(#[source] Box<dyn StdError + Send + Sync>),
}

// === impl Denied ===

impl Denied {
    pub(crate) fn stage(&self) -> Stage {
        if self.facts.is_some() {
            Stage::Verified
        } else {
            Stage::Unverified
        }
    }
}

// === impl Limited ===

impl Limited {
    /// As its record has it.
    pub(crate) fn denied(&self) -> Denied {
        Denied {
            reason: self.limit.reason(),
            rule: None,
            facts: Some(self.facts.clone()),
        }
    }
}

// === impl Fault ===

impl Fault {
    pub(crate) fn behind(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Behind(source.into())
    }

    /// The cluster has as many logins waiting as it may.
    pub(crate) fn is_full_queue(&self) -> bool {
        matches!(self, Self::Review(_, fault) if matches!(**fault, ReviewFault::QueueFull))
    }

    pub(crate) fn internal(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Internal(source.into())
    }
}

// === impl Stop ===

impl From<DenyReason> for Stop {
    fn from(reason: DenyReason) -> Self {
        Self::Denied(Denied {
            reason,
            rule: None,
            facts: None,
        })
    }
}

impl From<Denied> for Stop {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// What the caller gets: every refusal is the same.
impl From<Stop> for Error {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Shape(fault) => Self::invalid("service_account_token", fault),
            Stop::Denied(_) | Stop::RefusedByControlPlane => Self::LoginRefused,
            Stop::Limited(Limited {
                limit, retry_after, ..
            }) => Self::SubjectLimited { limit, retry_after },
            Stop::Fault(fault) => fault.into(),
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        if fault.is_full_queue() {
            return Self::ResourceExhausted {
                retry_after: QUEUE_FULL,
            };
        }
        let (outage, message) = match fault {
            Fault::Exchange(failure) => return not_exchanged(*failure),
            Fault::Internal(_) => return Self::internal(fault),
            Fault::NotSigned => (
                Outage::ControlPlane,
                "the control plane is older than the gateway and renews no JWTs".to_owned(),
            ),
            Fault::Behind(_) => (
                Outage::Snapshot,
                "the gateway can't reach its control plane to look for changes".to_owned(),
            ),
            Fault::ConfigUnusable(_) => (
                Outage::ConfigUnusable,
                "the K8s auth config can't be used; its conditions say why".to_owned(),
            ),
            Fault::Review(_, ref review) => (review.outage(), review.to_string()),
        };
        Self::unavailable(outage, message, fault)
    }
}

/// Whatever the control plane has against this gateway or its request, it is no fault of the caller's.
fn not_exchanged(failure: Failure) -> Error {
    match failure.relay() {
        error @ Error::Unavailable { .. } => error,
        error => Error::unavailable(
            Outage::ControlPlane,
            "the control plane can't be used at the moment",
            error,
        ),
    }
}
