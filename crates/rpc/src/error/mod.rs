//! Errors by what the caller can do about them, and the only place that makes a `Status`.

mod failure;
mod reason;
mod status;
#[cfg(test)]
mod tests;

use std::time::Duration;

use postern_core::invalid::{Invalid, Violation};
use postern_core::subject::SubjectLimit;
use tonic::Code;

pub use failure::{Etags, Failure};
pub use reason::{DOMAIN, Reason};
pub(crate) use status::{answer, complete, failure, log};

/// What went wrong below; logged, never sent.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// What every refused login is told, whatever the cause.
pub const LOGIN_REFUSED: &str =
    "login refused; an administrator finds the reason under the request ID";

/// An RPC's failure. Its texts are for the caller; a `source` is for the log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Mend the request. All violations at once.
    #[error("invalid request")]
    Invalid(Vec<Violation>),
    /// A login that the policy or the verification refused. The same for every cause.
    #[error("login refused")]
    LoginRefused,
    /// Log in, or log in again: the credential is missing, wrong or expired.
    #[error("unauthenticated")]
    Unauthenticated,
    /// The same for the token in `postern-on-behalf-of`.
    #[error("the administrator's token isn't valid here")]
    OnBehalfUnauthenticated,
    /// Ask an administrator. Says nothing about whether the thing exists.
    #[error("permission denied: {message}")]
    PermissionDenied { message: String },
    /// `resource` is a full name, `authMethods/x`.
    #[error("{resource} not found")]
    NotFound { resource: String },
    #[error("{resource} already exists")]
    AlreadyExists { resource: String },
    /// Read again, and decide again.
    #[error("changed meanwhile")]
    Aborted {
        your_etag: String,
        current_etag: String,
    },
    /// Change something else first.
    #[error("{message}")]
    FailedPrecondition {
        reason: Precondition,
        message: String,
        violations: Vec<Blocker>,
    },
    /// Slow down.
    #[error("too many requests")]
    ResourceExhausted { retry_after: Duration },
    /// The caller's own workload has had what it may have for now.
    #[error("too many {limit:?} of one workload")]
    SubjectLimited {
        limit: SubjectLimit,
        retry_after: Duration,
    },
    /// Try again later: our own fault or an upstream's, never the caller's credential.
    #[error("unavailable ({reason:?}): {message}")]
    Unavailable {
        reason: Outage,
        message: String,
        #[source]
        source: Option<Source>,
    },
    #[error("deadline exceeded")]
    DeadlineExceeded,
    #[error("not implemented")]
    Unimplemented,
    /// A fault of ours. The caller gets the request ID and nothing else.
    #[error("internal error")]
    Internal(#[source] Source),
}

/// What is in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precondition {
    /// Other resources name it.
    InUse,
    /// It says itself that it must not be deleted.
    DeleteProtected,
    /// The signing key is in a part of its life that has no such step.
    SigningKeyState,
    /// As many access keys as can be good at a time.
    KeyLimit,
    /// The stored config can't be opened with this gateway's keys.
    SealBroken,
    /// Every deployment has it as it is.
    BuiltIn,
    /// Nobody would be left who can administer.
    LastAdministrator,
}

/// One thing that is in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocker {
    /// Full name of the resource.
    pub subject: String,
    pub description: String,
}

/// What doesn't answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outage {
    Database,
    ControlPlane,
    ClusterUnreachable,
    ClusterError,
    ReviewerRefused,
    GatewayServiceAccount,
    ClusterKeysUnknown,
    ConfigUnusable,
    Snapshot,
    Overloaded,
    ShuttingDown,
}

// === impl Error ===

impl Error {
    /// One violation.
    pub fn invalid(field: impl Into<String>, fault: impl Into<String>) -> Self {
        Self::Invalid(vec![Violation {
            field: field.into(),
            fault: fault.into(),
        }])
    }

    pub fn internal(source: impl Into<Source>) -> Self {
        Self::Internal(source.into())
    }

    pub fn unavailable(
        reason: Outage,
        message: impl Into<String>,
        source: impl Into<Source>,
    ) -> Self {
        Self::Unavailable {
            reason,
            message: message.into(),
            source: Some(source.into()),
        }
    }

    pub fn permission_denied(message: impl Into<String>) -> Self {
        Self::PermissionDenied {
            message: message.into(),
        }
    }

    pub fn not_found(resource: impl Into<String>) -> Self {
        Self::NotFound {
            resource: resource.into(),
        }
    }

    pub fn already_exists(resource: impl Into<String>) -> Self {
        Self::AlreadyExists {
            resource: resource.into(),
        }
    }

    /// Whether the same request may succeed later without anybody mending anything.
    pub fn retryable(&self) -> bool {
        match self {
            Self::ResourceExhausted { .. } | Self::SubjectLimited { .. } => true,
            Self::Unavailable { reason, .. } => reason.retry_after().is_some(),
            Self::Invalid(_)
            | Self::LoginRefused
            | Self::Unauthenticated
            | Self::OnBehalfUnauthenticated
            | Self::PermissionDenied { .. }
            | Self::NotFound { .. }
            | Self::AlreadyExists { .. }
            | Self::Aborted { .. }
            | Self::FailedPrecondition { .. }
            | Self::DeadlineExceeded
            | Self::Unimplemented
            | Self::Internal(_) => false,
        }
    }

