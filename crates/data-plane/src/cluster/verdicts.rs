//! Verdicts that are there already, and those that somebody else is waiting for.
//!
//! What is kept are facts without the client's address, and refusals: never faults, never
//! decisions, never the tokens that a login ends in. They belong to one [`Cluster`](super::Cluster),
//! which is one config at one generation: what another one confirmed isn't here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};
use jiff::{SignedDuration, Timestamp};
use postern_core::clock::Clock;
use postern_core::facts::Facts;
use postern_core::reason::DenyReason;
use postern_rpc::deadline::Deadline;
use quick_cache::sync::Cache;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::watch;

use super::fault::ReviewFault;
use crate::limits::Limits;
use crate::metrics::{CacheUse, VerdictCacheMetrics};

/// How long a confirmed token is known as one, at most until its `exp`. Says nothing about what it
/// may do: it only gets it a better place in the queue.
const KNOWN: SignedDuration = SignedDuration::from_hours(1);

/// Facts without the client's address, or the cluster's no.
pub(super) type Verdict = Result<Arc<Facts>, DenyReason>;
pub(super) type Outcome = Result<Verdict, Arc<ReviewFault>>;

/// Which question a verdict answers: the whole token, the audiences that are asked for and the
/// namespace labels that are read, each with its length, as one SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Question([u8; 32]);

pub(super) struct Verdicts {
    clock: Clock,
    verdict_ttl: SignedDuration,
    refusal_ttl: SignedDuration,
    confirmed: Cache<Question, Confirmed>,
    refused: Cache<Question, Refused>,
    flights: Mutex<HashMap<Question, Arc<Landing>>>,
    metrics: VerdictCacheMetrics,
}

#[derive(Clone)]
struct Confirmed {
    facts: Arc<Facts>,
    asked_at: Timestamp,
}

#[derive(Clone, Copy)]
struct Refused {
    reason: DenyReason,
    asked_at: Timestamp,
}

type Landing = watch::Sender<Option<Outcome>>;

/// A verification that others may wait for too. It goes on when its starter leaves, and is called
/// off when all have left: who tries again asks anew, instead of joining what didn't answer.
pub(super) struct Flight {
    verdicts: Arc<Verdicts>,
    question: Question,
    landing: Arc<Landing>,
}

/// Waits for a flight, with a deadline of its own.
pub(super) enum Waiting {
    /// It landed meanwhile.
    Over(Verdict),
    For(watch::Receiver<Option<Outcome>>),
}

// === impl Question ===

impl Question {
    pub(super) fn new<'a>(
        token: &SecretString,
        audiences: &[String],
        label_keys: impl ExactSizeIterator<Item = &'a str>,
    ) -> Self {
        let mut context = Context::new(&SHA256);
        let mut add = |bytes: &[u8]| {
            context.update(&bytes.len().to_be_bytes());
            context.update(bytes);
        };
        add(token.expose_secret().as_bytes());
        add(&audiences.len().to_be_bytes());
        for audience in audiences {
            add(audience.as_bytes());
        }
        for key in label_keys {
            add(key.as_bytes());
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        Self(digest)
    }
}

// === impl Verdicts ===

impl Verdicts {
    pub(super) fn new(limits: &Limits, clock: Clock, metrics: VerdictCacheMetrics) -> Self {
        Self {
            clock,
            verdict_ttl: limits.verdict_ttl(),
            refusal_ttl: limits.refusal_ttl(),
            confirmed: Cache::new(limits.verdict_cache_entries),
            refused: Cache::new(limits.refusal_cache_entries),
            flights: Mutex::default(),
            metrics,
        }
    }

    /// One that is fresh.
    pub(super) fn cached(&self, question: &Question) -> Option<Verdict> {
        let now = self.clock.now();
        let confirmed = self.confirmed.get(question);
        if let Some(confirmed) = confirmed.filter(|it| it.holds(now, self.verdict_ttl)) {
            self.metrics.count(CacheUse::ConfirmedHit);
            return Some(Ok(confirmed.facts));
        }
        let refused = self.refused.get(question)?;
        let fresh = holds(refused.asked_at, now, self.refusal_ttl);
        fresh.then(|| {
            self.metrics.count(CacheUse::RefusedHit);
            Err(refused.reason)
        })
    }

