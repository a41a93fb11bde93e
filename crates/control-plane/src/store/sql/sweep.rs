//! Removing what nobody can use any more.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use sqlx::QueryBuilder;

use super::instances::REMEMBERED;
use super::revocations::Marks;
use super::{Db, Engine, pods};
use crate::store::time::micros;
use crate::store::{StoreError, patience};

/// A transaction's worth: logins go on between two.
const BATCH: u64 = 500;
/// After each batch logins have the database to themselves for as long as the batch took, but for
/// no longer than this.
const MOST_REST: Duration = Duration::from_millis(100);
/// How long a row is kept beyond its end where others judge by it: a clock that is ahead sweeps no
/// token that is good by the others', and nobody whose clock is behind takes an assertion's ID, or a
/// presented token's, a second time; a revocation, beyond its last token, so that a question
/// about one that was asked before gets its answer.
const MARGIN: SignedDuration = SignedDuration::from_mins(10);

#[derive(sqlx::FromRow)]
struct Revocation {
    revision: i64,
    #[sqlx(flatten)]
    marks: Marks,
}

impl Engine {
    pub(in crate::store) async fn sweep(&self, now: Timestamp) -> Result<u64, StoreError> {
        let revoked = self.sweep_revoked(now).await?;
        let before = now.saturating_sub(MARGIN).unwrap_or(now);
        let mut expired = 0;
        for (statement, until) in [
            (
                "DELETE FROM tokens WHERE hash IN
                     (SELECT hash FROM tokens WHERE expire_time <= $1 ORDER BY expire_time LIMIT $2)
                 AND expire_time <= $1",
                before,
            ),
            (
                "DELETE FROM assertions WHERE (method_uid, jti) IN
                     (SELECT method_uid, jti FROM assertions WHERE expire_time <= $1
                      ORDER BY expire_time LIMIT $2)",
                before,
            ),
            (
                "DELETE FROM presented_tokens WHERE (config_uid, credential_id) IN
                     (SELECT config_uid, credential_id FROM presented_tokens
                      WHERE expire_time <= $1 ORDER BY expire_time LIMIT $2)",
                before,
            ),
            (
                "DELETE FROM subjects WHERE (config_uid, service_account_uid, pod_uid) IN
                     (SELECT config_uid, service_account_uid, pod_uid FROM subjects
                      WHERE expire_time <= $1 ORDER BY expire_time LIMIT $2)
                 AND expire_time <= $1",
                before,
            ),
            (
                "DELETE FROM blocks WHERE (key, config_uid) IN
                     (SELECT key, config_uid FROM blocks WHERE end_time <= $1
                      ORDER BY end_time LIMIT $2)
                 AND end_time <= $1",
                before,
            ),
            (
                "DELETE FROM revocations WHERE revision IN
                     (SELECT revision FROM revocations WHERE swept_time <= $1
                      ORDER BY revision LIMIT $2)",
                before,
            ),
            (
                "DELETE FROM signing_keys WHERE key_id IN
                     (SELECT key_id FROM signing_keys WHERE remove_time <= $1 LIMIT $2)",
                now,
            ),
            (
                "DELETE FROM deleted_pods WHERE (config_uid, pod_uid) IN
                     (SELECT config_uid, pod_uid FROM deleted_pods
                      WHERE delete_time <= $1 ORDER BY delete_time LIMIT $2)",
                now.saturating_sub(pods::REMEMBERED).unwrap_or(now),
            ),
            (
                "DELETE FROM access_keys WHERE key_hash IN
                     (SELECT key_hash FROM access_keys WHERE expire_time <= $1 LIMIT $2)",
                now,
            ),
            (
                "DELETE FROM gateway_instances WHERE (gateway_uid, instance) IN
                     (SELECT gateway_uid, instance FROM gateway_instances
                      WHERE last_contact_time <= $1 ORDER BY last_contact_time LIMIT $2)",
                now.saturating_sub(REMEMBERED).unwrap_or(now),
            ),
        ] {
            expired += self.delete_expired(statement, until).await?;
        }
        Ok(revoked + expired)
    }

    async fn delete_expired(
        &self,
        statement: &'static str,
        until: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut deleted = 0;
        loop {
            let begun = Instant::now();
            let delete = sqlx::query(statement).bind(micros(until));
            let delete = delete.bind(BATCH.cast_signed()).execute(&self.writers);
            let done = bounded(delete).await?.rows_affected();
            deleted += done;
            if done < BATCH {
                return Ok(deleted);
            }
            rest(begun).await;
        }
    }

    /// Tokens that were taken away: dead already, and only in the way. No more can come that a
    /// revocation matches, since no login that read a lower revision was open when it was committed.
    async fn sweep_revoked(&self, now: Timestamp) -> Result<u64, StoreError> {
        let revocations: Vec<Revocation> = bounded(
            sqlx::query_as(
                "SELECT revision, method_uid, config_uid, gateway_uid, namespace, service_account_name,
                        service_account_uid, pod_uid
                 FROM revocations WHERE swept_time IS NULL ORDER BY revision LIMIT 1000",
            )
            .fetch_all(&self.readers),
        )
        .await?;
        let mut deleted = 0;
        for Revocation { revision, marks } in revocations {
            deleted += self.delete_revoked(revision, &marks).await?;
            self.note_swept(revision, &marks, now).await?;
        }
        Ok(deleted)
    }

    async fn delete_revoked(&self, revision: i64, marks: &Marks) -> Result<u64, StoreError> {
        let mut deleted = 0;
        loop {
            let begun = Instant::now();
            let mut delete = QueryBuilder::<Db>::new(
                "DELETE FROM tokens WHERE hash IN (SELECT t.hash FROM tokens t WHERE ",
            );
            marks.push_to(&mut delete, "t");
            delete.push(" AND t.rules_revision < ").push_bind(revision);
            delete
                .push(" LIMIT ")
                .push_bind(BATCH.cast_signed())
                .push(")");
            let delete = delete.build().execute(&self.writers);
            let done = bounded(delete).await?.rows_affected();
            deleted += done;
            if done < BATCH {
                return Ok(deleted);
            }
            rest(begun).await;
        }
    }

    /// Only where none is left: another replica may be in the middle of a batch, and a revocation
    /// that went before its last token would bring that back.
    async fn note_swept(
        &self,
        revision: i64,
        marks: &Marks,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut note = QueryBuilder::<Db>::new("UPDATE revocations SET swept_time = ");
        note.push_bind(micros(now));
        note.push(" WHERE revision = ").push_bind(revision);
        note.push(" AND NOT EXISTS (SELECT 1 FROM tokens t WHERE ");
        marks.push_to(&mut note, "t");
        note.push(" AND t.rules_revision < ").push_bind(revision);
        note.push(")");
        bounded(note.build().execute(&self.writers)).await?;
        Ok(())
    }

    pub(in crate::store) async fn prune_changes(&self, keep: i64) -> Result<u64, StoreError> {
        let prune =
            sqlx::query("DELETE FROM changes WHERE revision <= (SELECT value FROM revision) - $1")
                .bind(keep);
        Ok(bounded(prune.execute(&self.writers)).await?.rows_affected())
    }
}

async fn rest(begun: Instant) {
    tokio::time::sleep(begun.elapsed().min(MOST_REST)).await;
}

/// A connection that nobody answers must not end the sweeping.
async fn bounded<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    patience::bounded(async { Ok(work.await?) }).await
}
