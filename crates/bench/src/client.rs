//! Who asks in a closed loop, and for what.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, bail};
use http::Method;
use postern_proto::pb;
use postern_proto::pb::auth_service_client::AuthServiceClient;
use postern_proto::pb::gateway_sync_service_client::GatewaySyncServiceClient;
use postern_proto::pb::token_service_client::TokenServiceClient;
use postern_rpc::caller::BearerToken;
use postern_rpc::client::Credentials as _;
use tonic::Request;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use crate::assertions::Assertions;
use crate::http2::Connection;
use crate::kubernetes::review_of;
use crate::tokens::Tokens;

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

/// One client. It asks, waits for the answer, and asks again.
pub(crate) enum Client {
    /// R: a TokenReview, over a connection that all of them share as a gateway's requests do.
    Review(Connection, Arc<Tokens>),
    /// A login, over a connection of its own.
    Login(AuthServiceClient<Channel>, Arc<Logins>),
    /// G: the same messages, and nothing done for them.
    Echo(AuthServiceClient<Channel>, Arc<pb::AuthenticateRequest>),
    /// What a login asks of the control plane, without the review.
    Exchange(GatewaySyncServiceClient<Channel>, Arc<Assertions>),
    /// A token that asks about itself.
    Introspect(TokenServiceClient<Channel>, Arc<LiveTokens>),
}

/// Those that the database was filled with, any of them.
pub(crate) struct LiveTokens {
    count: u64,
    asked: AtomicU64,
}

/// What logins name.
pub(crate) struct Logins {
    pub(crate) access_id: String,
    pub(crate) config: String,
    pub(crate) tokens: Arc<Tokens>,
}

/// What became of one call.
pub(crate) enum Called {
    Answered,
    /// No token is left that nobody remembers.
    Dry,
}

impl Client {
    pub(crate) async fn call(&mut self) -> Result<Called> {
        match self {
            Self::Review(connection, tokens) => {
                let Some(token) = tokens.take() else {
                    return Ok(Called::Dry);
                };
                let body = review_of(&token);
                let (status, answer) = connection.send(Method::POST, REVIEWS, body).await?;
                let answer: serde_json::Value = serde_json::from_slice(&answer)?;
                if answer["status"]["authenticated"] != true {
                    bail!("a review wasn't answered by yes but by {status}");
                }
            }
            Self::Login(client, logins) => {
                let Some(message) = logins.message() else {
                    return Ok(Called::Dry);
                };
                let answer = client.authenticate(message).await?.into_inner();
                if answer.access_token.is_empty() {
                    bail!("a login's answer has no access token");
                }
            }
            Self::Echo(client, message) => {
                client.authenticate(message.as_ref().clone()).await?;
            }
            Self::Exchange(client, assertions) => {
                let request = Request::new(assertions.next()?).with_bearer(assertions.bearer());
                client.exchange_assertion(request).await?;
            }
            Self::Introspect(client, tokens) => {
                let request = pb::IntrospectRequest::default();
                let request = Request::new(request).with_bearer(&tokens.any());
                let answer = client.introspect(request).await?.into_inner();
                if !answer.active {
                    bail!("a live token isn't active");
                }
            }
        }
        Ok(Called::Answered)
    }
}

impl LiveTokens {
    pub(crate) fn new(count: u64) -> Self {
        Self {
            count,
            asked: AtomicU64::new(0),
        }
    }

    fn any(&self) -> BearerToken {
        // Far from the one before, so that no page of the table is asked for twice in a row.
        let step = self.asked.fetch_add(1, Ordering::Relaxed);
        let i = step.wrapping_mul(0x9e37_79b9_7f4a_7c15) % self.count + 1;
        BearerToken::new(format!("t-{i:043}"))
    }
}

impl Logins {
    /// `None` when no token is left.
    pub(crate) fn message(&self) -> Option<pb::AuthenticateRequest> {
        let token = self.tokens.take()?.as_ref().to_owned();
        Some(pb::AuthenticateRequest {
            token_audiences: Vec::new(),
            access_id: self.access_id.clone(),
            k8s_auth_config: self.config.clone(),
            credential: Some(pb::authenticate_request::Credential::ServiceAccountToken(
                token,
            )),
        })
    }
}

/// A new connection.
pub(crate) async fn channel(url: &str, ca_pem: &str) -> Result<Channel> {
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca_pem));
    let endpoint = Endpoint::from_shared(url.to_owned())?.tls_config(tls)?;
    Ok(endpoint.tcp_nodelay(true).connect().await?)
}
