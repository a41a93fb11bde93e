//! The statements, in the subset that PostgreSQL and SQLite share. Compiled once for each.

mod access_keys;
mod associations;
mod audit;
mod auth_methods;
mod blocks;
mod config_write;
mod deployment;
mod exchange;
mod feed;
mod gateways;
mod held;
mod instances;
mod k8s_auth_configs;
mod kept;
mod key_uses;
mod limits;
mod live_tokens;
mod pods;
mod revocations;
mod roles;
mod schema;
mod session;
mod signing_keys;
mod sweep;
mod token_life;
mod tokens;
mod ways_in;

use std::sync::Arc;

use jiff::Timestamp;
use postern_core::access_token::TokenHash;
use sqlx::{Database, Pool, Transaction};
use tokio::sync::watch;

use super::{BATCHES, BEFORE_CONFIG_COMMIT, BEGIN_LOGIN, BEGIN_READ, BEGIN_WRITE, Db};
use crate::store::hooks::Hooks;
use crate::store::{Exchange, StoreError};
use postern_rpc::batches::Batches;

use config_write::ConfigWrite;
use kept::Kept;

type Connection = <Db as Database>::Connection;

/// How many a connection keeps prepared: a login's are some for each size of a batch.
pub(in crate::store) const STATEMENTS: usize = 256;

pub(in crate::store) struct Engine {
    readers: Pool<Db>,
    writers: Pool<Db>,
    hooks: Hooks,
    exchanges: Arc<Batches<Exchange, exchange::Answer>>,
    sessions: Arc<Batches<(TokenHash, Timestamp), session::Answer>>,
    for_exchanges: Kept,
    for_sessions: Kept,
    grounds: exchange::Grounds,
}

impl Engine {
    pub(super) fn new(readers: Pool<Db>, writers: Pool<Db>, hooks: Hooks) -> Self {
        Self {
            for_exchanges: Kept::new(writers.clone()),
            for_sessions: Kept::new(readers.clone()),
            readers,
            writers,
            hooks,
            exchanges: Batches::new(BATCHES),
            sessions: Batches::new(BATCHES),
            grounds: exchange::Grounds::default(),
        }
    }

    pub(in crate::store) fn subscribe(&self) -> watch::Receiver<i64> {
        self.hooks.subscribe()
    }

    pub(in crate::store) async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT value FROM revision")
            .execute(&self.readers)
            .await?;
        Ok(())
    }

    /// All of its statements see the database at one moment.
    async fn begin_read(&self) -> Result<Transaction<'static, Db>, StoreError> {
        Ok(self.readers.begin_with(BEGIN_READ).await?)
    }

    async fn begin_write(&self) -> Result<Transaction<'static, Db>, StoreError> {
        Ok(self.writers.begin_with(BEGIN_WRITE).await?)
    }

    /// The rules that it reads hold until it commits: whoever changes them waits for it.
    async fn begin_login(&self) -> Result<Transaction<'static, Db>, StoreError> {
        Ok(self.writers.begin_with(BEGIN_LOGIN).await?)
    }
}

/// Rows for statements of few different lengths: each length is prepared and kept on its own, for
/// each connection.
fn portions<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    const EACH: usize = 16;
    const MOST: usize = 256;
    std::iter::from_fn(move || {
        let length = match rows.len() {
            0 => return None,
            few @ 1..=EACH => few,
            many => MOST.min(1 << many.ilog2()),
        };
        let (portion, rest) = rows.split_at(length);
        rows = rest;
        Some(portion)
    })
}

/// What tests do to a database behind the store's back.
#[cfg(test)]
impl Engine {
    pub(in crate::store) async fn raw(&self, statement: &'static str) {
        sqlx::raw_sql(statement)
            .execute(&self.writers)
            .await
            .unwrap();
    }

    pub(in crate::store) async fn rules_revision(&self, token: &TokenHash) -> Option<i64> {
        sqlx::query_scalar("SELECT rules_revision FROM tokens WHERE hash = $1")
            .bind(token.as_bytes().as_slice())
            .fetch_optional(&self.readers)
            .await
            .unwrap()
    }

    pub(in crate::store) async fn scalar(&self, statement: &'static str) -> i64 {
        sqlx::query_scalar(statement)
            .fetch_one(&self.readers)
            .await
            .unwrap()
    }
}
