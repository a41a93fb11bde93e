//! The table of permissions, enforced.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderMap;
use postern_proto::permissions::{self, Need, Server};

use crate::caller::{BearerToken, Caller};
use crate::deadline::Deadline;
use crate::error::{self, Error, Reason};
use crate::metrics::Scope;
use crate::request_id::{RELAYED, RequestId};

/// One call that somebody has to be allowed to make.
#[derive(Debug)]
pub struct Call {
    /// Never [`Need::Anonymous`].
    pub need: Need,
    /// `/package.Service/Method`, a row of the table.
    pub method: String,
    pub caller: Caller,
    pub deadline: Deadline,
    pub bearer: BearerToken,
    /// There whenever `need` is [`Need::GatewayOnBehalf`] or [`Need::GatewayAsking`]. A method that doesn't need it
    /// gives it no weight.
    pub on_behalf_of: Option<BearerToken>,
}

/// How a server knows who is calling: the control plane asks its database, a gateway asks
/// the control plane.
pub trait Authorizer: Clone + Send + Sync + 'static {
    /// Proof that the call is allowed, for the handler: `request.identity()`.
    type Identity: Clone + Send + Sync + 'static;

    /// # Errors
    /// UNAUTHENTICATED, PERMISSION_DENIED, or UNAVAILABLE when it can't be found out.
    fn authorize(&self, call: Call) -> impl Future<Output = Result<Self::Identity, Error>> + Send;

    /// A call was refused, by the table or by [`Authorizer::authorize`]. The answer waits for it.
    fn refused(&self, refused: Refused) -> impl Future<Output = ()> + Send;

    /// A limit turned a call away. Anybody can cause that in floods: it must cost next to nothing, and waits for
    /// nobody.
    fn limited(&self, limited: LimitedCall);

    /// A call that was allowed is about to be answered. The answer waits for it.
    fn answered(
        &self,
        identity: Self::Identity,
        answered: Answered,
    ) -> impl Future<Output = ()> + Send;
}

/// A call that nobody allows.
#[derive(Debug)]
pub struct Refused {
    /// `None` for one that the table doesn't know.
    pub method: Option<String>,
    pub caller: Caller,
    pub reason: Reason,
}

/// A call that a limit turned away or slowed down.
#[derive(Debug)]
pub struct LimitedCall {
    /// Which limit.
    pub scope: Scope,
    /// `None` for one that the server doesn't know.
    pub method: Option<String>,
    pub caller: Caller,
}

/// A call that its handler has answered; a stream's answer begins.
#[derive(Debug)]
pub struct Answered {
    pub method: String,
    pub caller: Caller,
    /// What the caller says that its own caller's request ID is.
    pub relayed_request_id: Option<RequestId>,
    pub failure: Option<Reason>,
}

pub(crate) async fn authorize<A: Authorizer>(
    State(authorizer): State<A>,
    mut request: Request,
    next: Next,
) -> Response {
    let call = match call(&request) {
        Ok(Some(call)) => call,
        Ok(None) => return next.run(request).await,
        Err(error) => return refuse(&authorizer, refusal(&request, &error), error).await,
    };
    let (method, caller) = (call.method.clone(), call.caller.clone());
    let identity = match authorizer.authorize(call).await {
        Ok(identity) => identity,
        Err(error) => return refuse(&authorizer, refusal(&request, &error), error).await,
    };
    let relayed_request_id = relayed(request.headers());
    request.extensions_mut().insert(identity.clone());
    let response = next.run(request).await;
    let answered = Answered {
        method,
        caller,
        relayed_request_id,
        failure: error::failure(response.headers()),
    };
    authorizer.answered(identity, answered).await;
    response
}

fn relayed(headers: &HeaderMap) -> Option<RequestId> {
    RequestId::parse(headers.get(RELAYED)?.to_str().ok()?)
}

/// Of those errors that say something about the caller.
fn refusal(request: &Request, error: &Error) -> Option<Refused> {
    let reason = error.reason();
    let method = request.uri().path();
    matches!(
        reason,
        Reason::Unauthenticated | Reason::OnBehalfUnauthenticated | Reason::PermissionDenied
    )
    .then_some(())?;
    Some(Refused {
        method: permissions::need(method).map(|_| method.to_owned()),
        caller: extension(request).ok()?,
        reason,
    })
}

async fn refuse<A: Authorizer>(authorizer: &A, refused: Option<Refused>, error: Error) -> Response {
    if let Some(refused) = refused {
        authorizer.refused(refused).await;
    }
    error::answer(error)
}

/// For the port that pods reach, where administrators have one of their own.
pub(crate) async fn no_administrators(
    State(server): State<Server>,
    request: Request,
    next: Next,
) -> Response {
    match permissions::need(request.uri().path()) {
        Some(Need::Holder(_) | Need::Narrowed(_)) if server == Server::Gateway => {
            error::answer(Error::permission_denied(
                "administrators' calls are taken at this gateway's `admin_listen` address only",
            ))
        }
        _ => next.run(request).await,
    }
}

/// `None` for a method that needs nothing.
fn call(request: &Request) -> Result<Option<Call>, Error> {
    let method = request.uri().path();
    let need = permissions::need(method)
        .ok_or_else(|| Error::permission_denied("no rule allows this method"))?;
    if need == Need::Anonymous {
        return Ok(None);
    }
    let (bearer, on_behalf_of) = credentials(need, request.headers())?;
    Ok(Some(Call {
        need,
        method: method.to_owned(),
        caller: extension(request)?,
        deadline: extension(request)?,
        bearer,
        on_behalf_of,
    }))
}

fn credentials(
    need: Need,
    headers: &HeaderMap,
) -> Result<(BearerToken, Option<BearerToken>), Error> {
    let bearer = BearerToken::from_authorization(headers).map_err(|_| Error::Unauthenticated)?;
    let on_behalf_of =
        BearerToken::from_on_behalf_of(headers).map_err(|_| Error::OnBehalfUnauthenticated)?;
    let bearer = bearer.ok_or(Error::Unauthenticated)?;
    match need {
        Need::GatewayOnBehalf(_) | Need::GatewayAsking if on_behalf_of.is_none() => {
            Err(Error::OnBehalfUnauthenticated)
        }
        Need::GatewayOnBehalf(_)
        | Need::GatewayAsking
        | Need::Anonymous
        | Need::Holder(_)
        | Need::Narrowed(_)
        | Need::Gateway
        | Need::GatewayOnBehalfOrHolder(_)
        | Need::OwnTokenOr(_)
        | Need::OwnToken => Ok((bearer, on_behalf_of)),
    }
}

fn extension<T: Clone + Send + Sync + 'static>(request: &Request) -> Result<T, Error> {
    let missing = || Error::internal("a layer is missing");
    request.extensions().get::<T>().cloned().ok_or_else(missing)
}
