//! `gateways`.

use postern_core::access_token::TokenHash;
use postern_core::audit::EventKind;
use postern_core::invalid::Invalid;
use postern_core::meta::Stored;
use postern_core::resource_id::GatewayName;

use super::access_keys::{self, Owner};
use super::revocations::Marks;
use super::{ConfigWrite, Connection, Engine, held, k8s_auth_configs, revocations};
use crate::store::instances::MAX_INSTANCES;
use crate::store::page::Room;
use crate::store::rows::GatewayRow;
use crate::store::time::micros;
use crate::store::{Cause, Etag, Gateway, Intent, NewKey, Page, StoreError, WriteError, document};

/// With as many replicas as are remembered.
const WEIGHT: usize = 4096 + MAX_INSTANCES * 320;

pub(super) async fn get(
    connection: &mut Connection,
    name: &GatewayName,
) -> Result<Option<Stored<Gateway>>, StoreError> {
    let row: Option<GatewayRow> = sqlx::query_as("SELECT * FROM gateways WHERE name = $1")
        .bind(name.as_str())
        .fetch_optional(connection)
        .await?;
    Ok(row.map(Stored::try_from).transpose()?)
}

pub(super) async fn insert(
    write: &mut ConfigWrite<'_>,
    gateway: &Gateway,
    key: &TokenHash,
) -> Result<(), WriteError> {
    let (revision, now) = (write.revision, micros(write.now()));
    let uid = gateway.uid.to_string();
    sqlx::query(
        "INSERT INTO gateways
             (uid, name, access_id, url, description, disabled, revision, create_time, update_time)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)",
    )
    .bind(&uid)
    .bind(gateway.name.as_str())
    .bind(gateway.access_id.as_str())
    .bind(&gateway.url)
    .bind(&gateway.description)
    .bind(gateway.disabled)
    .bind(revision)
    .bind(now)
    .execute(write.connection())
    .await?;
    access_keys::insert(write, Owner::Gateway(&uid), key).await?;
    write.touch_gateway(gateway.name.full());
    write.record(EventKind::GatewayCreated, gateway.name.full(), |event| {
        event.after = document::gateway(gateway);
    });
    Ok(())
}

/// The row as `after` says, under the write's revision.
async fn store(
    write: &mut ConfigWrite<'_>,
    before: &Stored<Gateway>,
    after: &Gateway,
) -> Result<Stored<Gateway>, WriteError> {
    let (revision, now) = (write.revision, write.now());
    sqlx::query(
        "UPDATE gateways
         SET url = $1, description = $2, disabled = $3, revision = $4, update_time = $5
         WHERE uid = $6",
    )
    .bind(&after.url)
    .bind(&after.description)
    .bind(after.disabled)
    .bind(revision)
    .bind(micros(now))
    .bind(after.uid.to_string())
    .execute(write.connection())
    .await?;
    write.touch_gateway(after.name.full());
    Ok(Stored {
        value: after.clone(),
        revision,
        create_time: before.create_time,
        update_time: now,
    })
}

async fn current(
    write: &mut ConfigWrite<'_>,
    name: &GatewayName,
    etag: Etag,
) -> Result<Stored<Gateway>, WriteError> {
    let current = get(write.connection(), name)
        .await?
        .ok_or(WriteError::NotFound)?;
    etag.check(current.revision)?;
    Ok(current)
}

/// Whoever stands where the gateway does, or has its credential, logs in as any pod of its methods.
async fn within_own(write: &mut ConfigWrite<'_>, gateway: &Gateway) -> Result<(), WriteError> {
    let uid = gateway.uid.to_string();
    let held = held::by_methods_of_gateway(write.connection(), &uid).await?;
    write.within_own(&held)
}

impl Engine {
    pub(in crate::store) async fn update_gateway<F>(
        &self,
        name: &GatewayName,
        etag: Etag,
        edit: F,
        intent: Intent,
        cause: &Cause,
    ) -> Result<Stored<Gateway>, WriteError>
    where
        F: FnOnce(&Gateway) -> Result<Gateway, Invalid> + Send,
    {
        let mut write = ConfigWrite::begin(self, cause).await?;
        let before = current(&mut write, name, etag).await?;
        let after = edit(&before.value)?;
        if (&after.url, after.disabled) != (&before.value.url, before.value.disabled) {
            within_own(&mut write, &before.value).await?;
        }
        let stored = store(&mut write, &before, &after).await?;
        if after.disabled && !before.value.disabled {
            revocations::insert(&mut write, &Marks::of_gateway(&after.uid.to_string())).await?;
        }
        write.record(EventKind::GatewayUpdated, name.full(), |event| {
            event.before = document::gateway(&before.value);
            event.after = document::gateway(&after);
        });
        write.commit(intent).await?;
        Ok(stored)
    }

