//! Writing what gateways seal.

use std::time::Duration;

use postern_core::audit::EventKind;
use postern_core::auth_method::Kubernetes;
use postern_core::facts::VerificationMode;
use postern_core::invalid::{Invalid, Violations};
use postern_core::k8s_auth_config::{Issuers, TlsServerName};
use postern_core::meta::Stored;
use postern_core::reason::DenyReason;
use postern_core::resource_id::ConfigName;
use postern_core::sealed_config::{ConfigView, SealedConfig};

use super::super::revocations::Marks;
use super::super::{ConfigWrite, Engine, auth_methods, gateways, held, revocations};
use super::get;
use crate::store::rows::{ConfigRow, to_json};
use crate::store::time::micros;
use crate::store::{Cause, Etag, Intent, StoreError, WriteError, document};

impl Engine {
    pub(in crate::store) async fn create_config(
        &self,
        config: &SealedConfig,
        intent: Intent,
        cause: &Cause,
    ) -> Result<Stored<SealedConfig>, WriteError> {
        let view = &config.view;
        let mut write = ConfigWrite::begin(self, cause).await?;
        let gateway = gateways::get(write.connection(), &view.name.gateway).await?;
        let gateway_uid = gateway.ok_or(WriteError::NotFound)?.value.uid.to_string();
        if get(write.connection(), &view.name).await?.is_some() {
            return Err(WriteError::Exists);
        }
        let method_uid = check_method(&mut write, view).await?;
        take_uid(&mut write, view).await?;
        insert(&mut write, config, &gateway_uid, &method_uid).await?;
        write.touch_config(view.name.to_string(), &gateway_uid);
        record(&mut write, EventKind::ConfigCreated, None, Some(view));
        finish(write, &view.name, intent).await
    }

    pub(in crate::store) async fn update_config(
        &self,
        config: &SealedConfig,
        etag: Etag,
        intent: Intent,
        cause: &Cause,
    ) -> Result<Stored<SealedConfig>, WriteError> {
        let view = &config.view;
        let mut write = ConfigWrite::begin(self, cause).await?;
        let row = get(write.connection(), &view.name)
            .await?
            .ok_or(WriteError::NotFound)?;
        let (gateway_uid, old_method_uid) = (row.gateway_uid.clone(), row.method_uid.clone());
        let before = Stored::<SealedConfig>::try_from(row).map_err(StoreError::from)?;
        etag.check(before.revision)?;
        let stored = &before.value.view;
        // The gateway sealed what it had read: another UID or generation is there by now.
        if view.uid != stored.uid || Some(view.generation) != stored.generation.checked_add(1) {
            return Err(WriteError::Stale {
                current: before.revision,
            });
        }
        let held = held::by_method(write.connection(), &old_method_uid).await?;
        write.within_own(&held)?;
        let method_uid = check_method(&mut write, view).await?;
        update(&mut write, config, &method_uid, before.revision).await?;
        if view.disabled && !stored.disabled {
            revocations::insert(&mut write, &Marks::of_config(&view.uid.to_string())).await?;
        }
        if method_uid != old_method_uid {
            let left =
                auth_methods::get_by_access_id(write.connection(), &stored.access_id).await?;
            if let Some(left) = left {
                write.touch_auth_method(left.value.id.auth_method_name(), &gateway_uid);
            }
        }
        write.touch_config(view.name.to_string(), &gateway_uid);
        record(
            &mut write,
            EventKind::ConfigUpdated,
            Some(stored),
            Some(view),
        );
        finish(write, &view.name, intent).await
    }

