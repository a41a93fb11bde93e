//! What tests do to a database behind the store's back.

use postern_core::access_token::TokenHash;
use postern_core::auth_method::AuthMethod;
use postern_core::meta::Stored;

use crate::store::{Cause, Engine, Intent, Store, Write};

impl Store {
    /// One whose tokens have no role.
    pub(super) async fn create_auth_method(
        &self,
        method: &AuthMethod,
        key: Option<&TokenHash>,
        intent: Intent,
        cause: &Cause,
    ) -> Write<Stored<AuthMethod>> {
        self.create_auth_method_with(method, key, &[], intent, cause)
            .await
    }

    pub(super) async fn raw(&self, statement: &'static str) {
        match self.engine().unwrap() {
            Engine::Postgres(engine) => engine.raw(statement).await,
            Engine::Sqlite(engine) => engine.raw(statement).await,
        }
    }

    pub(super) async fn rules_revision(&self, token: &TokenHash) -> Option<i64> {
        match self.engine().unwrap() {
            Engine::Postgres(engine) => engine.rules_revision(token).await,
            Engine::Sqlite(engine) => engine.rules_revision(token).await,
        }
    }

    pub(super) async fn scalar(&self, statement: &'static str) -> i64 {
        match self.engine().unwrap() {
            Engine::Postgres(engine) => engine.scalar(statement).await,
            Engine::Sqlite(engine) => engine.scalar(statement).await,
        }
    }
}
