//! The state, and how the control plane's messages change it: no I/O.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use postern_core::access_id::AccessId;
use postern_core::auth_method::AuthMethod;
use postern_core::k8s_auth_config::AllowedApiServers;
use postern_core::resource_id::{ConfigName, ResourceId};
use postern_proto::convert::auth_method;
use postern_proto::pb;
use postern_proto::pb::watch_response::Change;
use uuid::Uuid;

use super::ConfigEntry;
use crate::cluster::{Cluster, Shared};
use crate::conditions::{self, Fault};
use crate::sealing::{Broken, Sealer};

/// Everything that is known at one revision.
#[derive(Clone, Default)]
pub(super) struct State {
    /// `None` before the first whole snapshot.
    pub(super) revision: Option<i64>,
    pub(super) configs: HashMap<ResourceId, Arc<Entry>>,
    pub(super) methods: HashMap<AccessId, Arc<AuthMethod>>,
    /// The highest generation of each config that this process has opened. Grows with the
    /// configs ever created, by a few bytes each: a deleted one must not come back older.
    pub(super) seen: Arc<HashMap<Uuid, i64>>,
}

/// A config's row and what became of it.
pub(super) struct Entry {
    row: pb::SealedK8sAuthConfig,
    pub(super) live: ConfigEntry,
    pub(super) conditions: Vec<pb::Condition>,
}

/// Makes rows live.
#[derive(Clone)]
pub(crate) struct Opener {
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) api_servers: Arc<AllowedApiServers>,
    /// This replica's ID.
    pub(crate) instance: String,
    pub(crate) shared: Arc<Shared>,
}

/// The state as the stream of changes makes it.
pub(super) struct Feed {
    opener: Opener,
    current: State,
    /// A snapshot that isn't whole yet.
    pending: Option<State>,
    seen: Arc<HashMap<Uuid, i64>>,
}

/// A stream that makes no sense. It is opened anew, from the beginning.
#[derive(Debug, thiserror::Error)]
pub(super) enum FeedError {
    #[error("a revision isn't a number")]
    Revision,
    #[error("a change came without a snapshot before it")]
    NoSnapshot,
    #[error("a snapshot ended that had not begun")]
    NotBegun,
}

// === impl Entry ===

impl Entry {
    /// Whether it is that config at that generation, or a later one.
    pub(super) fn is(&self, uid: Uuid, generation: i64) -> bool {
        let view = self.row.view.as_ref();
        view.is_some_and(|view| {
            let row_uid = view.meta.as_ref().map(|meta| meta.uid.as_str());
            row_uid == Some(uid.to_string().as_str()) && view.generation >= generation
        })
    }

    /// Whether nothing but the row's times and etag differ.
    fn says_the_same(&self, row: &pb::SealedK8sAuthConfig) -> bool {
        let bare = |row: &pb::SealedK8sAuthConfig| {
            let mut view = row.view.clone().unwrap_or_default();
            view.conditions.clear();
            if let Some(meta) = &mut view.meta {
                *meta = pb::ResourceMeta {
                    uid: std::mem::take(&mut meta.uid),
                    ..pb::ResourceMeta::default()
                };
            }
            view
        };
        self.row.sealed == row.sealed && bare(&self.row) == bare(row)
    }
}

// === impl Feed ===

impl Feed {
    pub(super) fn new(opener: Opener) -> Self {
        Self {
            opener,
            current: State::default(),
            pending: None,
            seen: Arc::default(),
        }
    }

    /// From where a new stream goes on; empty: from a snapshot.
    pub(super) fn resume_revision(&self) -> String {
        let revision = self.current.revision;
        revision
            .map(|revision| revision.to_string())
            .unwrap_or_default()
    }

    /// A new stream begins: what an old one left unfinished is forgotten.
    pub(super) fn reopened(&mut self) {
        self.pending = None;
    }

    /// The old stream made no sense: asks for everything anew, while the last whole state stays
    /// in use.
    pub(super) fn distrust(&mut self) {
        self.current.revision = None;
    }

    /// Takes a message over. The state when it is to be published.
    pub(super) fn apply(
        &mut self,
        message: pb::WatchResponse,
        now: Timestamp,
    ) -> Result<Option<State>, FeedError> {
        let revision = message.revision.parse().map_err(|_| FeedError::Revision)?;
        let written = message.change.as_ref().and_then(written);
        match message.change {
            Some(Change::SnapshotStart(_)) => {
                self.pending = Some(State::default());
                return Ok(None);
            }
            Some(Change::SnapshotEnd(_)) => {
                self.current = self.pending.take().ok_or(FeedError::NotBegun)?;
            }
            Some(Change::AuthMethod(method)) => self.method(&method, now)?,
            Some(Change::Config(config)) => self.config(config, now)?,
            Some(Change::DeletedName(name)) => self.deleted(&name)?,
            // Nothing, and what a newer control plane may say.
            Some(Change::Bookmark(_)) | None => {}
        }
        if self.pending.is_some() {
            return Ok(None);
        }
        if let Some(written) = written {
            self.opener.shared.metrics.propagated(written, now);
        }
        self.current.revision = Some(revision);
        self.current.seen = Arc::clone(&self.seen);
        Ok(Some(self.current.clone()))
    }

