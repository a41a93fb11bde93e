//! `TokenService`, relayed: who has a token needs to reach nothing but this gateway.
//!
//! To the control plane go the question, the caller's token, the address that it came from and the
//! request ID. What doesn't look like one of our tokens goes nowhere: a pod's own may stand in its
//! place.

use std::sync::Arc;

use postern_core::access_token::AccessToken;
use postern_core::jwt::Unverified;
use postern_proto::pb;
use postern_proto::pb::token_service_server::{TokenService, TokenServiceServer};
use postern_rpc::caller::Caller;
use postern_rpc::deadline::Deadline;
use postern_rpc::error::Error;
use postern_rpc::http::introspection::{Introspector, Question};
use postern_rpc::request::RequestExt as _;
use tonic::{Request, Response, Status};

use crate::authorizer::Asker;
use crate::control_plane::{ControlPlane, OnBehalf};

/// The longest request, in bytes: a token of 16 KiB and addresses.
const MAX_REQUEST: usize = 32 * 1024;
/// Stands for what isn't sent on. It is no token either.
const NO_TOKEN: &str = "-";

pub(crate) struct Tokens {
    control_plane: Arc<ControlPlane>,
}

/// Questions that come over plain HTTP.
pub(crate) struct Introspection(Tokens);

/// A question that is passed on.
struct Relay {
    asker: OnBehalf,
    caller: Caller,
    deadline: Deadline,
}

/// Whether the text can be a token of ours, and so may leave. No cluster writes a token that can.
fn is_ours(text: &str) -> bool {
    let jwt = || Unverified::parse(text)?.accessor();
    text.parse::<AccessToken>().is_ok() || jwt().is_some()
}

/// Another's token as it is sent on. Empty: the caller's own.
fn sent_on(token: String, own: &str) -> String {
    if token.is_empty() || token == own {
        String::new()
    } else if is_ours(&token) {
        token
    } else {
        NO_TOKEN.to_owned()
    }
}

/// `token` is empty for the caller's own.
fn of_others_only(client_address: &str, token: &str) -> Result<(), Error> {
    if token.is_empty() && !client_address.is_empty() {
        return Err(Error::invalid(
            "client_address",
            "must be empty: a token that asks about itself is where its caller is",
        ));
    }
    Ok(())
}

// === impl Relay ===

impl Relay {
    /// `said` is what the caller says in the gateway's place.
    fn of<T>(request: &Request<T>, said: &str) -> Result<Self, Error> {
        if !said.is_empty() {
            let fault = "is for gateways to say; leave it empty";
            return Err(Error::invalid("caller_address", fault));
        }
        let Asker(asker) = Asker::of(request)?;
        Ok(Self {
            asker,
            caller: request.caller()?,
            deadline: request.deadline()?,
        })
    }

    fn own(&self) -> &str {
        self.asker.token.expose()
    }

    /// Whether the caller's own token may leave.
    fn is_ours(&self) -> bool {
        is_ours(self.own())
    }

    fn caller_address(&self) -> String {
        let ip = self.caller.ip.map(|ip| ip.to_string());
        ip.unwrap_or_default()
    }
}

// === impl Tokens ===

impl Tokens {
    pub(crate) fn service(control_plane: Arc<ControlPlane>) -> TokenServiceServer<Self> {
        TokenServiceServer::new(Self { control_plane }).max_decoding_message_size(MAX_REQUEST)
    }

    async fn inspect(
        &self,
        relay: Relay,
        token: String,
        client_address: String,
    ) -> Result<pb::IntrospectResponse, Error> {
        let token = sent_on(token, relay.own());
        of_others_only(&client_address, &token)?;
        if !relay.is_ours() {
            return match token.is_empty() {
                true => Ok(pb::IntrospectResponse::default()),
                false => Err(Error::Unauthenticated),
            };
        }
        let question = pb::IntrospectRequest {
            token,
            client_address,
            caller_address: relay.caller_address(),
        };
        let answer = self
            .control_plane
            .introspect(question, &relay.asker, relay.deadline)
            .await;
        answer.map_err(|failure| failure.relay())
    }

