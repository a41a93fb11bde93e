//! `access_keys`: credentials of access-key methods and of gateways.

use jiff::{SignedDuration, Timestamp};
use postern_core::access_id::AccessId;
use postern_core::access_token::{AccessKeyId, TokenHash};
use postern_core::invalid::Invalid;
use postern_core::resource_id::{GatewayName, ResourceId};

use super::{ConfigWrite, Connection, Engine};
use crate::store::access_keys::MAX_GOOD_KEYS;
use crate::store::time::{micros, time};
use crate::store::{
    Inconsistent, KeyOverlap, NewKey, StoreError, StoredKey, StoredKeys, WriteError,
};

/// How far apart two notes of a key's use are.
const NOTED_EVERY: SignedDuration = SignedDuration::from_secs(60);

/// Whose key it is, by UID.
#[derive(Debug, Clone, Copy)]
pub(super) enum Owner<'u> {
    Method(&'u str),
    Gateway(&'u str),
}

#[derive(sqlx::FromRow)]
struct KeyRow {
    owner: String,
    key_hash: Vec<u8>,
    create_time: i64,
    expire_time: Option<i64>,
    last_used_time: Option<i64>,
}

/// A good key that somebody showed.
pub(super) struct Shown {
    expire_time: Option<Timestamp>,
    /// Nobody noted within the last minute that it is in use.
    pub(super) note_due: bool,
}

// === impl Owner ===

impl<'u> Owner<'u> {
    /// `method_uid` and `gateway_uid`; nobody's UID is empty.
    fn columns(self) -> (&'u str, &'u str) {
        match self {
            Self::Method(uid) => (uid, ""),
            Self::Gateway(uid) => ("", uid),
        }
    }
}

// === impl KeyRow ===

impl KeyRow {
    fn hash(&self) -> Result<TokenHash, Inconsistent> {
        TokenHash::try_from(self.key_hash.as_slice()).map_err(|_| self.fault("key_hash"))
    }

    fn good(&self, now: Timestamp) -> bool {
        self.expire_time.is_none_or(|end| end > micros(now))
    }

    fn stored(&self) -> Result<StoredKey, Inconsistent> {
        let at = |column, micros| time(micros).ok_or_else(|| self.fault(column));
        let or_never = |column, micros: Option<i64>| micros.map(|m| at(column, m)).transpose();
        Ok(StoredKey {
            id: AccessKeyId::of(&self.hash()?),
            create_time: at("create_time", self.create_time)?,
            expire_time: or_never("expire_time", self.expire_time)?,
            last_used_time: or_never("last_used_time", self.last_used_time)?,
        })
    }

    fn fault(&self, column: &'static str) -> Inconsistent {
        Inconsistent {
            table: "access_keys",
            column,
            key: self.owner.clone(),
        }
    }
}

// === impl Shown ===

impl Shown {
    /// With the key the tokens end that it gave.
    pub(super) fn at_most(&self, end: Timestamp) -> Timestamp {
        self.expire_time.map_or(end, |key| key.min(end))
    }
}

async fn rows(connection: &mut Connection, owner: Owner<'_>) -> Result<Vec<KeyRow>, sqlx::Error> {
    let (method, gateway) = owner.columns();
    sqlx::query_as(
        "SELECT COALESCE(method_uid, gateway_uid) AS owner, key_hash, create_time, expire_time,
                last_used_time
         FROM access_keys WHERE method_uid = $1 OR gateway_uid = $2",
    )
    .bind(method)
    .bind(gateway)
    .fetch_all(connection)
    .await
}

/// The owner's key that was shown, if it is one that is good.
pub(super) async fn shown(
    connection: &mut Connection,
    owner: Owner<'_>,
    presented: &TokenHash,
    now: Timestamp,
) -> Result<Option<Shown>, StoreError> {
    let mut found = None;
    for row in rows(connection, owner).await? {
        // Every key is looked at: the time that it takes says nothing.
        if row.hash()? == *presented && row.good(now) {
            found = Some(row);
        }
    }
    let Some(row) = found else {
        return Ok(None);
    };
    let noted = now.saturating_sub(NOTED_EVERY).unwrap_or(now);
    Ok(Some(Shown {
        expire_time: row.stored()?.expire_time,
        note_due: row.last_used_time.is_none_or(|at| at <= micros(noted)),
    }))
}

pub(super) async fn insert(
    write: &mut ConfigWrite<'_>,
    owner: Owner<'_>,
    key: &TokenHash,
) -> Result<(), WriteError> {
    let (method, gateway) = owner.columns();
    let uid = |uid: &str| Some(uid.to_owned()).filter(|uid| !uid.is_empty());
    let now = micros(write.now());
    sqlx::query(
        "INSERT INTO access_keys (key_hash, method_uid, gateway_uid, create_time)
         VALUES ($1, $2, $3, $4)",
    )
    .bind(key.as_bytes().as_slice())
    .bind(uid(method))
    .bind(uid(gateway))
    .bind(now)
    .execute(write.connection())
    .await?;
    Ok(())
}

/// Takes all of the owner's keys away.
pub(super) async fn delete_all(
    write: &mut ConfigWrite<'_>,
    owner: Owner<'_>,
) -> Result<(), WriteError> {
    let (method, gateway) = owner.columns();
    sqlx::query("DELETE FROM access_keys WHERE method_uid = $1 OR gateway_uid = $2")
        .bind(method)
        .bind(gateway)
        .execute(write.connection())
        .await?;
    Ok(())
}

/// Takes those of the owner's keys away that are worth nothing any more.
async fn delete_expired(write: &mut ConfigWrite<'_>, owner: Owner<'_>) -> Result<(), WriteError> {
    let (method, gateway) = owner.columns();
    let now = micros(write.now());
    sqlx::query(
        "DELETE FROM access_keys
         WHERE (method_uid = $1 OR gateway_uid = $2) AND expire_time <= $3",
    )
    .bind(method)
    .bind(gateway)
    .bind(now)
    .execute(write.connection())
    .await?;
    Ok(())
}

/// Another key for the owner; those that are there end after the overlap, or at once.
pub(super) async fn rotate(
    write: &mut ConfigWrite<'_>,
    owner: Owner<'_>,
    new: &NewKey,
) -> Result<(), WriteError> {
    match new.overlap {
        None => delete_all(write, owner).await?,
        Some(overlap) => {
            delete_expired(write, owner).await?;
            let good = rows(write.connection(), owner).await?;
            if good.len() >= MAX_GOOD_KEYS {
                return Err(WriteError::KeyLimit);
            }
            end(write, owner, None, overlap).await?;
        }
    }
    insert(write, owner, &new.hash).await
}

/// Ends one of the owner's keys, after the overlap or at once.
pub(super) async fn revoke(
    write: &mut ConfigWrite<'_>,
    owner: Owner<'_>,
    id: &AccessKeyId,
    overlap: Option<KeyOverlap>,
) -> Result<(), WriteError> {
    let mut hash = None;
    for row in rows(write.connection(), owner).await? {
        let of_row = row.hash()?;
        if AccessKeyId::of(&of_row) == *id {
            hash = Some(of_row);
        }
    }
    let hash = hash.ok_or_else(|| Invalid::field("key_id", "is no key of the auth method"))?;
    match overlap {
        Some(overlap) => end(write, owner, Some(&hash), overlap).await,
        None => {
            sqlx::query("DELETE FROM access_keys WHERE key_hash = $1")
                .bind(hash.as_bytes().as_slice())
                .execute(write.connection())
                .await?;
            Ok(())
        }
    }
}

/// Gives one of the owner's keys, or each, an end after the overlap. An earlier end stays.
async fn end(
    write: &mut ConfigWrite<'_>,
    owner: Owner<'_>,
    key: Option<&TokenHash>,
    overlap: KeyOverlap,
) -> Result<(), WriteError> {
    let (method, gateway) = owner.columns();
    let now = write.now();
    let end = micros(now.saturating_add(overlap.get()).unwrap_or(now));
    sqlx::query(
        "UPDATE access_keys SET expire_time = $1
         WHERE (method_uid = $2 OR gateway_uid = $3) AND (key_hash = $4 OR $5)
           AND (expire_time IS NULL OR expire_time > $1)",
    )
    .bind(end)
    .bind(method)
    .bind(gateway)
    .bind(key.map(|key| key.as_bytes().to_vec()).unwrap_or_default())
    .bind(key.is_none())
    .execute(write.connection())
    .await?;
    Ok(())
}

fn sorted(rows: &[KeyRow]) -> Result<StoredKeys, StoreError> {
    let mut keys = StoredKeys::default();
    for row in rows {
        keys.add(row.owner.clone(), row.stored()?);
    }
    Ok(keys)
}

impl Engine {
    /// Whether the key is the access ID's and good: asked before anybody has to wait.
    pub(in crate::store) async fn knows_key(
        &self,
        access_id: &AccessId,
        key: &TokenHash,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let known: Option<i64> = sqlx::query_scalar(
            "SELECT k.create_time FROM access_keys k
             LEFT JOIN auth_methods m ON m.uid = k.method_uid
             LEFT JOIN gateways g ON g.uid = k.gateway_uid
             WHERE k.key_hash = $1 AND (m.access_id = $2 OR g.access_id = $2)
               AND (k.expire_time IS NULL OR k.expire_time > $3)",
        )
        .bind(key.as_bytes().as_slice())
        .bind(access_id.as_str())
        .bind(micros(now))
        .fetch_optional(&self.readers)
        .await?;
        Ok(known.is_some())
    }

    pub(in crate::store) async fn keys_of_methods(
        &self,
        first: &ResourceId,
        last: &ResourceId,
    ) -> Result<StoredKeys, StoreError> {
        let rows: Vec<KeyRow> = sqlx::query_as(
            "SELECT k.method_uid AS owner, k.key_hash, k.create_time, k.expire_time,
                    k.last_used_time
             FROM access_keys k JOIN auth_methods m ON m.uid = k.method_uid
             WHERE m.id >= $1 AND m.id <= $2 ORDER BY k.create_time DESC, k.key_hash",
        )
        .bind(first.as_str())
        .bind(last.as_str())
        .fetch_all(&self.readers)
        .await?;
        sorted(&rows)
    }

    pub(in crate::store) async fn keys_of_gateways(
        &self,
        first: &GatewayName,
        last: &GatewayName,
    ) -> Result<StoredKeys, StoreError> {
        let rows: Vec<KeyRow> = sqlx::query_as(
            "SELECT k.gateway_uid AS owner, k.key_hash, k.create_time, k.expire_time,
                    k.last_used_time
             FROM access_keys k JOIN gateways g ON g.uid = k.gateway_uid
             WHERE g.name >= $1 AND g.name <= $2 ORDER BY k.create_time DESC, k.key_hash",
        )
        .bind(first.as_str())
        .bind(last.as_str())
        .fetch_all(&self.readers)
        .await?;
        sorted(&rows)
    }
}
