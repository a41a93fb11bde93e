//! JWTs: signed once the exchange is committed, and known again when they are shown.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use postern_core::access_token::{AccessToken, TokenHash};
use postern_core::jwt::{self, Unverified, Verified};
use postern_core::key::SigningKey;
use postern_rpc::error::Error;
use secrecy::SecretString;

use crate::context::Context;
use crate::signing_keys;
use crate::store::{CantSign, Signer, Store, StoreError, Unsigned};

/// The private key that was opened last: opening one takes longer than a signature.
#[derive(Default)]
pub(crate) struct Opened(Mutex<Option<Arc<SigningKey>>>);

/// What the database knows a token by, opaque or JWT; `None` for what is no token of ours.
pub(crate) async fn known_by(
    store: &Store,
    text: &str,
    now: Timestamp,
) -> Result<Option<TokenHash>, StoreError> {
    let known = known(store, text, now).await?;
    Ok(known.map(|(token, _)| token))
}

/// And, of a JWT, what it says itself.
pub(crate) async fn known(
    store: &Store,
    text: &str,
    now: Timestamp,
) -> Result<Option<(TokenHash, Option<Verified>)>, StoreError> {
    if let Ok(token) = text.parse::<AccessToken>() {
        return Ok(Some((token.hash(), None)));
    }
    let Some(jwt) = Unverified::parse(text) else {
        return Ok(None);
    };
    let Some(boxed) = store.signing_key(jwt.key_id(), now).await? else {
        return Ok(None);
    };
    let verified = jwt.verify(&boxed.published.key, now);
    Ok(verified.map(|jwt| (TokenHash::of_jwt(&jwt.accessor), Some(jwt))))
}

/// The token itself.
pub(crate) fn sign(context: &Context, unsigned: &Unsigned) -> Result<SecretString, Error> {
    let issuer = context.issuer.as_ref();
    let issuer = issuer.ok_or_else(|| Error::internal(CantSign::NoIssuer))?;
    let signer = unsigned.signer.as_ref();
    let signer = signer.ok_or_else(|| Error::internal(CantSign::NoKey))?;
    let key = context.opened.key(context, signer)?;
    jwt::sign(issuer, &unsigned.claims, &key).map_err(Error::internal)
}

// === impl Opened ===

impl Opened {
    fn key(&self, context: &Context, signer: &Signer) -> Result<Arc<SigningKey>, Error> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = &*last
            && *key.public().id() == signer.key_id
        {
            return Ok(Arc::clone(key));
        }
        let (id, sealed) = (&signer.key_id, &signer.sealed);
        let key = signing_keys::open(&context.keys, context.deployment()?, id, sealed);
        let key = Arc::new(key.map_err(Error::internal)?);
        *last = Some(Arc::clone(&key));
        Ok(key)
    }
}
