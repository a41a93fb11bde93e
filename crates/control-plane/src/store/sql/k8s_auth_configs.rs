//! `k8s_auth_configs`: reading, and deleting with what they belong to.

mod write;

use std::collections::BTreeSet;

use futures::TryStreamExt as _;
use postern_core::audit::EventKind;
use postern_core::facts::VerificationMode;
use postern_core::meta::Stored;
use postern_core::resource_id::{ConfigName, GatewayName};
use postern_core::sealed_config::SealedConfig;

use super::{ConfigWrite, Connection, Engine};
use crate::store::page::Room;
use crate::store::rows::ConfigRow;
use crate::store::{Page, StoreError, WriteError};

/// How many of the configs in the way an error names.
pub(super) const MAX_NAMED: usize = 20;

macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT c.uid, g.name AS gateway, c.gateway_uid, c.id, m.access_id, c.method_uid,
                    c.k8s_host, c.k8s_ca_cert, c.issuers, c.disable_issuer_validation, c.disabled,
                    c.token_exp_seconds, c.signing_key_id, c.seal_key_id,
                    c.reviewer_credential_expire_time, c.tls_server_name, c.reviewer,
                    c.reviewer_shown, c.mode, c.jwks, c.connect_timeout_millis,
                    c.total_timeout_millis, c.generation, c.sealed, c.revision, c.create_time,
                    c.update_time
             FROM k8s_auth_configs c
             JOIN gateways g ON g.uid = c.gateway_uid
             JOIN auth_methods m ON m.uid = c.method_uid
             WHERE ",
            $condition
        )
    };
}

pub(super) async fn get(
    connection: &mut Connection,
    name: &ConfigName,
) -> Result<Option<ConfigRow>, StoreError> {
    Ok(sqlx::query_as(select!("g.name = $1 AND c.id = $2"))
        .bind(name.gateway.as_str())
        .bind(name.id.as_str())
        .fetch_optional(connection)
        .await?)
}

/// All of one gateway. One that can't be read is left out, as if it weren't there.
pub(super) async fn sealed_of_gateway(
    connection: &mut Connection,
    gateway_uid: &str,
) -> Result<Vec<Stored<SealedConfig>>, StoreError> {
    let rows: Vec<ConfigRow> = sqlx::query_as(select!("c.gateway_uid = $1 ORDER BY c.id"))
        .bind(gateway_uid)
        .fetch_all(connection)
        .await?;
    let readable = rows.into_iter().filter_map(|row| {
        Stored::try_from(row)
            .inspect_err(|fault| tracing::error!(%fault, "a K8s auth config can't be used"))
            .ok()
    });
    Ok(readable.collect())
}

/// What a config's owner must know of it.
#[derive(sqlx::FromRow)]
pub(super) struct ConfigRef {
    uid: String,
    id: String,
    gateway: String,
    gateway_uid: String,
    pub(super) signing_key_id: String,
    mode: String,
}

impl ConfigRef {
    /// Whether it works for methods that list audiences only.
    pub(super) fn needs_audiences(&self) -> bool {
        self.mode == VerificationMode::Offline.as_str()
    }

    pub(super) fn name(&self) -> String {
        format!("gateways/{}/k8sAuthConfigs/{}", self.gateway, self.id)
    }
}

macro_rules! select_refs {
    ($condition:literal) => {
        concat!(
            "SELECT c.uid, c.id, g.name AS gateway, c.gateway_uid, c.signing_key_id, c.mode
             FROM k8s_auth_configs c JOIN gateways g ON g.uid = c.gateway_uid
             WHERE ",
            $condition,
            " ORDER BY g.name, c.id"
        )
    };
}

pub(super) async fn of_method(
    connection: &mut Connection,
    method_uid: &str,
) -> Result<Vec<ConfigRef>, StoreError> {
    let refs = sqlx::query_as(select_refs!("c.method_uid = $1"));
    Ok(refs.bind(method_uid).fetch_all(connection).await?)
}

pub(super) async fn of_gateway(
    connection: &mut Connection,
    gateway_uid: &str,
) -> Result<Vec<ConfigRef>, StoreError> {
    let refs = sqlx::query_as(select_refs!("c.gateway_uid = $1"));
    Ok(refs.bind(gateway_uid).fetch_all(connection).await?)
}

/// Which gateways have one of them.
pub(super) fn gateways(configs: &[ConfigRef]) -> BTreeSet<String> {
    configs
        .iter()
        .map(|config| config.gateway_uid.clone())
        .collect()
}

/// Makes way for the deletion of what the configs belong to, or says that they are in the way.
pub(super) async fn delete_with_owner(
    write: &mut ConfigWrite<'_>,
    configs: Vec<ConfigRef>,
    force: bool,
) -> Result<(), WriteError> {
    if !configs.is_empty() && !force {
        let names = configs.iter().take(MAX_NAMED).map(ConfigRef::name);
        return Err(WriteError::InUse(names.collect()));
    }
    for config in configs {
        sqlx::query("DELETE FROM k8s_auth_configs WHERE uid = $1")
            .bind(&config.uid)
            .execute(write.connection())
            .await?;
        write.touch_config(config.name(), &config.gateway_uid);
        write.record(EventKind::ConfigDeleted, config.name(), |event| {
            event.k8s_auth_config = config.name();
        });
    }
    Ok(())
}

impl Engine {
    pub(in crate::store) async fn get_config(
        &self,
        name: &ConfigName,
    ) -> Result<Option<Stored<SealedConfig>>, StoreError> {
        let mut connection = self.readers.acquire().await?;
        let row = get(&mut connection, name).await?;
        Ok(row.map(Stored::try_from).transpose()?)
    }

    pub(in crate::store) async fn list_configs(
        &self,
        gateway: Option<&GatewayName>,
        after: Option<&ConfigName>,
        limit: u32,
    ) -> Result<Page<Stored<SealedConfig>>, StoreError> {
        // $1 empty: all gateways.
        let mut rows = sqlx::query_as::<_, ConfigRow>(select!(
            "($1 = '' OR g.name = $1) AND (g.name > $2 OR (g.name = $2 AND c.id > $3))
             ORDER BY g.name, c.id LIMIT $4"
        ))
        .bind(gateway.map_or("", GatewayName::as_str))
        .bind(after.map_or("", |name| name.gateway.as_str()))
        .bind(after.map_or("", |name| name.id.as_str()))
        .bind(i64::from(limit) + 1)
        .fetch(&self.readers);
        let (mut page, mut room) = (Page::new(), Room::new(limit));
        while let Some(row) = rows.try_next().await? {
            let weight = row.weight();
            page.take(row.try_into()?, &mut room, weight);
            if page.more {
                break;
            }
        }
        Ok(page)
    }
}
