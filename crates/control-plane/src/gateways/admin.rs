//! GatewayService.

use postern_core::access_id::{AccessId, AccessType};
use postern_core::access_token::AccessKey;
use postern_core::auth_method::MAX_DESCRIPTION;
use postern_core::invalid::{Invalid, Violations};
use postern_core::resource_id::GatewayName;
use postern_proto::convert::gateway as convert;
use postern_proto::pb;
use postern_proto::pb::gateway_service_server::GatewayService;
use postern_rpc::error::Error;
use prost_types::FieldMask;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{shown, url};
use crate::context::{Context, intent};
use crate::identity::Administrator;
use crate::page::Paging;
use crate::store::{Etag, Gateway};
use crate::{failure, keys};

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

    async fn update_gateway(
        &self,
        request: Request<pb::UpdateGatewayRequest>,
    ) -> Result<Response<pb::UpdateGatewayResponse>, Status> {
        Ok(Response::new(self.update(request).await?))
    }

    async fn rotate_credential(
        &self,
        request: Request<pb::RotateCredentialRequest>,
    ) -> Result<Response<pb::RotateCredentialResponse>, Status> {
        Ok(Response::new(self.rotate(request).await?))
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
            gateway: Some(shown::one(&self.0, &stored).await?),
            access_key: key.expose().to_owned(),
            deployment_id: deployment.to_string(),
            warnings: shown::warnings(&self.0, &gateway).await?,
        })
    }

    async fn get(
        &self,
        request: Request<pb::GetGatewayRequest>,
    ) -> Result<pb::GetGatewayResponse, Error> {
        Administrator::of(&request)?;
        let name = name("name", &request.into_inner().name)?;
        let stored = self.0.store.get_gateway(&name).await?;
        let stored = stored.ok_or_else(|| Error::not_found(name.full()))?;
        Ok(pb::GetGatewayResponse {
            gateway: Some(shown::one(&self.0, &stored).await?),
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
            gateways: shown::all(&self.0, &page.items).await?,
            next_page_token: paging.next(page.more, last),
        })
    }

    async fn update(
        &self,
        request: Request<pb::UpdateGatewayRequest>,
    ) -> Result<pb::UpdateGatewayResponse, Error> {
        let cause = Administrator::of(&request)?.cause(&request, self.0.now())?;
        let request = request.into_inner();
        let intent = intent(request.validate_only);
        let (patch, mask) = (request.gateway.unwrap_or_default(), request.update_mask);
        let etag_text = patch.meta.as_ref().map_or("", |meta| &meta.etag);
        let mut faults = Violations::default();
        let name = faults.absorb(name("gateway.name", &patch.name));
        let etag = faults.check("gateway.meta.etag", etag_text.parse());
        let (Some(name), Some(etag)) = (name, etag) else {
            return Err(faults.into_invalid().into());
        };
        let edit = |current: &Gateway| updated(current, &patch, mask.as_ref());
        let store = &self.0.store;
        let updated = store
            .update_gateway(&name, etag, edit, intent, &cause)
            .await;
        let stored = updated.map_err(|e| failure::of_write(e, &name.full(), etag_text))?;
        Ok(pb::UpdateGatewayResponse {
            gateway: Some(shown::one(&self.0, &stored).await?),
            warnings: shown::warnings(&self.0, &stored.value).await?,
        })
    }

    async fn rotate(
        &self,
        request: Request<pb::RotateCredentialRequest>,
    ) -> Result<pb::RotateCredentialResponse, Error> {
        let cause = Administrator::of(&request)?.cause(&request, self.0.now())?;
        let request = request.into_inner();
        let key = AccessKey::generate().map_err(failure::of_randomness)?;
        let mut faults = Violations::default();
        let target = faults.absorb(target(&request.name, &request.etag));
        let new = keys::rotation(&mut faults, request.overlap, &key);
        let (Some((name, etag)), Some(new)) = (target, new) else {
            return Err(faults.into_invalid().into());
        };
        let intent = intent(request.validate_only);
        let store = &self.0.store;
        let rotated = store.rotate_gateway_key(&name, etag, &new, intent, &cause);
        let stored = rotated
            .await
            .map_err(|e| failure::of_write(e, &name.full(), &request.etag))?;
        Ok(pb::RotateCredentialResponse {
            gateway: Some(shown::one(&self.0, &stored).await?),
            access_key: keys::shown(&key, request.validate_only),
            deployment_id: self.0.deployment()?.to_string(),
        })
    }

    async fn delete(
        &self,
        request: Request<pb::DeleteGatewayRequest>,
    ) -> Result<pb::DeleteGatewayResponse, Error> {
        let cause = Administrator::of(&request)?.cause(&request, self.0.now())?;
        let request = request.into_inner();
        let (name, etag) = target(&request.name, &request.etag)?;
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
    let settings = faults.absorb(settings(&wire));
    match (name, settings) {
        (Some(name), Some(settings)) => Ok(Gateway {
            name,
            uid: Uuid::now_v7(),
            url: settings.url,
            description: settings.description,
            disabled: settings.disabled,
            access_id,
        }),
        _ => Err(faults.into_invalid()),
    }
}

/// What administrators set on a gateway.
struct Settings {
    url: String,
    description: String,
    disabled: bool,
}

fn settings(wire: &pb::Gateway) -> Result<Settings, Invalid> {
    let mut faults = Violations::default();
    let url = faults.check("gateway.url", url::parse(wire.url()));
    if wire.description().chars().count() > MAX_DESCRIPTION {
        faults.add(
            "gateway.description",
            format!("is longer than {MAX_DESCRIPTION} characters"),
        );
    }
    let Some(url) = url else {
        return Err(faults.into_invalid());
    };
    faults.finish()?;
    Ok(Settings {
        url,
        description: wire.description().to_owned(),
        disabled: wire.disabled(),
    })
}

/// The gateway after an update.
fn updated(
    current: &Gateway,
    patch: &pb::Gateway,
    mask: Option<&FieldMask>,
) -> Result<Gateway, Invalid> {
    let wire = pb::Gateway {
        url: Some(current.url.clone()),
        description: Some(current.description.clone()),
        disabled: Some(current.disabled),
        ..pb::Gateway::default()
    };
    let settings = settings(&convert::updated(&wire, patch, mask)?)?;
    Ok(Gateway {
        url: settings.url,
        description: settings.description,
        disabled: settings.disabled,
        ..current.clone()
    })
}

fn target(full: &str, etag: &str) -> Result<(GatewayName, Etag), Invalid> {
    let mut faults = Violations::default();
    let name = faults.absorb(name("name", full));
    match (name, faults.check("etag", etag.parse())) {
        (Some(name), Some(etag)) => Ok((name, etag)),
        _ => Err(faults.into_invalid()),
    }
}

fn name(field: &str, text: &str) -> Result<GatewayName, Invalid> {
    GatewayName::of_full(text).map_err(|fault| Invalid::field(field, fault.to_string()))
}
