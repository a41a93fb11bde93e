//! PEM, as text or as base64 of that text: what people have in files and in shell variables.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

/// The longest input in bytes.
pub const MAX_LENGTH: usize = 64 * 1024;

const MAX_LABEL: usize = 40;
const LINE_WIDTH: usize = 64;

pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a text is neither PEM nor base64 of PEM. Blocks count from 1; never holds the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// Nothing but white space.
    #[error("is empty")]
    Empty,
    /// More than [`MAX_LENGTH`] bytes.
    #[error("is longer than 64 KiB")]
    TooLong,
    /// No `-----BEGIN` line, nor base64.
    #[error("is neither PEM nor base64 of PEM")]
    NotPem,
    /// Base64, of DER for example.
    #[error("is base64, but not of PEM")]
    Base64OfOther,
    /// A `BEGIN` line that holds more than the label.
    #[error(
        "block {0}: the BEGIN line isn't of the form `-----BEGIN LABEL-----` (were line breaks lost?)"
    )]
    Begin(usize),
    /// No `END` line, or one with another label.
    #[error("block {0}: the END line that belongs to its BEGIN line is missing")]
    End(usize),
    /// Its body isn't base64, or is empty.
    #[error("block {0}: its content isn't base64")]
    Body(usize),
    /// Encrypted in the old way, by `Proc-Type: 4,ENCRYPTED`.
    #[error("block {0}: is encrypted; decrypt it first")]
    Encrypted(usize),
}

/// One decoded block.
pub(crate) struct Block {
    /// Upper-case letters, digits and spaces, at most 40.
    pub(crate) label: String,
    pub(crate) der: Zeroizing<Vec<u8>>,
}

/// The blocks of PEM or base64 of PEM (standard alphabet; padding and line breaks don't matter) as PEM with lines of 64
/// characters, each ended by `\n`. Text outside the blocks is dropped.
///
/// # Errors
/// What is wrong, and with which block.
pub fn normalise(text: &str) -> Result<String, PemError> {
    let blocks = blocks(text)?;
    Ok(blocks
        .iter()
        .map(|block| encode(&block.label, &block.der).to_string())
        .collect())
}

/// The decoded blocks, never none.
pub(crate) fn blocks(text: &str) -> Result<Vec<Block>, PemError> {
    if text.len() > MAX_LENGTH {
        return Err(PemError::TooLong);
    }
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Err(PemError::Empty);
    }
    if text.contains("-----BEGIN ") {
        return parse(text);
    }
    let packed: Zeroizing<String> =
        Zeroizing::new(text.chars().filter(|c| !c.is_ascii_whitespace()).collect());
    let bytes = BASE64
        .decode(packed.as_bytes())
        .map(Zeroizing::new)
        .map_err(|_| PemError::NotPem)?;
    match std::str::from_utf8(&bytes) {
        Ok(inner) if inner.contains("-----BEGIN ") => parse(inner),
        _ => Err(PemError::Base64OfOther),
    }
}

/// A PEM block.
pub(crate) fn encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(der));
    let lines = body.len().div_ceil(LINE_WIDTH);
    // The exact capacity, so that growing leaves no copy of a private key behind.
    let markers = "-----BEGIN -----\n-----END -----\n".len() + 2 * label.len();
    let mut pem = Zeroizing::new(String::with_capacity(body.len() + lines + markers));
    for part in ["-----BEGIN ", label, "-----\n"] {
        pem.push_str(part);
    }
    for (i, c) in body.chars().enumerate() {
        if i > 0 && i % LINE_WIDTH == 0 {
            pem.push('\n');
        }
        pem.push(c);
    }
    for part in ["\n-----END ", label, "-----\n"] {
        pem.push_str(part);
    }
    pem
}

