//! The API server that reviews tokens: where it is, and tokens that it has issued.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use postern_dev::state::ClusterState;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::http2::{Connection, Endpoint};

/// Tokens are bound to pods of so many service accounts, as in a cluster that lives.
const ACCOUNTS: usize = 8;
/// Requests for tokens at once.
const MINTERS: usize = 16;
const PATIENCE: Duration = Duration::from_secs(20);
const REVIEWER: &str = "postern-bench-reviewer";

/// An API server and its administrator.
pub(crate) struct ApiServer {
    /// What it is, for the report.
    pub(crate) name: String,
    /// As its administrator.
    pub(crate) endpoint: Endpoint,
    pub(crate) issuer: String,
    /// Nobody else's objects are touched.
    pub(crate) namespace: String,
    admin: Connection,
}

impl ApiServer {
    /// The one of a kubeconfig that holds one cluster and one user, all data inline.
    pub(crate) async fn of_kubeconfig(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).with_context(|| path.display().to_string())?;
        let file: Value = serde_norway::from_slice(&text)?;
        let cluster = &file["clusters"][0]["cluster"];
        let user = &file["users"][0]["user"];
        let ca_cert = decoded(cluster, "certificate-authority-data")?;
        let certificate = decoded(user, "client-certificate-data")?;
        let key = String::from_utf8(decoded(user, "client-key-data")?)?;
        Self::open(Endpoint {
            url: text_of(cluster, "server")?,
            ca_cert: String::from_utf8(ca_cert)?,
            identity: Some((certificate, SecretString::from(key))),
            bearer: None,
        })
        .await
    }

    pub(crate) async fn of_simulator(state: ClusterState) -> Result<Self> {
        Self::open(Endpoint {
            url: state.host,
            ca_cert: state.ca_cert,
            identity: None,
            bearer: Some(state.admin_token),
        })
        .await
    }

    async fn open(endpoint: Endpoint) -> Result<Self> {
        let mut admin = endpoint.clone().connect().await?;
        let discovery = "/.well-known/openid-configuration";
        let discovery = admin.call(Method::GET, discovery, &Value::Null).await?;
        let version = admin.call(Method::GET, "/version", &Value::Null).await;
        let name = match version.as_ref().map(|version| &version["gitVersion"]) {
            Ok(Value::String(version)) => format!("kube-apiserver {version}"),
            _ => "the simulated API server".to_owned(),
        };
        Ok(Self {
            name,
            issuer: text_of(&discovery, "issuer")?,
            namespace: format!("postern-bench-{}", uuid::Uuid::new_v4().simple()),
            admin,
            endpoint,
        })
    }

    /// A service account that may review tokens and nothing else, and a token of it.
    pub(crate) async fn reviewer(&mut self) -> Result<SecretString> {
        self.create(
            "/api/v1/namespaces",
            &json!({ "metadata": { "name": self.namespace } }),
        )
        .await?;
        self.account(REVIEWER).await?;
        let binding = json!({
            "metadata": { "name": format!("{}-reviewer", self.namespace) },
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "system:auth-delegator",
            },
            "subjects": [{ "kind": "ServiceAccount", "name": REVIEWER, "namespace": self.namespace }],
        });
        self.create(
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
            &binding,
        )
        .await?;
        let token = token(&mut self.admin, &self.namespace, REVIEWER, None).await?;
        Ok(SecretString::from(token))
    }

    /// As many different tokens, each bound to a pod.
    pub(crate) async fn mint(&mut self, count: usize) -> Result<Vec<String>> {
        for i in 0..ACCOUNTS {
            self.account(&account(i)).await?;
            let pod = json!({
                "metadata": { "name": pod(i) },
                "spec": {
                    "serviceAccountName": account(i),
                    "containers": [{ "name": "main", "image": "nginx" }],
                },
            });
            let pods = format!("/api/v1/namespaces/{}/pods", self.namespace);
            self.create(&pods, &pod).await?;
        }
        let mut minters = JoinSet::new();
        for minter in 0..MINTERS {
            let (mut admin, namespace) = (self.admin.clone(), self.namespace.clone());
            minters.spawn(async move {
                let mut tokens = Vec::new();
                for i in (minter..count).step_by(MINTERS) {
                    let i = i % ACCOUNTS;
                    tokens.push(token(&mut admin, &namespace, &account(i), Some(&pod(i))).await?);
                }
                anyhow::Ok(tokens)
            });
        }
        let mut tokens = Vec::with_capacity(count);
        while let Some(minted) = minters.join_next().await {
            tokens.append(&mut minted??);
        }
        Ok(tokens)
    }

    /// Removes what was made.
    pub(crate) async fn clean_up(&mut self) {
        let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
        let made = [
            format!("{bindings}/{}-reviewer", self.namespace),
            format!("/api/v1/namespaces/{}", self.namespace),
        ];
        for path in made {
            // The cluster of a bench goes with it; there is nobody to tell.
            let _ = self.admin.call(Method::DELETE, &path, &Value::Null).await;
        }
    }

    /// The account, once it can be used: a real server's controllers take a moment.
    async fn account(&mut self, name: &str) -> Result<()> {
        let accounts = format!("/api/v1/namespaces/{}/serviceaccounts", self.namespace);
        self.create(&accounts, &json!({ "metadata": { "name": name } }))
            .await
    }

    async fn create(&mut self, collection: &str, object: &Value) -> Result<()> {
        let call = self.admin.call(Method::POST, collection, object);
        tokio::time::timeout(PATIENCE, call).await??;
        Ok(())
    }
}

fn account(i: usize) -> String {
    format!("account-{i}")
}

fn pod(i: usize) -> String {
    format!("pod-{i}")
}

async fn token(
    admin: &mut Connection,
    namespace: &str,
    account: &str,
    pod: Option<&str>,
) -> Result<String> {
    let mut spec = json!({ "expirationSeconds": 3600 });
    if let Some(pod) = pod {
        spec["boundObjectRef"] = json!({ "apiVersion": "v1", "kind": "Pod", "name": pod });
    }
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
    let answer = admin
        .call(Method::POST, &path, &json!({ "spec": spec }))
        .await?;
    text_of(&answer["status"], "token")
}

fn text_of(object: &Value, key: &str) -> Result<String> {
    match object[key].as_str() {
        Some(text) => Ok(text.to_owned()),
        None => bail!("there is no `{key}`"),
    }
}

fn decoded(object: &Value, key: &str) -> Result<Vec<u8>> {
    Ok(STANDARD.decode(text_of(object, key)?)?)
}

/// As a gateway writes it.
pub(crate) fn review_of(token: &str) -> bytes::Bytes {
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": { "token": token },
    });
    bytes::Bytes::from(review.to_string())
}
