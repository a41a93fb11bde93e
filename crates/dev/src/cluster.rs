//! What `kubectl` does in the tutorial, done to the simulated cluster over its API.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postern_rpc::tls;
use reqwest::{Method, StatusCode, redirect};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use crate::state::ClusterState;

const TIMEOUT: Duration = Duration::from_secs(5);
const REVIEWER: &str = "gateway-token-reviewer";
/// What a kubelet asks for.
const PROJECTED_SECONDS: u32 = 3607;

/// An administrator of the simulated cluster.
pub struct Cluster {
    client: reqwest::Client,
    host: String,
    admin_token: SecretString,
}

/// Why the cluster didn't do it.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("the CA certificate can't be used")]
    Tls(#[from] tls::Error),
    #[error("the simulated cluster at {host} doesn't answer")]
    Unreachable {
        host: String,
        source: reqwest::Error,
    },
    #[error("the simulated cluster refused: {message}")]
    Refused { status: StatusCode, message: String },
    #[error("the simulated cluster's answer has no {0}")]
    Answer(&'static str),
}

impl Cluster {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// The CA can't be used.
    pub fn new(state: &ClusterState) -> Result<Self, ClusterError> {
        let tls = tls::client_config(Some(state.ca_cert.as_bytes()))?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            .no_proxy()
            .redirect(redirect::Policy::none())
            .timeout(TIMEOUT)
            .build();
        let host = state.host.clone();
        let client = client.map_err(|source| ClusterError::Unreachable {
            host: host.clone(),
            source,
        })?;
        Ok(Self {
            client,
            host,
            admin_token: state.admin_token.clone(),
        })
    }

    /// Whether it runs and is the one that the state is of.
    ///
    /// # Errors
    /// It doesn't, or another one does.
    pub async fn check(&self) -> Result<(), ClusterError> {
        self.call(Method::GET, "/api/v1/namespaces/default", None)
            .await
            .map(drop)
    }

    /// Creates the namespace and the pod where they don't exist, as `kubectl run` does, and
    /// returns the token that the pod finds in its projected file.
    ///
    /// # Errors
    /// A name that Kubernetes doesn't take, or no answer.
    pub async fn pod_token(
        &self,
        namespace: &str,
        pod: &str,
    ) -> Result<SecretString, ClusterError> {
        let object = json!({ "metadata": { "name": namespace } });
        self.ensure("/api/v1/namespaces", &object).await?;
        let pods = format!("/api/v1/namespaces/{namespace}/pods");
        let image = json!([{ "name": pod, "image": "nginx" }]);
        let object = json!({ "metadata": { "name": pod }, "spec": { "containers": image } });
        self.ensure(&pods, &object).await?;
        let found = self
            .call(Method::GET, &format!("{pods}/{pod}"), None)
            .await?;
        let account = found["spec"]["serviceAccountName"]
            .as_str()
            .unwrap_or("default");
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let request = json!({ "spec": {
            "expirationSeconds": PROJECTED_SECONDS,
            "boundObjectRef": { "apiVersion": "v1", "kind": "Pod", "name": pod },
        }});
        let answer = self.call(Method::POST, &path, Some(&request)).await?;
        secret(&answer["status"]["token"], "token").map(SecretString::from)
    }

    /// What the tutorial's manifest makes, made where it doesn't exist: a service account that
    /// may review tokens, and its token without an expiry.
    ///
    /// # Errors
    /// No answer.
    pub async fn reviewer_token(&self) -> Result<SecretString, ClusterError> {
        let account = json!({ "metadata": { "name": REVIEWER } });
        self.ensure("/api/v1/namespaces/default/serviceaccounts", &account)
            .await?;
        let binding = json!({
            "metadata": { "name": "role-tokenreview-binding" },
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "system:auth-delegator",
            },
            "subjects": [{ "kind": "ServiceAccount", "name": REVIEWER, "namespace": "default" }],
        });
        let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
        self.ensure(bindings, &binding).await?;
        let name = format!("{REVIEWER}-token");
        let object = json!({
            "metadata": {
                "name": name,
                "annotations": { "kubernetes.io/service-account.name": REVIEWER },
            },
            "type": "kubernetes.io/service-account-token",
        });
        let secrets = "/api/v1/namespaces/default/secrets";
        self.ensure(secrets, &object).await?;
        let found = self
            .call(Method::GET, &format!("{secrets}/{name}"), None)
            .await?;
        let encoded = secret(&found["data"]["token"], "token")?;
        let token = STANDARD
            .decode(encoded)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        token
            .map(SecretString::from)
            .ok_or(ClusterError::Answer("token"))
    }

    /// Creates an object; one that exists is fine.
    async fn ensure(&self, collection: &str, object: &Value) -> Result<(), ClusterError> {
        match self.call(Method::POST, collection, Some(object)).await {
            Err(ClusterError::Refused { status, .. }) if status == StatusCode::CONFLICT => Ok(()),
            other => other.map(drop),
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ClusterError> {
        let unreachable = |source| ClusterError::Unreachable {
            host: self.host.clone(),
            source,
        };
        let mut request = self
            .client
            .request(method, format!("{}{path}", self.host))
            .bearer_auth(self.admin_token.expose_secret());
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let answer: Value = response.json().await.map_err(unreachable)?;
        if status.is_success() {
            return Ok(answer);
        }
        let message = answer["message"]
            .as_str()
            .unwrap_or("no reason given")
            .to_owned();
        Err(ClusterError::Refused { status, message })
    }
}

fn secret<'a>(value: &'a Value, what: &'static str) -> Result<&'a str, ClusterError> {
    value.as_str().ok_or(ClusterError::Answer(what))
}
