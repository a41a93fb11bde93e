//! Who may call what: the table's need against the caller's session.

use std::net::IpAddr;

use postern_core::access_token::TokenHash;
use postern_core::clock::Clock;
use postern_core::ip;
use postern_core::permission::Permission;
use postern_proto::permissions::Need;
use postern_rpc::error::Error;
use postern_rpc::layers::{Answered, Authorizer, Call, LimitedCall, Refused};

use crate::calls;
use crate::context::Context;
use crate::gateways::GatewayCertificates;
use crate::identity::{Administrator, Asker, CallingGateway, Identity, OnBehalf};
use crate::jwts;
use crate::metrics::AuditCounts;
use crate::store::{Session, Store};

/// Asks the database at every call, so that a revocation holds at once.
#[derive(Clone)]
pub(crate) struct Sessions {
    store: Store,
    clock: Clock,
    certificates: GatewayCertificates,
    counts: AuditCounts,
}

// === impl Sessions ===

impl Sessions {
    pub(crate) fn new(context: &Context) -> Self {
        Self {
            store: context.store.clone(),
            clock: context.clock.clone(),
            certificates: context.certificates.clone(),
            counts: context.metrics.audit.clone(),
        }
    }

    async fn bearer(&self, call: &Call) -> Result<(TokenHash, Session), Error> {
        let now = self.clock.now();
        let hash = jwts::known_by(&self.store, call.bearer.expose(), now).await?;
        let hash = hash.ok_or(Error::Unauthenticated)?;
        let session = self.store.session_at(&hash, call.caller.ip, now).await?;
        let session = session.ok_or(Error::Unauthenticated)?;
        if let Session::Gateway { identity, .. } = &session {
            self.certificates.check(&call.caller, &identity.name)?;
        }
        Ok((hash, session))
    }

    /// The administrator behind a gateway; the token must be narrowed to that very gateway.
    async fn behind(&self, gateway: CallingGateway, call: &Call) -> Result<OnBehalf, Error> {
        let bearer = call.on_behalf_of.as_ref();
        let bearer = bearer.ok_or(Error::OnBehalfUnauthenticated)?;
        let now = self.clock.now();
        let token = jwts::known_by(&self.store, bearer.expose(), now).await?;
        let token = token.ok_or(Error::OnBehalfUnauthenticated)?;
        let session = self.store.session(&token, now).await?;
        match session.ok_or(Error::OnBehalfUnauthenticated)? {
            Session::Holder {
                access_id,
                accessor,
                permissions,
                narrowed_to: Some(name),
                bound_ips,
            } if name == gateway.identity.name => Ok(OnBehalf {
                gateway,
                administrator: Administrator {
                    access_id,
                    accessor,
                    permissions,
                    token,
                },
                bound_ips,
            }),
            _ => Err(not_narrowed()),
        }
    }

    /// Whose token it is isn't looked up here: only the message says whether it asks about itself.
    async fn asker(&self, call: Call) -> Result<Asker, Error> {
        let Some(token) = call.on_behalf_of.clone() else {
            return Ok(Asker {
                token: call.bearer,
                through: None,
            });
        };
        let (hash, session) = self.bearer(&call).await?;
        Ok(Asker {
            token,
            through: Some(gateway(hash, session)?),
        })
    }

    async fn behind_with(
        &self,
        gateway: CallingGateway,
        permission: Permission,
        call: &Call,
    ) -> Result<OnBehalf, Error> {
        let on_behalf = self.behind(gateway, call).await?;
        on_behalf.administrator.needs(permission)?;
        Ok(on_behalf)
    }
}

impl Authorizer for Sessions {
    type Identity = Identity;

    async fn authorize(&self, call: Call) -> Result<Identity, Error> {
        if let Need::OwnTokenOr(_) | Need::OwnToken = call.need {
            return self.asker(call).await.map(Identity::Asker);
        }
        let (token, session) = self.bearer(&call).await?;
        match call.need {
            Need::Holder(permission) => {
                holder(token, session, permission, call.caller.ip).map(Identity::Administrator)
            }
            Need::Gateway => gateway(token, session).map(Identity::Gateway),
            Need::GatewayAsking => {
                let gateway = gateway(token, session)?;
                self.behind(gateway, &call).await.map(Identity::OnBehalf)
            }
            Need::GatewayOnBehalf(permission) => {
                let gateway = gateway(token, session)?;
                let behind = self.behind_with(gateway, permission, &call).await;
                behind.map(Identity::OnBehalf)
            }
            Need::GatewayOnBehalfOrHolder(permission) => match session {
                Session::Gateway { .. } => {
                    let gateway = gateway(token, session)?;
                    let behind = self.behind_with(gateway, permission, &call).await;
                    behind.map(Identity::OnBehalf)
                }
                Session::Holder { .. } => {
                    holder(token, session, permission, call.caller.ip).map(Identity::Administrator)
                }
            },
            // The first never gets here, the second is a gateway's, and the others aren't judged here.
            Need::Anonymous | Need::Narrowed(_) | Need::OwnTokenOr(_) | Need::OwnToken => {
                Err(denied())
            }
        }
    }

    async fn refused(&self, refused: Refused) {
        calls::refused(&self.store, self.clock.now(), &self.counts, refused).await;
    }

    fn limited(&self, limited: LimitedCall) {
        calls::limited(&self.store, self.clock.now(), &self.counts, limited);
    }

    async fn answered(&self, identity: Identity, answered: Answered) {
        calls::answered(
            &self.store,
            self.clock.now(),
            &self.counts,
            &identity,
            answered,
        )
        .await;
    }
}

/// The holder of a token that isn't narrowed, is good from that address, and may do that.
pub(crate) fn holder(
    token: TokenHash,
    session: Session,
    permission: Permission,
    ip: Option<IpAddr>,
) -> Result<Administrator, Error> {
    let Session::Holder {
        access_id,
        accessor,
        permissions,
        narrowed_to,
        bound_ips,
    } = session
    else {
        return Err(denied());
    };
    if narrowed_to.is_some() {
        return Err(Error::permission_denied(
            "this token is narrowed to a gateway; ask for one that isn't",
        ));
    }
    if !ip::allowed(&bound_ips, ip) {
        return Err(Error::permission_denied(
            "this token isn't good from the caller's address",
        ));
    }
    let administrator = Administrator {
        access_id,
        accessor,
        permissions,
        token,
    };
    administrator.needs(permission)?;
    Ok(administrator)
}

fn gateway(token: TokenHash, session: Session) -> Result<CallingGateway, Error> {
    match session {
        Session::Gateway { identity, .. } => Ok(CallingGateway { identity, token }),
        Session::Holder { .. } => Err(denied()),
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
