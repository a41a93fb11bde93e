//! What whoever writes to something must hold themselves, since others' tokens hold it.

use postern_core::meta::Stored;
use postern_core::permission::{Permission, Permissions};
use postern_core::role::Role;
use uuid::Uuid;

use super::Connection;
use crate::store::StoreError;
use crate::store::rows::RoleRow;

macro_rules! select {
    ($methods:literal) => {
        concat!(
            "SELECT r.* FROM roles r
             WHERE r.uid IN (SELECT a.role_uid FROM associations a WHERE a.method_uid ",
            $methods,
            ")"
        )
    };
}

/// Its permissions. What its rules of paths are worth elsewhere nobody holds here: they need the
/// right to write roles.
pub(super) fn of_role(role: &Role) -> Permissions {
    let mut held = role.permissions();
    if !role.settings.rules.is_empty() {
        held.extend(&Permissions::from_iter([Permission::RolesWrite]));
    }
    held
}

/// Of some token of the method.
pub(super) async fn by_method(
    connection: &mut Connection,
    method_uid: &str,
) -> Result<Permissions, StoreError> {
    all(connection, select!("= $1"), method_uid).await
}

/// Of some token of a method that a config of the gateway names.
pub(super) async fn by_methods_of_gateway(
    connection: &mut Connection,
    gateway_uid: &str,
) -> Result<Permissions, StoreError> {
    const OF_GATEWAY: &str =
        select!("IN (SELECT c.method_uid FROM k8s_auth_configs c WHERE c.gateway_uid = $1)");
    all(connection, OF_GATEWAY, gateway_uid).await
}

/// Of some token of a method that the role is given to.
pub(super) async fn by_methods_with_role(
    connection: &mut Connection,
    role_uid: &Uuid,
) -> Result<Permissions, StoreError> {
    const WITH_ROLE: &str =
        select!("IN (SELECT b.method_uid FROM associations b WHERE b.role_uid = $1)");
    all(connection, WITH_ROLE, &role_uid.to_string()).await
}

async fn all(
    connection: &mut Connection,
    statement: &'static str,
    uid: &str,
) -> Result<Permissions, StoreError> {
    let rows: Vec<RoleRow> = sqlx::query_as(statement)
        .bind(uid)
        .fetch_all(connection)
        .await?;
    let mut held = Permissions::default();
    for row in rows {
        held.extend(&of_role(&Stored::<Role>::try_from(row)?.value));
    }
    Ok(held)
}
