use std::fs;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::KeyPair;
use test_support::fixtures::tempdir;
use test_support::leaks::LeakSearch;

const HEADER: &str = r#"{"alg":"RS256","kid":"the-issuers-key-that-every-token-of-it-names"}"#;

/// A JWT of a realistic size, whose signature depends on `seed`.
fn jwt(seed: u64) -> String {
    let mut state = seed;
    let mut random = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let signature: Vec<u8> = (0..256).map(|_| random()).collect();
    let claims = format!(
        r#"{{"aud":["https://kubernetes.default.svc"],"exp":{seed},"kubernetes.io":{{"namespace":"my-namespace-a","pod":{{"name":"mypod1"}}}}}}"#
    );
    let [header, claims] = [HEADER, &claims].map(|part| URL_SAFE_NO_PAD.encode(part));
    format!("{header}.{claims}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_form_of_a_token_is_found() {
    let token = jwt(1);
    let mut search = LeakSearch::new();
    search.secret("the pod's token", &token);
    let [_, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else {
        panic!("three segments");
    };
    let plants = [
        ("whole", token.clone()),
        ("payload", payload.to_owned()),
        ("signature", signature.to_owned()),
        ("16 characters of the payload", payload[20..36].to_owned()),
        (
            "16 characters of the signature",
            signature[97..113].to_owned(),
        ),
        ("hexadecimal", hex(&token)),
        ("upper-case hexadecimal", hex(&token).to_uppercase()),
        ("base64", STANDARD.encode(&token)),
        (
            "base64 of a text with it, phase 1",
            STANDARD.encode(format!("x{token}yy")),
        ),
        (
            "base64 of a text with it, phase 2",
            URL_SAFE_NO_PAD.encode(format!("xx{token}y")),
        ),
    ];
    for (form, plant) in plants {
        let leaks = search.search("log", format!("2026-01-01 INFO a line with {plant} in it"));
        assert_eq!(leaks.len(), 1, "{form}: {leaks:?}");
        assert_eq!(leaks[0].secret, "the pod's token", "{form}");
        assert!(
            leaks[0].offset >= 28 && leaks[0].length <= plant.len(),
            "{form}: {leaks:?}"
        );
    }
}

#[test]
fn what_isnt_secret_of_a_token_isnt_found() {
    let token = jwt(1);
    let mut search = LeakSearch::new();
    search.secret("the pod's token", &token);
    let signature = token.rsplit('.').next().unwrap();
    let header = token.split('.').next().unwrap();
    let clean = [
        "",
        "2026-01-01 INFO mypod1 in my-namespace-a of https://kubernetes.default.svc",
        HEADER,
        header,
        &signature[..15],
        &STANDARD.encode(HEADER),
        &"0".repeat(64),
    ];
    for text in clean {
        assert_eq!(search.search("log", text), [], "{text}");
    }
    search.assert_clean("log", clean.join("\n"));
}

#[test]
fn a_leak_names_the_secret_and_its_place_but_no_part_of_it() {
    let (first, second) = (jwt(1), jwt(2));
    let mut search = LeakSearch::new();
    search.secret("first", &first).secret("second", &second);
    let text = format!(
        "{} and {}",
        &first[first.len() - 40..],
        &second[second.len() - 20..]
    );

    let leaks = search.search("answer", &text);

    let places: Vec<String> = leaks.iter().map(ToString::to_string).collect();
    assert_eq!(
        places,
        [
            "40 bytes of first in answer at offset 0",
            "20 bytes of second in answer at offset 45"
        ]
    );
    let failure = std::panic::catch_unwind(|| search.assert_clean("answer", &text)).unwrap_err();
    let message = failure.downcast_ref::<String>().unwrap();
    assert!(
        message.starts_with("2 leaks:\n40 bytes of first"),
        "{message}"
    );
    assert_eq!(search.search("message", message), []);
}

#[test]
fn a_private_key_is_found_and_its_public_key_isnt() {
    let key = KeyPair::generate().unwrap();
    let (pem, public) = (key.serialize_pem(), key.public_key_pem());
    let body: String = pem
        .lines()
        .filter(|line| !line.starts_with("---"))
        .collect();
    let of_base64 = STANDARD.encode(&pem);
    for registered in [&pem, &of_base64] {
        let mut search = LeakSearch::new();
        search.secret("key", registered).public(&public);
        let plants = [
            pem.clone().into_bytes(),
            pem.replace('\n', "\\n").into_bytes(),
            body.clone().into_bytes(),
            body[60..80].to_owned().into_bytes(),
            of_base64.clone().into_bytes(),
            key.serialize_der(),
        ];
        for (index, plant) in plants.iter().enumerate() {
            assert!(!search.search("plant", plant).is_empty(), "plant {index}");
        }
        let other = KeyPair::generate().unwrap().serialize_pem();
        let armour = "a PEM that begins with -----BEGIN PRIVATE KEY-----";
        for clean in [
            public.as_bytes(),
            key.public_key_raw(),
            armour.as_bytes(),
            other.as_bytes(),
        ] {
            assert_eq!(search.search("clean", clean), []);
        }
    }
}

#[test]
fn an_opaque_secret_is_found_percent_encoded() {
    let mut search = LeakSearch::new();
    search.secret("password", "pa/ss+wo rd&with=signs");

    let leaks = search.search("url", "postgres://u:pa%2Fss%2Bwo%20rd%26with%3Dsigns@h/db");

    assert_eq!((leaks.len(), leaks[0].offset), (1, 13));
}

#[test]
#[should_panic(expected = "pin is too short to be told from chance")]
fn a_short_secret_is_rejected() {
    LeakSearch::new().secret("pin", "1234");
}

#[test]
fn files_and_their_names_are_searched_at_every_depth() {
    let token = jwt(1);
    let signature = token.rsplit('.').next().unwrap();
    let mut search = LeakSearch::new();
    search.secret("token", &token);
    let folder = tempdir();
    let deep = folder.path().join("a/b");
    fs::create_dir_all(&deep).unwrap();
    fs::write(folder.path().join("clean.db"), [0; 100_000]).unwrap();
    search.assert_dir_clean(folder.path());

    let mut page = vec![0; 50_000];
    page[33_333..33_373].copy_from_slice(&signature.as_bytes()[..40]);
    fs::write(deep.join("data.db"), page).unwrap();
    fs::write(deep.join(&signature[50..90]), "").unwrap();

    let mut leaks = search.search_dir(folder.path());
    leaks.sort_by_key(|leak| leak.offset);
    assert_eq!(leaks.len(), 2, "{leaks:?}");
    assert!(leaks[0].label.starts_with("the name of "), "{leaks:?}");
    assert_eq!((leaks[1].offset, leaks[1].length), (33_333, 40));
    assert!(leaks[1].label.ends_with("a/b/data.db"), "{leaks:?}");
}

#[test]
fn a_hundred_tokens_are_searched_for_in_megabytes_within_seconds() {
    let mut search = LeakSearch::new();
    for seed in 0..100 {
        search.secret(format!("token {seed}"), &jwt(seed));
    }
    let line = "2026-01-01T00:00:00Z INFO login refused reason=pod-name request=01J\n";
    let text = line.repeat(16 * 1024 * 1024 / line.len());

    let start = Instant::now();
    search.assert_clean("log", text);

    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}
