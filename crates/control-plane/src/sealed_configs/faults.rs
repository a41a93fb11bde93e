//! Faults by the field names of K8sAuthConfigService, whose caller gets them relayed.

use postern_core::invalid::{Invalid, Violations};
use postern_core::sealed_config::ConfigView;
use postern_rpc::error::Error;

use crate::failure;
use crate::store::WriteError;

/// Of a create. That the gateway is gone is the only thing that can't be found.
pub(super) fn of_create(error: WriteError, view: &ConfigView) -> Error {
    let resource = match &error {
        WriteError::NotFound => view.name.gateway.full(),
        WriteError::Exists
        | WriteError::Stale { .. }
        | WriteError::InUse(_)
        | WriteError::BuiltIn
        | WriteError::Protected
        | WriteError::BeyondOwn(_)
        | WriteError::CallerGone { .. }
        | WriteError::NoAdministratorLeft
        | WriteError::KeyLimit
        | WriteError::Invalid(_)
        | WriteError::Store(_) => view.name.to_string(),
    };
    failure::of_write(relayed(error, view), &resource, "")
}

/// Of an update.
pub(super) fn of_update(error: WriteError, view: &ConfigView, etag: &str) -> Error {
    failure::of_write(relayed(error, view), &view.name.to_string(), etag)
}

fn relayed(error: WriteError, view: &ConfigView) -> WriteError {
    let WriteError::Invalid(invalid) = error else {
        return error;
    };
    let mut faults = Violations::default();
    for violation in invalid.violations() {
        match violation.field.as_str() {
            "signing_key_id" => faults.add(
                "secrets.signing_key",
                format!(
                    "doesn't belong to auth method {}; use the private key of one of its public keys",
                    view.access_id
                ),
            ),
            field => faults.add(format!("k8s_auth_config.{field}"), &violation.fault),
        }
    }
    WriteError::Invalid(faults.into_invalid())
}

/// Of what the gateway sent: `view` is the administrator's `k8s_auth_config`.
pub(super) fn as_relayed(invalid: &Invalid) -> Invalid {
    let mut faults = Violations::default();
    for violation in invalid.violations() {
        let field = match violation.field.strip_prefix("view.") {
            Some(field) => format!("k8s_auth_config.{field}"),
            None => format!("config.{}", violation.field),
        };
        faults.add(field, &violation.fault);
    }
    faults.into_invalid()
}
