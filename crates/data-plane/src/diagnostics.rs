//! `DiagnosticsService`: why a login is allowed or refused. Issues nothing.

use std::sync::Arc;

use jiff::SignedDuration;
use postern_core::audit::{Component, Event, EventKind};
use postern_core::auth_method::AuthMethod;
use postern_core::clock::Clock;
use postern_core::facts::{Facts, NamespaceLabels};
use postern_core::invalid::{Invalid, Violations};
use postern_core::key::{SigningAlgorithm, SigningKey};
use postern_core::pattern::{NameKind, Pattern};
use postern_core::resource_id::{GatewayName, ResourceId};
use postern_proto::convert::{audit, auth_method};
use postern_proto::pb;
use postern_proto::pb::diagnostics_service_server::{DiagnosticsService, DiagnosticsServiceServer};
use postern_proto::pb::simulate_authentication_request::Policy;
use postern_rpc::caller::Caller;
use postern_rpc::deadline::Deadline;
use postern_rpc::error::Error;
use postern_rpc::request::RequestExt as _;
use secrecy::SecretString;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::authorizer::{Administrator, Who};
use crate::cluster::Cluster;
use crate::login::Login;
use crate::login::explain::{Explained, Question};
use crate::login::stop::Fault;
use crate::reports::Reports;
use crate::snapshot::{ConfigEntry, Snapshot};

/// The longest request, in bytes: a token or an auth method.
const MAX_REQUEST: usize = 512 * 1024;
/// Stands in for what a draft doesn't have yet.
const DRAFT: &str = "draft";
const DRAFT_ACCESS_ID: &str = "p-000000000000k0";
/// Stands in for UIDs that a description leaves out; no rule can ask for one.
const DESCRIBED: &str = "described";

/// A method, and the config that it was named by.
struct Chosen {
    cluster: Option<Arc<Cluster>>,
    method: Arc<AuthMethod>,
}

pub(crate) struct Diagnostics {
    gateway: GatewayName,
    login: Arc<Login>,
    snapshot: Arc<Snapshot>,
    reports: Arc<Reports>,
    clock: Clock,
}

impl Diagnostics {
    pub(crate) fn new(
        gateway: GatewayName,
        login: Arc<Login>,
        snapshot: Arc<Snapshot>,
        reports: Arc<Reports>,
        clock: Clock,
    ) -> Self {
        Self {
            gateway,
            login,
            snapshot,
            reports,
            clock,
        }
    }

    /// The service, with its limits.
    pub(crate) fn service(self) -> DiagnosticsServiceServer<Self> {
        DiagnosticsServiceServer::new(self).max_decoding_message_size(MAX_REQUEST)
    }

    async fn explain(
        &self,
        request: Request<pb::ExplainAuthenticationRequest>,
    ) -> Result<pb::ExplainAuthenticationResponse, Error> {
        let Administrator(_, who) = Administrator::of(&request)?;
        let (caller, deadline) = (request.caller()?, request.deadline()?);
        let question = question(request.into_inner(), caller.clone(), deadline)?;
        let explained = self.login.explain(question).await?;
        self.record(EventKind::LoginExplained, caller, who, &explained);
        Ok(pb::ExplainAuthenticationResponse {
            explanation: Some(explained.wire),
        })
    }

    async fn simulate(
        &self,
        request: Request<pb::SimulateAuthenticationRequest>,
    ) -> Result<pb::SimulateAuthenticationResponse, Error> {
        let Administrator(_, who) = Administrator::of(&request)?;
        let (caller, deadline) = (request.caller()?, request.deadline()?);
        let pb::SimulateAuthenticationRequest {
            policy,
            workload,
            issuer,
        } = request.into_inner();
        let policy = policy.ok_or_else(|| {
            Invalid::field("policy", "name a config or an access ID, or give a draft")
        })?;
        let Chosen { cluster, method } = self.policy(policy, deadline).await?;
        let config = cluster.as_deref().map(Cluster::config);
        if config.is_none() && !issuer.is_empty() {
            return Err(Invalid::field(
                "issuer",
                "is held against a config's issuers: name one (k8s_auth_config), or leave it out",
            )
            .into());
        }
        let facts = self.described(&workload.unwrap_or_default(), &method)?;
        let issuer = config
            .map(|config| (&config.issuers, issuer))
            .filter(|(_, issuer)| !issuer.is_empty());
        let mut explained = Explained::simulated(&method, issuer, facts, self.clock.now());
        if method.id.as_str() != DRAFT || method.access_id.as_str() != DRAFT_ACCESS_ID {
            explained.wire.access_id = method.access_id.to_string();
            explained.method = Some(method.id.clone());
        }
        explained.wire.k8s_auth_config = config.map(|c| c.name.to_string()).unwrap_or_default();
        self.record(EventKind::LoginSimulated, caller, who, &explained);
        Ok(pb::SimulateAuthenticationResponse {
            explanation: Some(explained.wire),
        })
    }

