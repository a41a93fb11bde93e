//! The keys that a cluster signs tokens with: given with the config, or asked of its API server.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures::FutureExt as _;
use jiff::Timestamp;
use postern_core::clock::Clock;
use postern_core::jwks::{Jwks, JwksError, SignatureFault};
use postern_core::k8s_auth_config::{Issuers, K8sAuthConfig};
use postern_core::reason::DenyReason;
use postern_rpc::deadline::Deadline;
use serde::Deserialize;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use super::connection::{Connection, JSON};
use super::fault::ReviewFault;
use super::review::Object;
use crate::metrics::ClusterMetrics;
use crate::presented_token::PresentedToken;

const DOCUMENT: &str = "/.well-known/openid-configuration";
const KEYS: &str = "/openid/v1/jwks";
const JWK_SET: &str = "application/jwk-set+json";
/// From one fetch to the next, so that a key that the cluster no longer publishes ends.
const REFRESH: Duration = Duration::from_secs(5 * 60);
/// The same after a fetch that failed.
const RETRY: Duration = Duration::from_secs(30);
/// No fetch comes sooner after another, whoever presents whatever.
const PAUSE: Duration = Duration::from_secs(5);
/// How long keys are good for while no newer ones can be had.
const MAX_AGE: Duration = Duration::from_secs(60 * 60);
/// For the document and the keys together.
const FETCH: Duration = Duration::from_secs(10);
/// The longest that a login waits for a fetch.
const PATIENCE: Duration = Duration::from_secs(5);

/// What tokens' signatures are verified with.
pub(super) enum Keys {
    Given(Arc<Jwks>),
    Discovered(Discovered),
}

/// Keys that a task of their own keeps fresh, for as long as this lives.
pub(super) struct Discovered {
    shared: Arc<Shared>,
    _fetching: AbortOnDropHandle<()>,
}

struct Shared {
    /// The last whole set. Readers wait for nobody.
    current: ArcSwapOption<Fetched>,
    rounds: watch::Sender<Round>,
    wanted: Notify,
    metrics: ClusterMetrics,
    clock: Clock,
}

struct Fetched {
    keys: Jwks,
    at: Instant,
    /// The same, for people.
    time: Timestamp,
}

/// What came of the last fetch.
#[derive(Clone, Default)]
struct Round {
    /// From 1.
    number: u64,
    end: Option<Instant>,
    fault: Option<Arc<KeysFault>>,
}

/// Why a cluster's keys aren't known. Says nothing about a token; the texts are for callers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysFault {
    #[error("{0}")]
    Call(#[source] Box<ReviewFault>),
    #[error(
        "the reviewer may not read the cluster's keys: bind it to the ClusterRole system:service-account-issuer-discovery"
    )]
    Forbidden,
    #[error("the cluster's discovery document can't be read")]
    NotADocument,
    /// Holds what the cluster calls itself.
    #[error("the cluster's own issuer is none of the config's `k8s_issuers`")]
    IssuerDiffers(String),
    #[error("what the cluster publishes {0}")]
    NotKeys(#[from] JwksError),
    #[error("no fetch has ended yet")]
    Pending,
}

/// What can be told of a cluster's keys.
pub(crate) enum KeysState {
    /// So many were given with the config.
    Given(usize),
    Discovered {
        /// How many the last fetch brought.
        usable: Result<usize, Arc<KeysFault>>,
        last_success: Option<Timestamp>,
    },
}

/// How long keys are good for while no newer ones can be had.
pub(crate) const KEYS_GOOD_FOR: Duration = MAX_AGE;

#[derive(Deserialize)]
struct Document {
    issuer: Option<String>,
}

// === impl Keys ===

impl Keys {
    /// Keys that are asked of the API server from now on. Needs a runtime.
    pub(super) fn discovered(
        connection: Arc<Connection>,
        config: &K8sAuthConfig,
        metrics: ClusterMetrics,
        clock: Clock,
    ) -> Self {
        let shared = Arc::new(Shared {
            metrics,
            clock,
            current: ArcSwapOption::empty(),
            rounds: watch::Sender::default(),
            wanted: Notify::new(),
        });
        let fetching = Arc::clone(&shared).run(connection, config.issuers.clone());
        let span = tracing::info_span!("cluster_keys", config = %config.name);
        let fetching = tokio::spawn(fetching.instrument(span));
        Self::Discovered(Discovered {
            shared,
            _fetching: AbortOnDropHandle::new(fetching),
        })
    }

    /// Whether the token names a key that newer keys of the cluster could have.
    pub(super) fn lack(&self, token: &PresentedToken) -> bool {
        let Self::Discovered(discovered) = self else {
            return false;
        };
        let good = discovered.shared.good();
        good.is_none_or(|good| {
            let named = token.key_id();
            named.is_some_and(|id| !good.keys.has(id))
        })
    }

    /// Waits for a fetch, unless one has just been.
    ///
    /// # Errors
    /// It brought no keys.
    pub(super) async fn refreshed(&self, deadline: Deadline) -> Result<(), Arc<KeysFault>> {
        match self {
            Self::Given(_) => Ok(()),
            Self::Discovered(discovered) => discovered.newer(deadline).await.map(drop),
        }
    }

    /// What is known of them, after a fetch unless one has just been.
    pub(super) async fn state(&self, deadline: Deadline) -> KeysState {
        match self {
            Self::Given(keys) => KeysState::Given(keys.usable()),
            Self::Discovered(discovered) => {
                let newer = discovered.newer(deadline).await;
                let last = discovered.shared.current.load_full();
                KeysState::Discovered {
                    usable: newer.map(|fetched| fetched.keys.usable()),
                    last_success: last.map(|fetched| fetched.time),
                }
            }
        }
    }