    pub(in crate::store) async fn rotate_gateway_key(
        &self,
        name: &GatewayName,
        etag: Etag,
        key: &NewKey,
        intent: Intent,
        cause: &Cause,
    ) -> Result<Stored<Gateway>, WriteError> {
        let mut write = ConfigWrite::begin(self, cause).await?;
        let before = current(&mut write, name, etag).await?;
        within_own(&mut write, &before.value).await?;
        let uid = before.value.uid.to_string();
        access_keys::rotate(&mut write, Owner::Gateway(&uid), key).await?;
        let stored = store(&mut write, &before, &before.value).await?;
        write.record(EventKind::GatewayCredentialRotated, name.full(), |event| {
            event.after = document::rotation(key);
        });
        write.commit(intent).await?;
        Ok(stored)
    }

    pub(in crate::store) async fn gateways_at(
        &self,
        url: &str,
    ) -> Result<Vec<GatewayName>, StoreError> {
        let rows: Vec<GatewayRow> =
            sqlx::query_as("SELECT * FROM gateways WHERE url = $1 ORDER BY name LIMIT 20")
                .bind(url)
                .fetch_all(&self.readers)
                .await?;
        let names = rows
            .into_iter()
            .map(|row| Stored::<Gateway>::try_from(row).map(|stored| stored.value.name));
        Ok(names.collect::<Result<_, _>>()?)
    }

    pub(in crate::store) async fn create_gateway(
        &self,
        gateway: &Gateway,
        key: &TokenHash,
        cause: &Cause,
    ) -> Result<Stored<Gateway>, WriteError> {
        let mut write = ConfigWrite::begin(self, cause).await?;
        insert(&mut write, gateway, key).await?;
        let stored = Stored {
            value: gateway.clone(),
            revision: write.revision,
            create_time: write.now(),
            update_time: write.now(),
        };
        write.commit(Intent::Write).await?;
        Ok(stored)
    }

    pub(in crate::store) async fn get_gateway(
        &self,
        name: &GatewayName,
    ) -> Result<Option<Stored<Gateway>>, StoreError> {
        let mut connection = self.readers.acquire().await?;
        get(&mut connection, name).await
    }

    pub(in crate::store) async fn list_gateways(
        &self,
        after: Option<&GatewayName>,
        limit: u32,
    ) -> Result<Page<Stored<Gateway>>, StoreError> {
        let rows: Vec<GatewayRow> =
            sqlx::query_as("SELECT * FROM gateways WHERE name > $1 ORDER BY name LIMIT $2")
                .bind(after.map_or("", GatewayName::as_str))
                .bind(i64::from(limit) + 1)
                .fetch_all(&self.readers)
                .await?;
        let (mut page, mut room) = (Page::new(), Room::new(limit));
        for row in rows {
            page.take(row.try_into()?, &mut room, WEIGHT);
        }
        Ok(page)
    }

    pub(in crate::store) async fn delete_gateway(
        &self,
        name: &GatewayName,
        etag: Etag,
        force: bool,
        cause: &Cause,
    ) -> Result<(), WriteError> {
        let mut write = ConfigWrite::begin(self, cause).await?;
        let current = current(&mut write, name, etag).await?;
        within_own(&mut write, &current.value).await?;
        let uid = current.value.uid.to_string();
        let configs = k8s_auth_configs::of_gateway(write.connection(), &uid).await?;
        k8s_auth_configs::delete_with_owner(&mut write, configs, force).await?;
        revocations::insert(&mut write, &Marks::of_gateway(&uid)).await?;
        sqlx::query("DELETE FROM gateways WHERE uid = $1")
            .bind(&uid)
            .execute(write.connection())
            .await?;
        write.touch_gateway(name.full());
        write.record(EventKind::GatewayDeleted, name.full(), |event| {
            event.before = document::gateway(&current.value);
        });
        write.commit(Intent::Write).await
    }
}
