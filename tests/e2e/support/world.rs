//! A deployment, an administrator's command line, and a pod's.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube_sim::KubeSim;
use postern_control_plane::SubjectLimits;
use postern_core::clock::Clock;
use postern_dev::{Stack, StackOptions};
use postern_proto::pb;
use postern_proto::pb::access_key_auth_service_client::AccessKeyAuthServiceClient;
use postern_rpc::client::{self, Target};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tokio::runtime::{Handle, Runtime};

use super::{Caller, Cli, Database, Output, eventually, request};

/// What `create-auth-method-k8s` printed.
pub(crate) struct Method {
    pub(crate) name: String,
    pub(crate) access_id: String,
    pub(crate) prv_key: String,
}

/// A running stack and its people. The tests are synchronous, as people are; the servers live
/// in a runtime of their own.
pub(crate) struct World {
    stack: Option<Stack>,
    runtime: Option<Runtime>,
    offset: Arc<AtomicI64>,
    pub(crate) admin: Cli,
    pub(crate) pod: Cli,
}

impl World {
    pub(crate) fn start() -> Self {
        Self::with(StackOptions::default())
    }

    /// Whose gateway asks its clusters nothing but what it is asked itself, so that tests can count.
    pub(crate) fn with(options: StackOptions) -> Self {
        Self::launch(StackOptions {
            check_interval: None,
            // Its pods log in as often as tests like.
            subject_limits: SubjectLimits::OFF,
            ..options
        })
    }

    /// Whose gateway tries its configs' clusters that often.
    pub(crate) fn checked_every(interval: Duration) -> Self {
        Self::launch(StackOptions {
            check_interval: Some(interval),
            subject_limits: SubjectLimits::OFF,
            ..StackOptions::default()
        })
    }

    /// Whose workloads may have so much.
    pub(crate) fn limited(subject_limits: SubjectLimits) -> Self {
        Self::launch(StackOptions {
            check_interval: None,
            subject_limits,
            ..StackOptions::default()
        })
    }

    /// Whose servers' and cluster's clocks are behind by so many seconds.
    pub(crate) fn behind(seconds: i64, options: StackOptions) -> Self {
        Self::launch_at(
            -seconds,
            StackOptions {
                check_interval: None,
                subject_limits: SubjectLimits::OFF,
                ..options
            },
        )
    }

    fn launch(options: StackOptions) -> Self {
        Self::launch_at(0, options)
    }

    fn launch_at(offset: i64, mut options: StackOptions) -> Self {
        let runtime = Runtime::new().unwrap();
        let offset = Arc::new(AtomicI64::new(offset));
        let shift = Arc::clone(&offset);
        options.clock = Clock::new(move || {
            Timestamp::now() + SignedDuration::from_secs(shift.load(Ordering::Relaxed))
        });
        let stack = runtime.block_on(Box::pin(async {
            let stack = Box::pin(Stack::start(options)).await.unwrap();
            let ready = tokio::time::timeout(Duration::from_secs(30), stack.ready()).await;
            ready.expect("a stack that becomes ready");
            stack
        }));
        let admin = Cli::new();
        let admin_file = stack.deployment().admin();
        let args = [
            "configure",
            "--access-key-file",
            admin_file.to_str().unwrap(),
        ];
        admin.run(&args).success();
        let pod = Cli::new()
            .with_env(
                "POSTERN_CA_CERT",
                stack.deployment().ca_cert().to_str().unwrap(),
            )
            .with_env("POSTERN_GATEWAY_URL", stack.gateway_url());
        Self {
            stack: Some(stack),
            runtime: Some(runtime),
            offset,
            admin,
            pod,
        }
    }