    pub fn code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::InvalidArgument,
            Self::LoginRefused | Self::Unauthenticated | Self::OnBehalfUnauthenticated => {
                Code::Unauthenticated
            }
            Self::PermissionDenied { .. } => Code::PermissionDenied,
            Self::NotFound { .. } => Code::NotFound,
            Self::AlreadyExists { .. } => Code::AlreadyExists,
            Self::Aborted { .. } => Code::Aborted,
            Self::FailedPrecondition { .. } => Code::FailedPrecondition,
            Self::ResourceExhausted { .. } | Self::SubjectLimited { .. } => Code::ResourceExhausted,
            Self::Unavailable { .. } => Code::Unavailable,
            Self::DeadlineExceeded => Code::DeadlineExceeded,
            Self::Unimplemented => Code::Unimplemented,
            Self::Internal(_) => Code::Internal,
        }
    }

    pub fn reason(&self) -> Reason {
        match self {
            Self::Invalid(_) => Reason::InvalidArgument,
            Self::LoginRefused => Reason::LoginRefused,
            Self::Unauthenticated => Reason::Unauthenticated,
            Self::OnBehalfUnauthenticated => Reason::OnBehalfUnauthenticated,
            Self::PermissionDenied { .. } => Reason::PermissionDenied,
            Self::NotFound { .. } => Reason::NotFound,
            Self::AlreadyExists { .. } => Reason::AlreadyExists,
            Self::Aborted { .. } => Reason::EtagMismatch,
            Self::FailedPrecondition { reason, .. } => reason.reason(),
            Self::ResourceExhausted { .. } => Reason::RateLimited,
            Self::SubjectLimited { limit, .. } => Reason::of_limit(*limit),
            Self::Unavailable { reason, .. } => reason.reason(),
            Self::DeadlineExceeded => Reason::DeadlineExceeded,
            Self::Unimplemented => Reason::Unimplemented,
            Self::Internal(_) => Reason::Internal,
        }
    }
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid.violations().to_vec())
    }
}

// === impl Precondition ===

impl Precondition {
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::InUse => Reason::InUse,
            Self::DeleteProtected => Reason::DeleteProtected,
            Self::SigningKeyState => Reason::SigningKeyState,
            Self::KeyLimit => Reason::KeyLimit,
            Self::SealBroken => Reason::SealBroken,
            Self::BuiltIn => Reason::BuiltIn,
            Self::LastAdministrator => Reason::LastAdministrator,
        }
    }

    pub(crate) fn of(reason: Reason) -> Option<Self> {
        [
            Self::InUse,
            Self::SealBroken,
            Self::BuiltIn,
            Self::DeleteProtected,
            Self::LastAdministrator,
            Self::SigningKeyState,
            Self::KeyLimit,
        ]
        .into_iter()
        .find(|p| p.reason() == reason)
    }
}

// === impl Outage ===

impl Outage {
    const ALL: [Self; 11] = [
        Self::Database,
        Self::ControlPlane,
        Self::ClusterUnreachable,
        Self::ClusterError,
        Self::ReviewerRefused,
        Self::GatewayServiceAccount,
        Self::ClusterKeysUnknown,
        Self::ConfigUnusable,
        Self::Snapshot,
        Self::Overloaded,
        Self::ShuttingDown,
    ];

    pub fn reason(self) -> Reason {
        match self {
            Self::Database => Reason::Database,
            Self::ControlPlane => Reason::ControlPlane,
            Self::ClusterUnreachable => Reason::ClusterUnreachable,
            Self::ClusterError => Reason::ClusterError,
            Self::ReviewerRefused => Reason::ReviewerRefused,
            Self::GatewayServiceAccount => Reason::GatewayServiceAccount,
            Self::ClusterKeysUnknown => Reason::ClusterKeysUnknown,
            Self::ConfigUnusable => Reason::ConfigUnusable,
            Self::Snapshot => Reason::Snapshot,
            Self::Overloaded => Reason::Overloaded,
            Self::ShuttingDown => Reason::ShuttingDown,
        }
    }

    pub(crate) fn of(reason: Reason) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|outage| outage.reason() == reason)
    }

    /// What `RetryInfo` says. Restarts take a second or two; a reviewer and a config are mended by
    /// people, and nobody's next try does it.
    pub(crate) fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Snapshot | Self::ShuttingDown => Some(Duration::from_millis(200)),
            Self::Database | Self::ControlPlane => Some(Duration::from_millis(500)),
            Self::ClusterUnreachable | Self::ClusterError | Self::Overloaded => {
                Some(Duration::from_secs(1))
            }
            Self::GatewayServiceAccount | Self::ClusterKeysUnknown => Some(Duration::from_secs(5)),
            Self::ReviewerRefused | Self::ConfigUnusable => None,
        }
    }
}
