use super::*;

const CONTENT: &[u8] = b"host, CA and the reviewer's token";
const CONTEXT: SealContext<'static> = SealContext {
    gateway: "prod",
    name: "k8s-conf",
    access_id: "p-abcdefghijkl",
    config_uid: Uuid::from_u128(7),
    generation: 3,
};

fn line(id: &str) -> String {
    Keyring::generate_line(&id.parse().unwrap())
        .unwrap()
        .to_string()
}

fn keyring(lines: &[&str]) -> Keyring {
    Keyring::parse(&lines.join("\n")).unwrap()
}

fn fault(text: &str) -> KeyringError {
    Keyring::parse(text).unwrap_err()
}

#[test]
fn what_was_sealed_opens_and_no_box_shows_it() {
    let ring = keyring(&[&line("a")]);
    for content in [CONTENT, b""] {
        let sealed = ring.seal(&CONTEXT, content).unwrap();
        assert_eq!(sealed.key_id.as_str(), "a");
        assert_eq!(sealed.bytes.len(), 29 + content.len());
        assert_eq!(sealed.bytes[0], 1);
        assert_eq!(*ring.open("a", &CONTEXT, &sealed.bytes).unwrap(), content);
    }
    let sealed = ring.seal(&CONTEXT, CONTENT).unwrap();
    assert!(
        !sealed
            .bytes
            .windows(8)
            .any(|part| CONTENT.windows(8).any(|plain| plain == part))
    );
    assert_ne!(sealed, ring.seal(&CONTEXT, CONTENT).unwrap());
}

#[test]
fn a_box_opens_in_its_own_context_only() {
    let ring = keyring(&[&line("a")]);
    let sealed = ring.seal(&CONTEXT, CONTENT).unwrap();
    for other in [
        SealContext {
            gateway: "staging",
            ..CONTEXT
        },
        SealContext {
            name: "k8s-conf2",
            ..CONTEXT
        },
        SealContext {
            access_id: "p-abcdefghijkm",
            ..CONTEXT
        },
        SealContext {
            config_uid: Uuid::from_u128(8),
            ..CONTEXT
        },
        SealContext {
            generation: 2,
            ..CONTEXT
        },
        SealContext {
            generation: 4,
            ..CONTEXT
        },
        // The same letters, divided elsewhere.
        SealContext {
            gateway: "prodk",
            name: "8s-conf",
            ..CONTEXT
        },
        SealContext {
            gateway: "",
            name: "prodk8s-conf",
            ..CONTEXT
        },
    ] {
        let opened = ring.open("a", &other, &sealed.bytes);
        assert_eq!(opened, Err(OpenError::NotAuthentic), "{other:?}");
    }
}

#[test]
fn every_changed_byte_and_every_cut_is_noticed() {
    let ring = keyring(&[&line("a")]);
    let sealed = ring.seal(&CONTEXT, CONTENT).unwrap().bytes;
    for position in 0..sealed.len() {
        for bit in 0..8 {
            let mut changed = sealed.clone();
            changed[position] ^= 1 << bit;
            let expected = match position {
                0 => OpenError::UnknownVersion,
                _ => OpenError::NotAuthentic,
            };
            assert_eq!(
                ring.open("a", &CONTEXT, &changed),
                Err(expected),
                "byte {position}"
            );
        }
    }
    for length in 0..sealed.len() {
        let expected = match length {
            0..29 => OpenError::Truncated,
            _ => OpenError::NotAuthentic,
        };
        assert_eq!(
            ring.open("a", &CONTEXT, &sealed[..length]),
            Err(expected),
            "{length} bytes"
        );
    }
    let longer = [&sealed[..], &[0]].concat();
    assert_eq!(
        ring.open("a", &CONTEXT, &longer),
        Err(OpenError::NotAuthentic)
    );
}

#[test]
fn keys_rotate_in_steps() {
    let (old, new) = (line("2025"), line("2026"));
    let before = keyring(&[&old]);
    let added = keyring(&[&old, &new]);
    let moved = keyring(&[&new, &old]);
    let retired = keyring(&[&new]);

    let by_old = added.seal(&CONTEXT, CONTENT).unwrap();
    assert_eq!(by_old.key_id.as_str(), "2025");
    assert!(before.open("2025", &CONTEXT, &by_old.bytes).is_ok());
    assert!(moved.open("2025", &CONTEXT, &by_old.bytes).is_ok());

    let by_new = moved.seal(&CONTEXT, CONTENT).unwrap();
    assert_eq!(&by_new.key_id, moved.first_id());
    assert!(added.open("2026", &CONTEXT, &by_new.bytes).is_ok());
    assert!(retired.open("2026", &CONTEXT, &by_new.bytes).is_ok());

    let unknown = OpenError::UnknownKey("2025".to_owned());
    assert_eq!(retired.open("2025", &CONTEXT, &by_old.bytes), Err(unknown));
    assert_eq!(
        moved.open("2026", &CONTEXT, &by_old.bytes),
        Err(OpenError::NotAuthentic)
    );
    let ids: Vec<_> = moved.ids().map(SealKeyId::as_str).collect();
    assert_eq!(ids, ["2026", "2025"]);
}

#[test]
fn the_key_id_is_part_of_the_context() {
    let line = line("a");
    let renamed = line.replacen("a:", "b:", 1);
    let sealed = keyring(&[&line]).seal(&CONTEXT, CONTENT).unwrap();
    let opened = keyring(&[&renamed]).open("b", &CONTEXT, &sealed.bytes);
    assert_eq!(opened, Err(OpenError::NotAuthentic));
}

#[test]
fn comments_blank_lines_and_missing_padding_are_fine() {
    let (a, b) = (line("a"), line("b.2_-"));
    let text = format!(
        "# seals\r\n\r\n  {a}  \r\n\n#{b}\n{}\n",
        b.trim_end_matches('=')
    );
    let ring = Keyring::parse(&text).unwrap();
    assert_eq!(ring.first_id().as_str(), "a");
    assert_eq!(ring.ids().count(), 2);
}

#[test]
fn faults_name_the_line_and_never_the_key() {
    let good = line("a");
    let key = good.strip_prefix("a:").unwrap();
    let cases = [
        (key.to_owned(), LineFault::Form),
        (format!(":{key}"), LineFault::Id(SealKeyIdError)),
        (format!("{key}:b"), LineFault::Id(SealKeyIdError)),
        (
            format!("{}:{key}", "x".repeat(65)),
            LineFault::Id(SealKeyIdError),
        ),
        (format!("b:{}*", &key[..43]), LineFault::Base64),
        (format!("b: {key}"), LineFault::Base64),
        ("b:".to_owned(), LineFault::Length(0)),
        (format!("b:{}", &key[..40]), LineFault::Length(30)),
        (format!("b:{}{key}", &key[..4]), LineFault::Length(35)),
        (good.clone(), LineFault::Duplicate),
    ];
    for (bad, expected) in cases {
        let error = fault(&format!("# keys\n{good}\n\n{bad}\n"));
        assert_eq!(
            error,
            KeyringError::Line {
                line: 4,
                fault: expected
            }
        );
        assert!(error.to_string().starts_with("line 4: "), "{error}");
        assert!(!error.to_string().contains(&key[..6]), "{error}");
    }
    assert_eq!(fault(""), KeyringError::Empty);
    assert_eq!(fault("# none yet\n\n"), KeyringError::Empty);
}

#[test]
fn a_keyring_prints_its_ids_alone() {
    let line = line("a");
    let printed = format!("{:?}", keyring(&[&line]));
    assert_eq!(printed, r#"Keyring[SealKeyId("a")]"#);
}
