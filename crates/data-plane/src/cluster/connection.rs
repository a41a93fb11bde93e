//! A live way to one API server: requests within limits on time and bytes.

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use postern_core::k8s_auth_config::{ClusterAccess, K8sAuthConfig, K8sHost, Reviewer, Timeouts};
use postern_rpc::deadline::Deadline;
use reqwest::{Client, Response};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::client::{self, ClusterError, Way};
use super::fault::ReviewFault;

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;

/// Its connections, and what lets it in. Connections close with it.
pub(super) struct Connection {
    client: Client,
    base: K8sHost,
    credential: Credential,
    timeouts: Timeouts,
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
    pub(super) body: Option<Bytes>,
    /// Whose login it is for.
    pub(super) presented: &'a SecretString,
}

/// An answer, or why there is none.
pub(super) struct Dated {
    pub(super) body: Result<Vec<u8>, ReviewFault>,
    /// From the answer's header.
    pub(super) date: Option<Timestamp>,
}

// === impl Connection ===

impl Connection {
    /// As the config says; `None` for the gateway's own cluster, which the config doesn't describe.
    /// Connects nowhere yet. Reads the system's roots from disk when the config has no CA.
    pub(super) fn of_config(config: &K8sAuthConfig) -> Result<Option<Self>, ClusterError> {
        let Some((at, base)) = config.access.endpoint().zip(config.access.api_server()) else {
            return Ok(None);
        };
        let (certificate, credential) = match &config.access {
            ClusterAccess::Direct { reviewer, .. } => match reviewer {
                Reviewer::Token(token) => (None, Credential::bearer(token.expose())),
                Reviewer::Certificate(pair) => (Some(pair), Credential::Certificate),
                Reviewer::PresentedToken => (None, Credential::Presented),
            },
            ClusterAccess::Rancher { api_key, .. } => (None, Credential::bearer(api_key.expose())),
            ClusterAccess::Own(_) => return Ok(None),
        };
        let way = Way {
            host: &base,
            ca: at.ca.as_ref(),
            tls_server_name: at.tls_server_name.as_ref(),
            certificate,
            timeouts: config.timeouts,
        };
        Self::new(&way, credential).map(Some)
    }

    pub(super) fn new(way: &Way<'_>, credential: Credential) -> Result<Self, ClusterError> {
        Ok(Self {
            client: client::build(way)?,
            base: way.url()?,
            credential,
            timeouts: way.timeouts,
        })
    }

    pub(super) fn credential(&self) -> &Credential {
        &self.credential
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
        let total = self.timeouts.total();
        let mut date = None;
        let answer = deadline
            .within(total)
            .run(self.answer(ask, &mut date))
            .await;
        let body = answer.map_err(ReviewFault::from).flatten();
        Dated { body, date }
    }

    async fn answer(
        &self,
        ask: Ask<'_>,
        date: &mut Option<Timestamp>,
    ) -> Result<Vec<u8>, ReviewFault> {
        let url = self.base.join(ask.path);
        let mut request = self
            .client
            .request(ask.method, url)
            .header(header::ACCEPT, "application/json");
        if let Some(bearer) = self.credential.header(ask.presented)? {
            request = request.header(header::AUTHORIZATION, bearer);
        }
        if let Some(body) = ask.body {
            request = request
                .header(header::CONTENT_TYPE, "application/json")
                .body(body);
        }
        let response = request.send().await?;
        *date = date_of(&response);
        match ReviewFault::of_status(response.status()) {
            None => read(response).await,
            Some(fault) => Err(fault),
        }
    }
}

fn date_of(response: &Response) -> Option<Timestamp> {
    let date = response.headers().get(header::DATE)?.to_str().ok()?;
    DateTimeParser::new().parse_timestamp(date).ok()
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

    fn header(&self, presented: &SecretString) -> Result<Option<HeaderValue>, ReviewFault> {
        let token = match self {
            Self::Bearer(token) => token,
            Self::Presented => presented,
            Self::Certificate => return Ok(None),
        };
        let text = Zeroizing::new(format!("Bearer {}", token.expose_secret()));
        let mut value =
            HeaderValue::from_str(&text).map_err(|error| ReviewFault::Request(error.into()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}
