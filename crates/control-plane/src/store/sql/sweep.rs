//! Removing what nobody can use any more.

use jiff::{SignedDuration, Timestamp};

use super::instances::REMEMBERED;
use super::{Engine, pods};
use crate::store::StoreError;
use crate::store::time::micros;

/// A transaction's worth: logins go on between two.
const BATCH: u64 = 500;
/// How long an assertion's ID, or a presented token's, is kept beyond its end, so that nobody whose
/// clock is behind takes it a second time.
const MARGIN: SignedDuration = SignedDuration::from_mins(10);

impl Engine {
    pub(in crate::store) async fn sweep(&self, now: Timestamp) -> Result<u64, StoreError> {
        let tokens = self
            .delete_expired(
                "DELETE FROM tokens WHERE hash IN
                     (SELECT hash FROM tokens WHERE expire_time <= $1 ORDER BY expire_time LIMIT $2)",
                now,
            )
            .await?;
        let assertions = self
            .delete_expired(
                "DELETE FROM assertions WHERE (method_uid, jti) IN
                     (SELECT method_uid, jti FROM assertions WHERE expire_time <= $1
                      ORDER BY expire_time LIMIT $2)",
                now.saturating_sub(MARGIN).unwrap_or(now),
            )
            .await?;
        let presented = self
            .delete_expired(
                "DELETE FROM presented_tokens WHERE (config_uid, credential_id) IN
                     (SELECT config_uid, credential_id FROM presented_tokens
                      WHERE expire_time <= $1 ORDER BY expire_time LIMIT $2)",
                now.saturating_sub(MARGIN).unwrap_or(now),
            )
            .await?;
        let signing_keys = self
            .delete_expired(
                "DELETE FROM signing_keys WHERE key_id IN
                     (SELECT key_id FROM signing_keys WHERE remove_time <= $1 LIMIT $2)",
                now,
            )
            .await?;
        let pods = self
            .delete_expired(
                "DELETE FROM deleted_pods WHERE (config_uid, pod_uid) IN
                     (SELECT config_uid, pod_uid FROM deleted_pods
                      WHERE delete_time <= $1 ORDER BY delete_time LIMIT $2)",
                now.saturating_sub(pods::REMEMBERED).unwrap_or(now),
            )
            .await?;
        let keys = self
            .delete_expired(
                "DELETE FROM access_keys WHERE key_hash IN
                     (SELECT key_hash FROM access_keys WHERE expire_time <= $1 LIMIT $2)",
                now,
            )
            .await?;
        let instances = self
            .delete_expired(
                "DELETE FROM gateway_instances WHERE (gateway_uid, instance) IN
                     (SELECT gateway_uid, instance FROM gateway_instances
                      WHERE last_contact_time <= $1 ORDER BY last_contact_time LIMIT $2)",
                now.saturating_sub(REMEMBERED).unwrap_or(now),
            )
            .await?;
        Ok(tokens + assertions + presented + signing_keys + pods + keys + instances)
    }

    async fn delete_expired(
        &self,
        statement: &'static str,
        until: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut deleted = 0;
        loop {
            let done = sqlx::query(statement)
                .bind(micros(until))
                .bind(BATCH.cast_signed())
                .execute(&self.writers)
                .await?
                .rows_affected();
            deleted += done;
            if done < BATCH {
                return Ok(deleted);
            }
        }
    }

    pub(in crate::store) async fn prune_changes(&self, keep: i64) -> Result<u64, StoreError> {
        let done =
            sqlx::query("DELETE FROM changes WHERE revision <= (SELECT value FROM revision) - $1")
                .bind(keep)
                .execute(&self.writers)
                .await?;
        Ok(done.rows_affected())
    }
}
