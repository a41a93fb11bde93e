//! Who is calling, as the authorizer proved it. Handlers ask for the kind that they need.

use jiff::Timestamp;
use postern_core::access_id::AccessId;
use postern_core::access_token::{Accessor, TokenHash};
use postern_core::ip::IpBlock;
use postern_core::permission::{Permission, Permissions};
use postern_core::resource_id::GatewayName;
use postern_rpc::caller::BearerToken;
use postern_rpc::error::Error;
use postern_rpc::request::RequestExt as _;
use postern_rpc::request_id::{RELAYED, RequestId};
use tonic::Request;

use crate::store::{Cause, GatewayIdentity};

/// What the authorizer puts beside a request.
#[derive(Debug, Clone)]
pub(crate) enum Identity {
    Administrator(Administrator),
    Gateway(CallingGateway),
    OnBehalf(OnBehalf),
    Asker(Asker),
}

/// Whose token holds the permission that the method needs, and isn't narrowed; or who stands
/// behind a gateway.
#[derive(Debug, Clone)]
pub(crate) struct Administrator {
    pub(crate) access_id: AccessId,
    pub(crate) accessor: Accessor,
    /// All that the token's roles hold.
    pub(crate) permissions: Permissions,
    /// Of the token itself, to see later whether it still stands.
    pub(crate) token: TokenHash,
}

/// A gateway with its own credential.
#[derive(Debug, Clone)]
pub(crate) struct CallingGateway {
    pub(crate) identity: GatewayIdentity,
    /// Of the token that it called with, to see later whether that still stands.
    pub(crate) token: TokenHash,
}

/// A gateway that calls for an administrator whose token is narrowed to it.
#[derive(Debug, Clone)]
pub(crate) struct OnBehalf {
    pub(crate) gateway: CallingGateway,
    pub(crate) administrator: Administrator,
    /// Of the administrator's method: the gateway says where it was called from.
    pub(crate) bound_ips: Vec<IpBlock>,
}

/// Who asks about a token: its own holder, or one who may ask about others'.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    /// As it was sent. It may be worth nothing.
    pub(crate) token: BearerToken,
    /// The gateway that relays the question.
    pub(crate) through: Option<CallingGateway>,
}

// === impl Identity ===

impl Identity {
    /// Whose call it is, unless it is a gateway's own.
    pub(crate) fn administrator(&self) -> Option<&Administrator> {
        match self {
            Self::Administrator(administrator) => Some(administrator),
            Self::OnBehalf(on_behalf) => Some(&on_behalf.administrator),
            Self::Gateway(_) | Self::Asker(_) => None,
        }
    }

    /// The gateway that relays it.
    pub(crate) fn relaying(&self) -> Option<&GatewayName> {
        match self {
            Self::OnBehalf(on_behalf) => Some(&on_behalf.gateway.identity.name),
            Self::Administrator(_) | Self::Gateway(_) | Self::Asker(_) => None,
        }
    }
}

// === impl Administrator ===

impl Administrator {
    /// PERMISSION_DENIED, naming the permission, when it isn't held.
    pub(crate) fn needs(&self, permission: Permission) -> Result<(), Error> {
        if self.permissions.has(permission) {
            return Ok(());
        }
        Err(Error::permission_denied(format!(
            "this token has no permission for this method, which needs {permission}"
        )))
    }

    pub(crate) fn of<T>(request: &Request<T>) -> Result<Self, Error> {
        match request.identity()? {
            Identity::Administrator(administrator) => Ok(administrator),
            Identity::Gateway(_) | Identity::OnBehalf(_) | Identity::Asker(_) => Err(unexpected()),
        }
    }

    /// What an audit record says about a write of this request.
    pub(crate) fn cause<T>(&self, request: &Request<T>, now: Timestamp) -> Result<Cause, Error> {
        let caller = request.caller()?;
        Ok(Cause {
            now,
            request_id: caller.request_id.to_string(),
            access_id: self.access_id.to_string(),
            accessor: self.accessor.to_string(),
            gateway: String::new(),
            caller_ip: caller.ip,
            user_agent: caller.user_agent.unwrap_or_default(),
            permissions: self.permissions.clone(),
        })
    }
}

// === impl CallingGateway ===

impl CallingGateway {
    pub(crate) fn of<T>(request: &Request<T>) -> Result<Self, Error> {
        match request.identity()? {
            Identity::Gateway(gateway) => Ok(gateway),
            Identity::Administrator(_) | Identity::OnBehalf(_) | Identity::Asker(_) => {
                Err(unexpected())
            }
        }
    }
}

// === impl OnBehalf ===

impl OnBehalf {
    pub(crate) fn of<T>(request: &Request<T>) -> Result<Self, Error> {
        match request.identity()? {
            Identity::OnBehalf(on_behalf) => Ok(on_behalf),
            Identity::Administrator(_) | Identity::Gateway(_) | Identity::Asker(_) => {
                Err(unexpected())
            }
        }
    }

    /// Names both, under the request ID that the gateway's caller got.
    pub(crate) fn cause<T>(&self, request: &Request<T>, now: Timestamp) -> Result<Cause, Error> {
        let mut cause = self.administrator.cause(request, now)?;
        cause.gateway = self.gateway.identity.name.to_string();
        if let Some(id) = relayed_request_id(request) {
            cause.request_id = id.to_string();
        }
        Ok(cause)
    }
}

// === impl Asker ===

impl Asker {
    pub(crate) fn of<T>(request: &Request<T>) -> Result<Self, Error> {
        match request.identity()? {
            Identity::Asker(asker) => Ok(asker),
            Identity::Administrator(_) | Identity::Gateway(_) | Identity::OnBehalf(_) => {
                Err(unexpected())
            }
        }
    }

    /// The one that the gateway's caller got.
    pub(crate) fn request_id<T>(&self, request: &Request<T>) -> Option<RequestId> {
        self.through.as_ref()?;
        relayed_request_id(request)
    }
}

fn relayed_request_id<T>(request: &Request<T>) -> Option<RequestId> {
    let value = request.metadata().get(RELAYED)?;
    RequestId::parse(value.to_str().ok()?)
}

/// The table of permissions and a handler disagree: that must not pass.
fn unexpected() -> Error {
    Error::internal("the request's identity is of another kind than its method needs")
}