    fn target(&mut self) -> Result<&mut State, FeedError> {
        match &mut self.pending {
            Some(pending) => Ok(pending),
            None if self.current.revision.is_some() => Ok(&mut self.current),
            None => Err(FeedError::NoSnapshot),
        }
    }

    /// One that can't be read is dropped, which refuses every login of it.
    fn method(&mut self, wire: &pb::AuthMethod, now: Timestamp) -> Result<(), FeedError> {
        let methods = &mut self.target()?.methods;
        methods.retain(|access_id, method| {
            method.id.auth_method_name() != wire.name && access_id.as_str() != wire.access_id
        });
        match auth_method::from_pb(wire, now) {
            Ok(method) => {
                methods.insert(method.access_id.clone(), Arc::new(method));
            }
            Err(invalid) => {
                tracing::error!(method = wire.name, %invalid, "an auth method can't be read; its logins are refused");
            }
        }
        Ok(())
    }

    fn config(&mut self, row: pb::SealedK8sAuthConfig, now: Timestamp) -> Result<(), FeedError> {
        let name = row.view.as_ref().map(|view| view.name.as_str());
        let name = name.unwrap_or_default().parse::<ConfigName>();
        let own = |name: &ConfigName| name.gateway == *self.opener.sealer.gateway();
        let Some(id) = name.ok().filter(own).map(|name| name.id) else {
            tracing::error!("the control plane sent a config that isn't this gateway's");
            return Ok(());
        };
        let before = self.target()?.configs.get(&id).cloned();
        let before = before.or_else(|| self.current.configs.get(&id).cloned());
        let entry = self.entry(&id, row, before.as_deref(), now);
        self.target()?.configs.insert(id, Arc::new(entry));
        Ok(())
    }

    /// A config that says the same as before keeps its connections.
    fn entry(
        &mut self,
        id: &ResourceId,
        row: pb::SealedK8sAuthConfig,
        before: Option<&Entry>,
        now: Timestamp,
    ) -> Entry {
        let observed: &[pb::Condition] = before.map_or(&[], |entry| &entry.conditions);
        let same = before.filter(|entry| entry.says_the_same(&row));
        if let Some(Entry {
            live: live @ ConfigEntry::Live(_),
            ..
        }) = same
        {
            return Entry {
                row,
                live: live.clone(),
                conditions: observed.to_vec(),
            };
        }
        let made = self.opener.make(&row, &self.seen, now);
        if let Err(fault) = &made {
            tracing::error!(config = id.as_str(), error = %fault, "a config can't be used");
        }
        let conditions = conditions::of(made.as_ref().err(), observed, &self.opener.instance, now);
        let live = match made {
            Ok(cluster) => {
                let config = cluster.config();
                Arc::make_mut(&mut self.seen).insert(config.uid, config.generation);
                ConfigEntry::Live(Arc::new(cluster))
            }
            Err(_) => ConfigEntry::Unusable,
        };
        Entry {
            row,
            live,
            conditions,
        }
    }

    fn deleted(&mut self, name: &str) -> Result<(), FeedError> {
        let state = self.target()?;
        match name.parse::<ConfigName>() {
            Ok(name) => {
                state.configs.remove(&name.id);
            }
            Err(_) => state
                .methods
                .retain(|_, method| method.id.auth_method_name() != name),
        }
        Ok(())
    }
}

// === impl Opener ===

impl Opener {
    /// The row's config, if its box is intact, not older than what was seen, and for an API server
    /// that this gateway may talk to.
    fn make(
        &self,
        row: &pb::SealedK8sAuthConfig,
        seen: &HashMap<Uuid, i64>,
        now: Timestamp,
    ) -> Result<Cluster, Fault> {
        let config = self.sealer.open(row, now)?;
        let seen = seen.get(&config.uid).copied();
        not_rolled_back(config.generation, seen)?;
        let api_server = config.access.api_server();
        if let Some(denied) = api_server.filter(|server| !self.api_servers.allows(server)) {
            return Err(Fault::NotAllowed(denied));
        }
        Cluster::new(config, &self.shared).map_err(Fault::Cluster)
    }
}

/// When a changed object was written.
fn written(change: &Change) -> Option<Timestamp> {
    let meta = match change {
        Change::AuthMethod(method) => method.meta.as_ref(),
        Change::Config(row) => row.view.as_ref().and_then(|view| view.meta.as_ref()),
        Change::SnapshotStart(_)
        | Change::SnapshotEnd(_)
        | Change::DeletedName(_)
        | Change::Bookmark(_) => None,
    };
    let time = meta?.update_time?;
    Timestamp::new(time.seconds, time.nanos).ok()
}

/// Whether a box isn't older than one that this process has opened.
pub(crate) fn not_rolled_back(generation: i64, seen: Option<i64>) -> Result<(), Broken> {
    match seen {
        Some(seen) if generation < seen => Err(Broken::RolledBack { generation, seen }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
