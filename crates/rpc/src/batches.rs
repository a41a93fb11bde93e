//! Calls that come while others are under way, answered together.
//!
//! Nobody waits for more to come: who finds a free worker is taken at once, and a worker that is
//! done takes all who came meanwhile. What a batch costs once, such as a durable commit, is shared
//! by as many as there are at the time. Beyond the first few, a worker begins only when more than
//! a whole batch is waiting: two halves would cost twice.

use std::collections::VecDeque;
use std::iter;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Questions of one kind, and the workers that answer them.
pub struct Batches<Q, A> {
    state: Mutex<State<Q, A>>,
    limits: Limits,
}

#[derive(Clone, Copy)]
pub struct Limits {
    /// Workers that begin for a single question: while one waits for the database, the next does
    /// what it can.
    pub eager: usize,
    /// Workers at once.
    pub workers: usize,
    /// Questions in a batch.
    pub questions: usize,
}

/// Answers batches, one after another, while there are any.
pub trait Worker<Q, A>: Send + 'static {
    /// An answer to each question, in their order.
    fn answer(&mut self, questions: &[Q]) -> impl Future<Output = Vec<A>> + Send;
}

/// The worker ended without an answer: it panicked, or the process is stopping.
#[derive(Debug, thiserror::Error)]
#[error("whoever should have answered is gone")]
pub struct Gone;

struct State<Q, A> {
    waiting: VecDeque<(Q, oneshot::Sender<A>)>,
    workers: usize,
}

/// A place among the workers, given back when dropped if not before.
struct Place<Q, A> {
    batches: Arc<Batches<Q, A>>,
    held: bool,
}

// === impl Batches ===

impl<Q: Send + Sync + 'static, A: Send + 'static> Batches<Q, A> {
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                workers: 0,
            }),
            limits,
        })
    }

    /// The answer, which is worked on to its end even if the caller goes away meanwhile: then
    /// only this one answer is lost. `worker` is asked for when one more is needed.
    ///
    /// # Errors
    /// The worker is gone, with what it was asked.
    pub async fn ask<W: Worker<Q, A>>(
        self: &Arc<Self>,
        question: Q,
        worker: impl FnOnce() -> W,
    ) -> Result<A, Gone> {
        let mut answered = self.put(iter::once(question), worker);
        match answered.pop() {
            Some(answered) => answered.await.map_err(|_| Gone),
            None => Err(Gone),
        }
    }

    /// The same for questions that come together, and stay so where a batch has room for them. The
    /// answers are in their order.
    pub async fn ask_all<W: Worker<Q, A>>(
        self: &Arc<Self>,
        questions: Vec<Q>,
        worker: impl FnOnce() -> W,
    ) -> Vec<Result<A, Gone>> {
        let mut answers = Vec::with_capacity(questions.len());
        for answered in self.put(questions, worker) {
            answers.push(answered.await.map_err(|_| Gone));
        }
        answers
    }

    fn put<W: Worker<Q, A>>(
        self: &Arc<Self>,
        questions: impl IntoIterator<Item = Q>,
        worker: impl FnOnce() -> W,
    ) -> Vec<oneshot::Receiver<A>> {
        let mut answered = Vec::new();
        let place = {
            let mut state = self.lock();
            for question in questions {
                let (answer, receiver) = oneshot::channel();
                state.waiting.push_back((question, answer));
                answered.push(receiver);
            }
            state.wants_worker(self.limits).then(|| {
                state.workers += 1;
                Place {
                    batches: Arc::clone(self),
                    held: true,
                }
            })
        };
        if let Some(place) = place {
            tokio::spawn(work(place, worker()));
        }
        answered
    }
}

impl<Q, A> Batches<Q, A> {
    fn lock(&self) -> MutexGuard<'_, State<Q, A>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl<Q, A> State<Q, A> {
    fn wants_worker(&self, limits: Limits) -> bool {
        let enough = limits.questions * self.workers;
        let crowded = self.workers < limits.workers && self.waiting.len() > enough;
        self.workers < limits.eager || crowded
    }

    /// Those who still listen.
    fn take(&mut self, most: usize) -> (Vec<Q>, Vec<oneshot::Sender<A>>) {
        let (mut questions, mut callers) = (Vec::new(), Vec::new());
        while questions.len() < most
            && let Some((question, caller)) = self.waiting.pop_front()
        {
            if !caller.is_closed() {
                questions.push(question);
                callers.push(caller);
            }
        }
        (questions, callers)
    }
}

async fn work<Q, A, W>(mut place: Place<Q, A>, mut worker: W)
where
    Q: Send + Sync + 'static,
    A: Send + 'static,
    W: Worker<Q, A>,
{
    while let Some((questions, callers)) = place.next() {
        let answers = worker.answer(&questions).await;
        for (caller, answer) in callers.into_iter().zip(answers) {
            // Whoever gave up doesn't listen.
            let _ = caller.send(answer);
        }
    }
}

// === impl Place ===

