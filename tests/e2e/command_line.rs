//! What the command line says when something is wrong.

use std::time::Instant;

use kube_sim::Fault;
use serde_json::{Value, json};

use crate::support::{Cli, World, free_port};

#[test]
fn health_trusts_the_profiles_ca_and_says_what_is_wrong_in_the_words_of_every_command() {
    let world = World::shared();
    let url = world.stack().control_plane_url();
    world.admin.ok(&["health", "--url", url]);
    let stranger = Cli::new();
    stranger
        .run(&["health", "--url", url])
        .fails(3, &["isn't trusted", "--ca-cert"]);
    let nobody = format!("https://localhost:{}", free_port());
    let health = world.admin.run(&["health", "--url", &nobody]);
    let said = health.fails(3, &["nothing listens on"]);
    let list = [
        "list-auth-methods",
        "--timeout=1s",
        "--control-plane-url",
        &nobody,
    ];
    let fault = said.split_once(": nothing").unwrap().1;
    world.admin.run(&list).fails(3, &[fault.trim()]);
}

#[test]
fn a_wrong_key_in_a_profile_is_said_to_be_that() {
    let world = World::start();
    let path = world.admin.profile("default");
    let mut profile: Value =
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let other = postern_core::access_token::AccessKey::generate().unwrap();
    profile["access_key"] = json!(other.expose());
    std::fs::write(&path, profile.to_string()).unwrap();
    let said = world.admin.run(&["list-auth-methods"]).fails(
        1,
        &[
            "refused the access key of the profile `default`",
            "request ID",
            "postern configure",
        ],
    );
    assert!(
        !said.contains("audit get"),
        "who can't log in can't look: {said}"
    );
}

#[test]
fn what_is_only_validated_is_not_shown_as_if_it_were_made() {
    let world = World::shared();
    let create = [
        "create-auth-method-k8s",
        "-n=only-valid",
        "--bound-namespaces=a",
        "--bound-pod-names=b",
        "--validate-only",
    ];
    let document = world.admin.json(&create);
    assert_eq!(
        (&document["valid"], &document["stored"]),
        (&json!(true), &json!(false))
    );
    assert!(
        document.get("access_id").is_none() && document.get("prv_key").is_none(),
        "{document}"
    );
    let text = world.admin.ok(&create);
    assert_eq!(
        text,
        "Auth method only-valid is valid; nothing was stored.\n"
    );
    world
        .admin
        .run(&["get-auth-method", "-n=only-valid"])
        .fails(4, &[]);
}

#[test]
fn what_nobodys_next_try_mends_is_not_tried_again() {
    let world = World::start();
    let method = world.route("unreviewed");
    world.cluster().set_fault(Fault::Status(403));
    let begun = Instant::now();
    let token = world.pod_token("mypod1");
    let args = [
        "auth",
        "--timeout=20s",
        "-i",
        &method.access_id,
        "--k8s-auth-config-name=unreviewed",
        "--k8s-service-account-token",
        &token,
    ];
    world.pod.run(&args).fails(3, &["TokenReviews"]);
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
}

#[test]
fn the_first_key_of_a_file_is_said_to_seal() {
    let cli = Cli::new();
    let generate = ["gateway", "seal-key", "generate", "--file=keys"];
    let first = cli.ok(&generate);
    assert!(first.contains("it seals and opens"), "{first}");
    let second = cli.ok(&[&generate[..], &["--id=k2"]].concat());
    assert!(second.contains("It opens only"), "{second}");
}

#[test]
fn what_a_command_doesnt_know_is_named_by_its_flag() {
    let world = World::shared();
    world.admin.ok(&["create-role", "-n", "flags/role"]);
    let assoc = |more: &[&str]| -> Vec<String> {
        let args = ["assoc-role-am", "-r", "flags/role"];
        [&args[..], more]
            .concat()
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    for (args, parts) in [
        // Neither is taken for the name or the UID that stands there.
        (
            words("block pod --uid 5b7b1a3e-0000-4000-8000-000000000002"),
            ["'--uid'", "<UID>"],
        ),
        (
            words("block service-account --for 1h a/b"),
            ["'--for'", "block service-account"],
        ),
        // A workload's token alone says which of two renewals is meant.
        (
            words("token renew --token t-x --k8s-service-account-token-file pod.token"),
            ["--access-id", "--k8s-auth-config-name"],
        ),
        (
            words("token renew --token t-x --access-id p-AAAAAAAAAAkA"),
            ["required", "--k8s-auth-config-name"],
        ),
        (
            words("update-assoc -a nope"),
            ["--assoc-id: is no association's ID", "association list"],
        ),
        (
            words("create-role -n roles/zed"),
            ["--name: begins as a full name does", "leave `roles/` out"],
        ),
        (
            words("delete-assoc -a associations/nope"),
            ["--assoc-id", "association list"],
        ),
        (
            assoc(&["-a", "nobody"]),
            ["--am-name: there is no such", "[association.auth_method]"],
        ),
        (
            words("audit list --event login"),
            ["--event <EVENT>", "login.denied, "],
        ),
        (
            words("create-role -n flags/more --permission nope"),
            [
                "--permission: `nope` is no permission",
                "describe-permissions",
            ],
        ),
    ] {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        world.admin.run(&args).fails(2, &parts);
    }
}

#[test]
fn what_stands_in_the_way_is_said_once() {
    let world = World::start();
    let disable = [
        "auth-method",
        "update",
        "access-key",
        "-n",
        "admin",
        "--disabled",
    ];
    let stderr = world.admin.run(&disable).fails(1, &["is the last way in"]);
    assert_eq!(stderr.matches("is the last way in").count(), 1, "{stderr}");
}

#[test]
fn a_list_that_ends_early_says_so_beside_the_data() {
    let world = World::start();
    for name in ["a", "b"] {
        world.admin.ok(&["create-role", "-n", name]);
    }
    let all = world.admin.json(&["list-roles"])["roles"]
        .as_array()
        .unwrap()
        .len();
    for (limit, more) in [(all - 1, true), (all, false), (all + 1, false)] {
        let output = world
            .admin
            .run(&["list-roles", "--json", "--limit", &limit.to_string()]);
        let said = format!("only the first {limit}; there are more (--limit)");
        assert_eq!(output.stderr.contains(&said), more, "{}", output.stderr);
        let roles = output.document()["roles"].as_array().unwrap().len();
        assert_eq!(roles, limit.min(all));
    }
}
