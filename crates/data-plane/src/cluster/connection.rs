//! A live way to one API server: requests within limits on time and bytes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use postern_core::k8s_auth_config::{ClusterAccess, K8sAuthConfig, K8sHost, Reviewer, Timeouts};
use postern_rpc::deadline::Deadline;
use reqwest::{Client, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::client::{self, ClusterError, Way};
use super::fault::ReviewFault;
use super::own::{OwnCluster, OwnLink, Pin};
use super::review::Object;

/// The media type of the API's objects.
pub(super) const JSON: &str = "application/json";
/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;
/// How often an answer that goes on and says nothing is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// A config's way to its API server, and how long that may take.
pub(super) struct Connection {
    way: Ways,
    timeouts: Timeouts,
}

enum Ways {
    /// As the config says.
    Described(Arc<Link>),
    /// As the files say that are mounted now.
    Own(Arc<OwnLink>),
}

/// Connections to one server, and what lets them in. They close with it.
pub(super) struct Link {
    client: Client,
    base: K8sHost,
    credential: Credential,
}

/// Who asks.
pub(super) enum Credential {
    /// Stands in the `authorization` header.
    Bearer(SecretString),
    /// The connection's own certificate.
    Certificate,
    /// The token that is asked about.
    Presented,
}

/// One request.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    /// Below the API server's URL, escaped.
    pub(super) path: &'a str,
    /// The media type of its answer; kube-apiserver gives nothing else than what is asked for.
    pub(super) accept: &'static str,
    pub(super) body: Option<Bytes>,
    /// Whose login it is for; `None`: nobody's.
    pub(super) presented: Option<&'a SecretString>,
}

/// An answer, or why there is none.
pub(super) struct Dated {
    pub(super) body: Result<Vec<u8>, ReviewFault>,
    /// From the answer's header.
    pub(super) date: Option<Timestamp>,
}

/// Lines of an answer that goes on, and the connections that it comes by.
pub(super) struct Lines {
    response: Response,
    link: Arc<Link>,
    connection: Arc<Connection>,
    read: Vec<u8>,
}

// === impl Connection ===

impl Connection {
    /// Connects nowhere yet. Reads the system's roots from disk when the config has no CA.
    pub(super) fn new(config: &K8sAuthConfig, own: &Arc<OwnCluster>) -> Result<Self, ClusterError> {
        let way = match &config.access {
            ClusterAccess::Own(pinned) => {
                Ways::Own(OwnLink::new(own, pinned.clone(), config.timeouts))
            }
            ClusterAccess::Direct { at, reviewer } => {
                let (certificate, credential) = match reviewer {
                    Reviewer::Token(token) => (None, Credential::bearer(token.expose())),
                    Reviewer::Certificate(pair) => (Some(pair), Credential::Certificate),
                    Reviewer::PresentedToken => (None, Credential::Presented),
                };
                let way = Way {
                    certificate,
                    ..Way::to(at, &at.host, config.timeouts)
                };
                Ways::Described(Arc::new(Link::new(&way, credential)?))
            }
            ClusterAccess::Rancher {
                at,
                cluster,
                api_key,
            } => {
                let host = at.host.of_rancher_cluster(cluster);
                let way = Way::to(at, &host, config.timeouts);
                let credential = Credential::bearer(api_key.expose());
                Ways::Described(Arc::new(Link::new(&way, credential)?))
            }
        };
        Ok(Self {
            way,
            timeouts: config.timeouts,
        })
    }

    /// Whether each token is reviewed by itself.
    pub(super) fn presents(&self) -> bool {
        match &self.way {
            Ways::Described(link) => matches!(link.credential, Credential::Presented),
            Ways::Own(_) => false,
        }
    }

    /// When the token expires that is mounted for the gateway's own service account.
    pub(super) fn mounted_expire_time(&self) -> Option<Timestamp> {
        match &self.way {
            Ways::Described(_) => None,
            Ways::Own(link) => link.token_expire_time(),
        }
    }

    /// Whether the gateway's own cluster is the pinned one; `None` for configs of other clusters.
    pub(super) fn pin(&self) -> Option<(Pin, Timestamp)> {
        match &self.way {
            Ways::Described(_) => None,
            Ways::Own(link) => Some(link.pin()),
        }
    }

    /// The body of an answer that says success.
    pub(super) async fn ask(
        &self,
        ask: Ask<'_>,
        deadline: Deadline,
    ) -> Result<Vec<u8>, ReviewFault> {
        self.ask_dated(ask, deadline).await.body
    }

    /// The same, with the time that the API server says it is, which its refusals say too.
    pub(super) async fn ask_dated(&self, ask: Ask<'_>, deadline: Deadline) -> Dated {
        let deadline = deadline.within(self.timeouts.total());
        let mut date = None;
        let answer = async {
            let link = self.link(deadline).await?;
            deadline.run(link.answer(ask, &mut date)).await?
        };
        let body = answer.await;
        Dated { body, date }
    }

