//! `blocks`: who gets no token and may use none.
//!
//! A block takes the subject's tokens away by a revocation of its own, so that nothing comes back
//! with its end. The row itself refuses logins, renewals and, beside the revocation, every use.

use std::collections::{BTreeSet, HashSet};

use postern_core::audit::EventKind;
use postern_core::facts::Facts;
use postern_core::subject::Subject;
use serde::Serialize;
use sqlx::QueryBuilder;

use super::revocations::{self, Marks};
use super::{ConfigWrite, Connection, Db, Engine, k8s_auth_configs, portions};
use crate::store::page::Room;
use crate::store::rows::{BlockRow, to_json};
use crate::store::time::micros;
use crate::store::{Block, BlockCursor, Blocked, Cause, Intent, Page, StoreError, WriteError};

/// Until when the holder of the token `t` is blocked, in microseconds; null: it isn't, unless that
/// time is past. As SQL.
macro_rules! blocked_until {
    () => {
        "(
    SELECT MAX(COALESCE(b.end_time, 9223372036854775807)) FROM blocks b
    WHERE b.key IN ('pod:' || t.pod_uid,
                    'service_account_uid:' || t.service_account_uid,
                    'service_account:' || t.namespace || '/' || t.service_account_name)
      AND (b.config_uid = '' OR b.config_uid = t.config_uid))"
    };
}
pub(super) use blocked_until;

/// A block as audit records show it.
#[derive(Serialize)]
struct Document<'b> {
    subject: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    k8s_auth_config: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'b str,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<jiff::Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_tokens: Option<i64>,
}

impl Engine {
    /// How many tokens it takes away.
    pub(in crate::store) async fn block(
        &self,
        block: &Block,
        cause: &Cause,
    ) -> Result<i64, WriteError> {
        let mut write = ConfigWrite::begin(self, cause).await?;
        let config_uid = config_uid(write.connection(), &block.blocked).await?;
        let tokens =
            revocations::revoke(&mut write, &marks(&block.blocked, config_uid.as_ref())).await?;
        put(&mut write, block, &config_uid.unwrap_or_default()).await?;
        write.touch_nothing();
        let after = to_json(&Document::of(block, Some(tokens)))?;
        write.record(
            EventKind::SubjectBlocked,
            block.blocked.subject.to_string(),
            |event| {
                event.after = Some(after);
            },
        );
        write.commit(Intent::Write).await?;
        Ok(tokens)
    }

    pub(in crate::store) async fn unblock(
        &self,
        blocked: &Blocked,
        cause: &Cause,
    ) -> Result<(), WriteError> {
        let mut write = ConfigWrite::begin(self, cause).await?;
        // By the config's name: the config itself may be gone.
        let row: Option<BlockRow> = sqlx::query_as(
            "DELETE FROM blocks WHERE key = $1 AND config = $2
             RETURNING key, config_uid, config, reason, access_id, end_time, create_time",
        )
        .bind(key(&blocked.subject))
        .bind(config_name(blocked))
        .fetch_optional(write.connection())
        .await?;
        let block = Block::try_from(row.ok_or(WriteError::NotFound)?)?;
        if block.end_time.is_some_and(|end| end <= write.now()) {
            return Err(WriteError::NotFound);
        }
        write.touch_nothing();
        let before = to_json(&Document::of(&block, None))?;
        write.record(
            EventKind::SubjectUnblocked,
            blocked.subject.to_string(),
            |event| {
                event.before = Some(before);
            },
        );
        write.commit(Intent::Write).await
    }

    pub(in crate::store) async fn list_blocks(
        &self,
        after: Option<&BlockCursor>,
        limit: u32,
        now: jiff::Timestamp,
    ) -> Result<Page<(BlockCursor, Block)>, StoreError> {
        let (key, config_uid) = after.map_or(("", ""), |after| {
            (after.key.as_str(), after.config_uid.as_str())
        });
        let rows: Vec<BlockRow> = sqlx::query_as(
            "SELECT key, config_uid, config, reason, access_id, end_time, create_time FROM blocks
             WHERE (key > $1 OR (key = $1 AND config_uid > $2)) AND (end_time IS NULL OR end_time > $3)
             ORDER BY key, config_uid LIMIT $4",
        )
        .bind(key)
        .bind(config_uid)
        .bind(micros(now))
        .bind(i64::from(limit) + 1)
        .fetch_all(&self.readers)
        .await?;
        let (mut page, mut room) = (Page::new(), Room::new(limit));
        for row in rows {
            let weight = row.weight();
            let cursor = row.cursor();
            page.take((cursor, row.try_into()?), &mut room, weight);
            if page.more {
                break;
            }
        }
        Ok(page)
    }
}

