//! What waits to be sent, in bounded memory: no I/O.

use std::collections::VecDeque;

use jiff::Timestamp;
use postern_core::audit::flood::{Flood, Limited};
use postern_core::audit::{Component, Event, EventKind};

use crate::metrics::AuditCounts;

/// Records that wait at once.
pub(super) const MAX_QUEUED: usize = 10_000;
/// Records in one message.
pub(super) const MAX_BATCH: usize = 500;
/// About as many bytes in one message. A record with facts takes at most 20 KiB, as its token did.
const MAX_BATCH_BYTES: usize = 512 * 1024;

pub(super) struct Queue {
    gateway: String,
    waiting: VecDeque<Event>,
    flood: Flood,
    /// How many have no record, and the first of them.
    overflow: Option<(u32, Event)>,
    counts: AuditCounts,
}

impl Queue {
    pub(super) fn new(gateway: String, counts: AuditCounts) -> Self {
        Self {
            gateway,
            waiting: VecDeque::new(),
            flood: Flood::default(),
            overflow: None,
            counts,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn push(&mut self, event: Event) {
        if self.waiting.len() < MAX_QUEUED {
            self.waiting.push_back(event);
        } else {
            self.overflowed(event);
        }
    }

    /// The first of a peer, a reason and a minute become records, the others a count.
    pub(super) fn push_limited(&mut self, event: Event) {
        match self.flood.admit(event) {
            Limited::Record(event) => self.push(event),
            Limited::Counted => {}
            Limited::Overflow(event) => self.overflowed(event),
        }
    }

    /// Records the counts of minutes that are over at `now`; of all of them without it.
    pub(super) fn close_minutes(&mut self, now: Option<Timestamp>) {
        for event in self.flood.close(now) {
            self.push(event);
        }
    }

    /// What to send next, oldest first; the same until it is [taken](Self::taken).
    pub(super) fn batch(&mut self) -> Option<Vec<Event>> {
        if let Some((count, first)) = self.overflow.take_if(|_| self.waiting.len() < MAX_QUEUED) {
            self.waiting.push_back(self.overflow_record(count, first));
        }
        let mut bytes = 0;
        let fits = |event: &&Event| {
            bytes += weight(event);
            bytes <= MAX_BATCH_BYTES
        };
        let batch: Vec<_> = self
            .waiting
            .iter()
            .take(MAX_BATCH)
            .take_while(fits)
            .cloned()
            .collect();
        (!batch.is_empty()).then_some(batch)
    }

    /// The control plane has the first `count`.
    pub(super) fn taken(&mut self, count: usize) {
        self.waiting.drain(..count.min(self.waiting.len()));
    }

    /// The control plane will never take the first `count`. A count that it doesn't take either is
    /// given up.
    pub(super) fn rejected(&mut self, count: usize) {
        let rejected: Vec<_> = self
            .waiting
            .drain(..count.min(self.waiting.len()))
            .collect();
        for event in rejected {
            if event.kind != EventKind::LoginDeniedOverflow {
                self.overflowed(event);
            }
        }
    }

    fn overflowed(&mut self, event: Event) {
        let count = event.count;
        self.counts.dropped(count);
        let (total, _) = self.overflow.get_or_insert((0, event));
        *total = total.saturating_add(count);
    }

    fn overflow_record(&self, count: u32, first: Event) -> Event {
        let mut event = Event::new(
            EventKind::LoginDeniedOverflow,
            Component::Gateway,
            first.time,
        );
        event.gateway.clone_from(&self.gateway);
        event.request_id = first.request_id;
        event.count = count;
        event
    }
}

/// At most what the record takes on the wire, roughly.
fn weight(event: &Event) -> usize {
    let facts = event.facts.as_ref().map_or(0, |facts| {
        let audiences: usize = facts.aud.iter().map(|aud| aud.len() + 8).sum();
        let names = [
            facts.pod_name.as_deref(),
            facts.pod_uid.as_deref(),
            facts.node_name.as_deref(),
            facts.credential_id.as_deref(),
        ];
        let names: usize = names.into_iter().flatten().map(str::len).sum();
        let account = facts.namespace.len() + facts.service_account_name.len();
        512 + audiences + names + account + facts.service_account_uid.len()
    });
    1024 + event.k8s_auth_config.len() + event.user_agent.len() + facts
}
