//! What the layers learnt about a request, for its handler.

use crate::caller::Caller;
use crate::deadline::Deadline;
use crate::error::Error;

/// Reads what the layers put beside a request.
pub trait RequestExt {
    /// # Errors
    /// INTERNAL when the handler isn't behind this crate's server.
    fn caller(&self) -> Result<Caller, Error>;

    /// # Errors
    /// INTERNAL when the handler isn't behind this crate's server.
    fn deadline(&self) -> Result<Deadline, Error>;

    /// What the server's authorizer returned; `I` is its `Identity`.
    ///
    /// # Errors
    /// INTERNAL when the method needs nothing, and so nobody was identified.
    fn identity<I: Clone + Send + Sync + 'static>(&self) -> Result<I, Error>;
}

impl<T> RequestExt for tonic::Request<T> {
    fn caller(&self) -> Result<Caller, Error> {
        extension(self)
    }

    fn deadline(&self) -> Result<Deadline, Error> {
        extension(self)
    }

    fn identity<I: Clone + Send + Sync + 'static>(&self) -> Result<I, Error> {
        extension(self)
    }
}

fn extension<T, E: Clone + Send + Sync + 'static>(request: &tonic::Request<T>) -> Result<E, Error> {
    let missing = || {
        Error::internal(format!(
            "no {} beside the request",
            std::any::type_name::<E>()
        ))
    };
    request.extensions().get::<E>().cloned().ok_or_else(missing)
}
