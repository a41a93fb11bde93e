//! Seals: what makes a record that was removed or changed be missed.

use std::collections::BTreeMap;

use futures::TryStreamExt as _;
use jiff::Timestamp;
use postern_core::audit::chain::{
    Anchor, Chain, Digest, FORMAT, Finding, Found, Head, Leaf, MAX_RECORDS, Seal, Verifier,
};
use postern_core::own_keys::OwnKeys;
use sqlx::QueryBuilder;
use uuid::Uuid;

use super::super::{Connection, Db, Engine, portions};
use crate::store::patience::bounded;
use crate::store::rows::{EventRow, LoginBucket};
use crate::store::time::micros;
use crate::store::{Inconsistent, Sealed, SealedPage, StoreError};

/// How many seals are read at once.
const SEALS: i64 = 200;
/// About how many records they may have together.
const RECORDS: usize = 4000;
/// How many findings of one kind a page names.
const MAX_STRAYS: i64 = 1000;
/// Seals that retention removes at once.
const PRUNED: i64 = 20;

#[derive(sqlx::FromRow)]
struct ChainRow {
    sequence: i64,
    digest: Option<Vec<u8>>,
    anchor_sequence: Option<i64>,
    anchor_digest: Option<Vec<u8>>,
    anchor_key_id: Option<String>,
    anchor_mac: Option<Vec<u8>>,
}

#[derive(sqlx::FromRow)]
struct SealRow {
    sequence: i64,
    previous: Vec<u8>,
    time: i64,
    records: Vec<u8>,
    digest: Vec<u8>,
    key_id: String,
    mac: Vec<u8>,
}

impl Engine {
    pub(in crate::store) async fn seal_events(
        &self,
        chain: Chain,
        keys: &OwnKeys,
        now: Timestamp,
    ) -> Result<Option<Sealed>, StoreError> {
        let waiting: Option<String> =
            sqlx::query_scalar("SELECT id FROM audit_events WHERE seal IS NULL LIMIT 1")
                .fetch_optional(&self.readers)
                .await?;
        if waiting.is_none() {
            return Ok(None);
        }
        let mut tx = self.begin_write().await?;
        // Whoever else seals waits here until the commit, and then finds what is left.
        let row: ChainRow =
            sqlx::query_as("UPDATE audit_chain SET sequence = sequence RETURNING *")
                .fetch_one(&mut *tx)
                .await?;
        let unsealed = Unsealed::read(&mut tx).await?;
        if unsealed.leaves.is_empty() {
            return Ok(None);
        }
        let seal = chain.seal(row.head(chain)?, unsealed.leaves, now, keys);
        mark(&mut tx, seal.sequence, &unsealed.ids).await?;
        insert(&mut tx, &seal).await?;
        count(&mut tx, unsealed.logins).await?;
        tx.commit().await?;
        Ok(Some(Sealed {
            full: seal.leaves.len() == MAX_RECORDS,
            seal,
        }))
    }

    pub(in crate::store) async fn sealed(
        &self,
        chain: Chain,
        after: i64,
    ) -> Result<SealedPage, StoreError> {
        let mut tx = self.begin_read().await?;
        let row: ChainRow = sqlx::query_as("SELECT * FROM audit_chain")
            .fetch_one(&mut *tx)
            .await?;
        let anchor = row.anchor()?;
        let from = anchor
            .as_ref()
            .map_or(after, |anchor| after.max(anchor.head.sequence));
        let seals: Vec<SealRow> = sqlx::query_as(
            "SELECT * FROM audit_seals WHERE sequence > $1 ORDER BY sequence LIMIT $2",
        )
        .bind(from)
        .bind(SEALS)
        .fetch_all(&mut *tx)
        .await?;
        let last = seals.len() < SEALS as usize;
        let (mut found, mut records) = (Vec::new(), 0);
        for row in seals {
            if records >= RECORDS {
                break;
            }
            let next = unfilled(row);
            records += next.seal.leaves.len();
            found.push(next);
        }
        let last = last && records < RECORDS;
        // What claims a seal beyond the last one is a stray, too.
        let until = match found.last() {
            Some(found) if !last => found.seal.sequence,
            _ => i64::MAX,
        };
        // So is, once, what claims one that is gone, or none that there ever was.
        let since = if after == 0 { i64::MIN } else { from };
        let strays = fill(&mut tx, &mut found, since, until).await?;
        let unsealed: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM audit_events WHERE seal IS NULL")
                .fetch_one(&mut *tx)
                .await?;
        tx.commit().await?;
        Ok(SealedPage {
            anchor,
            head: row.head(chain)?,
            found,
            strays,
            unsealed,
            last,
        })
    }

