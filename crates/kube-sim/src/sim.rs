//! Starting and stopping the simulator, and reaching into it from the same process.

use std::io::ErrorKind::AddrInUse;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::cluster::Cluster;
use crate::error::{ApiError, Error};
use crate::fault::Fault;
use crate::http::Api;
use crate::keys::SigningKey;
use crate::objects::{Resource, text, uid};
use crate::peer::Connections;
use crate::rancher::Rancher;
use crate::record::{Log, Recorded};
use crate::server;
use crate::tls::Pki;
use crate::tokens::{PROJECTED_LIFETIME, TokenOptions, TokenSpec};

/// How long a port may be taken by whoever has just let go of it: a program that was being started at that
/// moment holds it until it runs.
const LETTING_GO: Duration = Duration::from_secs(1);

/// Tells the time to the simulated cluster: in tokens, in their review, and in objects.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How to start a simulator. The default listens on a free loopback port and takes the time from the system.
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The issuer of tokens, which is the API server's audience as well. Default:
    /// `https://kubernetes.default.svc.cluster.local`.
    pub issuer: Option<String>,
    pub clock: Clock,
    /// Host names and addresses, besides loopback, for the server's certificate. The first is the host of
    /// [`KubeSim::host`] when listening on all addresses.
    pub extra_san_hosts: Vec<String>,
    /// The administrator's bearer token, for other processes that must know it. Default: a random one.
    pub admin_token: Option<String>,
    /// Stands in for Rancher: the cluster is found below Rancher's path for it and by the API key alone.
    pub rancher: Option<Rancher>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            issuer: None,
            clock: Arc::new(Timestamp::now),
            extra_san_hosts: Vec::new(),
            admin_token: None,
            rancher: None,
        }
    }
}

/// A running simulator. It stops when dropped; [`shutdown`](Self::shutdown) also waits for it.
///
/// The methods that create and delete do what an administrator's request does, and fail in the same way.
pub struct KubeSim {
    api: Arc<Api>,
    address: SocketAddr,
    tasks: TaskTracker,
    stop: DropGuard,
}

impl KubeSim {
    /// Makes keys and certificates, and starts to serve. Takes some hundred milliseconds, most of it for an RSA key.
    ///
    /// # Errors
    /// The address is taken or not ours, or the certificate can't be made (a host that is no name, say).
    pub async fn start(options: Options) -> Result<Self, Error> {
        let listen = options.listen;
        let listening = |source| Error::Listen {
            address: listen,
            source,
        };
        let patience = Instant::now() + LETTING_GO;
        let listener = loop {
            match TcpListener::bind(listen).await {
                Err(error) if error.kind() == AddrInUse && Instant::now() < patience => {
                    tokio::time::sleep(LETTING_GO / 50).await;
                }
                done => break done.map_err(listening)?,
            }
        };
        let address = listener.local_addr().map_err(listening)?;
        let pki = Pki::new()?;
        let tls = pki.server(listen.ip(), &options.extra_san_hosts)?;
        let ca_pem = pki.ca_pem();
        let generated = tokio::task::spawn_blocking(SigningKey::generate).await;
        let key = generated
            .ok()
            .and_then(Result::ok)
            .ok_or(Error::SigningKey)?;

        let issuer = options
            .issuer
            .unwrap_or_else(|| "https://kubernetes.default.svc.cluster.local".to_owned());
        let admin_token = options
            .admin_token
            .unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let stopped = CancellationToken::new();
        let api = Arc::new(Api {
            host: url(address, options.extra_san_hosts.first()),
            cluster: Cluster::new(key, issuer, ca_pem, admin_token, options.clock),
            fault: Mutex::default(),
            faults: Mutex::default(),
            log: Mutex::new(Log::default()),
            pki,
            connections: Connections::new(),
            rancher: options.rancher,
            stopped: stopped.clone(),
        });
        let tasks = TaskTracker::new();
        tasks.spawn(server::serve(
            listener,
            TlsAcceptor::from(tls),
            Arc::clone(&api),
            tasks.clone(),
        ));
        Ok(Self {
            api,
            address,
            tasks,
            stop: stopped.drop_guard(),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of the API server, such as `https://127.0.0.1:6443`.
    pub fn host(&self) -> &str {
        &self.api.host
    }

    /// The certificate authority of the API server, as PEM.
    pub fn ca_pem(&self) -> &str {
        &self.api.cluster.ca_pem
    }

    /// Its key, as PEM, for those who issue certificates to clients by themselves.
    pub fn ca_key_pem(&self) -> String {
        self.api.pki.ca_key_pem()
    }

    /// The `iss` of bound tokens, and the API server's own audience.
    pub fn issuer(&self) -> &str {
        &self.api.cluster.issuer
    }

    /// A bearer token that may do everything.
    pub fn admin_token(&self) -> &str {
        &self.api.cluster.admin_token
    }

    /// A client's certificate and its key, as PEM: for the user `name` in `groups`, from now on for `life`.
    ///
    /// # Errors
    /// A name that no certificate can carry.
    pub fn client_certificate(
        &self,
        name: &str,
        groups: &[&str],
        life: Duration,
    ) -> Result<(String, String), Error> {
        let now = self.api.cluster.now();
        self.api.pki.client(name, groups, now, life)
    }

    /// Lets a user that a certificate names review tokens.
    pub fn let_review(&self, user: &str) -> Result<(), ApiError> {
        let binding = json!({
            "metadata": { "name": format!("role-tokenreview-binding:{user}") },
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:auth-delegator",
            },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }],
        });
        self.create(Resource::ClusterRoleBindings, "", binding)
            .map(drop)
    }

