//! Roles and associations.

use postern_core::association::{Association, RequiredSubClaims};
use postern_core::invalid::Invalid;
use postern_core::meta::Stored;
use postern_core::resource_id::ResourceId;
use postern_core::role::{Given, Role, RoleSettings};
use uuid::Uuid;

use crate::store::{
    AssociationCursor, AssociationFilter, Cause, Engine, Etag, Intent, NewAssociation, Page, Read,
    Store, Write, patience,
};

impl Store {
    /// Refused where the role holds more than whoever asks; so are the other writes of roles and
    /// associations.
    pub(crate) async fn create_role(
        &self,
        role: &Role,
        intent: Intent,
        cause: &Cause,
    ) -> Write<Stored<Role>> {
        on_engine!(self.create_role(role, intent, cause))
    }

    pub(crate) async fn get_role(&self, id: &ResourceId) -> Read<Option<Stored<Role>>> {
        on_engine!(self.get_role(id))
    }

    /// By ID.
    pub(crate) async fn list_roles(
        &self,
        after: Option<&ResourceId>,
        limit: u32,
    ) -> Read<Page<Stored<Role>>> {
        on_engine!(self.list_roles(after, limit))
    }

    /// `edit` runs inside the transaction on the row as it is.
    pub(crate) async fn update_role<F>(
        &self,
        id: &ResourceId,
        etag: Etag,
        edit: F,
        intent: Intent,
        cause: &Cause,
    ) -> Write<Stored<Role>>
    where
        F: FnOnce(&Role) -> Result<RoleSettings, Invalid> + Send,
    {
        on_engine!(self.update_role(id, etag, edit, intent, cause))
    }

    /// With `force` its associations too.
    pub(crate) async fn delete_role(
        &self,
        id: &ResourceId,
        etag: Etag,
        force: bool,
        cause: &Cause,
    ) -> Write<()> {
        on_engine!(self.delete_role(id, etag, force, cause))
    }

    pub(crate) async fn create_association(
        &self,
        new: &NewAssociation,
        intent: Intent,
        cause: &Cause,
    ) -> Write<Stored<Association>> {
        on_engine!(self.create_association(new, intent, cause))
    }

    pub(crate) async fn get_association(&self, uid: Uuid) -> Read<Option<Stored<Association>>> {
        on_engine!(self.get_association(uid))
    }

    /// Oldest first.
    pub(crate) async fn list_associations(
        &self,
        filter: &AssociationFilter,
        after: Option<&AssociationCursor>,
        limit: u32,
    ) -> Read<Page<Stored<Association>>> {
        on_engine!(self.list_associations(filter, after, limit))
    }

    /// `edit` runs inside the transaction on the row as it is.
    pub(crate) async fn update_association<F>(
        &self,
        uid: Uuid,
        etag: Etag,
        edit: F,
        intent: Intent,
        cause: &Cause,
    ) -> Write<Stored<Association>>
    where
        F: FnOnce(&Association) -> Result<RequiredSubClaims, Invalid> + Send,
    {
        on_engine!(self.update_association(uid, etag, edit, intent, cause))
    }

    pub(crate) async fn delete_association(
        &self,
        uid: Uuid,
        etag: Etag,
        cause: &Cause,
    ) -> Write<()> {
        on_engine!(self.delete_association(uid, etag, cause))
    }

    /// What the method's tokens are given, by association.
    pub(crate) async fn given_by_method(&self, method_uid: &Uuid) -> Read<Vec<(Uuid, Given)>> {
        on_engine!(self.given_by_method(method_uid))
    }
}
