//! Check: what holds of a config, saved or not, and what to do about the rest.

use std::sync::Arc;
use std::time::Duration;

use postern_core::invalid::{Invalid, Violations};
use postern_core::key::{SigningAlgorithm, SigningKey};
use postern_core::resource_id::{ConfigName, ResourceId};
use postern_proto::convert::k8s_auth_config::{self as convert, Accepted, Identity};
use postern_proto::pb;
use postern_proto::pb::check_k8s_auth_config_request::Target;
use postern_rpc::deadline::Deadline;
use postern_rpc::error::Error;
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use super::{Context, K8sAuthConfigs, OWN, names};
use crate::cluster::{Cluster, Shared};
use crate::conditions::{self, Fault};
use crate::health::CHECK_WITHIN;
use crate::login::stop::Fault as LoginFault;
use crate::snapshot::ConfigEntry;

/// What the way back may take.
const TO_ANSWER: Duration = Duration::from_millis(500);
/// Stands in for the access ID of a draft that has none: no auth method has it.
const NO_METHOD: &str = "p-000000000000k0";

impl K8sAuthConfigs {
    pub(super) async fn check(
        &self,
        context: Context,
        request: pb::CheckK8sAuthConfigRequest,
    ) -> Result<pb::CheckK8sAuthConfigResponse, Error> {
        // What isn't known by then is still to be told.
        let left = context.deadline.remaining().saturating_sub(TO_ANSWER);
        let deadline = context.deadline.within(CHECK_WITHIN.min(left));
        let conditions = match request.target {
            Some(Target::Name(name)) => {
                let name = names::config(&self.gateway, &name, "name")?;
                self.check_saved(&name, deadline).await?
            }
            Some(Target::Draft(draft)) => self.check_draft(&draft, deadline).await?,
            None => {
                return Err(
                    Invalid::field("target", "name a saved config, or give a draft").into(),
                );
            }
        };
        Ok(pb::CheckK8sAuthConfigResponse { conditions })
    }

    async fn check_saved(
        &self,
        name: &ConfigName,
        deadline: Deadline,
    ) -> Result<Vec<pb::Condition>, Error> {
        let mut entry = self.snapshot.config(&name.id);
        if entry.is_none() {
            let caught_up = self.snapshot.catch_up(deadline).await;
            caught_up.map_err(|error| Error::from(LoginFault::behind(error)))?;
            entry = self.snapshot.config(&name.id);
        }
        let probed = match entry {
            None => {
                return Err(Error::NotFound {
                    resource: name.to_string(),
                });
            }
            Some(ConfigEntry::Live(cluster)) => self.health.check(&cluster, deadline).await,
            Some(ConfigEntry::Unusable) => self
                .health
                .not_tried("CONFIG_UNUSABLE", "a config that can't be used isn't tried"),
        };
        let mut conditions = self.snapshot.conditions(&name.id);
        conditions.extend(probed);
        Ok(conditions)
    }

    async fn check_draft(
        &self,
        draft: &pb::DraftK8sAuthConfig,
        deadline: Deadline,
    ) -> Result<Vec<pb::Condition>, Error> {
        let config = self.draft(draft, deadline).await?.config;
        let denied = config.access.api_server();
        let denied = denied.filter(|server| !self.api_servers.allows(server));
        let made = match denied {
            Some(server) => Err(Fault::NotAllowed(server)),
            None => {
                // What a draft does counts nowhere.
                let shared = Shared::uncounted(Arc::clone(&self.own));
                Cluster::new(config, &shared).map_err(Fault::Cluster)
            }
        };
        let probed = match &made {
            Ok(cluster) => self.health.check_draft(cluster, deadline).await,
            Err(_) => self
                .health
                .not_tried("NOT_TRIED", "the API server isn't asked"),
        };
        let (fault, now) = (made.as_ref().err(), self.clock.now());
        let mut conditions = conditions::of(fault, &[], self.health.instance(), now);
        // A draft has no seal.
        conditions.retain(|c| c.r#type() != pb::ConditionType::SealIntact);
        let pin = made.ok().and_then(|cluster| cluster.pin());
        let instance = self.health.instance();
        conditions.extend(pin.map(|(pin, at)| conditions::cluster_pinned(&pin, at, instance)));
        conditions.extend(probed);
        Ok(conditions)
    }

    /// The config that a create would make; what only logins need may be left out.
    async fn draft(
        &self,
        draft: &pb::DraftK8sAuthConfig,
        deadline: Deadline,
    ) -> Result<Accepted, Error> {
        let mut wire = draft.k8s_auth_config.clone().unwrap_or_default();
        let mut secrets = draft.secrets.clone().unwrap_or_default();
        if wire.access_id().is_empty() {
            wire.access_id = Some(NO_METHOD.to_owned());
        }
        if secrets.signing_key().is_empty() {
            let key = SigningKey::generate(SigningAlgorithm::Es256).map_err(Error::internal)?;
            secrets.signing_key = Some(key.to_pkcs8_pem().expose_secret().to_owned());
        }
        let mut faults = Violations::default();
        let id = faults.check("draft", "draft".parse::<ResourceId>());
        let id = id.ok_or_else(|| faults.into_invalid())?;
        let name = ConfigName {
            gateway: self.gateway.clone(),
            id,
        };
        let identity = Identity {
            name,
            uid: Uuid::now_v7(),
            generation: 1,
        };
        let now = self.clock.now();
        let own = self.own_cluster(wire.reviewer() == OWN, deadline).await;
        let accepted = convert::created(identity, &wire, &secrets, &own, now);
        Ok(accepted.map_err(|invalid| invalid.within("draft"))?)
    }
}
