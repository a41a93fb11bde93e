//! What a gateway signs, made here: for the exchange alone, and for the cost of its parts.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use postern_core::access_id::AccessId;
use postern_core::access_token::AccessToken;
use postern_core::assertion::{self, Terms};
use postern_core::auth_method::AuthMethod;
use postern_core::facts::Facts;
use postern_core::k8s_auth_config::TokenExp;
use postern_core::key::SigningKey;
use postern_core::policy;
use postern_core::resource_id::GatewayName;
use postern_proto::{convert, pb};
use postern_rpc::caller::BearerToken;
use serde_json::json;
use uuid::Uuid;

use crate::deployment::Postern;

/// How often a part is done to know what it takes.
const TIMES: u32 = 2000;

/// Signs assertions as the deployment's gateway does.
pub(crate) struct Assertions {
    access_id: AccessId,
    method: AuthMethod,
    facts: Facts,
    key: SigningKey,
    config_uid: Uuid,
    generation: i64,
    gateway: GatewayName,
    deployment: Uuid,
    bearer: BearerToken,
}

impl Assertions {
    pub(crate) fn new(postern: &Postern, namespace: &str) -> Result<Self> {
        let now = Timestamp::now();
        let method = convert::auth_method::from_pb(&postern.method, now)?;
        let facts = serde_json::from_value(json!({
            "namespace": namespace,
            "service_account_name": "account-0",
            "service_account_uid": Uuid::new_v4(),
            "pod_name": "pod-0",
            "pod_uid": Uuid::new_v4(),
            "aud": [],
            "for_api_server": true,
            "legacy": false,
            "issue_time": now,
            "expire_time": now + Duration::from_secs(3600),
        }))?;
        let meta = postern.config.meta.as_ref();
        let config_uid = meta.context("a config without a UID")?.uid.parse()?;
        Ok(Self {
            access_id: postern.access_id()?,
            method,
            facts,
            key: SigningKey::parse(secrecy::ExposeSecret::expose_secret(
                &postern.signing_key.to_pkcs8_pem(),
            ))?,
            config_uid,
            generation: postern.config.generation,
            gateway: "default".parse()?,
            deployment: postern.deployment_id.parse()?,
            bearer: BearerToken::new(postern.gateway_token.clone()),
        })
    }

    pub(crate) fn bearer(&self) -> &BearerToken {
        &self.bearer
    }

    pub(crate) fn next(&self) -> Result<pb::ExchangeAssertionRequest> {
        Ok(pb::ExchangeAssertionRequest {
            token_audiences: Vec::new(),
            renewed_jwt: String::new(),
            access_id: self.access_id.to_string(),
            assertion: self.sign(Timestamp::now())?,
            request_id: postern_rpc::request_id::RequestId::generate().to_string(),
        })
    }

    fn sign(&self, now: Timestamp) -> Result<String> {
        let admission = policy::admit(&self.method, None, now)
            .map_err(|reason| anyhow::anyhow!("not admitted: {reason}"))?;
        let grant = policy::decide(admission, self.facts.clone(), now)
            .map_err(|denial| anyhow::anyhow!("not granted: {}", denial.reason))?;
        let terms = Terms {
            token: AccessToken::generate()?.hash(),
            renews: false,
            config_uid: self.config_uid,
            generation: self.generation,
            gateway: self.gateway.clone(),
            instance: "bench".to_owned(),
            deployment: self.deployment,
            now,
            life: TokenExp::parse(60, 0)?,
            jti: Uuid::new_v4(),
        };
        Ok(assertion::sign(grant, &terms, &self.key)?)
    }

    /// What deciding and signing takes, and what verifying takes, in microseconds.
    pub(crate) fn parts(&self) -> Result<(f64, f64)> {
        let now = Timestamp::now();
        let mut signed = Vec::new();
        let begun = Instant::now();
        for _ in 0..TIMES {
            signed.push(self.sign(now)?);
        }
        let signing = begun.elapsed();
        let kubernetes = self.method.kubernetes().context("no Kubernetes method")?;
        let begun = Instant::now();
        for jws in &signed {
            assertion::verify(jws, &self.access_id, kubernetes, self.deployment, now)
                .map_err(|reason| anyhow::anyhow!("not verified: {reason}"))?;
        }
        let each = |whole: Duration| (whole / TIMES).as_secs_f64() * 1e6;
        Ok((each(signing), each(begun.elapsed())))
    }
}
