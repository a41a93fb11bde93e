//! Auth methods and their access keys.

use jiff::Timestamp;
use postern_core::access_id::AccessId;
use postern_core::access_token::{AccessKeyId, TokenHash};
use postern_core::auth_method::{AuthMethod, Settings};
use postern_core::invalid::Invalid;
use postern_core::meta::Stored;
use postern_core::resource_id::ResourceId;

use crate::store::{
    Cause, Engine, Etag, Intent, KeyOverlap, KeyUses, MethodRef, NewKey, Page, Read, Recovery,
    Store, StoredKeys, Write, patience,
};

impl Store {
    /// `key` is the first one of an access-key method; all of the method's tokens have `roles`.
    pub(crate) async fn create_auth_method_with(
        &self,
        method: &AuthMethod,
        key: Option<&TokenHash>,
        roles: &[ResourceId],
        intent: Intent,
        cause: &Cause,
    ) -> Write<Stored<AuthMethod>> {
        on_engine!(self.create_auth_method(method, (key, roles), intent, cause))
    }

    pub(crate) async fn get_auth_method(
        &self,
        method: &MethodRef,
    ) -> Read<Option<Stored<AuthMethod>>> {
        on_engine!(self.get_auth_method(method))
    }

    /// By ID.
    pub(crate) async fn list_auth_methods(
        &self,
        after: Option<&ResourceId>,
        limit: u32,
    ) -> Read<Page<Stored<AuthMethod>>> {
        on_engine!(self.list_auth_methods(after, limit))
    }

    /// `edit` runs inside the transaction on the row as it is, so that an update of some fields
    /// under `*` loses nobody's write to the others.
    pub(crate) async fn update_auth_method<F>(
        &self,
        method: &MethodRef,
        etag: Etag,
        edit: F,
        intent: Intent,
        cause: &Cause,
    ) -> Write<Stored<AuthMethod>>
    where
        F: FnOnce(&AuthMethod) -> Result<Settings, Invalid> + Send,
    {
        on_engine!(self.update_auth_method(method, etag, edit, intent, cause))
    }

    /// Another ID; all else stays.
    pub(crate) async fn rename_auth_method(
        &self,
        method: &MethodRef,
        etag: Etag,
        id: &ResourceId,
        intent: Intent,
        cause: &Cause,
    ) -> Write<Stored<AuthMethod>> {
        on_engine!(self.rename_auth_method(method, etag, id, intent, cause))
    }

    /// With its keys; with `force` the configs that name it too.
    pub(crate) async fn delete_auth_method(
        &self,
        method: &MethodRef,
        etag: Etag,
        force: bool,
        cause: &Cause,
    ) -> Write<()> {
        on_engine!(self.delete_auth_method(method, etag, force, cause))
    }

    /// Lets an administrator in by the key alone: by a new method, or by one that is there, whose
    /// other keys end and which nothing closes any more. Whether it is new.
    pub(crate) async fn recover_admin(
        &self,
        recovery: &Recovery,
        cause: &Cause,
    ) -> Write<(Stored<AuthMethod>, bool)> {
        on_engine!(self.recover_admin(recovery, cause))
    }

    /// Of the keys of all methods from `first` to `last`, by ID.
    pub(crate) async fn key_uses(&self, first: &ResourceId, last: &ResourceId) -> Read<KeyUses> {
        on_engine!(self.key_uses(first, last))
    }

    /// Another key for an access-key method.
    pub(crate) async fn rotate_access_key(
        &self,
        method: &MethodRef,
        etag: Etag,
        key: &NewKey,
        intent: Intent,
        cause: &Cause,
    ) -> Write<Stored<AuthMethod>> {
        on_engine!(self.rotate_access_key(method, etag, key, intent, cause))
    }

    /// Ends one key of an access-key method: after `overlap`, or at once.
    pub(crate) async fn revoke_access_key(
        &self,
        method: &MethodRef,
        etag: Etag,
        (id, overlap): (&AccessKeyId, Option<KeyOverlap>),
        intent: Intent,
        cause: &Cause,
    ) -> Write<Stored<AuthMethod>> {
        on_engine!(self.revoke_access_key(method, etag, (id, overlap), intent, cause))
    }

    /// Of all access-key methods from `first` to `last`, by ID.
    pub(crate) async fn keys_of_methods(
        &self,
        first: &ResourceId,
        last: &ResourceId,
    ) -> Read<StoredKeys> {
        on_engine!(self.keys_of_methods(first, last))
    }

    /// Whether the access key is that access ID's and good.
    pub(crate) async fn knows_key(
        &self,
        access_id: &AccessId,
        key: &TokenHash,
        now: Timestamp,
    ) -> Read<bool> {
        on_engine!(self.knows_key(access_id, key, now))
    }

    /// Notes that a login was signed with the key; within a minute of the last note it does nothing.
    pub(crate) async fn key_used(
        &self,
        access_id: &AccessId,
        key_id: &str,
        now: Timestamp,
    ) -> Read<()> {
        on_engine!(self.key_used(access_id, key_id, now))
    }
}
