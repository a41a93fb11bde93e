//! What can go wrong: at the start, and in a call to the simulated API.

use serde_json::{Value, json};

use crate::objects::Resource;

/// Why the simulator could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address}")]
    Listen {
        address: std::net::SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot generate the service-account signing key")]
    SigningKey,
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
}

/// A refusal by the simulated API, as a Kubernetes `Status` carries it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// HTTP status code.
    pub code: u16,
    /// Machine-readable reason, such as `NotFound`.
    pub reason: &'static str,
    /// Text for people; holds object names, never a token.
    pub message: String,
    details: Option<Value>,
}

impl ApiError {
    pub(crate) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized".to_owned(), None)
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message.into(), None)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "InternalError", message.into(), None)
    }

    pub(crate) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message.to_owned(), Some(json!({})))
    }

    pub(crate) fn not_acceptable(available: &str) -> Self {
        let message = format!("406: Not Acceptable\n\nAvailable representations: {available}");
        Self::new(406, "NotAcceptable", message, Some(json!({})))
    }

    pub(crate) fn not_served() -> Self {
        let message = "the server could not find the requested resource";
        Self::new(404, "NotFound", message.to_owned(), Some(json!({})))
    }

    /// Of a watch that goes on from what is forgotten.
    pub(crate) fn expired(from: u64, oldest: u64) -> Self {
        let message = format!("too old resource version: {from} ({oldest})");
        Self::new(410, "Expired", message, None)
    }

    pub(crate) fn too_large() -> Self {
        let message = "Request entity too large: limit is 3145728";
        Self::new(413, "RequestEntityTooLarge", message.to_owned(), None)
    }

    pub(crate) fn not_found(resource: Resource, name: &str) -> Self {
        let message = format!("{} {name:?} not found", resource.qualified());
        Self::new(404, "NotFound", message, Some(resource.details(name)))
    }

    pub(crate) fn already_exists(resource: Resource, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", resource.qualified());
        Self::new(409, "AlreadyExists", message, Some(resource.details(name)))
    }

    pub(crate) fn admission(resource: Resource, name: &str, why: &str) -> Self {
        let message = format!("{} {name:?} is forbidden: {why}", resource.qualified());
        Self::new(403, "Forbidden", message, Some(resource.details(name)))
    }

    /// A bound object that exists under the same name, but is another one.
    pub(crate) fn uid_conflict(kind: &str, name: &str, uid: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {kind} {name:?}: the UID in the bound object reference ({uid}) does not \
             match the UID in record. The object might have been deleted and then recreated"
        );
        Self::new(
            409,
            "Conflict",
            message,
            Some(json!({ "name": name, "kind": kind })),
        )
    }

    pub(crate) fn forbidden(message: String, details: Value) -> Self {
        Self::new(403, "Forbidden", message, Some(details))
    }

    /// `kind` is the qualified kind, such as `TokenRequest.authentication.k8s.io`; `fault` is one of the field error
    /// types of Kubernetes, such as `FieldValueInvalid`.
    pub(crate) fn invalid(kind: &str, name: &str, field: &str, fault: &str, body: &str) -> Self {
        let (short_kind, group) = kind.split_once('.').unwrap_or((kind, ""));
        let mut details = json!({
            "kind": short_kind,
            "causes": [{ "reason": fault, "message": body, "field": field }],
        });
        for (key, value) in [("name", name), ("group", group)] {
            if !value.is_empty() {
                details[key] = json!(value);
            }
        }
        let message = format!("{kind} {name:?} is invalid: {field}: {body}");
        Self::new(422, "Invalid", message, Some(details))
    }

    /// The failure of a whole server rather than of one request.
    pub(crate) fn of_code(code: u16) -> Self {
        let (reason, message) = match code {
            401 => return Self::unauthorized(),
            403 => ("Forbidden", "forbidden"),
            429 => (
                "TooManyRequests",
                "Too many requests, please try again later.",
            ),
            503 => (
                "ServiceUnavailable",
                "the server is currently unable to handle the request",
            ),
            504 => ("Timeout", "the request timed out"),
            _ => ("InternalError", "Internal error occurred"),
        };
        Self::new(code, reason, message.to_owned(), None)
    }

    /// The `Status` object that goes over the wire.
    pub(crate) fn body(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        status
    }

    fn new(code: u16, reason: &'static str, message: String, details: Option<Value>) -> Self {
        Self {
            code,
            reason,
            message,
            details,
        }
    }
}
