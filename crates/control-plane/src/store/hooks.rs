//! What follows a commit, and what comes before refusals that anybody can cause.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use postern_core::audit::flood::{Flood, Limited};
use postern_core::audit::{Component, Event, EventKind};
use tokio::sync::watch;

use super::AuditSink;

pub(super) struct Hooks {
    sink: AuditSink,
    revision: watch::Sender<i64>,
    refusals: Mutex<Refusals>,
}

/// Refusals that have no record of their own.
#[derive(Default)]
struct Refusals {
    flood: Flood,
    /// How many came from peers that found no room, and the first of them.
    overflow: Option<(u32, Event)>,
    /// Counts that wait to be written.
    closed: Vec<Event>,
}

impl Hooks {
    pub(super) fn new(sink: AuditSink) -> Self {
        Self {
            sink,
            revision: watch::Sender::new(0),
            refusals: Mutex::default(),
        }
    }

    /// Records that are in the database now and weren't before.
    pub(super) fn recorded<'e>(&self, events: impl IntoIterator<Item = &'e Event>) {
        for event in events {
            (self.sink)(event);
        }
    }

    /// A revision that was read or written. News of an older one is none.
    pub(super) fn reached(&self, revision: i64) {
        self.revision.send_if_modified(|known| {
            let news = revision > *known;
            *known = revision.max(*known);
            news
        });
    }

    /// A refusal that anybody can cause: the first of a peer, a reason and a minute are records, the
    /// others a count.
    pub(super) fn refused(&self, event: Event) -> Option<Event> {
        let mut refusals = self.refusals();
        match refusals.flood.admit(event) {
            Limited::Record(event) => Some(event),
            Limited::Counted => None,
            Limited::Overflow(event) => {
                let (count, _) = refusals.overflow.get_or_insert((0, event));
                *count = count.saturating_add(1);
                None
            }
        }
    }

    /// The counts of minutes that are over at `now`; of all of them without it. They come again
    /// until they were [taken](Self::counts_taken).
    pub(super) fn counts(&self, now: Option<Timestamp>) -> Vec<Event> {
        let mut refusals = self.refusals();
        let closed = refusals.flood.close(now);
        refusals.closed.extend(closed);
        if let Some((count, first)) = refusals.overflow.take() {
            refusals.closed.push(overflow(count, first));
        }
        refusals.closed.clone()
    }

    pub(super) fn counts_taken(&self, count: usize) {
        self.refusals().closed.drain(..count);
    }

    /// A panic while it was held left at worst a wrong count.
    fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<i64> {
        self.revision.subscribe()
    }
}

fn overflow(count: u32, first: Event) -> Event {
    let component = Component::ControlPlane;
    let mut event = Event::new(EventKind::RefusalsOverflow, component, first.time);
    event.request_id = first.request_id;
    event.count = count;
    event
}

#[cfg(test)]
mod tests;