    /// Whether the cluster confirmed it within an hour, and hasn't refused it since.
    pub(super) fn knows(&self, question: &Question) -> bool {
        let confirmed = self.confirmed.get(question);
        confirmed.is_some_and(|confirmed| confirmed.holds(self.clock.now(), KNOWN))
    }

    /// Joins the flight for this question, or starts one.
    pub(super) fn wait(
        self: &Arc<Self>,
        question: Question,
        start: impl FnOnce(Flight),
    ) -> Waiting {
        let mut flights = self.flights();
        // Under the lock: a flight leaves its verdict before it goes.
        if let Some(verdict) = self.cached(&question) {
            return Waiting::Over(verdict);
        }
        // One that all have left is being called off.
        let landing = flights.get(&question).filter(|it| !it.is_closed());
        if let Some(landing) = landing {
            self.metrics.count(CacheUse::Joined);
            return Waiting::For(landing.subscribe());
        }
        self.metrics.count(CacheUse::Miss);
        let (landing, waiting) = watch::channel(None);
        let landing = Arc::new(landing);
        flights.insert(question, Arc::clone(&landing));
        drop(flights);
        start(Flight {
            verdicts: Arc::clone(self),
            question,
            landing,
        });
        Waiting::For(waiting)
    }

    /// Confirmed and refused ones, expired ones included.
    pub(super) fn entries(&self) -> (usize, usize) {
        (self.confirmed.len(), self.refused.len())
    }

    fn keep(&self, question: Question, verdict: &Verdict, asked_at: Timestamp) {
        match verdict {
            Ok(facts) => {
                self.refused.remove(&question);
                let facts = Arc::clone(facts);
                self.confirmed
                    .insert(question, Confirmed { facts, asked_at });
            }
            Err(reason) => {
                self.confirmed.remove(&question);
                let reason = *reason;
                self.refused.insert(question, Refused { reason, asked_at });
            }
        }
    }

    /// A panic while it was held left the map whole.
    fn flights(&self) -> MutexGuard<'_, HashMap<Question, Arc<Landing>>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Confirmed {
    fn holds(&self, now: Timestamp, ttl: SignedDuration) -> bool {
        let expired = self.facts.expire_time.is_some_and(|exp| now >= exp);
        !expired && holds(self.asked_at, now, ttl)
    }
}

/// Also false when the clock was set back: how long ago it was isn't known then.
fn holds(asked_at: Timestamp, now: Timestamp, ttl: SignedDuration) -> bool {
    let age = now.duration_since(asked_at);
    !age.is_negative() && age < ttl
}

// === impl Flight ===

impl Flight {
    /// `None` when nobody waits any more.
    pub(super) async fn unless_abandoned<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.abandoned() => None,
        }
    }

    async fn abandoned(&self) {
        loop {
            self.landing.closed().await;
            // Nobody joins while the lock is held, nor what is closed.
            let _flights = self.verdicts.flights();
            if self.landing.is_closed() {
                return;
            }
        }
    }

    /// Of a verification that began at `asked_at`.
    pub(super) fn land(self, outcome: Outcome, asked_at: Timestamp) {
        if let Ok(verdict) = &outcome {
            self.verdicts.keep(self.question, verdict, asked_at);
        }
        // Who comes from now on finds what was kept, or starts anew.
        self.leave();
        self.landing.send_replace(Some(outcome));
    }

    fn leave(&self) {
        let mut flights = self.verdicts.flights();
        let own = flights.get(&self.question);
        if own.is_some_and(|landing| Arc::ptr_eq(landing, &self.landing)) {
            flights.remove(&self.question);
        }
    }
}

/// A flight that ended without landing, by a panic, keeps nobody waiting.
impl Drop for Flight {
    fn drop(&mut self) {
        self.leave();
    }
}

// === impl Waiting ===

impl Waiting {
    pub(super) async fn outcome(self, deadline: Deadline) -> Outcome {
        let mut waiting = match self {
            Self::Over(verdict) => return Ok(verdict),
            Self::For(waiting) => waiting,
        };
        let landed = deadline.run(waiting.wait_for(Option::is_some)).await;
        match landed.map_err(ReviewFault::from)? {
            Ok(outcome) => match outcome.as_ref() {
                Some(outcome) => outcome.clone(),
                None => Err(ReviewFault::Lost.into()),
            },
            Err(_) => Err(ReviewFault::Lost.into()),
        }
    }
}

#[cfg(test)]
mod tests;
