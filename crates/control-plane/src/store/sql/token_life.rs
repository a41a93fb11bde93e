//! `tokens`: those that are ended before their time, and those that get more of it.

use jiff::Timestamp;
use postern_core::audit::{Event, EventKind};
use postern_core::auth_method::AuthMethod;

use super::{Connection, Engine, audit, auth_methods, session};
use crate::store::time::{micros, stored};
use crate::store::{Prolonged, Renewal, Renewed, Revocation, StoreError, WhichToken};

/// A token whose row is gone.
#[derive(sqlx::FromRow)]
struct Ended {
    accessor: String,
    access_id: String,
}

impl Engine {
    /// Whether there was such a token. From the commit on it counts nowhere.
    pub(in crate::store) async fn revoke(
        &self,
        revocation: &Revocation,
    ) -> Result<bool, StoreError> {
        // So that no write of configuration is between asking about its caller and its commit.
        let mut tx = self.begin_login().await?;
        let ended = delete(&mut tx, &revocation.which).await?;
        if ended.is_none() && revocation.own {
            // Anybody can show what isn't a token: that is no event.
            return Ok(false);
        }
        let events = [revoked(revocation, ended.as_ref())];
        let new = audit::insert(&mut tx, &events).await?;
        tx.commit().await?;
        self.hooks.recorded(new);
        Ok(ended.is_some())
    }

    /// A token that an access key was shown for gets its method's life anew, up to the most that
    /// it may live in all. One use of it, where those are limited.
    pub(in crate::store) async fn renew(&self, renewal: &Renewal) -> Result<Renewed, StoreError> {
        let now = renewal.cause.now;
        let hash = renewal.token.as_bytes().as_slice();
        let mut tx = self.begin_login().await?;
        let Some(row) = session::row(&mut tx, hash).await? else {
            return Ok(Renewed::Dead);
        };
        if !row.counts(now)? {
            return Ok(Renewed::Dead);
        }
        let Some(longest) = row.renewable_until()? else {
            return Ok(Renewed::NotRenewable);
        };
        if !row.is_good_for(&renewal.shown)? {
            return Ok(Renewed::Dead);
        }
        let token = row.introspected(Vec::new())?;
        let method = auth_methods::get_by_access_id(&mut tx, &token.access_id).await?;
        let Some(mut method) = method.map(|method| method.value) else {
            return Ok(Renewed::Dead);
        };
        method.cap(renewal.maxima);
        let longest = longest.min(method.max_expire_time(token.issue_time));
        // No renewal takes anything away.
        let end = life_from(&method, now).min(longest).max(token.expire_time);
        let spent = sqlx::query(
            "UPDATE tokens
             SET expire_time = CASE WHEN expire_time > $2 THEN expire_time ELSE $2 END,
                 uses_left = uses_left - 1
             WHERE hash = $1 AND (uses_left IS NULL OR uses_left > 0)",
        )
        .bind(hash)
        .bind(micros(end))
        .execute(&mut *tx)
        .await?;
        if spent.rows_affected() != 1 {
            return Ok(Renewed::Dead);
        }
        let resource = format!("tokens/{}", token.accessor);
        let mut event = renewal.cause.event(EventKind::TokenRenewed, resource);
        event.accessor = token.accessor.to_string();
        event.access_id = token.access_id.to_string();
        let events = [event];
        let new = audit::insert(&mut tx, &events).await?;
        tx.commit().await?;
        self.hooks.recorded(new);
        Ok(Renewed::Until(Prolonged {
            accessor: token.accessor,
            expire_time: end,
            max_expire_time: longest.max(end),
        }))
    }
}

async fn delete(
    connection: &mut Connection,
    which: &WhichToken,
) -> Result<Option<Ended>, sqlx::Error> {
    match which {
        WhichToken::Hash(hash) => {
            sqlx::query_as("DELETE FROM tokens WHERE hash = $1 RETURNING accessor, access_id")
                .bind(hash.as_bytes().as_slice())
                .fetch_optional(connection)
                .await
        }
        WhichToken::Accessor(accessor) => {
            sqlx::query_as("DELETE FROM tokens WHERE accessor = $1 RETURNING accessor, access_id")
                .bind(accessor.as_str())
                .fetch_optional(connection)
                .await
        }
    }
}

fn revoked(revocation: &Revocation, ended: Option<&Ended>) -> Event {
    let resource = match ended {
        Some(ended) => format!("tokens/{}", ended.accessor),
        None => "unknown".to_owned(),
    };
    let mut event = revocation.cause.event(EventKind::TokenRevoked, resource);
    if let Some(ended) = ended
        && revocation.own
    {
        event.accessor.clone_from(&ended.accessor);
        event.access_id.clone_from(&ended.access_id);
    }
    event
}

fn life_from(method: &AuthMethod, now: Timestamp) -> Timestamp {
    let ttl = method.settings.token_ttl.get();
    stored(now.saturating_add(ttl).unwrap_or(now))
}