impl<Q, A> Place<Q, A> {
    /// `None` when nobody waits; then the place is given back.
    fn next(&mut self) -> Option<(Vec<Q>, Vec<oneshot::Sender<A>>)> {
        let mut state = self.batches.lock();
        let (questions, callers) = state.take(self.batches.limits.questions);
        if questions.is_empty() {
            // Under the same lock: who comes next finds the place free.
            state.workers -= 1;
            self.held = false;
            return None;
        }
        Some((questions, callers))
    }
}

impl<Q, A> Drop for Place<Q, A> {
    fn drop(&mut self) {
        if self.held {
            self.batches.lock().workers -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    /// Answers with the size of the batch, when it is let.
    struct Counting {
        let_go: Arc<Semaphore>,
        busy: Arc<AtomicUsize>,
    }

    impl Worker<u32, usize> for Counting {
        async fn answer(&mut self, questions: &[u32]) -> Vec<usize> {
            self.busy.fetch_add(1, Ordering::SeqCst);
            assert!(!questions.contains(&13), "an unlucky question");
            self.let_go.acquire().await.unwrap().forget();
            vec![questions.len(); questions.len()]
        }
    }

    struct Bed {
        batches: Arc<Batches<u32, usize>>,
        let_go: Arc<Semaphore>,
        busy: Arc<AtomicUsize>,
    }

    impl Bed {
        fn new(workers: usize, questions: usize) -> Self {
            Self {
                batches: Batches::new(Limits {
                    eager: 1,
                    workers,
                    questions,
                }),
                let_go: Arc::new(Semaphore::new(0)),
                busy: Arc::new(AtomicUsize::new(0)),
            }
        }

        async fn ask(&self, question: u32) -> Result<usize, Gone> {
            let worker = || Counting {
                let_go: Arc::clone(&self.let_go),
                busy: Arc::clone(&self.busy),
            };
            self.batches.ask(question, worker).await
        }
    }

    #[tokio::test]
    async fn who_comes_while_others_are_answered_is_in_the_next_batch() {
        let bed = Bed::new(1, 3);
        let mut first = Box::pin(bed.ask(0));
        assert!(futures::poll!(&mut first).is_pending());
        tokio::task::yield_now().await;
        assert_eq!(bed.busy.load(Ordering::SeqCst), 1, "it waits for nobody");
        let rest = futures::future::join_all((1..6).map(|i| bed.ask(i)));
        bed.let_go.add_permits(3);
        let (first, rest) = tokio::join!(first, rest);
        assert_eq!(first.unwrap(), 1);
        let sizes: Vec<usize> = rest.into_iter().map(Result::unwrap).collect();
        assert_eq!(sizes, [3, 3, 3, 2, 2]);
        assert_eq!(bed.batches.lock().workers, 0);
    }

    #[tokio::test]
    async fn those_who_come_together_are_in_one_batch_however_many_can_work() {
        let bed = Bed::new(4, 10);
        bed.let_go.add_permits(1);
        let worker = || Counting {
            let_go: Arc::clone(&bed.let_go),
            busy: Arc::clone(&bed.busy),
        };
        let sizes = bed.batches.ask_all(vec![1, 2, 3], worker).await;
        let sizes: Vec<usize> = sizes.into_iter().map(Result::unwrap).collect();
        assert_eq!(sizes, [3, 3, 3]);
        assert_eq!(bed.busy.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn more_than_a_batch_that_waits_gets_another_worker() {
        let bed = Bed::new(2, 3);
        let mut first = Box::pin(bed.ask(0));
        assert!(futures::poll!(&mut first).is_pending());
        tokio::task::yield_now().await;
        let mut few = Box::pin(futures::future::join_all((1..4).map(|i| bed.ask(i))));
        assert!(futures::poll!(&mut few).is_pending());
        assert_eq!(bed.batches.lock().workers, 1);
        let mut one_more = Box::pin(bed.ask(4));
        assert!(futures::poll!(&mut one_more).is_pending());
        assert_eq!(bed.batches.lock().workers, 2);
        bed.let_go.add_permits(4);
        let (_, few, _) = tokio::join!(first, few, one_more);
        assert!(few.into_iter().all(|size| size.unwrap() == 3));
    }

    #[tokio::test]
    async fn who_gave_up_is_left_out() {
        let bed = Bed::new(1, 10);
        let (first, hasty, last) = (bed.ask(1), bed.ask(2), bed.ask(3));
        let (mut first, mut last) = (Box::pin(first), Box::pin(last));
        assert!(futures::poll!(&mut first).is_pending());
        tokio::task::yield_now().await;
        assert_eq!(bed.busy.load(Ordering::SeqCst), 1, "the first is under way");
        {
            let mut hasty = Box::pin(hasty);
            assert!(futures::poll!(&mut hasty).is_pending());
        }
        assert!(futures::poll!(&mut last).is_pending());
        bed.let_go.add_permits(2);
        assert_eq!(first.await.unwrap(), 1);
        assert_eq!(last.await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_worker_that_panics_leaves_its_place_to_another() {
        let bed = Bed::new(1, 10);
        assert!(bed.ask(13).await.is_err());
        bed.let_go.add_permits(1);
        assert_eq!(bed.ask(1).await.unwrap(), 1);
    }
}
