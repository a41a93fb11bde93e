//! One K8s auth config made live: a cluster whose API server can be asked about tokens.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use postern_core::auth_method::Audiences;
use postern_core::clock::Clock;
use postern_core::facts::Facts;
use postern_core::k8s_auth_config::K8sAuthConfig;
use postern_core::reason::DenyReason;
use postern_rpc::deadline::Deadline;
use tokio::time::Instant;
use tracing::Instrument as _;

use self::connection::Connection;
use self::queue::Queue;
use self::review::Verdict;
use self::verdicts::{Flight, Outcome, Question, Verdicts};
use self::verify::Means;
use crate::limits::Limits;
use crate::metrics::{ClusterMetrics, Metrics};
use crate::pods::WatchedPods;
use crate::presented_token::PresentedToken;

mod client;
mod connection;
mod fault;
mod jwks;
mod objects;
mod offline;
mod own;
mod pods;
pub(crate) mod probe;
mod queue;
mod review;
mod reviewer;
#[cfg(test)]
mod tests;
mod verdicts;
mod verify;

pub(crate) use self::client::ClusterError;
pub(crate) use self::fault::ReviewFault;
pub(crate) use self::jwks::{KEYS_GOOD_FOR, KeysFault, KeysState};
pub(crate) use self::own::{OwnCluster, Pin, SERVICE_ACCOUNT_DIR};
pub(crate) use self::pods::{PodEvent, PodsFault};
pub(crate) use self::queue::Standing;

/// The most of a token's own audiences that are sent, when a method takes any.
const MAX_AUDIENCES: usize = 8;
/// A mounted token that has no more than this left should have been replaced: kubelets do it when a
/// fifth of its life is left.
const OVERDUE: Duration = Duration::from_secs(5 * 60);
/// For all that one verification asks for, however long those who wait for it still have.
const VERIFICATION: Duration = Duration::from_secs(20);

/// A config in use. It never changes: a changed config is another `Cluster`, so that connections
/// made with an old CA, host or credential end with the old one.
pub(crate) struct Cluster {
    config: K8sAuthConfig,
    connection: Arc<Connection>,
    means: Means,
    clock: Clock,
    metrics: ClusterMetrics,
    verdicts: Arc<Verdicts>,
    queue: Queue,
    watched_pods: WatchedPods,
}

/// What all clusters of a gateway share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
    /// The cluster that the gateway runs in.
    pub(crate) own: Arc<OwnCluster>,
}

/// What a login wants to know of a token.
pub(crate) struct Ask<'a> {
    pub(crate) audiences: &'a Audiences,
    /// The namespace's labels that are to be read.
    pub(crate) label_keys: BTreeSet<&'a str>,
    /// What speaks for a token that this cluster hasn't confirmed lately.
    pub(crate) standing: Standing,
    /// Added to the facts.
    pub(crate) client_ip: Option<IpAddr>,
    pub(crate) deadline: Deadline,
}

/// What a cluster said of a token.
#[derive(Debug)]
pub(crate) struct Verified {
    /// The inner error is a no.
    pub(crate) verdict: Result<Facts, DenyReason>,
    /// It said so a moment ago, to another login.
    pub(crate) cached: bool,
}

impl Shared {
    /// With the system's clock, and metrics that nobody reads.
    pub(crate) fn uncounted(own: Arc<OwnCluster>) -> Self {
        Self {
            limits: Limits::default(),
            clock: Clock::system(),
            metrics: Metrics::default(),
            own,
        }
    }
}

#[cfg(test)]
impl Default for Shared {
    fn default() -> Self {
        Self::uncounted(OwnCluster::none())
    }
}

impl Cluster {
    /// Connects nowhere yet, unless the cluster's keys are to be asked for: then it needs a runtime.
    /// Reads the system's roots from disk when the config has no CA.
    ///
    /// # Errors
    /// The config can't be used at all.
    pub(crate) fn new(config: K8sAuthConfig, shared: &Shared) -> Result<Self, ClusterError> {
        let connection = Arc::new(Connection::new(&config, &shared.own)?);
        let Shared {
            limits,
            clock,
            metrics,
            own: _,
        } = shared;
        let verdicts = Verdicts::new(limits, clock.clone(), metrics.verdict_cache.clone());
        let metrics = metrics.cluster(&config.name.id);
        Ok(Self {
            means: Means::of(&config, &connection, &metrics, clock),
            connection,
            clock: clock.clone(),
            verdicts: Arc::new(verdicts),
            queue: Queue::new(limits, metrics.clone()),
            metrics,
            config,
            watched_pods: WatchedPods::default(),
        })
    }

    /// Whether the gateway's own cluster is the one that the config is pinned to, and since when;
    /// `None` for a config that names its API server.
    pub(crate) fn pin(&self) -> Option<(Pin, Timestamp)> {
        self.connection.pin()
    }

    /// What it was made from.
    pub(crate) fn config(&self) -> &K8sAuthConfig {
        &self.config
    }

    /// When the credential that reviews expires, where it says so.
    pub(crate) fn credential_expire_time(&self) -> Option<Timestamp> {
        let stored = self.config.access.credential_expire_time();
        stored.or_else(|| self.connection.mounted_expire_time())
    }

