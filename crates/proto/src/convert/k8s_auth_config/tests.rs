use postern_core::k8s_auth_config::ReviewerView;
use postern_core::key::SigningAlgorithm;

use super::*;

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

fn identity() -> Identity {
    Identity {
        name: "gateways/default/k8sAuthConfigs/k8s-conf".parse().unwrap(),
        uid: Uuid::from_u128(1),
        generation: 1,
    }
}

fn wire() -> pb::K8sAuthConfig {
    pb::K8sAuthConfig {
        access_id: Some("p-abcdefghijkl".to_owned()),
        k8s_host: Some("https://127.0.0.1:8443".to_owned()),
        k8s_issuers: vec!["https://issuer".to_owned()],
        ..pb::K8sAuthConfig::default()
    }
}

fn secrets() -> pb::K8sAuthConfigSecrets {
    let key = SigningKey::generate(SigningAlgorithm::Es256).unwrap();
    pb::K8sAuthConfigSecrets {
        signing_key: Some(key.to_pkcs8_pem().expose_secret().to_owned()),
        token_reviewer_jwt: Some("aaa.bbb.ccc".to_owned()),
        ..pb::K8sAuthConfigSecrets::default()
    }
}

fn own() -> OwnCluster {
    Ok(PinnedCluster::KubeSystem("uid-of-kube-system".to_owned()))
}

fn create(
    wire: &pb::K8sAuthConfig,
    secrets: &pb::K8sAuthConfigSecrets,
) -> Result<Accepted, Invalid> {
    created(identity(), wire, secrets, &own(), now())
}

fn config() -> K8sAuthConfig {
    create(&wire(), &secrets()).ok().unwrap().config
}

fn update(
    current: &K8sAuthConfig,
    patch: &pb::K8sAuthConfig,
    secrets: &pb::K8sAuthConfigSecrets,
) -> Result<Accepted, Invalid> {
    updated(current, patch, secrets, None, &own(), now())
}

/// A client's certificate that is valid until then, and its key.
fn pair(not_after: (i32, u8, u8)) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    let (year, month, day) = not_after;
    params.not_after = rcgen::date_time_ymd(year, month, day);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn certificate(not_after: (i32, u8, u8)) -> (pb::K8sAuthConfig, pb::K8sAuthConfigSecrets) {
    let (certificate, key) = pair(not_after);
    let wire = pb::K8sAuthConfig {
        reviewer: Some(pb::ReviewerType::Certificate.into()),
        k8s_client_certificate: Some(certificate),
        ..wire()
    };
    let secrets = pb::K8sAuthConfigSecrets {
        token_reviewer_jwt: None,
        k8s_client_key: Some(key),
        ..secrets()
    };
    (wire, secrets)
}

fn service_account() -> (pb::K8sAuthConfig, pb::K8sAuthConfigSecrets) {
    let wire = pb::K8sAuthConfig {
        reviewer: Some(pb::ReviewerType::GatewayServiceAccount.into()),
        k8s_host: None,
        ..wire()
    };
    let secrets = pb::K8sAuthConfigSecrets {
        token_reviewer_jwt: None,
        ..secrets()
    };
    (wire, secrets)
}

fn presented() -> (pb::K8sAuthConfig, pb::K8sAuthConfigSecrets) {
    let (_, secrets) = service_account();
    let wire = pb::K8sAuthConfig {
        reviewer: Some(pb::ReviewerType::PresentedToken.into()),
        tls_server_name: Some("kubernetes.default".to_owned()),
        connect_timeout: Some(time::from_millis(500)),
        ..wire()
    };
    (wire, secrets)
}

fn rancher() -> (pb::K8sAuthConfig, pb::K8sAuthConfigSecrets) {
    let wire = pb::K8sAuthConfig {
        cluster_api_type: Some(pb::ClusterApiType::Rancher.into()),
        rancher_cluster_id: Some("c-m-abcdefgh".to_owned()),
        ..wire()
    };
    let secrets = pb::K8sAuthConfigSecrets {
        token_reviewer_jwt: None,
        rancher_api_key: Some("token-abcde:secret".to_owned()),
        ..secrets()
    };
    (wire, secrets)
}

/// One of each kind.
fn kinds() -> [(pb::K8sAuthConfig, pb::K8sAuthConfigSecrets); 5] {
    [
        (wire(), secrets()),
        certificate((2100, 1, 1)),
        service_account(),
        presented(),
        rancher(),
    ]
}

fn fields(result: Result<Accepted, Invalid>) -> Vec<String> {
    let invalid = result.err().unwrap();
    invalid
        .violations()
        .iter()
        .map(|v| v.field.clone())
        .collect()
}

