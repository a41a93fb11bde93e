//! Update: open what is stored, change it, seal it again.

use postern_core::invalid::{Invalid, Violations};
use postern_core::k8s_auth_config::{ClusterAccess, K8sAuthConfig};
use postern_core::resource_id::ConfigName;
use postern_proto::convert::k8s_auth_config::{self as convert, Accepted, OwnCluster};
use postern_proto::pb;
use postern_rpc::error::{Blocker, Error, Failure, Precondition};

use super::{Context, IN_USE, K8sAuthConfigs, OWN, names};
use crate::sealing::Broken;
use crate::snapshot::not_rolled_back;

/// Overwrites whatever is there.
const ANY: &str = "*";
/// How often an overwriting update begins anew because somebody else was faster.
const MAX_TRIES: usize = 5;

impl K8sAuthConfigs {
    pub(super) async fn update(
        &self,
        context: Context,
        request: pb::UpdateK8sAuthConfigRequest,
    ) -> Result<pb::UpdateK8sAuthConfigResponse, Error> {
        let (name, etag) = self.target(&request)?;
        let mut tries = 1;
        loop {
            match Box::pin(self.update_once(&context, &request, &name, &etag)).await {
                // `"*"` gives way to nobody, and loses nobody's write: it is applied to that.
                Err(Error::Aborted { .. }) if etag == ANY && tries < MAX_TRIES => tries += 1,
                result => return result,
            }
        }
    }

    fn target(
        &self,
        request: &pb::UpdateK8sAuthConfigRequest,
    ) -> Result<(ConfigName, String), Invalid> {
        let patch = request.k8s_auth_config.as_ref();
        let name = patch.map(|patch| patch.name.as_str()).unwrap_or_default();
        let etag = patch
            .and_then(|patch| patch.meta.as_ref())
            .map(|meta| meta.etag.clone());
        let mut faults = Violations::default();
        let name = faults.absorb(names::config(&self.gateway, name, "k8s_auth_config.name"));
        let etag = etag.filter(|etag| !etag.is_empty());
        let etag = faults.absorb(etag.ok_or_else(|| names::no_etag("k8s_auth_config.meta.etag")));
        match (name, etag) {
            (Some(name), Some(etag)) => Ok((name, etag)),
            _ => Err(faults.into_invalid()),
        }
    }

    async fn update_once(
        &self,
        context: &Context,
        request: &pb::UpdateK8sAuthConfigRequest,
        name: &ConfigName,
        etag: &str,
    ) -> Result<pb::UpdateK8sAuthConfigResponse, Error> {
        let stored = self.stored(context, name).await?;
        let stored_etag = etag_of(&stored);
        if etag != ANY && etag != stored_etag {
            return Err(Error::Aborted {
                your_etag: etag.to_owned(),
                current_etag: stored_etag,
            });
        }
        let current = match self.open(name, &stored) {
            Ok(current) => current,
            Err(fault) => {
                // Somebody's write may have been heard of since this was read: that is no fault of the box.
                let current_etag = etag_of(&self.stored(context, name).await?);
                return Err(match current_etag == stored_etag {
                    true => fault,
                    false => Error::Aborted {
                        your_etag: stored_etag,
                        current_etag,
                    },
                });
            }
        };
        let asked = request.k8s_auth_config.as_ref();
        let own = asked.is_some_and(|patch| patch.reviewer() == OWN)
            || matches!(current.access, ClusterAccess::Own(_));
        let own = self.own_cluster(own, context.deadline).await;
        let Accepted { config, warnings } = self.changed(&current, request, &own)?;
        if !differs(&current, &config) && self.sealed_by_first_key(&stored) {
            return self.response(stored, warnings);
        }
        let mut sealed = self.sealer.seal(&config).map_err(Error::internal)?;
        if let Some(meta) = sealed.view.as_mut().and_then(|view| view.meta.as_mut()) {
            meta.etag = stored_etag;
        }
        let update = pb::UpdateSealedK8sAuthConfigRequest {
            config: Some(sealed),
            validate_only: request.validate_only,
        };
        let Context {
            administrator,
            deadline,
        } = context;
        let updated = self
            .control_plane
            .update_config(update, &administrator.0, *deadline)
            .await;
        let updated = updated.map_err(Failure::relay)?.config.unwrap_or_default();
        if !request.validate_only {
            let in_use = deadline.within(IN_USE);
            self.snapshot
                .written(&name.id, config.uid, config.generation, in_use)
                .await;
        }
        self.response(updated, warnings)
    }

    /// The stored config out of its box, if this gateway would use it.
    fn open(
        &self,
        name: &ConfigName,
        stored: &pb::SealedK8sAuthConfig,
    ) -> Result<K8sAuthConfig, Error> {
        let opened = self
            .sealer
            .open(stored, self.clock.now())
            .and_then(|config| {
                not_rolled_back(config.generation, self.snapshot.generation_seen(config.uid))?;
                Ok(config)
            });
        match opened {
            Ok(config) if config.name == *name => Ok(config),
            Ok(_) => Err(seal_broken(name, &Broken::Differs(vec!["name"]))),
            Err(broken) => Err(seal_broken(name, &broken)),
        }
    }

    fn changed(
        &self,
        current: &K8sAuthConfig,
        request: &pb::UpdateK8sAuthConfigRequest,
        own: &OwnCluster,
    ) -> Result<Accepted, Invalid> {
        let (no_fields, no_secrets) = Default::default();
        let patch = request.k8s_auth_config.as_ref().unwrap_or(&no_fields);
        let secrets = request.secrets.as_ref().unwrap_or(&no_secrets);
        let mask = request.update_mask.as_ref();
        let accepted = convert::updated(current, patch, secrets, mask, own, self.clock.now())?;
        self.allowed(&accepted.config)?;
        Ok(accepted)
    }

    fn sealed_by_first_key(&self, stored: &pb::SealedK8sAuthConfig) -> bool {
        let view = stored.view.as_ref();
        view.is_some_and(|view| view.seal_key_id == self.sealer.first_key().as_str())
    }

    fn response(
        &self,
        stored: pb::SealedK8sAuthConfig,
        warnings: Vec<pb::Warning>,
    ) -> Result<pb::UpdateK8sAuthConfigResponse, Error> {
        Ok(pb::UpdateK8sAuthConfigResponse {
            k8s_auth_config: Some(self.shown(Some(stored))?),
            warnings,
        })
    }
}

fn etag_of(stored: &pb::SealedK8sAuthConfig) -> String {
    let meta = stored.view.as_ref().and_then(|view| view.meta.as_ref());
    meta.map(|meta| meta.etag.clone()).unwrap_or_default()
}

/// Whether anything but the generation changed.
pub(super) fn differs(current: &K8sAuthConfig, after: &K8sAuthConfig) -> bool {
    let mut view = convert::view(after, String::new());
    view.generation = current.generation;
    view != convert::view(current, String::new()) || !after.access.same_credential(&current.access)
}

fn seal_broken(name: &ConfigName, broken: &Broken) -> Error {
    Error::FailedPrecondition {
        reason: Precondition::SealBroken,
        message: format!(
            "the stored config can't be changed, because {broken}; delete it and create it again, or bring its seal key back"
        ),
        violations: vec![Blocker {
            subject: name.to_string(),
            description: broken.to_string(),
        }],
    }
}
