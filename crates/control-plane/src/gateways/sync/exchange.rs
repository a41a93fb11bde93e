//! Assertions for tokens.

use std::net::IpAddr;

use postern_core::access_id::AccessId;
use postern_core::access_token::Accessor;
use postern_core::assertion;
use postern_core::invalid::Violations;
use postern_core::reason::DenyReason;
use postern_core::subject::SubjectLimit;
use postern_proto::convert::auth_method::token_format_to_pb;
use postern_proto::convert::{audit, time};
use postern_proto::pb;
use postern_proto::pb::exchange_outcome::Outcome;
use postern_rpc::error::Error;
use postern_rpc::metrics::Scope;
use postern_rpc::request::RequestExt as _;
use postern_rpc::request_id::RequestId;
use secrecy::ExposeSecret as _;
use tonic::{Request, Status};

use super::GatewaySync;
use crate::context::Context;
use crate::failure;
use crate::identity::CallingGateway;
use crate::jwts;
use crate::metrics::Login;
use crate::store::{Exchange, Exchanged, GatewayIdentity, Granted, Limited};

/// As many as the store takes in one transaction.
const MAX_BATCH: usize = 32;

/// Who exchanges.
struct Gateway {
    identity: GatewayIdentity,
    ip: Option<IpAddr>,
}

impl Gateway {
    fn of<T>(request: &Request<T>) -> Result<Self, Error> {
        Ok(Self {
            identity: CallingGateway::of(request)?.identity,
            ip: request.caller()?.ip,
        })
    }
}

impl GatewaySync {
    pub(super) async fn exchange(
        &self,
        request: Request<pb::ExchangeAssertionRequest>,
    ) -> Result<pb::ExchangeAssertionResponse, Error> {
        let gateway = Gateway::of(&request)?;
        let exchange = self.presented(&gateway, request.into_inner()).await?;
        let exchanged = self.context.store.exchange(&exchange).await?;
        self.answer(&exchange, exchanged).await
    }

    pub(super) async fn exchange_all(
        &self,
        request: Request<pb::BatchExchangeAssertionsRequest>,
    ) -> Result<pb::BatchExchangeAssertionsResponse, Error> {
        let gateway = Gateway::of(&request)?;
        let requests = request.into_inner().requests;
        if !(1..=MAX_BATCH).contains(&requests.len()) {
            let fault = format!("must have 1 to {MAX_BATCH} entries");
            return Err(Error::invalid("requests", fault));
        }
        let mut presented = Vec::with_capacity(requests.len());
        for request in requests {
            presented.push(self.presented(&gateway, request).await);
        }
        let exchanges = presented.iter().flatten().cloned().collect();
        let exchanged = self.context.store.exchange_all(exchanges).await?;
        let mut exchanged = exchanged.into_iter();
        let mut outcomes = Vec::with_capacity(presented.len());
        for presented in presented {
            let answer = match presented {
                Err(error) => Err(error),
                Ok(exchange) => match exchanged.next() {
                    Some(Ok(exchanged)) => self.answer(&exchange, exchanged).await,
                    Some(Err(error)) => Err(error.into()),
                    None => Err(Error::internal("an exchange without an answer")),
                },
            };
            outcomes.push(match answer {
                // Of the gateway, and so of all.
                Err(Error::Unauthenticated) => return Err(Error::Unauthenticated),
                answer => outcome(answer),
            });
        }
        Ok(pb::BatchExchangeAssertionsResponse { outcomes })
    }

    async fn answer(
        &self,
        exchange: &Exchange,
        exchanged: Exchanged,
    ) -> Result<pb::ExchangeAssertionResponse, Error> {
        let (login, granted) = match &exchanged {
            Exchanged::Granted(Granted { renewed: true, .. }) => (Login::Renewal, true),
            Exchanged::Granted(_) => (Login::Assertion, true),
            Exchanged::Refused(_) | Exchanged::Limited(_) => (Login::Assertion, false),
        };
        self.context.metrics.asked_for_token(login, granted);
        match exchanged {
            Exchanged::Granted(granted) => {
                self.note_key_use(exchange).await;
                response(&self.context, &granted, exchange.now)
            }
            // Clocks that differ are the servers' own fault, and no word about the pod.
            Exchanged::Refused(DenyReason::AssertionStale) => Err(Error::permission_denied(
                "the assertion isn't of this time: the gateway's clock and the control plane's differ by more than 60 seconds",
            )),
            // The gateway's own affair, and no word about the pod either.
            Exchanged::Refused(DenyReason::GatewayDisabled) => Err(Error::Unauthenticated),
            Exchanged::Refused(_) => Err(Error::LoginRefused),
            Exchanged::Limited(limited) => Err(self.limited(limited)),
        }
    }

