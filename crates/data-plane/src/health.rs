//! How the clusters of this replica's configs are doing: tried at a gentle pace, and when an
//! administrator asks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use postern_core::auth_method::AuthMethod;
use postern_core::clock::Clock;
use postern_core::k8s_auth_config::K8sAuthConfig;
use postern_proto::pb::Condition;
use postern_rpc::deadline::Deadline;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::cluster::{Cluster, ReviewFault};
use crate::conditions::{self, probed};
use crate::snapshot::Snapshot;

/// How long one check may take, whatever its clusters do.
pub(crate) const CHECK_WITHIN: Duration = Duration::from_secs(12);
/// How long after a start the first round begins at the latest.
const FIRST_ROUND: Duration = Duration::from_secs(3);
/// How many clusters are tried at once: a dead one keeps no other waiting.
const AT_ONCE: usize = 4;

/// What was found out, by config.
pub(crate) struct Health {
    snapshot: Arc<Snapshot>,
    clock: Clock,
    instance: String,
    known: Mutex<HashMap<Uuid, Known>>,
}

struct Known {
    generation: i64,
    conditions: Vec<Condition>,
}

impl Health {
    pub(crate) fn new(snapshot: Arc<Snapshot>, clock: Clock, instance: String) -> Self {
        Self {
            snapshot,
            clock,
            instance,
            known: Mutex::default(),
        }
    }

    /// Which replica this is.
    pub(crate) fn instance(&self) -> &str {
        &self.instance
    }

    /// Tries every config in use, again and again until `stop`.
    pub(crate) async fn run(&self, interval: Duration, stop: CancellationToken) {
        stop.run_until_cancelled(async {
            tokio::time::sleep(jittered(interval.min(FIRST_ROUND))).await;
            loop {
                self.round().await;
                tokio::time::sleep(jittered(interval)).await;
            }
        })
        .await;
    }

    async fn round(&self) {
        let clusters = self.snapshot.live();
        self.forget_all_but(&clusters);
        futures::stream::iter(clusters)
            .for_each_concurrent(AT_ONCE, async |cluster| {
                self.check(&cluster, Deadline::after(CHECK_WITHIN)).await;
            })
            .await;
    }

    /// Tries a config that is in use, and remembers what was found out.
    pub(crate) async fn check(&self, cluster: &Cluster, deadline: Deadline) -> Vec<Condition> {
        let findings = self.try_out(cluster, deadline).await;
        self.record(cluster.config(), findings)
    }

    /// Tries a config that isn't stored.
    pub(crate) async fn check_draft(
        &self,
        cluster: &Cluster,
        deadline: Deadline,
    ) -> Vec<Condition> {
        let findings = self.try_out(cluster, deadline).await;
        self.dated(findings, &[])
    }

    /// Of a config whose API server isn't asked.
    pub(crate) fn not_tried(&self, reason: &'static str, message: &str) -> Vec<Condition> {
        self.dated(probed::not_tried(reason, message), &[])
    }

    /// A login found its API server out of order: that needn't wait for the next round.
    pub(crate) fn saw(&self, cluster: &Cluster, fault: &ReviewFault) {
        match fault {
            // A caller's own deadline, and the gateway's own limits, say nothing about the cluster, nor do
            // its keys about its reviews.
            ReviewFault::Timeout
            | ReviewFault::Keys(_)
            | ReviewFault::QueueFull
            | ReviewFault::Lost => {}
            fault => {
                self.record(cluster.config(), probed::of_review(Some(fault)));
            }
        }
    }

    /// What is known of a config at that generation.
    pub(crate) fn conditions(&self, uid: Uuid, generation: i64) -> Vec<Condition> {
        let known = self.known();
        let known = known
            .get(&uid)
            .filter(|known| known.generation == generation);
        known
            .map(|known| known.conditions.clone())
            .unwrap_or_default()
    }

    async fn try_out(&self, cluster: &Cluster, deadline: Deadline) -> Vec<probed::Probed> {
        let method = self.snapshot.method(&cluster.config().access_id);
        let listed = method.as_deref().and_then(listed);
        let audiences = listed.unwrap_or_default();
        let probe = cluster.probe(audiences, &self.clock, deadline).await;
        probed::of(&probe, cluster.config(), listed, self.clock.now())
    }

    /// Conditions that weren't looked at stay.
    fn record(&self, config: &K8sAuthConfig, findings: Vec<probed::Probed>) -> Vec<Condition> {
        let mut known = self.known();
        let before = known.remove(&config.uid);
        let before = before.map(|known| known.conditions).unwrap_or_default();
        let mut conditions = self.dated(findings, &before);
        let looked_at: Vec<_> = conditions.iter().map(|c| c.r#type).collect();
        let stay = before
            .into_iter()
            .filter(|c| !looked_at.contains(&c.r#type));
        conditions.extend(stay);
        let generation = config.generation;
        known.insert(
            config.uid,
            Known {
                generation,
                conditions: conditions.clone(),
            },
        );
        conditions
    }

    fn dated(&self, findings: Vec<probed::Probed>, before: &[Condition]) -> Vec<Condition> {
        let now = self.clock.now();
        conditions::dated(findings, before, &self.instance, Some(now), now)
    }

    fn forget_all_but(&self, clusters: &[Arc<Cluster>]) {
        let there = |uid: &Uuid| clusters.iter().any(|c| c.config().uid == *uid);
        self.known().retain(|uid, _| there(uid));
    }

    /// A panic while it was held left at worst an old finding.
    fn known(&self) -> MutexGuard<'_, HashMap<Uuid, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The audiences that a method lists; none for the API server's own.
fn listed(method: &AuthMethod) -> Option<&[String]> {
    method
        .kubernetes()
        .map(|kubernetes| kubernetes.audiences.listed())
}

/// Up to a quarter more, so that replicas that started together don't ask together.
fn jittered(pause: Duration) -> Duration {
    let random = u32::from(Uuid::new_v4().as_bytes()[0]);
    pause + pause * random / 1024
}
