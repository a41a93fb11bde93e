//! Methods, gateways, configs and assertions.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use postern_core::access_id::{AccessId, AccessType};
use postern_core::access_token::{AccessToken, Accessor, TokenHash};
use postern_core::assertion::{self, Terms};
use postern_core::auth_method::{
    Audiences, AuthMethod, Kind, Kubernetes, MethodKey, PresentedLimit, Settings, TokenBounds,
    TokenFormat, TokenMaxTtl, TokenMaxima, TokenTtl, TokenUses,
};
use postern_core::facts::{Facts, VerificationMode};
use postern_core::k8s_auth_config::{Issuers, ReviewerView, Timeouts, TokenExp};
use postern_core::key::{SigningAlgorithm, SigningKey};
use postern_core::policy;
use postern_core::role::BuiltIn;
use postern_core::rule::{Rule, RuleSpec};
use postern_core::sealed_config::{ConfigView, SealedConfig};
use uuid::Uuid;

use crate::limits::SubjectLimits;
use crate::store::{Cause, Exchange, Gateway, GatewayIdentity};

pub(super) const DEPLOYMENT: Uuid = Uuid::from_u128(0xd);

pub(super) fn noon() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

pub(super) fn later(seconds: i64) -> Timestamp {
    noon() + SignedDuration::from_secs(seconds)
}

pub(super) fn cause(request_id: &str) -> Cause {
    Cause {
        now: noon(),
        request_id: request_id.to_owned(),
        access_id: "p-abcdefghijal".to_owned(),
        accessor: String::new(),
        gateway: String::new(),
        caller_ip: Some("10.1.1.1".parse().unwrap()),
        user_agent: "test".to_owned(),
        permissions: BuiltIn::Admin.permissions(),
    }
}

pub(super) fn key() -> SigningKey {
    SigningKey::generate(SigningAlgorithm::Es256).unwrap()
}

/// The tutorial's, with everything set that can be.
pub(super) fn method(id: &str) -> (AuthMethod, SigningKey) {
    let key = key();
    let method = AuthMethod {
        id: id.parse().unwrap(),
        uid: Uuid::now_v7(),
        access_id: AccessId::generate(AccessType::Kubernetes).unwrap(),
        settings: Settings {
            description: "of the tutorial".to_owned(),
            access_expires: Some(later(86_400)),
            token_ttl: TokenTtl::parse(600, 0).unwrap(),
            token_max_ttl: TokenMaxTtl::parse(7200, 0).unwrap(),
            token_num_uses: TokenUses::parse(1000).unwrap(),
            cap_to_presented_expiry: true,
            token_format: TokenFormat::Opaque,
            disabled: false,
            bound_ips: vec!["10.0.0.0/8".parse().unwrap()],
            gw_bound_ips: vec!["192.0.2.1".parse().unwrap()],
            force_sub_claims: true,
            audit_logs_claims: vec!["namespace".parse().unwrap(), "aud".parse().unwrap()],
            delete_protection: false,
            kind: Kind::Kubernetes(Kubernetes {
                audiences: Audiences::Listed(vec!["vault".to_owned()]),
                tokens: TokenBounds {
                    require_pod: true,
                    max_age: PresentedLimit::parse(3600, 0).unwrap(),
                    max_lifetime: PresentedLimit::parse(7200, 0).unwrap(),
                    ..TokenBounds::default()
                },
                rules: vec![rule("my-namespace-a")],
                public_keys: vec![method_key(&key)],
                revoke_with_pod: true,
            }),
        },
    };
    (method, key)
}

pub(super) fn method_key(key: &SigningKey) -> MethodKey {
    MethodKey::new(key.public().clone(), noon())
}

pub(super) fn rule(namespace: &str) -> Rule {
    Rule::parse(RuleSpec {
        namespaces: vec![namespace.to_owned()],
        pods: vec!["mypod1".to_owned(), "mypod2".to_owned()],
        ..RuleSpec::default()
    })
    .unwrap()
}

pub(super) fn kubernetes(settings: &mut Settings) -> &mut Kubernetes {
    match &mut settings.kind {
        Kind::Kubernetes(kubernetes) => kubernetes,
        Kind::AccessKey => panic!("a Kubernetes method"),
    }
}

pub(super) fn administrator(id: &str) -> AuthMethod {
    let (mut method, _) = method(id);
    method.access_id = AccessId::generate(AccessType::AccessKey).unwrap();
    method.settings.kind = Kind::AccessKey;
    method.settings.force_sub_claims = false;
    method.settings.cap_to_presented_expiry = false;
    method.settings.token_num_uses = None;
    method.settings.audit_logs_claims.clear();
    method
}

/// One that nothing keeps out.
pub(super) fn root() -> AuthMethod {
    let mut root = administrator("root");
    root.settings.access_expires = None;
    root.settings.disabled = false;
    root.settings.bound_ips.clear();
    root
}

pub(super) fn gateway(name: &str) -> Gateway {
    Gateway {
        name: name.parse().unwrap(),
        uid: Uuid::now_v7(),
        url: format!("https://{name}.example:8000"),
        description: "of the tutorial".to_owned(),
        disabled: false,
        access_id: AccessId::generate(AccessType::AccessKey).unwrap(),
    }
}

pub(super) fn identity(gateway: &Gateway) -> GatewayIdentity {
    GatewayIdentity {
        name: gateway.name.clone(),
        uid: gateway.uid,
    }
}

