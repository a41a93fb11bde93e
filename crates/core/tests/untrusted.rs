//! Whatever text comes in gets an answer, and what is taken is what was written.

use std::net::IpAddr;

use jiff::Timestamp;
use postern_core::access_id::AccessId;
use postern_core::access_token::{AccessKey, AccessToken, Accessor, TokenHash};
use postern_core::ca_bundle::CaBundle;
use postern_core::ip::{self, IpBlock};
use postern_core::k8s_auth_config::{K8sHost, ReviewerToken};
use postern_core::key::{PublicKey, SigningKey};
use postern_core::pem;
use postern_core::resource_id::{ConfigName, GatewayName, ResourceId};
use postern_core::seal::{Keyring, SealContext};
use proptest::prelude::*;
use uuid::Uuid;

/// Text of all kinds: any characters, and those that names and PEM are made of.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300)
            .prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        "[pt]-[A-Za-z0-9]{10,50}",
        "/{0,2}[A-Za-z0-9._/%-]{0,280}",
        "(gateways/)?[a-z./]{0,12}(/k8sAuthConfigs/)?[a-z./]{0,12}",
        "https?://[a-z@:?#./0-9]{0,40}",
        "[0-9a-f:.]{1,20}(/[0-9]{1,3})?",
        "(-----BEGIN [A-Z ]{0,45}-----\n)?[A-Za-z0-9+/=\n]{0,200}(-----END [A-Z ]{0,45}-----\n)?",
    ]
}

fn segments(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let good = |s: &str| !matches!(s, "" | "." | "..") && s.bytes().all(plain);
    name.len() <= 255 && name.split('/').count() <= 8 && name.split('/').all(good)
}

