//! Configs, rows and methods for this crate's tests.

use jiff::Timestamp;
use postern_core::k8s_auth_config::{
    ClusterAccess, Endpoint, K8sAuthConfig, Reviewer, ReviewerToken,
};
use postern_core::key::{SigningAlgorithm, SigningKey};
use postern_core::seal::{Keyring, SealKeyId};
use postern_proto::convert::k8s_auth_config::{self as convert, Identity};
use postern_proto::pb;
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use crate::sealing::Sealer;

pub(crate) const ACCESS_ID: &str = "p-abcdefghijkl";
pub(crate) const HOST: &str = "https://127.0.0.1:8443";

pub(crate) fn noon() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

/// A line of a seal key file.
pub(crate) fn key_line(id: &str) -> String {
    let id: SealKeyId = id.parse().unwrap();
    Keyring::generate_line(&id).unwrap().to_string()
}

pub(crate) fn sealer(gateway: &str, lines: &[&str]) -> Sealer {
    let keyring = Keyring::parse(&lines.join("\n")).unwrap();
    Sealer::new(gateway.parse().unwrap(), keyring)
}

pub(crate) fn config(id: &str, uid: u128, generation: i64) -> K8sAuthConfig {
    config_at(HOST, id, uid, generation)
}

pub(crate) fn config_at(host: &str, id: &str, uid: u128, generation: i64) -> K8sAuthConfig {
    let key = SigningKey::generate(SigningAlgorithm::Es256).unwrap();
    let identity = Identity {
        name: format!("gateways/default/k8sAuthConfigs/{id}")
            .parse()
            .unwrap(),
        uid: Uuid::from_u128(uid),
        generation,
    };
    let wire = pb::K8sAuthConfig {
        access_id: Some(ACCESS_ID.to_owned()),
        k8s_host: Some(host.to_owned()),
        k8s_ca_cert: Some(ca_pem()),
        k8s_issuers: vec!["https://issuer".to_owned()],
        ..pb::K8sAuthConfig::default()
    };
    let secrets = pb::K8sAuthConfigSecrets {
        signing_key: Some(key.to_pkcs8_pem().expose_secret().to_owned()),
        token_reviewer_jwt: Some("aaa.bbb.ccc".to_owned()),
        ..pb::K8sAuthConfigSecrets::default()
    };
    let own = Err("nowhere".to_owned());
    let accepted = convert::created(identity, &wire, &secrets, &own, noon());
    accepted.ok().unwrap().config
}

/// With a CA, a live config needs no system roots.
fn ca_pem() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.self_signed(&key).unwrap().pem()
}

pub(crate) fn method(id: &str, access_id: &str) -> pb::AuthMethod {
    let key = SigningKey::generate(SigningAlgorithm::Es256).unwrap();
    let kubernetes = pb::KubernetesAuthMethod {
        rules: vec![pb::Rule {
            namespaces: vec!["my-namespace-a".to_owned()],
            pods: vec!["mypod1".to_owned()],
            ..pb::Rule::default()
        }],
        public_keys: vec![pb::PublicKey {
            public_key: key.public().to_pem(),
            ..pb::PublicKey::default()
        }],
        ..pb::KubernetesAuthMethod::default()
    };
    pb::AuthMethod {
        name: format!("authMethods/{id}"),
        access_id: access_id.to_owned(),
        meta: Some(pb::ResourceMeta {
            uid: Uuid::from_u128(99).to_string(),
            ..pb::ResourceMeta::default()
        }),
        r#type: Some(pb::auth_method::Type::Kubernetes(kubernetes)),
        ..pb::AuthMethod::default()
    }
}

/// The reviewer's token of a config that has one.
pub(crate) fn reviewer_token(config: &K8sAuthConfig) -> &ReviewerToken {
    match &config.access {
        ClusterAccess::Direct {
            reviewer: Reviewer::Token(token),
            ..
        } => token,
        _ => panic!("a reviewer's token"),
    }
}

/// The config with another reviewer.
pub(crate) fn set_reviewer(config: &mut K8sAuthConfig, other: Reviewer) {
    match &mut config.access {
        ClusterAccess::Direct { reviewer, .. } => *reviewer = other,
        _ => panic!("an API server"),
    }
}

pub(crate) fn endpoint(config: &mut K8sAuthConfig) -> &mut Endpoint {
    match &mut config.access {
        ClusterAccess::Direct { at, .. } | ClusterAccess::Rancher { at, .. } => at,
        ClusterAccess::Own(_) => panic!("an API server"),
    }
}