    pub(in crate::store) async fn delete_config(
        &self,
        name: &ConfigName,
        etag: Etag,
        cause: &Cause,
    ) -> Result<(), WriteError> {
        let mut write = ConfigWrite::begin(self, cause).await?;
        let row = get(write.connection(), name)
            .await?
            .ok_or(WriteError::NotFound)?;
        let (gateway_uid, method_uid) = (row.gateway_uid.clone(), row.method_uid.clone());
        let before = Stored::<SealedConfig>::try_from(row).map_err(StoreError::from)?;
        etag.check(before.revision)?;
        let held = held::by_method(write.connection(), &method_uid).await?;
        write.within_own(&held)?;
        let view = &before.value.view;
        sqlx::query("DELETE FROM k8s_auth_configs WHERE uid = $1 AND method_uid = $2")
            .bind(view.uid.to_string())
            .bind(method_uid)
            .execute(write.connection())
            .await?;
        revocations::insert(&mut write, &Marks::of_config(&view.uid.to_string())).await?;
        let left = auth_methods::get_by_access_id(write.connection(), &view.access_id).await?;
        if let Some(left) = left {
            write.touch_auth_method(left.value.id.auth_method_name(), &gateway_uid);
        }
        write.touch_config(name.to_string(), &gateway_uid);
        record(&mut write, EventKind::ConfigDeleted, Some(view), None);
        write.commit(Intent::Write).await
    }
}

async fn finish(
    mut write: ConfigWrite<'_>,
    name: &ConfigName,
    intent: Intent,
) -> Result<Stored<SealedConfig>, WriteError> {
    let row: ConfigRow = get(write.connection(), name)
        .await?
        .ok_or(WriteError::NotFound)?;
    let stored = Stored::try_from(row).map_err(StoreError::from)?;
    write.commit(intent).await?;
    Ok(stored)
}

fn record(
    write: &mut ConfigWrite<'_>,
    kind: EventKind,
    before: Option<&ConfigView>,
    after: Option<&ConfigView>,
) {
    let name = before
        .or(after)
        .map(|view| view.name.to_string())
        .unwrap_or_default();
    write.record(kind, name.clone(), |event| {
        event.k8s_auth_config = name;
        event.before = before.and_then(document::config);
        event.after = after.and_then(document::config);
    });
}

/// The UID of the method, which must be a Kubernetes one and have the key.
async fn check_method(
    write: &mut ConfigWrite<'_>,
    view: &ConfigView,
) -> Result<String, WriteError> {
    let method = auth_methods::get_by_access_id(write.connection(), &view.access_id).await?;
    let Some(method) = method.filter(|method| method.value.kubernetes().is_some()) else {
        let fault = "no Kubernetes auth method has this access ID";
        return Err(Invalid::field("access_id", fault).into());
    };
    let listed = |kubernetes: &Kubernetes| !kubernetes.audiences.listed().is_empty();
    if view.mode == VerificationMode::Offline && !method.value.kubernetes().is_some_and(listed) {
        let fault = "is offline, which needs a method that lists audiences: give the auth method one (--audience), or choose another mode";
        return Err(Invalid::field("mode", fault).into());
    }
    let now = write.now();
    let key = method
        .value
        .kubernetes()
        .map(|kubernetes| kubernetes.key(&view.signing_key_id, now).map(|_| ()));
    let fault = match key {
        Some(Ok(())) => {
            // Whoever points a config at a cluster of theirs logs in as any pod of the method.
            let uid = method.value.uid.to_string();
            let held = held::by_method(write.connection(), &uid).await?;
            write.within_own(&held)?;
            return Ok(uid);
        }
        Some(Err(DenyReason::AssertionKeyExpired)) => {
            "is a key of the auth method that has expired: use the private key of a current one"
        }
        _ => "is no key of the auth method: use the private key of one of its public keys",
    };
    Err(Invalid::field("signing_key_id", fault).into())
}

async fn take_uid(write: &mut ConfigWrite<'_>, view: &ConfigView) -> Result<(), WriteError> {
    let mut faults = Violations::default();
    if view.generation != 1 {
        faults.add("generation", "must be 1 at first");
    }
    let now = micros(write.now());
    let taken = sqlx::query(
        "INSERT INTO k8s_auth_config_uids (uid, create_time) VALUES ($1, $2)
         ON CONFLICT (uid) DO NOTHING",
    )
    .bind(view.uid.to_string())
    .bind(now)
    .execute(write.connection())
    .await?;
    if taken.rows_affected() != 1 {
        faults.add("meta.uid", "was used before");
    }
    Ok(faults.finish()?)
}

