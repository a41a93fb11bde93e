//! Bearer credentials of reviewers.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

/// The longest bearer credential, in bytes.
const MAX_BEARER: usize = 16 * 1024;

/// A bearer token that may create TokenReviews.
#[derive(Clone)]
pub struct ReviewerToken(SecretString);

/// A Rancher API key, `token-…:…`.
#[derive(Clone)]
pub struct RancherApiKey(SecretString);

/// Why a text can't be a bearer token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReviewerTokenError {
    /// Nothing was given.
    #[error("is empty")]
    Empty,
    /// More than 16 KiB.
    #[error("is longer than 16 KiB")]
    TooLong,
    /// Can't stand in an HTTP header.
    #[error("has a character that no bearer token has (is it base64 of a file, or a file's name?)")]
    Character,
}

fn bearer(text: &str, more: &[u8]) -> Result<SecretString, ReviewerTokenError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(ReviewerTokenError::Empty);
    }
    if text.len() > MAX_BEARER {
        return Err(ReviewerTokenError::TooLong);
    }
    // RFC 6750's b64token.
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b) || more.contains(&b);
    if !text.bytes().all(allowed) {
        return Err(ReviewerTokenError::Character);
    }
    Ok(SecretString::from(text))
}

// === impl ReviewerToken ===

impl FromStr for ReviewerToken {
    type Err = ReviewerTokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        bearer(text, b"").map(Self)
    }
}

impl ReviewerToken {
    /// The token, for the `authorization` header of its own API server and for sealing.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// When it says that it expires, if it is a JWT that says so. Nothing is decided by it: the
    /// API server does that.
    pub fn expire_time(&self) -> Option<Timestamp> {
        #[derive(serde::Deserialize)]
        struct Payload {
            exp: i64,
        }
        let payload = self.expose().split('.').nth(1)?;
        let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
        let payload: Payload = serde_json::from_slice(&payload).ok()?;
        Timestamp::from_second(payload.exp).ok()
    }
}

// === impl RancherApiKey ===

impl FromStr for RancherApiKey {
    type Err = ReviewerTokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        bearer(text, b":").map(Self)
    }
}

impl RancherApiKey {
    /// The key, for the `authorization` header of its own Rancher server and for sealing.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_that_cant_be_sent_is_refused() {
        for text in ["", " ", "a b", "a\nb", "é", &"a".repeat(16 * 1024 + 1)] {
            assert!(text.parse::<ReviewerToken>().is_err());
            assert!(text.parse::<RancherApiKey>().is_err());
        }
        assert!("eyJ.a-b_c.d\n".parse::<ReviewerToken>().is_ok());
        assert!("token-abcde:x".parse::<ReviewerToken>().is_err());
        assert!("token-abcde:x\n".parse::<RancherApiKey>().is_ok());
    }
}
