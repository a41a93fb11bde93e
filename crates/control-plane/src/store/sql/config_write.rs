//! A write of configuration: serial, with a revision, its changes and its audit records.

use jiff::Timestamp;
use postern_core::audit::{Event, EventKind};
use postern_core::permission::Permissions;
use sqlx::{QueryBuilder, Transaction};

use super::ways_in::WaysIn;
use super::{BEFORE_CONFIG_COMMIT, Connection, Db, Engine, audit, session};
use crate::store::time::stored;
use crate::store::{Cause, Intent, StoreError, WriteError};

/// Dropped without [`ConfigWrite::commit`] it leaves nothing.
pub(super) struct ConfigWrite<'e> {
    engine: &'e Engine,
    cause: &'e Cause,
    /// What whoever writes holds now.
    permissions: Permissions,
    tx: Transaction<'static, Db>,
    pub(super) revision: i64,
    changes: Vec<Touched>,
    events: Vec<Event>,
}

struct Touched {
    kind: &'static str,
    name: String,
    gateway_uid: String,
}

impl<'e> ConfigWrite<'e> {
    /// Waits until no other write of configuration is under way, and keeps it so. Whoever writes
    /// may have lost their token, or some of what it holds, meanwhile.
    pub(super) async fn begin(engine: &'e Engine, cause: &'e Cause) -> Result<Self, WriteError> {
        let mut tx = engine.begin_write().await?;
        let revision = sqlx::query_scalar("UPDATE revision SET value = value + 1 RETURNING value")
            .fetch_one(&mut *tx)
            .await?;
        let permissions = match cause.accessor.as_str() {
            "" => cause.permissions.clone(),
            accessor => session::permissions(&mut tx, accessor, cause.now)
                .await?
                .ok_or_else(|| cause.caller_gone())?,
        };
        Ok(Self {
            engine,
            cause,
            permissions,
            tx,
            revision,
            changes: Vec::new(),
            events: Vec::new(),
        })
    }

    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.tx
    }

    /// As the row will have it.
    pub(super) fn now(&self) -> Timestamp {
        stored(self.cause.now)
    }

    pub(super) fn touch_auth_method(&mut self, name: String, gateway_uid: &str) {
        self.touch("auth_method", name, gateway_uid);
    }

    pub(super) fn touch_gateway(&mut self, name: String) {
        self.touch("gateway", name, "");
    }

    pub(super) fn touch_config(&mut self, name: String, gateway_uid: &str) {
        self.touch("k8s_auth_config", name, gateway_uid);
    }

    pub(super) fn touch_role(&mut self, name: String) {
        self.touch("role", name, "");
    }

    pub(super) fn touch_association(&mut self, name: String) {
        self.touch("association", name, "");
    }

    pub(super) fn touch_signing_key(&mut self, name: String) {
        self.touch("signing_key", name, "");
    }

    /// Of what no gateway keeps: each revision has a change, and this one concerns nobody.
    pub(super) fn touch_nothing(&mut self) {
        self.touch("gateway", String::new(), "");
    }

    fn touch(&mut self, kind: &'static str, name: String, gateway_uid: &str) {
        self.changes.push(Touched {
            kind,
            name,
            gateway_uid: gateway_uid.to_owned(),
        });
    }

    /// Nobody gives, takes or changes what holds more than they hold themselves.
    pub(super) fn within_own(&self, permissions: &Permissions) -> Result<(), WriteError> {
        let missing: Vec<_> = self.permissions.missing(permissions).collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(WriteError::BeyondOwn(missing))
        }
    }

    /// After a write that may have taken somebody's way in: one is left. Where none was, a way in
    /// from some addresses or for some calls must be.
    pub(super) async fn administrator_stays(&mut self) -> Result<(), WriteError> {
        let own = self.cause.access_id.as_str();
        let left = WaysIn::of(&mut self.tx).await?;
        if left.has_open() || left.admits(own, self.cause.caller_ip) {
            return Ok(());
        }
        // What is committed: nobody else writes configuration now.
        let mut committed = self.engine.readers.acquire().await?;
        let before = WaysIn::of(&mut committed).await?;
        if !before.has_open() && !left.is_empty() {
            return Ok(());
        }
        Err(WriteError::NoAdministratorLeft)
    }

    /// `edit` adds what is particular to the record.
    pub(super) fn record(
        &mut self,
        kind: EventKind,
        resource: String,
        edit: impl FnOnce(&mut Event),
    ) {
        let mut event = self.cause.event(kind, resource);
        event.revision = Some(self.revision);
        edit(&mut event);
        self.events.push(event);
    }

    pub(super) async fn commit(mut self, intent: Intent) -> Result<(), WriteError> {
        self.insert_changes().await?;
        let fresh = audit::insert(&mut self.tx, &self.events).await?;
        if intent == Intent::ValidateOnly {
            self.tx.rollback().await?;
            return Ok(());
        }
        if let Some(statements) = BEFORE_CONFIG_COMMIT {
            sqlx::raw_sql(statements).execute(&mut *self.tx).await?;
            caller_is_still_there(&mut self.tx, self.cause).await?;
        }
        self.tx.commit().await?;
        self.engine.hooks.recorded(fresh);
        self.engine.hooks.reached(self.revision);
        Ok(())
    }

    async fn insert_changes(&mut self) -> Result<(), StoreError> {
        for changes in self.changes.chunks(1000) {
            let mut insert =
                QueryBuilder::<Db>::new("INSERT INTO changes (revision, kind, name, gateway_uid) ");
            insert.push_values(changes, |mut row, change| {
                row.push_bind(self.revision)
                    .push_bind(change.kind)
                    .push_bind(&change.name)
                    .push_bind(&change.gateway_uid);
            });
            insert.build().execute(&mut *self.tx).await?;
        }
        Ok(())
    }
}

/// Of what ends a caller's token only its revocation, alone or with its pod, is no write of
/// configuration, and waits for none to begin. Whoever revokes takes the logins' lock, and so is
/// done by now, or waits for the commit.
async fn caller_is_still_there(
    connection: &mut Connection,
    cause: &Cause,
) -> Result<(), WriteError> {
    let accessor = cause.accessor.as_str();
    if accessor.is_empty() || session::is_there(connection, accessor).await? {
        return Ok(());
    }
    Err(cause.caller_gone())
}
