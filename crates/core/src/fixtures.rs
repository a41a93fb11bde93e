//! Methods and facts for this crate's tests.

use jiff::Timestamp;
use uuid::Uuid;

use crate::auth_method::{
    Audiences, AuthMethod, Kind, Kubernetes, MethodKey, Settings, TokenBounds,
};
use crate::facts::{Facts, VerificationMode};
use crate::key::PublicKey;
use crate::rule::{Rule, RuleSpec};

pub(crate) fn noon() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

/// The tutorial's method: two pods of one namespace.
pub(crate) fn method(keys: Vec<PublicKey>) -> AuthMethod {
    let rule = rule(&["my-namespace-a"], &["mypod1", "mypod2"]);
    AuthMethod {
        id: "my-k8s-auth-method".parse().unwrap(),
        uid: Uuid::from_u128(1),
        access_id: "p-abcdefghijkl".parse().unwrap(),
        settings: Settings::new(Kind::Kubernetes(Kubernetes {
            audiences: Audiences::ApiServer,
            tokens: TokenBounds::default(),
            revoke_with_pod: false,
            rules: vec![rule],
            public_keys: keys
                .into_iter()
                .map(|key| MethodKey::new(key, noon()))
                .collect(),
        })),
    }
}

pub(crate) fn rule(namespaces: &[&str], pods: &[&str]) -> Rule {
    let list = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect();
    Rule::parse(RuleSpec {
        namespaces: list(namespaces),
        pods: list(pods),
        ..RuleSpec::default()
    })
    .unwrap()
}

pub(crate) fn kubernetes(method: &mut AuthMethod) -> &mut Kubernetes {
    match &mut method.settings.kind {
        Kind::Kubernetes(kubernetes) => kubernetes,
        Kind::AccessKey => panic!("a Kubernetes method"),
    }
}

/// The tutorial's first pod.
pub(crate) fn facts() -> Facts {
    Facts {
        namespace: "my-namespace-a".to_owned(),
        service_account_name: "default".to_owned(),
        service_account_uid: "5b7b1a3e-0000-4000-8000-000000000001".to_owned(),
        pod_name: Some("mypod1".to_owned()),
        pod_uid: Some("5b7b1a3e-0000-4000-8000-000000000002".to_owned()),
        node_name: None,
        credential_id: Some("JTI=5b7b1a3e-0000-4000-8000-000000000003".to_owned()),
        client_ip: Some("10.2.3.4".parse().unwrap()),
        aud: vec!["https://kubernetes.default.svc".to_owned()],
        for_api_server: true,
        legacy: false,
        issue_time: Some(noon()),
        expire_time: Some(noon() + jiff::SignedDuration::from_hours(1)),
        mode: VerificationMode::Review,
        namespace_labels: None,
        cached: false,
        review_ms: None,
    }
}
