//! The database: PostgreSQL, or SQLite for one node.
//!
//! One function is one transaction, and a write takes its audit record along. The SQL stands once,
//! in `sql/`, in the subset that both engines share; what differs between them stands in
//! `postgres.rs` and `sqlite.rs`. Nothing outside sees a connection.

#![expect(
    clippy::duplicate_mod,
    reason = "sql/ is compiled once for each engine, against its native driver"
)]

macro_rules! on_engine {
    ($self:ident.$function:ident($($argument:expr),*)) => {
        match $self.engine()? {
            Engine::Postgres(engine) => patience::bounded(engine.$function($($argument),*)).await,
            Engine::Sqlite(engine) => patience::bounded(engine.$function($($argument),*)).await,
        }
    };
}

/// For what goes on as long as there is something to do, and bounds each step itself.
macro_rules! stepwise_on_engine {
    ($self:ident.$function:ident($($argument:expr),*)) => {
        match $self.engine()? {
            Engine::Postgres(engine) => engine.$function($($argument),*).await,
            Engine::Sqlite(engine) => engine.$function($($argument),*).await,
        }
    };
}

mod access_keys;
mod document;
mod error;
mod events;
mod exchange;
mod hooks;
mod instances;
mod key_uses;
mod operations;
mod page;
mod parsed;
mod patience;
mod postgres;
mod revocation;
mod rows;
pub(crate) mod signing;
mod sqlite;
mod time;
mod types;
mod url;
mod worth;

#[cfg(test)]
mod contract;

use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use tokio::sync::watch;
use uuid::Uuid;

pub(crate) use access_keys::{KeyOverlap, NewKey, StoredKey, StoredKeys};
pub(crate) use error::{Inconsistent, StoreError, WriteError};
pub(crate) use events::{
    EventCursor, EventFilter, EventPage, LoginStat, Sealed, SealedPage, StatsWindow, Tail,
    TailCursor,
};
pub(crate) use instances::{Instance, Instances};
pub(crate) use key_uses::{KeyUse, KeyUses};
pub(crate) use page::Page;
pub(crate) use revocation::{Block, BlockCursor, Blocked, LiveToken, TokenFilter};
pub(crate) use signing::{BoxedKey, CantSign, Signer};
pub(crate) use types::{
    AssociationCursor, AssociationFilter, AuditSink, Cause, Change, Changes, Etag, Exchange,
    Exchanged, FirstStart, Gateway, GatewayIdentity, Granted, Intent, KeyDenial, Limited, LogIn,
    LoggedIn, MethodRef, NewAssociation, Recovery, RevokePods, Session, Signs, Snapshot, SpeaksFor,
    TokenPod, Unsigned,
};
pub use url::{DatabaseUrl, DatabaseUrlError};
pub(crate) use worth::{
    Ask, Inspection, Introspected, Prolonged, Renewal, Renewed, Revocation, Shown, Subject,
    WhichToken,
};

/// The one way to the database. Clones share it. Until it is open, the answer to everything is that
/// the database is unavailable.
#[derive(Clone, Default)]
pub(crate) struct Store(Arc<OnceLock<Engine>>);

#[derive(Clone)]
enum Engine {
    Postgres(Arc<postgres::Postgres>),
    Sqlite(Arc<sqlite::Sqlite>),
}

type Read<T> = Result<T, StoreError>;
type Write<T> = Result<T, WriteError>;

impl Store {
    /// Connects, waiting some seconds for a server that isn't up yet, and brings the schema up to
    /// date. `sink` gets every new audit record.
    pub(crate) async fn connect(url: &DatabaseUrl, sink: AuditSink) -> Read<Self> {
        let engine = match &url.0 {
            url::Target::Postgres(options) => {
                Engine::Postgres(postgres::connect(options, sink).await?)
            }
            url::Target::Sqlite(path) => Engine::Sqlite(sqlite::connect(path, sink).await?),
        };
        Ok(Self(Arc::new(OnceLock::from(engine))))
    }

    /// From now on this and all its clones are what `connected` is; the first time counts.
    pub(crate) fn open(&self, connected: &Self) {
        if let Some(engine) = connected.0.get() {
            let _ = self.0.set(engine.clone());
        }
    }

    fn engine(&self) -> Read<&Engine> {
        self.0.get().ok_or(StoreError::NotOpen)
    }

    /// The same for a database that a control plane keeps: nothing of it is changed by connecting,
    /// and its schema must be this version's.
    pub(crate) async fn connect_as_it_is(url: &DatabaseUrl, sink: AuditSink) -> Read<Self> {
        let engine = match &url.0 {
            url::Target::Postgres(options) => {
                Engine::Postgres(postgres::connect_as_it_is(options, sink).await?)
            }
            url::Target::Sqlite(path) => {
                Engine::Sqlite(sqlite::connect_as_it_is(path, sink).await?)
            }
        };
        Ok(Self(Arc::new(OnceLock::from(engine))))
    }

    /// Whether the database answers.
    pub(crate) async fn ping(&self) -> Read<()> {
        on_engine!(self.ping())
    }

    /// The highest revision that this process knows of. Changes within a second of another
    /// process's write.
    pub(crate) fn subscribe(&self) -> Read<watch::Receiver<i64>> {
        Ok(match self.engine()? {
            Engine::Postgres(engine) => engine.subscribe(),
            Engine::Sqlite(engine) => engine.subscribe(),
        })
    }

    /// `None` for a database that was never started with a bootstrap file.
    pub(crate) async fn deployment_id(&self) -> Read<Option<Uuid>> {
        on_engine!(self.deployment_id())
    }

    /// Fills an empty database; changes nothing in one that isn't. The deployment's ID as stored.
    pub(crate) async fn bootstrap(&self, start: &FirstStart, cause: &Cause) -> Write<Uuid> {
        on_engine!(self.bootstrap(start, cause))
    }

    /// That of the last committed write.
    pub(crate) async fn current_revision(&self) -> Read<i64> {
        on_engine!(self.current_revision())
    }

    /// The gateway's configs and the methods that they name.
    pub(crate) async fn snapshot(&self, gateway: &GatewayIdentity) -> Read<Snapshot> {
        on_engine!(self.snapshot(gateway))
    }

    /// What concerns the gateway after that revision.
    pub(crate) async fn changes_since(
        &self,
        gateway: &GatewayIdentity,
        after: i64,
    ) -> Read<Changes> {
        on_engine!(self.changes_since(gateway, after))
    }

    /// Removes what has expired, in small transactions. How many rows.
    pub(crate) async fn sweep(&self, now: Timestamp) -> Read<u64> {
        stepwise_on_engine!(self.sweep(now))
    }

    /// Forgets all but the last `keep` revisions' changes. How many rows.
    pub(crate) async fn prune_changes(&self, keep: i64) -> Read<u64> {
        on_engine!(self.prune_changes(keep))
    }
}
