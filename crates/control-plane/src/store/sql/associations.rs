//! `associations`: writing them, and what they make of a token or a method.

use postern_core::association::{Association, RequiredSubClaims};
use postern_core::audit::EventKind;
use postern_core::facts::SubClaims;
use postern_core::invalid::Invalid;
use postern_core::meta::Stored;
use postern_core::permission::{Permission, Permissions};
use postern_core::resource_id::ResourceId;
use postern_core::role::{BuiltIn, Given, Role};
use uuid::Uuid;

use super::{ConfigWrite, Connection, Engine, auth_methods, held, roles};
use crate::store::page::Room;
use crate::store::rows::{self, AssociationRow, RoleRow, to_json};
use crate::store::time::micros;
use crate::store::{
    AssociationCursor, AssociationFilter, Cause, Etag, Inconsistent, Intent, MethodRef,
    NewAssociation, Page, StoreError, WriteError, document,
};

/// How many of the associations in the way an error names.
const MAX_NAMED: usize = 20;

macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT a.uid, m.id AS auth_method, r.id AS role, a.sub_claims, a.revision,
                    a.create_time, a.update_time
             FROM associations a
             JOIN auth_methods m ON m.uid = a.method_uid
             JOIN roles r ON r.uid = a.role_uid
             WHERE ",
            $condition
        )
    };
}

async fn get(
    connection: &mut Connection,
    uid: Uuid,
) -> Result<Option<Stored<Association>>, StoreError> {
    let row: Option<AssociationRow> = sqlx::query_as(select!("a.uid = $1"))
        .bind(uid.to_string())
        .fetch_optional(connection)
        .await?;
    Ok(row.map(Stored::try_from).transpose()?)
}

async fn all(
    connection: &mut Connection,
    statement: &'static str,
    uid: &Uuid,
) -> Result<Vec<Association>, StoreError> {
    let rows: Vec<AssociationRow> = sqlx::query_as(statement)
        .bind(uid.to_string())
        .fetch_all(connection)
        .await?;
    let associations = rows
        .into_iter()
        .map(|row| Stored::<Association>::try_from(row).map(|stored| stored.value));
    Ok(associations.collect::<Result<_, _>>()?)
}

pub(super) async fn of_role(
    connection: &mut Connection,
    role_uid: &Uuid,
) -> Result<Vec<Association>, StoreError> {
    all(
        connection,
        select!("a.role_uid = $1 ORDER BY m.id, a.uid"),
        role_uid,
    )
    .await
}

pub(super) async fn of_method(
    connection: &mut Connection,
    method_uid: &Uuid,
) -> Result<Vec<Association>, StoreError> {
    all(
        connection,
        select!("a.method_uid = $1 ORDER BY r.id, a.uid"),
        method_uid,
    )
    .await
}

/// Makes way for the deletion of what they belong to, or says that they are in the way.
pub(super) async fn delete_with_owner(
    write: &mut ConfigWrite<'_>,
    associations: Vec<Association>,
    force: bool,
) -> Result<(), WriteError> {
    if !associations.is_empty() && !force {
        let names = associations.iter().take(MAX_NAMED).map(Association::name);
        return Err(WriteError::InUse(names.collect()));
    }
    for association in associations {
        delete(write, &association).await?;
    }
    Ok(())
}

async fn delete(write: &mut ConfigWrite<'_>, association: &Association) -> Result<(), WriteError> {
    sqlx::query("DELETE FROM associations WHERE uid = $1")
        .bind(association.uid.to_string())
        .execute(write.connection())
        .await?;
    write.touch_association(association.name());
    write.record(EventKind::AssociationDeleted, association.name(), |event| {
        event.before = document::association(association);
    });
    Ok(())
}

/// A role of a method's tokens, and which of them have it.
#[derive(sqlx::FromRow)]
pub(super) struct HeldRow {
    association_uid: String,
    condition: String,
    #[sqlx(flatten)]
    role: RoleRow,
}

