//! Assertions: what a gateway signs, and the control plane turns into a token.
//!
//! A compact JWS with `typ` `postern-assertion+jwt`. It carries verified facts and the SHA-256 of
//! a token that the gateway drew, never a pod's token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::access_id::AccessId;
use crate::access_token::TokenHash;
use crate::auth_method::Kubernetes;
use crate::facts::Facts;
use crate::k8s_auth_config::{MAX_TOKEN_EXP, TokenExp};
use crate::key::{PublicKey, SigningKey};
use crate::policy::Grant;
use crate::reason::DenyReason;
use crate::resource_id::GatewayName;

/// The JWS's `typ`.
pub const TYPE: &str = "postern-assertion+jwt";
/// How far `iat` may be from the control plane's clock.
pub const MAX_SKEW: SignedDuration = SignedDuration::from_secs(60);
/// The longest assertion that is read, in bytes.
pub const MAX_LENGTH: usize = 32 * 1024;

/// What an assertion says beside the grant.
#[derive(Debug, Clone)]
pub struct Terms {
    /// SHA-256 of the token that the gateway drew, or of the one to renew.
    pub token: TokenHash,
    /// The token is there already, and is to live longer.
    pub renews: bool,
    /// The K8s auth config that the login came through.
    pub config_uid: Uuid,
    /// The config's seal that it came through.
    pub generation: i64,
    /// The gateway that signs.
    pub gateway: GatewayName,
    /// Which replica of it.
    pub instance: String,
    /// The deployment that it is for.
    pub deployment: Uuid,
    /// Issue time.
    pub now: Timestamp,
    /// How long it may be exchanged.
    pub life: TokenExp,
    /// Drawn for this assertion; makes it good once.
    pub jti: Uuid,
}

/// What a verified assertion says.
#[derive(Debug, Clone)]
pub struct Claims {
    /// The method.
    pub access_id: AccessId,
    /// Good once per method.
    pub jti: Uuid,
    /// When the assertion ends.
    pub expire_time: Timestamp,
    /// SHA-256 of the token to issue, or to renew.
    pub token: TokenHash,
    /// The token was issued before, and is to live longer.
    pub renews: bool,
    /// The K8s auth config that the login came through.
    pub config_uid: Uuid,
    /// The config's seal that it came through, to be compared with the current one.
    pub generation: i64,
    /// The gateway that signed, to be compared with the caller.
    pub gateway: GatewayName,
    /// Which replica of it, for the record.
    pub instance: String,
    /// What was verified.
    pub facts: Facts,
}

/// The library refused to sign.
#[derive(Debug, thiserror::Error)]
#[error("the assertion couldn't be signed")]
pub struct SignError(#[from] jsonwebtoken::errors::Error);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireClaims {
    iss: String,
    aud: Uuid,
    iat: i64,
    exp: i64,
    jti: Uuid,
    token_sha256: String,
    // Left out where it is false: a control plane that knows no renewal refuses one, and takes all else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    renews: bool,
    config_uid: Uuid,
    generation: i64,
    gateway: String,
    instance: String,
    facts: Facts,
}

/// Exactly the header that [`sign`] writes: anything else (`crit`, `jku`, `jwk`, …) is refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireHeader {
    typ: String,
    alg: String,
    kid: String,
}

/// Signs what was granted.
///
/// # Errors
/// When the key can't sign, which a parsed key always can.
pub fn sign(grant: Grant, terms: &Terms, key: &SigningKey) -> Result<String, SignError> {
    let mut header = Header::new(key.algorithm().jws());
    header.typ = Some(TYPE.to_owned());
    header.kid = Some(key.public().id().as_str().to_owned());
    let issued = terms.now.as_second();
    let claims = WireClaims {
        iss: grant.access_id().to_string(),
        aud: terms.deployment,
        iat: issued,
        exp: issued.saturating_add(terms.life.get().as_secs().cast_signed()),
        jti: terms.jti,
        token_sha256: URL_SAFE_NO_PAD.encode(terms.token.as_bytes()),
        renews: terms.renews,
        config_uid: terms.config_uid,
        generation: terms.generation,
        gateway: terms.gateway.to_string(),
        instance: terms.instance.clone(),
        facts: grant.facts().clone(),
    };
    Ok(jsonwebtoken::encode(&header, &claims, key.encoding_key())?)
}

