//! What is asked of audit records, and what comes back.

use jiff::Timestamp;
use postern_core::audit::chain::{Anchor, Found, Head, Seal};
use postern_core::audit::{Event, EventKind};
use uuid::Uuid;

/// Where a page of audit records ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventCursor {
    pub(crate) time: Timestamp,
    pub(crate) id: Uuid,
}

/// What a record must be like. Absent: anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct EventFilter {
    pub(crate) request_id: Option<String>,
    pub(crate) kind: Option<EventKind>,
    pub(crate) access_id: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) service_account: Option<String>,
    pub(crate) pod: Option<String>,
    pub(crate) reason: Option<String>,
    /// A bare name.
    pub(crate) gateway: Option<String>,
    /// A full name.
    pub(crate) k8s_auth_config: Option<String>,
    /// From then on.
    pub(crate) start: Option<Timestamp>,
    /// Before then.
    pub(crate) end: Option<Timestamp>,
}

/// Some records, newest first.
pub(crate) struct EventPage {
    pub(crate) items: Vec<Event>,
    /// Where the next page begins; `None`: this is the last one.
    pub(crate) next: Option<EventCursor>,
}

/// How far a follower has read, in the order in which records were sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TailCursor {
    pub(crate) seal: i64,
    /// The last record of that seal that was read; `None`: all of them were.
    pub(crate) last: Option<EventCursor>,
}

/// What a follower reads next.
pub(crate) struct Tail {
    pub(crate) events: Vec<Event>,
    pub(crate) reached: TailCursor,
    /// There is more already.
    pub(crate) behind: bool,
}

/// A seal that was made.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) seal: Seal,
    /// It has as many records as one can have.
    pub(crate) full: bool,
}

/// Some seals with what is there of their records.
pub(crate) struct SealedPage {
    pub(crate) anchor: Option<Anchor>,
    /// How far the database says that the chain has got.
    pub(crate) head: Head,
    pub(crate) found: Vec<Found>,
    /// Records that claim a seal that isn't there, and which.
    pub(crate) strays: Vec<(i64, Uuid)>,
    /// Records that no seal has yet.
    pub(crate) unsealed: i64,
    /// There are no more seals.
    pub(crate) last: bool,
}

/// Which logins are counted.
#[derive(Debug, Clone)]
pub(crate) struct StatsWindow {
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    /// A full name; `None`: all of them.
    pub(crate) k8s_auth_config: Option<String>,
}

/// Logins that ended alike.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct LoginStat {
    pub(crate) k8s_auth_config: String,
    /// `granted` or `denied`.
    pub(crate) result: String,
    pub(crate) reason: String,
    pub(crate) count: i64,
}

// === impl EventCursor ===

impl EventCursor {
    pub(crate) fn of(event: &Event) -> Self {
        Self {
            time: event.time,
            id: event.id,
        }
    }
}

// === impl EventFilter ===

impl EventFilter {
    /// Those of one request.
    #[cfg(test)]
    pub(crate) fn request(request_id: &str) -> Self {
        Self {
            request_id: Some(request_id.to_owned()),
            ..Self::default()
        }
    }

    /// Whether it asks for what no index knows.
    pub(super) fn is_narrow(&self) -> bool {
        let texts = [
            &self.access_id,
            &self.namespace,
            &self.service_account,
            &self.pod,
            &self.reason,
            &self.gateway,
            &self.k8s_auth_config,
        ];
        self.kind.is_some() || texts.into_iter().any(Option::is_some)
    }
}

// === impl TailCursor ===

impl TailCursor {
    /// After all of that seal.
    pub(crate) fn after(seal: i64) -> Self {
        Self { seal, last: None }
    }
}
