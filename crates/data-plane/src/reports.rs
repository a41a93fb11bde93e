//! Refusals on their way to the control plane's audit.

mod queue;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postern_core::audit::Event;
use postern_core::clock::Clock;
use postern_proto::convert::audit;
use postern_proto::pb;
use postern_rpc::deadline::Deadline;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use self::queue::Queue;
use crate::backoff::Backoff;
use crate::control_plane::ControlPlane;
use crate::login::Stage;
use crate::metrics::AuditCounts;

const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// How often minutes that are over are looked for.
const TICK: Duration = Duration::from_secs(1);
/// How long the last batch may take when the gateway stops.
const FAREWELL: Duration = Duration::from_secs(1);

/// Takes refusals from logins, bounded in number, and sends them when it can.
pub(crate) struct Reports {
    queue: Mutex<Queue>,
    wake: Notify,
    clock: Clock,
    counts: AuditCounts,
}

impl Reports {
    /// `gateway` names itself in the records that it makes up: counts.
    pub(crate) fn new(gateway: String, clock: Clock, counts: AuditCounts) -> Self {
        Self {
            queue: Mutex::new(Queue::new(gateway, counts.clone())),
            wake: Notify::new(),
            clock,
            counts,
        }
    }

    /// Never blocks and never fails: what finds no room is counted.
    pub(crate) fn denied(&self, stage: Stage, event: Event) {
        match stage {
            Stage::Unverified | Stage::Limited => self.queue().push_limited(event),
            Stage::Verified => self.queue().push(event),
        }
        self.wake.notify_one();
    }

    /// That an administrator asked, which nobody else can cause.
    pub(crate) fn asked(&self, event: Event) {
        self.queue().push(event);
        self.wake.notify_one();
    }

    /// Sends until `stop`, and then once more.
    pub(crate) async fn run(&self, control_plane: &Arc<ControlPlane>, stop: CancellationToken) {
        stop.run_until_cancelled(self.keep_sending(control_plane))
            .await;
        let farewell = Deadline::after(FAREWELL);
        self.queue().close_minutes(None);
        while let Some(batch) = self.batch() {
            let request = request(&batch);
            if let Err(error) = control_plane.report_events(request, farewell).await {
                let lost = self.queue().len();
                tracing::error!(%error, lost, "stopped with refusals that the control plane hasn't got");
                return;
            }
            self.taken(batch.len());
        }
    }

    async fn keep_sending(&self, control_plane: &ControlPlane) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        loop {
            self.queue().close_minutes(Some(self.clock.now()));
            let Some(batch) = self.batch() else {
                // Whichever comes first: both only mean to look again.
                let _ = tokio::time::timeout(TICK, self.wake.notified()).await;
                continue;
            };
            let deadline = Deadline::after(SEND_TIMEOUT);
            match control_plane.report_events(request(&batch), deadline).await {
                Ok(()) => {
                    backoff.reset();
                    self.taken(batch.len());
                }
                Err(error) if error.code == Code::InvalidArgument => {
                    tracing::error!(%error, "the control plane doesn't take these refusals; counting them instead");
                    self.queue().rejected(batch.len());
                }
                Err(error) => {
                    tracing::warn!(%error, "can't report refusals; keeping them");
                    tokio::time::sleep(backoff.pause()).await;
                }
            }
        }
    }

    fn taken(&self, count: usize) {
        self.queue().taken(count);
        self.counts.sent(count);
    }

    fn batch(&self) -> Option<Vec<Event>> {
        self.queue().batch()
    }

    /// A panic while it was held left at worst a wrong count.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn request(batch: &[Event]) -> pb::ReportEventsRequest {
    pb::ReportEventsRequest {
        events: batch.iter().map(audit::to_pb).collect(),
    }
}

#[cfg(test)]
mod tests;