/// Verifies an assertion for the method of `access_id`.
///
/// Which gateway presents it, which config it names and whether its `jti` is new are the
/// caller's to check.
///
/// # Errors
/// The reason of the first check that failed; nothing in the assertion is believed before its
/// signature.
pub fn verify(
    jws: &str,
    access_id: &AccessId,
    method: &Kubernetes,
    deployment: Uuid,
    now: Timestamp,
) -> Result<Claims, DenyReason> {
    let key = signer(jws, method, now)?;
    let claims = signed_claims(jws, key)?;
    if claims.iss != access_id.as_str() {
        return Err(DenyReason::AssertionIssuerMismatch);
    }
    if claims.aud != deployment {
        return Err(DenyReason::AssertionAudienceMismatch);
    }
    let expire_time = check_times(claims.iat, claims.exp, now)?;
    let token = URL_SAFE_NO_PAD
        .decode(&claims.token_sha256)
        .ok()
        .and_then(|bytes| TokenHash::try_from(bytes.as_slice()).ok())
        .ok_or(DenyReason::AssertionMalformed)?;
    Ok(Claims {
        access_id: access_id.clone(),
        jti: claims.jti,
        expire_time,
        token,
        renews: claims.renews,
        config_uid: claims.config_uid,
        generation: claims.generation,
        gateway: claims
            .gateway
            .parse()
            .map_err(|_| DenyReason::AssertionMalformed)?,
        instance: claims.instance,
        facts: claims.facts,
    })
}

/// The `kid` that an assertion says; nothing is verified here.
pub fn key_id(jws: &str) -> Option<String> {
    header(jws).map(|header| header.kid)
}

fn header(jws: &str) -> Option<WireHeader> {
    let header = jws.split('.').next().unwrap_or_default();
    let bytes = URL_SAFE_NO_PAD.decode(header).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn signer<'m>(
    jws: &str,
    method: &'m Kubernetes,
    now: Timestamp,
) -> Result<&'m PublicKey, DenyReason> {
    if jws.len() > MAX_LENGTH {
        return Err(DenyReason::AssertionMalformed);
    }
    let header = header(jws).ok_or(DenyReason::AssertionMalformed)?;
    if header.typ != TYPE {
        return Err(DenyReason::AssertionMalformed);
    }
    let key = method.key(&header.kid, now)?;
    // The key says which algorithm is used, never the header.
    let algorithm: Result<jsonwebtoken::Algorithm, _> = header.alg.parse();
    if algorithm.ok() != Some(key.algorithm().jws()) {
        return Err(DenyReason::AssertionSignatureInvalid);
    }
    Ok(key)
}

fn signed_claims(jws: &str, key: &PublicKey) -> Result<WireClaims, DenyReason> {
    use jsonwebtoken::errors::ErrorKind;
    let mut validation = Validation::new(key.algorithm().jws());
    // Times and audience are compared in `verify`, with the caller's clock.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    jsonwebtoken::decode::<WireClaims>(jws, key.decoding_key(), &validation)
        .map(|data| data.claims)
        .map_err(|error| match error.kind() {
            ErrorKind::InvalidSignature => DenyReason::AssertionSignatureInvalid,
            _ => DenyReason::AssertionMalformed,
        })
}

fn check_times(iat: i64, exp: i64, now: Timestamp) -> Result<Timestamp, DenyReason> {
    let issued = Timestamp::from_second(iat).map_err(|_| DenyReason::AssertionMalformed)?;
    let expires = Timestamp::from_second(exp).map_err(|_| DenyReason::AssertionMalformed)?;
    let life = expires.duration_since(issued);
    let too_long = life.unsigned_abs() > MAX_TOKEN_EXP || !life.is_positive();
    let off = now.duration_since(issued).abs() > MAX_SKEW;
    if too_long || off || expires <= now {
        return Err(DenyReason::AssertionStale);
    }
    Ok(expires)
}

#[cfg(test)]
mod tests;
