//! Access tokens, access keys, their hashes, and the accessors that name tokens without being one.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::{constant_time, digest, rand};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::{Zeroize as _, Zeroizing};

use crate::access_id::NoRandomness;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 62^43 > 2^256, and 62^22 > 2^128: every value has its own text.
const SECRET_DIGITS: usize = 43;
const ACCESSOR_DIGITS: usize = 22;

/// A secret that a login ends with: `t-` and 256 random bits as 43 characters of base62.
pub struct AccessToken(SecretString);

/// An administrator's or a gateway's credential: `k-` and 256 random bits as 43 characters of base62.
pub struct AccessKey(SecretString);

/// The SHA-256 of a token's or key's whole text, prefix included: all that a database holds.
///
/// Comparison takes the same time whatever differs.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

/// Names an access key without being a part of it: the first 16 hexadecimal digits of its SHA-256.
/// Whoever has a key can tell which one it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccessKeyId(String);

/// The public name of an access token: `a-` and 128 random bits as 22 characters of base62.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Accessor(String);

/// Why a text is no access token, access key or accessor. Never holds the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccessTokenError {
    /// Nothing was given.
    #[error("is empty")]
    Empty,
    /// Not an access token.
    #[error("is not an access token: `t-` and 43 letters or digits")]
    Token,
    /// Not an access key.
    #[error("is not an access key: `k-` and 43 letters or digits")]
    Key,
    /// Not the ID of an access key.
    #[error("is not an access key's ID: 16 hexadecimal digits")]
    KeyId,
    /// Not an accessor.
    #[error("is not an accessor: `a-` and 22 letters or digits")]
    Accessor,
}

/// A stored hash that isn't 32 bytes long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a SHA-256 hash: 32 bytes are needed")]
pub struct TokenHashError;

// === impl AccessToken ===

impl AccessToken {
    const PREFIX: &str = "t-";

    /// Draws a new one.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn generate() -> Result<Self, NoRandomness> {
        draw_secret(Self::PREFIX).map(Self)
    }

    /// Its text, for the one who may have it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// What may be stored of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(self.expose())
    }
}

impl FromStr for AccessToken {
    type Err = AccessTokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check(text, Self::PREFIX, SECRET_DIGITS, AccessTokenError::Token)?;
        Ok(Self(text.into()))
    }
}

// === impl AccessKey ===

impl AccessKey {
    const PREFIX: &str = "k-";

    /// Draws a new one.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn generate() -> Result<Self, NoRandomness> {
        draw_secret(Self::PREFIX).map(Self)
    }

    /// Its text, for the one who may have it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// What may be stored of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(self.expose())
    }
}

impl FromStr for AccessKey {
    type Err = AccessTokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check(text, Self::PREFIX, SECRET_DIGITS, AccessTokenError::Key)?;
        Ok(Self(text.into()))
    }
}

// === impl TokenHash ===

impl TokenHash {
    fn of(text: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
        Self(hash)
    }

    /// What a JWT is stored under, whose signature isn't the same each time that it is signed. No
    /// text of an opaque token has it.
    pub fn of_jwt(accessor: &Accessor) -> Self {
        Self::of(&format!("jwt {accessor}"))
    }

    /// Its 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl TryFrom<&[u8]> for TokenHash {
    type Error = TokenHashError;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        bytes.try_into().map(Self).map_err(|_| TokenHashError)
    }
}

impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for TokenHash {}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash")
    }
}

// === impl AccessKeyId ===

impl AccessKeyId {
    const DIGITS: usize = 16;

    /// Of the key with that hash.
    pub fn of(key: &TokenHash) -> Self {
        let bytes = &key.0[..Self::DIGITS / 2];
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccessKeyId {
    type Err = AccessTokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hexadecimal = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        match text {
            "" => Err(AccessTokenError::Empty),
            _ if text.len() == Self::DIGITS && text.bytes().all(hexadecimal) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(AccessTokenError::KeyId),
        }
    }
}

impl fmt::Display for AccessKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl Accessor ===

impl Accessor {
    const PREFIX: &str = "a-";

