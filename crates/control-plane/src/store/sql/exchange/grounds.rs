//! What logins stand on: a method, the gateway and a config, kept as they were read at one revision
//! of the rules.
//!
//! Whoever changes any of it takes a new revision, and waits for the logins that are open. So what was
//! read at the revision that a login finds, once it is open, is what it would read itself. Where no
//! connection is kept for exchanges, nothing is kept here either.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use postern_core::access_id::AccessId;
use postern_core::auth_method::AuthMethod;
use sqlx::{Database, FromRow, Row as _};
use uuid::Uuid;

use super::super::auth_methods::columns;
use super::super::{Connection, Db};
use crate::store::exchange::ConfigFacts;
use crate::store::parsed::Parsed;
use crate::store::rows::MethodRow;
use crate::store::{Exchange, Inconsistent, StoreError};

/// More than that are read anew now and then.
const MOST: usize = 1024;

type DbRow = <Db as Database>::Row;

/// Access ID, gateway and, where the assertion was verified, its config.
type Key = (AccessId, Uuid, Option<Uuid>);

#[derive(Default)]
pub(in super::super) struct Grounds {
    parsed: Parsed,
    kept: Mutex<Kept>,
}

/// All of one revision.
#[derive(Default)]
struct Kept {
    revision: i64,
    grounds: HashMap<Key, Arc<Ground>>,
}

/// What a login stands on.
pub(super) struct Ground {
    /// Whether anybody is blocked.
    pub(super) blocks: bool,
    /// The inner error is of this method alone.
    pub(super) method: Result<Option<Arc<AuthMethod>>, Inconsistent>,
    /// `None`: there is no such gateway.
    pub(super) gateway_disabled: Option<bool>,
    pub(super) config: Option<ConfigFacts>,
}

/// The rules of one transaction, at its revision.
pub(super) struct Rules<'g> {
    grounds: &'g Grounds,
    revision: i64,
    used: HashMap<Key, Arc<Ground>>,
}

// === impl Grounds ===

impl Grounds {
    /// A method as it was when it was read last: a guess.
    pub(super) fn last_method(&self, access_id: &AccessId) -> Option<Arc<AuthMethod>> {
        self.parsed.last(access_id)
    }

    /// Who answers on a new connection may have lost the last changes, and count their revisions anew.
    pub(super) fn forget(&self) {
        self.lock().grounds.clear();
    }

    fn get(&self, revision: i64, key: &Key) -> Option<Arc<Ground>> {
        let kept = self.lock();
        let ground = kept.grounds.get(key).filter(|_| kept.revision == revision);
        ground.map(Arc::clone)
    }

    /// Of what isn't there anybody could name as much as they like; what is broken may be mended by hand.
    fn keep(&self, revision: i64, key: Key, ground: &Arc<Ground>) {
        let config = ground.config.as_ref();
        if !matches!(ground.method, Ok(Some(_))) || !config.is_some_and(ConfigFacts::is_valid) {
            return;
        }
        let mut kept = self.lock();
        if kept.revision != revision || kept.grounds.len() >= MOST {
            kept.grounds.clear();
        }
        kept.revision = revision;
        kept.grounds.insert(key, Arc::clone(ground));
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Rules ===

impl<'g> Rules<'g> {
    pub(super) fn new(grounds: &'g Grounds, revision: i64) -> Self {
        Self {
            grounds,
            revision,
            used: HashMap::new(),
        }
    }

    pub(super) async fn ground(
        &mut self,
        connection: &mut Connection,
        request: &Exchange,
        config_uid: Option<Uuid>,
    ) -> Result<Arc<Ground>, StoreError> {
        let key = (request.access_id.clone(), request.gateway.uid, config_uid);
        if let Some(used) = self.used.get(&key) {
            return Ok(Arc::clone(used));
        }
        let ground = match self.grounds.get(self.revision, &key) {
            Some(kept) => kept,
            None => {
                let ground = Arc::new(Ground::read(connection, &self.grounds.parsed, &key).await?);
                self.grounds.keep(self.revision, key.clone(), &ground);
                ground
            }
        };
        self.used.insert(key, Arc::clone(&ground));
        Ok(ground)
    }

    /// Of what was used.
    pub(super) fn blocks(&self) -> bool {
        self.used.values().any(|ground| ground.blocks)
    }
}

// === impl Ground ===

impl Ground {
    /// By one question: each is a way to the database and back.
    async fn read(
        connection: &mut Connection,
        parsed: &Parsed,
        (access_id, gateway_uid, config_uid): &Key,
    ) -> Result<Self, StoreError> {
        let rows: Vec<DbRow> = sqlx::query(concat!(
            "SELECT EXISTS (SELECT 1 FROM blocks) AS blocks,
                    g.disabled AS gateway_disabled, c.id AS config_id,
                    c.gateway_uid AS config_gateway_uid, c.method_uid AS config_method_uid,
                    c.generation AS config_generation, c.disabled AS config_disabled, ",
            columns!(),
            " FROM revision r
             LEFT JOIN gateways g ON g.uid = $1
             LEFT JOIN k8s_auth_configs c ON c.uid = $2
             LEFT JOIN auth_methods m ON m.access_id = $3
             LEFT JOIN auth_method_keys k ON k.method_uid = m.uid
             ORDER BY k.position",
        ))
        .bind(gateway_uid.to_string())
        .bind(config_uid.map(|uid| uid.to_string()))
        .bind(access_id.as_str())
        .fetch_all(connection)
        .await?;
        Ok(Self::of(parsed, access_id, &rows)?)
    }

    /// From rows that differ in the method's keys alone.
    fn of(parsed: &Parsed, access_id: &AccessId, rows: &[DbRow]) -> Result<Self, sqlx::Error> {
        let first = rows.first().ok_or(sqlx::Error::RowNotFound)?;
        let is_there =
            |column| Ok::<_, sqlx::Error>(first.try_get::<Option<&str>, _>(column)?.is_some());
        let method = match is_there("uid")? {
            true => rows
                .iter()
                .map(MethodRow::from_row)
                .collect::<Result<_, _>>()?,
            false => Vec::new(),
        };
        let config = is_there("config_id")?.then(|| ConfigFacts::from_row(first));
        Ok(Self {
            blocks: first.try_get("blocks")?,
            method: parsed.method(access_id, method),
            gateway_disabled: first.try_get("gateway_disabled")?,
            config: config.transpose()?,
        })
    }
}
