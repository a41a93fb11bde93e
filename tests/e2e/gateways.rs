//! Gateways: made, seen, switched off, and their credential replaced, while others go on.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Cli, Output, Process, World, eventually, free_port};

const SOON: Duration = Duration::from_secs(20);

fn gateway(world: &World, name: &str) -> Value {
    world.admin.json(&["gateway", "get", "-n", name])
}

/// A try to log in as the pod `mypod1` that doesn't go on for long.
fn try_to_log_in(pod: &Cli, world: &World, access_id: &str, config: &str) -> Output {
    let args = [
        "auth",
        "--timeout",
        "2",
        "--access-id",
        access_id,
        "--k8s-auth-config-name",
        config,
        "--k8s-service-account-token-file",
        "-",
    ];
    pod.run_with_stdin(&args, &world.pod_token("mypod1"))
}

/// What `/readyz` of a server says.
fn health(world: &World, url: &str) -> Output {
    let ca = world.stack().deployment().ca_cert();
    let args = ["health", "--url", url, "--ca-cert", ca.to_str().unwrap()];
    world.admin.run(&args)
}

/// A gateway of its own, beside the first one: its folder, its URL and the running process.
struct Second {
    url: String,
    process: Process,
}

impl Second {
    fn start(world: &World, folder: &Path) -> Self {
        let port = free_port();
        let url = format!("https://127.0.0.1:{port}");
        let config = folder.join("gateway.json");
        let config = config.to_str().unwrap();
        let create = ["gateway", "create", "-n", "second", "--url", &url];
        let made = world
            .admin
            .json(&[&create[..], &["--config", config]].concat());
        assert_eq!(
            made["missing"],
            serde_json::json!(["server.pem", "server-key.pem"])
        );
        assert!(made.get("access_key").is_none(), "it is in the file");
        let first = world.stack().deployment().gateway_config();
        for name in ["server.pem", "server-key.pem"] {
            std::fs::copy(first.with_file_name(name), folder.join(name)).unwrap();
        }
        let listen = format!("127.0.0.1:{port}");
        let serve = ["gateway", "serve", "--config", config, "--listen", &listen];
        let mut process = Process::start(&world.admin, folder, "second", &serve);
        process.wait_for("following the control plane's changes");
        Self { url, process }
    }
}