    async fn decide(
        &self,
        request: Request<pb::AuthorizeRequest>,
    ) -> Result<pb::AuthorizeResponse, Error> {
        let relay = Relay::of(&request, &request.get_ref().caller_address)?;
        let message = request.into_inner();
        let token = sent_on(message.token, relay.own());
        of_others_only(&message.client_address, &token)?;
        if !relay.is_ours() {
            return match token.is_empty() {
                true => Ok(pb::AuthorizeResponse::default()),
                false => Err(Error::Unauthenticated),
            };
        }
        let question = pb::AuthorizeRequest {
            token,
            client_address: message.client_address,
            caller_address: relay.caller_address(),
            path: message.path,
            capability: message.capability,
        };
        let answer = self
            .control_plane
            .authorize(question, &relay.asker, relay.deadline)
            .await;
        answer.map_err(|failure| failure.relay())
    }

    async fn end(&self, request: Request<pb::RevokeRequest>) -> Result<pb::RevokeResponse, Error> {
        let relay = Relay::of(&request, &request.get_ref().caller_address)?;
        let message = request.into_inner();
        let token = sent_on(message.token, relay.own());
        if !relay.is_ours() {
            return match token.is_empty() && message.accessor.is_empty() {
                true => Ok(pb::RevokeResponse {}),
                false => Err(Error::Unauthenticated),
            };
        }
        let question = pb::RevokeRequest {
            token,
            accessor: message.accessor,
            caller_address: relay.caller_address(),
        };
        let answer = self
            .control_plane
            .revoke(question, &relay.asker, relay.deadline)
            .await;
        answer.map_err(|failure| failure.relay())
    }

    async fn prolong(
        &self,
        request: Request<pb::TokenServiceRenewRequest>,
    ) -> Result<pb::TokenServiceRenewResponse, Error> {
        let relay = Relay::of(&request, &request.get_ref().caller_address)?;
        if !relay.is_ours() {
            return Err(Error::Unauthenticated);
        }
        let question = pb::TokenServiceRenewRequest {
            caller_address: relay.caller_address(),
        };
        let answer = self
            .control_plane
            .renew(question, &relay.asker, relay.deadline)
            .await;
        answer.map_err(|failure| failure.relay())
    }
}

// === impl Introspection ===

impl Introspection {
    pub(crate) fn new(control_plane: Arc<ControlPlane>) -> Self {
        Self(Tokens { control_plane })
    }
}

impl Introspector for Introspection {
    async fn introspect(&self, question: Question) -> Result<pb::IntrospectResponse, Error> {
        let relay = Relay {
            asker: OnBehalf {
                token: question.asker,
                request_id: question.caller.request_id,
            },
            caller: question.caller,
            deadline: question.deadline,
        };
        let token = question.token.expose().to_owned();
        self.0.inspect(relay, token, question.client_address).await
    }
}

#[tonic::async_trait]
impl TokenService for Tokens {
    async fn introspect(
        &self,
        request: Request<pb::IntrospectRequest>,
    ) -> Result<Response<pb::IntrospectResponse>, Status> {
        let relay = Relay::of(&request, &request.get_ref().caller_address)?;
        let message = request.into_inner();
        let answer = self.inspect(relay, message.token, message.client_address);
        Ok(Response::new(answer.await?))
    }

    async fn authorize(
        &self,
        request: Request<pb::AuthorizeRequest>,
    ) -> Result<Response<pb::AuthorizeResponse>, Status> {
        Ok(Response::new(self.decide(request).await?))
    }

    async fn revoke(
        &self,
        request: Request<pb::RevokeRequest>,
    ) -> Result<Response<pb::RevokeResponse>, Status> {
        Ok(Response::new(self.end(request).await?))
    }

    async fn renew(
        &self,
        request: Request<pb::TokenServiceRenewRequest>,
    ) -> Result<Response<pb::TokenServiceRenewResponse>, Status> {
        Ok(Response::new(self.prolong(request).await?))
    }
}
