//! Limits on the records that a caller can cause before anything is verified.

use std::collections::HashMap;
use std::net::IpAddr;

use jiff::Timestamp;
use uuid::Uuid;

use super::{Event, EventKind};
use crate::ip;

/// Records of a peer, a reason and a minute.
pub const MAX_RECORDS: u32 = 10;
/// Peers, reasons and minutes that are told apart at once.
pub const MAX_WINDOWS: usize = 10_000;

/// One minute of a peer's refusals for one reason.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    kind: EventKind,
    /// As [`ip::client`] tells them apart.
    peer: Option<IpAddr>,
    reason: String,
    minute: i64,
}

#[derive(Default)]
struct Window {
    records: u32,
    /// The first one beyond the records; its `count` says how many.
    rest: Option<Event>,
}

/// Tells the first records from the rest, in bounded memory.
#[derive(Default)]
pub struct Flood {
    windows: HashMap<Key, Window>,
}

/// What becomes of a refusal.
pub enum Limited {
    /// A record of its own.
    Record(Event),
    /// One more of many; its minute's count will be a record.
    Counted,
    /// From one peer too many.
    Overflow(Event),
}

// === impl Flood ===

impl Flood {
    /// What becomes of a record that its caller needed nothing for.
    pub fn admit(&mut self, event: Event) -> Limited {
        let key = Key {
            kind: event.kind,
            peer: event.caller_ip.map(ip::client),
            reason: event.reason.clone(),
            minute: minute(event.time),
        };
        if self.windows.len() >= MAX_WINDOWS && !self.windows.contains_key(&key) {
            return Limited::Overflow(event);
        }
        let window = self.windows.entry(key).or_default();
        if window.records < MAX_RECORDS {
            window.records += 1;
            return Limited::Record(event);
        }
        match &mut window.rest {
            Some(rest) => rest.count = rest.count.saturating_add(1),
            None => {
                // A record of its own, with the first one's request ID.
                let id = Uuid::now_v7();
                window.rest = Some(Event { id, ..event });
            }
        }
        Limited::Counted
    }

    /// Forgets minutes that are over at `now`, or all, and returns their counts.
    pub fn close(&mut self, now: Option<Timestamp>) -> Vec<Event> {
        let current = now.map(minute);
        let over = |key: &Key| current.is_none_or(|current| key.minute < current);
        let closed = self.windows.extract_if(|key, _| over(key));
        closed.filter_map(|(_, window)| window.rest).collect()
    }
}

fn minute(time: Timestamp) -> i64 {
    time.as_second().div_euclid(60)
}
