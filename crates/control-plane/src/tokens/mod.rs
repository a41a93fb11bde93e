//! TokenService: what a token is worth.
//!
//! Every question goes to the database, and where that can't be asked the answer is UNAVAILABLE:
//! nothing about a token is remembered here.

mod about;
mod answer;

use postern_core::access_token::{Accessor, TokenHash};
use postern_core::permission::Permission;
use postern_core::role::Authorization;
use postern_proto::pb;
use postern_proto::pb::token_service_server::{TokenService, TokenServiceServer};
use postern_rpc::error::Error;
use postern_rpc::http::introspection::{Introspector, Question};
use tonic::{Request, Response, Status};

use crate::authorization::asked;
use crate::context::Context;
use crate::identity::{Administrator, Asker};
use crate::metrics::Login;
use crate::store::{Ask, Inspection, Renewal, Renewed, Revocation, Session, Shown, WhichToken};

use about::About;

/// Questions that come over plain HTTP.
pub(crate) struct Introspection(pub(crate) Context);

/// The longest request, in bytes: a token of 16 KiB and addresses.
const MAX_REQUEST: usize = 32 * 1024;

pub(crate) struct Tokens(Context);

#[tonic::async_trait]
impl TokenService for Tokens {
    async fn introspect(
        &self,
        request: Request<pb::IntrospectRequest>,
    ) -> Result<Response<pb::IntrospectResponse>, Status> {
        let message = request.get_ref();
        let about = About::of(&request, &message.token, &message.caller_address)?;
        let answer = inspect(&self.0, &about, &message.client_address).await?;
        Ok(Response::new(answer))
    }

    async fn authorize(
        &self,
        request: Request<pb::AuthorizeRequest>,
    ) -> Result<Response<pb::AuthorizeResponse>, Status> {
        Ok(Response::new(self.decide(&request).await?))
    }

    async fn revoke(
        &self,
        request: Request<pb::RevokeRequest>,
    ) -> Result<Response<pb::RevokeResponse>, Status> {
        Ok(Response::new(self.end(request).await?))
    }

    async fn renew(
        &self,
        request: Request<pb::TokenServiceRenewRequest>,
    ) -> Result<Response<pb::TokenServiceRenewResponse>, Status> {
        Ok(Response::new(self.prolong(request).await?))
    }
}

impl Introspector for Introspection {
    async fn introspect(&self, question: Question) -> Result<pb::IntrospectResponse, Error> {
        let asker = Asker {
            token: question.asker,
            through: None,
        };
        let about = About::new(asker, question.caller, question.token.expose());
        inspect(&self.0, &about, &question.client_address).await
    }
}

/// What a token is worth, for its holder or for whoever may ask about others' tokens.
async fn inspect(
    context: &Context,
    about: &About<'_>,
    client_address: &str,
) -> Result<pb::IntrospectResponse, Error> {
    let shown = shown(context, about, client_address).await?;
    let answer = introspected(context, about, shown).await?;
    context.metrics.introspected(answer.active);
    Ok(answer)
}

/// Where the token was shown. Who asks about another's must be allowed to, and says it.
async fn shown(context: &Context, about: &About<'_>, client_address: &str) -> Result<Shown, Error> {
    if !about.is_own() {
        about.permitted(about.session(context).await?, Permission::TokensCheck)?;
        return Ok(about.shown_from(about::address("client_address", client_address)?));
    }
    if client_address.is_empty() {
        return Ok(about.shown_here());
    }
    Err(Error::invalid(
        "client_address",
        "must be empty: a token that asks about itself is where its caller is",
    ))
}

async fn introspected(
    context: &Context,
    about: &About<'_>,
    shown: Shown,
) -> Result<pb::IntrospectResponse, Error> {
    let Some((token, jwt)) = about.known(context).await? else {
        return Ok(answer::inactive());
    };
    let now = context.now();
    let inspection = Inspection { token, shown, now };
    let found = context.store.introspect(&inspection).await?;
    let deployment = context.deployment()?;
    Ok(found.map_or_else(answer::inactive, |found| {
        answer::active(found, jwt, deployment, now)
    }))
}

