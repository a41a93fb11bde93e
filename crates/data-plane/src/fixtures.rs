//! A simulated cluster, its config, and tokens, for the tests of a login.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use kube_sim::{KubeSim, Options};
use postern_core::access_token::AccessKey;
use postern_core::auth_method::{
    Audiences, AuthMethod, Kind, Kubernetes, MethodKey, Settings, TokenBounds,
};
use postern_core::ca_bundle::CaBundle;
use postern_core::facts::VerificationMode;
use postern_core::k8s_auth_config::{
    ClusterAccess, Endpoint, Issuers, K8sAuthConfig, Reviewer, Timeouts, TokenExp,
};
use postern_core::key::{SigningAlgorithm, SigningKey};
use postern_core::rule::{Rule, RuleSpec};
use secrecy::SecretString;
use serde_json::Value;
use uuid::Uuid;

use crate::config::Credential;
use crate::control_plane::Own;
use crate::presented_token::{PresentedToken, Rejection};

pub(crate) fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

/// The gateway `default`, whose access key nobody knows.
pub(crate) fn own() -> Own {
    Own {
        gateway: "default".parse().unwrap(),
        deployment: Uuid::from_u128(1),
        credential: Credential {
            access_id: "p-abcdefghijklam".parse().unwrap(),
            access_key: AccessKey::generate().unwrap(),
        },
        credential_file: None,
    }
}

/// What the tutorial's command makes: two pods of one namespace, for tokens of the API server's own audience.
pub(crate) fn kubernetes(key: &SigningKey) -> Kubernetes {
    let spec = RuleSpec {
        namespaces: strings(&["my-namespace-a"]),
        pods: strings(&["mypod1", "mypod2"]),
        ..RuleSpec::default()
    };
    Kubernetes {
        audiences: Audiences::ApiServer,
        rules: vec![Rule::parse(spec).unwrap()],
        tokens: TokenBounds::default(),
        revoke_with_pod: false,
        public_keys: vec![MethodKey::new(key.public().clone(), Timestamp::now())],
    }
}

pub(crate) fn method(kubernetes: Kubernetes) -> AuthMethod {
    AuthMethod {
        id: "my-k8s-auth-method".parse().unwrap(),
        uid: Uuid::from_u128(1),
        access_id: "p-abcdefghijkl".parse().unwrap(),
        settings: Settings::new(Kind::Kubernetes(kubernetes)),
    }
}

pub(crate) fn signing_key() -> SigningKey {
    SigningKey::generate(SigningAlgorithm::Es256).unwrap()
}

pub(crate) async fn sim() -> KubeSim {
    KubeSim::start(Options::default()).await.unwrap()
}

/// The tutorial's config for a simulated cluster.
pub(crate) fn config(sim: &KubeSim) -> K8sAuthConfig {
    let reviewer = sim
        .reviewer_token("default", "gateway-token-reviewer")
        .unwrap();
    K8sAuthConfig {
        name: "gateways/default/k8sAuthConfigs/k8s-conf".parse().unwrap(),
        uid: Uuid::from_u128(2),
        generation: 1,
        access_id: "p-abcdefghijkl".parse().unwrap(),
        access: ClusterAccess::Direct {
            at: Endpoint {
                host: sim.host().parse().unwrap(),
                ca: Some(CaBundle::parse(sim.ca_pem(), Timestamp::now()).unwrap().0),
                tls_server_name: None,
            },
            reviewer: Reviewer::Token(reviewer.parse().unwrap()),
        },
        timeouts: Timeouts::default(),
        mode: VerificationMode::Review,
        jwks: None,
        issuers: Issuers::parse(vec![sim.issuer().to_owned()], false).unwrap(),
        disabled: false,
        token_exp: TokenExp::default(),
        signing_key: signing_key(),
    }
}

pub(crate) fn parse(text: &str) -> Result<PresentedToken, Rejection> {
    PresentedToken::parse(SecretString::from(text))
}

/// A JWT that says this, with a signature of nobody's.
pub(crate) fn jwt(header: &Value, payload: &Value) -> String {
    raw_jwt(&header.to_string(), &payload.to_string())
}

pub(crate) fn raw_jwt(header: &str, payload: &str) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{}", part(header), part(payload), part("signature"))
}
