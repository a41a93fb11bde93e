//! Who may administer this gateway: the control plane says.

use std::sync::Arc;

use postern_core::access_token::AccessToken;
use postern_core::audit::{Component, Event, EventKind};
use postern_core::clock::Clock;
use postern_core::resource_id::GatewayName;
use postern_proto::permissions::Need;
use postern_rpc::caller::Caller;
use postern_rpc::error::Error;
use postern_rpc::layers::{self, Answered, Call, LimitedCall, Refused};
use postern_rpc::request::RequestExt as _;
use tonic::Request;

use crate::control_plane::{ControlPlane, OnBehalf};
use crate::login::Stage;
use crate::reports::Reports;

/// Asks the control plane about each call that needs an administrator.
#[derive(Clone)]
pub(crate) struct Authorizer {
    control_plane: Arc<ControlPlane>,
    reports: Arc<Reports>,
    gateway: GatewayName,
    clock: Clock,
}

/// Who is calling, as far as this gateway knows.
#[derive(Clone)]
pub(crate) enum Identity {
    Administrator(Administrator),
    Asker(Asker),
}

/// Who asks about a token: the control plane judges.
#[derive(Clone)]
pub(crate) struct Asker(pub(crate) OnBehalf);

/// What the control plane isn't asked to do, and has no record of.
const CHECK: &str = "/postern.v1.K8sAuthConfigService/CheckK8sAuthConfig";
/// Stands for a method that doesn't exist.
const UNKNOWN: &str = "unknown";

/// An administrator whom the control plane allows this call.
#[derive(Clone)]
pub(crate) struct Administrator(pub(crate) OnBehalf, pub(crate) Who);

/// For audit records.
#[derive(Clone)]
pub(crate) struct Who {
    pub(crate) access_id: String,
    /// Of the token that was shown.
    pub(crate) accessor: String,
}

impl Administrator {
    pub(crate) fn of<T>(request: &Request<T>) -> Result<Self, Error> {
        match request.identity()? {
            Identity::Administrator(administrator) => Ok(administrator),
            Identity::Asker(_) => Err(unexpected()),
        }
    }
}

impl Asker {
    pub(crate) fn of<T>(request: &Request<T>) -> Result<Self, Error> {
        match request.identity()? {
            Identity::Asker(asker) => Ok(asker),
            Identity::Administrator(_) => Err(unexpected()),
        }
    }
}

/// The table of permissions and a handler disagree: that must not pass.
fn unexpected() -> Error {
    Error::internal("the request's identity is of another kind than its method needs")
}

impl Authorizer {
    pub(crate) fn new(
        control_plane: Arc<ControlPlane>,
        reports: Arc<Reports>,
        gateway: GatewayName,
        clock: Clock,
    ) -> Self {
        Self {
            control_plane,
            reports,
            gateway,
            clock,
        }
    }

    fn record(&self, kind: EventKind, caller: Caller, method: Option<String>) -> Event {
        Event {
            request_id: caller.request_id.to_string(),
            gateway: self.gateway.to_string(),
            caller_ip: caller.ip,
            user_agent: caller.user_agent.unwrap_or_default(),
            resource: method.unwrap_or_else(|| UNKNOWN.to_owned()),
            ..Event::new(kind, Component::Gateway, self.clock.now())
        }
    }
}

impl layers::Authorizer for Authorizer {
    type Identity = Identity;

    async fn authorize(&self, call: Call) -> Result<Identity, Error> {
        match call.need {
            Need::Narrowed(_) => {}
            Need::OwnTokenOr(_) | Need::OwnToken => {
                return Ok(Identity::Asker(Asker(OnBehalf {
                    token: call.bearer,
                    request_id: call.caller.request_id,
                })));
            }
            Need::Anonymous
            | Need::Holder(_)
            | Need::Gateway
            | Need::GatewayAsking
            | Need::GatewayOnBehalf(_)
            | Need::GatewayOnBehalfOrHolder(_) => {
                return Err(Error::permission_denied(
                    "a gateway doesn't serve this method",
                ));
            }
        }
        // What isn't one of our tokens, a pod's above all, goes no further.
        if call.bearer.expose().parse::<AccessToken>().is_err() {
            return Err(Error::Unauthenticated);
        }
        let administrator = OnBehalf {
            token: call.bearer,
            request_id: call.caller.request_id,
        };
        let known = self
            .control_plane
            .authorize_administrator(&call.method, call.caller.ip, &administrator, call.deadline)
            .await
            .map_err(|failure| failure.relay())?;
        let who = Who {
            access_id: known.access_id,
            accessor: known.accessor,
        };
        Ok(Identity::Administrator(Administrator(administrator, who)))
    }

    async fn refused(&self, refused: Refused) {
        let record = self.record(EventKind::AdminRefused, refused.caller, refused.method);
        let reason = refused.reason.to_string();
        self.reports
            .denied(Stage::Unverified, Event { reason, ..record });
    }

    fn limited(&self, limited: LimitedCall) {
        let record = self.record(EventKind::CallLimited, limited.caller, limited.method);
        let reason = limited.scope.reason().to_owned();
        self.reports
            .denied(Stage::Unverified, Event { reason, ..record });
    }

    /// What was relayed has its record at the control plane, unless it wasn't allowed there.
    async fn answered(&self, identity: Identity, answered: Answered) {
        let Identity::Administrator(Administrator(_, who)) = identity else {
            return;
        };
        let kind = match answered.failure {
            Some(_) => EventKind::AdminRefused,
            None if answered.method == CHECK => EventKind::AdminCalled,
            None => return,
        };
        let reason = answered.failure.map(|reason| reason.to_string());
        self.reports.asked(Event {
            access_id: who.access_id,
            accessor: who.accessor,
            reason: reason.unwrap_or_default(),
            ..self.record(kind, answered.caller, Some(answered.method))
        });
    }
}
