//! The statements, in the subset that PostgreSQL and SQLite share. Compiled once for each.

mod audit;
mod auth_methods;
mod config_write;
mod deployment;
mod exchange;
mod feed;
mod gateways;
mod k8s_auth_configs;
mod key_uses;
mod sweep;
mod tokens;

use sqlx::{Database, Pool, Transaction};
use tokio::sync::watch;

use super::{BEFORE_CONFIG_COMMIT, BEGIN_LOGIN, BEGIN_READ, BEGIN_WRITE, Db};
use crate::store::StoreError;
use crate::store::hooks::Hooks;

use config_write::ConfigWrite;

type Connection = <Db as Database>::Connection;

pub(in crate::store) struct Engine {
    readers: Pool<Db>,
    writers: Pool<Db>,
    hooks: Hooks,
}

impl Engine {
    pub(super) fn new(readers: Pool<Db>, writers: Pool<Db>, hooks: Hooks) -> Self {
        Self {
            readers,
            writers,
            hooks,
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

/// What tests do to a database behind the store's back.
#[cfg(test)]
impl Engine {
    pub(in crate::store) async fn raw(&self, statement: &'static str) {
        sqlx::raw_sql(statement)
            .execute(&self.writers)
            .await
            .unwrap();
    }

    pub(in crate::store) async fn scalar(&self, statement: &'static str) -> i64 {
        sqlx::query_scalar(statement)
            .fetch_one(&self.readers)
            .await
            .unwrap()
    }
}
