//! SealedK8sAuthConfigService.
//!
//! Whoever calls, it is a gateway's config: a gateway writes and reads its own for an
//! administrator, an administrator alone reads and deletes any, without the box.

mod caller;
mod faults;

use postern_core::invalid::{Invalid, Violations};
use postern_core::meta::Stored;
use postern_core::resource_id::{ConfigName, GatewayName};
use postern_core::sealed_config::SealedConfig;
use postern_proto::convert::sealed_config as convert;
use postern_proto::pb;
use postern_proto::pb::sealed_k8s_auth_config_service_server::SealedK8sAuthConfigService;
use postern_rpc::error::Error;
use tonic::{Request, Response, Status};

use crate::context::{Context, intent};
use crate::identity::OnBehalf;
use crate::page::Paging;
use crate::store::Etag;
use crate::{failure, meta};
use caller::ConfigCaller;

pub(crate) struct SealedConfigs(pub(crate) Context);

#[tonic::async_trait]
impl SealedK8sAuthConfigService for SealedConfigs {
    async fn create_sealed_k8s_auth_config(
        &self,
        request: Request<pb::CreateSealedK8sAuthConfigRequest>,
    ) -> Result<Response<pb::CreateSealedK8sAuthConfigResponse>, Status> {
        Ok(Response::new(self.create(request).await?))
    }

    async fn get_sealed_k8s_auth_config(
        &self,
        request: Request<pb::GetSealedK8sAuthConfigRequest>,
    ) -> Result<Response<pb::GetSealedK8sAuthConfigResponse>, Status> {
        Ok(Response::new(self.get(request).await?))
    }

    async fn list_sealed_k8s_auth_configs(
        &self,
        request: Request<pb::ListSealedK8sAuthConfigsRequest>,
    ) -> Result<Response<pb::ListSealedK8sAuthConfigsResponse>, Status> {
        Ok(Response::new(self.list(request).await?))
    }

    async fn update_sealed_k8s_auth_config(
        &self,
        request: Request<pb::UpdateSealedK8sAuthConfigRequest>,
    ) -> Result<Response<pb::UpdateSealedK8sAuthConfigResponse>, Status> {
        Ok(Response::new(self.update(request).await?))
    }

    async fn delete_sealed_k8s_auth_config(
        &self,
        request: Request<pb::DeleteSealedK8sAuthConfigRequest>,
    ) -> Result<Response<pb::DeleteSealedK8sAuthConfigResponse>, Status> {
        Ok(Response::new(self.delete(request).await?))
    }
}

// === impl SealedConfigs ===

impl SealedConfigs {
    async fn create(
        &self,
        request: Request<pb::CreateSealedK8sAuthConfigRequest>,
    ) -> Result<pb::CreateSealedK8sAuthConfigResponse, Error> {
        let caller = OnBehalf::of(&request)?;
        let cause = caller.cause(&request, self.0.now())?;
        let request = request.into_inner();
        let config = parse(request.config)?;
        caller::own(&caller.gateway, &config.view.name)?;
        let intent = intent(request.validate_only);
        let created = self.0.store.create_config(&config, intent, &cause).await;
        let stored = created.map_err(|e| faults::of_create(e, &config.view))?;
        Ok(pb::CreateSealedK8sAuthConfigResponse {
            config: Some(to_pb(stored, true)),
        })
    }

    async fn get(
        &self,
        request: Request<pb::GetSealedK8sAuthConfigRequest>,
    ) -> Result<pb::GetSealedK8sAuthConfigResponse, Error> {
        let caller = ConfigCaller::of(&request)?;
        let name = name(&request.into_inner().name)?;
        caller.may_see(&name)?;
        let stored = self.0.store.get_config(&name).await?;
        let stored = stored.ok_or_else(|| Error::not_found(name.to_string()))?;
        Ok(pb::GetSealedK8sAuthConfigResponse {
            config: Some(to_pb(stored, caller.gets_the_box())),
        })
    }

