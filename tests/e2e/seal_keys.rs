//! Rotating the keys that seal a gateway's configs.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{Method, World};

/// The gateway's key file, as its operator edits it.
struct KeyFile(PathBuf);

impl KeyFile {
    fn of(world: &World) -> Self {
        Self(world.stack().deployment().dir().join("gateway/seal-keys"))
    }

    fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.0).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn ids(&self) -> Vec<String> {
        let id = |line: &String| line.split(':').next().unwrap().to_owned();
        self.lines().iter().map(id).collect()
    }

    fn write(&self, lines: &[String]) {
        std::fs::write(&self.0, lines.join("\n")).unwrap();
    }
}

fn status(world: &World) -> Value {
    world.admin.json(&["gateway", "seal-key", "status"])["seal_keys"].clone()
}

fn reseal(world: &World) -> (i64, i64) {
    let done = world.admin.json(&["gateway", "seal-key", "reseal"]);
    (
        done["resealed"].as_i64().unwrap(),
        done["k8s_auth_configs"].as_i64().unwrap(),
    )
}

fn all_log_in(world: &World, methods: &[&Method]) {
    for method in methods {
        assert!(world.token(method).starts_with("t-"));
    }
}

#[test]
fn a_key_is_rotated_without_a_login_lost() {
    let mut world = World::start();
    let (one, two, three) = (world.route("one"), world.route("two"), world.route("three"));
    let methods = [&one, &two, &three];
    let file = KeyFile::of(&world);
    let old = file.ids().remove(0);
    assert_eq!(
        status(&world),
        json!([{ "id": old, "k8s_auth_configs": 3 }])
    );

    let path = file.0.to_str().unwrap().to_owned();
    let generate = [
        "gateway", "seal-key", "generate", "--file", &path, "--id", "k2",
    ];
    let printed = world.admin.ok(&generate);
    assert!(printed.contains("opens only"), "{printed}");
    assert_eq!(file.ids(), [old.as_str(), "k2"]);
    world
        .admin
        .run(&generate)
        .fails(2, &["the same as that of an earlier line"]);
    assert_eq!(file.ids(), [old.as_str(), "k2"]);
    world.restart_gateway();
    all_log_in(&world, &methods);
    assert_eq!(reseal(&world), (0, 3), "the first key sealed them all");

    let mut lines = file.lines();
    lines.reverse();
    file.write(&lines);
    world.restart_gateway();
    all_log_in(&world, &methods);
    assert_eq!(
        status(&world),
        json!([{ "id": old, "k8s_auth_configs": 3 }])
    );
    // As a reseal that was cut off after the first one.
    world
        .admin
        .ok(&["gateway-update-k8s-auth-config", "-n", "one"]);
    assert_eq!(reseal(&world), (2, 3));
    assert_eq!(
        status(&world),
        json!([{ "id": "k2", "k8s_auth_configs": 3 }])
    );
    assert_eq!(
        reseal(&world),
        (0, 3),
        "a second time there is nothing to do"
    );
    all_log_in(&world, &methods);

    lines.truncate(1);
    file.write(&lines);
    world.restart_gateway();
    all_log_in(&world, &methods);
}

#[test]
fn a_config_whose_key_is_gone_says_so_and_can_be_deleted() {
    let mut world = World::start();
    let method = world.route("lost");
    let file = KeyFile::of(&world);
    std::fs::remove_file(&file.0).unwrap();
    let path = file.0.to_str().unwrap().to_owned();
    world
        .admin
        .ok(&["gateway", "seal-key", "generate", "--file", &path]);
    world.restart_gateway();
    let config = world
        .admin
        .json(&["gateway-get-k8s-auth-config", "-n", "lost"]);
    assert_eq!(config["conditions"][0]["reason"], "SEAL_KEY_UNKNOWN");
    let table = world.admin.ok(&["gateway-list-k8s-auth-config"]);
    assert!(table.contains("no: SEAL_KEY_UNKNOWN"), "{table}");
    let token = world.pod_token("mypod1");
    let login = [
        "auth",
        "-i",
        &method.access_id,
        "--k8s-auth-config-name",
        "lost",
        "--timeout=1s",
    ];
    let login = [&login[..], &["--k8s-service-account-token", &token]].concat();
    world.pod.run(&login).fails(3, &["can't be used"]);
    world
        .admin
        .run(&["gateway", "seal-key", "reseal"])
        .fails(1, &["seal"]);
    world
        .admin
        .ok(&["gateway-delete-k8s-auth-config", "-n", "lost"]);
    world.config("lost", &method);
    all_log_in(&world, &[&method]);
}
