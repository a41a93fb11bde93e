//! The little that must be known of a key's DER before the crypto library may have it, to say what is wrong with it.

use x509_parser::asn1_rs::{Any, Class, FromDer, Oid, Tag};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519,
};

use super::{KeyError, SigningAlgorithm};

const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The algorithm of a PKCS#8 `PrivateKeyInfo`, and the key inside.
pub(super) fn private_key_info(der: &[u8]) -> Result<(SigningAlgorithm, &[u8]), KeyError> {
    let (_version, rest) = next(whole_sequence(der)?, Tag::Integer)?;
    let (identifier, rest) = next(rest, Tag::Sequence)?;
    let algorithm = algorithm(identifier)?;
    let (key, _attributes) = next(rest, Tag::OctetString)?;
    Ok((algorithm, key))
}

/// The algorithm of a `SubjectPublicKeyInfo`, and the key inside.
pub(super) fn public_key_info(der: &[u8]) -> Result<(SigningAlgorithm, &[u8]), KeyError> {
    let (identifier, rest) = next(whole_sequence(der)?, Tag::Sequence)?;
    let algorithm = algorithm(identifier)?;
    match next(rest, Tag::BitString)? {
        // The first byte counts the unused bits of the last.
        ([0, key @ ..], []) => Ok((algorithm, key)),
        _ => Err(KeyError::Malformed),
    }
}

/// Refuses a SEC1 `ECPrivateKey` that names a curve other than P-256.
pub(super) fn check_sec1_curve(der: &[u8]) -> Result<(), KeyError> {
    let (_version, rest) = next(whole_sequence(der)?, Tag::Integer)?;
    let (_key, rest) = next(rest, Tag::OctetString)?;
    match any(rest) {
        Ok((_, parameters)) if is_first_optional(&parameters) => check_curve(parameters.data),
        _ => Ok(()),
    }
}

/// Refuses an `RSAPrivateKey` whose modulus has fewer than 2048 or more than 8192 bits.
pub(super) fn check_rsa_private_size(der: &[u8]) -> Result<(), KeyError> {
    let (_version, rest) = next(whole_sequence(der)?, Tag::Integer)?;
    check_modulus(rest)
}

/// Refuses an `RSAPublicKey` whose modulus has fewer than 2048 or more than 8192 bits.
pub(super) fn check_rsa_public_size(der: &[u8]) -> Result<(), KeyError> {
    check_modulus(whole_sequence(der)?)
}

fn check_modulus(numbers: &[u8]) -> Result<(), KeyError> {
    let (modulus, _rest) = next(numbers, Tag::Integer)?;
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let bits = match modulus.get(zeros) {
        Some(first) => (modulus.len() - zeros) * 8 - first.leading_zeros() as usize,
        None => 0,
    };
    if RSA_BITS.contains(&bits) {
        Ok(())
    } else {
        Err(KeyError::RsaSize(bits))
    }
}

fn algorithm(identifier: &[u8]) -> Result<SigningAlgorithm, KeyError> {
    let (oid, parameters) = next(identifier, Tag::Oid)?;
    let oid = Oid::new(oid.into());
    if oid == OID_PKCS1_RSAENCRYPTION {
        Ok(SigningAlgorithm::Rs256)
    } else if oid == OID_SIG_ED25519 {
        Ok(SigningAlgorithm::Ed25519)
    } else if oid == OID_KEY_TYPE_EC_PUBLIC_KEY {
        check_curve(parameters).map(|()| SigningAlgorithm::Es256)
    } else {
        Err(KeyError::Algorithm)
    }
}

/// A curve spelled out in numbers instead of named is refused too: see CVE-2020-0601.
fn check_curve(parameters: &[u8]) -> Result<(), KeyError> {
    match next(parameters, Tag::Oid) {
        Ok((oid, _)) if Oid::new(oid.into()) == OID_EC_P256 => Ok(()),
        _ => Err(KeyError::Curve),
    }
}

fn is_first_optional(element: &Any<'_>) -> bool {
    element.class() == Class::ContextSpecific && element.tag() == Tag(0)
}

/// The content of a sequence that fills all of `der`.
fn whole_sequence(der: &[u8]) -> Result<&[u8], KeyError> {
    match next(der, Tag::Sequence)? {
        (content, []) => Ok(content),
        _ => Err(KeyError::Malformed),
    }
}

/// The content of the next element, which must have this tag, and what follows it.
fn next(der: &[u8], tag: Tag) -> Result<(&[u8], &[u8]), KeyError> {
    let (rest, element) = any(der)?;
    if element.class() == Class::Universal && element.tag() == tag {
        Ok((element.data, rest))
    } else {
        Err(KeyError::Malformed)
    }
}

fn any(der: &[u8]) -> Result<(&[u8], Any<'_>), KeyError> {
    Any::from_der(der).map_err(|_| KeyError::Malformed)
}
