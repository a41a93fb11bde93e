//! Tokens taken apart, altered, and put together.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;

/// The header and the claims of a token.
pub(crate) fn decode(token: &str) -> (Value, Value) {
    let mut parts = token
        .split('.')
        .map(|part| URL_SAFE_NO_PAD.decode(part).unwrap());
    let mut json = || serde_json::from_slice(&parts.next().unwrap()).unwrap();
    (json(), json())
}

pub(crate) fn encode(header: &Value, claims: &Value, signature: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", part(header), part(claims))
}

pub(crate) fn sign(header: &Value, claims: &Value, key: &KeyPair) -> String {
    let unsigned = encode(header, claims, "");
    let message = unsigned.trim_end_matches('.');
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        message.as_bytes(),
        &mut signature,
    )
    .unwrap();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A token with the same header and claims, whose signature differs in one character in its middle.
pub(crate) fn with_wrong_signature(token: &str) -> String {
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (before, rest) = signature.split_at(signature.len() / 2);
    let other = if rest.starts_with('A') { 'B' } else { 'A' };
    format!("{message}.{before}{other}{}", &rest[1..])
}

pub(crate) fn read_key(path: &str) -> KeyPair {
    match PrivateKeyDer::from_pem_file(path).unwrap() {
        PrivateKeyDer::Pkcs8(key) => KeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap(),
        PrivateKeyDer::Pkcs1(key) => KeyPair::from_der(key.secret_pkcs1_der()).unwrap(),
        _ => panic!("{path} is no RSA key"),
    }
}
