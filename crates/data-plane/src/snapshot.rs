//! What this replica knows: its configs, made live, and the methods that they name.
//!
//! Fed by the control plane's Watch; a login reads it and nothing else.

mod catch_up;
mod feed;
mod follow;
#[cfg(test)]
mod testing;

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use postern_core::access_id::AccessId;
use postern_core::auth_method::AuthMethod;
use postern_core::clock::Clock;
use postern_core::resource_id::ResourceId;
use postern_proto::pb::Condition;
use postern_rpc::deadline::Deadline;
use postern_rpc::http::Component;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::catch_up::CatchUp;
pub(crate) use self::catch_up::CatchUpError;
use self::feed::{Feed, State};
pub(crate) use self::feed::{Opener, not_rolled_back};
use crate::cluster::Cluster;
use crate::conditions;
use crate::control_plane::ControlPlane;
use crate::limits::Limits;

/// A config as logins see it.
#[derive(Debug, Clone)]
pub(crate) enum ConfigEntry {
    Live(Arc<Cluster>),
    /// It exists, and its conditions say why it isn't used.
    Unusable,
}

/// The current state, shared by all requests.
pub(crate) struct Snapshot {
    state: ArcSwap<State>,
    /// Says that `state` was replaced.
    changes: watch::Sender<()>,
    catch_up: CatchUp,
    /// When the control plane last said something.
    heard: Mutex<Option<Timestamp>>,
}

/// What a snapshot is fed by and with.
pub(crate) struct Source {
    pub(crate) control_plane: Arc<ControlPlane>,
    pub(crate) opener: Opener,
    /// This replica's ID.
    pub(crate) instance: String,
    pub(crate) clock: Clock,
    /// Ready from the first whole snapshot on.
    pub(crate) loaded: Component,
    /// Ready while the stream of changes stands.
    pub(crate) connected: Component,
}

impl Snapshot {
    /// Empty until it [runs](Self::run).
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            state: ArcSwap::default(),
            changes: watch::Sender::new(()),
            catch_up: CatchUp::new(limits.calls_that_wait_for_news()),
            heard: Mutex::default(),
        }
    }

    /// Follows the control plane until `stop`.
    pub(crate) async fn run(&self, source: Source, stop: CancellationToken) {
        let control_plane = Arc::clone(&source.control_plane);
        let feed = Feed::new(source.opener.clone());
        stop.run_until_cancelled(async {
            tokio::join!(
                follow::follow(self, &source, feed),
                self.catch_up
                    .serve(|| catch_up::round(self, &control_plane)),
            )
        })
        .await;
    }

    /// The config of that name at this gateway.
    pub(crate) fn config(&self, id: &ResourceId) -> Option<ConfigEntry> {
        let state = self.state.load();
        state.configs.get(id).map(|entry| entry.live.clone())
    }

    /// All configs that are in use.
    pub(crate) fn live(&self) -> Vec<Arc<Cluster>> {
        let state = self.state.load();
        let entries = state.configs.values();
        entries
            .filter_map(|entry| match &entry.live {
                ConfigEntry::Live(cluster) => Some(Arc::clone(cluster)),
                ConfigEntry::Unusable => None,
            })
            .collect()
    }

    /// Says when anything that is known here changes.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// What this replica observes about the config; nothing for one that it doesn't know.
    pub(crate) fn conditions(&self, id: &ResourceId) -> Vec<Condition> {
        let state = self.state.load();
        let Some(entry) = state.configs.get(id) else {
            return vec![];
        };
        let mut all = entry.conditions.clone();
        if let ConfigEntry::Live(cluster) = &entry.live
            && let Some((pin, since)) = cluster.pin()
        {
            let instance = all.first().map(|first| first.instance.clone());
            let instance = instance.unwrap_or_default();
            all.push(conditions::cluster_pinned(&pin, since, &instance));
        }
        if let ConfigEntry::Live(cluster) = &entry.live
            && let Some(watched) = cluster.watched_pods().get()
        {
            let instance = all.first().map(|first| first.instance.clone());
            let (state, since) = &*watched;
            all.push(conditions::pods_watched(
                state,
                *since,
                &instance.unwrap_or_default(),
            ));
        }
        all
    }

    /// The highest generation of a config that this process has opened.
    pub(crate) fn generation_seen(&self, uid: Uuid) -> Option<i64> {
        self.state.load().seen.get(&uid).copied()
    }

    pub(crate) fn method(&self, access_id: &AccessId) -> Option<Arc<AuthMethod>> {
        self.state.load().methods.get(access_id).cloned()
    }

    /// Waits until everything that the control plane acknowledged before this call is here.
    /// Shared by all who wait, at most once a second.
    ///
    /// # Errors
    /// The control plane doesn't answer, or the changes don't come in time.
    pub(crate) async fn catch_up(&self, deadline: Deadline) -> Result<(), Box<CatchUpError>> {
        self.catch_up.wait(deadline).await.map_err(Box::new)
    }

    /// After a write of that generation through this replica: waits until it is in use here.
    pub(crate) async fn written(
        &self,
        id: &ResourceId,
        uid: Uuid,
        generation: i64,
        deadline: Deadline,
    ) {
        self.until(deadline, |state| {
            let entry = state.configs.get(id);
            entry.is_some_and(|entry| entry.is(uid, generation))
        })
        .await;
    }

    /// After a deletion through this replica: waits until the config isn't in use here.
    pub(crate) async fn deleted(&self, id: &ResourceId, deadline: Deadline) {
        let before = self.state.load().configs.get(id).cloned();
        let Some(before) = before else { return };
        self.until(deadline, |state| {
            let entry = state.configs.get(id);
            entry.is_none_or(|entry| !Arc::ptr_eq(entry, &before))
        })
        .await;
    }

    /// The control plane's revision that is in use.
    pub(crate) fn revision(&self) -> Option<i64> {
        self.state.load().revision
    }

    /// When the control plane last said something.
    pub(crate) fn heard(&self) -> Option<Timestamp> {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that can be asked.
    pub(crate) fn clusters(&self) -> Vec<Arc<Cluster>> {
        let state = self.state.load();
        let live = state
            .configs
            .values()
            .filter_map(|entry| match &entry.live {
                ConfigEntry::Live(cluster) => Some(Arc::clone(cluster)),
                ConfigEntry::Unusable => None,
            });
        live.collect()
    }

    fn hear(&self, now: Timestamp) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    fn publish(&self, state: State) {
        self.state.store(Arc::new(state));
        self.changes.send_replace(());
    }

    /// Whether `holds` became true before the deadline.
    async fn until(&self, deadline: Deadline, holds: impl Fn(&State) -> bool) -> bool {
        let mut changes = self.changes.subscribe();
        let held = changes.wait_for(|()| holds(&self.state.load()));
        deadline.run(held).await.is_ok()
    }
}
