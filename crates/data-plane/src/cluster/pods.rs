//! Which pods a cluster has, and when one is deleted. Of pods nothing but their metadata is read.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Cluster;
use super::connection::Lines;
use super::fault::ReviewFault;
use postern_rpc::deadline::Deadline;

const LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const OBJECT: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
/// Of a page, until a page of so many turns out to be too long.
const PAGE: u32 = 200;
/// After so many seconds the API server ends a watch, and it is opened anew.
const WATCH_SECONDS: u32 = 60;
const GONE: u16 = 410;
/// Whatever has more digits and dots than this is no version of Kubernetes'.
const MAX_VERSION: usize = 128;

/// Why pods can't be listed or watched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PodsFault {
    /// What happened since isn't remembered any more: they have to be listed again.
    #[error("the API server doesn't remember what happened since")]
    Expired,
    #[error("each pod reviews the token that it presents, so that nobody is there to watch them")]
    NoCredential,
    #[error(
        "the cluster's API server doesn't let the reviewer list and watch pods, as revoke_with_pod needs"
    )]
    Forbidden,
    #[error("what the API server says of pods can't be read")]
    NotPods,
    #[error(transparent)]
    Call(ReviewFault),
}

/// What the API server says of pods from now on.
pub(crate) struct PodWatch {
    lines: Lines,
    version: String,
}

/// Of one line of a watch.
pub(crate) enum PodEvent {
    /// Nothing that ends a token.
    Other,
    /// The UID of a pod that is gone.
    Deleted(String),
}

#[derive(Deserialize)]
struct List {
    metadata: ListMeta,
    /// `null` where there are none, as Go writes an empty list.
    items: Option<Vec<Item>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMeta {
    resource_version: String,
    #[serde(default)]
    r#continue: String,
}

#[derive(Deserialize)]
struct Item {
    metadata: Meta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    #[serde(default)]
    uid: String,
    #[serde(default)]
    resource_version: String,
}

#[derive(Deserialize)]
struct Line {
    r#type: String,
    object: serde_json::Value,
}

#[derive(Deserialize)]
struct Failure {
    code: u16,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
}

impl Cluster {
    /// Tells `seen` the UID of every pod of a namespace, `None` of all. The version that they are of.
    /// Asks for what is there now, not for what a server happens to remember.
    pub(crate) async fn list_pods(
        &self,
        namespace: Option<&str>,
        mut seen: impl FnMut(&str),
        deadline: Deadline,
    ) -> Result<String, PodsFault> {
        if self.connection.presents() {
            return Err(PodsFault::NoCredential);
        }
        let (mut limit, mut next) = (PAGE, String::new());
        loop {
            let mut path = format!("{}?limit={limit}", path(namespace));
            if !next.is_empty() {
                path.push_str("&continue=");
                path.extend(url::form_urlencoded::byte_serialize(next.as_bytes()));
            }
            let page = match self.connection.get(&path, LIST, None, deadline).await {
                Ok(Some(page)) => page,
                Ok(None) => return Err(PodsFault::NotPods),
                Err(ReviewFault::TooLarge) if limit > 1 => {
                    limit = (limit / 4).max(1);
                    continue;
                }
                Err(fault) => return Err(fault.into()),
            };
            let page: List = serde_json::from_slice(&page).map_err(|_| PodsFault::NotPods)?;
            for item in page.items.iter().flatten() {
                seen(&item.metadata.uid);
            }
            let ListMeta {
                resource_version,
                r#continue,
            } = page.metadata;
            if r#continue.is_empty() {
                return version(resource_version);
            }
            next = r#continue;
        }
    }

    /// What happens to the pods of a namespace, `None` of all, after that version.
    pub(crate) async fn watch_pods(
        &self,
        namespace: Option<&str>,
        version: String,
        opening: Deadline,
    ) -> Result<PodWatch, PodsFault> {
        let path = format!(
            "{}?watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={version}",
            path(namespace)
        );
        let lines = self.connection.lines(&path, OBJECT, opening).await?;
        Ok(PodWatch { lines, version })
    }
}

fn path(namespace: Option<&str>) -> String {
    match namespace {
        // A rule's names are those that Kubernetes allows.
        Some(namespace) => format!("/api/v1/namespaces/{namespace}/pods"),
        None => "/api/v1/pods".to_owned(),
    }
}

/// It goes into a URL.
fn version(text: String) -> Result<String, PodsFault> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
    let fits = (1..=MAX_VERSION).contains(&text.len()) && text.bytes().all(plain);
    fits.then_some(text).ok_or(PodsFault::NotPods)
}

// === impl PodWatch ===

impl PodWatch {
    /// The next event; `None` when the watch ended and can be opened again after [`version`](Self::version).
    pub(crate) async fn next(&mut self) -> Result<Option<PodEvent>, PodsFault> {
        let Some(line) = self.lines.next().await? else {
            return Ok(None);
        };
        let line: Line = serde_json::from_slice(&line).map_err(|_| PodsFault::NotPods)?;
        if line.r#type == "ERROR" {
            let failure: Failure =
                serde_json::from_value(line.object).map_err(|_| PodsFault::NotPods)?;
            return Err(match failure.code {
                GONE => PodsFault::Expired,
                code => PodsFault::Call(ReviewFault::ServerError(code)),
            });
        }
        let Item { metadata } =
            serde_json::from_value(line.object).map_err(|_| PodsFault::NotPods)?;
        self.version = version(metadata.resource_version)?;
        match line.r#type.as_str() {
            "DELETED" if metadata.uid.is_empty() => Err(PodsFault::NotPods),
            "DELETED" => Ok(Some(PodEvent::Deleted(metadata.uid))),
            _ => Ok(Some(PodEvent::Other)),
        }
    }

    /// Up to where events have come.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }
}

impl From<ReviewFault> for PodsFault {
    fn from(fault: ReviewFault) -> Self {
        match fault {
            ReviewFault::UnexpectedStatus(GONE) => Self::Expired,
            ReviewFault::ReviewerForbidden => Self::Forbidden,
            fault => Self::Call(fault),
        }
    }
}
