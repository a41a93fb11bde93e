//! Assertions as a gateway makes them, or as somebody would who has only a part of what it has.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use postern_core::access_token::AccessToken;
use postern_core::assertion::{self, Terms};
use postern_core::facts::{Facts, VerificationMode};
use postern_core::k8s_auth_config::TokenExp;
use postern_core::key::SigningKey;
use postern_core::policy;
use postern_proto::convert;
use postern_proto::pb;
use postern_proto::pb::auth_method_service_client::AuthMethodServiceClient;
use postern_proto::pb::gateway_sync_service_client::GatewaySyncServiceClient;
use postern_rpc::error::Failure;
use postern_rpc::request_id::RequestId;
use uuid::Uuid;

use super::{Caller, Method, World};

/// What a forger says.
pub(crate) struct Forgery<'a> {
    pub(crate) method: &'a Method,
    /// Whose private key signs.
    pub(crate) signer: &'a Method,
    pub(crate) config_uid: Uuid,
    pub(crate) generation: i64,
    pub(crate) gateway: &'a str,
    pub(crate) deployment: Uuid,
    pub(crate) jti: Uuid,
    pub(crate) pod: &'a str,
}

impl World {
    /// What the gateway itself would say about `mypod1`.
    pub(crate) fn forgery<'a>(&self, method: &'a Method) -> Forgery<'a> {
        let config = self
            .admin
            .json(&["gateway-get-k8s-auth-config", "-n", &method.name]);
        Forgery {
            method,
            signer: method,
            config_uid: config["meta"]["uid"].as_str().unwrap().parse().unwrap(),
            generation: config["generation"].as_i64().unwrap(),
            gateway: "default",
            deployment: self.gateway_file()["deployment_id"]
                .as_str()
                .unwrap()
                .parse()
                .unwrap(),
            jti: Uuid::new_v4(),
            pod: "mypod1",
        }
    }

    /// The signed assertion. The rules that its facts pass are the forger's own.
    pub(crate) fn assertion(&self, forgery: &Forgery) -> String {
        let administrator = self.control_plane().with(&self.administrator_token(""));
        let get = pb::GetAuthMethodRequest {
            name: format!("authMethods/{}", forgery.method.name),
        };
        let mut client = AuthMethodServiceClient::new(administrator.channel());
        let answer = self
            .block_on(client.get_auth_method(administrator.request(get)))
            .unwrap();
        let mut method = answer.into_inner().auth_method.unwrap();
        if let Some(pb::auth_method::Type::Kubernetes(kubernetes)) = &mut method.r#type {
            kubernetes.rules = vec![pb::Rule {
                any_namespace: true,
                allow_any: true,
                ..pb::Rule::default()
            }];
        }
        let now = Timestamp::now();
        let method = convert::auth_method::from_pb(&method, now).unwrap();
        let facts = Facts {
            namespace: "my-namespace-a".to_owned(),
            service_account_name: "default".to_owned(),
            service_account_uid: Uuid::new_v4().to_string(),
            pod_name: Some(forgery.pod.to_owned()),
            pod_uid: Some(Uuid::new_v4().to_string()),
            node_name: None,
            credential_id: None,
            client_ip: Some("127.0.0.1".parse().unwrap()),
            aud: Vec::new(),
            for_api_server: true,
            legacy: false,
            issue_time: None,
            expire_time: Some("2100-01-01T00:00:00Z".parse().unwrap()),
            mode: VerificationMode::Review,
            namespace_labels: None,
            cached: false,
            review_ms: None,
        };
        let admission = policy::admit(&method, facts.client_ip, now).unwrap();
        let grant = policy::decide(admission, facts, now).unwrap();
        let terms = Terms {
            token: AccessToken::generate().unwrap().hash(),
            renews: false,
            config_uid: forgery.config_uid,
            generation: forgery.generation,
            gateway: forgery.gateway.parse().unwrap(),
            instance: Uuid::new_v4().to_string(),
            deployment: forgery.deployment,
            now,
            life: TokenExp::default(),
            jti: forgery.jti,
        };
        let pem = STANDARD.decode(&forgery.signer.prv_key).unwrap();
        let key = SigningKey::parse(&String::from_utf8(pem).unwrap()).unwrap();
        assertion::sign(grant, &terms, &key).unwrap()
    }

    /// Exchanges it as `caller`; the request ID finds the audit record.
    pub(crate) fn exchange(
        &self,
        caller: &Caller,
        access_id: &str,
        assertion: &str,
    ) -> (String, Result<pb::ExchangeAssertionResponse, Failure>) {
        let request_id = RequestId::generate().to_string();
        let message = pb::ExchangeAssertionRequest {
            token_audiences: Vec::new(),
            renewed_jwt: String::new(),
            access_id: access_id.to_owned(),
            assertion: assertion.to_owned(),
            request_id: request_id.clone(),
        };
        let mut client = GatewaySyncServiceClient::new(caller.channel());
        let answer = self.block_on(client.exchange_assertion(caller.request(message)));
        (
            request_id,
            answer
                .map(tonic::Response::into_inner)
                .map_err(Failure::from),
        )
    }
}
