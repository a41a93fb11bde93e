//! Whether the schema is the one that this version's migrations make.

use std::collections::BTreeSet;

use sqlx::migrate::Migrator;

use super::Engine;
use crate::store::StoreError;
use crate::store::error::SchemaFault;

impl Engine {
    pub(in crate::store) async fn check_schema(
        &self,
        migrator: &Migrator,
    ) -> Result<(), StoreError> {
        let applied = sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success")
            .fetch_all(&self.readers)
            .await;
        let applied: Vec<i64> = match applied.map_err(StoreError::from) {
            Ok(applied) => applied,
            // There is no such table.
            Err(StoreError::Driver(_)) => return Err(StoreError::Schema(SchemaFault::Missing)),
            Err(error) => return Err(error),
        };
        let applied: BTreeSet<i64> = applied.into_iter().collect();
        let known: BTreeSet<i64> = migrator.iter().map(|migration| migration.version).collect();
        if !applied.is_subset(&known) {
            return Err(StoreError::Schema(SchemaFault::Newer));
        }
        if !known.is_subset(&applied) {
            return Err(StoreError::Schema(SchemaFault::Older));
        }
        Ok(())
    }
}
