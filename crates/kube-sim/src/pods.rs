//! Lists and watches of pods, which alone are listed and watched here.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::ReceiverStream;

use crate::error::ApiError;
use crate::http::{Answer, Api, json_answer};
use crate::objects::{Objects, Resource, text};

const METADATA: &str = "as=PartialObjectMetadata";
/// Events that are remembered: a watch from before them is too old.
const REMEMBERED: usize = 1000;
/// As a watch without `timeoutSeconds`.
const TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// What happened to pods.
#[derive(Default)]
pub(crate) struct History {
    events: VecDeque<(u64, &'static str, Value)>,
    /// Nothing before is remembered.
    compacted: u64,
}

impl History {
    pub(crate) fn add(&mut self, version: u64, kind: &'static str, mut pod: Value) {
        pod["metadata"]["resourceVersion"] = json!(version.to_string());
        self.events.push_back((version, kind, pod));
        if self.events.len() > REMEMBERED
            && let Some((version, ..)) = self.events.pop_front()
        {
            self.compacted = version;
        }
    }

    pub(crate) fn forget(&mut self, version: u64) {
        self.events.clear();
        self.compacted = version;
    }

    /// `None`: some may be forgotten.
    fn since(&self, version: u64, namespace: &str) -> Option<Vec<(u64, &'static str, Value)>> {
        let of =
            |pod: &Value| namespace.is_empty() || text(pod, "/metadata/namespace") == namespace;
        let events = self.events.iter();
        let events = events.filter(|(at, _, pod)| *at > version && of(pod));
        (version >= self.compacted).then(|| events.cloned().collect())
    }
}

/// What of a query this server knows.
struct Query {
    watch: bool,
    limit: usize,
    after: String,
    version: Option<u64>,
    bookmarks: bool,
    timeout: Duration,
}

impl Query {
    fn of(head: &Parts) -> Self {
        let query = head.uri.query().unwrap_or_default();
        let value = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs
                .filter(|(key, _)| *key == name)
                .map(|(_, value)| value)
                .next_back()
        };
        let flag = |name| matches!(value(name), Some("1" | "true"));
        Self {
            watch: flag("watch"),
            limit: value("limit").and_then(|n| n.parse().ok()).unwrap_or(0),
            after: value("continue").unwrap_or_default().to_owned(),
            version: value("resourceVersion").and_then(|n| n.parse().ok()),
            bookmarks: flag("allowWatchBookmarks"),
            timeout: value("timeoutSeconds")
                .and_then(|n| n.parse().ok())
                .map_or(TIMEOUT, Duration::from_secs),
        }
    }
}

/// Whether a request is a watch, which RBAC has a verb for.
pub(crate) fn is_watch(head: &Parts) -> bool {
    Query::of(head).watch
}

pub(crate) fn answer(api: &Arc<Api>, head: &Parts, namespace: &str) -> Result<Answer, ApiError> {
    let accept = head.headers.get(header::ACCEPT);
    let accept = accept
        .and_then(|accept| accept.to_str().ok())
        .unwrap_or_default();
    let view = View(accept.contains(METADATA));
    let query = Query::of(head);
    if query.watch {
        return Ok(watch(api, namespace.to_owned(), query, view));
    }
    let objects = api.cluster.objects();
    Ok(json_answer(
        StatusCode::OK,
        &list(&objects, namespace, &query, view),
    ))
}

fn list(objects: &Objects, namespace: &str, query: &Query, view: View) -> Value {
    let key = |pod: &Value| {
        let of = |pointer| text(pod, pointer).to_owned();
        format!("{}.{}", of("/metadata/namespace"), of("/metadata/name"))
    };
    let pods = objects.all(Resource::Pods).filter(|pod| {
        (namespace.is_empty() || text(pod, "/metadata/namespace") == namespace)
            && key(pod) > query.after
    });
    let mut pods: Vec<&Value> = pods.collect();
    pods.sort_by_key(|pod| key(pod));
    let more = query.limit > 0 && pods.len() > query.limit;
    if more {
        pods.truncate(query.limit);
    }
    let mut metadata = json!({ "resourceVersion": objects.version().to_string() });
    if let Some(last) = pods.last().filter(|_| more) {
        metadata["continue"] = json!(key(last));
    }
    let (version, kind) = view.list_kind();
    let items: Vec<Value> = pods.into_iter().map(|pod| view.of(pod)).collect();
    // Of metadata alone an empty list is written as none.
    let items = (!items.is_empty() || !view.0).then_some(items);
    json!({ "kind": kind, "apiVersion": version, "metadata": metadata, "items": items })
}

