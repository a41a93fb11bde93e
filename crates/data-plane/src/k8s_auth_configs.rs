//! `K8sAuthConfigService`: administrators write configs here; they are sealed and kept at the
//! control plane.

mod check;
mod names;
mod service;
mod update;

use std::sync::Arc;
use std::time::Duration;

use postern_core::clock::Clock;
use postern_core::invalid::{Invalid, Violations};
use postern_core::k8s_auth_config::{AllowedApiServers, K8sAuthConfig};
use postern_core::resource_id::{ConfigName, GatewayName, ResourceId};
use postern_proto::convert::k8s_auth_config::{self as convert, Accepted, Identity, OwnCluster};
use postern_proto::pb;
use postern_proto::pb::k8s_auth_config_service_server::K8sAuthConfigServiceServer;
use postern_rpc::deadline::Deadline;
use postern_rpc::error::{Error, Failure};
use uuid::Uuid;

use crate::authorizer::Administrator;
use crate::control_plane::ControlPlane;
use crate::health::Health;
use crate::sealing::Sealer;
use crate::snapshot::Snapshot;

/// The longest request, in bytes: a CA bundle, a key and a token, with room.
const MAX_REQUEST: usize = 512 * 1024;
/// How long a write waits until this replica uses it.
const IN_USE: Duration = Duration::from_secs(3);
/// How long the gateway's own API server may take to say which cluster it is.
const PINNING: Duration = Duration::from_secs(5);
const OWN: pb::ReviewerType = pb::ReviewerType::GatewayServiceAccount;

/// The operations.
pub(crate) struct K8sAuthConfigs {
    gateway: GatewayName,
    sealer: Arc<Sealer>,
    api_servers: Arc<AllowedApiServers>,
    own: Arc<crate::cluster::OwnCluster>,
    snapshot: Arc<Snapshot>,
    control_plane: Arc<ControlPlane>,
    health: Arc<Health>,
    clock: Clock,
}

/// What each operation knows about its call.
struct Context {
    administrator: Administrator,
    deadline: Deadline,
}

impl K8sAuthConfigs {
    pub(crate) fn new(
        sealer: Arc<Sealer>,
        api_servers: Arc<AllowedApiServers>,
        own: Arc<crate::cluster::OwnCluster>,
        snapshot: Arc<Snapshot>,
        control_plane: Arc<ControlPlane>,
        health: Arc<Health>,
        clock: Clock,
    ) -> Self {
        Self {
            gateway: sealer.gateway().clone(),
            sealer,
            api_servers,
            own,
            snapshot,
            control_plane,
            health,
            clock,
        }
    }

    /// The service, with its limits.
    pub(crate) fn service(self) -> K8sAuthConfigServiceServer<Self> {
        K8sAuthConfigServiceServer::new(self).max_decoding_message_size(MAX_REQUEST)
    }

    async fn create(
        &self,
        context: Context,
        request: pb::CreateK8sAuthConfigRequest,
    ) -> Result<pb::CreateK8sAuthConfigResponse, Error> {
        let asked = request.k8s_auth_config.as_ref();
        let own = asked.is_some_and(|config| config.reviewer() == OWN);
        let own = self.own_cluster(own, context.deadline).await;
        let Accepted { config, warnings } = self.new_config(&request, &own)?;
        let (id, uid) = (config.name.id.clone(), config.uid);
        let create = pb::CreateSealedK8sAuthConfigRequest {
            config: Some(self.sealer.seal(&config).map_err(Error::internal)?),
            validate_only: request.validate_only,
        };
        let Context {
            administrator,
            deadline,
        } = context;
        let created = self
            .control_plane
            .create_config(create, &administrator.0, deadline)
            .await;
        let created = created.map_err(Failure::relay)?.config;
        if !request.validate_only {
            self.snapshot
                .written(&id, uid, 1, deadline.within(IN_USE))
                .await;
        }
        Ok(pb::CreateK8sAuthConfigResponse {
            k8s_auth_config: Some(self.shown(created)?),
            warnings,
        })
    }

    /// Everything that is wrong at once.
    fn new_config(
        &self,
        request: &pb::CreateK8sAuthConfigRequest,
        own: &OwnCluster,
    ) -> Result<Accepted, Invalid> {
        let mut faults = Violations::default();
        faults.absorb(names::parent(&self.gateway, &request.parent));
        let id = faults.check("k8s_auth_config_id", request.k8s_auth_config_id.parse());
        // Stands in while the name is at fault, so that the rest is checked all the same.
        let id = id.or_else(|| "unnamed".parse::<ResourceId>().ok());
        let Some(id) = id else {
            return Err(faults.into_invalid());
        };
        let identity = Identity {
            name: ConfigName {
                gateway: self.gateway.clone(),
                id,
            },
            uid: Uuid::now_v7(),
            generation: 1,
        };
        let (no_fields, no_secrets) = Default::default();
        let wire = request.k8s_auth_config.as_ref().unwrap_or(&no_fields);
        let secrets = request.secrets.as_ref().unwrap_or(&no_secrets);
        let accepted = faults.absorb(convert::created(
            identity,
            wire,
            secrets,
            own,
            self.clock.now(),
        ));
        if let Some(accepted) = &accepted {
            faults.absorb(self.allowed(&accepted.config));
        }
        let Some(accepted) = accepted else {
            return Err(faults.into_invalid());
        };
        faults.finish()?;
        Ok(accepted)
    }

