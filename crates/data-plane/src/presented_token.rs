//! A service-account token as a pod presents it: its shape, and what it says about itself.
//!
//! Nothing here verifies. What a token says serves to refuse it before the API server is asked;
//! once the API server has said yes, `iat` and `exp` of these very bytes count as verified.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use postern_core::auth_method::Kubernetes;
use postern_core::jwks::{Jwks, SignatureFault};
use postern_core::k8s_auth_config::Issuers;
use postern_core::reason::DenyReason;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

pub(crate) use self::claims::Claims;
use self::json::Object;

mod claims;
mod json;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

/// The longest token that is looked at, in bytes.
pub(crate) const MAX_LENGTH: usize = 16 * 1024;
/// What clusters sign with: kube-apiserver's own keys, and external signers.
const ALGORITHMS: [&str; 6] = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512"];
/// Headers that ask a verifier to take a key, or rules, from the token itself.
const FORBIDDEN_HEADERS: [&str; 5] = ["crit", "jku", "jwk", "x5u", "x5c"];

/// A JWT of at most 16 KiB with an acceptable header, whose claims could be read. Secret.
pub(crate) struct PresentedToken {
    text: SecretString,
    algorithm: String,
    /// `kid`: which key signed it. Never empty.
    key_id: Option<String>,
    claims: Claims,
}

/// Why a presented text isn't taken to an API server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// Not a JWT at all: the caller's mistake, and the fault in words.
    Shape(&'static str),
    /// A JWT that no cluster issues: refused like any other.
    Denied(DenyReason),
}

// === impl PresentedToken ===

impl PresentedToken {
    /// Looks at a text in linear time and flat memory, whatever it is.
    ///
    /// # Errors
    /// See [`Rejection`]; it never holds a part of the text.
    pub(crate) fn parse(text: SecretString) -> Result<Self, Rejection> {
        let [header, payload, signature] = parts(text.expose_secret()).map_err(Rejection::Shape)?;
        let header = object(header, "has a header that is not a JSON object")?;
        let payload = object(payload, "has a payload that is not a JSON object")?;
        decode(signature).ok_or(Rejection::Shape("has a signature that is not base64url"))?;
        let algorithm = check_header(&header).map_err(Rejection::Denied)?;
        if signature.is_empty() {
            return Err(Rejection::Denied(DenyReason::TokenSignatureEmpty));
        }
        let key_id = claims::text(&header, "kid").map_err(Rejection::Denied)?;
        let claims = Claims::read(&payload).map_err(Rejection::Denied)?;
        Ok(Self {
            text,
            algorithm,
            key_id: key_id.filter(|id| !id.is_empty()),
            claims,
        })
    }

    /// The token, for the API server alone.
    pub(crate) fn text(&self) -> &SecretString {
        &self.text
    }

    /// What the token says, unverified.
    pub(crate) fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Which key it says signed it.
    pub(crate) fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// Whether the key that it names signed these very bytes. After that, all that it says is what the holder of that
    /// key said.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn signed_with(&self, keys: &Jwks) -> Result<(), SignatureFault> {
        let id = self.key_id.as_deref().ok_or(SignatureFault::UnknownKey)?;
        let signed = self.text.expose_secret().rsplit_once('.');
        let (message, signature) = signed.ok_or(SignatureFault::Wrong)?;
        let signature = decode(signature).ok_or(SignatureFault::Wrong)?;
        keys.verify(id, &self.algorithm, message.as_bytes(), &signature)
    }

    /// Refuses what the API server or the method would refuse anyway, so that it isn't asked.
    /// Passing proves nothing.
    ///
    /// # Errors
    /// The reason.
    pub(crate) fn check_early(
        &self,
        issuers: &Issuers,
        method: &Kubernetes,
        now: Timestamp,
    ) -> Result<(), DenyReason> {
        self.claims.check_early(issuers, method, now)
    }
}

/// The three parts, after the checks that cost least.
fn parts(text: &str) -> Result<[&str; 3], &'static str> {
    if text.is_empty() {
        return Err("is empty");
    }
    if text.len() > MAX_LENGTH {
        return Err("is longer than 16 KiB");
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if !text.bytes().all(allowed) {
        return Err("has a character that no JWT has");
    }
    let mut parts = text.split('.');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(header), Some(payload), Some(signature), None) => Ok([header, payload, signature]),
        _ => Err("does not have the three parts of a JWT"),
    }
}

fn object(part: &str, fault: &'static str) -> Result<Object, Rejection> {
    let bytes = decode(part).ok_or(Rejection::Shape(fault))?;
    json::object(&bytes).map_err(|error| match error {
        json::Error::NotAnObject => Rejection::Shape(fault),
        json::Error::DuplicateKey => Rejection::Denied(DenyReason::TokenDuplicateClaim),
    })
}

fn decode(part: &str) -> Option<Zeroizing<Vec<u8>>> {
    URL_SAFE_NO_PAD.decode(part).ok().map(Zeroizing::new)
}

/// Its algorithm.
fn check_header(header: &Object) -> Result<String, DenyReason> {
    let algorithm = header.get("alg").and_then(|alg| alg.as_str());
    let algorithm = algorithm.filter(|alg| ALGORITHMS.contains(alg));
    let algorithm = algorithm.ok_or(DenyReason::TokenAlgorithmNotAllowed)?;
    if FORBIDDEN_HEADERS
        .iter()
        .any(|name| header.contains_key(*name))
    {
        return Err(DenyReason::TokenHeaderNotAllowed);
    }
    Ok(algorithm.to_owned())
}