/// By the roles' IDs.
pub(super) async fn roles_of_method(
    connection: &mut Connection,
    method_uid: &str,
) -> Result<Vec<HeldRow>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT a.uid AS association_uid, a.sub_claims AS condition, r.uid, r.id, r.description,
                r.rules, r.permissions, r.delete_protection, r.revision, r.create_time,
                r.update_time
         FROM associations a JOIN roles r ON r.uid = a.role_uid
         WHERE a.method_uid = $1 ORDER BY r.id, a.uid",
    )
    .bind(method_uid)
    .fetch_all(connection)
    .await?)
}

/// The roles of a token of that method with these sub-claims. One that can't be read is an
/// error: a `deny` of it must not be lost.
pub(super) async fn roles_of_token(
    connection: &mut Connection,
    method_uid: &str,
    sub_claims: &SubClaims,
    force_sub_claims: bool,
) -> Result<Vec<Role>, StoreError> {
    let mut roles = Vec::new();
    for row in roles_of_method(connection, method_uid).await? {
        if row.is_held(sub_claims, force_sub_claims)? {
            let role = Stored::<Role>::try_from(row.role)?.value;
            if !roles.contains(&role) {
                roles.push(role);
            }
        }
    }
    Ok(roles)
}

/// IDs of those roles, of rows that were read for several of the method's tokens.
pub(super) fn role_ids(
    rows: &[HeldRow],
    sub_claims: &SubClaims,
    force_sub_claims: bool,
) -> Result<Vec<String>, Inconsistent> {
    let mut ids: Vec<String> = Vec::new();
    for row in rows {
        // In the order of their IDs.
        if row.is_held(sub_claims, force_sub_claims)? && ids.last() != Some(&row.role.id) {
            ids.push(row.role.id.clone());
        }
    }
    Ok(ids)
}

/// A first administrator's.
pub(super) async fn make_administrator(
    write: &mut ConfigWrite<'_>,
    method: &ResourceId,
    method_uid: &Uuid,
) -> Result<(), WriteError> {
    let association = Association {
        uid: Uuid::now_v7(),
        auth_method: method.clone(),
        role: BuiltIn::Admin
            .as_str()
            .parse()
            .map_err(|_| WriteError::NotFound)?,
        sub_claims: RequiredSubClaims::default(),
    };
    insert(write, &association, method_uid, &BuiltIn::Admin.uid()).await
}

/// The same for one that may be an administrator's already.
pub(super) async fn ensure_administrator(
    write: &mut ConfigWrite<'_>,
    method: &ResourceId,
    method_uid: &Uuid,
) -> Result<(), WriteError> {
    let held = of_method(write.connection(), method_uid).await?;
    let is = |association: &Association| {
        association.role.as_str() == BuiltIn::Admin.as_str() && association.sub_claims.is_empty()
    };
    if held.iter().any(is) {
        return Ok(());
    }
    make_administrator(write, method, method_uid).await
}

/// Gives all tokens of a method that is being made these roles, as whoever writes roles could.
pub(super) async fn give(
    write: &mut ConfigWrite<'_>,
    method: &Method,
    roles: &[ResourceId],
) -> Result<(), WriteError> {
    if !roles.is_empty() {
        write.within_own(&Permissions::from_iter([Permission::RolesWrite]))?;
    }
    for (i, id) in roles.iter().enumerate() {
        let role = roles::get(write.connection(), id).await?;
        let missing = || Invalid::field(format!("roles[{i}]"), format!("there is no role `{id}`"));
        let role = role.ok_or_else(missing)?.value;
        write.within_own(&role.permissions())?;
        let association = Association {
            uid: Uuid::now_v7(),
            auth_method: method.id.clone(),
            role: role.id,
            sub_claims: RequiredSubClaims::default(),
        };
        check(method, &association.sub_claims)?;
        insert(write, &association, &method.uid, &role.uid).await?;
    }
    Ok(())
}