    /// How many connections have come through TLS.
    pub fn connections_made(&self) -> u64 {
        self.api.connections.made()
    }

    /// Waits until so many connections are open.
    pub async fn until_open(&self, connections: usize) {
        self.api.connections.until_open(connections).await;
    }

    /// Creates a namespace with its `default` service account.
    pub fn create_namespace(&self, name: &str) -> Result<(), ApiError> {
        self.create(
            Resource::Namespaces,
            "",
            json!({ "metadata": { "name": name } }),
        )
        .map(drop)
    }

    /// Changes a namespace's labels: null removes one.
    pub fn label_namespace(&self, name: &str, labels: &Value) -> Result<(), ApiError> {
        let changes = json!({ "metadata": { "labels": labels } });
        self.api
            .cluster
            .merge(Resource::Namespaces, ("", name), changes)
            .map(drop)
    }

    /// Makes a service-account key that is published and doesn't sign yet, and returns its `kid`. Takes some hundred
    /// milliseconds.
    ///
    /// # Errors
    /// The key can't be made.
    pub async fn add_signing_key(&self) -> Result<String, Error> {
        let generated = tokio::task::spawn_blocking(SigningKey::generate).await;
        let key = generated
            .ok()
            .and_then(Result::ok)
            .ok_or(Error::SigningKey)?;
        let id = key.id().to_owned();
        self.api.cluster.keys().add(key);
        Ok(id)
    }

    /// The `kid` of the key that tokens are signed with.
    pub fn signing_key(&self) -> String {
        self.api.cluster.keys().signing().id().to_owned()
    }

    /// Signs new tokens with that key. Tokens of the others go on to be good. False where there is no such key.
    pub fn sign_with(&self, kid: &str) -> bool {
        self.api.cluster.keys().sign_with(kid)
    }

    /// Ends a key and all tokens that it signed, a reviewer's included. False where there is no such key.
    pub fn retire_signing_key(&self, kid: &str) -> bool {
        self.api.cluster.keys().retire(kid)
    }

    /// Creates a service account, and returns its UID.
    pub fn create_service_account(&self, namespace: &str, name: &str) -> Result<String, ApiError> {
        self.create(
            Resource::ServiceAccounts,
            namespace,
            json!({ "metadata": { "name": name } }),
        )
    }

    /// Creates a pod that runs as a service account of its namespace, and returns its UID.
    pub fn create_pod(
        &self,
        namespace: &str,
        name: &str,
        service_account: &str,
    ) -> Result<String, ApiError> {
        let pod = json!({ "metadata": { "name": name }, "spec": { "serviceAccountName": service_account } });
        self.create(Resource::Pods, namespace, pod)
    }

