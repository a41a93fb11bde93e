//! One way to drive both servers: plain HTTPS with JSON.

use std::io::Write as _;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_lc_rs::rsa::KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::token;

pub(crate) const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
pub(crate) const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
pub(crate) const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";

/// How long a change may take to be seen: a real server remembers a yes for ten seconds.
const DEADLINE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(250);

pub(crate) struct Server {
    base: String,
    admin: Client,
    admin_token: Option<String>,
    anyone: Client,
    pub(crate) issuer: String,
    age: Ageing,
    pub(crate) ca: Ca,
    made: Mutex<Vec<String>>,
}

/// Whom the server trusts for clients.
pub(crate) struct Ca {
    pub(crate) certificate: String,
    /// Unknown where nobody gave it.
    pub(crate) key: Option<String>,
}

/// How to get a token that was issued in the past.
pub(crate) enum Ageing {
    /// The simulator's clock is moved.
    Clock(Arc<AtomicI64>),
    /// A real server's token is signed again, with that server's own key.
    Key(Box<KeyPair>),
    Unknown,
}

pub(crate) struct Reply {
    pub(crate) code: u16,
    pub(crate) content_type: String,
    pub(crate) text: String,
    pub(crate) body: Value,
}

impl Server {
    pub(crate) async fn new(
        base: &str,
        admin: Client,
        admin_token: Option<String>,
        anyone: Client,
        age: Ageing,
        ca: Ca,
    ) -> Self {
        let (base, made) = (base.to_owned(), Mutex::default());
        let mut server = Self {
            base,
            admin,
            admin_token,
            anyone,
            issuer: String::new(),
            age,
            ca,
            made,
        };
        let discovery = server.get("/.well-known/openid-configuration").await;
        server.issuer = discovery.body["issuer"]
            .as_str()
            .expect("an issuer")
            .to_owned();
        server
    }

    /// A request as the administrator.
    pub(crate) async fn admin(&self, method: Method, path: &str, body: Value) -> Reply {
        self.send(&self.admin, self.admin_token.as_deref(), method, path, body)
            .await
    }

    /// A request with a bearer token, or none.
    pub(crate) async fn as_bearer(
        &self,
        token: Option<&str>,
        method: Method,
        path: &str,
        body: Value,
    ) -> Reply {
        self.send(&self.anyone, token, method, path, body).await
    }

    /// A request of a client with a certificate, and with a bearer token or none.
    pub(crate) async fn as_certified(
        &self,
        client: &Client,
        token: Option<&str>,
        path: &str,
        body: Value,
    ) -> Reply {
        self.send(client, token, Method::POST, path, body).await
    }

