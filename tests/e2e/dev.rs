//! `postern dev`, a second terminal beside it, and `postern tour`.

use std::time::Instant;

use serde_json::Value;

use crate::support::{Cli, Process, World};

#[test]
fn the_tour_walks_through_the_tutorial_and_shows_a_refusal() {
    let cli = Cli::new();
    let begun = Instant::now();
    let output = cli.run(&["tour"]);
    let took = begun.elapsed();
    assert!(took.as_secs() < 15, "{took:?}");
    let text = output.success();
    let mut rest = text.as_str();
    for promised in [
        "postern configure",
        "postern create-auth-method-k8s",
        "postern gateway-create-k8s-auth-config",
        "postern auth --access-id",
        "Authentication succeeded.",
        "Token: t-",
        "login refused",
        "postern audit get",
        "POD_NAME_NOT_BOUND",
    ] {
        let found = rest.find(promised);
        let found = found.unwrap_or_else(|| panic!("no `{promised}` where it should be: {text}"));
        rest = &rest[found..];
    }
    assert_eq!(
        std::fs::read_dir(cli.home()).unwrap().count(),
        0,
        "nothing is left"
    );
    let document = cli.json(&["tour"]);
    assert!(document["token"].as_str().unwrap().starts_with("t-"));
}

#[test]
fn a_second_terminal_joins_and_ctrl_c_stops_cleanly() {
    let cli = Cli::new();
    let logs = tempfile::tempdir().unwrap();
    let mut dev = Process::start(&cli, logs.path(), "dev", &["dev", "--json"]);
    dev.wait_for("\n}\n");
    let endpoints: Value = serde_json::from_str(&dev.stdout()).unwrap();
    let document = cli.json(&["dev", "env"]);
    let variable = |name: &str| document[name].as_str().unwrap().to_owned();
    assert_eq!(
        variable("POSTERN_GATEWAY_URL"),
        endpoints["gateway_url"].as_str().unwrap()
    );
    assert_eq!(variable("POSTERN_PROFILE"), "dev");
    let env = cli.ok(&["dev", "env"]);
    assert!(env.lines().all(|line| line.starts_with("export ")), "{env}");

    let second = [
        "POSTERN_PROFILE",
        "POSTERN_CONTROL_PLANE_URL",
        "POSTERN_GATEWAY_URL",
        "POSTERN_CA_CERT",
        "POSTERN_DEV_STATE",
    ];
    let second = second
        .iter()
        .fold(Cli::new(), |cli, name| cli.with_env(name, variable(name)));
    let token = second.ok(&[
        "dev",
        "pod-token",
        "-n",
        "my-namespace-a",
        "--pod",
        "mypod1",
    ]);
    assert_eq!(token.split('.').count(), 3);
    for (what, start) in [
        ("host", "https://"),
        ("issuer", "https://"),
        ("ca", "LS0t"),
        ("reviewer-token", "eyJ"),
    ] {
        let printed = second.ok(&["dev", what]);
        assert!(
            printed.starts_with(start) && printed.lines().count() == 1,
            "{what}: {printed}"
        );
    }
    second
        .run(&["dev", "pod-token", "--pod", "Not A Name"])
        .fails(2, &["Not A Name"]);
    cli.run(&["dev"]).fails(2, &["runs already"]);
    assert!(
        cli.ok(&["list-auth-methods", "--profile", "dev"])
            .contains("admin")
    );

    let data = endpoints["data_dir"].as_str().unwrap().to_owned();
    dev.signal("INT");
    assert_eq!(dev.ended(), Some(0), "{}", dev.stderr());
    assert!(!std::path::Path::new(&data).exists());
    assert!(!cli.profile("dev").exists());
    cli.run(&["dev", "host"]).fails(3, &["postern dev"]);
}

#[test]
fn a_data_folder_keeps_what_was_made() {
    let cli = Cli::new();
    let logs = tempfile::tempdir().unwrap();
    let args = [
        "dev",
        "--json",
        "--data-dir",
        "data",
        "--control-plane-port=0",
        "--gateway-port=0",
        "--cluster-port=0",
    ];
    let create = [
        "create-auth-method-k8s",
        "-n",
        "kept",
        "--bound-namespaces=a",
        "--profile=dev",
    ];
    for round in 0..2 {
        let mut dev = Process::start(&cli, logs.path(), &format!("dev{round}"), &args);
        dev.wait_for("\n}\n");
        let output = cli.run(&create);
        match round {
            0 => drop(output.success()),
            _ => drop(output.fails(5, &["authMethods/kept"])),
        }
        dev.signal("INT");
        assert_eq!(dev.ended(), Some(0), "{}", dev.stderr());
    }
}

#[test]
fn servers_stop_at_a_signal_with_logins_under_way() {
    let mut world = World::start();
    let method = world.route("stopping");
    let load = crate::support::Load::start(&world, &method, 2);
    world.stop_gateway();
    world.start_gateway();
    world.ready();
    world.token(&method);
    load.stop();
}
