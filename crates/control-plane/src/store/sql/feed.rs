//! What gateways are told: all of theirs as of one revision, then what changed.

use std::collections::{BTreeMap, BTreeSet};

use postern_core::auth_method::AuthMethod;
use postern_core::meta::Stored;
use postern_core::resource_id::ResourceId;
use postern_core::sealed_config::SealedConfig;

use super::{Connection, Engine, auth_methods, k8s_auth_configs};
use crate::store::{Change, Changes, GatewayIdentity, MethodRef, Snapshot, StoreError};

/// How many changes are read at once.
const BATCH: i64 = 1000;

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
        let touched: BTreeSet<_> = rows
            .iter()
            .filter(|row| row.revision <= reached)
            .map(|row| (row.kind.as_str(), row.name.as_str()))
            .collect();
        let changes = load(&mut tx, &uid, touched).await?;
        tx.commit().await?;
        Ok(Changes::Since {
            revision: reached,
            changes,
        })
    }
}

pub(super) async fn revision(connection: &mut Connection) -> Result<i64, StoreError> {
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

/// The rows as they are now.
async fn load(
    connection: &mut Connection,
    gateway_uid: &str,
    touched: BTreeSet<(&str, &str)>,
) -> Result<Vec<Change>, StoreError> {
    let (mut methods, mut configs, mut gone) = (BTreeMap::new(), Vec::new(), Vec::new());
    for (kind, name) in touched {
        let method = match kind {
            "auth_method" => method(connection, gateway_uid, name).await?,
            _ => None,
        };
        let config = match kind {
            "k8s_auth_config" => config(connection, gateway_uid, name).await?,
            _ => None,
        };
        match (method, config) {
            (Some(method), _) => drop(methods.insert(method.value.access_id.clone(), method)),
            (_, Some(config)) => configs.push(config),
            (None, None) => gone.push(Change::Deleted(name.to_owned())),
        }
    }
    // The method of a new config may be new to the gateway, though nobody touched it.
    for access_id in configs.iter().map(|config| &config.value.view.access_id) {
        if !methods.contains_key(access_id) {
            let method = auth_methods::get_by_access_id(connection, access_id).await;
            methods.extend(readable(method)?.map(|method| (access_id.clone(), method)));
        }
    }
    let methods = methods
        .into_values()
        .map(|method| Change::AuthMethod(Box::new(method)));
    let configs = configs
        .into_iter()
        .map(|config| Change::Config(Box::new(config)));
    Ok(methods.chain(configs).chain(gone).collect())
}

/// `None` also where none of the gateway's configs names it.
async fn method(
    connection: &mut Connection,
    gateway_uid: &str,
    name: &str,
) -> Result<Option<Stored<AuthMethod>>, StoreError> {
    let Ok(id) = ResourceId::of_auth_method(name) else {
        return Ok(None);
    };
    let found = auth_methods::get(connection, &MethodRef::Id(id)).await;
    let Some(method) = readable(found)? else {
        return Ok(None);
    };
    let naming: Option<String> = sqlx::query_scalar(
        "SELECT uid FROM k8s_auth_configs WHERE gateway_uid = $1 AND method_uid = $2 LIMIT 1",
    )
    .bind(gateway_uid)
    .bind(method.value.uid.to_string())
    .fetch_optional(connection)
    .await?;
    Ok(naming.map(|_| method))
}

async fn config(
    connection: &mut Connection,
    gateway_uid: &str,
    name: &str,
) -> Result<Option<Stored<SealedConfig>>, StoreError> {
    let Ok(name) = name.parse() else {
        return Ok(None);
    };
    let row = k8s_auth_configs::get(connection, &name).await?;
    let row = row.filter(|row| row.gateway_uid == gateway_uid);
    readable(
        row.map(Stored::try_from)
            .transpose()
            .map_err(StoreError::from),
    )
}

/// What can't be read is as good as gone: nobody gets in by it, and the gateway's other rows go on.
fn readable<T>(found: Result<Option<T>, StoreError>) -> Result<Option<T>, StoreError> {
    match found {
        Err(StoreError::Inconsistent(fault)) => {
            tracing::error!(%fault, "a gateway isn't told of a row that can't be used");
            Ok(None)
        }
        found => found,
    }
}
