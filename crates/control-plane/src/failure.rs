//! The store's failures as answers to callers.

use postern_core::access_id::NoRandomness;
use postern_core::permission::Permission;
use postern_rpc::error::{Blocker, Error, Outage, Precondition};

use crate::store::{Etag, StoreError, WriteError};

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::NotOpen => Self::unavailable(
                Outage::Database,
                "the database can't be reached at the moment; try again",
                error,
            ),
            StoreError::Inconsistent(_)
            | StoreError::Driver(_)
            | StoreError::Migration(_)
            | StoreError::Schema(_)
            | StoreError::Setup(_)
            | StoreError::CantSign(_) => Self::internal(error),
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
        WriteError::BuiltIn => blocked(
            Precondition::BuiltIn,
            resource,
            "is built in, and nobody changes it: create a role of your own",
        ),
        WriteError::Protected => protected(resource),
        WriteError::NoAdministratorLeft => blocked(
            Precondition::LastAdministrator,
            resource,
            "is the last way in for administrators: an enabled access-key method without an end, with a key and roles/admin, must be left",
        ),
        WriteError::BeyondOwn(missing) => beyond_own(resource, &missing),
        WriteError::CallerGone { relayed: false } => Error::Unauthenticated,
        WriteError::CallerGone { relayed: true } => Error::OnBehalfUnauthenticated,
        WriteError::KeyLimit => key_limit(resource),
        WriteError::Invalid(invalid) => invalid.into(),
        WriteError::Store(error) => error.into(),
    }
}

fn blocked(reason: Precondition, resource: &str, what: &str) -> Error {
    Error::FailedPrecondition {
        reason,
        message: format!("{resource} {what}"),
        violations: vec![Blocker {
            subject: resource.to_owned(),
            description: what.to_owned(),
        }],
    }
}

fn beyond_own(resource: &str, missing: &[Permission]) -> Error {
    let missing: Vec<_> = missing
        .iter()
        .map(|permission| permission.as_str())
        .collect();
    Error::permission_denied(format!(
        "{resource} holds what you don't: {}; nobody gives, takes or changes more than they hold themselves",
        missing.join(", ")
    ))
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

/// A key that can't go at once. `method` is the method's full name.
pub(crate) fn key_in_use(method: &str, key_id: &str, users: Vec<String>) -> Error {
    let key = format!("key {key_id} of {method}");
    let message = format!(
        "{key} signs for {}: give them another key's private half first, or the key an overlap",
        users.join(", ")
    );
    match in_use(&key, users) {
        Error::FailedPrecondition {
            reason, violations, ..
        } => Error::FailedPrecondition {
            reason,
            message,
            violations,
        },
        error => error,
    }
}

fn protected(resource: &str) -> Error {
    Error::FailedPrecondition {
        reason: Precondition::DeleteProtected,
        message: format!(
            "{resource} has delete_protection, which force doesn't override: switch it off first, by an update"
        ),
        violations: vec![Blocker {
            subject: resource.to_owned(),
            description: "has delete_protection".to_owned(),
        }],
    }
}

fn key_limit(resource: &str) -> Error {
    Error::FailedPrecondition {
        reason: Precondition::KeyLimit,
        message: format!(
            "{resource} has two good access keys already: revoke one first, wait for its end, or rotate with an overlap of 0, which ends both at once"
        ),
        violations: vec![Blocker {
            subject: resource.to_owned(),
            description: "has two good access keys".to_owned(),
        }],
    }
}

pub(crate) fn of_randomness(error: NoRandomness) -> Error {
    Error::internal(error)
}
