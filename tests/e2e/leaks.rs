//! Invariant 1, over a whole run: no part of a secret in a log, an error, an audit record or a
//! database.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube_sim::{Fault, KubeSim, TokenOptions};
use postern_core::key::SigningKey;
use serde_json::Value;
use test_support::leaks::LeakSearch;
use test_support::postgres::PrivatePostgres;
use tokio::runtime::Runtime;

use crate::import::kubeconfig;
use crate::support::{Cli, Output, Process, eventually, free_port};

/// Real processes with logs at trace level, and everything that was printed.
struct Run {
    cluster: KubeSim,
    servers: Cli,
    admin: Cli,
    pod: Cli,
    processes: Vec<Process>,
    search: LeakSearch,
    printed: Vec<(String, String)>,
}

impl Run {
    fn start(runtime: &Runtime, database_url: &str) -> Self {
        let cluster = runtime
            .block_on(KubeSim::start(kube_sim::Options::default()))
            .unwrap();
        let servers = Cli::new().with_env("POSTERN_LOG", "trace");
        let (control_plane, gateway) = (free_port(), free_port());
        let urls = [control_plane, gateway].map(|port| format!("https://127.0.0.1:{port}"));
        let init = [
            "init",
            "d",
            "--control-plane-url",
            &urls[0],
            "--gateway-url",
            &urls[1],
        ];
        servers.ok(&[&init[..], &["--api-server", cluster.host()]].concat());
        let listen = [control_plane, gateway].map(|port| format!("127.0.0.1:{port}"));
        let tls = [
            "--tls-cert",
            "d/control-plane/server.pem",
            "--tls-key",
            "d/control-plane/server-key.pem",
        ];
        let serve = [
            "control-plane",
            "serve",
            "--bootstrap",
            "d/control-plane/bootstrap.json",
            "--key-file",
            "d/control-plane/keys",
        ];
        let serve = [
            &serve[..],
            &tls,
            &["--database-url", database_url, "--listen", &listen[0]],
        ]
        .concat();
        let mut processes = vec![Process::start(&servers, servers.home(), "cp", &serve)];
        let serve = [
            "gateway",
            "serve",
            "--config",
            "d/gateway/gateway.json",
            "--listen",
            &listen[1],
        ];
        processes.push(Process::start(&servers, servers.home(), "gw", &serve));
        for process in &mut processes {
            process.wait_for(" listening");
        }
        let file = |name: &str| {
            servers
                .home()
                .join("d")
                .join(name)
                .to_str()
                .unwrap()
                .to_owned()
        };
        let admin = Cli::new().with_env("POSTERN_LOG", "trace");
        admin.ok(&["configure", "--access-key-file", &file("admin.json")]);
        let pod = Cli::new()
            .with_env("POSTERN_LOG", "trace")
            .with_env("POSTERN_GATEWAY_URL", &urls[1])
            .with_env("POSTERN_CA_CERT", file("ca.pem"));
        let mut run = Self {
            cluster,
            servers,
            admin,
            pod,
            processes,
            search: LeakSearch::new(),
            printed: Vec::new(),
        };
        run.register_files();
        run
    }

    /// The secrets that `init` made.
    fn register_files(&mut self) {
        let read =
            |name: &str| std::fs::read_to_string(self.servers.home().join("d").join(name)).unwrap();
        for name in ["admin.json", "gateway/gateway.json"] {
            let file: Value = serde_json::from_str(&read(name)).unwrap();
            self.search.secret(
                format!("{name}'s key"),
                file["access_key"].as_str().unwrap(),
            );
        }
        for name in ["gateway/seal-keys", "control-plane/keys"] {
            for line in read(name).lines() {
                self.search.secret(name, line.split_once(':').unwrap().1);
            }
        }
        for name in [
            "ca-key.pem",
            "control-plane/server-key.pem",
            "gateway/server-key.pem",
        ] {
            self.search.secret(name, &read(name));
        }
        for name in ["ca.pem", "control-plane/server.pem", "gateway/server.pem"] {
            let certificate = read(name);
            let body: String = certificate
                .lines()
                .filter(|l| !l.starts_with('-'))
                .collect();
            let der = STANDARD.decode(body).unwrap();
            // A private key's file ends with its public half, which the certificate holds.
            self.search.public(&certificate);
            for window in der.windows(65).filter(|window| window[0] == 4) {
                self.search.public(&String::from_utf8_lossy(window));
            }
        }
    }

    fn administer(&mut self, args: &[&str]) -> Output {
        let output = self.admin.run(args);
        self.printed
            .push((format!("stderr of {}", args[0]), output.stderr.clone()));
        output
    }

