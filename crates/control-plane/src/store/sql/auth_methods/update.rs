//! Updating an auth method.

use std::collections::BTreeSet;

use postern_core::audit::EventKind;
use postern_core::auth_method::{AuthMethod, Kind, Settings};
use postern_core::invalid::Invalid;
use postern_core::meta::Stored;

use super::super::revocations::Marks;
use super::super::{ConfigWrite, Engine, held, k8s_auth_configs, revocations};
use super::{Columns, get, insert_keys};
use crate::store::time::micros;
use crate::store::{Cause, Etag, Intent, MethodRef, WriteError, document};

impl Engine {
    pub(in crate::store) async fn update_auth_method<F>(
        &self,
        method: &MethodRef,
        etag: Etag,
        edit: F,
        intent: Intent,
        cause: &Cause,
    ) -> Result<Stored<AuthMethod>, WriteError>
    where
        F: FnOnce(&AuthMethod) -> Result<Settings, Invalid> + Send,
    {
        let mut write = ConfigWrite::begin(self, cause).await?;
        let before = get(write.connection(), method)
            .await?
            .ok_or(WriteError::NotFound)?;
        etag.check(before.revision)?;
        let after = AuthMethod {
            settings: edit(&before.value)?,
            ..before.value.clone()
        };
        check_kind(&before.value, &after)?;
        let held = held::by_method(write.connection(), &after.uid.to_string()).await?;
        write.within_own(&held)?;
        remove_keys(&mut write, &before.value, &after).await?;
        check_audiences(&mut write, &after).await?;
        store(&mut write, &before, &after).await?;
        if after.settings.disabled && !before.value.settings.disabled {
            // What ended with the method's being disabled doesn't come back with the method.
            revocations::insert(&mut write, &Marks::of_method(&after.uid.to_string())).await?;
        }
        let name = after.id.auth_method_name();
        write.record(EventKind::AuthMethodUpdated, name, |event| {
            event.before = document::method(&before.value);
            event.after = document::method(&after);
        });
        if matches!(after.settings.kind, Kind::AccessKey) {
            write.administrator_stays().await?;
        }
        let stored = get(write.connection(), method)
            .await?
            .ok_or(WriteError::NotFound)?;
        write.commit(intent).await?;
        Ok(stored)
    }
}

fn check_kind(before: &AuthMethod, after: &AuthMethod) -> Result<(), Invalid> {
    match (&before.settings.kind, &after.settings.kind) {
        (Kind::Kubernetes(_), Kind::Kubernetes(_)) | (Kind::AccessKey, Kind::AccessKey) => Ok(()),
        _ => Err(Invalid::field("type", "can't be changed")),
    }
}

/// Refuses to leave a config that verifies offline without listed audiences: it would let nobody in.
async fn check_audiences(
    write: &mut ConfigWrite<'_>,
    after: &AuthMethod,
) -> Result<(), WriteError> {
    let kubernetes = after.kubernetes();
    if kubernetes.is_none_or(|kubernetes| !kubernetes.audiences.listed().is_empty()) {
        return Ok(());
    }
    let uid = after.uid.to_string();
    let configs = k8s_auth_configs::of_method(write.connection(), &uid).await?;
    match configs.iter().find(|config| config.needs_audiences()) {
        None => Ok(()),
        Some(config) => Err(Invalid::field(
            "auth_method.kubernetes.audiences",
            format!(
                "is empty, and {} verifies offline, which needs listed audiences: keep one, or change that config's mode",
                config.name()
            ),
        )
        .into()),
    }
}

/// Tells the gateways that know the method, and refuses to take away a key that they sign with.
async fn remove_keys(
    write: &mut ConfigWrite<'_>,
    before: &AuthMethod,
    after: &AuthMethod,
) -> Result<(), WriteError> {
    let ids = |method: &AuthMethod| -> BTreeSet<String> {
        let kubernetes = method.kubernetes();
        kubernetes
            .into_iter()
            .flat_map(|k| k.key_ids().map(ToString::to_string))
            .collect()
    };
    let (kept, uid, name) = (
        ids(after),
        after.uid.to_string(),
        after.id.auth_method_name(),
    );
    let configs = k8s_auth_configs::of_method(write.connection(), &uid).await?;
    let needing: Vec<String> = configs
        .iter()
        .filter(|config| !kept.contains(&config.signing_key_id))
        .map(|config| config.name())
        .take(k8s_auth_configs::MAX_NAMED)
        .collect();
    if !needing.is_empty() {
        return Err(WriteError::InUse(needing));
    }
    for gateway_uid in k8s_auth_configs::gateways(&configs) {
        write.touch_auth_method(name.clone(), &gateway_uid);
    }
    write.touch_auth_method(name, "");
    for key_id in ids(before).difference(&kept) {
        sqlx::query("DELETE FROM auth_method_keys WHERE method_uid = $1 AND key_id = $2")
            .bind(&uid)
            .bind(key_id)
            .execute(write.connection())
            .await?;
    }
    Ok(())
}

pub(super) async fn store(
    write: &mut ConfigWrite<'_>,
    before: &Stored<AuthMethod>,
    after: &AuthMethod,
) -> Result<(), WriteError> {
    let columns = Columns::of(after)?;
    let (revision, now) = (write.revision, micros(write.now()));
    let query = sqlx::query(
        "UPDATE auth_methods
         SET description = $1, access_expire_time = $2, token_ttl_seconds = $3, disabled = $4,
             bound_ips = $5, gw_bound_ips = $6, audiences = $7, allow_any_audience = $8,
             rules = $9, token_max_ttl_seconds = $10, force_sub_claims = $11,
             audit_logs_claims = $12, delete_protection = $13, allow_legacy_tokens = $14,
             require_pod = $15, single_use = $16, max_presented_age_seconds = $17,
             max_presented_lifetime_seconds = $18, token_num_uses = $19,
             cap_to_presented_expiry = $20, revoke_with_pod = $21, token_format = $22,
             token_audiences = $23, revision = $24, update_time = $25
         WHERE uid = $26 AND revision = $27",
    );
    let done = columns
        .bind(query)
        .bind(revision)
        .bind(now)
        .bind(after.uid.to_string())
        .bind(before.revision)
        .execute(write.connection())
        .await?;
    if done.rows_affected() != 1 {
        return Err(WriteError::Stale {
            current: before.revision,
        });
    }
    insert_keys(write, after).await
}
