//! One gateway's stream of what concerns it.

use std::collections::VecDeque;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt as _};
use postern_core::auth_method::AuthMethod;
use postern_core::meta::Stored;
use postern_core::sealed_config::SealedConfig;
use postern_proto::convert::auth_method;
use postern_proto::pb;
use postern_proto::pb::watch_response::Change as Wire;
use postern_rpc::caller::Caller;
use postern_rpc::error::Error;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::context::Context;
use crate::identity::CallingGateway;
use crate::standing::Standing;
use crate::store::{Change, Changes, Snapshot};
use crate::{meta, sealed_configs};

const BOOKMARK_EVERY: Duration = Duration::from_secs(5);

pub(super) type Stream = BoxStream<'static, Result<pb::WatchResponse, Status>>;

/// Where one stream stands.
struct Feed {
    context: Context,
    gateway: CallingGateway,
    caller: Caller,
    shutdown: CancellationToken,
    standing: Standing,
    /// Wakes at every new revision.
    revisions: watch::Receiver<i64>,
    bookmarks: Interval,
    /// Everything up to here has been queued; `None`: the gateway needs a snapshot.
    known: Option<i64>,
    queue: VecDeque<pb::WatchResponse>,
    /// The last look brought something, so that there may be more.
    behind: bool,
}

/// Begins after `resume`, or with a snapshot. Ends with the server, and with UNAUTHENTICATED
/// when the gateway's token isn't good any more, or not over this connection.
pub(super) fn stream(
    context: Context,
    gateway: CallingGateway,
    caller: Caller,
    resume: Option<i64>,
    shutdown: CancellationToken,
) -> Result<Stream, Error> {
    // The first comes at once: who resumes with nothing missed learns that it is up to date.
    let mut bookmarks = interval(BOOKMARK_EVERY);
    bookmarks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let feed = Feed {
        revisions: context.store.subscribe()?,
        standing: Standing::new(context.clone(), gateway.token),
        context,
        gateway,
        caller,
        shutdown,
        bookmarks,
        known: resume,
        queue: VecDeque::new(),
        behind: true,
    };
    let stream = stream::unfold(Some(feed), |feed| async move {
        let mut feed = feed?;
        match feed.next().await {
            Ok(Some(message)) => Some((Ok(message), Some(feed))),
            Ok(None) => None,
            Err(error) => Some((Err(error.into()), None)),
        }
    });
    Ok(stream.boxed())
}

// === impl Feed ===

impl Feed {
    /// `None`: the server shuts down.
    async fn next(&mut self) -> Result<Option<pb::WatchResponse>, Error> {
        loop {
            if self.shutdown.is_cancelled() {
                return Ok(None);
            }
            if let Some(message) = self.queue.pop_front() {
                return Ok(Some(message));
            }
            if self.behind {
                self.look().await?;
                continue;
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return Ok(None),
                changed = self.revisions.changed() => {
                    if changed.is_err() {
                        return Ok(None);
                    }
                    self.look().await?;
                }
                () = self.standing.due() => {
                    self.standing.check().await?;
                }
                _ = self.bookmarks.tick() => {
                    self.look().await?;
                    self.bookmark();
                }
            }
        }
    }

    /// Queues what is new, for a gateway whose token and certificate still stand.
    async fn look(&mut self) -> Result<(), Error> {
        let certificates = &self.context.certificates;
        certificates.check(&self.caller, &self.gateway.identity.name)?;
        let store = &self.context.store;
        self.standing.check().await?;
        let before = self.known;
        let changes = match before {
            None => Changes::TooOld,
            Some(known) => store.changes_since(&self.gateway.identity, known).await?,
        };
        match changes {
            Changes::TooOld => {
                let snapshot = store.snapshot(&self.gateway.identity).await?;
                self.queue_snapshot(snapshot);
            }
            Changes::Since { revision, changes } => self.queue_changes(revision, changes),
        }
        self.behind = self.known > before;
        Ok(())
    }

    /// The parts name the revision that is reached with the end.
    fn queue_snapshot(&mut self, snapshot: Snapshot) {
        let revision = snapshot.revision.to_string();
        let part = |change| message(revision.clone(), change);
        let queue = &mut self.queue;
        queue.push_back(part(Wire::SnapshotStart(pb::SnapshotStart {})));
        queue.extend(snapshot.methods.iter().map(|m| part(method(m))));
        queue.extend(snapshot.configs.into_iter().map(|c| part(config(c))));
        queue.push_back(part(Wire::SnapshotEnd(pb::SnapshotEnd {})));
        self.known = Some(snapshot.revision);
    }

    /// A revision that doesn't concern this gateway moves it on by a bookmark.
    fn queue_changes(&mut self, revision: i64, changes: Vec<Change>) {
        let moved = self.known.is_none_or(|known| revision > known);
        if !moved {
            return;
        }
        let before = self.known.unwrap_or_default().to_string();
        let changes = changes.into_iter().map(|change| match change {
            Change::AuthMethod(stored) => method(&stored),
            Change::Config(stored) => config(*stored),
            Change::Deleted(name) => Wire::DeletedName(name),
        });
        let messages = changes.map(|change| message(before.clone(), change));
        self.queue.extend(messages);
        self.known = Some(revision);
        match self.queue.back_mut() {
            Some(last) => last.revision = revision.to_string(),
            None => self.bookmark(),
        }
    }

    fn bookmark(&mut self) {
        if self.queue.is_empty() {
            let revision = self.known.unwrap_or_default().to_string();
            self.queue
                .push_back(message(revision, Wire::Bookmark(pb::Bookmark {})));
        }
    }
}

fn message(revision: String, change: Wire) -> pb::WatchResponse {
    pb::WatchResponse {
        revision,
        change: Some(change),
    }
}

fn method(stored: &Stored<AuthMethod>) -> Wire {
    Wire::AuthMethod(pb::AuthMethod {
        meta: Some(meta::to_pb(stored.value.uid, stored)),
        ..auth_method::to_pb(&stored.value)
    })
}

fn config(stored: Stored<SealedConfig>) -> Wire {
    Wire::Config(sealed_configs::to_pb(stored, true))
}