    /// Whether one of the cluster's keys signed the token. The inner error is a no.
    ///
    /// # Errors
    /// It can't be said, because the keys aren't known.
    pub(super) async fn check(
        &self,
        token: &PresentedToken,
        deadline: Deadline,
    ) -> Result<Result<(), DenyReason>, Arc<KeysFault>> {
        let outcome = match self {
            Self::Given(keys) => token.signed_with(keys),
            Self::Discovered(discovered) => discovered.check(token, deadline).await?,
        };
        Ok(outcome.map_err(|fault| match fault {
            SignatureFault::UnknownKey => DenyReason::TokenKeyUnknown,
            SignatureFault::OtherAlgorithm => DenyReason::TokenAlgorithmNotAllowed,
            SignatureFault::Wrong => DenyReason::TokenSignatureInvalid,
        }))
    }
}

// === impl Discovered ===

impl Discovered {
    async fn check(
        &self,
        token: &PresentedToken,
        deadline: Deadline,
    ) -> Result<Result<(), SignatureFault>, Arc<KeysFault>> {
        let fetched = match self.shared.good() {
            Some(fetched) => fetched,
            None => self.newer(deadline).await?,
        };
        match token.signed_with(&fetched.keys) {
            Err(SignatureFault::UnknownKey) if token.key_id().is_some() => {
                let newer = self.newer(deadline).await?;
                Ok(token.signed_with(&newer.keys))
            }
            outcome => Ok(outcome),
        }
    }

    /// The set of a fetch that has just been, or is waited for.
    async fn newer(&self, deadline: Deadline) -> Result<Arc<Fetched>, Arc<KeysFault>> {
        let mut rounds = self.shared.rounds.subscribe();
        let seen = rounds.borrow_and_update().clone();
        if seen.is_recent() {
            return self.shared.outcome(&seen);
        }
        self.shared.wanted.notify_one();
        let next = rounds.wait_for(|round| round.number > seen.number);
        match deadline.within(PATIENCE).run(next).await {
            Ok(Ok(round)) => self.shared.outcome(&round),
            _ => Err(seen.fault.unwrap_or_else(|| Arc::new(KeysFault::Pending))),
        }
    }
}

// === impl Shared ===

impl Shared {
    async fn run(self: Arc<Self>, connection: Arc<Connection>, issuers: Issuers) {
        loop {
            let fetched = fetch(&connection, &issuers).await;
            self.metrics.jwks_fetched(fetched.is_ok(), self.clock.now());
            // Whoever asked while this went on is answered by it.
            let _answered = self.wanted.notified().now_or_never();
            let (rest, end) = (self.take(fetched), Instant::now());
            sleep_until(end + PAUSE).await;
            let _asked = timeout_at(end + rest, self.wanted.notified()).await;
        }
    }

    /// Publishes what came of a fetch, and says when the next one is due.
    fn take(&self, fetched: Result<Jwks, KeysFault>) -> Duration {
        let (fault, rest) = match fetched {
            Ok(keys) => {
                let at = Instant::now();
                let time = self.clock.now();
                self.current
                    .store(Some(Arc::new(Fetched { keys, at, time })));
                (None, REFRESH)
            }
            Err(fault) => {
                tracing::warn!(error = %fault, "the cluster's keys can't be fetched; the last good ones go on for an hour");
                (Some(Arc::new(fault)), RETRY)
            }
        };
        self.rounds.send_modify(|round| {
            *round = Round {
                number: round.number + 1,
                end: Some(Instant::now()),
                fault,
            }
        });
        rest
    }

    /// The last whole set, unless it is too old.
    fn good(&self) -> Option<Arc<Fetched>> {
        let fetched = self.current.load_full()?;
        (fetched.at.elapsed() <= MAX_AGE).then_some(fetched)
    }

    fn outcome(&self, round: &Round) -> Result<Arc<Fetched>, Arc<KeysFault>> {
        match &round.fault {
            Some(fault) => Err(Arc::clone(fault)),
            None => self.good().ok_or_else(|| Arc::new(KeysFault::Pending)),
        }
    }
}

// === impl Round ===

impl Round {
    /// Whether nobody may ask again yet.
    fn is_recent(&self) -> bool {
        self.end.is_some_and(|end| end.elapsed() < PAUSE)
    }
}

/// The API server's keys, from the API server alone: the document says who the cluster is, and where its keys are is
/// not its to say.
async fn fetch(connection: &Connection, issuers: &Issuers) -> Result<Jwks, KeysFault> {
    let deadline = Deadline::after(FETCH);
    let document = get(connection, DOCUMENT, JSON, deadline).await?;
    let Object(document): Object<Document> =
        serde_json::from_slice(&document).map_err(|_| KeysFault::NotADocument)?;
    let issuer = document.issuer.ok_or(KeysFault::NotADocument)?;
    if !issuers.accept(Some(&issuer)) {
        return Err(KeysFault::IssuerDiffers(issuer));
    }
    let keys = get(connection, KEYS, JWK_SET, deadline).await?;
    let keys = str::from_utf8(&keys).map_err(|_| JwksError::NotAJwkSet)?;
    Ok(Jwks::parse(keys)?)
}

async fn get(
    connection: &Connection,
    path: &str,
    accept: &'static str,
    deadline: Deadline,
) -> Result<Vec<u8>, KeysFault> {
    match connection.get(path, accept, None, deadline).await {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => Err(KeysFault::NotADocument),
        Err(ReviewFault::ReviewerForbidden) => Err(KeysFault::Forbidden),
        Err(fault) => Err(KeysFault::Call(Box::new(fault))),
    }
}

#[cfg(test)]
mod tests;
