//! Handlers that each misbehave in one way.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use pb::auth_method_service_server::{AuthMethodService, AuthMethodServiceServer};
use pb::gateway_sync_service_server::{GatewaySyncService, GatewaySyncServiceServer};
use pb::server_info_service_server::{ServerInfoService, ServerInfoServiceServer};
use postern_proto::pb;
use tokio::sync::Notify;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use super::Administrator;
use crate::error::Error;
use crate::request::RequestExt as _;

type Answer<T> = Result<Response<T>, Status>;

/// `listing` is told of each ListAuthMethods.
pub(super) fn routes(listing: Arc<Notify>) -> Routes {
    let handlers = Handlers { listing };
    Routes::new(ServerInfoServiceServer::new(handlers.clone()))
        .add_service(AuthMethodServiceServer::new(handlers.clone()))
        .add_service(GatewaySyncServiceServer::new(handlers))
}

#[derive(Clone)]
struct Handlers {
    listing: Arc<Notify>,
}

#[tonic::async_trait]
impl ServerInfoService for Handlers {
    /// Answers what it knows of its caller.
    async fn get_server_info(
        &self,
        request: Request<pb::GetServerInfoRequest>,
    ) -> Answer<pb::GetServerInfoResponse> {
        let caller = request.caller()?;
        let seconds = request.deadline()?.remaining().as_secs_f32().ceil();
        let ip = caller.ip.map(|ip| ip.to_string()).unwrap_or_default();
        Ok(Response::new(pb::GetServerInfoResponse {
            role: pb::ServerRole::ControlPlane.into(),
            gateway: caller.user_agent.unwrap_or_default(),
            version: format!("{ip} {seconds} {}", caller.request_id),
        }))
    }
}

#[tonic::async_trait]
impl AuthMethodService for Handlers {
    async fn create_auth_method(
        &self,
        _: Request<pb::CreateAuthMethodRequest>,
    ) -> Answer<pb::CreateAuthMethodResponse> {
        panic!("a panic's text");
    }

    /// Answers the method's path, by way of its identity.
    async fn get_auth_method(
        &self,
        request: Request<pb::GetAuthMethodRequest>,
    ) -> Answer<pb::GetAuthMethodResponse> {
        let Administrator(method) = request.identity()?;
        let auth_method = Some(pb::AuthMethod {
            name: method,
            ..Default::default()
        });
        Ok(Response::new(pb::GetAuthMethodResponse { auth_method }))
    }

    /// Never answers.
    async fn list_auth_methods(
        &self,
        _: Request<pb::ListAuthMethodsRequest>,
    ) -> Answer<pb::ListAuthMethodsResponse> {
        self.listing.notify_one();
        std::future::pending().await
    }

    async fn update_auth_method(
        &self,
        _: Request<pb::UpdateAuthMethodRequest>,
    ) -> Answer<pb::UpdateAuthMethodResponse> {
        Err(Error::internal("a cause that stays here").into())
    }

    async fn add_public_key(
        &self,
        _: Request<pb::AddPublicKeyRequest>,
    ) -> Answer<pb::AddPublicKeyResponse> {
        Err(Error::Unimplemented.into())
    }

    async fn remove_public_key(
        &self,
        _: Request<pb::RemovePublicKeyRequest>,
    ) -> Answer<pb::RemovePublicKeyResponse> {
        Err(Error::Unimplemented.into())
    }

    async fn rotate_access_key(
        &self,
        _: Request<pb::RotateAccessKeyRequest>,
    ) -> Answer<pb::RotateAccessKeyResponse> {
        Err(Error::Unimplemented.into())
    }

    async fn revoke_access_key(
        &self,
        _: Request<pb::RevokeAccessKeyRequest>,
    ) -> Answer<pb::RevokeAccessKeyResponse> {
        Err(Error::Unimplemented.into())
    }

    async fn rename_auth_method(
        &self,
        _: Request<pb::RenameAuthMethodRequest>,
    ) -> Answer<pb::RenameAuthMethodResponse> {
        Err(Error::Unimplemented.into())
    }

    async fn delete_auth_method(
        &self,
        request: Request<pb::DeleteAuthMethodRequest>,
    ) -> Answer<pb::DeleteAuthMethodResponse> {
        Err(Error::not_found(request.into_inner().name).into())
    }
}

#[tonic::async_trait]
impl GatewaySyncService for Handlers {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<pb::WatchResponse, Status>> + Send>>;

    /// One message, then an error when `instance` asks for it, else silence for ever.
    async fn watch(&self, request: Request<pb::WatchRequest>) -> Answer<Self::WatchStream> {
        let first = futures::stream::iter([Ok(pb::WatchResponse::default())]);
        let rest: Self::WatchStream = match request.into_inner().instance.as_str() {
            "fail" => Box::pin(futures::stream::iter([Err(Error::Unauthenticated.into())])),
            _ => Box::pin(futures::stream::pending()),
        };
        Ok(Response::new(Box::pin(futures::StreamExt::chain(
            first, rest,
        ))))
    }

    /// Answers the gateway that the connection's certificate speaks for.
    async fn get_revision(
        &self,
        request: Request<pb::GetRevisionRequest>,
    ) -> Answer<pb::GetRevisionResponse> {
        let certificate = request.caller()?.certificate;
        let gateway = certificate.as_ref().and_then(|it| it.gateway());
        Ok(Response::new(pb::GetRevisionResponse {
            revision: gateway.map(|it| it.to_string()).unwrap_or_default(),
        }))
    }

    async fn exchange_assertion(
        &self,
        _: Request<pb::ExchangeAssertionRequest>,
    ) -> Answer<pb::ExchangeAssertionResponse> {
        Err(Error::LoginRefused.into())
    }

    async fn batch_exchange_assertions(
        &self,
        _: Request<pb::BatchExchangeAssertionsRequest>,
    ) -> Answer<pb::BatchExchangeAssertionsResponse> {
        Err(Error::Unimplemented.into())
    }

    async fn authorize_administrator(
        &self,
        _: Request<pb::AuthorizeAdministratorRequest>,
    ) -> Answer<pb::AuthorizeAdministratorResponse> {
        Ok(Response::new(pb::AuthorizeAdministratorResponse::default()))
    }

    async fn report_events(
        &self,
        _: Request<pb::ReportEventsRequest>,
    ) -> Answer<pb::ReportEventsResponse> {
        Err(Error::Unimplemented.into())
    }

    async fn revoke_pods(
        &self,
        _: Request<pb::RevokePodsRequest>,
    ) -> Answer<pb::RevokePodsResponse> {
        Err(Error::Unimplemented.into())
    }

    async fn list_token_pods(
        &self,
        _: Request<pb::ListTokenPodsRequest>,
    ) -> Answer<pb::ListTokenPodsResponse> {
        Err(Error::Unimplemented.into())
    }

    async fn report_status(
        &self,
        _: Request<pb::ReportStatusRequest>,
    ) -> Answer<pb::ReportStatusResponse> {
        Err(Error::Unimplemented.into())
    }
}
