//! Access IDs: the public identifiers of auth methods and gateways' credentials.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::rand;

const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// What a holder of an access ID proves itself with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessType {
    /// A Kubernetes service-account token.
    Kubernetes,
    /// An access key.
    AccessKey,
}

/// `p-` and 12 or 14 of `[A-Za-z0-9]`; the second-to-last is the type: `k` or `a`.
///
/// KEDA's and Dapr's clients derive the type from that letter.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccessId(String);

/// Why a text isn't an access ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccessIdError {
    /// Nothing was given.
    #[error("is empty")]
    Empty,
    /// Not of the shape.
    #[error("is not an access ID: `p-` and 12 or 14 letters or digits")]
    Shape,
    /// An unknown type letter.
    #[error("is not an access ID: its second-to-last character is neither `k` nor `a`")]
    Type,
}

/// The system's source of randomness failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system's random source failed")]
pub struct NoRandomness;

// === impl AccessId ===

impl AccessId {
    /// Draws a new one of 14 characters: 71 random bits, unique by the database's constraint.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn generate(access_type: AccessType) -> Result<Self, NoRandomness> {
        let mut random = [0u8; 14];
        rand::fill(&mut random).map_err(|_| NoRandomness)?;
        let mut id = String::from("p-");
        for (i, byte) in random.into_iter().enumerate() {
            // 256 isn't a multiple of 62: the slight bias is fine for an identifier that is no secret.
            let letter = match (i, access_type) {
                (12, AccessType::Kubernetes) => b'k',
                (12, AccessType::AccessKey) => b'a',
                _ => ALPHABET[usize::from(byte) % ALPHABET.len()],
            };
            id.push(char::from(letter));
        }
        Ok(Self(id))
    }

    /// The type that its second-to-last letter says.
    pub fn access_type(&self) -> AccessType {
        match self.0.as_bytes()[self.0.len() - 2] {
            b'a' => AccessType::AccessKey,
            _ => AccessType::Kubernetes,
        }
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccessId {
    type Err = AccessIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(AccessIdError::Empty);
        }
        let body = text.strip_prefix("p-").ok_or(AccessIdError::Shape)?;
        let alphanumeric = body.bytes().all(|b| b.is_ascii_alphanumeric());
        if !alphanumeric || !matches!(body.len(), 12 | 14) {
            return Err(AccessIdError::Shape);
        }
        match body.as_bytes()[body.len() - 2] {
            b'k' | b'a' => Ok(Self(text.to_owned())),
            _ => Err(AccessIdError::Type),
        }
    }
}

impl fmt::Display for AccessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_id_parses_and_keeps_its_type() {
        for access_type in [AccessType::Kubernetes, AccessType::AccessKey] {
            let id = AccessId::generate(access_type).unwrap();
            let parsed: AccessId = id.as_str().parse().unwrap();
            assert_eq!(parsed.access_type(), access_type);
            assert_eq!(parsed, id);
        }
    }

    #[test]
    fn what_is_no_access_id_is_refused() {
        for (text, error) in [
            ("", AccessIdError::Empty),
            ("p-", AccessIdError::Shape),
            ("x-abcdefghijkl", AccessIdError::Shape),
            ("p-abcdefghijkk1", AccessIdError::Shape),
            ("p-abcdefghij.k", AccessIdError::Shape),
            ("p-abcdefghijxl", AccessIdError::Type),
            ("p-abcdefghijklmé", AccessIdError::Shape),
        ] {
            assert_eq!(text.parse::<AccessId>(), Err(error), "{text}");
        }
        assert!("p-abcdefghijkl".parse::<AccessId>().is_ok());
        assert!("p-abcdefghijklam".parse::<AccessId>().is_ok());
    }
}
