//! An administrator doesn't shut themselves out by a wrong address.

use postern_core::ip;
use postern_proto::convert::auth_method::updated_settings;
use postern_proto::pb;
use postern_rpc::error::{Blocker, Error, Precondition};
use prost_types::FieldMask;

use crate::store::{Cause, MethodRef, Store};

/// Refuses an update of the caller's own method after which it would be closed to the address
/// that the caller has right now.
pub(super) async fn keep_open(
    store: &Store,
    method: &MethodRef,
    patch: &pb::AuthMethod,
    mask: Option<&FieldMask>,
    cause: &Cause,
) -> Result<(), Error> {
    let stored = store.get_auth_method(method).await?;
    let own = stored
        .map(|stored| stored.value)
        .filter(|method| method.access_id.as_str() == cause.access_id);
    let Some(method) = own else {
        return Ok(());
    };
    match updated_settings(&method, patch, mask, cause.now) {
        Ok(settings) if !ip::allowed(&settings.bound_ips, cause.caller_ip) => {
            let name = method.id.auth_method_name();
            let what = "would be closed to the address that you are calling from";
            Err(Error::FailedPrecondition {
                reason: Precondition::LastAdministrator,
                message: format!("{name}, by which you came, {what}"),
                violations: vec![Blocker {
                    subject: name,
                    description: what.to_owned(),
                }],
            })
        }
        // What is wrong with the update, the update itself says.
        Ok(_) | Err(_) => Ok(()),
    }
}