    async fn get(
        &self,
        context: Context,
        request: pb::GetK8sAuthConfigRequest,
    ) -> Result<pb::GetK8sAuthConfigResponse, Error> {
        let name = names::config(&self.gateway, &request.name, "name")?;
        let stored = self.stored(&context, &name).await?;
        Ok(pb::GetK8sAuthConfigResponse {
            k8s_auth_config: Some(self.shown(Some(stored))?),
        })
    }

    async fn list(
        &self,
        context: Context,
        request: pb::ListK8sAuthConfigsRequest,
    ) -> Result<pb::ListK8sAuthConfigsResponse, Error> {
        names::parent(&self.gateway, &request.parent)?;
        let list = pb::ListSealedK8sAuthConfigsRequest {
            parent: self.gateway.full(),
            page_size: request.page_size,
            page_token: request.page_token,
        };
        let Context {
            administrator,
            deadline,
        } = context;
        let page = self
            .control_plane
            .list_configs(list, &administrator.0, deadline)
            .await;
        let page = page.map_err(Failure::relay)?;
        let shown = page
            .configs
            .into_iter()
            .map(|config| self.shown(Some(config)));
        Ok(pb::ListK8sAuthConfigsResponse {
            k8s_auth_configs: shown.collect::<Result<_, _>>()?,
            next_page_token: page.next_page_token,
        })
    }

    async fn delete(
        &self,
        context: Context,
        request: pb::DeleteK8sAuthConfigRequest,
    ) -> Result<pb::DeleteK8sAuthConfigResponse, Error> {
        let name = names::config(&self.gateway, &request.name, "name")?;
        if request.etag.is_empty() {
            return Err(names::no_etag("etag").into());
        }
        let delete = pb::DeleteSealedK8sAuthConfigRequest {
            name: name.to_string(),
            etag: request.etag,
        };
        let Context {
            administrator,
            deadline,
        } = context;
        let deleted = self
            .control_plane
            .delete_config(delete, &administrator.0, deadline)
            .await;
        deleted.map_err(Failure::relay)?;
        self.snapshot
            .deleted(&name.id, deadline.within(IN_USE))
            .await;
        Ok(pb::DeleteK8sAuthConfigResponse {})
    }

    async fn stored(
        &self,
        context: &Context,
        name: &ConfigName,
    ) -> Result<pb::SealedK8sAuthConfig, Error> {
        let get = pb::GetSealedK8sAuthConfigRequest {
            name: name.to_string(),
        };
        let Context {
            administrator,
            deadline,
        } = context;
        let got = self
            .control_plane
            .get_config(get, &administrator.0, *deadline)
            .await;
        let missing = || Error::internal("the control plane answered without a config");
        got.map_err(Failure::relay)?.config.ok_or_else(missing)
    }

    /// The clear copy with what this replica observes.
    fn shown(&self, stored: Option<pb::SealedK8sAuthConfig>) -> Result<pb::K8sAuthConfig, Error> {
        let missing = || Error::internal("the control plane answered without a config");
        let mut view = stored.and_then(|stored| stored.view).ok_or_else(missing)?;
        let id = view.name.parse::<ConfigName>().map(|name| name.id);
        view.conditions = id
            .map(|id| self.snapshot.conditions(&id))
            .unwrap_or_default();
        let uid = view.meta.as_ref().and_then(|meta| meta.uid.parse().ok());
        let probed = uid.map(|uid| self.health.conditions(uid, view.generation));
        view.conditions.extend(probed.unwrap_or_default());
        Ok(view)
    }

    /// What a config of the gateway's own service account is pinned to.
    async fn own_cluster(&self, wanted: bool, deadline: Deadline) -> OwnCluster {
        if wanted {
            self.own.pin(deadline.within(PINNING)).await
        } else {
            Err("the gateway's own cluster wasn't asked for".to_owned())
        }
    }

    fn allowed(&self, config: &K8sAuthConfig) -> Result<(), Invalid> {
        let api_server = config.access.api_server();
        let Some(denied) = api_server.filter(|server| !self.api_servers.allows(server)) else {
            return Ok(());
        };
        Err(Invalid::field(
            "k8s_auth_config.k8s_host",
            format!(
                "{denied} isn't among the API servers that this gateway may talk to: add it to api_servers in the gateway's gateway.json and restart the gateway"
            ),
        ))
    }
}

#[cfg(test)]
mod tests;