    /// The gateway records it, as it does what comes in floods: by peer.
    fn limited(&self, limited: Limited) -> Error {
        let Limited { limit, retry_after } = limited;
        self.context.metrics.limited.count(match limit {
            SubjectLimit::Logins => Scope::SubjectLogins,
            SubjectLimit::Tokens => Scope::SubjectTokens,
        });
        Error::SubjectLimited { limit, retry_after }
    }

    /// Shows administrators whether a key is still needed. Once a minute a login waits for it, and
    /// none fails over it.
    async fn note_key_use(&self, exchange: &Exchange) {
        let Some(key_id) = assertion::key_id(&exchange.assertion) else {
            return;
        };
        if !self.key_uses.due(&key_id, exchange.now) {
            return;
        }
        let store = &self.context.store;
        let noted = store.key_used(&exchange.access_id, &key_id, exchange.now);
        if let Err(error) = noted.await {
            tracing::warn!(%error, "couldn't note that a key was used");
        }
    }

    async fn presented(
        &self,
        gateway: &Gateway,
        request: pb::ExchangeAssertionRequest,
    ) -> Result<Exchange, Error> {
        let mut faults = Violations::default();
        let access_id: Option<AccessId> = faults.check("access_id", request.access_id.parse());
        let request_id = RequestId::parse(&request.request_id)
            .ok_or("must be the request ID that the login's caller got");
        let request_id = faults.check("request_id", request_id);
        let (Some(access_id), Some(request_id)) = (access_id, request_id) else {
            return Err(faults.into_invalid().into());
        };
        let (store, now) = (&self.context.store, self.context.now());
        let renewed_jwt = match request.renewed_jwt.as_str() {
            "" => None,
            text => jwts::known_by(store, text, now).await?,
        };
        Ok(Exchange {
            access_id,
            assertion: request.assertion,
            gateway: gateway.identity.clone(),
            gateway_ip: gateway.ip,
            deployment: self.context.deployment()?,
            token_audiences: request.token_audiences,
            renewed_jwt,
            accessor: Accessor::generate().map_err(failure::of_randomness)?,
            request_id: request_id.to_string(),
            now,
            limits: self.context.limits,
            maxima: self.context.token_maxima,
            signs: self.context.signs.clone(),
        })
    }
}

fn response(
    context: &Context,
    granted: &Granted,
    now: jiff::Timestamp,
) -> Result<pb::ExchangeAssertionResponse, Error> {
    let jwt = granted.jwt.as_deref();
    let access_token = jwt.map(|jwt| jwts::sign(context, jwt)).transpose()?;
    Ok(pb::ExchangeAssertionResponse {
        accessor: granted.accessor.to_string(),
        expire_time: Some(time::timestamp(granted.expire_time)),
        expires_in: Some(time::duration(granted.expire_time.duration_since(now))),
        sub_claims: audit::sub_claims(&granted.sub_claims),
        token_format: token_format_to_pb(jwt.is_some()).into(),
        access_token: access_token.map_or_else(String::new, |jwt| jwt.expose_secret().to_owned()),
    })
}

fn outcome(answer: Result<pb::ExchangeAssertionResponse, Error>) -> pb::ExchangeOutcome {
    let outcome = match answer {
        Ok(response) => Outcome::Response(response),
        Err(error) => {
            let status = Status::from(error);
            Outcome::Failure(pb::ExchangeFailure {
                code: status.code().into(),
                message: status.message().to_owned(),
                details: status.details().to_vec(),
            })
        }
    };
    pb::ExchangeOutcome {
        outcome: Some(outcome),
    }
}