    async fn list(
        &self,
        request: Request<pb::ListSealedK8sAuthConfigsRequest>,
    ) -> Result<pb::ListSealedK8sAuthConfigsResponse, Error> {
        let caller = ConfigCaller::of(&request)?;
        let request = request.into_inner();
        let gateway = parent(&request.parent)?;
        caller.may_list(gateway.as_ref())?;
        let list = format!("{}/k8sAuthConfigs {}", request.parent, caller.kind());
        let paging = Paging::parse(request.page_size, &request.page_token, list)?;
        let after: Option<ConfigName> = paging.after(|name| name.parse().ok())?;
        let listed = self
            .0
            .store
            .list_configs(gateway.as_ref(), after.as_ref(), paging.limit);
        let page = listed.await?;
        let last = page
            .items
            .last()
            .map(|last| last.value.view.name.to_string());
        let with_box = caller.gets_the_box();
        Ok(pb::ListSealedK8sAuthConfigsResponse {
            configs: page
                .items
                .into_iter()
                .map(|item| to_pb(item, with_box))
                .collect(),
            next_page_token: paging.next(page.more, last),
        })
    }

    async fn update(
        &self,
        request: Request<pb::UpdateSealedK8sAuthConfigRequest>,
    ) -> Result<pb::UpdateSealedK8sAuthConfigResponse, Error> {
        let caller = OnBehalf::of(&request)?;
        let cause = caller.cause(&request, self.0.now())?;
        let request = request.into_inner();
        let sent = etag_of(request.config.as_ref());
        let etag = etag("k8s_auth_config.meta.etag", &sent)?;
        let config = parse(request.config)?;
        caller::own(&caller.gateway, &config.view.name)?;
        let intent = intent(request.validate_only);
        let updated = self
            .0
            .store
            .update_config(&config, etag, intent, &cause)
            .await;
        let stored = updated.map_err(|e| faults::of_update(e, &config.view, &sent))?;
        Ok(pb::UpdateSealedK8sAuthConfigResponse {
            config: Some(to_pb(stored, true)),
        })
    }

    async fn delete(
        &self,
        request: Request<pb::DeleteSealedK8sAuthConfigRequest>,
    ) -> Result<pb::DeleteSealedK8sAuthConfigResponse, Error> {
        let caller = ConfigCaller::of(&request)?;
        let cause = caller.cause(&request, self.0.now())?;
        let request = request.into_inner();
        let mut faults = Violations::default();
        let name = faults.absorb(name(&request.name));
        let (Some(name), Some(etag)) = (name, faults.absorb(etag("etag", &request.etag))) else {
            return Err(faults.into_invalid().into());
        };
        caller.may_see(&name)?;
        let deleted = self.0.store.delete_config(&name, etag, &cause).await;
        deleted.map_err(|e| failure::of_write(e, &name.to_string(), &request.etag))?;
        Ok(pb::DeleteSealedK8sAuthConfigResponse {})
    }
}

fn parse(config: Option<pb::SealedK8sAuthConfig>) -> Result<SealedConfig, Invalid> {
    let config = config.ok_or_else(|| Invalid::field("config", "is missing"))?;
    convert::from_pb(&config).map_err(|invalid| faults::as_relayed(&invalid))
}

fn name(text: &str) -> Result<ConfigName, Invalid> {
    text.parse()
        .map_err(|fault| Invalid::field("name", format!("{fault}")))
}

/// `None`: of all gateways.
fn parent(text: &str) -> Result<Option<GatewayName>, Invalid> {
    if text == "gateways/-" {
        return Ok(None);
    }
    GatewayName::of_full(text)
        .map(Some)
        .map_err(|fault| Invalid::field("parent", fault.to_string()))
}

fn etag(field: &str, text: &str) -> Result<Etag, Invalid> {
    text.parse()
        .map_err(|fault| Invalid::field(field, format!("{fault}")))
}

fn etag_of(config: Option<&pb::SealedK8sAuthConfig>) -> String {
    let view = config.and_then(|config| config.view.as_ref());
    let meta = view.and_then(|view| view.meta.as_ref());
    meta.map(|meta| meta.etag.clone()).unwrap_or_default()
}

pub(crate) fn to_pb(stored: Stored<SealedConfig>, with_box: bool) -> pb::SealedK8sAuthConfig {
    let view = &stored.value.view;
    pb::SealedK8sAuthConfig {
        view: Some(pb::K8sAuthConfig {
            meta: Some(meta::to_pb(view.uid, &stored)),
            ..convert::view_to_pb(view)
        }),
        sealed: if with_box {
            stored.value.sealed
        } else {
            Vec::new()
        },
    }
}
