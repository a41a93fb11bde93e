//! What this replica says of itself, for administrators to see.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use postern_proto::convert::time;
use postern_proto::pb;
use postern_rpc::deadline::Deadline;
use tokio_util::sync::CancellationToken;

use crate::control_plane::ControlPlane;
use crate::snapshot::Snapshot;

const EVERY: Duration = Duration::from_secs(15);
/// What changes is said sooner, but no more often than that.
const AT_MOST_EVERY: Duration = Duration::from_secs(1);
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) struct Status {
    pub(crate) instance: String,
    pub(crate) seal_key_ids: Vec<String>,
    pub(crate) start_time: Timestamp,
    pub(crate) snapshot: Arc<Snapshot>,
}

impl Status {
    /// Reports until `stop`.
    pub(crate) async fn run(&self, control_plane: &ControlPlane, stop: CancellationToken) {
        stop.run_until_cancelled(self.keep_reporting(control_plane))
            .await;
    }

    async fn keep_reporting(&self, control_plane: &ControlPlane) {
        let mut changes = self.snapshot.changes();
        loop {
            let deadline = Deadline::after(SEND_TIMEOUT);
            // The next one says more than this one repeated; why it failed, whoever needs the
            // control plane for more than this says.
            if let Err(error) = control_plane.report_status(self.now(), deadline).await {
                tracing::debug!(%error, "couldn't report this replica's status");
            }
            tokio::time::sleep(AT_MOST_EVERY).await;
            // Whichever comes first.
            let _ = tokio::time::timeout(EVERY - AT_MOST_EVERY, changes.changed()).await;
        }
    }

    fn now(&self) -> pb::ReportStatusRequest {
        let revision = self.snapshot.revision();
        pb::ReportStatusRequest {
            instance: self.instance.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: revision.map(|r| r.to_string()).unwrap_or_default(),
            seal_key_ids: self.seal_key_ids.clone(),
            start_time: Some(time::timestamp(self.start_time)),
        }
    }
}
