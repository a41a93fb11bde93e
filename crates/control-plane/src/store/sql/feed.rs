//! What gateways are told: all of theirs as of one revision, then what changed.

use std::collections::{BTreeSet, HashMap};

use postern_core::auth_method::AuthMethod;
use postern_core::meta::Stored;
use postern_core::sealed_config::SealedConfig;

use super::{Connection, Engine, auth_methods, k8s_auth_configs};
use crate::store::{Change, Changes, GatewayIdentity, Snapshot, StoreError};

/// How many changes are read at once.
const BATCH: i64 = 1000;

/// What one gateway has now, by full name.
struct Current {
    methods: HashMap<String, Stored<AuthMethod>>,
    configs: HashMap<String, Stored<SealedConfig>>,
}

#[derive(sqlx::FromRow)]
struct ChangeRow {
    revision: i64,
    kind: String,
    name: String,
}

impl Engine {
    pub(in crate::store) async fn current_revision(&self) -> Result<i64, StoreError> {
        let mut connection = self.readers.acquire().await?;
        let revision = revision(&mut connection).await?;
        self.hooks.reached(revision);
        Ok(revision)
    }

    pub(in crate::store) async fn snapshot(
        &self,
        gateway: &GatewayIdentity,
    ) -> Result<Snapshot, StoreError> {
        let uid = gateway.uid.to_string();
        let mut tx = self.begin_read().await?;
        let snapshot = Snapshot {
            revision: revision(&mut tx).await?,
            methods: auth_methods::of_gateway(&mut tx, &uid).await?,
            configs: k8s_auth_configs::sealed_of_gateway(&mut tx, &uid).await?,
        };
        tx.commit().await?;
        Ok(snapshot)
    }

    pub(in crate::store) async fn changes_since(
        &self,
        gateway: &GatewayIdentity,
        after: i64,
    ) -> Result<Changes, StoreError> {
        let uid = gateway.uid.to_string();
        let mut tx = self.begin_read().await?;
        let now = revision(&mut tx).await?;
        if after > now || (after < now && !is_kept(&mut tx, after + 1).await?) {
            return Ok(Changes::TooOld);
        }
        let rows: Vec<ChangeRow> = sqlx::query_as(
            "SELECT revision, kind, name FROM changes
             WHERE gateway_uid = $1 AND revision > $2 ORDER BY revision LIMIT $3",
        )
        .bind(&uid)
        .bind(after)
        .bind(BATCH)
        .fetch_all(&mut *tx)
        .await?;
        let full = rows.len() as i64 == BATCH;
        let last = rows.last().filter(|_| full);
        // A revision that was cut in two is asked for again.
        let reached = last.map_or(now, |row| row.revision - 1);
        if reached <= after && after < now {
            return Ok(Changes::TooOld);
        }
        let changes = if rows.is_empty() {
            Vec::new()
        } else {
            let current = current(&mut tx, &uid).await?;
            current.changes(rows.iter().filter(|row| row.revision <= reached))
        };
        tx.commit().await?;
        Ok(Changes::Since {
            revision: reached,
            changes,
        })
    }
}

async fn revision(connection: &mut Connection) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar("SELECT value FROM revision")
        .fetch_one(connection)
        .await?)
}

/// Each revision has a change, and the oldest ones are forgotten first.
async fn is_kept(connection: &mut Connection, revision: i64) -> Result<bool, StoreError> {
    let found: Option<i64> =
        sqlx::query_scalar("SELECT revision FROM changes WHERE revision = $1 LIMIT 1")
            .bind(revision)
            .fetch_optional(connection)
            .await?;
    Ok(found.is_some())
}

async fn current(connection: &mut Connection, gateway_uid: &str) -> Result<Current, StoreError> {
    let methods = auth_methods::of_gateway(connection, gateway_uid).await?;
    let configs = k8s_auth_configs::sealed_of_gateway(connection, gateway_uid).await?;
    let method_name = |method: &Stored<AuthMethod>| method.value.id.auth_method_name();
    let config_name = |config: &Stored<SealedConfig>| config.value.view.name.to_string();
    Ok(Current {
        methods: methods.into_iter().map(|m| (method_name(&m), m)).collect(),
        configs: configs.into_iter().map(|c| (config_name(&c), c)).collect(),
    })
}

impl Current {
    fn changes<'r>(mut self, rows: impl Iterator<Item = &'r ChangeRow>) -> Vec<Change> {
        let (mut methods, mut configs, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        let named: BTreeSet<(&str, &str)> = rows
            .map(|row| (row.kind.as_str(), row.name.as_str()))
            .collect();
        for (kind, name) in named {
            let method = self.methods.remove(name).map(Box::new);
            let config = self.configs.remove(name).map(Box::new);
            match (kind, method, config) {
                ("k8s_auth_config", _, Some(config)) => configs.push(config),
                ("auth_method", Some(method), _) => methods.push(method),
                _ => gone.push(Change::Deleted(name.to_owned())),
            }
        }
        // The method of a new config may be new to the gateway, though nobody touched it.
        for config in &configs {
            let access_id = &config.value.view.access_id;
            let name = self
                .methods
                .iter()
                .find(|(_, m)| m.value.access_id == *access_id);
            let name = name.map(|(name, _)| name.clone());
            let method = name.and_then(|name| self.methods.remove(&name));
            methods.extend(method.map(Box::new));
        }
        let methods = methods.into_iter().map(Change::AuthMethod);
        let configs = configs.into_iter().map(Change::Config);
        methods.chain(configs).chain(gone).collect()
    }
}
