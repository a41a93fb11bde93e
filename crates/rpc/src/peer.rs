//! What one client address may take of a server, so that it leaves something to others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use postern_core::ip;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Refusals that a peer may cause at once.
pub const REFUSAL_BURST: i32 = 20;
/// How often it may cause another one.
const REFUSAL_INTERVAL: SignedDuration = SignedDuration::from_secs(1);
/// Peers whose refusals are remembered at once.
const MAX_PEERS: usize = 16 * 1024;

/// A client's address as limits see it: an IPv4 address, or the /64 that one IPv6 client has to
/// itself. All whose address is unknown are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Peer(Option<IpAddr>);

/// Remembers who has been refused too often. Good logins don't count, however many.
#[derive(Debug, Default)]
pub struct RefusalBudget(Mutex<Spent>);

#[derive(Debug, Default)]
struct Spent {
    /// When the peer will have its whole budget back.
    whole_at: HashMap<Peer, Timestamp>,
    pruned: Timestamp,
}

/// Counts what each peer holds.
#[derive(Debug)]
pub(crate) struct PerPeer {
    max: usize,
    held: Mutex<HashMap<Peer, usize>>,
}

/// One of the things that a peer holds.
#[derive(Debug)]
pub(crate) struct Held {
    of: Arc<PerPeer>,
    peer: Peer,
}

/// Lets some of each peer's tasks go on at once; the others wait for their turn.
#[derive(Debug)]
pub(crate) struct Turns {
    at_once: usize,
    peers: Mutex<HashMap<Peer, Arc<Semaphore>>>,
}

/// A turn, or the place in the queue for one.
#[derive(Debug)]
pub(crate) struct Turn {
    of: Arc<Turns>,
    peer: Peer,
    permit: Option<OwnedSemaphorePermit>,
}

// === impl Peer ===

impl From<Option<IpAddr>> for Peer {
    fn from(ip: Option<IpAddr>) -> Self {
        Self(ip.map(ip::client))
    }
}

impl From<IpAddr> for Peer {
    fn from(ip: IpAddr) -> Self {
        Some(ip).into()
    }
}

// === impl RefusalBudget ===

impl RefusalBudget {
    /// Takes one refusal off the peer's budget. Of more peers than can be remembered, the newest
    /// aren't.
    pub fn refused(&self, peer: Peer, now: Timestamp) {
        let mut spent = lock(&self.0);
        if spent.whole_at.len() >= MAX_PEERS && !spent.whole_at.contains_key(&peer) {
            spent.prune(now);
            if spent.whole_at.len() >= MAX_PEERS {
                return;
            }
        }
        let whole_at = spent.whole_at.entry(peer).or_insert(now);
        *whole_at = (*whole_at)
            .max(now)
            .saturating_add(REFUSAL_INTERVAL)
            .unwrap_or(now)
            .min(latest(now));
    }

    /// Whether the peer has no refusal left.
    pub fn is_spent(&self, peer: Peer, now: Timestamp) -> bool {
        let spent = lock(&self.0);
        let whole_at = spent.whole_at.get(&peer);
        // Later than the latest: the clock was set back.
        whole_at.is_some_and(|at| *at >= full(now) && *at <= latest(now))
    }
}

impl Spent {
    /// At most once a second, however many strangers come.
    fn prune(&mut self, now: Timestamp) {
        if now.duration_since(self.pruned).abs() < REFUSAL_INTERVAL {
            return;
        }
        self.pruned = now;
        let latest = latest(now);
        self.whole_at.retain(|_, at| *at > now && *at <= latest);
    }
}

/// From then on the whole budget is spent.
fn full(now: Timestamp) -> Timestamp {
    now.saturating_add(REFUSAL_INTERVAL * REFUSAL_BURST)
        .unwrap_or(now)
}

/// However long a flood was, its end is forgotten after another budget's time.
fn latest(now: Timestamp) -> Timestamp {
    now.saturating_add(REFUSAL_INTERVAL * (2 * REFUSAL_BURST))
        .unwrap_or(now)
}

// === impl PerPeer ===

impl PerPeer {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            held: Mutex::default(),
        })
    }

    /// One more, unless the peer holds its all.
    pub(crate) fn hold(self: &Arc<Self>, peer: Peer) -> Option<Held> {
        let mut held = lock(&self.held);
        let count = held.entry(peer).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(Held {
            of: Arc::clone(self),
            peer,
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = lock(&self.of.held);
        if let Some(count) = held.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.peer);
            }
        }
    }
}

