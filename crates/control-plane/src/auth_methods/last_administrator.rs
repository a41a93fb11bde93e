//! Nobody locks everybody out, by mistake or on purpose: the way in for administrators stays.
//!
//! An access-key method is the first administrator's, and the API makes no other.

use postern_core::auth_method::{AuthMethod, Kind};
use postern_core::ip;
use postern_proto::convert::auth_method::updated_settings;
use postern_proto::pb;
use postern_rpc::error::{Blocker, Error, Precondition};
use prost_types::FieldMask;

use crate::store::{Cause, MethodRef, Store};

/// Refuses to delete it.
pub(super) async fn keep(store: &Store, method: &MethodRef) -> Result<(), Error> {
    match administrator(store, method).await? {
        Some(method) => Err(refusal(&method, "deleted")),
        None => Ok(()),
    }
}

/// Refuses an update after which it would let nobody in, now or later, or not whoever asks.
pub(super) async fn keep_open(
    store: &Store,
    method: &MethodRef,
    patch: &pb::AuthMethod,
    mask: Option<&FieldMask>,
    cause: &Cause,
) -> Result<(), Error> {
    let Some(method) = administrator(store, method).await? else {
        return Ok(());
    };
    match updated_settings(&method, patch, mask, cause.now) {
        Ok(settings) if settings.disabled || settings.access_expires.is_some() => {
            Err(refusal(&method, "disabled or given an end"))
        }
        Ok(settings) if !ip::allowed(&settings.bound_ips, cause.caller_ip) => {
            Err(refusal(&method, "closed to the address of whoever asks"))
        }
        // What is wrong with the update, the update itself says.
        Ok(_) | Err(_) => Ok(()),
    }
}

async fn administrator(store: &Store, method: &MethodRef) -> Result<Option<AuthMethod>, Error> {
    let stored = store.get_auth_method(method).await?;
    Ok(stored
        .map(|stored| stored.value)
        .filter(|method| matches!(method.settings.kind, Kind::AccessKey)))
}

fn refusal(method: &AuthMethod, what: &str) -> Error {
    let name = method.id.auth_method_name();
    let message = format!("{name} is the last way in for administrators: it can't be {what}");
    Error::FailedPrecondition {
        reason: Precondition::InUse,
        violations: vec![Blocker {
            subject: name,
            description: "the last way in for administrators".to_owned(),
        }],
        message,
    }
}
