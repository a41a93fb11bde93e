//! Access tokens in the form of JWTs, which others verify without asking.
//!
//! ES256, and nothing else: the header that a token comes with never chooses how it is verified.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, Header, Validation};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::access_id::{AccessId, AccessType};
use crate::access_token::Accessor;
use crate::facts::SubClaims;
use crate::key::{KeyId, PublicKey, SigningAlgorithm, SigningKey};

/// The longest token that is read, in bytes.
pub const MAX_LENGTH: usize = 16 * 1024;
/// The longest claims that a token is made of, in bytes of JSON: in base64, with header, issuer and
/// signature beside them, they are below [`MAX_LENGTH`].
pub const MAX_CLAIMS_LENGTH: usize = 11 * 1024;
const MAX_ISSUER_LENGTH: usize = 512;
/// The JWS's `typ`: assertions have another one.
const TYPE: &str = "JWT";
/// How far the clocks of two replicas may be from each other.
const SKEW: SignedDuration = SignedDuration::from_secs(60);

/// Who issues, as a URL below which others find the keys: https, without query and without a `/` at the end, at most 512 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IssuerUrl(String);

/// A text that is no issuer's URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an https URL without user, query and fragment, of at most 512 bytes")]
pub struct IssuerUrlError;

/// What a token says but its issuer, which is the same for all: stored, so that a login whose answer was lost is
/// answered with the same claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// Whom it stands for.
    pub sub: String,
    /// Whom it is for.
    pub aud: Vec<String>,
    /// When it was issued, in seconds since 1970 UTC.
    pub iat: i64,
    /// From when on it is good.
    pub nbf: i64,
    /// When it ends.
    pub exp: i64,
    /// Its accessor.
    pub jti: String,
    /// The auth method's access ID.
    pub access_id: String,
    /// What was verified of the workload.
    pub sub_claims: SubClaims,
    /// IDs of the roles that it had when it was issued.
    pub roles: Vec<String>,
}

#[derive(Serialize)]
struct Signed<'c> {
    iss: &'c IssuerUrl,
    #[serde(flatten)]
    claims: &'c Claims,
}

/// What is read of a token: the rest is in the database.
#[derive(Deserialize)]
struct Presented {
    iss: String,
    aud: Vec<String>,
    jti: String,
    nbf: i64,
    exp: i64,
}

/// What no other issuer's token says together.
#[derive(Deserialize)]
struct Marks {
    jti: String,
    access_id: String,
}

/// Exactly the header that [`sign`] writes: anything else (`crit`, `jku`, `jwk`, …) is refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireHeader {
    typ: String,
    alg: String,
    kid: String,
}

/// A text that may be a token of ours. Nothing is verified yet.
#[derive(Debug)]
pub struct Unverified<'t> {
    text: &'t str,
    key_id: KeyId,
}

/// What a token that was verified says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The token's accessor.
    pub accessor: Accessor,
    /// Who issued it.
    pub iss: String,
    /// Whom it is for.
    pub aud: Vec<String>,
    /// When it ends. One that was renewed has an earlier end than what it was renewed to.
    pub expire_time: Timestamp,
}

/// The library refused to sign.
#[derive(Debug, thiserror::Error)]
#[error("the token couldn't be signed")]
pub struct SignError(#[from] jsonwebtoken::errors::Error);

/// Signs a token.
///
/// # Errors
/// When the key can't sign, which a parsed key always can.
pub fn sign(
    issuer: &IssuerUrl,
    claims: &Claims,
    key: &SigningKey,
) -> Result<SecretString, SignError> {
    let mut header = Header::new(key.algorithm().jws());
    header.typ = Some(TYPE.to_owned());
    header.kid = Some(key.public().id().to_string());
    let signed = Signed {
        iss: issuer,
        claims,
    };
    Ok(jsonwebtoken::encode(&header, &signed, key.encoding_key())?.into())
}

// === impl Unverified ===

impl<'t> Unverified<'t> {
    /// `None` for what this control plane can't have signed.
    pub fn parse(text: &'t str) -> Option<Self> {
        if text.len() > MAX_LENGTH {
            return None;
        }
        let (header, _) = text.split_once('.')?;
        let bytes = URL_SAFE_NO_PAD.decode(header).ok()?;
        let header: WireHeader = serde_json::from_slice(&bytes).ok()?;
        let known = header.typ == TYPE && header.alg == "ES256";
        Some(Self {
            key_id: header.kid.parse().ok().filter(|_| known)?,
            text,
        })
    }

    /// The key that it says it was signed with.
    pub fn key_id(&self) -> &KeyId {
        &self.key_id
    }

    /// The accessor of what looks like a token of ours, and like no other issuer's: a cluster never
    /// writes an accessor and the access ID of a method for workloads. Nothing is verified.
    pub fn accessor(&self) -> Option<Accessor> {
        let mut parts = self.text.split('.').skip(1);
        let (claims, signature) = (parts.next()?, parts.next()?);
        if parts.next().is_some() || URL_SAFE_NO_PAD.decode(signature).is_err() {
            return None;
        }
        let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
        let Marks { jti, access_id } = serde_json::from_slice(&claims).ok()?;
        let access_id: AccessId = access_id.parse().ok()?;
        let workloads = access_id.access_type() == AccessType::Kubernetes;
        jti.parse().ok().filter(|_| workloads)
    }

    /// What it says, if `key` is its key and signed it, and its time has come and isn't over.
    pub fn verify(&self, key: &PublicKey, now: Timestamp) -> Option<Verified> {
        if key.id() != &self.key_id || key.algorithm() != SigningAlgorithm::Es256 {
            return None;
        }
        let mut validation = Validation::new(Algorithm::ES256);
        // Times are compared with the caller's clock; the audience is for whoever the token is for.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let decoded =
            jsonwebtoken::decode::<Presented>(self.text, key.decoding_key(), &validation).ok()?;
        let Presented {
            iss,
            aud,
            jti,
            nbf,
            exp,
        } = decoded.claims;
        let from = Timestamp::from_second(nbf).ok()?;
        let until = Timestamp::from_second(exp).ok()?;
        let begun = from.duration_since(now) <= SKEW;
        let accessor = jti.parse().ok().filter(|_| begun && now < until)?;
        Some(Verified {
            accessor,
            iss,
            aud,
            expire_time: until,
        })
    }
}

// === impl IssuerUrl ===

impl IssuerUrl {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The URL of a page below it; `path` begins with `/`.
    pub fn page(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }
}

impl FromStr for IssuerUrl {
    type Err = IssuerUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text.trim()).map_err(|_| IssuerUrlError)?;
        let user = !url.username().is_empty() || url.password().is_some();
        if url.scheme() != "https"
            || url.host().is_none()
            || user
            || url.query().is_some()
            || url.fragment().is_some()
            || url.as_str().len() > MAX_ISSUER_LENGTH
        {
            return Err(IssuerUrlError);
        }
        Ok(Self(url.as_str().trim_end_matches('/').to_owned()))
    }
}

impl TryFrom<String> for IssuerUrl {
    type Error = IssuerUrlError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<IssuerUrl> for String {
    fn from(url: IssuerUrl) -> Self {
        url.0
    }
}

impl fmt::Display for IssuerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
