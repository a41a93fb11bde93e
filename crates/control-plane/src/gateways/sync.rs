//! GatewaySyncService: what gateways themselves ask for.

mod exchange;
mod key_notes;
mod pods;
mod reported;
mod status;

pub(crate) use key_notes::KeyNotes;

use postern_core::ip;
use postern_proto::pb;
use postern_proto::pb::gateway_sync_service_server::GatewaySyncService;
use postern_proto::permissions::{self, Need};
use postern_rpc::error::Error;
use postern_rpc::request::RequestExt as _;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::feed;
use crate::context::Context;
use crate::identity::{CallingGateway, OnBehalf};

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

    async fn batch_exchange_assertions(
        &self,
        request: Request<pb::BatchExchangeAssertionsRequest>,
    ) -> Result<Response<pb::BatchExchangeAssertionsResponse>, Status> {
        Ok(Response::new(self.exchange_all(request).await?))
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

/// Both credentials were checked on the way here; what is left is whether the method is one
/// that narrowed administrators may call, and from where this one does.
fn authorize(
    request: &Request<pb::AuthorizeAdministratorRequest>,
) -> Result<pb::AuthorizeAdministratorResponse, Error> {
    let OnBehalf {
        administrator,
        bound_ips,
        ..
    } = OnBehalf::of(request)?;
    let message = request.get_ref();
    if !ip::allowed(&bound_ips, message.caller_address.parse().ok()) {
        return Err(Error::permission_denied(
            "this token isn't good from the caller's address",
        ));
    }
    match permissions::need(&message.method) {
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