fn watch(api: &Arc<Api>, namespace: String, query: Query, view: View) -> Answer {
    let (lines, body) = mpsc::channel::<Result<Frame<Bytes>, Infallible>>(16);
    let api = Arc::clone(api);
    tokio::spawn(async move {
        let stopped = api.stopped.clone();
        let sent = send_events(&api, &namespace, &query, view, lines);
        stopped.run_until_cancelled(sent).await;
    });
    let mut answer = Response::new(StreamBody::new(ReceiverStream::new(body)).boxed());
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    answer
}

async fn send_events(
    api: &Api,
    namespace: &str,
    query: &Query,
    view: View,
    lines: mpsc::Sender<Result<Frame<Bytes>, Infallible>>,
) {
    let end = Instant::now() + query.timeout;
    let send = async |kind: &str, object: Value| {
        let line = format!("{}\n", json!({ "type": kind, "object": object }));
        lines.send(Ok(Frame::data(Bytes::from(line)))).await.is_ok()
    };
    let mut changes = api.cluster.objects().changes();
    let mut ends = api.cluster.objects().watches_end();
    let mut seen = query
        .version
        .unwrap_or_else(|| api.cluster.objects().version());
    loop {
        changes.borrow_and_update();
        let (events, version) = {
            let objects = api.cluster.objects();
            (objects.history().since(seen, namespace), objects.version())
        };
        let Some(events) = events else {
            let expired = ApiError::expired(seen, version);
            send("ERROR", expired.body()).await;
            return;
        };
        for (version, kind, pod) in events {
            if !send(kind, view.of(&pod)).await {
                return;
            }
            seen = version;
        }
        let next = tokio::select! {
            next = timeout_at(end, changes.changed()) => next,
            _ = ends.changed() => return,
            () = lines.closed() => return,
        };
        if next.is_err() {
            if query.bookmarks {
                let metadata = json!({ "resourceVersion": version.to_string() });
                let (version, kind) = view.kind();
                let object = json!({ "kind": kind, "apiVersion": version, "metadata": metadata });
                send("BOOKMARK", object).await;
            }
            return;
        }
    }
}

/// Whether the metadata alone is wanted.
#[derive(Clone, Copy)]
struct View(bool);

impl View {
    fn kind(self) -> (&'static str, &'static str) {
        match self.0 {
            true => ("meta.k8s.io/v1", "PartialObjectMetadata"),
            false => ("v1", "Pod"),
        }
    }

    fn list_kind(self) -> (&'static str, &'static str) {
        match self.0 {
            true => ("meta.k8s.io/v1", "PartialObjectMetadataList"),
            false => ("v1", "PodList"),
        }
    }

    fn of(self, pod: &Value) -> Value {
        if !self.0 {
            return pod.clone();
        }
        let (version, kind) = self.kind();
        json!({ "kind": kind, "apiVersion": version, "metadata": pod["metadata"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_is_told_from_a_version_on_until_it_is_forgotten() {
        let mut history = History::default();
        let pod = |namespace: &str| json!({ "metadata": { "namespace": namespace } });
        history.add(2, "ADDED", pod("a"));
        history.add(3, "DELETED", pod("b"));
        let kinds = |history: &History, version, namespace| {
            let events = history.since(version, namespace)?;
            Some(
                events
                    .into_iter()
                    .map(|(_, kind, _)| kind)
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(kinds(&history, 0, ""), Some(vec!["ADDED", "DELETED"]));
        assert_eq!(kinds(&history, 2, ""), Some(vec!["DELETED"]));
        assert_eq!(kinds(&history, 0, "a"), Some(vec!["ADDED"]));
        history.forget(5);
        assert_eq!(kinds(&history, 3, ""), None, "too old");
        assert_eq!(kinds(&history, 5, ""), Some(vec![]));
    }
}