#[test]
fn every_fault_is_reported_at_once_and_no_secret_is_repeated() {
    let wire = pb::K8sAuthConfig {
        access_id: Some("p-x".to_owned()),
        k8s_host: Some("http://a".to_owned()),
        k8s_ca_cert: Some("junk".to_owned()),
        token_exp: Some(prost_types::Duration {
            seconds: 301,
            nanos: 0,
        }),
        ..pb::K8sAuthConfig::default()
    };
    let secrets = pb::K8sAuthConfigSecrets {
        signing_key: Some("SECRETKEY".to_owned()),
        token_reviewer_jwt: Some("SECRET BEARER".to_owned()),
        ..pb::K8sAuthConfigSecrets::default()
    };
    let invalid = create(&wire, &secrets).err().unwrap();
    assert!(!invalid.to_string().contains("SECRET"));
    assert_eq!(
        fields(create(&wire, &secrets)),
        [
            "k8s_auth_config.access_id",
            "k8s_auth_config.k8s_host",
            "k8s_auth_config.k8s_ca_cert",
            "secrets.token_reviewer_jwt",
            "k8s_auth_config.k8s_issuers",
            "k8s_auth_config.token_exp",
            "secrets.signing_key",
        ]
    );
}

#[test]
fn what_is_sealed_is_what_is_opened() {
    for (wire, secrets) in kinds() {
        let config = create(&wire, &secrets).ok().unwrap().config;
        let opened = from_box(&to_box(&config), now()).unwrap();
        assert_eq!(to_box(&opened), to_box(&config));
        let view = view(&config, "k1".to_owned());
        let shown = super::super::sealed_config::view_to_pb(&view);
        let read = super::super::sealed_config::view_from_pb(&shown).unwrap();
        assert_eq!(read, view);
    }
}

#[test]
fn an_update_without_changes_is_the_same_config_one_generation_on() {
    let none = pb::K8sAuthConfigSecrets::default();
    for (wire, secrets) in kinds() {
        let config = create(&wire, &secrets).ok().unwrap().config;
        let mut expected = to_box(&config);
        expected.generation = 2;
        let after = update(&config, &pb::K8sAuthConfig::default(), &none);
        assert_eq!(to_box(&after.ok().unwrap().config), expected);

        // What a client read and sends back whole.
        let shown = super::super::sealed_config::view_to_pb(&view(&config, "k1".to_owned()));
        let all = FieldMask {
            paths: vec!["*".to_owned()],
        };
        let elsewhere = Ok(PinnedCluster::CaKey([9; 32]));
        let after = updated(&config, &shown, &none, Some(&all), &elsewhere, now());
        assert_eq!(to_box(&after.ok().unwrap().config), expected);
    }
}

#[test]
fn a_new_host_needs_the_reviewers_credential_again_whatever_its_kind() {
    let none = pb::K8sAuthConfigSecrets::default();
    let patch = pb::K8sAuthConfig {
        k8s_host: Some("https://elsewhere".to_owned()),
        ..pb::K8sAuthConfig::default()
    };
    for ((wire, secrets), field) in [
        ((wire(), secrets()), "secrets.token_reviewer_jwt"),
        (certificate((2100, 1, 1)), "secrets.k8s_client_key"),
        (rancher(), "secrets.rancher_api_key"),
    ] {
        let config = create(&wire, &secrets).ok().unwrap().config;
        assert_eq!(fields(update(&config, &patch, &none)), [field]);
        let again = pb::K8sAuthConfigSecrets {
            signing_key: None,
            ..secrets
        };
        assert!(update(&config, &patch, &again).is_ok());
    }
    let (wire, secrets) = rancher();
    let config = create(&wire, &secrets).ok().unwrap().config;
    let patch = pb::K8sAuthConfig {
        rancher_cluster_id: Some("c-m-zzzzzzzz".to_owned()),
        ..pb::K8sAuthConfig::default()
    };
    assert_eq!(
        fields(update(&config, &patch, &none)),
        ["secrets.rancher_api_key"]
    );
}

