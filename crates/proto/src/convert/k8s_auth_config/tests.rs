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
    }
}

fn config() -> K8sAuthConfig {
    created(identity(), &wire(), &secrets(), now())
        .ok()
        .unwrap()
        .config
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
    };
    let invalid = created(identity(), &wire, &secrets, now()).err().unwrap();
    assert!(!invalid.to_string().contains("SECRET"));
    assert_eq!(
        fields(created(identity(), &wire, &secrets, now())),
        [
            "k8s_auth_config.access_id",
            "k8s_auth_config.k8s_host",
            "k8s_auth_config.k8s_issuers",
            "k8s_auth_config.token_exp",
            "k8s_auth_config.k8s_ca_cert",
            "secrets.signing_key",
            "secrets.token_reviewer_jwt",
        ]
    );
}

#[test]
fn what_is_sealed_is_what_is_opened() {
    let config = config();
    let opened = from_box(&to_box(&config), now()).unwrap();
    assert_eq!(to_box(&opened), to_box(&config));
}

#[test]
fn an_update_without_changes_is_the_same_config_one_generation_on() {
    let config = config();
    let none = pb::K8sAuthConfigSecrets::default();
    let after = updated(&config, &pb::K8sAuthConfig::default(), &none, None, now())
        .ok()
        .unwrap()
        .config;
    assert_eq!(after.generation, 2);
    let mut expected = to_box(&config);
    expected.generation = 2;
    assert_eq!(to_box(&after), expected);
}

#[test]
fn a_new_host_needs_the_reviewers_token_again() {
    let patch = pb::K8sAuthConfig {
        k8s_host: Some("https://elsewhere".to_owned()),
        ..pb::K8sAuthConfig::default()
    };
    let none = pb::K8sAuthConfigSecrets::default();
    let config = config();
    assert_eq!(
        fields(updated(&config, &patch, &none, None, now())),
        ["secrets.token_reviewer_jwt"]
    );
    let again = pb::K8sAuthConfigSecrets {
        token_reviewer_jwt: Some("ddd.eee.fff".to_owned()),
        ..pb::K8sAuthConfigSecrets::default()
    };
    assert!(updated(&config, &patch, &again, None, now()).is_ok());
}

#[test]
fn changing_another_field_does_not_lose_a_secret() {
    let config = config();
    let patch = pb::K8sAuthConfig {
        k8s_issuers: vec!["https://other".to_owned()],
        ..pb::K8sAuthConfig::default()
    };
    let none = pb::K8sAuthConfigSecrets::default();
    let after = updated(&config, &patch, &none, None, now())
        .ok()
        .unwrap()
        .config;
    assert_eq!(after.token_reviewer_jwt.expose(), "aaa.bbb.ccc");
    assert_eq!(
        after.signing_key.public().id(),
        config.signing_key.public().id()
    );
}