    pub(in crate::store) async fn prune_events(
        &self,
        chain: Chain,
        keys: &OwnKeys,
        before: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut removed = 0;
        while let Some(rows) = bounded(self.prune_some(chain, keys, before)).await? {
            removed += rows;
        }
        Ok(removed)
    }

    /// `None`: there is nothing left to remove.
    async fn prune_some(
        &self,
        chain: Chain,
        keys: &OwnKeys,
        before: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        let mut tx = self.begin_write().await?;
        let row: ChainRow =
            sqlx::query_as("UPDATE audit_chain SET sequence = sequence RETURNING *")
                .fetch_one(&mut *tx)
                .await?;
        let verifier = Verifier::new(chain, keys, []);
        let Some(head) = row.aged(&mut tx, verifier, micros(before)).await? else {
            return Ok(None);
        };
        let mut removed = 0;
        for statement in [
            "DELETE FROM audit_events WHERE seal <= $1",
            "DELETE FROM audit_seals WHERE sequence <= $1",
        ] {
            removed += sqlx::query(statement)
                .bind(head.sequence)
                .execute(&mut *tx)
                .await?
                .rows_affected();
        }
        let anchor = chain.anchor(head, keys);
        sqlx::query(
            "UPDATE audit_chain SET anchor_sequence = $1, anchor_digest = $2,
                 anchor_key_id = $3, anchor_mac = $4",
        )
        .bind(head.sequence)
        .bind(head.digest.as_bytes())
        .bind(&anchor.key_id)
        .bind(anchor.mac.as_bytes())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(Some(removed))
    }

    pub(in crate::store) async fn prune_stats(&self, before: Timestamp) -> Result<u64, StoreError> {
        let done = sqlx::query("DELETE FROM login_stats WHERE minute < $1")
            .bind(micros(before))
            .execute(&self.writers)
            .await?;
        Ok(done.rows_affected())
    }
}

// === impl ChainRow ===

impl ChainRow {
    fn head(&self, chain: Chain) -> Result<Head, Inconsistent> {
        match &self.digest {
            None => Ok(chain.genesis()),
            Some(digest) => Ok(Head {
                sequence: self.sequence,
                digest: parsed("digest", digest)?,
            }),
        }
    }

    fn anchor(&self) -> Result<Option<Anchor>, Inconsistent> {
        let (Some(sequence), Some(digest)) = (self.anchor_sequence, &self.anchor_digest) else {
            return Ok(None);
        };
        let mac = self.anchor_mac.as_deref().unwrap_or_default();
        Ok(Some(Anchor {
            head: Head {
                sequence,
                digest: parsed("anchor_digest", digest)?,
            },
            key_id: self.anchor_key_id.clone().unwrap_or_default(),
            mac: parsed("anchor_mac", mac)?,
        }))
    }

    /// The last of the next seals that are all older, and as they were sealed. A gap isn't passed,
    /// nor what was altered: what removes it would remove the trace, and vouch for that.
    async fn aged(
        &self,
        connection: &mut Connection,
        mut verifier: Verifier<'_>,
        before: i64,
    ) -> Result<Option<Head>, StoreError> {
        let rows: Vec<SealRow> =
            sqlx::query_as("SELECT * FROM audit_seals ORDER BY sequence LIMIT $1")
                .bind(PRUNED)
                .fetch_all(&mut *connection)
                .await?;
        let first = self.anchor_sequence.unwrap_or(0) + 1;
        let aged = rows.into_iter().zip(first..);
        let aged = aged.take_while(|(row, next)| row.sequence == *next && row.time < before);
        let mut found: Vec<Found> = aged.map(|(row, _)| unfilled(row)).collect();
        let Some(last) = found.last().map(|found| found.seal.sequence) else {
            return Ok(None);
        };
        fill(connection, &mut found, first - 1, last).await?;
        let anchor = self.anchor()?;
        let mut finding = anchor.and_then(|anchor| verifier.anchor(&anchor).pop());
        let mut whole = None;
        for found in &found {
            if finding.is_none() {
                finding = verifier.seal(found).pop();
            }
            if finding.is_none() {
                whole = Some(found.seal.head());
            }
        }
        if let Some(Finding {
            fault, sequence, ..
        }) = finding
        {
            let fault = fault.as_str();
            tracing::error!(
                fault,
                sequence,
                "retention removes nothing from here on: look at `postern audit verify`"
            );
        }
        Ok(whole)
    }
}

// === impl SealRow ===

/// What can't be one seals nothing: it is read as what no MAC fits.
impl From<SealRow> for Seal {
    fn from(row: SealRow) -> Self {
        let digest = |bytes: Vec<u8>| bytes.as_slice().try_into().unwrap_or_default();
        Self {
            sequence: row.sequence,
            previous: digest(row.previous),
            time: row.time,
            leaves: Leaf::from_bytes(&row.records).unwrap_or_default(),
            digest: digest(row.digest),
            mac: digest(row.mac),
            key_id: row.key_id,
        }
    }
}

