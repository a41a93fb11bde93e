use aws_lc_rs::hmac;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::*;

const JTI: &str = "a-0123456789abcdefghijkl";

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn issuer() -> IssuerUrl {
    "https://postern.example.com:8100/".parse().unwrap()
}

fn key() -> SigningKey {
    SigningKey::generate(SigningAlgorithm::Es256).unwrap()
}

fn claims() -> Claims {
    Claims {
        sub: "k8s:a:b".to_owned(),
        aud: vec!["orders".to_owned()],
        iat: now().as_second(),
        nbf: now().as_second(),
        exp: now().as_second() + 900,
        jti: JTI.to_owned(),
        access_id: "p-abcdefghijkl".to_owned(),
        sub_claims: SubClaims::from([("namespace".to_owned(), vec!["a".to_owned()])]),
        roles: vec!["reader".to_owned()],
    }
}

fn signed(key: &SigningKey) -> String {
    let token = sign(&issuer(), &claims(), key).unwrap();
    token.expose_secret().to_owned()
}

fn verified(text: &str, key: &PublicKey, now: Timestamp) -> Option<String> {
    let verified = Unverified::parse(text)?.verify(key, now)?;
    Some(verified.accessor.to_string())
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn part(text: &str, index: usize) -> Value {
    let part = text.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[test]
fn a_token_says_who_issued_it_to_whom_and_for_whom() {
    let key = key();
    let text = signed(&key);
    assert_eq!(
        part(&text, 0),
        json!({ "typ": "JWT", "alg": "ES256", "kid": key.public().id().as_str() })
    );
    let mut expected = serde_json::to_value(claims()).unwrap();
    expected["iss"] = json!("https://postern.example.com:8100");
    assert_eq!(part(&text, 1), expected);
    assert_eq!(verified(&text, key.public(), now()).unwrap(), JTI);
}

#[test]
fn the_longest_claims_of_the_longest_issuer_make_a_token_that_is_read() {
    let key = key();
    let mut claims = claims();
    let length = |claims: &Claims| serde_json::to_vec(claims).unwrap().len();
    let room = MAX_CLAIMS_LENGTH - length(&claims);
    claims.roles[0].push_str(&"x".repeat(room));
    assert_eq!(length(&claims), MAX_CLAIMS_LENGTH);
    let host = "https://postern.example.com/";
    let path = |length: usize| "x".repeat(length - host.len());
    let longest: IssuerUrl = format!("{host}{}", path(512)).parse().unwrap();
    let token = sign(&longest, &claims, &key).unwrap();
    let text = token.expose_secret();
    assert_eq!(verified(text, key.public(), now()).unwrap(), JTI);
    assert!(format!("{host}{}", path(513)).parse::<IssuerUrl>().is_err());
}

#[test]
fn a_token_is_good_from_its_beginning_to_its_end() {
    let key = key();
    let text = signed(&key);
    let at = |seconds: i64| {
        let now = now() + SignedDuration::from_secs(seconds);
        verified(&text, key.public(), now).is_some()
    };
    assert!(!at(-61), "before any clock's beginning");
    assert!(at(-60), "another replica's clock may be behind");
    assert!(at(899));
    assert!(!at(900));
}

#[test]
fn only_the_key_that_it_names_verifies_it() {
    let (key, other) = (key(), key());
    let text = signed(&key);
    assert!(verified(&text, other.public(), now()).is_none());
    let mut parts: Vec<&str> = text.split('.').collect();
    let foreign = signed(&other);
    parts[2] = foreign.split('.').nth(2).unwrap();
    assert!(verified(&parts.join("."), key.public(), now()).is_none());
    let mut changed = part(&text, 1);
    changed["jti"] = json!("a-zzzzzzzzzzzzzzzzzzzzzz");
    let changed = encode(&changed);
    let mut parts: Vec<&str> = text.split('.').collect();
    parts[1] = &changed;
    assert!(verified(&parts.join("."), key.public(), now()).is_none());
}

#[test]
fn only_what_says_an_accessor_and_a_workloads_access_id_looks_like_ours() {
    let accessor = |text: &str| Some(Unverified::parse(text)?.accessor()?.to_string());
    let ours = signed(&key());
    assert_eq!(accessor(&ours).unwrap(), JTI);
    let (header, signature) = (ours.split('.').next().unwrap(), "c2ln");
    // As a cluster writes them, in our header: an ES256 key of its own may stand there.
    for claims in [
        json!({ "iss": "https://kubernetes.default.svc", "jti": "0d9e2a1c-95c5-4c77-b6c8-3f6e7a1d2b3c" }),
        json!({ "jti": JTI }),
        json!({ "jti": JTI, "access_id": "somebody" }),
        json!({ "jti": "x", "access_id": "p-abcdefghijkl" }),
        json!({ "jti": JTI, "access_id": "p-abcdefghijal" }),
    ] {
        let text = format!("{header}.{}.{signature}", encode(&claims));
        assert_eq!(accessor(&text), None, "{claims}");
    }
    let twice = format!(r#"{{"jti":"{JTI}","access_id":"p-abcdefghijkl","jti":"{JTI}"}}"#);
    let twice = URL_SAFE_NO_PAD.encode(twice);
    let claims = ours.split('.').nth(1).unwrap();
    for text in [
        format!("{header}.{twice}.{signature}"),
        format!("{header}.{claims}"),
        format!("{header}.{claims}.{signature}.{signature}"),
        format!("{header}.{claims}.a secret of somebody's"),
    ] {
        assert_eq!(accessor(&text), None, "{text}");
    }
}

#[test]
fn the_header_never_chooses_how_a_token_is_verified() {
    let key = key();
    let text = signed(&key);
    let (payload, kid) = (text.split('.').nth(1).unwrap(), key.public().id().as_str());
    let pem = key.public().to_pem();
    let by_the_public_key = |header: &Value| {
        let signed = format!("{}.{payload}", encode(header));
        let mac = hmac::Key::new(hmac::HMAC_SHA256, pem.as_bytes());
        let tag = hmac::sign(&mac, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
    };
    let hs256 = json!({ "typ": "JWT", "alg": "HS256", "kid": kid });
    assert!(verified(&by_the_public_key(&hs256), key.public(), now()).is_none());
    for header in [
        json!({ "typ": "JWT", "alg": "none", "kid": kid }),
        json!({ "typ": "JWT", "alg": "ES256" }),
        json!({ "typ": "postern-assertion+jwt", "alg": "ES256", "kid": kid }),
        json!({ "typ": "JWT", "alg": "ES256", "kid": kid, "crit": ["x"] }),
        json!({ "typ": "JWT", "alg": "ES256", "kid": kid, "jku": "https://evil.example.com" }),
        json!({ "typ": "JWT", "alg": "ES256", "kid": kid, "jwk": {} }),
    ] {
        let text = format!("{}.{payload}.", encode(&header));
        assert!(verified(&text, key.public(), now()).is_none(), "{header}");
    }
    for text in ["", ".", "..", "a.b.c", "t-0123", &text[..text.len() - 1]] {
        assert!(verified(text, key.public(), now()).is_none(), "{text}");
    }
}

#[test]
fn an_issuer_is_an_https_url_without_a_slash_at_its_end() {
    for (text, expected) in [
        ("https://a.example.com", "https://a.example.com"),
        (" https://a.example.com:443/ ", "https://a.example.com"),
        ("https://127.0.0.1:8100/", "https://127.0.0.1:8100"),
        ("https://a.example.com/x/", "https://a.example.com/x"),
    ] {
        let url: IssuerUrl = text.parse().unwrap();
        assert_eq!(url.as_str(), expected);
        assert_eq!(url.page("/y"), format!("{expected}/y"));
    }
    for text in [
        "",
        "a.example.com",
        "http://a.example.com",
        "https://u@a.example.com",
        "https://a.example.com?x",
        "https://a.example.com#x",
    ] {
        assert_eq!(text.parse::<IssuerUrl>(), Err(IssuerUrlError), "{text}");
    }
}
