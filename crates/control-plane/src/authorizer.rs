//! Who may call what: the table's need against the caller's session.

use postern_core::access_token::{AccessToken, TokenHash};
use postern_core::clock::Clock;
use postern_core::ip;
use postern_proto::permissions::Need;
use postern_rpc::caller::BearerToken;
use postern_rpc::error::Error;
use postern_rpc::layers::{Authorizer, Call};

use crate::context::Context;
use crate::gateways::GatewayCertificates;
use crate::identity::{Administrator, CallingGateway, Identity, OnBehalf};
use crate::store::{Session, Store};

/// Asks the database at every call, so that a revocation holds at once.
#[derive(Clone)]
pub(crate) struct Sessions {
    store: Store,
    clock: Clock,
    certificates: GatewayCertificates,
}

// === impl Sessions ===

impl Sessions {
    pub(crate) fn new(context: &Context) -> Self {
        Self {
            store: context.store.clone(),
            clock: context.clock.clone(),
            certificates: context.certificates.clone(),
        }
    }

    async fn session(&self, token: &BearerToken) -> Result<Option<(TokenHash, Session)>, Error> {
        let Ok(token) = token.expose().parse::<AccessToken>() else {
            return Ok(None);
        };
        let hash = token.hash();
        let session = self.store.session(&hash, self.clock.now()).await?;
        Ok(session.map(|session| (hash, session)))
    }

    async fn bearer(&self, call: &Call) -> Result<(TokenHash, Session), Error> {
        let session = self.session(&call.bearer).await?;
        let session = session.ok_or(Error::Unauthenticated)?;
        if let Session::Gateway { identity, .. } = &session.1 {
            self.certificates.check(&call.caller, &identity.name)?;
        }
        Ok(session)
    }

    /// The administrator behind a gateway; the token must be narrowed to that very gateway.
    async fn behind(&self, gateway: CallingGateway, call: &Call) -> Result<OnBehalf, Error> {
        let token = call.on_behalf_of.as_ref();
        let token = token.ok_or(Error::OnBehalfUnauthenticated)?;
        let session = self.session(token).await?;
        match session.ok_or(Error::OnBehalfUnauthenticated)? {
            (
                _,
                Session::Administrator {
                    access_id,
                    accessor,
                    narrowed_to: Some(name),
                    ..
                },
            ) if name == gateway.identity.name => Ok(OnBehalf {
                gateway,
                administrator: Administrator {
                    access_id,
                    accessor,
                },
            }),
            _ => Err(not_narrowed()),
        }
    }
}

impl Authorizer for Sessions {
    type Identity = Identity;

    async fn authorize(&self, call: Call) -> Result<Identity, Error> {
        let (token, session) = self.bearer(&call).await?;
        match call.need {
            Need::Administrator => administrator(session, &call).map(Identity::Administrator),
            Need::Gateway => gateway(token, session).map(Identity::Gateway),
            Need::GatewayOnBehalf => {
                let gateway = gateway(token, session)?;
                self.behind(gateway, &call).await.map(Identity::OnBehalf)
            }
            Need::GatewayOnBehalfOrAdministrator => match session {
                Session::Gateway { .. } => {
                    let gateway = gateway(token, session)?;
                    self.behind(gateway, &call).await.map(Identity::OnBehalf)
                }
                Session::Administrator { .. } | Session::Kubernetes => {
                    administrator(session, &call).map(Identity::Administrator)
                }
            },
            // The first never gets here, the second is a gateway's.
            Need::Anonymous | Need::NarrowedAdministrator => Err(denied()),
        }
    }
}

fn administrator(session: Session, call: &Call) -> Result<Administrator, Error> {
    match session {
        Session::Administrator {
            access_id,
            accessor,
            narrowed_to: None,
            bound_ips,
            ..
        } => {
            if !ip::allowed(&bound_ips, call.caller.ip) {
                return Err(Error::permission_denied(
                    "this token isn't good from the caller's address",
                ));
            }
            Ok(Administrator {
                access_id,
                accessor,
            })
        }
        Session::Administrator { .. } => Err(Error::permission_denied(
            "this token is narrowed to a gateway; ask for one that isn't",
        )),
        Session::Gateway { .. } | Session::Kubernetes => Err(denied()),
    }
}

fn gateway(token: TokenHash, session: Session) -> Result<CallingGateway, Error> {
    match session {
        Session::Gateway { identity, .. } => Ok(CallingGateway { identity, token }),
        Session::Administrator { .. } | Session::Kubernetes => Err(denied()),
    }
}

fn denied() -> Error {
    Error::permission_denied("this token has no permission for this method")
}

fn not_narrowed() -> Error {
    Error::permission_denied(
        "the administrator's token isn't narrowed to this gateway; ask the control plane for one that is",
    )
}