// === impl Turns ===

impl Turns {
    pub(crate) fn new(at_once: usize) -> Arc<Self> {
        Arc::new(Self {
            at_once,
            peers: Mutex::default(),
        })
    }

    pub(crate) async fn take(self: &Arc<Self>, peer: Peer) -> Turn {
        // Before the semaphore, so that it is dropped after it, wherever this future is dropped.
        let mut turn = Turn {
            of: Arc::clone(self),
            peer,
            permit: None,
        };
        let semaphore = {
            let mut peers = lock(&self.peers);
            let semaphore = peers
                .entry(peer)
                .or_insert_with(|| Arc::new(Semaphore::new(self.at_once)));
            Arc::clone(semaphore)
        };
        // It is never closed.
        turn.permit = semaphore.acquire_owned().await.ok();
        turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.permit = None;
        let mut peers = lock(&self.of.peers);
        if peers
            .get(&self.peer)
            .is_some_and(|semaphore| Arc::strong_count(semaphore) == 1)
        {
            peers.remove(&self.peer);
        }
    }
}

/// A panic while it was held left at worst a wrong count.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn peer(ip: &str) -> Peer {
        ip.parse::<IpAddr>().unwrap().into()
    }

    fn after(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_000_000 + seconds)
    }

    #[test]
    fn an_ipv6_client_is_its_64() {
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::ffff:0:0:1"));
        assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
        assert_eq!(peer("::ffff:10.0.0.1"), peer("10.0.0.1"));
        assert_ne!(peer("10.0.0.1"), peer("10.0.0.2"));
    }

    #[test]
    fn a_peer_spends_its_own_budget_and_gets_it_back() {
        let budget = RefusalBudget::default();
        let (flooder, other) = (peer("10.0.0.1"), peer("10.0.0.2"));
        for _ in 1..REFUSAL_BURST {
            budget.refused(flooder, after(0));
        }
        assert!(!budget.is_spent(flooder, after(0)));
        budget.refused(flooder, after(0));
        assert!(budget.is_spent(flooder, after(0)));
        assert!(!budget.is_spent(other, after(0)), "another's");
        assert!(!budget.is_spent(flooder, after(1)), "one is back");
    }

    #[test]
    fn the_end_of_a_long_flood_is_forgotten_soon_and_a_clock_set_back_blames_nobody() {
        let budget = RefusalBudget::default();
        let flooder = peer("10.0.0.1");
        for _ in 0..10_000 {
            budget.refused(flooder, after(0));
        }
        assert!(budget.is_spent(flooder, after(20)));
        assert!(!budget.is_spent(flooder, after(21)));
        assert!(!budget.is_spent(flooder, after(-100_000)));
    }

    #[test]
    fn refusals_of_many_peers_take_bounded_memory() {
        let budget = RefusalBudget::default();
        for i in 0..20_000_u32 {
            budget.refused(Peer::from(IpAddr::from(i.to_be_bytes())), after(0));
        }
        assert_eq!(lock(&budget.0).whole_at.len(), MAX_PEERS);
        budget.refused(peer("10.0.0.1"), after(60));
        assert_eq!(lock(&budget.0).whole_at.len(), 1);
    }

    #[test]
    fn what_a_peer_holds_is_counted_and_given_back() {
        let calls = PerPeer::new(2);
        let (a, b) = (peer("10.0.0.1"), peer("10.0.0.2"));
        let (first, _second) = (calls.hold(a).unwrap(), calls.hold(a).unwrap());
        assert!(calls.hold(a).is_none());
        assert!(calls.hold(b).is_some(), "another peer has its own");
        drop(first);
        assert!(calls.hold(a).is_some());
        assert_eq!(lock(&calls.held).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_waits_for_its_own_turns_only_and_leaves_nothing_behind() {
        let turns = Turns::new(1);
        let (a, b) = (peer("10.0.0.1"), peer("10.0.0.2"));
        let first = turns.take(a).await;
        let second = tokio::time::timeout(Duration::from_secs(1), turns.take(a)).await;
        assert!(second.is_err());
        drop(turns.take(b).await);
        drop(first);
        assert!(lock(&turns.peers).is_empty());
    }
}
