//! Who may have a cluster verify a token, and when: bounded, so that a slow cluster keeps only its
//! own logins waiting, and shared out, so that garbage can't keep good tokens out.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::fault::ReviewFault;
use crate::limits::Limits;
use crate::metrics::{ClusterMetrics, InFlight};

/// Of all places, those that tokens may take which this cluster hasn't confirmed lately.
const UNKNOWN_SHARE: usize = 2;
/// The same for tokens from a client address that has been refused too often.
const SUSPECT_SHARE: usize = 8;

/// What speaks for a token before it is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// This cluster confirmed it within the last hour: any place.
    Known,
    /// Nothing: at most a half of the places.
    Unknown,
    /// Nothing, and its client has been refused too often: at most an eighth.
    Suspect,
}

/// One cluster's places: for logins that wait, and for verifications in flight.
pub(super) struct Queue {
    /// For logins whose key isn't known yet: they wait for the cluster's keys, and hold no place.
    seats: Arc<Semaphore>,
    waiting: Places,
    flying: Places,
    metrics: ClusterMetrics,
}

/// A login's right to wait.
pub(super) struct Place(#[expect(dead_code, reason = "held until it is dropped")] Permits);

/// A verification's right to run.
pub(super) struct Turn {
    _permits: Permits,
    _in_flight: InFlight,
}

/// Places of which each standing may take its share. The share's permit comes first, so that
/// whoever waits for one holds nothing that others wait for.
struct Places {
    all: Arc<Semaphore>,
    unknown: Arc<Semaphore>,
    suspect: Arc<Semaphore>,
}

type Permits = Vec<OwnedSemaphorePermit>;

// === impl Queue ===

impl Queue {
    pub(super) fn new(limits: &Limits, metrics: ClusterMetrics) -> Self {
        Self {
            seats: Arc::new(Semaphore::new(
                (limits.logins_per_cluster / UNKNOWN_SHARE).max(1),
            )),
            waiting: Places::new(limits.logins_per_cluster),
            flying: Places::new(limits.reviews_per_cluster),
            metrics,
        }
    }

    /// For a login that a verdict isn't there for; held until it has one.
    ///
    /// # Errors
    /// [`ReviewFault::QueueFull`]: its share of the places is taken.
    pub(super) fn place(&self, standing: Standing) -> Result<Place, ReviewFault> {
        self.waiting.try_take(standing).map(Place).ok_or_else(|| {
            self.metrics.rejected();
            ReviewFault::QueueFull
        })
    }

    /// For a login whose token names a key that isn't known: whoever makes such tokens up, while
    /// the cluster's keys are slow to come, takes no place of those that can be verified.
    ///
    /// # Errors
    /// [`ReviewFault::QueueFull`]: all are taken.
    pub(super) fn seat(&self) -> Result<OwnedSemaphorePermit, ReviewFault> {
        Arc::clone(&self.seats).try_acquire_owned().map_err(|_| {
            self.metrics.rejected();
            ReviewFault::QueueFull
        })
    }

    /// Waits for a verification's turn, first come, first served within a share.
    pub(super) async fn turn(&self, standing: Standing) -> Turn {
        let begun = Instant::now();
        let permits = self.flying.take(standing).await;
        self.metrics.waited(begun.elapsed());
        Turn {
            _permits: permits,
            _in_flight: self.metrics.in_flight(),
        }
    }
}

// === impl Places ===

impl Places {
    fn new(all: usize) -> Self {
        let share = |of: usize| Arc::new(Semaphore::new((all / of).max(1)));
        Self {
            all: share(1),
            unknown: share(UNKNOWN_SHARE),
            suspect: share(SUSPECT_SHARE),
        }
    }

    fn shares(&self, standing: Standing) -> Vec<&Arc<Semaphore>> {
        match standing {
            Standing::Known => vec![&self.all],
            Standing::Unknown => vec![&self.unknown, &self.all],
            Standing::Suspect => vec![&self.suspect, &self.unknown, &self.all],
        }
    }

    fn try_take(&self, standing: Standing) -> Option<Permits> {
        let shares = self.shares(standing).into_iter();
        shares
            .map(|share| Arc::clone(share).try_acquire_owned().ok())
            .collect()
    }

    async fn take(&self, standing: Standing) -> Permits {
        let mut permits = Vec::with_capacity(3);
        for share in self.shares(standing) {
            // None of them is ever closed.
            permits.extend(Arc::clone(share).acquire_owned().await.ok());
        }
        permits
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn queue(reviews: usize, logins: usize) -> Queue {
        let limits = Limits {
            reviews_per_cluster: reviews,
            logins_per_cluster: logins,
            ..Limits::default()
        };
        Queue::new(&limits, ClusterMetrics::default())
    }

    fn filled(queue: &Queue, standing: Standing) -> Vec<Place> {
        std::iter::from_fn(|| queue.place(standing).ok()).collect()
    }

    #[test]
    fn garbage_takes_a_half_and_suspects_an_eighth_and_known_tokens_find_the_rest() {
        let queue = queue(16, 64);
        let suspects = filled(&queue, Standing::Suspect);
        assert_eq!(suspects.len(), 8);
        let unknown = filled(&queue, Standing::Unknown);
        assert_eq!(unknown.len(), 24, "a half together with the suspects");
        assert_eq!(filled(&queue, Standing::Known).len(), 32);
    }

    #[tokio::test]
    async fn who_waits_in_a_small_share_holds_nothing_that_others_wait_for() {
        let queue = queue(16, 64);
        let suspects = [
            queue.turn(Standing::Suspect).await,
            queue.turn(Standing::Suspect).await,
        ];
        let mut third = Box::pin(queue.turn(Standing::Suspect));
        assert!((&mut third).now_or_never().is_none());
        let unknown: Vec<_> =
            std::iter::from_fn(|| queue.turn(Standing::Unknown).now_or_never()).collect();
        assert_eq!(unknown.len(), 6);
        let known: Vec<_> =
            std::iter::from_fn(|| queue.turn(Standing::Known).now_or_never()).collect();
        assert_eq!(known.len(), 8);
        drop((suspects, unknown, known));
        assert!(third.now_or_never().is_some());
    }
}
