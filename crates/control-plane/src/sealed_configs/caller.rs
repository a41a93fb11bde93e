//! Who may see which config.

use jiff::Timestamp;
use postern_core::resource_id::{ConfigName, GatewayName};
use postern_rpc::error::Error;
use postern_rpc::request::RequestExt as _;
use tonic::Request;

use crate::identity::{Administrator, CallingGateway, Identity, OnBehalf};
use crate::store::Cause;

/// Those who may read and delete.
pub(super) enum ConfigCaller {
    Administrator(Administrator),
    OnBehalf(OnBehalf),
}

/// That the config is the calling gateway's; whose it is says the credential, not the message.
pub(super) fn own(gateway: &CallingGateway, name: &ConfigName) -> Result<(), Error> {
    if name.gateway == gateway.identity.name {
        Ok(())
    } else {
        Err(another_gateways())
    }
}

fn another_gateways() -> Error {
    Error::permission_denied("the config belongs to another gateway, or to none")
}

// === impl ConfigCaller ===

impl ConfigCaller {
    pub(super) fn of<T>(request: &Request<T>) -> Result<Self, Error> {
        match request.identity()? {
            Identity::Administrator(administrator) => Ok(Self::Administrator(administrator)),
            Identity::OnBehalf(on_behalf) => Ok(Self::OnBehalf(on_behalf)),
            Identity::Gateway(_) | Identity::Asker(_) => {
                Err(Error::internal("a gateway alone reads no config here"))
            }
        }
    }

    pub(super) fn cause<T>(&self, request: &Request<T>, now: Timestamp) -> Result<Cause, Error> {
        match self {
            Self::Administrator(administrator) => administrator.cause(request, now),
            Self::OnBehalf(on_behalf) => on_behalf.cause(request, now),
        }
    }

    /// Before anything is looked up, so that nothing is learnt of what exists elsewhere.
    pub(super) fn may_see(&self, name: &ConfigName) -> Result<(), Error> {
        match self {
            Self::Administrator(_) => Ok(()),
            Self::OnBehalf(on_behalf) => own(&on_behalf.gateway, name),
        }
    }

    /// `None`: of all gateways.
    pub(super) fn may_list(&self, gateway: Option<&GatewayName>) -> Result<(), Error> {
        match self {
            Self::Administrator(_) => Ok(()),
            Self::OnBehalf(on_behalf) if gateway == Some(&on_behalf.gateway.identity.name) => {
                Ok(())
            }
            Self::OnBehalf(_) => Err(another_gateways()),
        }
    }

    /// Ciphertext goes to its gateway only.
    pub(super) fn gets_the_box(&self) -> bool {
        match self {
            Self::Administrator(_) => false,
            Self::OnBehalf(_) => true,
        }
    }

    /// What a page token is bound to.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Administrator(_) => "administrator",
            Self::OnBehalf(_) => "gateway",
        }
    }
}
