//! Whom a token stands for. Asked at every call that needs a credential, so that a revocation holds
//! at once: calls that come together share the answers, and none gets one that was read before it
//! came.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use postern_core::access_token::TokenHash;

use super::kept::Lent;
use super::{Connection, Engine};
use crate::store::batches::Worker;
use crate::store::rows::SessionRow;
use crate::store::{Session, StoreError};

pub(super) type Answer = Result<Option<Session>, StoreError>;

/// Answers batches of questions.
struct Sessions(Arc<Engine>);

impl Engine {
    pub(in crate::store) async fn session(
        self: &Arc<Self>,
        token: &TokenHash,
        now: Timestamp,
    ) -> Answer {
        let worker = || Sessions(Arc::clone(self));
        match self.sessions.ask((*token, now), worker).await {
            Ok(answer) => answer,
            Err(gone) => Err(gone.into()),
        }
    }
}

// === impl Sessions ===

impl Worker<(TokenHash, Timestamp), Answer> for Sessions {
    async fn answer(&mut self, questions: &[(TokenHash, Timestamp)]) -> Vec<Answer> {
        match self.read(questions).await {
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
        let mut rows: BTreeMap<&[u8], Option<SessionRow>> = BTreeMap::new();
        for (token, _) in questions {
            let hash = token.as_bytes().as_slice();
            if !rows.contains_key(hash) {
                rows.insert(hash, row(&mut lent.connection, hash).await?);
            }
        }
        self.0.for_sessions.give_back(lent);
        let answer = |(token, now): &(TokenHash, Timestamp)| {
            let row = rows
                .get(token.as_bytes().as_slice())
                .and_then(Option::as_ref);
            Ok(row.map(|row| row.session(*now)).transpose()?.flatten())
        };
        Ok(questions.iter().map(answer).collect())
    }
}

async fn row(connection: &mut Connection, hash: &[u8]) -> Result<Option<SessionRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT t.kind, t.access_id, t.accessor, t.narrowed_gateway_uid, t.expire_time,
                m.kind AS method_kind, m.disabled AS method_disabled,
                m.access_expire_time AS method_access_expire_time,
                m.bound_ips AS method_bound_ips,
                g.uid AS gateway_uid, g.name AS gateway_name, n.name AS narrowed_to
         FROM tokens t
         LEFT JOIN auth_methods m ON m.uid = t.method_uid
         LEFT JOIN gateways g ON g.uid = t.gateway_uid
         LEFT JOIN gateways n ON n.uid = t.narrowed_gateway_uid
         WHERE t.hash = $1",
    )
    .bind(hash)
    .fetch_optional(connection)
    .await
}