    /// Draws a new one.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn generate() -> Result<Self, NoRandomness> {
        let mut random = [0; 16];
        rand::fill(&mut random).map_err(|_| NoRandomness)?;
        let mut text = String::from(Self::PREFIX);
        push_base62::<ACCESSOR_DIGITS>(&mut text, &mut random);
        Ok(Self(text))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Accessor {
    type Err = AccessTokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check(
            text,
            Self::PREFIX,
            ACCESSOR_DIGITS,
            AccessTokenError::Accessor,
        )?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Accessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn draw_secret(prefix: &str) -> Result<SecretString, NoRandomness> {
    let mut random = Zeroizing::new([0; 32]);
    rand::fill(random.as_mut_slice()).map_err(|_| NoRandomness)?;
    // The exact capacity: neither a push nor the conversion leaves a copy behind.
    let mut text = String::with_capacity(prefix.len() + SECRET_DIGITS);
    text.push_str(prefix);
    push_base62::<SECRET_DIGITS>(&mut text, random.as_mut_slice());
    Ok(text.into())
}

/// Appends a big-endian number as `DIGITS` digits, leading zeros included, and consumes it.
fn push_base62<const DIGITS: usize>(text: &mut String, number: &mut [u8]) {
    let mut digits = [b'0'; DIGITS];
    for digit in digits.iter_mut().rev() {
        let mut remainder = 0u16;
        for byte in number.iter_mut() {
            let dividend = remainder << 8 | u16::from(*byte);
            // Below 256, since the remainder is below 62.
            *byte = (dividend / 62) as u8;
            remainder = dividend % 62;
        }
        *digit = ALPHABET[usize::from(remainder)];
    }
    text.extend(digits.iter().copied().map(char::from));
    digits.zeroize();
}

fn check(
    text: &str,
    prefix: &str,
    digits: usize,
    fault: AccessTokenError,
) -> Result<(), AccessTokenError> {
    if text.is_empty() {
        return Err(AccessTokenError::Empty);
    }
    let body = text.strip_prefix(prefix).ok_or(fault)?;
    if body.len() == digits && body.bytes().all(|b| b.is_ascii_alphanumeric()) {
        Ok(())
    } else {
        Err(fault)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn an_access_keys_id_is_the_beginning_of_its_hash_and_no_part_of_the_key() {
        let key: AccessKey = "k-0000000000000000000000000000000000000000000"
            .parse()
            .unwrap();
        let id = AccessKeyId::of(&key.hash());
        // printf %s k-000… | sha256sum | cut -c1-16
        assert_eq!(id.as_str(), "64ad063fa1bce85c");
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
        for wrong in [
            "",
            "F0",
            "0123456789abcde",
            "0123456789ABCDEF",
            "0123456789abcdefg",
        ] {
            assert!(wrong.parse::<AccessKeyId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_was_drawn_parses_and_differs_each_time() {
        let mut seen = HashSet::new();
        for _ in 0..50 {
            let token = AccessToken::generate().unwrap();
            let key = AccessKey::generate().unwrap();
            let accessor = Accessor::generate().unwrap();
            assert_eq!(token.expose().len(), 45);
            assert!(token.expose().parse::<AccessToken>().is_ok());
            assert!(key.expose().parse::<AccessKey>().is_ok());
            assert_eq!(accessor.as_str().parse(), Ok(accessor.clone()));
            assert!(seen.insert(token.expose().to_owned()));
            assert!(seen.insert(key.expose().to_owned()));
            assert!(seen.insert(accessor.to_string()));
        }
    }

    #[test]
    fn base62_has_a_fixed_width_and_loses_nothing() {
        let encode = |mut number: [u8; 32]| {
            let mut text = String::new();
            push_base62::<SECRET_DIGITS>(&mut text, &mut number);
            assert_eq!(number, [0; 32], "a remainder was left");
            text
        };
        let small = |value: u8| {
            let mut number = [0; 32];
            number[31] = value;
            encode(number)
        };
        let zeros = "0".repeat(SECRET_DIGITS);
        assert_eq!(small(0), zeros);
        assert_eq!(small(61), format!("{}z", &zeros[1..]));
        assert_eq!(small(62), format!("{}10", &zeros[2..]));
        assert_eq!(encode([255; 32]).len(), SECRET_DIGITS);
    }

    #[test]
    fn what_is_no_token_is_refused_without_its_text() {
        let body = "Ab9".repeat(14) + "x";
        assert!(format!("t-{body}").parse::<AccessToken>().is_ok());
        for text in [
            format!("k-{body}"),
            format!("T-{body}"),
            format!("t-{body}1"),
            format!("t-{}", &body[1..]),
            format!(" t-{body}"),
            format!("t-{body}\n"),
            format!("t-{}é", &body[2..]),
            format!("t-{}-", &body[1..]),
            body.clone(),
        ] {
            let error = text.parse::<AccessToken>().err().unwrap();
            assert_eq!(error, AccessTokenError::Token, "{text}");
            assert!(!error.to_string().contains("Ab9"));
        }
        let key = format!("t-{body}").parse::<AccessKey>();
        assert_eq!(key.err(), Some(AccessTokenError::Key));
        assert_eq!("".parse::<AccessKey>().err(), Some(AccessTokenError::Empty));
        let accessor = format!("a-{body}").parse::<Accessor>();
        assert_eq!(accessor, Err(AccessTokenError::Accessor));
    }

    #[test]
    fn the_hash_is_of_the_whole_text_and_prints_nothing() {
        let text = format!("t-{}", "0".repeat(SECRET_DIGITS));
        let hash = text.parse::<AccessToken>().unwrap().hash();
        let expected = digest::digest(&digest::SHA256, text.as_bytes());
        assert_eq!(hash.as_bytes(), expected.as_ref());
        assert_eq!(TokenHash::try_from(expected.as_ref()), Ok(hash));
        assert_ne!(hash, AccessToken::generate().unwrap().hash());
        let key: AccessKey = text.replace("t-", "k-").parse().unwrap();
        assert_ne!(hash, key.hash());
        assert_eq!(TokenHash::try_from(&[0u8; 31][..]), Err(TokenHashError));
        assert_eq!(format!("{hash:?}"), "TokenHash");
    }
}
