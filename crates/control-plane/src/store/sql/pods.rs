//! Pods that were deleted, and the tokens that end with them.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use postern_core::audit::{Component, Event, EventKind};
use postern_core::resource_id::{ConfigName, ResourceId};
use sqlx::QueryBuilder;
use uuid::Uuid;

use super::super::BETWEEN_LOGINS;
use super::{Connection, Db, Engine, audit, portions};
use crate::store::time::{micros, stored};
use crate::store::{GatewayIdentity, Inconsistent, RevokePods, StoreError, TokenPod};

/// How long a deleted pod is remembered: longer than an assertion or a cached verdict is good, and
/// as long as a token may be that is verified without asking the cluster, unless its method says otherwise.
pub(super) const REMEMBERED: SignedDuration = SignedDuration::from_hours(1);

#[derive(sqlx::FromRow)]
struct Ended {
    pod_uid: String,
    namespace: Option<String>,
    access_id: String,
}

#[derive(sqlx::FromRow)]
struct PodRow {
    pod_uid: String,
    namespace: Option<String>,
}

impl Engine {
    pub(in crate::store) async fn revoke_pods(
        &self,
        revoke: &RevokePods,
    ) -> Result<Option<u64>, StoreError> {
        let mut tx = self.begin_write().await?;
        let Some(config) = own(&mut tx, &revoke.gateway, revoke.config_uid).await? else {
            return Ok(None);
        };
        let now = stored(revoke.now);
        remember(&mut tx, revoke, now).await?;
        // No login is open that hasn't seen the deletion: its token is there to be deleted.
        if let Some(statement) = BETWEEN_LOGINS {
            sqlx::raw_sql(statement).execute(&mut *tx).await?;
        }
        let ended = delete_tokens(&mut tx, revoke).await?;
        let events = events(revoke, &config, &ended);
        let new = audit::insert(&mut tx, &events).await?;
        tx.commit().await?;
        self.hooks.recorded(new);
        Ok(Some(ended.len() as u64))
    }

    /// By UID.
    pub(in crate::store) async fn token_pods(
        &self,
        gateway: &GatewayIdentity,
        config_uid: Uuid,
        after: &str,
        limit: u32,
        now: Timestamp,
    ) -> Result<Option<Vec<TokenPod>>, StoreError> {
        let mut connection = self.readers.acquire().await?;
        if own(&mut connection, gateway, config_uid).await?.is_none() {
            return Ok(None);
        }
        let rows: Vec<PodRow> = sqlx::query_as(
            "SELECT pod_uid, MIN(namespace) AS namespace FROM tokens
             WHERE config_uid = $1 AND pod_uid > $2 AND expire_time > $3
             GROUP BY pod_uid ORDER BY pod_uid LIMIT $4",
        )
        .bind(config_uid.to_string())
        .bind(after)
        .bind(micros(now))
        .bind(i64::from(limit))
        .fetch_all(&mut *connection)
        .await?;
        let pods = rows.into_iter().map(|row| TokenPod {
            uid: row.pod_uid,
            namespace: row.namespace.unwrap_or_default(),
        });
        Ok(Some(pods.collect()))
    }
}

/// The name of one of the gateway's own configs.
async fn own(
    connection: &mut Connection,
    gateway: &GatewayIdentity,
    config_uid: Uuid,
) -> Result<Option<ConfigName>, StoreError> {
    let id: Option<String> =
        sqlx::query_scalar("SELECT id FROM k8s_auth_configs WHERE uid = $1 AND gateway_uid = $2")
            .bind(config_uid.to_string())
            .bind(gateway.uid.to_string())
            .fetch_optional(connection)
            .await?;
    let Some(id) = id else { return Ok(None) };
    let id = id.parse::<ResourceId>().map_err(|_| Inconsistent {
        table: "k8s_auth_configs",
        column: "id",
        key: config_uid.to_string(),
    })?;
    Ok(Some(ConfigName {
        gateway: gateway.name.clone(),
        id,
    }))
}

async fn remember(
    connection: &mut Connection,
    revoke: &RevokePods,
    now: Timestamp,
) -> Result<(), StoreError> {
    let rows: Vec<_> = revoke.pod_uids.iter().collect();
    for rows in portions(&rows) {
        let mut insert =
            QueryBuilder::<Db>::new("INSERT INTO deleted_pods (config_uid, pod_uid, delete_time) ");
        insert.push_values(rows, |mut row, uid| {
            row.push_bind(revoke.config_uid.to_string())
                .push_bind(*uid)
                .push_bind(micros(now));
        });
        insert.push(" ON CONFLICT (config_uid, pod_uid) DO NOTHING");
        insert.build().execute(&mut *connection).await?;
    }
    Ok(())
}

async fn delete_tokens(
    connection: &mut Connection,
    revoke: &RevokePods,
) -> Result<Vec<Ended>, StoreError> {
    let rows: Vec<_> = revoke.pod_uids.iter().collect();
    let mut ended = Vec::new();
    for rows in portions(&rows) {
        let mut delete = QueryBuilder::<Db>::new("DELETE FROM tokens WHERE config_uid = ");
        delete.push_bind(revoke.config_uid.to_string());
        delete.push(" AND pod_uid IN (");
        let mut uids = delete.separated(", ");
        for uid in rows {
            uids.push_bind(*uid);
        }
        delete.push(") RETURNING pod_uid, namespace, access_id");
        ended.extend(delete.build_query_as().fetch_all(&mut *connection).await?);
    }
    Ok(ended)
}

/// One for each pod that held tokens.
fn events(revoke: &RevokePods, config: &ConfigName, ended: &[Ended]) -> Vec<Event> {
    let mut pods: BTreeMap<&str, (&Ended, u32)> = BTreeMap::new();
    for token in ended {
        pods.entry(&token.pod_uid).or_insert((token, 0)).1 += 1;
    }
    let pods = pods.into_iter();
    let event = |(uid, (token, count)): (&str, (&Ended, u32))| Event {
        request_id: revoke.request_id.clone(),
        gateway: revoke.gateway.name.to_string(),
        k8s_auth_config: config.to_string(),
        access_id: token.access_id.clone(),
        resource: format!("pods/{uid}"),
        sub_claims: [(
            "namespace".to_owned(),
            token.namespace.iter().cloned().collect(),
        )]
        .into(),
        count,
        ..Event::new(
            EventKind::TokensRevokedWithPod,
            Component::ControlPlane,
            revoke.now,
        )
    };
    pods.map(event).collect()
}