    /// What stands at a path; `None` where the API server itself says that nothing of that name does.
    pub(super) async fn get(
        &self,
        path: &str,
        accept: &'static str,
        presented: Option<&SecretString>,
        deadline: Deadline,
    ) -> Result<Option<Vec<u8>>, ReviewFault> {
        let ask = Ask {
            method: Method::GET,
            path,
            accept,
            body: None,
            presented,
        };
        match self.ask(ask, deadline).await {
            Ok(answer) => Ok(Some(answer)),
            Err(ReviewFault::NoSuchObject) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// The lines of an answer that goes on. Only its opening has a deadline.
    pub(super) async fn lines(
        self: &Arc<Self>,
        path: &str,
        accept: &'static str,
        opening: Deadline,
    ) -> Result<Lines, ReviewFault> {
        let opening = opening.within(self.timeouts.total());
        let link = self.link(opening).await?;
        let ask = Ask {
            method: Method::GET,
            path,
            accept,
            body: None,
            presented: None,
        };
        let response = opening.run(link.send(ask)).await??;
        if let Some(fault) = ReviewFault::of_status(response.status()) {
            return Err(fault);
        }
        Ok(Lines {
            response,
            link,
            connection: Arc::clone(self),
            read: Vec::new(),
        })
    }

    /// Whether it would still go by these.
    fn goes_by(&self, link: &Arc<Link>) -> bool {
        match &self.way {
            Ways::Described(current) => Arc::ptr_eq(current, link),
            Ways::Own(own) => own.goes_by(link),
        }
    }

    /// The token that stands in for the reviewer, where it is one that Postern holds.
    pub(super) async fn bearer(&self, deadline: Deadline) -> Option<SecretString> {
        let link = self.link(deadline.within(self.timeouts.total())).await;
        match &link.ok()?.credential {
            Credential::Bearer(token) => Some(token.clone()),
            Credential::Certificate | Credential::Presented => None,
        }
    }

    async fn link(&self, deadline: Deadline) -> Result<Arc<Link>, ReviewFault> {
        match &self.way {
            Ways::Described(link) => Ok(Arc::clone(link)),
            Ways::Own(own) => own.link(deadline).await,
        }
    }
}

// === impl Link ===

impl Link {
    pub(super) fn new(way: &Way<'_>, credential: Credential) -> Result<Self, ClusterError> {
        Ok(Self {
            client: client::build(way)?,
            base: way.url()?,
            credential,
        })
    }

    /// What stands there, for a credential of its own.
    pub(super) async fn get(&self, path: &str) -> Result<Vec<u8>, ReviewFault> {
        let ask = Ask {
            method: Method::GET,
            path,
            accept: JSON,
            body: None,
            presented: None,
        };
        self.answer(ask, &mut None).await
    }

    async fn answer(
        &self,
        ask: Ask<'_>,
        date: &mut Option<Timestamp>,
    ) -> Result<Vec<u8>, ReviewFault> {
        let response = self.send(ask).await?;
        *date = date_of(&response);
        match ReviewFault::of_status(response.status()) {
            None => read(response).await,
            Some(fault @ ReviewFault::UnexpectedStatus(404)) => {
                let answer = read(response).await?;
                Err(if names_a_missing_object(&answer) {
                    ReviewFault::NoSuchObject
                } else {
                    fault
                })
            }
            Some(fault) => Err(fault),
        }
    }

    async fn send(&self, ask: Ask<'_>) -> Result<Response, ReviewFault> {
        let url = self.base.join(ask.path);
        let mut request = self
            .client
            .request(ask.method, url)
            .header(header::ACCEPT, ask.accept);
        if let Some(bearer) = self.credential.header(ask.presented)? {
            request = request.header(header::AUTHORIZATION, bearer);
        }
        if let Some(body) = ask.body {
            request = request.header(header::CONTENT_TYPE, JSON).body(body);
        }
        Ok(request.send().await?)
    }
}

// === impl Lines ===

impl Lines {
    /// The next line; `None` where the answer ends, or the connection isn't the current one any more.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, ReviewFault> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let rest = self.read.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.read, rest);
                line.truncate(end);
                return Ok(Some(line));
            }
            if self.read.len() > MAX_ANSWER {
                return Err(ReviewFault::TooLarge);
            }
            match timeout(LOOK_AGAIN, self.response.chunk()).await {
                Ok(Ok(Some(chunk))) => self.read.extend_from_slice(&chunk),
                Ok(Ok(None)) => return Ok(None),
                Ok(Err(error)) => return Err(error.into()),
                Err(_) if self.connection.goes_by(&self.link) => {}
                Err(_) => return Ok(None),
            }
        }
    }
}

fn date_of(response: &Response) -> Option<Timestamp> {
    let date = response.headers().get(header::DATE)?.to_str().ok()?;
    DateTimeParser::new().parse_timestamp(date).ok()
}

/// Whether a 404 is Kubernetes' word on an object, and not on a path, nor somebody else's.
fn names_a_missing_object(answer: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Status {
        kind: String,
        reason: String,
        details: Object<Details>,
    }
    #[derive(Deserialize)]
    struct Details {
        name: String,
    }
    let status: Result<Object<Status>, _> = serde_json::from_slice(answer);
    status.is_ok_and(|Object(status)| {
        let Object(Details { name }) = status.details;
        status.kind == "Status" && status.reason == "NotFound" && !name.is_empty()
    })
}

async fn read(mut response: Response) -> Result<Vec<u8>, ReviewFault> {
    let mut answer = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if answer.len() + chunk.len() > MAX_ANSWER {
            return Err(ReviewFault::TooLarge);
        }
        answer.extend_from_slice(&chunk);
    }
    Ok(answer)
}

// === impl Credential ===

impl Credential {
    pub(super) fn bearer(token: &str) -> Self {
        Self::Bearer(SecretString::from(token))
    }

    fn header(&self, presented: Option<&SecretString>) -> Result<Option<HeaderValue>, ReviewFault> {
        let token = match self {
            Self::Bearer(token) => Some(token),
            Self::Presented => presented,
            Self::Certificate => None,
        };
        let Some(token) = token else { return Ok(None) };
        let text = Zeroizing::new(format!("Bearer {}", token.expose_secret()));
        let mut value =
            HeaderValue::from_str(&text).map_err(|error| ReviewFault::Request(error.into()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

#[cfg(test)]
mod tests;