    /// The same, placed on a node; the node itself isn't looked for.
    pub fn create_pod_on(
        &self,
        node: &str,
        namespace: &str,
        name: &str,
        service_account: &str,
    ) -> Result<String, ApiError> {
        let spec = json!({ "serviceAccountName": service_account, "nodeName": node });
        let pod = json!({ "metadata": { "name": name }, "spec": spec });
        self.create(Resource::Pods, namespace, pod)
    }

    /// Deletes a namespace with all that is in it.
    pub fn delete_namespace(&self, name: &str) -> Result<(), ApiError> {
        self.delete(Resource::Namespaces, "", name)
    }

    /// Deletes a service account and its token secrets. The account `default` comes back with another UID.
    pub fn delete_service_account(&self, namespace: &str, name: &str) -> Result<(), ApiError> {
        self.delete(Resource::ServiceAccounts, namespace, name)
    }

    pub fn delete_pod(&self, namespace: &str, name: &str) -> Result<(), ApiError> {
        self.delete(Resource::Pods, namespace, name)
    }

    /// Ends all watches, as a server does from time to time.
    pub fn end_watches(&self) {
        self.api.cluster.objects().end_watches();
    }

    /// Forgets what happened: a watch that goes on from before is too old.
    pub fn compact(&self) {
        self.api.cluster.objects().compact();
    }

