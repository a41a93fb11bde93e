//! What `auth_method_keys` are used for: which configs sign with them, and when one last did.

use jiff::{SignedDuration, Timestamp};
use postern_core::access_id::AccessId;
use postern_core::resource_id::ResourceId;

use super::Engine;
use super::k8s_auth_configs::MAX_NAMED;
use crate::store::time::{micros, time};
use crate::store::{KeyUses, StoreError};

/// How far apart two notes of a key's use are: a login is no write here.
const NOTED_EVERY: SignedDuration = SignedDuration::from_secs(60);

#[derive(sqlx::FromRow)]
struct KeyRow {
    method_uid: String,
    key_id: String,
    last_used_time: Option<i64>,
    gateway: Option<String>,
    config: Option<String>,
}

impl Engine {
    pub(in crate::store) async fn key_uses(
        &self,
        first: &ResourceId,
        last: &ResourceId,
    ) -> Result<KeyUses, StoreError> {
        let rows: Vec<KeyRow> = sqlx::query_as(
            "SELECT k.method_uid, k.key_id, k.last_used_time, g.name AS gateway, c.id AS config
             FROM auth_method_keys k
             JOIN auth_methods m ON m.uid = k.method_uid
             LEFT JOIN k8s_auth_configs c
                 ON c.method_uid = k.method_uid AND c.signing_key_id = k.key_id
             LEFT JOIN gateways g ON g.uid = c.gateway_uid
             WHERE m.id >= $1 AND m.id <= $2
             ORDER BY k.method_uid, k.key_id, g.name, c.id",
        )
        .bind(first.as_str())
        .bind(last.as_str())
        .fetch_all(&self.readers)
        .await?;
        let mut uses = KeyUses::default();
        for row in rows {
            let key = uses.entry(row.method_uid, row.key_id);
            key.last_used_time = row.last_used_time.and_then(time);
            if let (Some(gateway), Some(config)) = (row.gateway, row.config)
                && key.used_by.len() < MAX_NAMED
            {
                key.used_by
                    .push(format!("gateways/{gateway}/k8sAuthConfigs/{config}"));
            }
        }
        Ok(uses)
    }

    pub(in crate::store) async fn key_used(
        &self,
        access_id: &AccessId,
        key_id: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let noted = now.saturating_sub(NOTED_EVERY).unwrap_or(now);
        sqlx::query(
            "UPDATE auth_method_keys SET last_used_time = $1
             WHERE method_uid = (SELECT uid FROM auth_methods WHERE access_id = $2)
               AND key_id = $3 AND (last_used_time IS NULL OR last_used_time <= $4)",
        )
        .bind(micros(now))
        .bind(access_id.as_str())
        .bind(key_id)
        .bind(micros(noted))
        .execute(&self.writers)
        .await?;
        Ok(())
    }
}
