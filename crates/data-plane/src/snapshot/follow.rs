//! The stream of changes, opened again and again.

use std::time::Duration;

use postern_proto::pb;
use postern_rpc::deadline::Deadline;
use postern_rpc::error::Failure;
use tonic::Code;

use super::feed::{Feed, FeedError};
use super::{Snapshot, Source};
use crate::backoff::Backoff;

const OPENING: Duration = Duration::from_secs(10);
/// A bookmark comes every 5 seconds.
const SILENCE: Duration = Duration::from_secs(16);

#[derive(Debug, thiserror::Error)]
enum Interrupted {
    #[error(transparent)]
    Failed(Box<Failure>),
    #[error(transparent)]
    Nonsense(#[from] FeedError),
    #[error("the control plane ended the stream")]
    Ended,
}

impl Interrupted {
    /// Why the gateway isn't ready: what needs somebody to mend it is said in full.
    fn for_operators(&self) -> String {
        match self {
            Self::Failed(failure) if failure.code == Code::Unauthenticated => {
                failure.message.clone()
            }
            _ => "no stream of changes from the control plane".to_owned(),
        }
    }
}

impl From<Failure> for Interrupted {
    fn from(failure: Failure) -> Self {
        Self::Failed(Box::new(failure))
    }
}

/// Never ends by itself.
pub(super) async fn follow(snapshot: &Snapshot, source: &Source, mut feed: Feed) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
    loop {
        let interrupted = match stream(snapshot, source, &mut feed, &mut backoff).await {
            Err(interrupted) => interrupted,
            Ok(never) => match never {},
        };
        if matches!(interrupted, Interrupted::Nonsense(_)) {
            feed.distrust();
        }
        source.connected.not_ready(interrupted.for_operators());
        tracing::warn!(error = %interrupted, "lost the control plane's changes; trying again");
        tokio::time::sleep(backoff.pause()).await;
    }
}

/// One stream, from its opening to its end.
async fn stream(
    snapshot: &Snapshot,
    source: &Source,
    feed: &mut Feed,
    backoff: &mut Backoff,
) -> Result<std::convert::Infallible, Interrupted> {
    let control_plane = &source.control_plane;
    let request = pb::WatchRequest {
        instance: source.instance.clone(),
        resume_revision: feed.resume_revision(),
    };
    feed.reopened();
    let mut watch = control_plane
        .watch(request, Deadline::after(OPENING))
        .await?;
    tracing::info!("following the control plane's changes");
    loop {
        let message = control_plane
            .next(&mut watch, Deadline::after(SILENCE))
            .await?;
        let message = message.ok_or(Interrupted::Ended)?;
        let now = source.clock.now();
        let state = feed.apply(message, now)?;
        snapshot.hear(now);
        backoff.reset();
        source.connected.ready();
        if let Some(state) = state {
            snapshot.publish(state);
            source.loaded.ready();
        }
    }
}
