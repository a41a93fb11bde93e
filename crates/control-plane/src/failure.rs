//! The store's failures as answers to callers.

use postern_core::access_id::NoRandomness;
use postern_rpc::error::{Blocker, Error, Outage, Precondition};

use crate::store::{Etag, StoreError, WriteError};

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => Self::unavailable(
                Outage::Database,
                "the database can't be reached at the moment; try again",
                error,
            ),
            StoreError::Inconsistent(_)
            | StoreError::Driver(_)
            | StoreError::Migration(_)
            | StoreError::Setup(_) => Self::internal(error),
        }
    }
}

/// A write's failure. `resource` is the full name that was written to, `etag` as it was sent.
pub(crate) fn of_write(error: WriteError, resource: &str, etag: &str) -> Error {
    match error {
        WriteError::NotFound => Error::not_found(resource),
        WriteError::Exists => Error::already_exists(resource),
        WriteError::Stale { current } => Error::Aborted {
            your_etag: etag.to_owned(),
            current_etag: Etag::of(current),
        },
        WriteError::InUse(users) => in_use(resource, users),
        WriteError::Invalid(invalid) => invalid.into(),
        WriteError::Store(error) => error.into(),
    }
}

fn in_use(resource: &str, users: Vec<String>) -> Error {
    Error::FailedPrecondition {
        reason: Precondition::InUse,
        message: format!("{resource} is in use by {}", users.join(", ")),
        violations: users
            .into_iter()
            .map(|user| Blocker {
                description: format!("uses {resource}"),
                subject: user,
            })
            .collect(),
    }
}

pub(crate) fn of_randomness(error: NoRandomness) -> Error {
    Error::internal(error)
}