#[test]
fn a_new_ca_or_name_keeps_the_credential_and_says_whom_it_goes_to() {
    let none = pb::K8sAuthConfigSecrets::default();
    let patches = [
        pb::K8sAuthConfig {
            k8s_ca_cert: Some(
                certificate((2100, 1, 1))
                    .0
                    .k8s_client_certificate()
                    .to_owned(),
            ),
            ..pb::K8sAuthConfig::default()
        },
        pb::K8sAuthConfig {
            tls_server_name: Some("another.example".to_owned()),
            ..pb::K8sAuthConfig::default()
        },
        pb::K8sAuthConfig {
            disabled: Some(true),
            ..pb::K8sAuthConfig::default()
        },
    ];
    for ((wire, secrets), bearer) in [
        ((wire(), secrets()), true),
        (certificate((2100, 1, 1)), false),
        (rancher(), true),
    ] {
        let config = create(&wire, &secrets).ok().unwrap().config;
        for (patch, trust) in patches.iter().zip([true, true, false]) {
            let warned = |secrets| {
                let accepted = update(&config, patch, secrets).ok().unwrap();
                assert!(
                    secrets.token_reviewer_jwt.is_some()
                        || accepted.config.access.same_credential(&config.access)
                );
                let warnings = accepted.warnings.iter();
                warnings
                    .filter(|w| w.reason == "CREDENTIAL_FOLLOWS_TRUST")
                    .count()
            };
            assert_eq!(warned(&none), usize::from(trust && bearer));
            let again = pb::K8sAuthConfigSecrets {
                signing_key: None,
                ..secrets.clone()
            };
            assert_eq!(warned(&again), 0, "whoever brings it knows where it goes");
        }
    }
}

#[test]
fn another_kind_of_reviewer_brings_its_own_credential_and_forgets_the_old_one() {
    for (from, (old, old_secrets)) in kinds().iter().enumerate() {
        let current = create(old, old_secrets).ok().unwrap().config;
        for (to, (new, new_secrets)) in kinds().iter().enumerate() {
            if from == to {
                continue;
            }
            let mut patch = new.clone();
            if new.cluster_api_type.is_none() {
                patch.cluster_api_type = Some(pb::ClusterApiType::NativeK8s.into());
            }
            if new.reviewer.is_none() {
                patch.reviewer = Some(match new.cluster_api_type() {
                    pb::ClusterApiType::Rancher => pb::ReviewerType::Unspecified.into(),
                    _ => pb::ReviewerType::Token.into(),
                });
            }
            let after = update(&current, &patch, new_secrets).ok().unwrap().config;
            let boxed = to_box(&after);
            let set = [
                !boxed.token_reviewer_jwt.is_empty(),
                !boxed.k8s_client_key.is_empty(),
                !boxed.rancher_api_key.is_empty(),
            ];
            assert_eq!(set, [to == 0, to == 1, to == 4], "{from} to {to}");
            if [0, 1, 4].contains(&to) {
                let none = pb::K8sAuthConfigSecrets::default();
                assert!(update(&current, &patch, &none).is_err(), "{from} to {to}");
            }
        }
    }
}

#[test]
fn a_field_that_would_be_ignored_is_a_fault() {
    for (kind, (wire, secrets)) in kinds().into_iter().enumerate() {
        let everything = pb::K8sAuthConfig {
            k8s_host: Some("https://a".to_owned()),
            k8s_client_certificate: Some(pair((2100, 1, 1)).0),
            rancher_cluster_id: Some("local".to_owned()),
            jwks: Some("{}".to_owned()),
            ..wire
        };
        let all = pb::K8sAuthConfigSecrets {
            token_reviewer_jwt: Some("aaa.bbb.ccc".to_owned()),
            k8s_client_key: Some(pair((2100, 1, 1)).1),
            rancher_api_key: Some("a:b".to_owned()),
            ..secrets
        };
        let faults = fields(create(&everything, &all));
        let named = |field: &str| faults.iter().any(|fault| fault.ends_with(field));
        assert_eq!(named("k8s_host"), kind == 2, "{faults:?}");
        assert_eq!(named("k8s_client_certificate"), kind != 1, "{faults:?}");
        assert_eq!(named("rancher_cluster_id"), kind != 4, "{faults:?}");
        assert_eq!(named("token_reviewer_jwt"), kind != 0, "{faults:?}");
        assert_eq!(named("rancher_api_key"), kind != 4, "{faults:?}");
        assert!(named("k8s_client_key") && named("jwks"), "{faults:?}");
    }
    let (mut wire, secrets) = rancher();
    wire.reviewer = Some(pb::ReviewerType::Token.into());
    assert_eq!(
        fields(create(&wire, &secrets)),
        ["k8s_auth_config.reviewer"]
    );
    wire.reviewer = Some(99);
    assert_eq!(
        fields(create(&wire, &secrets)),
        ["k8s_auth_config.reviewer"]
    );
}

