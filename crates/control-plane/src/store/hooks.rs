//! What follows a commit, and what comes before refusals that anybody can cause.

use std::collections::VecDeque;
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

/// Records that wait to be written at once; what finds no room is counted.
const MAX_WAITING: usize = 10_000;

/// What anybody can cause, and has no record yet.
#[derive(Default)]
struct Refusals {
    flood: Flood,
    /// How many found no room, and the first of them.
    overflow: Option<(u32, Event)>,
    /// Oldest first.
    waiting: VecDeque<Event>,
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
        self.refusals().admit(event)
    }

    /// The same for what must not wait for the database: its record waits instead.
    pub(super) fn limited(&self, event: Event) {
        let mut refusals = self.refusals();
        if let Some(event) = refusals.admit(event) {
            refusals.wait(event);
        }
    }

    /// What waits to be written, with the counts of minutes that are over at `now`; of all of them without it. It
    /// comes again until it was [taken](Self::taken).
    pub(super) fn waiting(&self, now: Option<Timestamp>) -> Vec<Event> {
        let mut refusals = self.refusals();
        for count in refusals.flood.close(now) {
            refusals.wait(count);
        }
        let room = refusals.waiting.len() < MAX_WAITING;
        if let Some((count, first)) = refusals.overflow.take_if(|_| room) {
            refusals.waiting.push_back(overflow(count, first));
        }
        refusals.waiting.iter().cloned().collect()
    }

    /// The first `count` are in the database.
    pub(super) fn taken(&self, count: usize) {
        self.refusals().waiting.drain(..count);
    }

    /// A panic while it was held left at worst a wrong count.
    fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<i64> {
        self.revision.subscribe()
    }
}

// === impl Refusals ===

impl Refusals {
    /// The record, of those that have one of their own.
    fn admit(&mut self, event: Event) -> Option<Event> {
        match self.flood.admit(event) {
            Limited::Record(event) => Some(event),
            Limited::Counted => None,
            Limited::Overflow(event) => {
                self.overflowed(event);
                None
            }
        }
    }

    fn wait(&mut self, event: Event) {
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push_back(event);
        } else {
            self.overflowed(event);
        }
    }

    fn overflowed(&mut self, event: Event) {
        let more = event.count;
        let (count, _) = self.overflow.get_or_insert((0, event));
        *count = count.saturating_add(more);
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
