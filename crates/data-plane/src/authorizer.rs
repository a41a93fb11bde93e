//! Who may administer this gateway: the control plane says.

use std::sync::Arc;

use postern_core::access_token::AccessToken;
use postern_proto::permissions::Need;
use postern_rpc::error::Error;
use postern_rpc::layers::{self, Call};

use crate::control_plane::{ControlPlane, OnBehalf};

/// Asks the control plane about each call that needs an administrator.
#[derive(Clone)]
pub(crate) struct Authorizer {
    control_plane: Arc<ControlPlane>,
}

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

impl Authorizer {
    pub(crate) fn new(control_plane: Arc<ControlPlane>) -> Self {
        Self { control_plane }
    }
}

impl layers::Authorizer for Authorizer {
    type Identity = Administrator;

    async fn authorize(&self, call: Call) -> Result<Administrator, Error> {
        match call.need {
            Need::Narrowed(_) => {}
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
            .authorize_administrator(&call.method, &administrator, call.deadline)
            .await
            .map_err(|failure| failure.relay())?;
        let who = Who {
            access_id: known.access_id,
            accessor: known.accessor,
        };
        Ok(Administrator(administrator, who))
    }
}
