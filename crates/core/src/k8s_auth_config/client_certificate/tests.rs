use super::*;
use crate::pem::{BASE64, encode};
use base64::Engine as _;

mod test_pairs;

use test_pairs::{EC, ED25519, P384, RSA};

fn pair(certificate: &str, key: &str) -> Result<ClientCertificate, NotAPair> {
    let chain = CertificateChain::parse(certificate).unwrap();
    ClientCertificate::new(chain, ClientKey::parse(key).unwrap())
}

#[test]
fn a_pair_of_any_usual_algorithm_is_taken_as_text_or_base64() {
    for (certificate, key) in [EC, P384, ED25519, RSA] {
        let pair = pair(certificate, &BASE64.encode(key)).unwrap();
        assert_eq!(pair.chain_pem(), certificate);
        assert!(pair.expose_key().contains("PRIVATE KEY"));
        assert!(pair.not_after() > "2100-01-01T00:00:00Z".parse().unwrap());
    }
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let pairs = [EC, P384, ED25519, RSA];
    for (i, (certificate, _)) in pairs.iter().enumerate() {
        for (_, key) in pairs
            .iter()
            .enumerate()
            .filter(|(j, _)| *j != i)
            .map(|(_, p)| p)
        {
            assert_eq!(pair(certificate, key).err(), Some(NotAPair));
        }
    }
}

#[test]
fn a_chain_begins_with_the_clients_own_certificate() {
    let chain = format!("{}{}", EC.0, RSA.0);
    assert!(pair(&chain, EC.1).is_ok());
    assert_eq!(pair(&chain, RSA.1).err(), Some(NotAPair));
}

#[test]
fn a_private_key_in_the_certificates_place_is_refused_without_printing_it() {
    let encrypted = RSA.1.replacen(
        "KEY-----\n",
        "KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: x\n\n",
        1,
    );
    for text in [EC.1, ED25519.1, RSA.1, &encrypted] {
        let error = CertificateChain::parse(text).unwrap_err();
        assert_eq!(error, CertificateChainError::PrivateKey(1));
        assert!(!format!("{error} {error:?}").contains("MII"));
    }
    let both = format!("{}{}", EC.0, EC.1);
    assert_eq!(
        CertificateChain::parse(&both),
        Err(CertificateChainError::PrivateKey(2))
    );
}

#[test]
fn faults_are_told_apart() {
    let damaged = encode("CERTIFICATE", b"nothing").to_string();
    assert_eq!(
        CertificateChain::parse(&damaged),
        Err(CertificateChainError::Malformed(1))
    );
    let of = |text: &str| ClientKey::parse(text).err().unwrap();
    assert_eq!(of(EC.0), ClientKeyError::Certificate);
    assert_eq!(
        of(&format!("{}{}", EC.1, RSA.1)),
        ClientKeyError::Several(2)
    );
    assert_eq!(
        of(&encode("PRIVATE KEY", b"nothing")),
        ClientKeyError::Unsupported
    );
    assert_eq!(
        of(&encode("ENCRYPTED PRIVATE KEY", b"nothing")),
        ClientKeyError::Encrypted
    );
    assert_eq!(of(""), ClientKeyError::Pem(PemError::Empty));
}