    /// The same, for alerts: a mounted token lives for an hour and is replaced by then, so that it
    /// counts only once that is overdue.
    pub(crate) fn alarming_expire_time(&self, now: Timestamp) -> Option<Timestamp> {
        let stored = self.config.access.credential_expire_time();
        let overdue = now.saturating_add(OVERDUE).unwrap_or(now);
        let mounted = self.connection.mounted_expire_time();
        stored.or_else(|| mounted.filter(|end| *end < overdue))
    }

    /// Whether its pods are watched, where its method's tokens end with them.
    pub(crate) fn watched_pods(&self) -> &WatchedPods {
        &self.watched_pods
    }

    /// Counts what it does, and is asked when the metrics are read.
    pub(crate) fn metrics(&self) -> &ClusterMetrics {
        &self.metrics
    }

    /// How many confirmations and refusals are in memory.
    pub(crate) fn cached_verdicts(&self) -> (usize, usize) {
        self.verdicts.entries()
    }

    /// What the cluster says of a token: known from a moment ago, or found out by whoever asked
    /// first, for all who ask the same. The inner error is a no.
    ///
    /// # Errors
    /// There was no verdict before the deadline.
    pub(crate) async fn verify(
        self: &Arc<Self>,
        token: &Arc<PresentedToken>,
        ask: Ask<'_>,
    ) -> Result<Verified, Arc<ReviewFault>> {
        let asked = asked(token, ask.audiences);
        let question = Question::new(token.text(), asked, ask.label_keys.iter().copied());
        let cached = self.verdicts.cached(&question);
        let from_cache = cached.is_some();
        let verdict = match cached {
            Some(verdict) => verdict,
            None => self.verdict(question, token, asked, &ask).await?,
        };
        Ok(Verified {
            verdict: verdict.map(|facts| Facts {
                client_ip: ask.client_ip,
                cached: from_cache,
                review_ms: facts.review_ms.filter(|_| !from_cache),
                ..facts.as_ref().clone()
            }),
            cached: from_cache,
        })
    }

    async fn verdict(
        self: &Arc<Self>,
        question: Question,
        token: &Arc<PresentedToken>,
        asked: &[String],
        ask: &Ask<'_>,
    ) -> Outcome {
        let standing = if self.verdicts.knows(&question) {
            Standing::Known
        } else {
            ask.standing
        };
        if let Some(keys) = self.means.keys().filter(|keys| keys.lack(token)) {
            let _seat = self.queue.seat()?;
            keys.refreshed(ask.deadline)
                .await
                .map_err(ReviewFault::Keys)?;
        }
        let _place = self.queue.place(standing)?;
        let waiting = self.verdicts.wait(question, |flight| {
            let label_keys = ask.label_keys.iter().map(|key| (*key).to_owned());
            let once = Arc::clone(self).fly(
                flight,
                standing,
                Arc::clone(token),
                asked.to_vec(),
                label_keys.collect(),
            );
            tokio::spawn(once.in_current_span());
        });
        waiting.outcome(ask.deadline).await
    }

    async fn fly(
        self: Arc<Self>,
        flight: Flight,
        standing: Standing,
        token: Arc<PresentedToken>,
        asked: Vec<String>,
        label_keys: BTreeSet<String>,
    ) {
        let verified = flight.unless_abandoned(async {
            let _turn = self.queue.turn(standing).await;
            let asked_at = self.clock.now();
            let deadline = Deadline::after(VERIFICATION);
            let outcome = self
                .verify_once(&token, &asked, &label_keys, asked_at, deadline)
                .await;
            (outcome, asked_at)
        });
        if let Some((outcome, asked_at)) = verified.await {
            let outcome = outcome.map(|verdict| verdict.map(Arc::new));
            flight.land(outcome.map_err(Arc::new), asked_at);
        }
    }

    /// One TokenReview, counted.
    async fn review(
        &self,
        token: &PresentedToken,
        asked: &[String],
        deadline: Deadline,
    ) -> Result<Verdict, ReviewFault> {
        let begun = Instant::now();
        let result = self.connection.review(token.text(), asked, deadline).await;
        let code = result.as_ref().map_or_else(ReviewFault::code, |_| "201");
        self.metrics.reviewed(code, begun.elapsed());
        self.note_reviewer(result.as_ref().err());
        result
    }

    /// Whether the reviewer was let in. Where each token reviews itself, whoever comes with a bad
    /// one would say that none is.
    fn note_reviewer(&self, fault: Option<&ReviewFault>) {
        match fault {
            None => self.metrics.reviewer(true),
            Some(
                ReviewFault::ReviewerUnauthorized
                | ReviewFault::ReviewerForbidden
                | ReviewFault::OwnCluster(_),
            ) if !self.connection.presents() => self.metrics.reviewer(false),
            Some(_) => {}
        }
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("name", &self.config.name)
            .field("uid", &self.config.uid)
            .field("generation", &self.config.generation)
            .finish_non_exhaustive()
    }
}

/// What goes into `spec.audiences`; empty asks for the API server's own.
fn asked<'a>(token: &'a PresentedToken, audiences: &'a Audiences) -> &'a [String] {
    match audiences {
        Audiences::ApiServer => &[],
        Audiences::Listed(listed) => listed,
        Audiences::Any => {
            let own = &token.claims().audiences;
            &own[..own.len().min(MAX_AUDIENCES)]
        }
    }
}
