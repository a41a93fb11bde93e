//! CA bundles: the certificates that an API server's certificate is checked against.

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::pem::{self, Block, PemError};

const MAX_SUBJECT: usize = 200;

/// At least one X.509 certificate, as PEM. Its certificates may have expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaBundle {
    pem: String,
}

/// Why a text is no CA bundle. Blocks count from 1; never holds the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CaBundleError {
    /// Neither PEM nor base64 of PEM.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A private key, which has no business there.
    #[error("block {0}: is a private key; only certificates belong here")]
    PrivateKey(usize),
    /// Something else than a certificate.
    #[error("block {block}: is of type `{label}`; only certificates belong here")]
    NotCertificate {
        /// Which block.
        block: usize,
        /// The label of its `BEGIN` line.
        label: String,
    },
    /// A certificate that X.509 doesn't know.
    #[error("block {0}: is not an X.509 certificate")]
    Malformed(usize),
}

impl CaBundle {
    /// Reads PEM or base64 of PEM, at most 64 KiB, and warns of each certificate that isn't valid at `now`: one sentence each,
    /// with the certificate's subject and the date. Bundles carry an old certificate beside the new one while a CA is replaced,
    /// so that isn't an error.
    ///
    /// # Errors
    /// The first block that isn't a certificate.
    pub fn parse(text: &str, now: Timestamp) -> Result<(Self, Vec<String>), CaBundleError> {
        let mut bundle = String::new();
        let mut warnings = Vec::new();
        for (i, block) in pem::blocks(text)?.iter().enumerate() {
            warnings.extend(check(i + 1, block, now)?);
            bundle.push_str(&pem::encode(&block.label, &block.der));
        }
        Ok((Self { pem: bundle }, warnings))
    }

    /// SHA-256 of each certificate's public key (its SubjectPublicKeyInfo), in their order.
    pub fn key_hashes(&self) -> Vec<[u8; 32]> {
        let blocks = pem::blocks(&self.pem).unwrap_or_default();
        let hash = |block: &Block| {
            let (_, certificate) = X509Certificate::from_der(&block.der).ok()?;
            let hash = digest(&SHA256, certificate.public_key().raw);
            hash.as_ref().try_into().ok()
        };
        blocks.iter().filter_map(hash).collect()
    }

    /// Its certificates, in their order, as PEM with `\n` line ends and nothing between them.
    pub fn pem(&self) -> &str {
        &self.pem
    }
}

fn check(number: usize, block: &Block, now: Timestamp) -> Result<Option<String>, CaBundleError> {
    if block.label.ends_with("PRIVATE KEY") {
        return Err(CaBundleError::PrivateKey(number));
    }
    if block.label != "CERTIFICATE" {
        let label = block.label.clone();
        return Err(CaBundleError::NotCertificate {
            block: number,
            label,
        });
    }
    let malformed = CaBundleError::Malformed(number);
    let Ok(([], certificate)) = X509Certificate::from_der(&block.der) else {
        return Err(malformed);
    };
    let date = |seconds| Timestamp::from_second(seconds).map_err(|_| malformed.clone());
    let not_before = date(certificate.validity.not_before.timestamp())?;
    let not_after = date(certificate.validity.not_after.timestamp())?;
    let subject = printable(&certificate.subject.to_string());
    Ok(if not_after < now {
        Some(format!(
            "certificate {number} ({subject}) expired at {not_after}"
        ))
    } else if now < not_before {
        Some(format!(
            "certificate {number} ({subject}) is not valid before {not_before}"
        ))
    } else {
        None
    })
}

