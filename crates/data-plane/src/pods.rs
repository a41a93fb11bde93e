//! Watches the pods of methods whose tokens end with their pods, and has those revoked.
//!
//! A round asks the control plane which pods hold tokens, and then the cluster which pods there are:
//! who isn't among them any more is gone for good, since a UID never comes back. Then it watches, and
//! begins anew when the watch is lost, so that nothing is missed that happened meanwhile, or while
//! this process wasn't there. No pod is remembered, and no login waits for any of this.

mod state;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, select_all};
use postern_core::clock::Clock;
use postern_core::pod_scope::PodScope as Scope;
use postern_proto::pb;
use postern_rpc::deadline::Deadline;
use postern_rpc::error::Failure;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;
use uuid::Uuid;

pub(crate) use self::state::{PodsState, WatchedPods};
use crate::backoff::Backoff;
use crate::cluster::{Cluster, PodEvent, PodsFault};
use crate::control_plane::ControlPlane;
use crate::snapshot::Snapshot;

/// For one list of pods, all its pages.
const LISTING: Duration = Duration::from_secs(60);
const OPENING: Duration = Duration::from_secs(10);
const CALL: Duration = Duration::from_secs(5);
/// Deletions that come together are reported together.
const TOGETHER: Duration = Duration::from_millis(200);
/// The most that the control plane takes at once.
const BATCH: usize = 500;
/// Deletions that wait to be reported. While they do, no more events are read.
const WAITING: usize = 10_000;
/// Of pods that hold tokens, so many are compared with those that there are at once.
const COMPARED: usize = 100_000;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Watches what the snapshot's configs and methods ask for.
pub(crate) struct Pods {
    snapshot: Arc<Snapshot>,
    control_plane: Arc<ControlPlane>,
    clock: Clock,
}

/// A config whose pods are watched. Stops when dropped.
struct Watching {
    cluster: Arc<Cluster>,
    scope: Scope,
    _task: AbortOnDropHandle<()>,
}

/// One config's watch.
struct Watcher {
    cluster: Arc<Cluster>,
    scope: Scope,
    control_plane: Arc<ControlPlane>,
    clock: Clock,
}

/// Why a round ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Pods(#[from] PodsFault),
    #[error("the control plane doesn't say which pods hold tokens")]
    ControlPlane(#[source] Box<Failure>),
}

// === impl Pods ===

impl Pods {
    pub(crate) fn new(
        snapshot: Arc<Snapshot>,
        control_plane: Arc<ControlPlane>,
        clock: Clock,
    ) -> Self {
        Self {
            snapshot,
            control_plane,
            clock,
        }
    }

    /// Watches until `stop`.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        let mut changes = self.snapshot.changes();
        let mut watching = HashMap::new();
        stop.run_until_cancelled(async {
            loop {
                self.adjust(&mut watching);
                if changes.changed().await.is_err() {
                    return;
                }
            }
        })
        .await;
    }

    /// Leaves alone what goes on as it was.
    fn adjust(&self, watching: &mut HashMap<Uuid, Watching>) {
        let mut before = std::mem::take(watching);
        for cluster in self.snapshot.live() {
            let method = self.snapshot.method(&cluster.config().access_id);
            let scope = method.as_deref().and_then(|m| Scope::of(m.kubernetes()?));
            let uid = cluster.config().uid;
            let Some(scope) = scope else {
                cluster.watched_pods().forget();
                continue;
            };
            let same = before.remove(&uid).filter(|watching| {
                Arc::ptr_eq(&watching.cluster, &cluster) && watching.scope == scope
            });
            watching.insert(uid, same.unwrap_or_else(|| self.watch(cluster, scope)));
        }
    }

    fn watch(&self, cluster: Arc<Cluster>, scope: Scope) -> Watching {
        let watcher = Watcher {
            cluster: Arc::clone(&cluster),
            scope: scope.clone(),
            control_plane: Arc::clone(&self.control_plane),
            clock: self.clock.clone(),
        };
        let span = tracing::info_span!("pods", config = %cluster.config().name);
        let task = tokio::spawn(watcher.run().instrument(span));
        Watching {
            cluster,
            scope,
            _task: AbortOnDropHandle::new(task),
        }
    }
}

// === impl Watcher ===

impl Watcher {
    async fn run(self) {
        self.say(PodsState::Starting);
        let mut backoff = Backoff::new(FIRST_PAUSE, MAX_PAUSE);
        let (deleted, reported) = mpsc::channel(WAITING);
        let rounds = async {
            loop {
                match self.round(&deleted, &mut backoff).await {
                    Ended::Pods(PodsFault::Expired) => {}
                    ended => {
                        tracing::warn!(error = %ended, "pods aren't watched; trying again");
                        self.say(PodsState::Failed(ended.into()));
                    }
                }
                tokio::time::sleep(backoff.pause()).await;
            }
        };
        tokio::join!(rounds, self.report(reported));
    }