fn parse(text: &str) -> Result<Vec<Block>, PemError> {
    let mut blocks = Vec::new();
    let mut open: Option<(&str, Zeroizing<String>)> = None;
    for line in text.split(['\n', '\r']).map(str::trim) {
        let number = blocks.len() + 1;
        match &mut open {
            None if line.contains("-----BEGIN ") => {
                let label = marker(line, "-----BEGIN ").ok_or(PemError::Begin(number))?;
                open = Some((label, Zeroizing::new(String::with_capacity(text.len()))));
            }
            // Tools write comments and certificates' contents around the blocks (RFC 7468, section 5.2).
            None => {}
            Some((label, body)) if line.starts_with("-----") => {
                if marker(line, "-----END ") != Some(*label) {
                    return Err(PemError::End(number));
                }
                let der = BASE64.decode(body.as_bytes()).map(Zeroizing::new);
                let der = der
                    .ok()
                    .filter(|der| !der.is_empty())
                    .ok_or(PemError::Body(number))?;
                blocks.push(Block {
                    label: (*label).to_owned(),
                    der,
                });
                open = None;
            }
            Some(_) if line.starts_with("Proc-Type:") && line.contains("ENCRYPTED") => {
                return Err(PemError::Encrypted(number));
            }
            Some((_, body)) => body.push_str(line),
        }
    }
    match open {
        Some(_) => Err(PemError::End(blocks.len() + 1)),
        None => Ok(blocks),
    }
}

fn marker<'a>(line: &'a str, start: &str) -> Option<&'a str> {
    let label = line.strip_prefix(start)?.strip_suffix("-----")?;
    let plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b' ';
    let fits = !label.is_empty() && label.len() <= MAX_LABEL;
    (fits && label.bytes().all(plain)).then_some(label)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD as WITH_PADDING;

    use super::*;

    const PEM: &str = "-----BEGIN THING-----\naGVsbG8=\n-----END THING-----\n";

    #[test]
    fn text_and_base64_in_any_layout_become_the_same_pem() {
        let base64 = WITH_PADDING.encode(PEM);
        let wrapped = format!("  {}\r\n{}\n", &base64[..20], &base64[20..]);
        for text in [
            PEM.to_owned(),
            PEM.replace('\n', "\r\n"),
            PEM.replace('\n', "\r"),
            format!("\u{feff}# a comment\n\n  {PEM}\ntrailing words"),
            PEM.replace("aGVs", "aGVs\n"),
            base64.trim_end_matches('=').to_owned(),
            wrapped,
            base64,
        ] {
            assert_eq!(normalise(&text).as_deref(), Ok(PEM), "{text}");
        }
    }

    #[test]
    fn long_content_is_wrapped_at_64_characters_and_survives() {
        for length in [1, 47, 48, 49, 500] {
            let der = vec![7; length];
            let pem = encode("THING", &der);
            assert!(pem.lines().all(|line| line.len() <= 64 && !line.is_empty()));
            assert_eq!(pem.capacity(), pem.len());
            let blocks = blocks(&pem).unwrap();
            assert_eq!(*blocks[0].der, der);
            assert_eq!(normalise(&pem).as_deref(), Ok(pem.as_str()));
        }
    }

    #[test]
    fn several_blocks_keep_their_order() {
        let two = format!("{PEM}between\n{}", PEM.replace("THING", "OTHER THING"));
        let labels: Vec<_> = blocks(&two).unwrap().into_iter().map(|b| b.label).collect();
        assert_eq!(labels, ["THING", "OTHER THING"]);
    }

    #[test]
    fn faults_are_told_apart() {
        let second_broken = format!("{PEM}{}", PEM.replace("aGVsbG8=", "*"));
        let encrypted = PEM.replace("aGVs", "Proc-Type: 4,ENCRYPTED\nDEK-Info: x\n\naGVs");
        for (text, error) in [
            (String::new(), PemError::Empty),
            (" \n".to_owned(), PemError::Empty),
            ("A".repeat(MAX_LENGTH + 1), PemError::TooLong),
            ("not pem".to_owned(), PemError::NotPem),
            ("caf\u{e9}".to_owned(), PemError::NotPem),
            (
                WITH_PADDING.encode([0x30, 0x82, 0xff]),
                PemError::Base64OfOther,
            ),
            (
                WITH_PADDING.encode(WITH_PADDING.encode(PEM)),
                PemError::Base64OfOther,
            ),
            (PEM.replace('\n', " "), PemError::Begin(1)),
            (PEM.replace('\n', "\\n"), PemError::Begin(1)),
            (PEM.replace("-----END THING-----", ""), PemError::End(1)),
            (PEM.replace("END THING", "END OTHER"), PemError::End(1)),
            (format!("-----BEGIN A-----\n{PEM}"), PemError::End(1)),
            (PEM.replace("aGVsbG8=", ""), PemError::Body(1)),
            (second_broken, PemError::Body(2)),
            (encrypted, PemError::Encrypted(1)),
        ] {
            assert_eq!(normalise(&text), Err(error), "{text:.60}");
        }
    }
}