pub(super) fn config(gateway: &Gateway, id: &str, method: &AuthMethod) -> SealedConfig {
    let key = method
        .kubernetes()
        .and_then(|k| k.key_ids().next())
        .unwrap();
    SealedConfig {
        view: ConfigView {
            name: format!("{}/k8sAuthConfigs/{id}", gateway.name.full())
                .parse()
                .unwrap(),
            uid: Uuid::now_v7(),
            generation: 1,
            access_id: method.access_id.clone(),
            k8s_host: Some("https://cluster.example:8443".parse().unwrap()),
            k8s_ca_cert: "a PEM".to_owned(),
            tls_server_name: Some("kubernetes.default".parse().unwrap()),
            reviewer: ReviewerView::Certificate("a client's PEM".to_owned()),
            timeouts: Timeouts::new(
                Some(Duration::from_millis(1500)),
                Some(Duration::from_millis(4500)),
            )
            .unwrap(),
            mode: VerificationMode::JwksThenReview,
            jwks: r#"{"keys":[]}"#.to_owned(),
            issuers: Issuers::Listed(vec!["https://kubernetes.default.svc".to_owned()]),
            disabled: false,
            token_exp: TokenExp::parse(120, 0).unwrap(),
            signing_key_id: key.to_string(),
            seal_key_id: "k1".to_owned(),
            reviewer_credential_expire_time: Some(later(3600)),
        },
        sealed: vec![1, 2, 0, 255],
    }
}

/// The tutorial's first pod.
pub(super) fn facts() -> Facts {
    Facts {
        namespace: "my-namespace-a".to_owned(),
        service_account_name: "default".to_owned(),
        service_account_uid: "5b7b1a3e-0000-4000-8000-000000000001".to_owned(),
        pod_name: Some("mypod1".to_owned()),
        pod_uid: Some("5b7b1a3e-0000-4000-8000-000000000002".to_owned()),
        node_name: None,
        credential_id: Some("JTI=5b7b1a3e-0000-4000-8000-000000000003".to_owned()),
        client_ip: Some("10.2.3.4".parse().unwrap()),
        aud: vec!["vault".to_owned()],
        for_api_server: true,
        legacy: false,
        issue_time: Some(noon()),
        expire_time: Some(later(3600)),
        mode: VerificationMode::Review,
        namespace_labels: None,
        cached: false,
        review_ms: None,
    }
}

/// What a gateway signs for a pod, and how it presents it.
pub(super) struct Login<'b> {
    pub(super) method: &'b AuthMethod,
    pub(super) key: &'b SigningKey,
    pub(super) gateway: &'b Gateway,
    pub(super) config_uid: Uuid,
    pub(super) token: AccessToken,
    pub(super) renews: bool,
    /// Of a renewal: of the JWT that is shown, instead of the token.
    pub(super) jwt: Option<Accessor>,
    pub(super) now: Timestamp,
    pub(super) jti: Uuid,
    pub(super) facts: Facts,
}

impl<'b> Login<'b> {
    pub(super) fn new(
        method: &'b AuthMethod,
        key: &'b SigningKey,
        gateway: &'b Gateway,
        config: &SealedConfig,
    ) -> Self {
        Self {
            method,
            key,
            gateway,
            config_uid: config.view.uid,
            token: AccessToken::generate().unwrap(),
            renews: false,
            jwt: None,
            now: noon(),
            jti: Uuid::new_v4(),
            facts: facts(),
        }
    }

    fn jwt(&self) -> Option<TokenHash> {
        self.jwt.as_ref().map(TokenHash::of_jwt)
    }

    pub(super) fn assertion(&self) -> String {
        // A gateway's own rules let in whatever it says: those of the database decide.
        let mut lenient = self.method.clone();
        let kubernetes = kubernetes(&mut lenient.settings);
        kubernetes.rules = vec![
            Rule::parse(RuleSpec {
                any_namespace: true,
                allow_any: true,
                ..RuleSpec::default()
            })
            .unwrap(),
        ];
        let client_ip = Some("10.2.3.4".parse().unwrap());
        let admission = policy::admit(&lenient, client_ip, self.now).unwrap();
        let grant = policy::decide(admission, self.facts.clone(), self.now).unwrap();
        let terms = Terms {
            token: self.jwt().unwrap_or_else(|| self.token.hash()),
            renews: self.renews,
            config_uid: self.config_uid,
            generation: 1,
            gateway: self.gateway.name.clone(),
            instance: "replica-1".to_owned(),
            deployment: DEPLOYMENT,
            now: self.now,
            life: TokenExp::parse(60, 0).unwrap(),
            jti: self.jti,
        };
        assertion::sign(grant, &terms, self.key).unwrap()
    }

    pub(super) fn request(&self, request_id: &str) -> Exchange {
        Exchange {
            token_audiences: Vec::new(),
            renewed_jwt: self.jwt(),
            access_id: self.method.access_id.clone(),
            assertion: self.assertion(),
            gateway: identity(self.gateway),
            gateway_ip: Some("192.0.2.1".parse().unwrap()),
            deployment: DEPLOYMENT,
            accessor: Accessor::generate().unwrap(),
            request_id: request_id.to_owned(),
            now: self.now,
            limits: SubjectLimits::OFF,
            maxima: TokenMaxima::default(),
            signs: Some(Arc::new(["k1".parse().unwrap()])),
        }
    }
}