    /// Ends with what is amiss only.
    async fn round(&self, deleted: &mpsc::Sender<String>, backoff: &mut Backoff) -> Ended {
        let versions = match self.compare(deleted).await {
            Ok(versions) => versions,
            Err(ended) => return ended,
        };
        self.say(PodsState::Watched);
        backoff.reset();
        let parts = self.scope.parts().into_iter().zip(versions);
        let watches = parts.map(|(part, version)| -> BoxFuture<'_, PodsFault> {
            Box::pin(self.follow(part, version, deleted))
        });
        let (fault, ..) = select_all(watches).await;
        fault.into()
    }

    /// Finds pods that hold tokens and are gone. From which versions on the parts are to be watched.
    ///
    /// Who holds tokens is asked first: a pod that comes later isn't among them, and none that is
    /// can come back once it isn't listed.
    async fn compare(&self, deleted: &mpsc::Sender<String>) -> Result<Vec<String>, Ended> {
        let (mut after, mut first) = (String::new(), None);
        loop {
            let (mut held, next) = self.held(after).await?;
            let mut versions = Vec::new();
            for part in self.scope.parts() {
                let seen = |uid: &str| {
                    held.remove(uid);
                };
                let listing = Deadline::after(LISTING);
                let listed = self.cluster.list_pods(part.as_deref(), seen, listing);
                versions.push(listed.await?);
            }
            for uid in held {
                // Nobody listens only when this ends.
                let _sent = deleted.send(uid).await;
            }
            let versions = first.get_or_insert(versions);
            match next {
                None => return Ok(std::mem::take(versions)),
                Some(next) => after = next,
            }
        }
    }

    /// Pods that hold tokens, of the watched namespaces, and where to go on if there are more.
    async fn held(&self, mut after: String) -> Result<(HashSet<String>, Option<String>), Ended> {
        let mut held = HashSet::new();
        while held.len() < COMPARED {
            let request = pb::ListTokenPodsRequest {
                config_uid: self.cluster.config().uid.to_string(),
                page_token: after,
            };
            let asked = self
                .control_plane
                .list_token_pods(request, Deadline::after(CALL));
            let page = asked
                .await
                .map_err(|error| Ended::ControlPlane(Box::new(error)))?;
            let pods = page.pods.into_iter();
            let within = pods.filter(|pod| self.scope.holds(&pod.namespace));
            held.extend(within.map(|pod| pod.uid));
            if page.next_page_token.is_empty() {
                return Ok((held, None));
            }
            after = page.next_page_token;
        }
        Ok((held, Some(after)))
    }

    async fn follow(
        &self,
        part: Option<String>,
        mut version: String,
        deleted: &mpsc::Sender<String>,
    ) -> PodsFault {
        loop {
            let opening = Deadline::after(OPENING);
            let opened = self.cluster.watch_pods(part.as_deref(), version, opening);
            let mut watch = match opened.await {
                Ok(watch) => watch,
                Err(fault) => return fault,
            };
            loop {
                match watch.next().await {
                    Ok(Some(PodEvent::Deleted(uid))) => {
                        let _sent = deleted.send(uid).await;
                    }
                    Ok(Some(PodEvent::Other)) => {}
                    Ok(None) => break,
                    Err(fault) => return fault,
                }
            }
            version = watch.version().to_owned();
        }
    }

    /// Has revoked what was deleted, and keeps at it while the control plane is away.
    async fn report(&self, mut deleted: mpsc::Receiver<String>) {
        let mut backoff = Backoff::new(FIRST_PAUSE, MAX_PAUSE);
        let mut batch = Vec::with_capacity(BATCH);
        while deleted.recv_many(&mut batch, BATCH).await > 0 {
            tokio::time::sleep(TOGETHER).await;
            while batch.len() < BATCH
                && let Ok(uid) = deleted.try_recv()
            {
                batch.push(uid);
            }
            let request = pb::RevokePodsRequest {
                config_uid: self.cluster.config().uid.to_string(),
                pod_uids: std::mem::take(&mut batch),
            };
            let mut late = false;
            while let Err(error) = self.revoke(request.clone()).await {
                tracing::warn!(%error, "tokens of deleted pods can't be revoked yet");
                self.say(PodsState::Failed(
                    Ended::ControlPlane(Box::new(error)).into(),
                ));
                tokio::time::sleep(backoff.pause()).await;
                late = true;
            }
            if late {
                self.say(PodsState::Watched);
            }
            backoff.reset();
        }
    }

    async fn revoke(&self, request: pb::RevokePodsRequest) -> Result<(), Failure> {
        let revoked = self
            .control_plane
            .revoke_pods(request, Deadline::after(CALL));
        match revoked.await {
            // The config is gone, and all that it gave with it.
            Err(failure) if failure.code == tonic::Code::NotFound => Ok(()),
            done => done,
        }
    }

    fn say(&self, state: PodsState) {
        self.cluster.watched_pods().are(state, self.clock.now());
    }
}