async fn insert(
    write: &mut ConfigWrite<'_>,
    association: &Association,
    method_uid: &Uuid,
    role_uid: &Uuid,
) -> Result<(), WriteError> {
    let (revision, now) = (write.revision, micros(write.now()));
    sqlx::query(
        "INSERT INTO associations
             (uid, method_uid, role_uid, sub_claims, revision, create_time, update_time)
         VALUES ($1, $2, $3, $4, $5, $6, $6)",
    )
    .bind(association.uid.to_string())
    .bind(method_uid.to_string())
    .bind(role_uid.to_string())
    .bind(to_json(&association.sub_claims)?)
    .bind(revision)
    .bind(now)
    .execute(write.connection())
    .await?;
    write.touch_association(association.name());
    write.record(EventKind::AssociationCreated, association.name(), |event| {
        event.after = document::association(association);
    });
    Ok(())
}

impl Engine {
    pub(in crate::store) async fn create_association(
        &self,
        new: &NewAssociation,
        intent: Intent,
        cause: &Cause,
    ) -> Result<Stored<Association>, WriteError> {
        let mut write = ConfigWrite::begin(self, cause).await?;
        let method = auth_methods::get(write.connection(), &new.auth_method).await?;
        let role = roles::get(write.connection(), &new.role).await?;
        let (method, role) = both(method, role, new)?;
        write.within_own(&role.permissions())?;
        let held = held::by_method(write.connection(), &method.uid.to_string()).await?;
        write.within_own(&held)?;
        check(&method, &new.sub_claims)?;
        let association = Association {
            uid: new.uid,
            auth_method: method.id,
            role: role.id,
            sub_claims: new.sub_claims.clone(),
        };
        insert(&mut write, &association, &method.uid, &role.uid).await?;
        let stored = Stored {
            value: association,
            revision: write.revision,
            create_time: write.now(),
            update_time: write.now(),
        };
        write.commit(intent).await?;
        Ok(stored)
    }

    pub(in crate::store) async fn get_association(
        &self,
        uid: Uuid,
    ) -> Result<Option<Stored<Association>>, StoreError> {
        let mut connection = self.readers.acquire().await?;
        get(&mut connection, uid).await
    }

    pub(in crate::store) async fn list_associations(
        &self,
        filter: &AssociationFilter,
        after: Option<&AssociationCursor>,
        limit: u32,
    ) -> Result<Page<Stored<Association>>, StoreError> {
        let (by_id, by_access_id) = match &filter.auth_method {
            None => ("", ""),
            Some(MethodRef::Id(id)) => (id.as_str(), ""),
            Some(MethodRef::AccessId(id)) => ("", id.as_str()),
        };
        let rows: Vec<AssociationRow> = sqlx::query_as(select!(
            "($1 = '' OR m.id = $1) AND ($2 = '' OR m.access_id = $2) AND ($3 = '' OR r.id = $3)
             AND (a.create_time > $4 OR (a.create_time = $4 AND a.uid > $5))
             ORDER BY a.create_time, a.uid LIMIT $6"
        ))
        .bind(by_id)
        .bind(by_access_id)
        .bind(filter.role.as_ref().map_or("", ResourceId::as_str))
        .bind(after.map_or(i64::MIN, |after| micros(after.create_time)))
        .bind(after.map(|after| after.uid.to_string()).unwrap_or_default())
        .bind(i64::from(limit) + 1)
        .fetch_all(&self.readers)
        .await?;
        let (mut page, mut room) = (Page::new(), Room::new(limit));
        for row in rows {
            page.take(row.try_into()?, &mut room, 4096);
            if page.more {
                break;
            }
        }
        Ok(page)
    }

    pub(in crate::store) async fn update_association<F>(
        &self,
        uid: Uuid,
        etag: Etag,
        edit: F,
        intent: Intent,
        cause: &Cause,
    ) -> Result<Stored<Association>, WriteError>
    where
        F: FnOnce(&Association) -> Result<RequiredSubClaims, Invalid> + Send,
    {
        let mut write = ConfigWrite::begin(self, cause).await?;
        let (before, method) = writable(&mut write, uid, etag).await?;
        let after = Association {
            sub_claims: edit(&before.value)?,
            ..before.value.clone()
        };
        check(&method, &after.sub_claims)?;
        let (revision, now) = (write.revision, write.now());
        sqlx::query(
            "UPDATE associations SET sub_claims = $1, revision = $2, update_time = $3 WHERE uid = $4",
        )
        .bind(to_json(&after.sub_claims)?)
        .bind(revision)
        .bind(micros(now))
        .bind(uid.to_string())
        .execute(write.connection())
        .await?;
        write.touch_association(after.name());
        write.record(EventKind::AssociationUpdated, after.name(), |event| {
            event.before = document::association(&before.value);
            event.after = document::association(&after);
        });
        write.administrator_stays().await?;
        write.commit(intent).await?;
        Ok(Stored {
            value: after,
            revision,
            create_time: before.create_time,
            update_time: now,
        })
    }

