//! GatewayService.

use postern_core::access_id::{AccessId, AccessType};
use postern_core::access_token::AccessKey;
use postern_core::auth_method::MAX_DESCRIPTION;
use postern_core::invalid::{Invalid, Violations};
use postern_core::meta::Stored;
use postern_core::resource_id::GatewayName;
use postern_proto::pb;
use postern_proto::pb::gateway_service_server::GatewayService;
use postern_rpc::error::Error;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::url;
use crate::context::Context;
use crate::identity::Administrator;
use crate::page::Paging;
use crate::store::Gateway;
use crate::{failure, meta};

pub(crate) struct Gateways(pub(crate) Context);

#[tonic::async_trait]
impl GatewayService for Gateways {
    async fn create_gateway(
        &self,
        request: Request<pb::CreateGatewayRequest>,
    ) -> Result<Response<pb::CreateGatewayResponse>, Status> {
        Ok(Response::new(self.create(request).await?))
    }

    async fn get_gateway(
        &self,
        request: Request<pb::GetGatewayRequest>,
    ) -> Result<Response<pb::GetGatewayResponse>, Status> {
        Ok(Response::new(self.get(request).await?))
    }

    async fn list_gateways(
        &self,
        request: Request<pb::ListGatewaysRequest>,
    ) -> Result<Response<pb::ListGatewaysResponse>, Status> {
        Ok(Response::new(self.list(request).await?))
    }

    async fn delete_gateway(
        &self,
        request: Request<pb::DeleteGatewayRequest>,
    ) -> Result<Response<pb::DeleteGatewayResponse>, Status> {
        Ok(Response::new(self.delete(request).await?))
    }
}

// === impl Gateways ===

impl Gateways {
    async fn create(
        &self,
        request: Request<pb::CreateGatewayRequest>,
    ) -> Result<pb::CreateGatewayResponse, Error> {
        let cause = Administrator::of(&request)?.cause(&request, self.0.now())?;
        let access_id =
            AccessId::generate(AccessType::AccessKey).map_err(failure::of_randomness)?;
        let gateway = parse(request.into_inner(), access_id)?;
        let key = AccessKey::generate().map_err(failure::of_randomness)?;
        let deployment = self.0.deployment()?;
        let created = self
            .0
            .store
            .create_gateway(&gateway, &key.hash(), &cause)
            .await;
        let stored = created.map_err(|e| failure::of_write(e, &gateway.name.full(), ""))?;
        Ok(pb::CreateGatewayResponse {
            gateway: Some(to_pb(&stored)),
            access_key: key.expose().to_owned(),
            deployment_id: deployment.to_string(),
        })
    }

    async fn get(
        &self,
        request: Request<pb::GetGatewayRequest>,
    ) -> Result<pb::GetGatewayResponse, Error> {
        Administrator::of(&request)?;
        let name = name(&request.into_inner().name)?;
        let stored = self.0.store.get_gateway(&name).await?;
        let stored = stored.ok_or_else(|| Error::not_found(name.full()))?;
        Ok(pb::GetGatewayResponse {
            gateway: Some(to_pb(&stored)),
        })
    }

    async fn list(
        &self,
        request: Request<pb::ListGatewaysRequest>,
    ) -> Result<pb::ListGatewaysResponse, Error> {
        Administrator::of(&request)?;
        let request = request.into_inner();
        let list = "gateways administrator".to_owned();
        let paging = Paging::parse(request.page_size, &request.page_token, list)?;
        let after: Option<GatewayName> = paging.after(|name| name.parse().ok())?;
        let page = self
            .0
            .store
            .list_gateways(after.as_ref(), paging.limit)
            .await?;
        let last = page.items.last().map(|last| last.value.name.to_string());
        Ok(pb::ListGatewaysResponse {
            gateways: page.items.iter().map(to_pb).collect(),
            next_page_token: paging.next(page.more, last),
        })
    }

    async fn delete(
        &self,
        request: Request<pb::DeleteGatewayRequest>,
    ) -> Result<pb::DeleteGatewayResponse, Error> {
        let cause = Administrator::of(&request)?.cause(&request, self.0.now())?;
        let request = request.into_inner();
        let mut faults = Violations::default();
        let name = faults.absorb(name(&request.name));
        let etag = faults.check("etag", request.etag.parse());
        let (Some(name), Some(etag)) = (name, etag) else {
            return Err(faults.into_invalid().into());
        };
        let deleted = self
            .0
            .store
            .delete_gateway(&name, etag, request.force, &cause)
            .await;
        deleted.map_err(|e| failure::of_write(e, &name.full(), &request.etag))?;
        Ok(pb::DeleteGatewayResponse {})
    }
}

fn parse(request: pb::CreateGatewayRequest, access_id: AccessId) -> Result<Gateway, Invalid> {
    let mut faults = Violations::default();
    let wire = request.gateway.unwrap_or_default();
    let name = faults.check("gateway_id", request.gateway_id.parse());
    let url = faults.check("gateway.url", url::parse(&wire.url));
    if wire.description.chars().count() > MAX_DESCRIPTION {
        faults.add(
            "gateway.description",
            format!("is longer than {MAX_DESCRIPTION} characters"),
        );
    }
    let (Some(name), Some(url)) = (name, url) else {
        return Err(faults.into_invalid());
    };
    faults.finish()?;
    Ok(Gateway {
        name,
        uid: Uuid::now_v7(),
        url,
        description: wire.description,
        access_id,
    })
}

fn name(text: &str) -> Result<GatewayName, Invalid> {
    GatewayName::of_full(text).map_err(|fault| Invalid::field("name", fault.to_string()))
}

fn to_pb(stored: &Stored<Gateway>) -> pb::Gateway {
    let gateway = &stored.value;
    pb::Gateway {
        name: gateway.name.full(),
        access_id: gateway.access_id.to_string(),
        meta: Some(meta::to_pb(gateway.uid, stored)),
        url: gateway.url.clone(),
        description: gateway.description.clone(),
    }
}
