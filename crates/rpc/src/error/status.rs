//! [`Error`] as a gRPC status, with the details that programs read.

#![expect(clippy::disallowed_methods, reason = "the only maker of a Status")]

use std::collections::HashMap;

use http::HeaderMap;
use postern_core::invalid::Violation;
use postern_core::subject::SubjectLimit;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, StatusExt as _};

use super::{DOMAIN, Error, Failure, LOGIN_REFUSED, Reason};
use crate::request_id::RequestId;

/// Details travel in a header, and clients refuse headers beyond 16 KiB.
const MAX_VIOLATIONS: usize = 25;
const MAX_TEXT_CHARS: usize = 240;

impl From<Error> for Status {
    /// Logs what must not be sent.
    fn from(error: Error) -> Self {
        log(&error);
        Self::with_error_details(error.code(), message(&error), details(&error))
    }
}

impl Failure {
    /// A status that came within a message: of one of several that were asked for in a call.
    pub fn said(code: i32, message: String, details: Vec<u8>) -> Self {
        Status::with_details(Code::from(code), message, details.into()).into()
    }
}

/// An error as a whole HTTP answer.
pub(crate) fn answer(error: Error) -> axum::response::Response {
    Status::from(error).into_http()
}

/// Gives a status that is on its way out its request ID, and an `ErrorInfo` when it comes
/// from below our code. Returns its code.
pub(crate) fn complete(headers: &mut HeaderMap, id: RequestId) -> Option<Code> {
    let status = Status::from_header_map(headers)?;
    if status.code() == Code::Ok {
        return Some(Code::Ok);
    }
    let mut details = status.get_error_details();
    details.set_request_info(id.to_string(), "");
    if details.error_info().is_none() {
        details.set_error_info(
            Reason::of_code(status.code()).as_str(),
            DOMAIN,
            HashMap::new(),
        );
    }
    let message = match status.message() {
        "" => "this server has no such method",
        message => message,
    };
    // Without a header that can't be written the status stays as it was.
    let _ = Status::with_error_details(status.code(), message, details).add_header(headers);
    Some(status.code())
}

/// Why a call failed whose answer begins with these headers; `None` for one that didn't, or not yet.
pub(crate) fn failure(headers: &HeaderMap) -> Option<Reason> {
    let status = Status::from_header_map(headers)?;
    if status.code() == Code::Ok {
        return None;
    }
    let details = status.get_error_details();
    let said = details
        .error_info()
        .and_then(|info| Reason::parse(&info.reason));
    Some(said.unwrap_or(Reason::of_code(status.code())))
}

pub(crate) fn log(error: &Error) {
    match error {
        Error::Internal(source) => {
            tracing::error!(error = chain(source.as_ref()), "internal error");
        }
        Error::Unavailable { reason, source, .. } => {
            let error = source.as_deref().map(|source| chain(source));
            tracing::warn!(reason = %reason.reason(), error, "unavailable");
        }
        _ => {}
    }
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

fn message(error: &Error) -> String {
    match error {
        Error::Invalid(violations) => invalid_message(violations),
        Error::LoginRefused => LOGIN_REFUSED.to_owned(),
        Error::Unauthenticated => {
            "the credential is missing, wrong or expired; log in again".to_owned()
        }
        Error::OnBehalfUnauthenticated => {
            "the administrator's token is missing, wrong, expired, or not narrowed to this gateway"
                .to_owned()
        }
        Error::PermissionDenied { message } | Error::Unavailable { message, .. } => cut(message),
        Error::FailedPrecondition { message, .. } => cut(message),
        Error::NotFound { resource } => cut(&format!("{resource} not found")),
        Error::AlreadyExists { resource } => cut(&format!("{resource} already exists")),
        Error::Aborted { .. } => {
            "changed by somebody else since it was read; read it again".to_owned()
        }
        Error::ResourceExhausted { .. } => "too many requests; slow down".to_owned(),
        Error::SubjectLimited { limit, .. } => match limit {
            SubjectLimit::Logins => {
                "this workload logs in too often; keep its token until it ends".to_owned()
            }
            SubjectLimit::Tokens => {
                "this workload has too many tokens that haven't ended; use those".to_owned()
            }
        },
        Error::DeadlineExceeded => "the deadline passed before there was an answer".to_owned(),
        Error::Unimplemented => "this server has no such method".to_owned(),
        Error::Internal(_) => {
            "internal error; the server's log has it under the request ID".to_owned()
        }
    }
}

fn invalid_message(violations: &[Violation]) -> String {
    let mut faults: Vec<_> = violations
        .iter()
        .take(5)
        .map(|violation| cut(&format!("{}: {}", violation.field, violation.fault)))
        .collect();
    if violations.len() > faults.len() {
        faults.push(format!("and {} more", violations.len() - faults.len()));
    }
    faults.join("; ")
}

fn details(error: &Error) -> ErrorDetails {
    let mut details = ErrorDetails::new();
    let mut metadata = HashMap::new();
    match error {
        Error::Invalid(violations) => {
            details.set_bad_request(field_violations(violations));
        }
        Error::NotFound { resource } | Error::AlreadyExists { resource } => {
            let (kind, _) = resource.split_once('/').unwrap_or((resource, ""));
            details.set_resource_info(cut(kind), cut(resource), "", "");
        }
        Error::Aborted {
            your_etag,
            current_etag,
        } => {
            metadata.insert("your_etag".to_owned(), cut(your_etag));
            metadata.insert("current_etag".to_owned(), cut(current_etag));
        }
        Error::FailedPrecondition {
            reason, violations, ..
        } => {
            let kind = reason.reason().as_str();
            let violations = violations.iter().take(MAX_VIOLATIONS).map(|blocker| {
                PreconditionViolation::new(kind, cut(&blocker.subject), cut(&blocker.description))
            });
            details.set_precondition_failure(violations.collect::<Vec<_>>());
        }
        Error::ResourceExhausted { retry_after } | Error::SubjectLimited { retry_after, .. } => {
            details.set_retry_info(Some(*retry_after));
        }
        Error::Unavailable { reason, .. } => {
            if let Some(retry_after) = reason.retry_after() {
                details.set_retry_info(Some(retry_after));
            }
        }
        Error::LoginRefused
        | Error::Unauthenticated
        | Error::OnBehalfUnauthenticated
        | Error::PermissionDenied { .. }
        | Error::DeadlineExceeded
        | Error::Unimplemented
        | Error::Internal(_) => {}
    }
    details.set_error_info(error.reason().as_str(), DOMAIN, metadata);
    details
}

fn field_violations(violations: &[Violation]) -> Vec<FieldViolation> {
    let mut listed: Vec<_> = violations
        .iter()
        .take(MAX_VIOLATIONS)
        .map(|violation| FieldViolation::new(cut(&violation.field), cut(&violation.fault)))
        .collect();
    if violations.len() > MAX_VIOLATIONS {
        let more = format!("and {} more", violations.len() - MAX_VIOLATIONS);
        listed.push(FieldViolation::new("", more));
    }
    listed
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
