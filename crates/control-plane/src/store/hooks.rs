//! What follows a commit.

use postern_core::audit::Event;
use tokio::sync::watch;

use super::AuditSink;

pub(super) struct Hooks {
    sink: AuditSink,
    revision: watch::Sender<i64>,
}

impl Hooks {
    pub(super) fn new(sink: AuditSink) -> Self {
        Self {
            sink,
            revision: watch::Sender::new(0),
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

    pub(super) fn subscribe(&self) -> watch::Receiver<i64> {
        self.revision.subscribe()
    }
}
