//! Another name for an auth method, by which nothing refers to it.

use postern_core::audit::EventKind;
use postern_core::auth_method::AuthMethod;
use postern_core::meta::Stored;
use postern_core::resource_id::ResourceId;

use super::super::{ConfigWrite, Engine, held, k8s_auth_configs};
use super::get;
use crate::store::time::micros;
use crate::store::{Cause, Etag, Intent, MethodRef, WriteError, document};

impl Engine {
    pub(in crate::store) async fn rename_auth_method(
        &self,
        method: &MethodRef,
        etag: Etag,
        id: &ResourceId,
        intent: Intent,
        cause: &Cause,
    ) -> Result<Stored<AuthMethod>, WriteError> {
        let mut write = ConfigWrite::begin(self, cause).await?;
        let before = get(write.connection(), method)
            .await?
            .ok_or(WriteError::NotFound)?;
        etag.check(before.revision)?;
        let uid = before.value.uid.to_string();
        let held = held::by_method(write.connection(), &uid).await?;
        write.within_own(&held)?;
        if before.value.id == *id {
            return Ok(before);
        }
        let (revision, now) = (write.revision, micros(write.now()));
        sqlx::query(
            "UPDATE auth_methods SET id = $1, revision = $2, update_time = $3 WHERE uid = $4",
        )
        .bind(id.as_str())
        .bind(revision)
        .bind(now)
        .bind(&uid)
        .execute(write.connection())
        .await?;
        let configs = k8s_auth_configs::of_method(write.connection(), &uid).await?;
        let gateways = k8s_auth_configs::gateways(&configs);
        let names = [before.value.id.auth_method_name(), id.auth_method_name()];
        for name in &names {
            for gateway_uid in &gateways {
                write.touch_auth_method(name.clone(), gateway_uid);
            }
            write.touch_auth_method(name.clone(), "");
        }
        let [old, new] = names;
        write.record(EventKind::AuthMethodRenamed, new.clone(), |event| {
            event.before = document::name(&old);
            event.after = document::name(&new);
        });
        let by_id = MethodRef::Id(id.clone());
        let stored = get(write.connection(), &by_id)
            .await?
            .ok_or(WriteError::NotFound)?;
        write.commit(intent).await?;
        Ok(stored)
    }
}
