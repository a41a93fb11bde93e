//! What a token is worth. Asked at every call that needs a credential, and at every question about
//! a token, so that a revocation holds at once: calls that come together share what was read, and
//! none gets what was read before it came.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use postern_core::access_token::TokenHash;
use postern_core::ip;
use postern_core::permission::Permissions;
use postern_core::role::{self, Authorization, Role};
use sqlx::Executor;

use super::blocks::blocked_until;
use super::kept::Lent;
use super::revocations::revoked;
use super::{Connection, Db, Engine, associations};
use crate::store::rows::TokenRow;
use crate::store::{Ask, Inspection, Introspected, Session, StoreError};
use postern_rpc::batches::Worker;

pub(super) type Answer = Result<Option<Arc<Found>>, StoreError>;

/// Answers batches of questions.
struct Sessions(Arc<Engine>);

/// A token as it is stored, and what its roles let it do.
pub(super) struct Found {
    row: TokenRow,
    roles: Vec<Role>,
    permissions: Permissions,
}

impl Engine {
    /// Whom a token stands for. One use of it, where those are limited.
    pub(in crate::store) async fn session(
        self: &Arc<Self>,
        token: &TokenHash,
        now: Timestamp,
    ) -> Result<Option<Session>, StoreError> {
        let Some(found) = self.counting(token, now).await? else {
            return Ok(None);
        };
        let session = found.row.session(&found.permissions)?;
        Ok(self.spend(token, &found.row).await?.then_some(session))
    }

    /// The same for a caller at that address. No use where the token isn't good from there, so that
    /// a thief elsewhere takes none from its holder: whoever asks refuses it.
    pub(in crate::store) async fn session_at(
        self: &Arc<Self>,
        token: &TokenHash,
        client_ip: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Option<Session>, StoreError> {
        let Some(found) = self.counting(token, now).await? else {
            return Ok(None);
        };
        let session = found.row.session(&found.permissions)?;
        if let Session::Holder { bound_ips, .. } = &session
            && !ip::allowed(bound_ips, client_ip)
        {
            return Ok(Some(session));
        }
        Ok(self.spend(token, &found.row).await?.then_some(session))
    }

    /// Whom a token stands for that opened a stream. No use.
    pub(in crate::store) async fn standing(
        self: &Arc<Self>,
        token: &TokenHash,
        now: Timestamp,
    ) -> Result<Option<Session>, StoreError> {
        let found = self.counting(token, now).await?;
        let session = found.map(|found| found.row.session(&found.permissions));
        Ok(session.transpose()?)
    }

    /// What a token is and says. One use of it, where those are limited and it is good.
    pub(in crate::store) async fn introspect(
        self: &Arc<Self>,
        inspection: &Inspection,
    ) -> Result<Option<Introspected>, StoreError> {
        let Inspection { token, shown, now } = inspection;
        let Some(found) = self.counting(token, *now).await? else {
            return Ok(None);
        };
        if !found.row.is_good_for(shown)? {
            return Ok(None);
        }
        let roles = found.roles.iter().map(|role| role.id.to_string());
        let introspected = found.row.introspected(roles.collect())?;
        Ok(self.spend(token, &found.row).await?.then_some(introspected))
    }

    /// What the rules of a token's roles say. Where uses are limited, an answer that allows is one,
    /// in the transaction that decides it.
    pub(in crate::store) async fn authorize(
        self: &Arc<Self>,
        ask: &Ask,
    ) -> Result<Authorization, StoreError> {
        let Inspection { token, now, .. } = &ask.inspection;
        let Some(found) = self.counting(token, *now).await? else {
            return Ok(Authorization::NotAllowed);
        };
        if !found.row.has_limited_uses() {
            return found.authorize(ask);
        }
        let hash = token.as_bytes().as_slice();
        let mut tx = self.begin_login().await?;
        let Some(found) = self::found(&mut tx, hash).await? else {
            return Ok(Authorization::NotAllowed);
        };
        let decided = found.authorize(ask)?;
        if !matches!(decided, Authorization::Allowed(_)) {
            return Ok(decided);
        }
        if !spend(&mut *tx, hash).await? {
            return Ok(Authorization::NotAllowed);
        }
        tx.commit().await?;
        Ok(decided)
    }

    async fn counting(self: &Arc<Self>, token: &TokenHash, now: Timestamp) -> Answer {
        let worker = || Sessions(Arc::clone(self));
        match self.sessions.ask((*token, now), worker).await {
            Ok(answer) => answer,
            Err(gone) => Err(gone.into()),
        }
    }

    /// Whether there was a use left: whoever takes the last one is alone, since the database takes
    /// one after another.
    async fn spend(&self, token: &TokenHash, row: &TokenRow) -> Result<bool, StoreError> {
        if !row.has_limited_uses() {
            return Ok(true);
        }
        Ok(spend(&self.writers, token.as_bytes().as_slice()).await?)
    }
}

async fn spend<'e>(on: impl Executor<'e, Database = Db>, hash: &[u8]) -> Result<bool, sqlx::Error> {
    let spent = sqlx::query(
        "UPDATE tokens SET uses_left = uses_left - 1 WHERE hash = $1 AND uses_left > 0",
    )
    .bind(hash)
    .execute(on)
    .await?;
    Ok(spent.rows_affected() == 1)
}

// === impl Found ===

impl Found {
    fn authorize(&self, ask: &Ask) -> Result<Authorization, StoreError> {
        let Inspection { shown, now, .. } = &ask.inspection;
        if !self.row.counts(*now)? || !self.row.is_good_for(shown)? {
            return Ok(Authorization::NotAllowed);
        }
        let claims = self.row.sub_claims()?;
        Ok(role::authorize(
            &self.roles,
            &claims,
            &ask.path,
            ask.capability,
            *now,
        ))
    }
}