#[test]
fn a_second_gateway_joins_without_a_restart_and_the_first_never_sees_its_configs() {
    let world = World::start();
    let folder = tempfile::tempdir().unwrap();
    let second = Second::start(&world, folder.path());
    let method = world.method("m");
    let args = world.config_args("there", &method);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let at_second = ["--gateway-url", second.url.as_str(), "--json"];
    let config = world
        .admin
        .run(&[&args[..], &at_second].concat())
        .document();
    assert_eq!(config["name"], "gateways/second/k8sAuthConfigs/there");

    let pod = Cli::new()
        .with_env(
            "POSTERN_CA_CERT",
            world.stack().deployment().ca_cert().to_str().unwrap(),
        )
        .with_env("POSTERN_GATEWAY_URL", &second.url);
    let granted = try_to_log_in(&pod, &world, &method.access_id, "there");
    assert!(granted.success().contains("Token: t-"));
    let elsewhere = try_to_log_in(&world.pod, &world, &method.access_id, "there");
    let reason = world.audited(&elsewhere.refused())["reason"].clone();
    assert_eq!(reason, "CONFIG_UNKNOWN");
    let at_first = world.admin.json(&["gateway-list-k8s-auth-config"]);
    assert_eq!(at_first["k8s_auth_configs"], serde_json::json!([]));

    for name in ["default", "second"] {
        let replica = eventually("the replica's report", SOON, || {
            let shown = gateway(&world, name);
            shown["instances"].get(0).cloned()
        });
        assert_eq!(replica["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(replica["address"], "127.0.0.1");
        assert_eq!(replica["seal_key_ids"], serde_json::json!(["k1"]));
        assert!(replica["start_time"].as_str() <= replica["last_contact_time"].as_str());
    }
    let revision = eventually("the replica's revision", SOON, || {
        let shown = gateway(&world, "second");
        let revision = shown["instances"][0]["revision"].as_str()?.parse::<i64>();
        revision.ok().filter(|revision| *revision > 3)
    });
    assert!(revision > 3);
    let listed = world.admin.ok(&["gateway", "list"]);
    assert!(
        listed.contains("REPLICAS") && listed.contains("second"),
        "{listed}"
    );
    drop(second.process);
}

#[test]
fn a_gateway_that_is_switched_off_is_an_outage_to_its_pods_until_it_is_on_again() {
    let world = World::start();
    let method = world.route("m");
    assert!(!world.token(&method).is_empty());
    let switch = |value: &str| {
        let disabled = format!("--disabled={value}");
        world
            .admin
            .json(&["gateway", "update", "-n", "default", &disabled])
    };
    assert_eq!(switch("true")["disabled"], true);
    let url = world.stack().gateway_url().to_owned();
    // Its stream of changes ended at once, and why stands in its health.
    eventually("a gateway that isn't ready", Duration::from_secs(5), || {
        let health = health(&world, &url);
        (health.code == 3
            && health
                .stdout
                .contains("doesn't accept this gateway's access key"))
        .then_some(())
    });
    // Nothing was found out about the pod: no refusal.
    let away = try_to_log_in(&world.pod, &world, &method.access_id, "m");
    assert_eq!(away.code, 3, "{}", away.stderr);
    assert!(!away.stderr.contains("login refused"), "{}", away.stderr);
    let records = world.admin.json(&["audit", "list"]);
    let refused = records["audit_events"].as_array().unwrap();
    assert!(
        refused
            .iter()
            .any(|event| event["reason"] == "GATEWAY_DISABLED"),
        "the gateway's own logins are on record"
    );
    assert_eq!(switch("false")["disabled"], false);
    eventually("logins again", SOON, || {
        (try_to_log_in(&world.pod, &world, &method.access_id, "m").code == 0).then_some(())
    });
}

#[test]
fn a_gateways_credential_is_replaced_while_logins_go_on() {
    let world = World::start();
    let method = world.route("m");
    let file = world.stack().deployment().gateway_config();
    let file = file.to_str().unwrap();
    let old_token = world.gateway_token();
    let before = world.gateway_file();
    let rotate = ["gateway", "rotate-credential", "-n", "default"];
    let rotated = world
        .admin
        .json(&[&rotate[..], &["--config", file]].concat());
    assert!(rotated.get("access_key").is_none(), "it is in the file");
    let after = world.gateway_file();
    assert_ne!(after["access_key"], before["access_key"]);
    for field in [
        "gateway",
        "access_id",
        "deployment_id",
        "tls_cert",
        "seal_keys",
    ] {
        assert_eq!(after[field], before[field], "{field}");
    }
    // The gateway logs in with the new key by itself, and no login waits for it.
    eventually("the new key in use", SOON, || {
        assert_eq!(
            try_to_log_in(&world.pod, &world, &method.access_id, "m").code,
            0
        );
        let keys = gateway(&world, "default")["keys"].clone();
        let newest = keys
            .as_array()?
            .iter()
            .find(|key| key["expire_time"].is_null())?;
        newest["last_used_time"].is_string().then_some(())
    });
    // Both keys are good: a third has to wait.
    let third = world.admin.run(&rotate);
    third.fails(1, &["two good access keys already"]);
    // Without an overlap the old ones end at once, with the tokens that they gave.
    let now = [&rotate[..], &["--overlap", "0", "--config", file]].concat();
    world.admin.ok(&now);
    let revision = postern_proto::pb::GetRevisionRequest {};
    let old = world.control_plane().with(&old_token);
    let used = world.block_on(old.send("/postern.v1.GatewaySyncService/GetRevision", revision));
    assert_eq!(used.unwrap_err().code, tonic::Code::Unauthenticated);
    eventually("logins with the third key", SOON, || {
        (try_to_log_in(&world.pod, &world, &method.access_id, "m").code == 0).then_some(())
    });
    // Another gateway's file is not touched.
    let wrong = [
        "gateway",
        "rotate-credential",
        "-n",
        "other",
        "--config",
        file,
    ];
    world
        .admin
        .run(&wrong)
        .fails(2, &["is of the gateway `default`"]);
}

#[test]
fn a_gateway_that_is_told_another_name_or_deployment_is_not_ready_and_says_why() {
    let mut world = World::start();
    let path = world.stack().deployment().gateway_config();
    let right = world.gateway_file();
    let url = world.stack().gateway_url().to_owned();
    let other = "11111111-2222-4333-8444-555555555555";
    for (field, value, says) in [
        (
            "gateway",
            "other",
            "gateway.json says gateway `other`, and its access key is for `default`",
        ),
        ("deployment_id", other, "gateway.json says deployment_id"),
    ] {
        world.stop_gateway();
        let mut wrong = right.clone();
        wrong[field] = Value::from(value);
        std::fs::write(&path, wrong.to_string()).unwrap();
        world.start_gateway();
        eventually("a gateway that says why it isn't ready", SOON, || {
            let health = health(&world, &url);
            (health.code == 3 && health.stdout.contains(says)).then_some(())
        });
    }
    world.stop_gateway();
    std::fs::write(&path, right.to_string()).unwrap();
    world.start_gateway();
    world.ready();
}

#[test]
fn two_gateways_at_one_url_are_warned_of() {
    let world = World::shared();
    let url = "https://shared.example.com:8000";
    let create = |name: &'static str| {
        world
            .admin
            .run(&["gateway", "create", "-n", name, "--url", url])
    };
    assert!(!create("shared-a").stderr.contains("URL_SHARED"));
    let second = create("shared-b");
    assert!(
        second.stderr.contains("gateways/shared-a is at"),
        "{}",
        second.stderr
    );
    let moved = [
        "gateway",
        "update",
        "-n",
        "shared-b",
        "--url",
        "https://own.example.com:8000",
    ];
    assert!(!world.admin.run(&moved).stderr.contains("warning"));
    let back = [
        "gateway",
        "update",
        "-n",
        "shared-b",
        "--url",
        url,
        "--clear",
        "description",
    ];
    assert!(world.admin.run(&back).stderr.contains("URL_SHARED"));
    for name in ["shared-a", "shared-b"] {
        world.admin.ok(&["gateway", "delete", "-n", name]);
    }
}