    fn create(&mut self) -> String {
        let create = [
            "create-auth-method-k8s",
            "-n",
            "m",
            "--json",
            "--bound-pod-names=mypod1",
        ];
        let created = self
            .administer(&[&create[..], &["--bound-namespaces=my-namespace-a"]].concat())
            .document();
        let text = |field: &str| created[field].as_str().unwrap().to_owned();
        let pem = String::from_utf8(STANDARD.decode(text("prv_key")).unwrap()).unwrap();
        self.search.secret("the method's private key", &pem);
        self.search
            .secret("the method's private key in base64", &text("prv_key"));
        let key = SigningKey::parse(&pem).unwrap();
        self.search.public(&key.public().to_pem());
        let reviewer = self
            .cluster
            .reviewer_token("default", "gateway-token-reviewer")
            .unwrap();
        self.search.secret("the reviewer's token", &reviewer);
        let (host, ca, issuer) = (
            self.cluster.host().to_owned(),
            self.cluster.ca_pem().to_owned(),
            self.cluster.issuer().to_owned(),
        );
        let (access_id, prv_key) = (text("access_id"), text("prv_key"));
        let config = [
            "gateway-create-k8s-auth-config",
            "--name",
            "c",
            "--access-id",
            &access_id,
        ];
        let config = [
            &config[..],
            &["--signing-key", &prv_key, "--k8s-host", &host],
        ]
        .concat();
        let config = [
            &config[..],
            &["--k8s-ca-cert", &ca, "--k8s-issuer", &issuer],
        ]
        .concat();
        let without =
            self.administer(&[&config[..], &["--token-reviewer-jwt", "--disabled"]].concat());
        without.fails(2, &["probably empty"]);
        let created = self
            .administer(&[&config[..], &["--token-reviewer-jwt", &reviewer, "--json"]].concat());
        self.printed
            .push(("a config".to_owned(), created.success()));
        access_id
    }

    /// With the credential of somebody who may do everything in the cluster.
    fn import(&mut self) {
        let token = self.cluster.admin_token().to_owned();
        self.search.secret("the kubeconfig's administrator", &token);
        let file = self
            .admin
            .file("kubeconfig", &kubeconfig(&self.cluster, &token));
        let import = [
            "k8s-auth-config",
            "import",
            "--kubeconfig",
            &file,
            "-n",
            "c",
        ];
        for more in [&["--dry-run"][..], &["-v"], &["--context=no"]] {
            let output = self.administer(&[&import[..], more].concat());
            self.printed.push(("an import".to_owned(), output.stdout));
        }
        let reviewer = self
            .cluster
            .legacy_token("default", "postern-reviewer", "postern-reviewer-token")
            .unwrap();
        self.search
            .secret("the imported reviewer's token", &reviewer);
    }

    /// With a token that its cluster knows, one that it doesn't, and none.
    fn explain(&mut self, token: &str) {
        for token in [token, &format!("{token}x"), &token[..40]] {
            let file = self.admin.file("token", token);
            for config in ["c", "nowhere", token] {
                let explain = ["explain", "--config", config, "--token-file", &file];
                let output = self.administer(&explain);
                self.printed
                    .push(("an explanation".to_owned(), output.stdout));
            }
        }
    }

    fn log_in(&mut self, access_id: &str, config: &str, token: &str) {
        self.search.secret("a pod's token", token);
        let login = [
            "auth",
            "-i",
            access_id,
            "--k8s-auth-config-name",
            config,
            "--timeout=1s",
        ];
        let output = self
            .pod
            .run(&[&login[..], &["--k8s-service-account-token", token]].concat());
        match output.stdout.split_once("Token: ") {
            Some((_, token)) => drop(self.search.secret("an access token", token.trim())),
            None => self
                .printed
                .push(("a refused login".to_owned(), output.stdout.clone())),
        }
        self.printed
            .push(("stderr of auth".to_owned(), output.stderr));
    }

    /// What a token is worth, its renewal and its end, by its pod and by an administrator; and what
    /// is shown in a token's place.
    fn ask_about(&mut self, access_id: &str, presented: &str) {
        let auth = [
            "auth",
            "--timeout=30s",
            "-i",
            access_id,
            "--k8s-auth-config-name",
            "c",
        ];
        let auth = [&auth[..], &["--k8s-service-account-token", presented]].concat();
        let token = self.pod.json(&auth)["token"].as_str().unwrap().to_owned();
        self.search.secret("an access token", &token);
        let file = self.admin.file("access", &token);
        let renew = ["renew", "-i", access_id, "--k8s-auth-config-name", "c"];
        let renew = [&renew[..], &["--k8s-service-account-token", presented]].concat();
        let swapped = ["renew", "-i", access_id, "--k8s-auth-config-name", &token];
        let swapped = [&swapped[..], &["--k8s-service-account-token", &token]].concat();
        for (cli, args) in [
            (&self.pod, &["introspect", "--self"][..]),
            (&self.admin, &["introspect"]),
            (&self.admin, &["introspect", "--client-address", &token]),
            (&self.admin, &["revoke", "--accessor", presented]),
            (&self.pod, &renew),
            (&self.pod, &swapped),
            (&self.pod, &["revoke", "--self"]),
            (&self.pod, &renew),
            (&self.admin, &["revoke"]),
        ] {
            let about = ["--token-file", &file];
            let about = if args.contains(&"--accessor") {
                &[][..]
            } else {
                &about
            };
            let output = cli.run(&[&["token"], args, about].concat());
            self.printed.push((args[0].to_owned(), output.stdout));
            self.printed.push((args[0].to_owned(), output.stderr));
        }
        let wrong = self.pod.file("wrong", presented);
        let ask = ["token", "introspect", "--self", "--token-file", &wrong];
        let output = self.pod.run(&ask);
        self.printed
            .push(("a pod's token".to_owned(), output.stderr));
    }

