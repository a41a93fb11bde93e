//! A deployment of Postern in front of the real cluster.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{
    Arc, LazyLock, Mutex, Once, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postern_dev::StackOptions;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::objects::Namespace;
use crate::real;
use crate::server::{BINDINGS, REVIEWS, ROLES, Server};
use crate::support::{Method, Output, World, eventually};

/// The connections to the API server live here, longer than any test.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
/// Who restarts the API server does it alone.
static TURN: RwLock<()> = RwLock::new(());

/// Both servers of Postern, and the cluster with a reviewer in it.
pub(crate) struct Bed {
    pub(crate) world: Arc<World>,
    pub(crate) server: Server,
    pub(crate) host: String,
    pub(crate) ca: String,
    reviewer: Namespace,
    turn: Turn,
}

enum Turn {
    Shared(#[expect(dead_code, reason = "held")] RwLockReadGuard<'static, ()>),
    Alone(#[expect(dead_code, reason = "held")] RwLockWriteGuard<'static, ()>),
}

pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    RUNTIME.block_on(Box::pin(work))
}

/// The kubeconfig that was given on purpose.
fn kubeconfig() -> Option<String> {
    let path = std::env::var("POSTERN_TEST_KUBECONFIG").ok();
    if path.is_none() {
        static SAID: Once = Once::new();
        left_out(
            &SAID,
            "Postern on a real API server",
            "POSTERN_TEST_KUBECONFIG",
        );
    }
    path
}

/// Past the capture of output that the test harness does, so that it can't go unnoticed.
fn left_out(said: &'static Once, what: &str, variable: &str) {
    assert!(
        std::env::var_os("POSTERN_TEST_REQUIRE_KUBERNETES").is_none(),
        "{what} is required, and {variable} isn't set"
    );
    said.call_once(|| {
        let line = format!("\n*** LEFT OUT: {what}, as {variable} isn't set ***\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    });
}

impl Bed {
    /// One for tests that create objects of their own and change nothing else.
    pub(crate) fn shared() -> Option<Self> {
        static SHARED: Mutex<Weak<World>> = Mutex::new(Weak::new());
        let kubeconfig = kubeconfig()?;
        let turn = Turn::Shared(TURN.read().unwrap_or_else(PoisonError::into_inner));
        let (host, ca) = address(&kubeconfig);
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let world = shared.upgrade().unwrap_or_else(|| {
            let world = Arc::new(World::with(options(&host)));
            *shared = Arc::downgrade(&world);
            world
        });
        drop(shared);
        Some(Self::with(&kubeconfig, world, (host, ca), turn))
    }

    /// One with servers of its own.
    pub(crate) fn private(change: impl FnOnce(&mut StackOptions)) -> Option<Self> {
        let kubeconfig = kubeconfig()?;
        let turn = Turn::Shared(TURN.read().unwrap_or_else(PoisonError::into_inner));
        let (host, ca) = address(&kubeconfig);
        let mut options = options(&host);
        change(&mut options);
        let world = Arc::new(World::with(options));
        Some(Self::with(&kubeconfig, world, (host, ca), turn))
    }

    /// One whose API server nobody else uses meanwhile, so that it can be restarted.
    pub(crate) fn alone() -> Option<Self> {
        let kubeconfig = kubeconfig()?;
        if folder().is_none() {
            static SAID: Once = Once::new();
            left_out(&SAID, "a restarted API server", "POSTERN_TEST_KUBERNETES");
            return None;
        }
        let turn = Turn::Alone(TURN.write().unwrap_or_else(PoisonError::into_inner));
        let (host, ca) = address(&kubeconfig);
        let world = Arc::new(World::with(options(&host)));
        Some(Self::with(&kubeconfig, world, (host, ca), turn))
    }

    fn with(kubeconfig: &str, world: Arc<World>, (host, ca): (String, String), turn: Turn) -> Self {
        let server = block_on(real::connect(kubeconfig));
        let reviewer = Namespace::create(&server);
        let bed = Self {
            world,
            server,
            host,
            ca,
            reviewer,
            turn,
        };
        bed.service_account(&bed.reviewer, "reviewer");
        bed.delegate(json!({
            "kind": "ServiceAccount", "name": "reviewer", "namespace": bed.reviewer.name(),
        }));
        bed.until_it_reviews(&bed.reviewer_token());
        bed
    }

    /// The namespace of the service account `reviewer`.
    pub(crate) fn reviewer(&self) -> &str {
        self.reviewer.name()
    }

    /// A fresh token of the reviewer, as a bound token.
    pub(crate) fn reviewer_token(&self) -> String {
        self.token(&self.reviewer, "reviewer", json!({}))
    }

    /// Lets a subject create TokenReviews.
    pub(crate) fn delegate(&self, subject: Value) {
        let name = self.server.name();
        let mut subject = subject;
        if subject["kind"] != "ServiceAccount" {
            subject["apiGroup"] = json!("rbac.authorization.k8s.io");
        }
        let binding = json!({
            "metadata": { "name": name },
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:auth-delegator",
            },
            "subjects": [subject],
        });
        block_on(self.server.make(BINDINGS, binding));
        self.server.remember(format!("{BINDINGS}/{name}"));
    }

    fn until_it_reviews(&self, bearer: &str) {
        let review = json!({ "spec": { "token": bearer } });
        let allowed = async || {
            let post = reqwest::Method::POST;
            let reply = self
                .server
                .as_bearer(Some(bearer), post, REVIEWS, review.clone());
            reply.await.code == 201
        };
        block_on(self.server.until("the permission", allowed));
    }

    /// A method, and a config for this cluster with the reviewer's token, both of one name.
    pub(crate) fn route(&self, name: &str, method: &[&str]) -> Method {
        self.route_with(name, method, &["--k8s-issuer", &self.server.issuer])
    }

    /// `config` stands in place of the issuer's flag.
    pub(crate) fn route_with(&self, name: &str, method: &[&str], config: &[&str]) -> Method {
        let token = self.reviewer_token();
        let config = [&["--token-reviewer-jwt", &token], config].concat();
        self.route_by(name, method, &config)
    }

    /// `config` stands in place of the reviewer's and the issuer's flags.
    pub(crate) fn route_by(&self, name: &str, method: &[&str], config: &[&str]) -> Method {
        let method = self.world.method_with(name, method);
        self.create_config(&method, config);
        method
    }

    /// A config with the reviewer's token, for a method that is there.
    pub(crate) fn config_for(&self, method: &Method) {
        let token = self.reviewer_token();
        let issuer = &self.server.issuer;
        self.create_config(
            method,
            &["--token-reviewer-jwt", &token, "--k8s-issuer", issuer],
        );
    }

    fn create_config(&self, method: &Method, config: &[&str]) {
        let key = [
            "--access-id",
            &method.access_id,
            "--signing-key",
            &method.prv_key,
        ];
        let cluster = ["--k8s-host", &self.host, "--k8s-ca-cert", &self.ca];
        let create = ["gateway-create-k8s-auth-config", "--name", &method.name];
        self.world
            .admin
            .ok(&[&create[..], &key, &cluster, config].concat());
    }

    pub(crate) fn log_in(&self, method: &Method, token: &str) -> Output {
        self.world.log_in(&method.access_id, &method.name, token)
    }

    /// Where nobody waits for a fault to pass.
    pub(crate) fn log_in_briefly(&self, method: &Method, token: &str) -> Output {
        let args = [
            "auth",
            "--timeout=1s",
            "--access-id",
            &method.access_id,
            "--k8s-auth-config-name",
            &method.name,
            "--k8s-service-account-token-file",
            "-",
        ];
        self.world.pod.run_with_stdin(&args, token)
    }

    #[track_caller]
    pub(crate) fn admits(&self, method: &Method, token: &str) {
        let printed = self.log_in(method, token).success();
        assert!(printed.contains("\nToken: t-"), "{printed}");
    }

    /// Once the API server's caches have seen a permission.
    #[track_caller]
    pub(crate) fn eventually_admits(&self, method: &Method, token: &str) {
        eventually("a login", Duration::from_secs(20), || {
            (self.log_in(method, token).code == 0).then_some(())
        });
    }

    /// Once the gateway has seen what changed in its files.
    #[track_caller]
    pub(crate) fn eventually_is_at_fault(&self, method: &Method, token: &str) {
        eventually("a fault", Duration::from_secs(20), || {
            (self.log_in_briefly(method, token).code == 3).then_some(())
        });
    }

    /// Refused like everybody, for this reason in the audit record, which is returned.
    #[track_caller]
    pub(crate) fn refuses(&self, method: &Method, token: &str, reason: &str) -> Value {
        let record = self.world.audited(&self.log_in(method, token).refused());
        assert_eq!(record["reason"], reason, "{record}");
        record
    }

    /// Refused, and why.
    pub(crate) fn refused_for(&self, method: &Method, token: &str) -> String {
        let record = self.world.audited(&self.log_in(method, token).refused());
        record["reason"].as_str().unwrap().to_owned()
    }

    /// As namespace selectors need.
    pub(crate) fn let_reviewer_read(&self) {
        let name = self.server.name();
        let role = json!({
            "metadata": { "name": name },
            "rules": [{ "apiGroups": [""], "resources": ["namespaces", "serviceaccounts"], "verbs": ["get"] }],
        });
        block_on(self.server.make(ROLES, role));
        self.server.remember(format!("{ROLES}/{name}"));
        let binding = json!({
            "metadata": { "name": name },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
            "subjects": [{ "kind": "ServiceAccount", "name": "reviewer", "namespace": self.reviewer() }],
        });
        block_on(self.server.make(BINDINGS, binding));
        self.server.remember(format!("{BINDINGS}/{name}"));
    }

    /// The audit records of a method's logins that were granted, newest first.
    pub(crate) fn granted(&self, method: &Method) -> Vec<Value> {
        let list = self.world.admin.json(&["audit", "list", "--limit", "500"]);
        let mut records = list["audit_events"].as_array().unwrap().clone();
        records.retain(|record| {
            record["access_id"] == method.access_id.as_str() && record["event"] == "login.granted"
        });
        records
    }

    /// The API server, on the same port, with these flags for service accounts.
    pub(crate) fn restart_api_server(&self, flags: &[&str]) {
        assert!(matches!(self.turn, Turn::Alone(_)), "others use it");
        control(&[&["restart"], flags].concat());
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if let Turn::Alone(_) = self.turn {
            control(&["reset"]);
        }
        block_on(self.server.clean_up());
    }
}

fn options(host: &str) -> StackOptions {
    StackOptions {
        api_servers: vec![host.to_owned()],
        ..StackOptions::default()
    }
}

/// The API server's URL, and its CA in PEM.
fn address(kubeconfig: &str) -> (String, String) {
    let kubeconfig: Value = serde_norway::from_slice(&std::fs::read(kubeconfig).unwrap()).unwrap();
    let cluster = &kubeconfig["clusters"][0]["cluster"];
    let ca = STANDARD.decode(cluster["certificate-authority-data"].as_str().unwrap());
    let host = cluster["server"].as_str().unwrap().to_owned();
    (host, String::from_utf8(ca.unwrap()).unwrap())
}

/// Where the cluster that `tests/kubernetes/cluster` started keeps its keys.
fn folder() -> Option<PathBuf> {
    std::env::var_os("POSTERN_TEST_KUBERNETES").map(PathBuf::from)
}

/// Runs `tests/kubernetes/control`.
pub(crate) fn control(args: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/kubernetes/control");
    let output = Command::new(script).args(args).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "control {args:?}: {stderr}");
}
/// A client certificate that the cluster's CA signed, and its key, both in PEM.
pub(crate) fn client_certificate(name: &str, subject: &str) -> Option<(String, String)> {
    let Some(folder) = folder() else {
        static SAID: Once = Once::new();
        left_out(&SAID, "client certificates", "POSTERN_TEST_KUBERNETES");
        return None;
    };
    control(&["client-certificate", name, subject]);
    let read = |end: &str| std::fs::read_to_string(folder.join(format!("{name}.{end}"))).unwrap();
    Some((read("crt"), read("key")))
}
