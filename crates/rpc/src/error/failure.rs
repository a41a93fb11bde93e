//! The client's half: what a status says.

use std::time::Duration;

use postern_core::invalid::Violation;
use tonic::{Code, Status, TimeoutExpired};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{Blocker, Error, Outage, Precondition, Reason};
use crate::client::{self, ConnectFault};
use crate::request_id;

/// A failed call, as the command line and the gateway read it. Texts hold no control
/// characters, so that a hostile server can't paint a terminal.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub code: Code,
    /// `None`: not a Postern server, or a newer one.
    pub reason: Option<Reason>,
    pub message: String,
    /// Of INVALID_ARGUMENT.
    pub violations: Vec<Violation>,
    /// Of FAILED_PRECONDITION.
    pub blockers: Vec<Blocker>,
    /// Of NOT_FOUND and ALREADY_EXISTS: the full name.
    pub resource: Option<String>,
    /// Of ABORTED.
    pub etags: Option<Etags>,
    pub request_id: Option<String>,
    pub retry_after: Option<Duration>,
    /// Set when no Postern server answered.
    pub connect: Option<ConnectFault>,
}

/// What a stale write was up against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Etags {
    pub yours: String,
    pub current: String,
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        // The library's own timer says CANCELLED.
        if client::cause::<TimeoutExpired>(&status).is_some() {
            return Self::deadline_exceeded();
        }
        let connect = ConnectFault::find(&status);
        let details = status.get_error_details();
        Self {
            code: match connect {
                Some(_) => Code::Unavailable,
                None => status.code(),
            },
            reason: details
                .error_info()
                .and_then(|info| Reason::parse(&info.reason)),
            message: match &connect {
                Some(fault) => fault.to_string(),
                None => printable(status.message()),
            },
            violations: violations(&details),
            blockers: blockers(&details),
            resource: details
                .resource_info()
                .map(|info| printable(&info.resource_name)),
            etags: etags(&details),
            request_id: details
                .request_info()
                .map(|info| info.request_id.clone())
                .or_else(|| {
                    Some(
                        status
                            .metadata()
                            .get(request_id::HEADER)?
                            .to_str()
                            .ok()?
                            .to_owned(),
                    )
                })
                .map(|id| printable(&id)),
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
            connect,
        }
    }
}

impl Failure {
    /// The same of a try that came after another one, if it only says that the deadline passed.
    #[must_use]
    pub(crate) fn after(mut self, before: Option<&Self>) -> Self {
        if let Some(before) = before
            && self.code == Code::DeadlineExceeded
        {
            self.message = format!("{}; before that: {}", self.message, before.message);
        }
        self
    }

    /// The deadline passed on the caller's side.
    pub(crate) fn deadline_exceeded() -> Self {
        Self {
            code: Code::DeadlineExceeded,
            reason: Some(Reason::DeadlineExceeded),
            message: "no answer before the deadline".to_owned(),
            violations: Vec::new(),
            blockers: Vec::new(),
            resource: None,
            etags: None,
            request_id: None,
            retry_after: None,
            connect: None,
        }
    }

    /// Whether the same call may succeed in a moment.
    pub fn retryable(&self) -> bool {
        match &self.connect {
            Some(fault) => fault.retryable(),
            // A server of ours says when; of another one's outage nothing more is known.
            None if self.reason.is_some() => self.retry_after.is_some(),
            None => matches!(self.code, Code::Unavailable | Code::ResourceExhausted),
        }
    }

    /// Whether the server may have done what it was asked, although it didn't say so.
    pub fn may_have_been_carried_out(&self) -> bool {
        match (&self.connect, self.reason) {
            (Some(fault), _) => fault.after_sending(),
            // Said before the call is looked at.
            (
                None,
                Some(
                    Reason::Overloaded
                    | Reason::RateLimited
                    | Reason::SubjectLoginLimit
                    | Reason::SubjectTokenLimit
                    | Reason::ShuttingDown
                    | Reason::Snapshot,
                ),
            ) => false,
            (None, _) => matches!(
                self.code,
                Code::Unavailable
                    | Code::DeadlineExceeded
                    | Code::Cancelled
                    | Code::Unknown
                    | Code::Internal
            ),
        }
    }

    /// For a gateway: the control plane's answer as the answer to the gateway's own caller.
    /// That the gateway itself isn't accepted there, or gets no answer, is an outage to them.
    pub fn relay(self) -> Error {
        match (self.code, self.reason) {
            (_, Some(Reason::LoginRefused)) => Error::LoginRefused,
            (_, Some(Reason::OnBehalfUnauthenticated)) => Error::Unauthenticated,
            (Code::InvalidArgument, _) if !self.violations.is_empty() => {
                Error::Invalid(self.violations)
            }
            (Code::PermissionDenied, Some(_)) => Error::PermissionDenied {
                message: self.message,
            },
            (Code::NotFound, Some(_)) => Error::NotFound {
                resource: self.resource.unwrap_or_default(),
            },
            (Code::AlreadyExists, Some(_)) => Error::AlreadyExists {
                resource: self.resource.unwrap_or_default(),
            },
            (Code::Aborted, _) if self.etags.is_some() => {
                let Etags { yours, current } = self.etags.unwrap_or(Etags {
                    yours: String::new(),
                    current: String::new(),
                });
                Error::Aborted {
                    your_etag: yours,
                    current_etag: current,
                }
            }
            (Code::ResourceExhausted, reason) => {
                let retry_after = self.retry_after.unwrap_or(Duration::from_secs(1));
                match reason.and_then(Reason::subject_limit) {
                    Some(limit) => Error::SubjectLimited { limit, retry_after },
                    None => Error::ResourceExhausted { retry_after },
                }
            }
            (Code::DeadlineExceeded, _) => Error::DeadlineExceeded,
            (_, Some(reason)) => self.relay_by_reason(reason),
            (_, None) => self.outage(Outage::ControlPlane),
        }
    }

    fn relay_by_reason(self, reason: Reason) -> Error {
        if let Some(reason) = Precondition::of(reason) {
            return Error::FailedPrecondition {
                reason,
                message: self.message,
                violations: self.blockers,
            };
        }
        let outage = Outage::of(reason).unwrap_or(Outage::ControlPlane);
        self.outage(outage)
    }

    fn outage(self, reason: Outage) -> Error {
        Error::unavailable(
            reason,
            "the control plane can't be used at the moment",
            self,
        )
    }
}

fn violations(details: &ErrorDetails) -> Vec<Violation> {
    let violations = details
        .bad_request()
        .map(|bad| bad.field_violations.as_slice());
    violations
        .unwrap_or_default()
        .iter()
        .map(|violation| Violation {
            field: printable(&violation.field),
            fault: printable(&violation.description),
        })
        .collect()
}

fn blockers(details: &ErrorDetails) -> Vec<Blocker> {
    let violations = details
        .precondition_failure()
        .map(|failure| failure.violations.as_slice());
    violations
        .unwrap_or_default()
        .iter()
        .map(|violation| Blocker {
            subject: printable(&violation.subject),
            description: printable(&violation.description),
        })
        .collect()
}

fn etags(details: &ErrorDetails) -> Option<Etags> {
    let metadata = &details.error_info()?.metadata;
    Some(Etags {
        yours: printable(metadata.get("your_etag")?),
        current: printable(metadata.get("current_etag")?),
    })
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}
