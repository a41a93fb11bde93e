//! What administrators and gateways send.

use postern_core::access_token::AccessToken;
use postern_core::assertion::{self, Terms};
use postern_core::auth_method::AuthMethod;
use postern_core::facts::{Facts, VerificationMode};
use postern_core::k8s_auth_config::TokenExp;
use postern_core::key::{SigningAlgorithm, SigningKey};
use postern_core::policy;
use postern_proto::convert;
use postern_proto::pb;
use postern_rpc::request_id::RequestId;
use uuid::Uuid;

use crate::world::{GATEWAY, Persona, World};

pub(crate) fn signing_key() -> SigningKey {
    SigningKey::generate(SigningAlgorithm::Es256).unwrap()
}

/// The tutorial's method.
pub(crate) fn method(key: &SigningKey) -> pb::AuthMethod {
    pb::AuthMethod {
        r#type: Some(pb::auth_method::Type::Kubernetes(
            pb::KubernetesAuthMethod {
                rules: vec![pb::Rule {
                    namespaces: vec!["my-namespace-a".to_owned()],
                    pods: vec!["mypod1".to_owned(), "mypod2".to_owned()],
                    ..pb::Rule::default()
                }],
                public_keys: vec![pb::PublicKey {
                    public_key: key.public().to_pem(),
                    ..pb::PublicKey::default()
                }],
                ..pb::KubernetesAuthMethod::default()
            },
        )),
        ..pb::AuthMethod::default()
    }
}

pub(crate) fn creation(id: &str, method: pb::AuthMethod) -> pb::CreateAuthMethodRequest {
    pb::CreateAuthMethodRequest {
        auth_method_id: id.to_owned(),
        auth_method: Some(method),
        ..pb::CreateAuthMethodRequest::default()
    }
}

/// A config of the first gateway as that gateway sends it, with a box that only looks like one.
pub(crate) fn config(id: &str, access_id: &str, key: &SigningKey) -> pb::SealedK8sAuthConfig {
    pb::SealedK8sAuthConfig {
        view: Some(pb::K8sAuthConfig {
            name: format!("gateways/{GATEWAY}/k8sAuthConfigs/{id}"),
            meta: Some(pb::ResourceMeta {
                uid: Uuid::now_v7().to_string(),
                ..pb::ResourceMeta::default()
            }),
            access_id: Some(access_id.to_owned()),
            k8s_host: Some("https://cluster.example.com:8443".to_owned()),
            k8s_issuers: vec!["https://kubernetes.default.svc".to_owned()],
            signing_key_id: key.public().id().to_string(),
            seal_key_id: "k1".to_owned(),
            generation: 1,
            ..pb::K8sAuthConfig::default()
        }),
        sealed: b"ciphertext".to_vec(),
    }
}

pub(crate) fn config_creation(
    config: pb::SealedK8sAuthConfig,
) -> pb::CreateSealedK8sAuthConfigRequest {
    pb::CreateSealedK8sAuthConfigRequest {
        config: Some(config),
        validate_only: false,
    }
}

/// The tutorial's method and config, stored.
pub(crate) struct Setup {
    pub(crate) key: SigningKey,
    pub(crate) method: pb::AuthMethod,
    pub(crate) config: pb::SealedK8sAuthConfig,
}

impl World {
    pub(crate) async fn create_method(&self, id: &str, key: &SigningKey) -> pb::AuthMethod {
        let request = self
            .administrator()
            .await
            .request(creation(id, method(key)));
        let made = self.methods().create_auth_method(request).await.unwrap();
        made.into_inner().auth_method.unwrap()
    }

    pub(crate) async fn create_config(
        &self,
        relayed: &Persona,
        config: pb::SealedK8sAuthConfig,
    ) -> pb::SealedK8sAuthConfig {
        let request = relayed.request(config_creation(config));
        let made = self.configs().create_sealed_k8s_auth_config(request).await;
        made.unwrap().into_inner().config.unwrap()
    }

    pub(crate) async fn setup(&self) -> Setup {
        let key = signing_key();
        let method = self.create_method("my-k8s-auth-method", &key).await;
        let relayed = self.relayed().await;
        let config = config("k8s-conf", &method.access_id, &key);
        let config = self.create_config(&relayed, config).await;
        Setup {
            key,
            method,
            config,
        }
    }

    /// A pod's token of this deployment.
    pub(crate) async fn workload(&self, setup: &Setup) -> Persona {
        let token = AccessToken::generate().unwrap();
        let message = self.assertion(setup, &token, &pod("mypod1"));
        let request = self.gateway().await.request(message);
        self.sync().exchange_assertion(request).await.unwrap();
        Persona::bearer(token.expose())
    }

    /// What the first gateway would send, were the facts what it had verified.
    pub(crate) fn assertion(
        &self,
        setup: &Setup,
        token: &AccessToken,
        facts: &Facts,
    ) -> pb::ExchangeAssertionRequest {
        let now = self.clock.now();
        // A gateway that lies about its own decision: the control plane decides again.
        let mut lenient = self.method(&setup.method);
        let everybody = postern_core::rule::RuleSpec {
            any_namespace: true,
            allow_any: true,
            ..Default::default()
        };
        if let postern_core::auth_method::Kind::Kubernetes(kubernetes) = &mut lenient.settings.kind
        {
            kubernetes.rules = vec![postern_core::rule::Rule::parse(everybody).unwrap()];
        }
        let admission = policy::admit(&lenient, facts.client_ip, now).unwrap();
        let grant = policy::decide(admission, facts.clone(), now).unwrap();
        let view = setup.config.view.as_ref().unwrap();
        let terms = Terms {
            token: token.hash(),
            renews: false,
            config_uid: view.meta.as_ref().unwrap().uid.parse().unwrap(),
            generation: view.generation,
            gateway: GATEWAY.parse().unwrap(),
            instance: "replica-1".to_owned(),
            deployment: self.deployment,
            now,
            life: TokenExp::default(),
            jti: Uuid::now_v7(),
        };
        pb::ExchangeAssertionRequest {
            token_audiences: Vec::new(),
            renewed_jwt: String::new(),
            access_id: setup.method.access_id.clone(),
            assertion: assertion::sign(grant, &terms, &setup.key).unwrap(),
            request_id: RequestId::generate().to_string(),
        }
    }

    fn method(&self, wire: &pb::AuthMethod) -> AuthMethod {
        convert::auth_method::from_pb(wire, self.clock.now()).unwrap()
    }
}

/// The facts about a pod of the tutorial's namespace.
pub(crate) fn pod(name: &str) -> Facts {
    Facts {
        namespace: "my-namespace-a".to_owned(),
        service_account_name: "default".to_owned(),
        service_account_uid: Uuid::from_u128(1).to_string(),
        pod_name: Some(name.to_owned()),
        pod_uid: Some(Uuid::from_u128(2).to_string()),
        node_name: None,
        credential_id: Some("JTI=1".to_owned()),
        client_ip: Some([10, 2, 3, 4].into()),
        aud: vec!["https://kubernetes.default.svc".to_owned()],
        for_api_server: true,
        legacy: false,
        issue_time: None,
        expire_time: Some("2100-01-01T00:00:00Z".parse().unwrap()),
        mode: VerificationMode::Review,
        namespace_labels: None,
        cached: false,
        review_ms: None,
    }
}
