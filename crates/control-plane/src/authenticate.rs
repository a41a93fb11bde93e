//! AccessKeyAuthService: administrators and gateways log in here.

use postern_core::access_id::AccessId;
use postern_core::access_token::{AccessKey, AccessToken, Accessor};
use postern_core::invalid::{Invalid, Violations};
use postern_core::resource_id::GatewayName;
use postern_proto::convert::time;
use postern_proto::pb;
use postern_proto::pb::access_key_auth_service_server::AccessKeyAuthService;
use postern_rpc::caller::Caller;
use postern_rpc::deadline::Deadline;
use postern_rpc::error::Error;
use postern_rpc::layers::LimitedCall;
use postern_rpc::metrics::Scope;
use postern_rpc::peer::{Peer, RefusalBudget};
use postern_rpc::request::RequestExt as _;
use tokio::sync::{Semaphore, SemaphorePermit};
use tonic::{Request, Response, Status};

use crate::context::Context;
use crate::metrics::Login;
use crate::store::{KeyDenial, LogIn, LoggedIn};
use crate::{calls, failure};

const METHOD: &str = "/postern.v1.AccessKeyAuthService/AuthenticateAccessKey";
/// Attempts at once by those who were refused too often. Each of them is a transaction, and a record.
const SUSPECTS_AT_ONCE: usize = 2;

pub(crate) struct AccessKeyAuth {
    context: Context,
    refusals: RefusalBudget,
    suspects: Semaphore,
}

#[tonic::async_trait]
impl AccessKeyAuthService for AccessKeyAuth {
    async fn authenticate_access_key(
        &self,
        request: Request<pb::AuthenticateAccessKeyRequest>,
    ) -> Result<Response<pb::AuthenticateAccessKeyResponse>, Status> {
        Ok(Response::new(self.authenticate(request).await?))
    }
}

struct Credentials {
    access_id: AccessId,
    key: AccessKey,
    narrow_to: Option<GatewayName>,
}

// === impl AccessKeyAuth ===

impl AccessKeyAuth {
    pub(crate) fn new(context: Context) -> Self {
        Self {
            context,
            refusals: RefusalBudget::default(),
            suspects: Semaphore::new(SUSPECTS_AT_ONCE),
        }
    }

    async fn authenticate(
        &self,
        request: Request<pb::AuthenticateAccessKeyRequest>,
    ) -> Result<pb::AuthenticateAccessKeyResponse, Error> {
        let (caller, deadline) = (request.caller()?, request.deadline()?);
        let credentials = parse(&request.into_inner())?;
        let peer = Peer::from(caller.ip);
        let _turn = self.turn(&caller, &credentials, deadline).await?;
        let token = AccessToken::generate().map_err(failure::of_randomness)?;
        let login = LogIn {
            access_id: credentials.access_id,
            key: credentials.key.hash(),
            narrow_to: credentials.narrow_to,
            token: token.hash(),
            accessor: Accessor::generate().map_err(failure::of_randomness)?,
            caller_ip: caller.ip,
            speaks_for: self.context.certificates.speaks_for(&caller),
            user_agent: caller.user_agent.clone().unwrap_or_default(),
            request_id: caller.request_id.to_string(),
            now: self.context.now(),
            maxima: self.context.token_maxima,
        };
        let logged_in = self.context.store.log_in(&login).await?;
        let granted = matches!(logged_in, LoggedIn::Granted { .. });
        self.context
            .metrics
            .asked_for_token(Login::AccessKey, granted);
        match logged_in {
            LoggedIn::Granted {
                expire_time,
                gateway,
            } => Ok(pb::AuthenticateAccessKeyResponse {
                access_token: token.expose().to_owned(),
                accessor: login.accessor.to_string(),
                expire_time: Some(time::timestamp(expire_time)),
                expires_in: Some(time::duration(expire_time.duration_since(login.now))),
                gateway: gateway.map(|name| name.to_string()).unwrap_or_default(),
                deployment_id: self.context.deployment()?.to_string(),
            }),
            LoggedIn::Refused(denial) => {
                if denial == KeyDenial::GatewayCertificate {
                    let credential = login.access_id.as_str();
                    self.context.certificates.refused(credential, &caller);
                }
                self.refusals.refused(peer, login.now);
                Err(refusal(denial))
            }
        }
    }

    /// Whoever comes from where too many were refused waits for a turn, unless the key in hand is a
    /// good one: nobody pays for another's mistakes.
    async fn turn(
        &self,
        caller: &Caller,
        credentials: &Credentials,
        deadline: Deadline,
    ) -> Result<Option<SemaphorePermit<'_>>, Error> {
        let now = self.context.now();
        if !self.refusals.is_spent(Peer::from(caller.ip), now) {
            return Ok(None);
        }
        let (id, key) = (&credentials.access_id, credentials.key.hash());
        if self.context.store.knows_key(id, &key, now).await? {
            return Ok(None);
        }
        let metrics = &self.context.metrics;
        metrics.limited.count(Scope::PeerRefusals);
        let slowed = LimitedCall {
            scope: Scope::PeerRefusals,
            method: Some(METHOD.to_owned()),
            caller: caller.clone(),
        };
        calls::limited(&self.context.store, now, &metrics.audit, slowed);
        // It is never closed.
        Ok(deadline.run(self.suspects.acquire()).await?.ok())
    }
}

/// One refusal for whoever hasn't shown the right key; who has may know what else is wrong.
fn refusal(denial: KeyDenial) -> Error {
    match denial {
        KeyDenial::GatewayUnknown => Error::invalid("gateway", "there is no gateway of that name"),
        KeyDenial::NarrowingNotAllowed => {
            Error::invalid("gateway", "only an administrator's token can be narrowed")
        }
        KeyDenial::GatewayCertificate => Error::permission_denied(
            "a gateway's key is good over a connection with that gateway's client certificate only",
        ),
        KeyDenial::AccessIdUnknown
        | KeyDenial::AccessKeyWrong
        | KeyDenial::GatewayDisabled
        | KeyDenial::MethodDisabled
        | KeyDenial::AccessExpired
        | KeyDenial::ClientIpNotBound => Error::LoginRefused,
    }
}

fn parse(request: &pb::AuthenticateAccessKeyRequest) -> Result<Credentials, Invalid> {
    let mut faults = Violations::default();
    let access_id = faults.check("access_id", request.access_id.parse());
    let key = faults.check("access_key", request.access_key.parse());
    let narrow_to = (!request.gateway.is_empty()).then(|| gateway(&request.gateway));
    let narrow_to = narrow_to.and_then(|gateway| faults.absorb(gateway));
    let (Some(access_id), Some(key)) = (access_id, key) else {
        return Err(faults.into_invalid());
    };
    faults.finish()?;
    Ok(Credentials {
        access_id,
        key,
        narrow_to,
    })
}

/// The bare name or the full one.
fn gateway(text: &str) -> Result<GatewayName, Invalid> {
    let name = text.strip_prefix("gateways/").unwrap_or(text);
    name.parse()
        .map_err(|fault| Invalid::field("gateway", format!("{fault}")))
}

#[cfg(test)]
mod tests;