    /// The tutorial, and refusals and faults of every kind.
    fn story(&mut self) {
        let access_id = self.create();
        let pod =
            |run: &Self, namespace: &str, pod: &str| run.cluster.pod_token(namespace, pod).unwrap();
        let good = pod(self, "my-namespace-a", "mypod1");
        self.log_in(&access_id, "c", &good);
        let (tampered, _) = good.rsplit_once('.').unwrap();
        let tampered = format!("{tampered}.c2lnbmF0dXJlLXRoYXQtaXMtbm8tc2lnbmF0dXJl");
        let legacy = self
            .cluster
            .legacy_token("my-namespace-a", "default", "legacy")
            .unwrap();
        let audiences = TokenOptions {
            audiences: vec!["x".to_owned()],
            ..TokenOptions::default()
        };
        let other_audience = self
            .cluster
            .create_token("my-namespace-a", "default", &audiences)
            .unwrap();
        for (config, token) in [
            ("c", pod(self, "my-namespace-a", "mypod3")),
            ("c", pod(self, "my-namespace-b", "mypod1")),
            ("nowhere", pod(self, "my-namespace-a", "mypod2")),
            ("c", tampered),
            ("c", legacy),
            ("c", other_audience),
            ("c", format!("{good}.and-a-fourth-part")),
            ("c", format!("{good}{}", "x".repeat(20_000))),
        ] {
            self.log_in(&access_id, config, &token);
        }
        // Arguments swapped by mistake.
        self.log_in(&good, "c", &good);
        self.log_in(&access_id, &good, &good);
        for fault in [
            Fault::Status(500),
            Fault::Status(401),
            Fault::Html,
            Fault::Body(good.clone()),
            Fault::Hang,
        ] {
            self.cluster.set_fault(fault);
            self.log_in(&access_id, "c", &good);
        }
        self.cluster.set_fault(Fault::None);
        self.log_in(&access_id, "c", &good);
        self.ask_about(&access_id, &good);
        self.import();
        self.explain(&good);
        self.administer(&["gateway", "create", "-n", "g", "--url", "https://g:8000"])
            .success();
        self.administer(&[
            "update-auth-method-k8s",
            "-n",
            "m",
            "--description",
            "changed",
        ])
        .success();
        self.administer(&["gateway", "seal-key", "reseal"])
            .success();
        for list in [
            &["audit", "list", "--limit=500", "--json"][..],
            &["list-auth-methods", "--json"],
            &["gateway-list-k8s-auth-config", "-o", "yaml"],
        ] {
            let text = self.administer(list).success();
            self.printed.push((list.join(" "), text));
        }
        let events = || self.admin.ok(&["audit", "list", "--limit=500"]);
        eventually("the last refusal's record", Duration::from_secs(3), || {
            events().contains("CONFIG_UNKNOWN").then_some(())
        });
    }

    fn assert_clean(mut self, folders: &[&Path]) {
        for process in self.processes.iter_mut().rev() {
            process.signal("TERM");
            assert_eq!(process.ended(), Some(0), "{}", process.stderr());
        }
        for (label, text) in &self.printed {
            self.search.assert_clean(label, text);
        }
        for process in &self.processes {
            assert!(process.stderr().contains("TRACE"), "logs at trace level");
            self.search.assert_clean("a log", process.stderr());
            self.search.assert_clean("audit lines", process.stdout());
        }
        assert!(self.processes[0].stdout().contains("login.granted"));
        for folder in folders {
            self.search.assert_dir_clean(folder);
        }
    }
}

#[test]
fn no_part_of_a_secret_is_in_logs_errors_audit_or_the_sqlite_file() {
    let runtime = Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("postern.db").display());
    let mut run = Run::start(&runtime, &url);
    run.story();
    run.assert_clean(&[folder.path()]);
}

#[test]
fn no_part_of_a_secret_is_in_postgresql_its_files_or_its_log() {
    let runtime = Runtime::new().unwrap();
    let Some(postgres) = runtime.block_on(PrivatePostgres::start()) else {
        return;
    };
    let database = runtime.block_on(postgres.database());
    let mut run = Run::start(&runtime, database.url());
    run.story();
    let contents = runtime.block_on(database.contents());
    assert!(contents.contains("login.denied"));
    run.search.assert_clean("the database", contents);
    run.search.assert_clean(
        "PostgreSQL's log",
        std::fs::read(postgres.log_file()).unwrap(),
    );
    run.assert_clean(&[&postgres.data_dir()]);
}
