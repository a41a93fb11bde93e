//! The keys of access-key methods.

use postern_core::access_token::AccessKeyId;
use postern_core::audit::{Event, EventKind};
use postern_core::auth_method::{AuthMethod, Kind};
use postern_core::invalid::Invalid;
use postern_core::meta::Stored;

use super::super::access_keys::{self, Owner};
use super::super::{ConfigWrite, Engine, held};
use super::{get, update};
use crate::store::{Cause, Etag, Intent, KeyOverlap, MethodRef, NewKey, WriteError, document};

impl Engine {
    pub(in crate::store) async fn rotate_access_key(
        &self,
        method: &MethodRef,
        etag: Etag,
        key: &NewKey,
        intent: Intent,
        cause: &Cause,
    ) -> Result<Stored<AuthMethod>, WriteError> {
        let mut write = ConfigWrite::begin(self, cause).await?;
        let before = writable(&mut write, method, etag).await?;
        let uid = before.value.uid.to_string();
        access_keys::rotate(&mut write, Owner::Method(&uid), key).await?;
        let document = |event: &mut Event| event.after = document::rotation(key);
        let stored = written(&mut write, &before, EventKind::AccessKeyRotated, document).await?;
        write.commit(intent).await?;
        Ok(stored)
    }

    pub(in crate::store) async fn revoke_access_key(
        &self,
        method: &MethodRef,
        etag: Etag,
        (id, overlap): (&AccessKeyId, Option<KeyOverlap>),
        intent: Intent,
        cause: &Cause,
    ) -> Result<Stored<AuthMethod>, WriteError> {
        let mut write = ConfigWrite::begin(self, cause).await?;
        let before = writable(&mut write, method, etag).await?;
        let uid = before.value.uid.to_string();
        access_keys::revoke(&mut write, Owner::Method(&uid), id, overlap).await?;
        write.administrator_stays().await?;
        let document = |event: &mut Event| event.after = document::revocation(id, overlap);
        let stored = written(&mut write, &before, EventKind::AccessKeyRevoked, document).await?;
        write.commit(intent).await?;
        Ok(stored)
    }
}

/// The access-key method whose keys are to be changed: nobody gets a key to more than they hold.
async fn writable(
    write: &mut ConfigWrite<'_>,
    method: &MethodRef,
    etag: Etag,
) -> Result<Stored<AuthMethod>, WriteError> {
    let current = get(write.connection(), method)
        .await?
        .ok_or(WriteError::NotFound)?;
    etag.check(current.revision)?;
    if !matches!(current.value.settings.kind, Kind::AccessKey) {
        return Err(Invalid::field("name", "is no access-key auth method's").into());
    }
    let uid = current.value.uid.to_string();
    let held = held::by_method(write.connection(), &uid).await?;
    write.within_own(&held)?;
    Ok(current)
}

/// The same method under the write's revision, on record.
async fn written(
    write: &mut ConfigWrite<'_>,
    before: &Stored<AuthMethod>,
    kind: EventKind,
    document: impl FnOnce(&mut Event),
) -> Result<Stored<AuthMethod>, WriteError> {
    update::store(write, before, &before.value).await?;
    let name = before.value.id.auth_method_name();
    write.touch_auth_method(name.clone(), "");
    write.record(kind, name, document);
    Ok(Stored {
        value: before.value.clone(),
        revision: write.revision,
        create_time: before.create_time,
        update_time: write.now(),
    })
}