async fn insert(
    write: &mut ConfigWrite<'_>,
    config: &SealedConfig,
    gateway_uid: &str,
    method_uid: &str,
) -> Result<(), WriteError> {
    let query = sqlx::query(
        "INSERT INTO k8s_auth_configs
             (method_uid, k8s_host, k8s_ca_cert, issuers, disable_issuer_validation, disabled,
              token_exp_seconds, signing_key_id, seal_key_id, reviewer_credential_expire_time,
              generation, sealed, revision, update_time, tls_server_name, reviewer, reviewer_shown,
              mode, jwks, connect_timeout_millis, total_timeout_millis, uid, gateway_uid, id,
              create_time)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
                 $19, $20, $21, $22, $23, $24, $14)",
    );
    let issuers = to_json(&config.view.issuers.listed())?;
    bind(query, write, config, method_uid, &issuers)
        .bind(config.view.uid.to_string())
        .bind(gateway_uid)
        .bind(config.view.name.id.as_str())
        .execute(write.connection())
        .await?;
    Ok(())
}

async fn update(
    write: &mut ConfigWrite<'_>,
    config: &SealedConfig,
    method_uid: &str,
    seen: i64,
) -> Result<(), WriteError> {
    let query = sqlx::query(
        "UPDATE k8s_auth_configs
         SET method_uid = $1, k8s_host = $2, k8s_ca_cert = $3, issuers = $4,
             disable_issuer_validation = $5, disabled = $6, token_exp_seconds = $7,
             signing_key_id = $8, seal_key_id = $9, reviewer_credential_expire_time = $10,
             generation = $11, sealed = $12, revision = $13, update_time = $14,
             tls_server_name = $15, reviewer = $16, reviewer_shown = $17, mode = $18, jwks = $19,
             connect_timeout_millis = $20, total_timeout_millis = $21
         WHERE uid = $22 AND revision = $23",
    );
    let issuers = to_json(&config.view.issuers.listed())?;
    let done = bind(query, write, config, method_uid, &issuers)
        .bind(config.view.uid.to_string())
        .bind(seen)
        .execute(write.connection())
        .await?;
    if done.rows_affected() != 1 {
        return Err(WriteError::Stale { current: seen });
    }
    Ok(())
}

type Query<'q> =
    sqlx::query::Query<'q, super::super::Db, <super::super::Db as sqlx::Database>::Arguments>;

/// $1 to $21.
fn bind<'q>(
    query: Query<'q>,
    write: &ConfigWrite<'_>,
    config: &'q SealedConfig,
    method_uid: &'q str,
    issuers: &'q str,
) -> Query<'q> {
    let view = &config.view;
    let (reviewer, reviewer_shown) = view.reviewer.to_parts();
    query
        .bind(method_uid)
        .bind(
            view.k8s_host
                .as_ref()
                .map_or_else(String::new, ToString::to_string),
        )
        .bind(&view.k8s_ca_cert)
        .bind(issuers)
        .bind(view.issuers == Issuers::NotValidated)
        .bind(view.disabled)
        .bind(view.token_exp.get().as_secs().cast_signed())
        .bind(&view.signing_key_id)
        .bind(&view.seal_key_id)
        .bind(view.reviewer_credential_expire_time.map(micros))
        .bind(view.generation)
        .bind(&config.sealed)
        .bind(write.revision)
        .bind(micros(write.now()))
        .bind(
            view.tls_server_name
                .as_ref()
                .map_or("", TlsServerName::as_str),
        )
        .bind(reviewer)
        .bind(reviewer_shown)
        .bind(view.mode.as_str())
        .bind(&view.jwks)
        .bind(millis(view.timeouts.connect()))
        .bind(millis(view.timeouts.total()))
}

/// At most ten seconds.
fn millis(timeout: Duration) -> i64 {
    i64::from(timeout.subsec_millis()) + timeout.as_secs().cast_signed() * 1000
}
