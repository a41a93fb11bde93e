//! How the command line and the gateway call a server.

mod channel;
mod connect;
mod details;
mod fault;
mod follow;
mod retry;
#[cfg(test)]
mod tests;

use tonic::Request;
use tonic::metadata::AsciiMetadataValue;

pub use channel::{Channel, Target, TargetError, connect};
pub use fault::ConnectFault;
pub(crate) use fault::cause;
pub use follow::{FileTarget, FollowTarget, connect_by_files};
pub use retry::{retry, retry_unsent};

use crate::caller::{BearerToken, ON_BEHALF_OF};
use crate::deadline::Deadline;

/// `postern/VERSION`, in front of the gRPC library's own.
pub const USER_AGENT: &str = concat!("postern/", env!("CARGO_PKG_VERSION"));

/// A request that tells the server how long there is to wait. Make it anew for each try.
pub fn request<T>(message: T, deadline: Deadline) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(deadline.remaining());
    request
}

/// Attaches credentials to a request.
pub trait Credentials: Sized {
    /// `authorization: Bearer …`. A token that no header can hold is left out, and refused
    /// by the server then.
    #[must_use]
    fn with_bearer(self, token: &BearerToken) -> Self;

    /// `postern-on-behalf-of: …`, for gateways only.
    #[must_use]
    fn with_on_behalf_of(self, token: &BearerToken) -> Self;
}

impl<T> Credentials for Request<T> {
    fn with_bearer(self, token: &BearerToken) -> Self {
        with(self, http::header::AUTHORIZATION.as_str(), "Bearer ", token)
    }

    fn with_on_behalf_of(self, token: &BearerToken) -> Self {
        with(self, ON_BEHALF_OF, "", token)
    }
}

fn with<T>(
    mut request: Request<T>,
    key: &'static str,
    prefix: &str,
    token: &BearerToken,
) -> Request<T> {
    let header = token.header(prefix);
    if let Some(value) =
        header.and_then(|value| AsciiMetadataValue::try_from(value.as_bytes()).ok())
    {
        let mut value = value;
        value.set_sensitive(true);
        request.metadata_mut().insert(key, value);
    }
    request
}