    /// The method that is meant.
    async fn policy(&self, policy: Policy, deadline: Deadline) -> Result<Chosen, Error> {
        if let Policy::Draft(draft) = policy {
            let method = draft_method(&draft, &self.clock)?;
            return Ok(Chosen {
                cluster: None,
                method: Arc::new(method),
            });
        }
        match self.known(&policy)? {
            Some(known) => Ok(known),
            None => {
                let caught_up = self.snapshot.catch_up(deadline).await;
                caught_up.map_err(|error| Error::from(Fault::behind(error)))?;
                let resource = match &policy {
                    Policy::K8sAuthConfig(id) => {
                        format!("{}/k8sAuthConfigs/{id}", self.gateway.full())
                    }
                    Policy::AccessId(id) => format!("authMethods/{id}"),
                    Policy::Draft(_) => DRAFT.to_owned(),
                };
                self.known(&policy)?.ok_or(Error::NotFound { resource })
            }
        }
    }

    fn known(&self, policy: &Policy) -> Result<Option<Chosen>, Error> {
        let (cluster, access_id) = match policy {
            Policy::K8sAuthConfig(id) => {
                let id: ResourceId = field("k8s_auth_config", id.parse())?;
                match self.snapshot.config(&id) {
                    Some(ConfigEntry::Live(cluster)) => {
                        let access_id = cluster.config().access_id.clone();
                        (Some(cluster), access_id)
                    }
                    Some(ConfigEntry::Unusable) => return Err(Fault::ConfigUnusable(id).into()),
                    None => return Ok(None),
                }
            }
            Policy::AccessId(id) => (None, field("access_id", id.parse())?),
            Policy::Draft(_) => return Ok(None),
        };
        let method = self.snapshot.method(&access_id);
        Ok(method.map(|method| Chosen { cluster, method }))
    }

    /// Facts as a login of the described workload would have them.
    fn described(&self, wire: &pb::Facts, method: &AuthMethod) -> Result<Facts, Invalid> {
        let within = |invalid: Invalid| invalid.within("workload");
        let mut facts = audit::facts_from_pb(wire).map_err(within)?;
        let default = |text: &mut String, value: &str| {
            if text.is_empty() {
                value.clone_into(text);
            }
        };
        default(&mut facts.service_account_name, "default");
        default(&mut facts.service_account_uid, DESCRIBED);
        if facts.pod_name.is_some() && facts.pod_uid.is_none() {
            facts.pod_uid = Some(DESCRIBED.to_owned());
        }
        let now = self.clock.now();
        if !facts.legacy {
            facts.credential_id = facts.credential_id.or_else(|| Some(DESCRIBED.to_owned()));
            facts.issue_time = facts.issue_time.or(Some(now));
            let hour = SignedDuration::from_hours(1);
            let end = now.saturating_add(hour).unwrap_or(now);
            facts.expire_time = facts.expire_time.or(Some(end));
        }
        facts.for_api_server = facts.aud.is_empty();
        let keys = method.kubernetes().map(|k| k.namespace_label_keys());
        let labels = wire.namespace_labels.clone().into_iter().collect();
        facts.namespace_labels = Some(NamespaceLabels::read(keys.unwrap_or_default(), &labels));
        check_names(&facts).map_err(within)?;
        Ok(facts)
    }

