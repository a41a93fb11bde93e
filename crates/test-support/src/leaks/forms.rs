//! The forms in which a secret may turn up.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// The secret part of `value` as it is, then its other forms.
pub(super) fn forms(value: &str) -> Vec<Vec<u8>> {
    let value = value.trim();
    let mut forms = Vec::new();
    if let Some(pem) = base64_of_pem(value) {
        forms.extend(pem_forms(&pem, fixed_start));
    }
    if is_jwt(value) {
        // The header is the same in every token of an issuer.
        let after_header = value.split_once('.').map_or(value, |(_, rest)| rest);
        forms.extend(encodings(after_header.as_bytes()));
    } else if is_pem(value) {
        forms.extend(pem_forms(value, fixed_start));
    } else if forms.is_empty() {
        forms.extend(encodings(value.as_bytes()));
    }
    forms
}

/// Every form of the whole of a value that is not secret.
pub(super) fn public_forms(value: &str) -> Vec<Vec<u8>> {
    let value = value.trim();
    let mut forms = encodings(value.as_bytes());
    if is_pem(value) {
        forms.extend(pem_forms(value, |_| 0));
    }
    forms
}

fn is_pem(value: &str) -> bool {
    value.starts_with("-----BEGIN ")
}

fn is_jwt(value: &str) -> bool {
    value.starts_with("eyJ") && value.split('.').count() == 3
}

fn base64_of_pem(value: &str) -> Option<String> {
    let decoded = String::from_utf8(STANDARD.decode(value).ok()?).ok()?;
    is_pem(&decoded).then_some(decoded)
}

/// The characters of a key's body that name its algorithm and are the same in every such key.
fn fixed_start(body: &str) -> usize {
    (body.len() / 3).min(48)
}

/// Both the lines as they stand and joined: a copy may be wrapped elsewhere, or not at all.
/// `fixed_start` says how much of the body to leave out, at most a line.
fn pem_forms(pem: &str, fixed_start: fn(&str) -> usize) -> Vec<Vec<u8>> {
    let lines: Vec<&str> = pem
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("-----"))
        .collect();
    let joined = lines.concat();
    let fixed = fixed_start(&joined);
    let wrapped = lines.join("\n");
    let mut forms = encodings(&joined.as_bytes()[fixed..]);
    forms.extend(encodings(&wrapped.as_bytes()[fixed..]));
    if let Ok(der) = STANDARD.decode(&joined) {
        let own = &der[fixed.div_ceil(4) * 3..];
        forms.extend([
            own.to_vec(),
            hex(own).into_bytes(),
            hex(own).to_uppercase().into_bytes(),
        ]);
    }
    forms
}

fn encodings(value: &[u8]) -> Vec<Vec<u8>> {
    let hex = hex(value);
    let mut forms = vec![
        value.to_vec(),
        percent(value),
        hex.to_uppercase().into_bytes(),
        hex.into_bytes(),
    ];
    // Inside a larger text that is encoded as a whole, a value begins at any of three phases.
    for phase in 0..3 {
        let shifted = [&[0; 2][..phase], value].concat();
        let foreign = [0, 2, 3][phase];
        for encoded in [
            STANDARD_NO_PAD.encode(&shifted),
            URL_SAFE_NO_PAD.encode(&shifted),
        ] {
            let shared_end = usize::from(!shifted.len().is_multiple_of(3));
            let own = foreign..encoded.len() - shared_end;
            forms.push(encoded.as_bytes()[own].to_vec());
        }
    }
    forms
}

fn hex(value: &[u8]) -> String {
    value.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn percent(value: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(value.len());
    for &byte in value {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte);
        } else {
            encoded.extend(format!("%{byte:02X}").bytes());
        }
    }
    encoded
}