// === impl Tokens ===

impl Tokens {
    pub(crate) fn service(context: Context) -> TokenServiceServer<Self> {
        TokenServiceServer::new(Self(context)).max_decoding_message_size(MAX_REQUEST)
    }

    async fn decide(
        &self,
        request: &Request<pb::AuthorizeRequest>,
    ) -> Result<pb::AuthorizeResponse, Error> {
        let message = request.get_ref();
        let about = About::of(request, &message.token, &message.caller_address)?;
        let shown = shown(&self.0, &about, &message.client_address).await?;
        let (path, capability) = asked(&message.path, message.capability())?;
        let Some(token) = about.token(&self.0).await? else {
            return Ok(answer::decided(Authorization::NotAllowed));
        };
        let now = self.0.now();
        let inspection = Inspection { token, shown, now };
        let ask = Ask {
            inspection,
            path,
            capability,
        };
        Ok(answer::decided(self.0.store.authorize(&ask).await?))
    }

    /// What is no token of ours has ended already.
    async fn end(&self, request: Request<pb::RevokeRequest>) -> Result<pb::RevokeResponse, Error> {
        let message = request.get_ref();
        let about = About::of(&request, &message.token, &message.caller_address)?;
        let (which, by) = if message.accessor.is_empty() {
            let by = match about.is_own() {
                true => None,
                false => Some(self.revoker(&about, about.session(&self.0).await?)?),
            };
            (about.token(&self.0).await?.map(WhichToken::Hash), by)
        } else {
            let session = about.session(&self.0).await?;
            let own = matches!(&session.1, Session::Holder { accessor, .. }
                if accessor.as_str() == message.accessor);
            let by = match own {
                true => None,
                false => Some(self.revoker(&about, session)?),
            };
            (Some(WhichToken::Accessor(named(message)?)), by)
        };
        if let Some(which) = which {
            let own = by.is_none();
            let revocation = Revocation {
                which,
                own,
                cause: about.cause(&self.0, by),
            };
            if self.0.store.revoke(&revocation).await? {
                self.0.metrics.revoked(own);
            }
        }
        Ok(pb::RevokeResponse {})
    }

    fn revoker(
        &self,
        about: &About<'_>,
        session: (TokenHash, Session),
    ) -> Result<Administrator, Error> {
        about.permitted(session, Permission::TokensRevoke)
    }

    async fn prolong(
        &self,
        request: Request<pb::TokenServiceRenewRequest>,
    ) -> Result<pb::TokenServiceRenewResponse, Error> {
        let about = About::of(&request, "", &request.get_ref().caller_address)?;
        let token = about.token(&self.0).await?;
        let token = token.ok_or_else(|| about.unknown())?;
        let renewal = Renewal {
            token,
            shown: about.shown_here(),
            cause: about.cause(&self.0, None),
            maxima: self.0.token_maxima,
        };
        let renewed = self.0.store.renew(&renewal).await?;
        let granted = matches!(renewed, Renewed::Until(_));
        self.0.metrics.asked_for_token(Login::Renewal, granted);
        match renewed {
            Renewed::Until(token) => Ok(answer::renewed(&token, renewal.cause.now)),
            Renewed::Dead => Err(about.unknown()),
            Renewed::NotRenewable => Err(Error::permission_denied(
                "this token isn't renewed here: a workload's is renewed at its gateway, with a current service-account token; instead of any other, log in again",
            )),
        }
    }
}

fn named(message: &pb::RevokeRequest) -> Result<Accessor, Error> {
    if !message.token.is_empty() {
        return Err(Error::invalid(
            "accessor",
            "stands beside token: say one of them",
        ));
    }
    let accessor = message.accessor.parse();
    accessor.map_err(|fault| Error::invalid("accessor", format!("{fault}")))
}