/// A subject is whatever its maker wrote; a terminal gets no control characters from it.
fn printable(subject: &str) -> String {
    subject
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_SUBJECT)
        .collect()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;

    /// `O=Example, CN=cluster-ca`, valid from 2026-11-23T22:52:31Z for a hundred years.
    const VALID: &str = "\
-----BEGIN CERTIFICATE-----
MIIBpTCCAUugAwIBAgIUNK3DfZeOB6svLVzt/x90KO29WnUwCgYIKoZIzj0EAwIw
JzEQMA4GA1UECgwHRXhhbXBsZTETMBEGA1UEAwwKY2x1c3Rlci1jYTAgFw0yNjEx
MjMyMjUyMzFaGA8yMTI2MTAzMDIyNTIzMVowJzEQMA4GA1UECgwHRXhhbXBsZTET
MBEGA1UEAwwKY2x1c3Rlci1jYTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABMhe
rdep3m0KdfBS3JrJUu3ZOyav3u26u3HSjHCjRw2VZLq4bs1zjdmiwLhrLy4K6gJh
5l9jC6taa7B6zN+pt9ijUzBRMB0GA1UdDgQWBBTsHO2dvwKit9Ia1DTnyTscgj0W
qzAfBgNVHSMEGDAWgBTsHO2dvwKit9Ia1DTnyTscgj0WqzAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0gAMEUCIQDLv7VYInUDl2goUFFEidO1mo+EdTbDBSVf
nE2v8bqRyAIgebshhX9Gy1vMd43T820tNWmxfIhjarVPDXrg91wPNp0=
-----END CERTIFICATE-----
";
    /// `CN=old-ca`, valid for one day from the same time.
    const SHORT: &str = "\
-----BEGIN CERTIFICATE-----
MIIBZDCCAQqgAwIBAgIBBzAKBggqhkjOPQQDAjARMQ8wDQYDVQQDDAZvbGQtY2Ew
HhcNMjYxMTIzMjI1MjMxWhcNMjYxMTI0MjI1MjMxWjARMQ8wDQYDVQQDDAZvbGQt
Y2EwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATIXq3Xqd5tCnXwUtyayVLt2Tsm
r97turtx0oxwo0cNlWS6uG7Nc43ZosC4ay8uCuoCYeZfYwurWmuweszfqbfYo1Mw
UTAdBgNVHQ4EFgQU7Bztnb8CorfSGtQ058k7HII9FqswHwYDVR0jBBgwFoAU7Bzt
nb8CorfSGtQ058k7HII9FqswDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNI
ADBFAiBEPOKJAhU6BAUXQGR5hCEOJzi+eaH9uK2KojvYlLLMnQIhAKSteSXVNWZk
LZLf7EGdiAd31nk/ZaQw6ULBFAboMsLq
-----END CERTIFICATE-----
";
    const NOT_A_CERTIFICATE: &str =
        "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn pem_and_base64_of_pem_give_the_same_bundle_without_comments() {
        let now = at("2026-11-23T22:52:31Z") + jiff::SignedDuration::from_hours(1);
        let commented = format!("# cluster\n{VALID}\n# another\n{SHORT}");
        let (bundle, warnings) = CaBundle::parse(&commented, now).unwrap();
        assert_eq!(bundle.pem(), format!("{VALID}{SHORT}"));
        assert_eq!(warnings, Vec::<String>::new());
        let base64 = base64::engine::general_purpose::STANDARD.encode(&commented);
        assert_eq!(CaBundle::parse(&base64, now), Ok((bundle, warnings)));
    }

    #[test]
    fn an_expired_certificate_is_a_warning_with_its_subject_and_date() {
        let text = format!("{VALID}{SHORT}");
        let (_, warnings) = CaBundle::parse(&text, at("2030-01-01T00:00:00Z")).unwrap();
        assert_eq!(
            warnings,
            ["certificate 2 (CN=old-ca) expired at 2026-11-24T22:52:31Z"]
        );
        let (_, warnings) = CaBundle::parse(SHORT, at("2030-01-01T00:00:00Z")).unwrap();
        assert_eq!(warnings.len(), 1);
        let (_, warnings) = CaBundle::parse(VALID, at("2020-01-01T00:00:00Z")).unwrap();
        let early =
            "certificate 1 (O=Example, CN=cluster-ca) is not valid before 2026-11-23T22:52:31Z";
        assert_eq!(warnings, [early]);
    }

    #[test]
    fn whatever_is_no_certificate_is_refused_by_block() {
        let now = at("2030-01-01T00:00:00Z");
        let key = pem::encode("EC PRIVATE KEY", b"secret");
        let request = pem::encode("CERTIFICATE REQUEST", b"x");
        let body = VALID.lines().nth(1).unwrap();
        for (text, error) in [
            (format!("{VALID}{}", *key), CaBundleError::PrivateKey(2)),
            (
                format!("{VALID}{SHORT}{NOT_A_CERTIFICATE}"),
                CaBundleError::Malformed(3),
            ),
            (VALID.replacen(body, "", 1), CaBundleError::Malformed(1)),
            (
                request.to_string(),
                CaBundleError::NotCertificate {
                    block: 1,
                    label: "CERTIFICATE REQUEST".to_owned(),
                },
            ),
            (String::new(), CaBundleError::Pem(PemError::Empty)),
            ("no PEM".to_owned(), CaBundleError::Pem(PemError::NotPem)),
        ] {
            assert_eq!(CaBundle::parse(&text, now), Err(error), "{text}");
        }
    }

    #[test]
    fn bytes_after_the_certificate_are_refused() {
        let mut der = pem::blocks(VALID).unwrap()[0].der.to_vec();
        der.push(0);
        let text = pem::encode("CERTIFICATE", &der);
        let result = CaBundle::parse(&text, at("2030-01-01T00:00:00Z"));
        assert_eq!(result, Err(CaBundleError::Malformed(1)));
    }

    #[test]
    fn a_subject_cannot_steer_a_terminal() {
        assert_eq!(printable("CN=a\u{1b}[2Jb\n"), "CN=a[2Jb");
        assert_eq!(printable(&"x".repeat(1000)).len(), MAX_SUBJECT);
    }
}
