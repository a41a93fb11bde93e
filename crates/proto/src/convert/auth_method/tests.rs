use postern_core::key::SigningKey;

use prost_types::FieldMask;

use super::*;

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

fn key_pem() -> String {
    SigningKey::generate(SigningAlgorithm::Es256)
        .unwrap()
        .public()
        .to_pem()
}

fn kubernetes_of(wire: &mut pb::AuthMethod) -> &mut pb::KubernetesAuthMethod {
    match wire.r#type.as_mut().unwrap() {
        pb::auth_method::Type::Kubernetes(kubernetes) => kubernetes,
        pb::auth_method::Type::AccessKey(_) => panic!("a Kubernetes method"),
    }
}

fn tutorial() -> pb::AuthMethod {
    pb::AuthMethod {
        r#type: Some(pb::auth_method::Type::Kubernetes(
            pb::KubernetesAuthMethod {
                rules: vec![pb::Rule {
                    namespaces: vec!["my-namespace-a".to_owned()],
                    pods: vec!["mypod1".to_owned()],
                    ..pb::Rule::default()
                }],
                public_keys: vec![pb::PublicKey {
                    public_key: key_pem(),
                    ..pb::PublicKey::default()
                }],
                ..pb::KubernetesAuthMethod::default()
            },
        )),
        ..pb::AuthMethod::default()
    }
}

fn stored(wire: &pb::AuthMethod) -> AuthMethod {
    AuthMethod {
        id: "m".parse().unwrap(),
        uid: uuid::Uuid::from_u128(1),
        access_id: "p-abcdefghijkl".parse().unwrap(),
        settings: settings(wire, now()).unwrap(),
    }
}

fn fields(result: Result<Settings, Invalid>) -> Vec<String> {
    let invalid = result.unwrap_err();
    invalid
        .violations()
        .iter()
        .map(|v| v.field.clone())
        .collect()
}

#[test]
fn every_fault_is_reported_at_once_by_its_field() {
    let mut wire = tutorial();
    wire.token_ttl = Some(prost_types::Duration {
        seconds: -1,
        nanos: 0,
    });
    wire.bound_ips = vec!["10.0.0.0/8".to_owned(), "nowhere".to_owned()];
    let kubernetes = kubernetes_of(&mut wire);
    kubernetes.audiences = vec![" ".to_owned()];
    kubernetes.rules[0].pods.push("Pod".to_owned());
    kubernetes.public_keys[0].public_key = "not a key".to_owned();
    assert_eq!(
        fields(settings(&wire, now())),
        [
            "token_ttl",
            "bound_ips[1]",
            "kubernetes.audiences[0]",
            "kubernetes.rules[0].pods[1]",
            "kubernetes.public_keys[0].public_key",
        ]
    );
    assert_eq!(
        fields(settings(&pb::AuthMethod::default(), now())),
        ["type"]
    );
}

#[test]
fn what_is_stored_is_what_is_read() {
    let method = stored(&tutorial());
    let wire = to_pb(&method);
    assert_eq!(to_pb(&stored(&wire)), wire);
}

#[test]
fn without_a_mask_what_is_present_changes_and_the_rest_stays() {
    let method = stored(&tutorial());
    let patch = pb::AuthMethod {
        description: Some("new".to_owned()),
        r#type: Some(pb::auth_method::Type::Kubernetes(
            pb::KubernetesAuthMethod {
                allow_any_audience: Some(true),
                ..pb::KubernetesAuthMethod::default()
            },
        )),
        ..pb::AuthMethod::default()
    };
    let settings = updated_settings(&method, &patch, None, now()).unwrap();
    assert_eq!(settings.description, "new");
    let Kind::Kubernetes(kubernetes) = settings.kind else {
        panic!("a Kubernetes method")
    };
    assert_eq!(kubernetes.audiences, Audiences::Any);
    assert_eq!(kubernetes.rules, method.kubernetes().unwrap().rules);
}

#[test]
fn a_mask_clears_what_is_absent_and_refuses_what_it_does_not_know() {
    let mut wire = tutorial();
    wire.description = Some("old".to_owned());
    let method = stored(&wire);
    let mask = |paths: &[&str]| FieldMask {
        paths: paths.iter().map(|p| (*p).to_owned()).collect(),
    };
    let update =
        |m: FieldMask| updated_settings(&method, &pb::AuthMethod::default(), Some(&m), now());
    assert_eq!(update(mask(&["description"])).unwrap().description, "");
    assert_eq!(fields(update(mask(&["access_id"]))), ["update_mask"]);
    assert_eq!(
        fields(update(mask(&["kubernetes.rules"]))),
        ["kubernetes.rules"]
    );
}

#[test]
fn a_key_that_stays_keeps_its_date() {
    let method = stored(&tutorial());
    let later = "2027-01-01T00:00:00Z".parse().unwrap();
    let mut patch = to_pb(&method);
    kubernetes_of(&mut patch).public_keys.push(pb::PublicKey {
        public_key: key_pem(),
        ..pb::PublicKey::default()
    });
    let settings = updated_settings(&method, &patch, None, later).unwrap();
    let Kind::Kubernetes(kubernetes) = settings.kind else {
        panic!("a Kubernetes method")
    };
    let dates: Vec<Timestamp> = kubernetes
        .public_keys
        .iter()
        .map(|k| k.create_time)
        .collect();
    assert_eq!(dates, [now(), later]);
}

#[test]
fn an_algorithm_that_is_unknown_or_not_the_keys_is_refused() {
    for algorithm in [99, -1, pb::SigningAlgorithm::Rs256.into()] {
        let mut wire = tutorial();
        kubernetes_of(&mut wire).public_keys[0].algorithm = algorithm;
        assert_eq!(
            fields(settings(&wire, now())),
            ["kubernetes.public_keys[0].algorithm"]
        );
    }
}