/// A seal whose records haven't been looked for.
fn unfilled(row: SealRow) -> Found {
    Found {
        seal: row.into(),
        records: Vec::new(),
    }
}

fn parsed(column: &'static str, bytes: &[u8]) -> Result<Digest, Inconsistent> {
    bytes.try_into().map_err(|_| Inconsistent {
        table: "audit_chain",
        column,
        key: "1".to_owned(),
    })
}

/// What the next seal holds.
#[derive(Default)]
struct Unsealed {
    ids: Vec<String>,
    leaves: Vec<Leaf>,
    logins: BTreeMap<LoginBucket, i64>,
}

// === impl Unsealed ===

impl Unsealed {
    async fn read(connection: &mut Connection) -> Result<Self, StoreError> {
        let mut rows = sqlx::query_as::<_, EventRow>(
            "SELECT * FROM audit_events WHERE seal IS NULL ORDER BY time, id LIMIT $1",
        )
        .bind(MAX_RECORDS as i64)
        .fetch(connection);
        let mut all = Self::default();
        while let Some(row) = rows.try_next().await? {
            all.ids.push(row.id().to_owned());
            all.leaves.push(row.leaf());
            if let Some((bucket, count)) = row.login() {
                *all.logins.entry(bucket).or_default() += count;
            }
        }
        Ok(all)
    }
}

async fn mark(
    connection: &mut Connection,
    sequence: i64,
    ids: &[String],
) -> Result<(), StoreError> {
    for portion in portions(ids) {
        let mut update = QueryBuilder::<Db>::new("UPDATE audit_events SET seal = ");
        update.push_bind(sequence).push(" WHERE id IN (");
        let mut list = update.separated(", ");
        for id in portion {
            list.push_bind(id);
        }
        update.push(")");
        update.build().execute(&mut *connection).await?;
    }
    Ok(())
}

async fn insert(connection: &mut Connection, seal: &Seal) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO audit_seals (sequence, format, previous, time, records, digest, key_id, mac)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(seal.sequence)
    .bind(FORMAT)
    .bind(seal.previous.as_bytes())
    .bind(seal.time)
    .bind(Leaf::to_bytes(&seal.leaves))
    .bind(seal.digest.as_bytes())
    .bind(&seal.key_id)
    .bind(seal.mac.as_bytes())
    .execute(&mut *connection)
    .await?;
    sqlx::query("UPDATE audit_chain SET sequence = $1, digest = $2")
        .bind(seal.sequence)
        .bind(seal.digest.as_bytes())
        .execute(connection)
        .await?;
    Ok(())
}

async fn count(
    connection: &mut Connection,
    logins: BTreeMap<LoginBucket, i64>,
) -> Result<(), StoreError> {
    let logins: Vec<_> = logins.into_iter().collect();
    for portion in portions(&logins) {
        let mut insert = QueryBuilder::<Db>::new(
            "INSERT INTO login_stats (minute, k8s_auth_config, result, reason, count) ",
        );
        insert.push_values(portion, |mut row, (bucket, count)| {
            row.push_bind(bucket.minute)
                .push_bind(&bucket.k8s_auth_config)
                .push_bind(bucket.result)
                .push_bind(&bucket.reason)
                .push_bind(*count);
        });
        insert.push(
            " ON CONFLICT (minute, k8s_auth_config, result, reason)
              DO UPDATE SET count = login_stats.count + excluded.count",
        );
        insert.build().execute(&mut *connection).await?;
    }
    Ok(())
}

/// Brings the records that claim a seal to it; those that claim one that isn't there are returned.
async fn fill(
    connection: &mut Connection,
    found: &mut [Found],
    from: i64,
    until: i64,
) -> Result<Vec<(i64, Uuid)>, StoreError> {
    let mut seals: BTreeMap<i64, &mut Vec<Leaf>> = found
        .iter_mut()
        .map(|found| (found.seal.sequence, &mut found.records))
        .collect();
    let mut rows =
        sqlx::query_as::<_, EventRow>("SELECT * FROM audit_events WHERE seal > $1 AND seal <= $2")
            .bind(from)
            .bind(until)
            .fetch(connection);
    let mut strays = Vec::new();
    while let Some(row) = rows.try_next().await? {
        let (leaf, seal) = (row.leaf(), row.seal().unwrap_or(0));
        match seals.get_mut(&seal) {
            Some(records) => records.push(leaf),
            None if (strays.len() as i64) < MAX_STRAYS => strays.push((seal, leaf.id)),
            None => {}
        }
    }
    Ok(strays)
}