    fn record(&self, kind: EventKind, caller: Caller, who: Who, explained: &Explained) {
        let method = explained.method.as_ref();
        let Explained { wire, facts, .. } = explained;
        self.reports.asked(Event {
            request_id: caller.request_id.to_string(),
            gateway: self.gateway.to_string(),
            k8s_auth_config: wire.k8s_auth_config.clone(),
            access_id: who.access_id,
            accessor: who.accessor,
            caller_ip: caller.ip,
            user_agent: caller.user_agent.unwrap_or_default(),
            resource: method.map(ResourceId::auth_method_name).unwrap_or_default(),
            facts: facts.clone(),
            reason: wire.reason.clone(),
            rule: wire.rule.and_then(|rule| usize::try_from(rule).ok()),
            ..Event::new(kind, Component::Gateway, self.clock.now())
        });
    }
}

#[tonic::async_trait]
impl DiagnosticsService for Diagnostics {
    async fn explain_authentication(
        &self,
        request: Request<pb::ExplainAuthenticationRequest>,
    ) -> Result<Response<pb::ExplainAuthenticationResponse>, Status> {
        Ok(Response::new(self.explain(request).await?))
    }

    async fn simulate_authentication(
        &self,
        request: Request<pb::SimulateAuthenticationRequest>,
    ) -> Result<Response<pb::SimulateAuthenticationResponse>, Status> {
        Ok(Response::new(self.simulate(request).await?))
    }
}

/// No fault holds what was sent: a token may stand in the wrong field.
fn question(
    request: pb::ExplainAuthenticationRequest,
    caller: Caller,
    deadline: Deadline,
) -> Result<Question, Invalid> {
    let mut faults = Violations::default();
    let config = faults.check("k8s_auth_config", request.k8s_auth_config.parse());
    let access_id = (!request.access_id.is_empty()).then(|| request.access_id.parse());
    let access_id = access_id.and_then(|parsed| faults.check("access_id", parsed));
    let client_ip = (!request.client_ip.is_empty()).then(|| request.client_ip.parse());
    let client_ip = client_ip.and_then(|parsed| {
        let parsed = parsed.map_err(|_: std::net::AddrParseError| "is no address");
        faults.check("client_ip", parsed)
    });
    if request.service_account_token.is_empty() {
        faults.add("service_account_token", "is empty");
    }
    let Some(config) = config else {
        return Err(faults.into_invalid());
    };
    faults.finish()?;
    Ok(Question {
        config,
        token: SecretString::from(request.service_account_token),
        access_id,
        client_ip,
        caller,
        deadline,
    })
}

fn draft_method(draft: &pb::AuthMethod, clock: &Clock) -> Result<AuthMethod, Error> {
    let mut wire = draft.clone();
    if let Some(pb::auth_method::Type::Kubernetes(kubernetes)) = &mut wire.r#type
        && kubernetes.public_keys.is_empty()
    {
        // Nothing is signed, and a method without a key can't be represented.
        let key = SigningKey::generate(SigningAlgorithm::Es256).map_err(Error::internal)?;
        kubernetes.public_keys.push(pb::PublicKey {
            public_key: key.public().to_pem(),
            ..pb::PublicKey::default()
        });
    }
    let settings = auth_method::settings(&wire, clock.now());
    let settings = settings.map_err(|invalid| invalid.within("draft"))?;
    Ok(AuthMethod {
        id: field(DRAFT, DRAFT.parse())?,
        uid: Uuid::nil(),
        access_id: field(DRAFT, DRAFT_ACCESS_ID.parse())?,
        settings,
    })
}

/// A name that Kubernetes can't have would be refused for what no login is refused for.
fn check_names(facts: &Facts) -> Result<(), Invalid> {
    let mut faults = Violations::default();
    let mut name = |field: &str, text: &str, kind| {
        faults.check(field, Pattern::parse(text, kind));
        if text.contains(['*', '?']) {
            faults.add(field, "is a pattern, not a name");
        }
    };
    name("namespace", &facts.namespace, NameKind::Label);
    let account = &facts.service_account_name;
    name("service_account_name", account, NameKind::Subdomain);
    let optional = [
        ("pod_name", &facts.pod_name),
        ("node_name", &facts.node_name),
    ];
    for (field, text) in optional {
        if let Some(text) = text {
            name(field, text, NameKind::Subdomain);
        }
    }
    faults.finish()
}

fn field<T, E: std::fmt::Display>(field: &str, parsed: Result<T, E>) -> Result<T, Invalid> {
    parsed.map_err(|fault| Invalid::field(field, fault.to_string()))
}
