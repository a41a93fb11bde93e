//! An administrator made, or let in again, by whoever has the database.

use postern_core::audit::EventKind;
use postern_core::auth_method::{AuthMethod, Kind, Settings};
use postern_core::invalid::Invalid;
use postern_core::meta::Stored;

use super::super::access_keys::{self, Owner};
use super::super::{ConfigWrite, Engine, associations};
use super::{get, insert, update};
use crate::store::{Cause, Intent, MethodRef, Recovery, WriteError, document};

impl Engine {
    pub(in crate::store) async fn recover_admin(
        &self,
        recovery: &Recovery,
        cause: &Cause,
    ) -> Result<(Stored<AuthMethod>, bool), WriteError> {
        let mut write = ConfigWrite::begin(self, cause).await?;
        let before = get(write.connection(), &recovery.method).await?;
        let created = before.is_none();
        let after = match &before {
            Some(before) => reopen(&mut write, recovery, before).await?,
            None => make(&mut write, recovery).await?,
        };
        associations::ensure_administrator(&mut write, &after.id, &after.uid).await?;
        let name = after.id.auth_method_name();
        write.record(EventKind::AdminRecovered, name, |event| {
            event.before = before.and_then(|before| document::method(&before.value));
            event.after = document::method(&after);
        });
        let by_id = MethodRef::Id(after.id);
        let stored = get(write.connection(), &by_id)
            .await?
            .ok_or(WriteError::NotFound)?;
        write.commit(Intent::Write).await?;
        Ok((stored, created))
    }
}

/// Nothing closes the method any more, and nobody has a key but whoever recovers it.
async fn reopen(
    write: &mut ConfigWrite<'_>,
    recovery: &Recovery,
    before: &Stored<AuthMethod>,
) -> Result<AuthMethod, WriteError> {
    if !matches!(before.value.settings.kind, Kind::AccessKey) {
        let fault =
            "is a Kubernetes auth method's: name an administrator, or a name that isn't taken";
        return Err(Invalid::field("name", fault).into());
    }
    let after = AuthMethod {
        settings: Settings {
            disabled: false,
            access_expires: None,
            force_sub_claims: false,
            bound_ips: Vec::new(),
            ..before.value.settings.clone()
        },
        ..before.value.clone()
    };
    let uid = after.uid.to_string();
    access_keys::delete_all(write, Owner::Method(&uid)).await?;
    access_keys::insert(write, Owner::Method(&uid), &recovery.key).await?;
    update::store(write, before, &after).await?;
    write.touch_auth_method(after.id.auth_method_name(), "");
    Ok(after)
}

async fn make(write: &mut ConfigWrite<'_>, recovery: &Recovery) -> Result<AuthMethod, WriteError> {
    let MethodRef::Id(id) = &recovery.method else {
        return Err(WriteError::NotFound);
    };
    let (uid, access_id) = recovery.new.clone();
    let method = AuthMethod {
        id: id.clone(),
        uid,
        access_id,
        settings: Settings {
            description: "Made by recover-admin".to_owned(),
            ..Settings::new(Kind::AccessKey)
        },
    };
    insert(write, &method, Some(&recovery.key)).await?;
    Ok(method)
}
