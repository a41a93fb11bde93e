//! Which token somebody asks about, and whether they may.

use std::net::IpAddr;

use postern_core::access_id::AccessType;
use postern_core::access_token::TokenHash;
use postern_core::jwt::Verified;
use postern_core::permission::{Permission, Permissions};
use postern_rpc::caller::Caller;
use postern_rpc::error::Error;
use postern_rpc::request::RequestExt as _;
use tonic::Request;

use crate::authorizer;
use crate::context::Context;
use crate::identity::{Administrator, Asker};
use crate::jwts;
use crate::store::{Cause, Session, Shown};

/// A token that somebody asks about.
pub(super) struct About<'m> {
    asker: Asker,
    /// Who asks. Behind a gateway, as that saw it.
    caller: Caller,
    /// `None`: the asker's own.
    another: Option<&'m str>,
}

/// An address that somebody says; an unknown one is empty.
pub(super) fn address(field: &str, text: &str) -> Result<Option<IpAddr>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let address: Result<IpAddr, _> = text.parse();
    match address {
        Ok(address) => Ok(Some(address.to_canonical())),
        Err(_) => Err(Error::invalid(field, "is no IP address")),
    }
}

impl<'m> About<'m> {
    /// `token` is empty for the caller's own. `caller_address` is where a gateway saw its caller:
    /// nobody else may say it.
    pub(super) fn of<T>(
        request: &Request<T>,
        token: &'m str,
        caller_address: &str,
    ) -> Result<Self, Error> {
        let (asker, mut caller) = (Asker::of(request)?, request.caller()?);
        if asker.through.is_some() {
            caller.ip = address("caller_address", caller_address)?;
            // Of the gateway's own call, not of its caller's.
            caller.user_agent = None;
            caller.request_id = asker.request_id(request).unwrap_or(caller.request_id);
        } else if !caller_address.is_empty() {
            let fault = "is for gateways to say; leave it empty";
            return Err(Error::invalid("caller_address", fault));
        }
        Ok(Self::new(asker, caller, token))
    }

    pub(super) fn new(asker: Asker, caller: Caller, token: &'m str) -> Self {
        let own = token.is_empty() || token == asker.token.expose();
        Self {
            another: (!own).then_some(token),
            asker,
            caller,
        }
    }

    pub(super) fn is_own(&self) -> bool {
        self.another.is_none()
    }

    /// What the database knows it by; `None` for what is no token of ours.
    pub(super) async fn token(&self, context: &Context) -> Result<Option<TokenHash>, Error> {
        let text = self.another.unwrap_or(self.asker.token.expose());
        Ok(jwts::known_by(&context.store, text, context.now()).await?)
    }

    /// And, of a JWT, what it says itself.
    pub(super) async fn known(
        &self,
        context: &Context,
    ) -> Result<Option<(TokenHash, Option<Verified>)>, Error> {
        let text = self.another.unwrap_or(self.asker.token.expose());
        Ok(jwts::known(&context.store, text, context.now()).await?)
    }

    /// Where its holder shows it: there where the call comes from.
    pub(super) fn shown_here(&self) -> Shown {
        self.shown_from(self.caller.ip)
    }

    pub(super) fn shown_from(&self, client_ip: Option<IpAddr>) -> Shown {
        let through = self.asker.through.as_ref();
        Shown {
            client_ip,
            through: through.map(|gateway| gateway.identity.name.clone()),
        }
    }

    /// The asker's own token and whom it stands for: one use of it.
    pub(super) async fn session(&self, context: &Context) -> Result<(TokenHash, Session), Error> {
        let own = self.asker.token.expose();
        let token = jwts::known_by(&context.store, own, context.now()).await?;
        let token = token.ok_or_else(|| self.unknown())?;
        let session = context
            .store
            .session_at(&token, self.caller.ip, context.now())
            .await?;
        Ok((token, session.ok_or_else(|| self.unknown())?))
    }

    /// The asker's own token is no good.
    pub(super) fn unknown(&self) -> Error {
        match self.asker.through {
            None => Error::Unauthenticated,
            Some(_) => Error::OnBehalfUnauthenticated,
        }
    }

    /// The asker, who may ask about others' tokens.
    pub(super) fn permitted(
        &self,
        (token, session): (TokenHash, Session),
        permission: Permission,
    ) -> Result<Administrator, Error> {
        let holder = authorizer::holder(token, session, permission, self.caller.ip)?;
        // A gateway sees what it relays, and an administrator's token opens more than this.
        let administrator = holder.access_id.access_type() == AccessType::AccessKey;
        if self.asker.through.is_some() && administrator {
            return Err(Error::permission_denied(
                "an administrator asks the control plane itself about others' tokens, not a gateway",
            ));
        }
        Ok(holder)
    }

    /// What a record says. Its own holder is known when the token is found.
    pub(super) fn cause(&self, context: &Context, by: Option<Administrator>) -> Cause {
        let caller = self.caller.clone();
        let gateway = self.asker.through.as_ref();
        let (access_id, accessor, permissions) = match by {
            None => (String::new(), String::new(), Permissions::default()),
            Some(by) => (
                by.access_id.to_string(),
                by.accessor.to_string(),
                by.permissions,
            ),
        };
        Cause {
            now: context.now(),
            request_id: caller.request_id.to_string(),
            access_id,
            accessor,
            gateway: gateway.map_or_else(String::new, |it| it.identity.name.to_string()),
            caller_ip: caller.ip,
            user_agent: caller.user_agent.unwrap_or_default(),
            permissions,
        }
    }
}