    /// Lets a service account, of [`reviewer_token`](Self::reviewer_token) say, watch the pods of all namespaces.
    pub fn allow_watching_pods(&self, namespace: &str, name: &str) -> Result<(), ApiError> {
        let rules =
            json!([{ "apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"] }]);
        self.allow("watch-pods", rules, (namespace, name))
    }

    pub fn delete_secret(&self, namespace: &str, name: &str) -> Result<(), ApiError> {
        self.delete(Resource::Secrets, namespace, name)
    }

    /// A token as TokenRequest gives it.
    pub fn create_token(
        &self,
        namespace: &str,
        service_account: &str,
        options: &TokenOptions,
    ) -> Result<String, ApiError> {
        let (token, _) = self
            .api
            .cluster
            .issue((namespace, service_account), &TokenSpec::new(options))?;
        Ok(token)
    }

    /// The token that a pod finds in its projected file. Creates the namespace, and the pod as one of the service
    /// account `default`, where they don't exist.
    pub fn pod_token(&self, namespace: &str, pod: &str) -> Result<String, ApiError> {
        existing(self.create_namespace(namespace))?;
        existing(self.create_pod(namespace, pod, "default").map(drop))?;
        let pod_object = self.api.cluster.get(Resource::Pods, namespace, pod)?;
        let options = TokenOptions {
            pod: Some(pod.to_owned()),
            expiration: Some(std::time::Duration::from_secs(
                PROJECTED_LIFETIME.unsigned_abs(),
            )),
            ..TokenOptions::default()
        };
        self.create_token(
            namespace,
            text(&pod_object, "/spec/serviceAccountName"),
            &options,
        )
    }

    /// The token of a service account that may review tokens: the account, its binding to
    /// `system:auth-delegator`, and the secret `{name}-token`, made where they don't exist.
    pub fn reviewer_token(&self, namespace: &str, name: &str) -> Result<String, ApiError> {
        existing(self.create_service_account(namespace, name).map(drop))?;
        let binding = json!({
            "metadata": { "name": format!("role-tokenreview-binding:{namespace}:{name}") },
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:auth-delegator",
            },
            "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": namespace }],
        });
        existing(
            self.create(Resource::ClusterRoleBindings, "", binding)
                .map(drop),
        )?;
        self.legacy_token(namespace, name, &format!("{name}-token"))
    }

    /// Lets a service account, of [`reviewer_token`](Self::reviewer_token) say, read namespaces and service accounts.
    pub fn allow_reading_subjects(&self, namespace: &str, name: &str) -> Result<(), ApiError> {
        let rules = json!([{ "apiGroups": [""], "resources": ["namespaces", "serviceaccounts"], "verbs": ["get"] }]);
        self.allow("read-subjects", rules, (namespace, name))
    }

    /// A role of its own for a service account, made where it doesn't exist.
    fn allow(
        &self,
        what: &str,
        rules: Value,
        (namespace, name): (&str, &str),
    ) -> Result<(), ApiError> {
        let role = format!("{what}:{namespace}:{name}");
        let object = json!({ "metadata": { "name": role }, "rules": rules });
        existing(self.create(Resource::ClusterRoles, "", object).map(drop))?;
        let binding = json!({
            "metadata": { "name": role },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
            "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": namespace }],
        });
        existing(
            self.create(Resource::ClusterRoleBindings, "", binding)
                .map(drop),
        )
    }

    /// The token without an expiry of a secret for a service account. Makes the secret where it doesn't exist.
    pub fn legacy_token(
        &self,
        namespace: &str,
        service_account: &str,
        secret: &str,
    ) -> Result<String, ApiError> {
        let object = json!({
            "metadata": {
                "name": secret,
                "annotations": { "kubernetes.io/service-account.name": service_account },
            },
            "type": "kubernetes.io/service-account-token",
        });
        existing(self.create(Resource::Secrets, namespace, object).map(drop))?;
        let stored = self.api.cluster.get(Resource::Secrets, namespace, secret)?;
        crate::cluster::unbase64(text(&stored, "/data/token"))
            .ok_or_else(|| ApiError::internal("the secret holds no token"))
    }

    /// From now on, TokenReviews are answered like this.
    pub fn set_fault(&self, fault: Fault) {
        *self
            .api
            .fault
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// From now on, requests for this path, such as `/openid/v1/jwks`, are answered like this.
    pub fn set_fault_at(&self, path: &str, fault: Fault) {
        let mut faults = self
            .api
            .faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        faults.insert(path.to_owned(), fault);
    }

    /// How many requests for this path have been received, answered or not.
    pub fn requests(&self, path: &str) -> u64 {
        let log = self.api.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.requests.get(path).copied().unwrap_or_default()
    }

    /// How many TokenReviews have been received, answered or not.
    pub fn reviews(&self) -> u64 {
        self.api
            .log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .reviews
    }

    /// The last 64 requests, oldest first.
    pub fn recent_requests(&self) -> Vec<Recorded> {
        self.api
            .log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recent
            .iter()
            .cloned()
            .collect()
    }

    /// Stops to listen, gives open requests a second, and waits until all connections are closed.
    pub async fn shutdown(self) {
        drop(self.stop);
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn create(
        &self,
        resource: Resource,
        namespace: &str,
        object: Value,
    ) -> Result<String, ApiError> {
        self.api
            .cluster
            .create(resource, namespace, object)
            .map(|created| uid(&created).to_owned())
    }

    fn delete(&self, resource: Resource, namespace: &str, name: &str) -> Result<(), ApiError> {
        self.api.cluster.delete(resource, namespace, name).map(drop)
    }
}

/// Takes it as success that an object is there already.
fn existing(created: Result<(), ApiError>) -> Result<(), ApiError> {
    match created {
        Err(error) if error.reason == "AlreadyExists" => Ok(()),
        other => other,
    }
}

fn url(address: SocketAddr, outer_host: Option<&String>) -> String {
    let host = match (address.ip(), outer_host) {
        (ip, Some(host)) if ip.is_unspecified() => host.clone(),
        (ip, None) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
        (IpAddr::V6(ip), _) => format!("[{ip}]"),
        (ip, _) => ip.to_string(),
    };
    format!("https://{host}:{}", address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_names_a_host_that_clients_can_reach() {
        let at = |address: &str, host: Option<&str>| {
            url(address.parse().unwrap(), host.map(str::to_owned).as_ref())
        };
        assert_eq!(
            at("127.0.0.1:6443", Some("kube-sim")),
            "https://127.0.0.1:6443"
        );
        assert_eq!(at("[::1]:6443", None), "https://[::1]:6443");
        assert_eq!(
            at("0.0.0.0:6443", Some("kube-sim")),
            "https://kube-sim:6443"
        );
        assert_eq!(at("0.0.0.0:6443", None), "https://127.0.0.1:6443");
    }
}