    pub(in crate::store) async fn delete_association(
        &self,
        uid: Uuid,
        etag: Etag,
        cause: &Cause,
    ) -> Result<(), WriteError> {
        let mut write = ConfigWrite::begin(self, cause).await?;
        let (current, _) = writable(&mut write, uid, etag).await?;
        delete(&mut write, &current.value).await?;
        write.administrator_stays().await?;
        write.commit(Intent::Write).await
    }

    /// What a method's tokens are given, by association, for `WhoCan`.
    pub(in crate::store) async fn given_by_method(
        &self,
        method_uid: &Uuid,
    ) -> Result<Vec<(Uuid, Given)>, StoreError> {
        let mut connection = self.readers.acquire().await?;
        let rows = roles_of_method(&mut connection, &method_uid.to_string()).await?;
        let given = rows
            .into_iter()
            .map(|row| rows::given(&row.association_uid, &row.condition, row.role));
        Ok(given.collect::<Result<_, _>>()?)
    }
}

// === impl HeldRow ===

impl HeldRow {
    fn is_held(&self, claims: &SubClaims, forced: bool) -> Result<bool, Inconsistent> {
        rows::held(&self.association_uid, &self.condition, claims, forced)
    }
}

type Method = postern_core::auth_method::AuthMethod;

fn both(
    method: Option<Stored<Method>>,
    role: Option<Stored<Role>>,
    new: &NewAssociation,
) -> Result<(Method, Role), Invalid> {
    let mut faults = postern_core::invalid::Violations::default();
    if method.is_none() {
        faults.add("association.auth_method", "there is no such auth method");
    }
    if role.is_none() {
        faults.add(
            "association.role",
            format!("there is no role `{}`", new.role),
        );
    }
    match (method, role) {
        (Some(method), Some(role)) => Ok((method.value, role.value)),
        _ => Err(faults.into_invalid()),
    }
}

/// What fits the method that it is for.
fn check(method: &Method, sub_claims: &RequiredSubClaims) -> Result<(), Invalid> {
    const FIELD: &str = "association.sub_claims";
    if method.settings.force_sub_claims && sub_claims.is_empty() {
        return Err(Invalid::field(
            FIELD,
            "is empty, and the auth method says force_sub_claims: name the sub-claims that a token must have",
        ));
    }
    if method.kubernetes().is_none() && !sub_claims.is_empty() {
        return Err(Invalid::field(
            FIELD,
            "must be empty: an access key's token carries no sub-claims",
        ));
    }
    Ok(())
}

/// The association to write to, if neither its role nor its method holds anything that whoever
/// asks doesn't.
async fn writable(
    write: &mut ConfigWrite<'_>,
    uid: Uuid,
    etag: Etag,
) -> Result<(Stored<Association>, Method), WriteError> {
    let current = get(write.connection(), uid)
        .await?
        .ok_or(WriteError::NotFound)?;
    etag.check(current.revision)?;
    let role = roles::get(write.connection(), &current.value.role).await?;
    let role = role.ok_or(WriteError::NotFound)?;
    write.within_own(&role.value.permissions())?;
    let by_id = MethodRef::Id(current.value.auth_method.clone());
    let method = auth_methods::get(write.connection(), &by_id).await?;
    let method = method.ok_or(WriteError::NotFound)?.value;
    let held = held::by_method(write.connection(), &method.uid.to_string()).await?;
    write.within_own(&held)?;
    Ok((current, method))
}