/// A subject that is blocked already gets the new reason and end.
async fn put(
    write: &mut ConfigWrite<'_>,
    block: &Block,
    config_uid: &str,
) -> Result<(), StoreError> {
    let (revision, now) = (write.revision, micros(write.now()));
    sqlx::query(
        "INSERT INTO blocks
             (key, config_uid, config, reason, access_id, end_time, revision, create_time)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (key, config_uid) DO UPDATE
         SET config = excluded.config, reason = excluded.reason, access_id = excluded.access_id,
             end_time = excluded.end_time, revision = excluded.revision,
             create_time = excluded.create_time",
    )
    .bind(key(&block.blocked.subject))
    .bind(config_uid)
    .bind(config_name(&block.blocked))
    .bind(&block.reason)
    .bind(&block.access_id)
    .bind(block.end_time.map(micros))
    .bind(revision)
    .bind(now)
    .execute(write.connection())
    .await?;
    Ok(())
}

async fn config_uid(
    connection: &mut Connection,
    blocked: &Blocked,
) -> Result<Option<String>, WriteError> {
    let Some(name) = &blocked.config else {
        return Ok(None);
    };
    let config = k8s_auth_configs::get(connection, name).await?;
    Ok(Some(config.ok_or(WriteError::NotFound)?.uid))
}

fn marks(blocked: &Blocked, config_uid: Option<&String>) -> Marks {
    let mut marks = Marks {
        config_uid: config_uid.cloned(),
        ..Marks::default()
    };
    match &blocked.subject {
        Subject::ServiceAccount(account) => {
            marks.namespace = Some(account.namespace.to_string());
            marks.service_account_name = Some(account.name().to_owned());
        }
        Subject::ServiceAccountUid(uid) => marks.service_account_uid = Some(uid.to_string()),
        Subject::Pod(uid) => marks.pod_uid = Some(uid.to_string()),
    }
    marks
}

fn key(subject: &Subject) -> String {
    match subject {
        Subject::ServiceAccount(account) => format!("service_account:{account}"),
        Subject::ServiceAccountUid(uid) => format!("service_account_uid:{uid}"),
        Subject::Pod(uid) => format!("pod:{uid}"),
    }
}

fn config_name(blocked: &Blocked) -> String {
    blocked
        .config
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// Of some logins, those whose holders are blocked.
pub(super) struct Blocks(HashSet<(String, String)>);

impl Blocks {
    /// Of those that hold against any of these workloads, which came through which config.
    pub(super) async fn of<'f>(
        connection: &mut Connection,
        workloads: impl Iterator<Item = &'f Facts>,
        now: jiff::Timestamp,
    ) -> Result<Self, StoreError> {
        let keys: BTreeSet<String> = workloads.flat_map(keys).collect();
        let keys: Vec<String> = keys.into_iter().collect();
        let mut blocks = HashSet::new();
        for keys in portions(&keys) {
            let mut select = QueryBuilder::<Db>::new(
                "SELECT key, config_uid FROM blocks WHERE (end_time IS NULL OR end_time > ",
            );
            select.push_bind(micros(now)).push(") AND key IN (");
            let mut listed = select.separated(", ");
            for key in keys {
                listed.push_bind(key);
            }
            select.push(")");
            let found: Vec<(String, String)> =
                select.build_query_as().fetch_all(&mut *connection).await?;
            blocks.extend(found);
        }
        Ok(Self(blocks))
    }

    pub(super) fn hold(&self, workload: &Facts, config_uid: &str) -> bool {
        !self.0.is_empty()
            && keys(workload).any(|key| {
                ["", config_uid]
                    .iter()
                    .any(|config| self.0.contains(&(key.clone(), (*config).to_owned())))
            })
    }
}

fn keys(workload: &Facts) -> impl Iterator<Item = String> {
    let Facts {
        namespace,
        service_account_name: name,
        service_account_uid: uid,
        pod_uid,
        ..
    } = workload;
    let pod = pod_uid.as_ref().map(|uid| format!("pod:{uid}"));
    [
        format!("service_account:{namespace}/{name}"),
        format!("service_account_uid:{uid}"),
    ]
    .into_iter()
    .chain(pod)
}

// === impl Document ===

impl<'b> Document<'b> {
    fn of(block: &'b Block, revoked_tokens: Option<i64>) -> Self {
        Self {
            subject: block.blocked.subject.to_string(),
            k8s_auth_config: block.blocked.config.as_ref().map(ToString::to_string),
            reason: &block.reason,
            end_time: block.end_time,
            revoked_tokens,
        }
    }
}
