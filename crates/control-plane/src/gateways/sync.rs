//! GatewaySyncService: what gateways themselves ask for.

mod key_notes;
mod pods;
mod reported;
mod status;

pub(crate) use key_notes::KeyNotes;

use postern_core::access_id::AccessId;
use postern_core::access_token::Accessor;
use postern_core::assertion;
use postern_core::invalid::Violations;
use postern_core::reason::DenyReason;
use postern_core::subject::SubjectLimit;
use postern_proto::convert::auth_method::token_format_to_pb;
use postern_proto::convert::{audit, time};
use postern_proto::pb;
use postern_proto::pb::gateway_sync_service_server::GatewaySyncService;
use postern_proto::permissions::{self, Need};
use postern_rpc::error::Error;
use postern_rpc::metrics::Scope;
use postern_rpc::request::RequestExt as _;
use postern_rpc::request_id::RequestId;
use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::feed;
use crate::context::Context;
use crate::failure;
use crate::identity::{CallingGateway, OnBehalf};
use crate::jwts;
use crate::metrics::Login;
use crate::store::{Exchange, Exchanged, Granted, Limited};

pub(crate) struct GatewaySync {
    pub(crate) context: Context,
    /// Which keys' use needn't be noted yet.
    pub(crate) key_uses: KeyNotes,
    /// Ends the streams.
    pub(crate) shutdown: CancellationToken,
}

#[tonic::async_trait]
impl GatewaySyncService for GatewaySync {
    type WatchStream = feed::Stream;

    async fn watch(
        &self,
        request: Request<pb::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let gateway = CallingGateway::of(&request)?;
        let caller = request.caller()?;
        // Revisions are opaque to gateways: one that isn't ours needs a snapshot.
        let resume = request.into_inner().resume_revision.parse().ok();
        let context = self.context.clone();
        let stream = feed::stream(context, gateway, caller, resume, self.shutdown.clone())?;
        Ok(Response::new(stream))
    }

    async fn get_revision(
        &self,
        request: Request<pb::GetRevisionRequest>,
    ) -> Result<Response<pb::GetRevisionResponse>, Status> {
        Ok(Response::new(self.revision(&request).await?))
    }

    async fn exchange_assertion(
        &self,
        request: Request<pb::ExchangeAssertionRequest>,
    ) -> Result<Response<pb::ExchangeAssertionResponse>, Status> {
        Ok(Response::new(self.exchange(request).await?))
    }

    async fn authorize_administrator(
        &self,
        request: Request<pb::AuthorizeAdministratorRequest>,
    ) -> Result<Response<pb::AuthorizeAdministratorResponse>, Status> {
        Ok(Response::new(authorize(&request)?))
    }

    async fn report_events(
        &self,
        request: Request<pb::ReportEventsRequest>,
    ) -> Result<Response<pb::ReportEventsResponse>, Status> {
        Ok(Response::new(self.report(request).await?))
    }

    async fn revoke_pods(
        &self,
        request: Request<pb::RevokePodsRequest>,
    ) -> Result<Response<pb::RevokePodsResponse>, Status> {
        Ok(Response::new(self.revoke(request).await?))
    }

    async fn list_token_pods(
        &self,
        request: Request<pb::ListTokenPodsRequest>,
    ) -> Result<Response<pb::ListTokenPodsResponse>, Status> {
        Ok(Response::new(self.token_pods(request).await?))
    }

    async fn report_status(
        &self,
        request: Request<pb::ReportStatusRequest>,
    ) -> Result<Response<pb::ReportStatusResponse>, Status> {
        Ok(Response::new(self.status(request).await?))
    }
}

// === impl GatewaySync ===

impl GatewaySync {
    async fn revision(
        &self,
        request: &Request<pb::GetRevisionRequest>,
    ) -> Result<pb::GetRevisionResponse, Error> {
        CallingGateway::of(request)?;
        let revision = self.context.store.current_revision().await?;
        Ok(pb::GetRevisionResponse {
            revision: revision.to_string(),
        })
    }

    async fn exchange(
        &self,
        request: Request<pb::ExchangeAssertionRequest>,
    ) -> Result<pb::ExchangeAssertionResponse, Error> {
        let exchange = self.presented(request).await?;
        let exchanged = self.context.store.exchange(&exchange).await?;
        let (login, granted) = match &exchanged {
            Exchanged::Granted(Granted { renewed: true, .. }) => (Login::Renewal, true),
            Exchanged::Granted(_) => (Login::Assertion, true),
            Exchanged::Refused(_) | Exchanged::Limited(_) => (Login::Assertion, false),
        };
        self.context.metrics.asked_for_token(login, granted);
        match exchanged {
            Exchanged::Granted(granted) => {
                self.note_key_use(&exchange).await;
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
        request: Request<pb::ExchangeAssertionRequest>,
    ) -> Result<Exchange, Error> {
        let gateway = CallingGateway::of(&request)?;
        let gateway_ip = request.caller()?.ip;
        let request = request.into_inner();
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
            gateway: gateway.identity,
            gateway_ip,
            deployment: self.context.deployment()?,
            token_audiences: request.token_audiences,
            renewed_jwt,
            accessor: Accessor::generate().map_err(failure::of_randomness)?,
            request_id: request_id.to_string(),
            now,
            limits: self.context.limits,
        })
    }

    async fn report(
        &self,
        request: Request<pb::ReportEventsRequest>,
    ) -> Result<pb::ReportEventsResponse, Error> {
        let gateway = CallingGateway::of(&request)?;
        let events = reported::events(&gateway.identity.name, &request.into_inner())?;
        self.context.store.report_events(&events).await?;
        Ok(pb::ReportEventsResponse {})
    }

    async fn status(
        &self,
        request: Request<pb::ReportStatusRequest>,
    ) -> Result<pb::ReportStatusResponse, Error> {
        let gateway = CallingGateway::of(&request)?;
        let address = request.caller()?.ip;
        let instance = status::instance(&request.into_inner(), address, self.context.now())?;
        let store = &self.context.store;
        store.report_instance(&gateway.identity, &instance).await?;
        Ok(pb::ReportStatusResponse {})
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

/// Both credentials were checked on the way here; what is left is whether the method is one
/// that narrowed administrators may call.
fn authorize(
    request: &Request<pb::AuthorizeAdministratorRequest>,
) -> Result<pb::AuthorizeAdministratorResponse, Error> {
    let administrator = OnBehalf::of(request)?.administrator;
    match permissions::need(&request.get_ref().method) {
        Some(Need::Narrowed(permission)) => {
            administrator.needs(permission)?;
            Ok(pb::AuthorizeAdministratorResponse {
                access_id: administrator.access_id.to_string(),
                accessor: administrator.accessor.to_string(),
            })
        }
        Some(_) => Err(Error::permission_denied(
            "administrators don't call this method at a gateway",
        )),
        None => Err(Error::invalid("method", "is no method of this API")),
    }
}