    /// One for tests that create objects of their own and change nothing else.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<World>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let world = Arc::new(Self::start());
            *shared = Arc::downgrade(&world);
            world
        })
    }

    pub(crate) fn stack(&self) -> &Stack {
        self.stack.as_ref().unwrap()
    }

    pub(crate) fn cluster(&self) -> &KubeSim {
        self.stack().cluster()
    }

    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.as_ref().unwrap().block_on(Box::pin(work))
    }

    pub(crate) fn handle(&self) -> Handle {
        self.runtime.as_ref().unwrap().handle().clone()
    }

    /// Moves the clock of both servers and of the cluster.
    pub(crate) fn advance(&self, seconds: i64) {
        self.offset.fetch_add(seconds, Ordering::Relaxed);
    }

    pub(crate) fn stop_control_plane(&mut self) {
        let (runtime, stack) = self.parts();
        runtime.block_on(stack.stop_control_plane()).unwrap();
    }

    pub(crate) fn start_control_plane(&mut self) {
        let (runtime, stack) = self.parts();
        runtime
            .block_on(Box::pin(stack.start_control_plane()))
            .unwrap();
    }

    pub(crate) fn stop_gateway(&mut self) {
        let (runtime, stack) = self.parts();
        runtime.block_on(stack.stop_gateway()).unwrap();
    }

    pub(crate) fn start_gateway(&mut self) {
        let (runtime, stack) = self.parts();
        runtime.block_on(Box::pin(stack.start_gateway())).unwrap();
    }

    pub(crate) fn restart_gateway(&mut self) {
        self.stop_gateway();
        self.start_gateway();
        self.ready();
    }

    pub(crate) fn ready(&self) {
        let ready =
            async { tokio::time::timeout(Duration::from_secs(30), self.stack().ready()).await };
        self.block_on(ready).expect("servers that become ready");
    }

    fn parts(&mut self) -> (&Runtime, &mut Stack) {
        (self.runtime.as_ref().unwrap(), self.stack.as_mut().unwrap())
    }

    pub(crate) fn database(&self) -> Database {
        self.block_on(Database::open(self.stack().database_url()))
    }

    pub(crate) fn sql(&self, sql: &str) {
        let mut database = self.database();
        self.block_on(database.execute(sql));
    }

    /// Creates a method whose pods are `mypod1` and `mypod2` of `my-namespace-a`.
    pub(crate) fn method(&self, name: &str) -> Method {
        let bounds = "--bound-pod-names=mypod1,mypod2";
        self.method_with(name, &[bounds, "--bound-namespaces", "my-namespace-a"])
    }

    pub(crate) fn method_with(&self, name: &str, args: &[&str]) -> Method {
        let create = ["create-auth-method-k8s", "-n", name];
        let created = self.admin.json(&[&create[..], args].concat());
        Method {
            name: name.to_owned(),
            access_id: created["access_id"].as_str().unwrap().to_owned(),
            prv_key: created["prv_key"].as_str().unwrap().to_owned(),
        }
    }

    pub(crate) fn reviewer_token(&self) -> String {
        self.cluster()
            .reviewer_token("default", "gateway-token-reviewer")
            .unwrap()
    }

    /// Creates a config for the simulated cluster.
    pub(crate) fn config(&self, name: &str, method: &Method) -> Value {
        self.admin.json(
            &self
                .config_args(name, method)
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>(),
        )
    }

    pub(crate) fn config_args(&self, name: &str, method: &Method) -> Vec<String> {
        let cluster = self.cluster();
        let flags = [
            ("--name", name),
            ("--access-id", &method.access_id),
            ("--signing-key", &method.prv_key),
            ("--k8s-host", cluster.host()),
            ("--token-reviewer-jwt", &self.reviewer_token()),
            ("--k8s-ca-cert", cluster.ca_pem()),
            ("--k8s-issuer", cluster.issuer()),
        ];
        let flags = flags
            .iter()
            .flat_map(|(flag, value)| [(*flag).to_owned(), (*value).to_owned()]);
        ["gateway-create-k8s-auth-config".to_owned()]
            .into_iter()
            .chain(flags)
            .collect()
    }

    /// A method and a config of one name.
    pub(crate) fn route(&self, name: &str) -> Method {
        let method = self.method(name);
        self.config(name, &method);
        method
    }

    /// The token that a pod of `my-namespace-a` has.
    pub(crate) fn pod_token(&self, pod: &str) -> String {
        self.cluster().pod_token("my-namespace-a", pod).unwrap()
    }

    /// Logs in as a pod does, with the token by standard input.
    pub(crate) fn log_in(&self, access_id: &str, config: &str, token: &str) -> Output {
        let args = [
            "auth",
            "--access-id",
            access_id,
            "--k8s-auth-config-name",
            config,
        ];
        let args = [&args[..], &["--k8s-service-account-token-file", "-"]].concat();
        self.pod.run_with_stdin(&args, token)
    }

    /// The `t-…` token that `mypod1` gets.
    pub(crate) fn token(&self, method: &Method) -> String {
        let output = self.log_in(&method.access_id, &method.name, &self.pod_token("mypod1"));
        output
            .success()
            .lines()
            .nth(1)
            .unwrap()
            .replace("Token: ", "")
    }

    /// The records of a request ID, which must be there within two seconds.
    pub(crate) fn audited(&self, request_id: &str) -> Value {
        eventually("an audit record", Duration::from_secs(2), || {
            let output = self.admin.run(&["audit", "get", request_id, "--json"]);
            (output.code == 0).then(|| output.document()["audit_events"][0].clone())
        })
    }

    pub(crate) fn control_plane(&self) -> Caller {
        self.caller(self.stack().control_plane_url())
    }

    pub(crate) fn gateway(&self) -> Caller {
        self.caller(self.stack().gateway_url())
    }

    pub(crate) fn caller(&self, url: &str) -> Caller {
        let target = Target {
            url: url.to_owned(),
            ca_pem: Some(self.stack().admin().ca_cert.clone().into_bytes()),
        };
        self.block_on(async { Caller::anonymous(client::connect(&target).unwrap()) })
    }

    /// An access token for an access key; `gateway` narrows it.
    pub(crate) fn log_in_with_key(
        &self,
        access_id: &str,
        access_key: &str,
        gateway: &str,
    ) -> String {
        let message = pb::AuthenticateAccessKeyRequest {
            access_id: access_id.to_owned(),
            access_key: access_key.to_owned(),
            gateway: gateway.to_owned(),
        };
        let mut client = AccessKeyAuthServiceClient::new(self.control_plane().channel());
        let response = self.block_on(client.authenticate_access_key(request(message)));
        response.unwrap().into_inner().access_token
    }

    /// The administrator's token; `gateway` narrows it.
    pub(crate) fn administrator_token(&self, gateway: &str) -> String {
        let admin = self.stack().admin();
        self.log_in_with_key(&admin.access_id, admin.access_key.expose_secret(), gateway)
    }

    /// The gateway's own token.
    pub(crate) fn gateway_token(&self) -> String {
        let file = self.gateway_file();
        let text = |field: &str| file[field].as_str().unwrap().to_owned();
        self.log_in_with_key(&text("access_id"), &text("access_key"), "")
    }

    pub(crate) fn gateway_file(&self) -> Value {
        let path = self.stack().deployment().gateway_config();
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let (Some(runtime), Some(stack)) = (self.runtime.take(), self.stack.take()) {
            let limit = Duration::from_secs(5);
            let stopped = async { tokio::time::timeout(limit, Box::pin(stack.shutdown())).await };
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        }
    }
}