// === impl Sessions ===

impl Worker<(TokenHash, Timestamp), Answer> for Sessions {
    async fn answer(&mut self, questions: &[(TokenHash, Timestamp)]) -> Vec<Answer> {
        match self.0.for_sessions.bounded(self.read(questions)).await {
            Ok(answers) => answers,
            Err(fault) => {
                let shared = || Err(fault.again());
                questions.iter().map(|_| shared()).collect()
            }
        }
    }
}

impl Sessions {
    /// Once more where a kept connection turned out to be gone.
    async fn read(&self, questions: &[(TokenHash, Timestamp)]) -> Result<Vec<Answer>, StoreError> {
        let connections = &self.0.for_sessions;
        let lent = connections.take().await?;
        let rested = lent.rested;
        match self.on(lent, questions).await {
            Err(StoreError::Unavailable(_)) if rested => {
                self.on(connections.fresh().await?, questions).await
            }
            done => done,
        }
    }

    /// Few different tokens call: each is read once.
    async fn on(
        &self,
        mut lent: Lent,
        questions: &[(TokenHash, Timestamp)],
    ) -> Result<Vec<Answer>, StoreError> {
        let mut read: BTreeMap<&[u8], Answer> = BTreeMap::new();
        for (token, _) in questions {
            let hash = token.as_bytes().as_slice();
            if read.contains_key(hash) {
                continue;
            }
            match found(&mut lent.connection, hash).await {
                // One token's row, or a role of its, is no reason to fail the others.
                answer @ (Ok(_) | Err(StoreError::Inconsistent(_))) => {
                    read.insert(hash, answer.map(|found| found.map(Arc::new)))
                }
                Err(fault) => return Err(fault),
            };
        }
        self.0.for_sessions.give_back(lent);
        let answer = |(token, now): &(TokenHash, Timestamp)| {
            let found = match read.get(token.as_bytes().as_slice()) {
                None | Some(Ok(None)) => return Ok(None),
                Some(Err(fault)) => return Err(fault.again()),
                Some(Ok(Some(found))) => found,
            };
            Ok(found.row.counts(*now)?.then(|| Arc::clone(found)))
        };
        Ok(questions.iter().map(answer).collect())
    }
}

async fn found(connection: &mut Connection, hash: &[u8]) -> Result<Option<Found>, StoreError> {
    let Some(row) = row(connection, hash).await? else {
        return Ok(None);
    };
    let mut roles = Vec::new();
    if let Some(method_uid) = row.method_uid() {
        let (claims, forced) = (row.sub_claims()?, row.force_sub_claims());
        roles = associations::roles_of_token(connection, method_uid, &claims, forced).await?;
    }
    let mut permissions = Permissions::default();
    for role in &roles {
        permissions.extend(&role.permissions());
    }
    Ok(Some(Found {
        row,
        roles,
        permissions,
    }))
}

/// What the token lets a call do that began with it. `None`: it doesn't count any more. Its last
/// use may have been that call.
pub(super) async fn permissions(
    connection: &mut Connection,
    accessor: &str,
    now: Timestamp,
) -> Result<Option<Permissions>, StoreError> {
    let hash: Option<Vec<u8>> = sqlx::query_scalar("SELECT hash FROM tokens WHERE accessor = $1")
        .bind(accessor)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(hash) = hash else {
        return Ok(None);
    };
    let Some(found) = found(connection, &hash).await? else {
        return Ok(None);
    };
    Ok(found.row.stands(now)?.then_some(found.permissions))
}

/// Whether the token was neither revoked nor swept.
pub(super) async fn is_there(
    connection: &mut Connection,
    accessor: &str,
) -> Result<bool, sqlx::Error> {
    let hash = sqlx::query("SELECT hash FROM tokens WHERE accessor = $1")
        .bind(accessor)
        .fetch_optional(connection)
        .await?;
    Ok(hash.is_some())
}

/// A token with all that decides whether it counts.
pub(super) async fn row(
    connection: &mut Connection,
    hash: &[u8],
) -> Result<Option<TokenRow>, sqlx::Error> {
    sqlx::query_as(concat!(
        "SELECT t.kind, t.format, t.access_id, t.accessor, t.narrowed_gateway_uid, t.method_uid,
                t.config_uid, t.service_account_uid, t.pod_uid, t.sub_claims, t.issue_time,
                t.expire_time, t.max_expire_time, t.uses_left,
                m.kind AS method_kind, m.disabled AS method_disabled,
                m.access_expire_time AS method_access_expire_time,
                m.bound_ips AS method_bound_ips, m.force_sub_claims AS method_force_sub_claims,
                g.uid AS gateway_uid, g.name AS gateway_name, g.disabled AS gateway_disabled,
                n.name AS narrowed_to, t.access_key_hash, k.create_time AS key_create_time,
                k.expire_time AS key_expire_time, ",
        revoked!(),
        " AS revoked, ",
        blocked_until!(),
        " AS blocked_until
         FROM tokens t
         LEFT JOIN auth_methods m ON m.uid = t.method_uid
         LEFT JOIN gateways g ON g.uid = t.gateway_uid
         LEFT JOIN gateways n ON n.uid = t.narrowed_gateway_uid
         LEFT JOIN access_keys k ON k.key_hash = t.access_key_hash
         WHERE t.hash = $1",
    ))
    .bind(hash)
    .fetch_optional(connection)
    .await
}