    /// Reads with a bearer token what is of these media types.
    pub(crate) async fn accepting(&self, token: &str, accept: &str, path: &str) -> Reply {
        let request = self.anyone.get(format!("{}{path}", self.base));
        let request = request.bearer_auth(token).header("accept", accept);
        Reply::of(request.send().await.unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.admin(Method::GET, path, Value::Null).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        self.admin(Method::POST, path, body).await
    }

    /// A merge patch as the administrator.
    pub(crate) async fn merge(&self, path: &str, patch: Value) -> Reply {
        self.patch(path, "application/merge-patch+json", patch)
            .await
    }

    /// Creates an object that the test takes for granted, and returns its UID.
    pub(crate) async fn make(&self, path: &str, body: Value) -> String {
        let reply = self.post(path, body).await;
        assert_eq!(reply.code, 201, "{path}: {}", reply.text);
        reply.body["metadata"]["uid"]
            .as_str()
            .expect("a uid")
            .to_owned()
    }

    /// Server-side apply as the administrator.
    pub(crate) async fn apply(&self, path: &str, object: Value) -> Reply {
        let path = format!("{path}?fieldManager=contract&force=true");
        self.patch(&path, "application/apply-patch+yaml", object)
            .await
    }

    async fn patch(&self, path: &str, content_type: &str, body: Value) -> Reply {
        let mut request = self
            .admin
            .patch(format!("{}{path}", self.base))
            .header("content-type", content_type)
            .body(body.to_string());
        if let Some(token) = &self.admin_token {
            request = request.bearer_auth(token);
        }
        Reply::of(request.send().await.unwrap()).await
    }

    pub(crate) async fn delete(&self, path: &str) {
        let reply = self
            .admin(
                Method::DELETE,
                &format!("{path}?gracePeriodSeconds=0"),
                Value::Null,
            )
            .await;
        assert_eq!(reply.code, 200, "{path}: {}", reply.text);
    }

    /// A name that is used nowhere else.
    pub(crate) fn name(&self) -> String {
        format!("contract-{}", uuid::Uuid::new_v4().simple())
    }

    /// A new namespace with its default service account.
    pub(crate) async fn namespace(&self) -> String {
        let name = self.name();
        self.make(
            "/api/v1/namespaces",
            json!({ "metadata": { "name": name } }),
        )
        .await;
        self.remember(format!("/api/v1/namespaces/{name}"));
        let account = format!("/api/v1/namespaces/{name}/serviceaccounts/default");
        self.until("the default service account", async || {
            self.get(&account).await.code == 200
        })
        .await;
        name
    }

    pub(crate) async fn service_account(&self, namespace: &str, name: &str) -> String {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        self.make(&path, json!({ "metadata": { "name": name } }))
            .await
    }

    pub(crate) async fn pod(&self, namespace: &str, name: &str, service_account: &str) -> String {
        self.make(
            &format!("/api/v1/namespaces/{namespace}/pods"),
            pod(name, service_account),
        )
        .await
    }

    /// Removed when the check is over, along with everything in it.
    pub(crate) fn remember(&self, path: String) {
        self.made.lock().unwrap().push(path);
    }

    pub(crate) async fn request_token(&self, namespace: &str, account: &str, spec: Value) -> Reply {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        self.post(&path, json!({ "spec": spec })).await
    }

    pub(crate) async fn token(&self, namespace: &str, account: &str, spec: Value) -> String {
        let reply = self.request_token(namespace, account, spec).await;
        assert_eq!(reply.code, 201, "{}", reply.text);
        reply.body["status"]["token"]
            .as_str()
            .expect("a token")
            .to_owned()
    }

    pub(crate) async fn pod_token(&self, namespace: &str, account: &str, pod: &str) -> String {
        self.token(namespace, account, bound_to("Pod", pod)).await
    }

    /// The token of a secret of the type made for that, with the secret, once the controller has filled it.
    pub(crate) async fn secret_token(
        &self,
        namespace: &str,
        account: &str,
        secret: &str,
    ) -> (String, Value) {
        self.make(
            &format!("/api/v1/namespaces/{namespace}/secrets"),
            token_secret(account, secret),
        )
        .await;
        let path = format!("/api/v1/namespaces/{namespace}/secrets/{secret}");
        let filled = async || self.get(&path).await.body["data"]["token"].is_string();
        self.until("the token in the secret", filled).await;
        let secret = self.get(&path).await.body;
        let token = STANDARD
            .decode(secret["data"]["token"].as_str().unwrap())
            .unwrap();
        (String::from_utf8(token).unwrap(), secret)
    }

    /// The status of a review by the administrator.
    pub(crate) async fn review(&self, token: &str, audiences: &[&str]) -> Value {
        let mut spec = json!({ "token": token });
        if !audiences.is_empty() {
            spec["audiences"] = json!(audiences);
        }
        let reply = self.post(REVIEWS, json!({ "spec": spec })).await;
        assert_eq!(reply.code, 201, "{}", reply.text);
        assert_eq!(reply.body["kind"], "TokenReview");
        assert_eq!(reply.body["apiVersion"], "authentication.k8s.io/v1");
        reply.body["status"].clone()
    }

    /// Polls until `done` says so.
    pub(crate) async fn until(&self, what: &str, done: impl AsyncFn() -> bool) {
        let start = Instant::now();
        while !done().await {
            assert!(
                start.elapsed() < DEADLINE,
                "{what} didn't come within {DEADLINE:?}"
            );
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Reviews one token after another, each for the first time, until one is refused; returns that review. All are
    /// of the same time, so that no remembered yes can answer.
    pub(crate) async fn first_refusal(&self, tokens: Vec<String>) -> Value {
        for token in tokens {
            let status = self.review(&token, &[]).await;
            if status["authenticated"] != true {
                return status;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("the tokens are still good");
    }

    /// `token` as if it had been issued earlier, so that it expired so many seconds ago.
    pub(crate) async fn expired(&self, token: &str, seconds_ago: i64) -> Option<String> {
        let (header, mut claims) = token::decode(token);
        let expired_at = Timestamp::now().as_second() - seconds_ago;
        let shift = claims["exp"].as_i64().unwrap() - expired_at;
        match &self.age {
            Ageing::Clock(ahead) => {
                ahead.store(shift, Ordering::SeqCst);
                Some(token.to_owned())
            }
            Ageing::Key(key) => {
                for claim in ["exp", "nbf", "iat"] {
                    claims[claim] = json!(claims[claim].as_i64().unwrap() - shift);
                }
                Some(token::sign(&header, &claims, key))
            }
            Ageing::Unknown => {
                let line = "\n*** LEFT OUT: expired tokens of the real server, as POSTERN_TEST_SA_KEY isn't set ***\n";
                std::io::stderr().write_all(line.as_bytes()).unwrap();
                None
            }
        }
    }

    pub(crate) async fn clean_up(&self) {
        let made = std::mem::take(&mut *self.made.lock().unwrap());
        for path in made {
            self.admin(Method::DELETE, &path, Value::Null).await;
        }
    }

    async fn send(
        &self,
        client: &Client,
        token: Option<&str>,
        method: Method,
        path: &str,
        body: Value,
    ) -> Reply {
        let mut request = client.request(method, format!("{}{path}", self.base));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if !body.is_null() {
            request = request.json(&body);
        }
        Reply::of(request.send().await.unwrap()).await
    }
}

impl Reply {
    async fn of(response: reqwest::Response) -> Self {
        let code = response.status().as_u16();
        let content_type = response
            .headers()
            .get("content-type")
            .map_or("", |value| value.to_str().unwrap());
        let content_type = content_type.to_owned();
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or_default();
        Self {
            code,
            content_type,
            text,
            body,
        }
    }

    /// Asserts a refusal as a `Status` with exactly this reason, message and details.
    #[track_caller]
    pub(crate) fn assert_refusal(&self, code: u16, reason: &str, message: &str, details: Value) {
        let mut expected = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "code": code, "reason": reason, "message": message,
        });
        if !details.is_null() {
            expected["details"] = details;
        }
        assert_eq!((self.code, &self.body), (code, &expected), "{}", self.text);
    }
}

pub(crate) fn pod(name: &str, service_account: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": { "serviceAccountName": service_account, "containers": [{ "name": "main", "image": "nginx" }] },
    })
}

pub(crate) fn bound_to(kind: &str, name: &str) -> Value {
    json!({ "boundObjectRef": { "apiVersion": "v1", "kind": kind, "name": name } })
}

pub(crate) fn token_secret(account: &str, secret: &str) -> Value {
    json!({
        "metadata": { "name": secret, "annotations": { "kubernetes.io/service-account.name": account } },
        "type": "kubernetes.io/service-account-token",
    })
}

/// Asserts a review that says no, for exactly this reason. There is no `authenticated` in it at all.
#[track_caller]
pub(crate) fn assert_refused(status: &Value, error: &str) {
    assert_eq!(*status, json!({ "user": {}, "error": error }));
}
