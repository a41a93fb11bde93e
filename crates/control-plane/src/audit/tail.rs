//! Records as they are sealed.

use std::collections::VecDeque;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::stream::{self, BoxStream, StreamExt as _};
use postern_core::audit::Event;
use postern_core::invalid::Invalid;
use postern_proto::convert::audit as convert;
use postern_proto::pb;
use postern_rpc::error::Error;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::context::Context;
use crate::store::{EventCursor, EventFilter, TailCursor};

use super::reader::Reader;

pub(super) type Stream = BoxStream<'static, Result<pb::TailAuditEventsResponse, Status>>;

const LOOK_EVERY: Duration = Duration::from_millis(500);
const BOOKMARK_EVERY: Duration = Duration::from_secs(5);
/// Records that are read at once.
const LIMIT: u32 = 100;

/// Where one stream stands.
pub(super) struct Follower {
    pub(super) context: Context,
    pub(super) reader: Reader,
    pub(super) filter: EventFilter,
    pub(super) reached: TailCursor,
    pub(super) shutdown: CancellationToken,
}

struct Feed {
    follower: Follower,
    looks: Interval,
    bookmarks: Interval,
    queue: VecDeque<pb::TailAuditEventsResponse>,
}

pub(super) fn stream(follower: Follower) -> Stream {
    let every = |period| {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    };
    let feed = Feed {
        follower,
        looks: every(LOOK_EVERY),
        // The first comes at once: a cursor to resume from.
        bookmarks: every(BOOKMARK_EVERY),
        queue: VecDeque::new(),
    };
    stream::unfold(Some(feed), |feed| async move {
        let mut feed = feed?;
        match feed.next().await {
            Ok(Some(message)) => Some((Ok(message), Some(feed))),
            Ok(None) => None,
            Err(error) => Some((Err(error.into()), None)),
        }
    })
    .boxed()
}

// === impl Feed ===

impl Feed {
    /// `None`: the server shuts down.
    async fn next(&mut self) -> Result<Option<pb::TailAuditEventsResponse>, Error> {
        loop {
            if let Some(message) = self.queue.pop_front() {
                return Ok(Some(message));
            }
            tokio::select! {
                biased;
                () = self.follower.shutdown.cancelled() => return Ok(None),
                () = self.follower.reader.due() => self.follower.reader.check().await?,
                _ = self.looks.tick() => self.look().await?,
                _ = self.bookmarks.tick() => return Ok(Some(bookmark(&self.follower.reached))),
            }
        }
    }

    async fn look(&mut self) -> Result<(), Error> {
        let Follower {
            context,
            filter,
            reached,
            ..
        } = &mut self.follower;
        let tail = context.store.tail_events(filter, reached, LIMIT).await?;
        self.queue.extend(tail.events.iter().map(message));
        *reached = tail.reached;
        if tail.behind {
            self.looks.reset_immediately();
        }
        Ok(())
    }
}

fn message(event: &Event) -> pb::TailAuditEventsResponse {
    let cursor = TailCursor {
        seal: event.seal.unwrap_or(0),
        last: Some(EventCursor::of(event)),
    };
    pb::TailAuditEventsResponse {
        audit_event: Some(convert::to_pb(event)),
        cursor: text(&cursor),
    }
}

fn bookmark(reached: &TailCursor) -> pb::TailAuditEventsResponse {
    pb::TailAuditEventsResponse {
        audit_event: None,
        cursor: text(reached),
    }
}

fn text(cursor: &TailCursor) -> String {
    let text = match &cursor.last {
        None => cursor.seal.to_string(),
        Some(last) => format!("{} {} {}", cursor.seal, last.time, last.id),
    };
    URL_SAFE_NO_PAD.encode(text)
}

/// `head`: the last seal that there is.
pub(super) fn cursor(text: &str, head: i64) -> Result<TailCursor, Invalid> {
    if text.is_empty() {
        return Ok(TailCursor::after(head));
    }
    let cursor = parse(text).filter(|cursor| (0..=head).contains(&cursor.seal));
    cursor.ok_or_else(|| Invalid::field("cursor", "is none that this stream gave"))
}

fn parse(text: &str) -> Option<TailCursor> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    let mut parts = text.split(' ');
    let seal = parts.next()?.parse().ok()?;
    let last = match (parts.next(), parts.next(), parts.next()) {
        (None, None, None) => None,
        (Some(time), Some(id), None) => Some(EventCursor {
            time: time.parse().ok()?,
            id: id.parse().ok()?,
        }),
        _ => return None,
    };
    Some(TailCursor { seal, last })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_nothing_else_is() {
        let last = EventCursor {
            time: "2026-11-23T12:00:00.000001Z".parse().unwrap(),
            id: uuid::Uuid::from_u128(7),
        };
        for read in [
            TailCursor::after(3),
            TailCursor {
                seal: 3,
                last: Some(last),
            },
        ] {
            assert_eq!(cursor(&text(&read), 3).unwrap(), read);
            assert!(cursor(&text(&read), 2).is_err(), "a seal that isn't there");
        }
        assert_eq!(cursor("", 5).unwrap(), TailCursor::after(5));
        for wrong in [
            "x",
            "LTE",
            "Mw==",
            "MyAx",
            &URL_SAFE_NO_PAD.encode("3 a b c"),
        ] {
            assert!(cursor(wrong, 9).is_err(), "{wrong}");
        }
    }
}