#[test]
fn changing_another_field_does_not_lose_a_secret() {
    let none = pb::K8sAuthConfigSecrets::default();
    for (wire, secrets) in kinds() {
        let config = create(&wire, &secrets).ok().unwrap().config;
        let patch = pb::K8sAuthConfig {
            k8s_issuers: vec!["https://other".to_owned()],
            ..pb::K8sAuthConfig::default()
        };
        let after = update(&config, &patch, &none).ok().unwrap().config;
        assert!(after.access.same_credential(&config.access));
        assert_eq!(
            after.signing_key.public().id(),
            config.signing_key.public().id()
        );
    }
}

#[test]
fn replacing_the_reviewers_token_touches_no_other_field() {
    let config = config();
    let token = pb::K8sAuthConfigSecrets {
        token_reviewer_jwt: Some("ddd.eee.fff".to_owned()),
        ..pb::K8sAuthConfigSecrets::default()
    };
    let after = update(&config, &pb::K8sAuthConfig::default(), &token);
    let mut expected = to_box(&config);
    expected.generation = 2;
    expected.token_reviewer_jwt = "ddd.eee.fff".to_owned();
    assert_eq!(to_box(&after.ok().unwrap().config), expected);
}

#[test]
fn an_expired_client_certificate_is_refused_when_it_comes_and_one_that_ends_soon_is_a_warning() {
    let (wire, secrets) = certificate((2026, 11, 22));
    assert_eq!(
        fields(create(&wire, &secrets)),
        ["k8s_auth_config.k8s_client_certificate"]
    );
    let (wire, secrets) = certificate((2026, 11, 26));
    let accepted = create(&wire, &secrets).ok().unwrap();
    assert_eq!(
        accepted.warnings[0].reason,
        "REVIEWER_CREDENTIAL_EXPIRES_SOON"
    );

    // Once stored it keeps no other change out, and its box still opens.
    let later = "2026-12-01T00:00:00Z".parse().unwrap();
    let config = from_box(&to_box(&accepted.config), later).unwrap();
    let patch = pb::K8sAuthConfig {
        disabled: Some(true),
        ..pb::K8sAuthConfig::default()
    };
    let none = pb::K8sAuthConfigSecrets::default();
    let after = updated(&config, &patch, &none, None, &own(), later)
        .ok()
        .unwrap();
    assert_eq!(after.warnings[0].reason, "REVIEWER_CREDENTIAL_EXPIRED");
}

#[test]
fn a_key_that_isnt_the_certificates_is_refused_and_neither_is_printed() {
    let (mut wire, mut secrets) = certificate((2100, 1, 1));
    let (_, other) = pair((2100, 1, 1));
    secrets.k8s_client_key = Some(other.clone());
    assert_eq!(fields(create(&wire, &secrets)), ["secrets.k8s_client_key"]);
    wire.k8s_client_certificate = Some(other);
    let invalid = create(&wire, &secrets).err().unwrap();
    assert_eq!(
        invalid.violations()[0].field,
        "k8s_auth_config.k8s_client_certificate"
    );
    assert!(!invalid.to_string().contains("MI"), "{invalid}");
}

#[test]
fn a_pin_stays_until_it_is_emptied_by_name() {
    let (wire, secrets) = service_account();
    let config = create(&wire, &secrets).ok().unwrap().config;
    let none = pb::K8sAuthConfigSecrets::default();
    let elsewhere = PinnedCluster::CaKey([9; 32]);
    let pinned = |patch: &pb::K8sAuthConfig, path: &str| {
        let mask = FieldMask {
            paths: vec![path.to_owned()],
        };
        let after = updated(
            &config,
            patch,
            &none,
            Some(&mask),
            &Ok(elsewhere.clone()),
            now(),
        );
        after.map(|after| view(&after.config, String::new()).reviewer)
    };
    let before = view(&config, String::new()).reviewer;
    let reviewer = pb::K8sAuthConfig {
        reviewer: wire.reviewer,
        ..pb::K8sAuthConfig::default()
    };
    assert_eq!(pinned(&reviewer, "reviewer"), Ok(before));
    let anew = ReviewerView::GatewayServiceAccount(elsewhere.clone());
    assert_eq!(pinned(&reviewer, "pinned_cluster"), Ok(anew));
    let chosen = pb::K8sAuthConfig {
        pinned_cluster: "kube-system:mine".to_owned(),
        ..pb::K8sAuthConfig::default()
    };
    assert!(pinned(&chosen, "pinned_cluster").is_err());
}

#[test]
fn a_gateway_that_doesnt_know_its_cluster_says_why() {
    let (wire, secrets) = service_account();
    let own = Err("no token is mounted".to_owned());
    let invalid = created(identity(), &wire, &secrets, &own, now())
        .err()
        .unwrap();
    assert!(
        invalid.to_string().contains("no token is mounted"),
        "{invalid}"
    );
}
