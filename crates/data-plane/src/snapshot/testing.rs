//! For tests of those who read a snapshot.

use jiff::Timestamp;
use postern_proto::pb;
use postern_proto::pb::watch_response::Change;

use super::feed::Feed;
use super::{Opener, Snapshot};

impl Snapshot {
    /// What it holds after the control plane has sent these.
    pub(crate) fn of(opener: Opener, changes: impl IntoIterator<Item = Change>) -> Self {
        let snapshot = Self::new(&crate::limits::Limits::default());
        let mut feed = Feed::new(opener);
        let start = Change::SnapshotStart(pb::SnapshotStart {});
        let end = Change::SnapshotEnd(pb::SnapshotEnd {});
        for change in [start].into_iter().chain(changes).chain([end]) {
            let message = pb::WatchResponse {
                revision: "1".to_owned(),
                change: Some(change),
            };
            if let Some(state) = feed.apply(message, Timestamp::now()).unwrap() {
                snapshot.publish(state);
            }
        }
        snapshot
    }
}
