//! Catching up with the control plane, once for all who wait.

use std::time::Duration;

use postern_rpc::deadline::Deadline;
use postern_rpc::error::Failure;
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::Snapshot;
use crate::control_plane::{ControlPlane, in_time_to_say_so};

/// Between the beginnings of two rounds.
const INTERVAL: Duration = Duration::from_secs(1);
/// However long those who wait still have.
const ROUND: Duration = Duration::from_secs(10);

/// Why it isn't known whether this replica knows everything.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum CatchUpError {
    #[error("the control plane didn't say its revision")]
    Revision(#[source] Box<Failure>),
    #[error("the control plane's revision isn't a number")]
    Malformed,
    #[error("the changes up to the control plane's revision didn't come in time")]
    Behind,
    #[error("the deadline passed before it was this request's turn")]
    NoTurn,
    #[error("too many wait for the control plane's changes already")]
    TooMany,
}

pub(super) type Outcome = Result<(), CatchUpError>;

/// Who waits, and the one who serves them.
pub(super) struct CatchUp {
    places: Semaphore,
    waiting: mpsc::Sender<oneshot::Sender<Outcome>>,
    queue: Mutex<mpsc::Receiver<oneshot::Sender<Outcome>>>,
}

impl CatchUp {
    /// With room for so many at once.
    pub(super) fn new(places: usize) -> Self {
        let (waiting, queue) = mpsc::channel(places);
        Self {
            places: Semaphore::new(places),
            waiting,
            queue: Mutex::new(queue),
        }
    }

    /// The outcome of a round that begins after this call.
    pub(super) async fn wait(&self, deadline: Deadline) -> Outcome {
        let _place = self
            .places
            .try_acquire()
            .map_err(|_| CatchUpError::TooMany)?;
        let (sender, outcome) = oneshot::channel();
        let waited = in_time_to_say_so(deadline).run(async {
            self.waiting.send(sender).await.ok()?;
            outcome.await.ok()
        });
        waited
            .await
            .ok()
            .flatten()
            .unwrap_or(Err(CatchUpError::NoTurn))
    }

    /// Runs `round` for whoever waits. Never ends by itself.
    pub(super) async fn serve<F: Future<Output = Outcome>>(&self, round: impl Fn() -> F) {
        let mut queue = self.queue.lock().await;
        let mut waiters = Vec::new();
        loop {
            waiters.clear();
            let Some(first) = queue.recv().await else {
                return;
            };
            waiters.push(first);
            while let Ok(another) = queue.try_recv() {
                waiters.push(another);
            }
            let begun = Instant::now();
            let outcome = round().await;
            for waiter in waiters.drain(..) {
                // Whoever gave up doesn't listen.
                let _ = waiter.send(outcome.clone());
            }
            // Who came meanwhile may follow a write that this round hasn't seen.
            tokio::time::sleep_until(begun + INTERVAL).await;
        }
    }
}

/// Asks how far the control plane is, and waits until the snapshot is as far.
pub(super) async fn round(snapshot: &Snapshot, control_plane: &ControlPlane) -> Outcome {
    let deadline = Deadline::after(ROUND);
    let revision = control_plane.get_revision(deadline).await;
    let revision = revision.map_err(|failure| CatchUpError::Revision(Box::new(failure)))?;
    let wanted: i64 = revision.parse().map_err(|_| CatchUpError::Malformed)?;
    let reached = snapshot.until(deadline, |state| {
        state.revision.is_some_and(|held| held >= wanted)
    });
    if reached.await {
        Ok(())
    } else {
        Err(CatchUpError::Behind)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const PLACES: usize = 100;

    /// Counts the rounds of which each takes as long.
    fn serving(length: Duration, outcome: Outcome) -> (Arc<CatchUp>, Arc<AtomicU32>) {
        let (catch_up, rounds) = (Arc::new(CatchUp::new(PLACES)), Arc::new(AtomicU32::new(0)));
        let (served, counted) = (Arc::clone(&catch_up), Arc::clone(&rounds));
        tokio::spawn(async move {
            let round = || async {
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(length).await;
                outcome.clone()
            };
            served.serve(round).await;
        });
        (catch_up, rounds)
    }

    fn minute() -> Deadline {
        Deadline::after(Duration::from_secs(60))
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_come_together_share_a_round() {
        let (catch_up, rounds) = serving(Duration::from_millis(10), Ok(()));
        let waiting = (0..100).map(|_| catch_up.wait(minute()));
        assert!(
            futures::future::join_all(waiting)
                .await
                .iter()
                .all(Result::is_ok)
        );
        assert_eq!(rounds.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_after_a_round_has_begun_waits_for_the_next_a_second_later() {
        let (catch_up, rounds) = serving(Duration::from_millis(10), Ok(()));
        let begun = Instant::now();
        catch_up.wait(minute()).await.unwrap();
        assert!(begun.elapsed() < INTERVAL, "the first waits for nobody");
        catch_up.wait(minute()).await.unwrap();
        assert!(begun.elapsed() >= INTERVAL);
        assert_eq!(rounds.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_place_hears_so_at_once() {
        let (catch_up, _) = serving(Duration::from_secs(5), Ok(()));
        let waiting = (0..PLACES).map(|_| catch_up.wait(minute()));
        let one_more = async {
            let begun = Instant::now();
            let outcome = catch_up.wait(minute()).await;
            assert!(matches!(outcome, Err(CatchUpError::TooMany)));
            assert!(begun.elapsed() < INTERVAL);
        };
        let (outcomes, ()) = tokio::join!(futures::future::join_all(waiting), one_more);
        assert!(outcomes.iter().all(Result::is_ok));
        catch_up.wait(minute()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_round_fails_for_all_and_a_deadline_is_kept() {
        let (catch_up, _) = serving(Duration::from_secs(5), Err(CatchUpError::Behind));
        let short = Deadline::after(Duration::from_secs(1));
        let (patient, hasty) = tokio::join!(catch_up.wait(minute()), catch_up.wait(short));
        assert!(matches!(patient, Err(CatchUpError::Behind)));
        assert!(matches!(hasty, Err(CatchUpError::NoTurn)));
        assert!(short.remaining() < Duration::from_millis(100));
    }
}
