//! A database of a test's own, and shorthands for what tests do in passing.

use std::sync::{Arc, Mutex};

use postern_core::access_token::AccessKey;
use postern_core::association::RequiredSubClaims;
use postern_core::audit::Event;
use postern_core::auth_method::AuthMethod;
use postern_core::key::SigningKey;
use postern_core::meta::Stored;
use postern_core::sealed_config::SealedConfig;
use tempfile::TempDir;
use test_support::postgres::{Postgres, TestDatabase};
use uuid::Uuid;

use super::fixtures::{self, Login, cause, gateway};
use crate::store::{
    AuditSink, DatabaseUrl, Etag, EventFilter, Gateway, Intent, MethodRef, NewAssociation, Store,
};

pub(super) struct Bed {
    pub(super) store: Store,
    pub(super) url: String,
    lines: Arc<Mutex<Vec<Event>>>,
    // Go with the test, after the store.
    _database: Option<TestDatabase>,
    pub(super) folder: Option<TempDir>,
}

impl Bed {
    pub(super) async fn postgres() -> Option<Self> {
        let database = Postgres::shared().await?.database().await;
        let url = database.url().to_owned();
        Some(Self::new(url, Some(database), None).await)
    }

    pub(super) async fn sqlite() -> Self {
        let folder = TempDir::new().unwrap();
        let url = format!("sqlite:{}", folder.path().join("postern.db").display());
        Self::new(url, None, Some(folder)).await
    }

    /// On a server of the test's own.
    pub(super) async fn at(url: &str) -> Self {
        Self::new(url.to_owned(), None, None).await
    }

    async fn new(url: String, database: Option<TestDatabase>, folder: Option<TempDir>) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink: AuditSink = {
            let lines = Arc::clone(&lines);
            Arc::new(move |event: &Event| lines.lock().unwrap().push(event.clone()))
        };
        let store = Store::connect(&url.parse().unwrap(), sink).await.unwrap();
        Self {
            store,
            url,
            lines,
            _database: database,
            folder,
        }
    }

    /// Another process on the same database.
    pub(super) async fn another(&self) -> Store {
        let url: DatabaseUrl = self.url.parse().unwrap();
        Store::connect(&url, Arc::new(|_| {})).await.unwrap()
    }

    /// What the audit sink has been given.
    pub(super) fn lines(&self) -> Vec<Event> {
        self.lines.lock().unwrap().clone()
    }

    /// The one record of that request, which must be in the database and in the sink.
    pub(super) async fn record(&self, request_id: &str) -> Event {
        let page = self
            .store
            .list_events(&EventFilter::request(request_id), None, 10)
            .await
            .unwrap();
        let [event] = <[Event; 1]>::try_from(page.items).expect("one record of the request");
        let lines = self.lines();
        let lines: Vec<_> = lines
            .iter()
            .filter(|line| line.request_id == request_id)
            .collect();
        assert_eq!(lines.len(), 1, "the sink got the record once");
        assert_eq!(lines[0].id, event.id);
        event
    }

    pub(super) async fn count(&self, statement: &'static str) -> i64 {
        self.store.scalar(statement).await
    }

    /// Of each login's token, the revision that its rules were read at; `None`: there is none.
    pub(super) async fn revisions(&self, logins: &[Login<'_>]) -> Vec<Option<i64>> {
        let mut revisions = Vec::new();
        for login in logins {
            let token = login.token.hash();
            revisions.push(self.store.rules_revision(&token).await);
        }
        revisions
    }

    /// The method's private key comes with it.
    pub(super) async fn method(&self, id: &str) -> (AuthMethod, SigningKey) {
        let (method, key) = fixtures::method(id);
        let created = self
            .store
            .create_auth_method(&method, None, Intent::Write, &cause("setup"))
            .await;
        (created.unwrap().value, key)
    }

    /// An administrator that stays, whatever becomes of others.
    pub(super) async fn root(&self) {
        let (method, key) = (fixtures::root(), AccessKey::generate().unwrap());
        let cause = cause("setup");
        self.store
            .create_auth_method(&method, Some(&key.hash()), Intent::Write, &cause)
            .await
            .unwrap();
        let new = NewAssociation {
            uid: Uuid::now_v7(),
            auth_method: MethodRef::Id(method.id),
            role: "admin".parse().unwrap(),
            sub_claims: RequiredSubClaims::default(),
        };
        let given = self.store.create_association(&new, Intent::Write, &cause);
        given.await.unwrap();
    }

    pub(super) async fn gateway(&self, name: &str) -> Gateway {
        let key = AccessKey::generate().unwrap();
        let created = self
            .store
            .create_gateway(&gateway(name), &key.hash(), &cause("setup"))
            .await;
        created.unwrap().value
    }

    /// As an administrator does.
    pub(super) async fn switch(
        &self,
        gateway: &Gateway,
        disabled: bool,
        request_id: &str,
    ) -> Gateway {
        let edit = |current: &Gateway| {
            Ok(Gateway {
                disabled,
                ..current.clone()
            })
        };
        let (name, cause) = (&gateway.name, cause(request_id));
        let updated = self
            .store
            .update_gateway(name, Etag::Any, edit, Intent::Write, &cause);
        updated.await.unwrap().value
    }

    pub(super) async fn config(
        &self,
        gateway: &Gateway,
        id: &str,
        method: &AuthMethod,
    ) -> Stored<SealedConfig> {
        let config = fixtures::config(gateway, id, method);
        self.store
            .create_config(&config, Intent::Write, &cause("setup"))
            .await
            .unwrap()
    }
}
