//! `roles`.

use postern_core::audit::EventKind;
use postern_core::invalid::Invalid;
use postern_core::meta::Stored;
use postern_core::resource_id::ResourceId;
use postern_core::role::{Role, RoleSettings};

use super::{ConfigWrite, Connection, Engine, associations, held};
use crate::store::page::Room;
use crate::store::rows::{RoleColumns, RoleRow};
use crate::store::time::micros;
use crate::store::{Cause, Etag, Intent, Page, StoreError, WriteError, document};

pub(super) async fn get(
    connection: &mut Connection,
    id: &ResourceId,
) -> Result<Option<Stored<Role>>, StoreError> {
    let row: Option<RoleRow> = sqlx::query_as("SELECT * FROM roles WHERE id = $1")
        .bind(id.as_str())
        .fetch_optional(connection)
        .await?;
    Ok(row.map(Stored::try_from).transpose()?)
}

/// The role to write to: nobody's beyond what whoever asks holds, and no built-in one.
async fn writable(
    write: &mut ConfigWrite<'_>,
    id: &ResourceId,
    etag: Etag,
) -> Result<Stored<Role>, WriteError> {
    let current = get(write.connection(), id)
        .await?
        .ok_or(WriteError::NotFound)?;
    etag.check(current.revision)?;
    if current.value.built_in().is_some() {
        return Err(WriteError::BuiltIn);
    }
    write.within_own(&current.value.permissions())?;
    Ok(current)
}

impl Engine {
    pub(in crate::store) async fn create_role(
        &self,
        role: &Role,
        intent: Intent,
        cause: &Cause,
    ) -> Result<Stored<Role>, WriteError> {
        let mut write = ConfigWrite::begin(self, cause).await?;
        if get(write.connection(), &role.id).await?.is_some() {
            return Err(WriteError::Exists);
        }
        write.within_own(&role.permissions())?;
        let columns = RoleColumns::of(&role.settings)?;
        let (revision, now) = (write.revision, micros(write.now()));
        sqlx::query(
            "INSERT INTO roles
                 (uid, id, description, rules, permissions, delete_protection, revision,
                  create_time, update_time)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)",
        )
        .bind(role.uid.to_string())
        .bind(role.id.as_str())
        .bind(&role.settings.description)
        .bind(&columns.rules)
        .bind(&columns.permissions)
        .bind(role.settings.delete_protection)
        .bind(revision)
        .bind(now)
        .execute(write.connection())
        .await?;
        write.touch_role(role.id.role_name());
        write.record(EventKind::RoleCreated, role.id.role_name(), |event| {
            event.after = document::role(role);
        });
        let stored = Stored {
            value: role.clone(),
            revision,
            create_time: write.now(),
            update_time: write.now(),
        };
        write.commit(intent).await?;
        Ok(stored)
    }

    pub(in crate::store) async fn get_role(
        &self,
        id: &ResourceId,
    ) -> Result<Option<Stored<Role>>, StoreError> {
        let mut connection = self.readers.acquire().await?;
        get(&mut connection, id).await
    }

    pub(in crate::store) async fn list_roles(
        &self,
        after: Option<&ResourceId>,
        limit: u32,
    ) -> Result<Page<Stored<Role>>, StoreError> {
        let rows: Vec<RoleRow> =
            sqlx::query_as("SELECT * FROM roles WHERE id > $1 ORDER BY id LIMIT $2")
                .bind(after.map_or("", ResourceId::as_str))
                .bind(i64::from(limit) + 1)
                .fetch_all(&self.readers)
                .await?;
        let (mut page, mut room) = (Page::new(), Room::new(limit));
        for row in rows {
            let weight = row.weight();
            page.take(row.try_into()?, &mut room, weight);
            if page.more {
                break;
            }
        }
        Ok(page)
    }

    pub(in crate::store) async fn update_role<F>(
        &self,
        id: &ResourceId,
        etag: Etag,
        edit: F,
        intent: Intent,
        cause: &Cause,
    ) -> Result<Stored<Role>, WriteError>
    where
        F: FnOnce(&Role) -> Result<RoleSettings, Invalid> + Send,
    {
        let mut write = ConfigWrite::begin(self, cause).await?;
        let before = writable(&mut write, id, etag).await?;
        let after = Role {
            settings: edit(&before.value)?,
            ..before.value.clone()
        };
        write.within_own(&after.permissions())?;
        let columns = RoleColumns::of(&after.settings)?;
        let (revision, now) = (write.revision, write.now());
        sqlx::query(
            "UPDATE roles SET description = $1, rules = $2, permissions = $3,
                 delete_protection = $4, revision = $5, update_time = $6
             WHERE uid = $7",
        )
        .bind(&after.settings.description)
        .bind(&columns.rules)
        .bind(&columns.permissions)
        .bind(after.settings.delete_protection)
        .bind(revision)
        .bind(micros(now))
        .bind(after.uid.to_string())
        .execute(write.connection())
        .await?;
        write.touch_role(id.role_name());
        write.record(EventKind::RoleUpdated, id.role_name(), |event| {
            event.before = document::role(&before.value);
            event.after = document::role(&after);
        });
        write.commit(intent).await?;
        Ok(Stored {
            value: after,
            revision,
            create_time: before.create_time,
            update_time: now,
        })
    }

    pub(in crate::store) async fn delete_role(
        &self,
        id: &ResourceId,
        etag: Etag,
        force: bool,
        cause: &Cause,
    ) -> Result<(), WriteError> {
        let mut write = ConfigWrite::begin(self, cause).await?;
        let current = writable(&mut write, id, etag).await?.value;
        if current.settings.delete_protection {
            return Err(WriteError::Protected);
        }
        let users = associations::of_role(write.connection(), &current.uid).await?;
        if force {
            let held = held::by_methods_with_role(write.connection(), &current.uid).await?;
            write.within_own(&held)?;
        }
        associations::delete_with_owner(&mut write, users, force).await?;
        sqlx::query("DELETE FROM roles WHERE uid = $1")
            .bind(current.uid.to_string())
            .execute(write.connection())
            .await?;
        write.touch_role(id.role_name());
        write.record(EventKind::RoleDeleted, id.role_name(), |event| {
            event.before = document::role(&current);
        });
        write.commit(Intent::Write).await
    }
}