proptest! {
    #[test]
    fn a_name_that_is_taken_confuses_no_path_and_reads_back_as_itself(text in any_text()) {
        if let Ok(id) = text.parse::<ResourceId>() {
            prop_assert!(segments(id.as_str()), "{id}");
            prop_assert_eq!(id.as_str(), text.strip_prefix('/').unwrap_or(&text));
            prop_assert!(id.as_str().parse::<AccessId>().is_err());
            prop_assert_eq!(id.to_string().parse::<ResourceId>(), Ok(id.clone()));
            prop_assert_eq!(ResourceId::of_auth_method(&id.auth_method_name()), Ok(id));
        }
        if let Ok(name) = text.parse::<GatewayName>() {
            prop_assert!(!name.as_str().contains('/'));
            prop_assert_eq!(GatewayName::of_full(&name.full()), Ok(name));
        }
        if let Ok(name) = text.parse::<ConfigName>() {
            prop_assert!(segments(name.gateway.as_str()) && segments(name.id.as_str()));
            prop_assert_eq!(name.to_string().parse::<ConfigName>(), Ok(name));
        }
    }

    #[test]
    fn an_access_id_or_a_credential_that_is_taken_is_of_the_one_form(text in any_text()) {
        if let Ok(id) = text.parse::<AccessId>() {
            prop_assert_eq!(id.as_str(), text.as_str());
            prop_assert!(matches!(text.len(), 14 | 16) && text.starts_with("p-"));
            prop_assert!(matches!(text.as_bytes()[text.len() - 2], b'k' | b'a'));
        }
        if let Ok(token) = text.parse::<AccessToken>() {
            prop_assert_eq!(token.expose(), text.as_str());
            prop_assert!(text.starts_with("t-") && text[2..].bytes().all(|b| b.is_ascii_alphanumeric()));
        }
        if let Ok(key) = text.parse::<AccessKey>() {
            prop_assert_eq!(key.expose(), text.trim());
        }
        if let Ok(accessor) = text.parse::<Accessor>() {
            prop_assert_eq!(accessor.as_str(), text.as_str());
        }
        prop_assert_eq!(TokenHash::try_from(text.as_bytes()).is_ok(), text.len() == 32);
    }

    #[test]
    fn a_host_that_is_taken_is_an_https_url_and_nothing_else(text in any_text(), path in "/[a-z/]{0,20}") {
        if let Ok(host) = text.parse::<K8sHost>() {
            let joined = host.join(&path);
            prop_assert!(joined.starts_with("https://"), "{joined}");
            let authority = joined["https://".len()..].split('/').next().unwrap();
            prop_assert!(!authority.contains('@'), "{joined}");
            prop_assert!(!joined.contains(['?', '#', ' ', '\n']), "{joined}");
            prop_assert!(joined.ends_with(&path));
        }
        if let Ok(token) = text.parse::<ReviewerToken>() {
            prop_assert!(token.expose().bytes().all(|b| b.is_ascii_graphic()));
        }
    }

    #[test]
    fn an_address_is_in_a_block_as_the_bits_say(address in any::<u32>(), other in any::<u32>(), prefix in 0..=32u32) {
        let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
        let block: IpBlock = format!("{}/{prefix}", std::net::Ipv4Addr::from(address & mask)).parse().unwrap();
        let inside = address & mask == other & mask;
        let v4 = std::net::Ipv4Addr::from(other);
        prop_assert_eq!(block.contains(IpAddr::V4(v4)), inside);
        // The same address in IPv6's clothes is the same address.
        prop_assert_eq!(block.contains(IpAddr::V6(v4.to_ipv6_mapped())), inside);
        prop_assert_eq!(ip::allowed(std::slice::from_ref(&block), Some(IpAddr::V4(v4))), inside);
        prop_assert!(!ip::allowed(&[block], None), "an unknown address is a refusal");
    }

    #[test]
    fn a_block_that_is_taken_reads_back_as_itself(text in any_text()) {
        if let Ok(block) = text.parse::<IpBlock>() {
            prop_assert_eq!(block.to_string().parse::<IpBlock>(), Ok(block));
        }
    }

    #[test]
    fn keys_and_certificates_of_any_bytes_get_an_answer(text in any_text(), der in prop::collection::vec(any::<u8>(), 1..300)) {
        if let Ok(once) = pem::normalise(&text) {
            let again = pem::normalise(&once);
            prop_assert_eq!(again, Ok(once));
        }
        for label in ["CERTIFICATE", "PUBLIC KEY", "PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"] {
            let body = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &der);
            let text = format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
            prop_assert!(CaBundle::parse(&text, Timestamp::UNIX_EPOCH).is_err());
            prop_assert!(PublicKey::parse(&text).is_err());
            prop_assert!(SigningKey::parse(&text).is_err());
        }
        prop_assert!(CaBundle::parse(&text, Timestamp::UNIX_EPOCH).is_err());
    }

    #[test]
    fn a_box_of_any_bytes_or_with_any_byte_changed_does_not_open(
        bytes in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), by in 1..=255u8,
        content in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let ring = Keyring::parse(&Keyring::generate_line(&"k1".parse().unwrap()).unwrap()).unwrap();
        let context = SealContext {
            gateway: "default", name: "c", access_id: "p-abcdefghijkl", config_uid: Uuid::from_u128(7), generation: 3,
        };
        prop_assert!(ring.open("k1", &context, &bytes).is_err());
        let sealed = ring.seal(&context, &content).unwrap();
        let mut changed = sealed.bytes.clone();
        let at = at.index(changed.len());
        changed[at] ^= by;
        prop_assert!(ring.open("k1", &context, &changed).is_err());
        prop_assert!(ring.open("k1", &context, &sealed.bytes[..at]).is_err());
        prop_assert_eq!(&*ring.open("k1", &context, &sealed.bytes).unwrap(), &content);
    }

    #[test]
    fn a_seal_key_file_of_any_text_gets_an_answer_that_holds_none_of_its_keys(text in any_text()) {
        if let Err(fault) = Keyring::parse(&format!("k1:{text}")) {
            let secret = text.trim();
            prop_assert!(secret.len() < 12 || !fault.to_string().contains(secret), "{fault}");
        }
    }
}
