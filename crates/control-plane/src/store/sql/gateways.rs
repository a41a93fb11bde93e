//! `gateways`.

use postern_core::access_token::TokenHash;
use postern_core::audit::EventKind;
use postern_core::meta::Stored;
use postern_core::resource_id::GatewayName;

use super::{ConfigWrite, Connection, Engine, k8s_auth_configs};
use crate::store::page::Room;
use crate::store::rows::GatewayRow;
use crate::store::time::micros;
use crate::store::{Cause, Etag, Gateway, Intent, Page, StoreError, WriteError, document};

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
             (uid, name, access_id, url, description, revision, create_time, update_time)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $7)",
    )
    .bind(&uid)
    .bind(gateway.name.as_str())
    .bind(gateway.access_id.as_str())
    .bind(&gateway.url)
    .bind(&gateway.description)
    .bind(revision)
    .bind(now)
    .execute(write.connection())
    .await?;
    sqlx::query("INSERT INTO access_keys (key_hash, gateway_uid, create_time) VALUES ($1, $2, $3)")
        .bind(key.as_bytes().as_slice())
        .bind(&uid)
        .bind(now)
        .execute(write.connection())
        .await?;
    write.touch_gateway(gateway.name.full());
    write.record(EventKind::GatewayCreated, gateway.name.full(), |event| {
        event.after = document::gateway(gateway);
    });
    Ok(())
}

impl Engine {
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
            page.take(row.try_into()?, &mut room, 0);
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
        let current = get(write.connection(), name)
            .await?
            .ok_or(WriteError::NotFound)?;
        etag.check(current.revision)?;
        let uid = current.value.uid.to_string();
        let configs = k8s_auth_configs::of_gateway(write.connection(), &uid).await?;
        k8s_auth_configs::delete_with_owner(&mut write, configs, force).await?;
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
