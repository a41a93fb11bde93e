//! The tutorial, as it must run.

use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::support::{Cli, Output, World};

const CREATE: [&str; 9] = [
    "create-auth-method-k8s",
    "-n",
    "my-k8s-auth-method",
    "--bound-pod-names",
    "mypod1",
    "--bound-pod-names",
    "mypod2",
    "--bound-namespaces",
    "my-namespace-a",
];

#[test]
fn the_tutorial_ends_with_a_token() {
    let world = World::start();
    let created = world.admin.json(&CREATE);
    let (access_id, prv_key) = (text(&created, "access_id"), text(&created, "prv_key"));
    assert!(
        access_id.starts_with("p-") && [14, 16].contains(&access_id.len()),
        "{access_id}"
    );
    assert_eq!(access_id.as_bytes()[access_id.len() - 2], b'k');
    let pem = String::from_utf8(STANDARD.decode(&prv_key).unwrap()).unwrap();
    assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----"));

    let cluster = world.cluster();
    let ca_cert = STANDARD.encode(cluster.ca_pem());
    let host = format!("--k8s-host={}", cluster.host());
    let config = [
        "gateway-create-k8s-auth-config",
        "--name",
        "k8s-conf",
        "--gateway-url",
        world.stack().gateway_url(),
        "--access-id",
        &access_id,
        "--signing-key",
        &prv_key,
        &host,
        "--token-reviewer-jwt",
        &world.reviewer_token(),
        "--k8s-ca-cert",
        &ca_cert,
        "--k8s-issuer",
        cluster.issuer(),
    ];
    world.admin.ok(&config);

    for pod in ["mypod1", "mypod2"] {
        let token = world.pod_token(pod);
        let printed = Cli::new()
            .with_env(
                "POSTERN_CA_CERT",
                world.stack().deployment().ca_cert().to_str().unwrap(),
            )
            .ok(&[
                "auth",
                "--access-id",
                &access_id,
                "--access-type",
                "k8s",
                "--gateway-url",
                world.stack().gateway_url(),
                "--k8s-auth-config-name",
                "k8s-conf",
                "--k8s-service-account-token",
                &token,
            ]);
        let token = printed
            .strip_prefix("Authentication succeeded.\nToken: t-")
            .unwrap();
        let token = token.strip_suffix('\n').unwrap();
        assert!(token.len() >= 40 && token.bytes().all(|b| b.is_ascii_alphanumeric()));
    }
}

#[test]
fn who_creates_can_log_in_at_once() {
    let world = World::shared();
    for round in 0..5 {
        let method = world.route(&format!("at-once-{round}"));
        assert!(world.token(&method).starts_with("t-"));
    }
}

#[test]
fn the_pods_token_is_taken_from_a_file_a_flag_in_base64_or_standard_input() {
    let world = World::shared();
    let method = world.route("sources");
    let token = world.pod_token("mypod1");
    let file = world.pod.file("token", &format!("{token}\n"));
    let in_base64 = STANDARD.encode(&token);
    for source in [
        ["--k8s-service-account-token", &token],
        ["--k8s-service-account-token", &in_base64],
        ["--k8s-service-account-token-file", &file],
    ] {
        let args = [
            "auth",
            "-i",
            &method.access_id,
            "--k8s-auth-config-name",
            "sources",
        ];
        let document = world.pod.json(&[&args[..], &source[..]].concat());
        assert!(text(&document, "token").starts_with("t-"));
    }
    world
        .log_in(&method.access_id, "sources", &in_base64)
        .success();
    let args = [
        "auth",
        "-i",
        &method.access_id,
        "--k8s-auth-config-name",
        "sources",
    ];
    world
        .pod
        .run(&args)
        .fails(2, &["--k8s-service-account-token-file"]);
}

#[test]
fn with_json_there_is_one_document_with_the_token_and_its_end() {
    let world = World::shared();
    let method = world.method_with(
        "json",
        &[
            "--bound-namespaces=my-namespace-a",
            "--jwt-ttl",
            "5",
            "--bound-ips=127.0.0.1",
        ],
    );
    world.config("json", &method);
    let args = [
        "auth",
        "-i",
        &method.access_id,
        "--k8s-auth-config-name",
        "json",
    ];
    let token = world.pod_token("mypod1");
    let document = world
        .pod
        .json(&[&args[..], &["--k8s-service-account-token", &token]].concat());
    assert_eq!(document.as_object().unwrap().len(), 2);
    let expiration = text(&document, "expiration");
    assert!(expiration.ends_with('Z'), "{expiration}");
    let left = expiration
        .parse::<Timestamp>()
        .unwrap()
        .duration_since(Timestamp::now());
    assert!(left > SignedDuration::from_secs(285) && left <= SignedDuration::from_mins(5));
}

#[test]
fn both_forms_of_a_verb_print_the_same() {
    let world = World::shared();
    let method = world.route("forms");
    let name = ["-n", "forms"];
    for (tutorial, noun) in [
        (&["get-auth-method"][..], &["auth-method", "get"][..]),
        (
            &["update-auth-method-k8s"],
            &["auth-method", "update", "k8s"],
        ),
        (
            &["gateway-get-k8s-auth-config"],
            &["k8s-auth-config", "get"],
        ),
        (
            &["gateway-update-k8s-auth-config"],
            &["k8s-auth-config", "update"],
        ),
    ] {
        for form in [&[][..], &["--json"], &["-o", "yaml"]] {
            let run = |verb: &[&str]| world.admin.ok(&[verb, &name, form].concat());
            let (one, other) = (run(tutorial), run(noun));
            let seals = |text: &str| {
                let lines = text.lines().map(str::to_owned);
                let changing = ["etag", "update_time", "generation", "change_time"];
                lines
                    .filter(|l| !changing.iter().any(|c| l.contains(c)))
                    .collect::<Vec<_>>()
            };
            assert_eq!(seals(&one), seals(&other));
        }
    }
    let keys = |args: &[&str]| -> Vec<String> {
        let document = world.admin.json(args);
        document.as_object().unwrap().keys().cloned().collect()
    };
    let bounds = ["--bound-namespaces", "a"];
    let one = keys(&[&["create-auth-method-k8s", "-n", "forms-1"][..], &bounds].concat());
    let other = keys(
        &[
            &["auth-method", "create", "k8s", "--name", "forms-2"][..],
            &bounds,
        ]
        .concat(),
    );
    assert_eq!(one, other);
    assert_eq!(keys(&["list-auth-methods"]), ["auth_methods"]);
    assert_eq!(keys(&["auth-method", "list"]), ["auth_methods"]);
    assert_eq!(
        keys(&["gateway-list-k8s-auth-config"]),
        ["k8s_auth_configs"]
    );
    assert_eq!(keys(&["k8s-auth-config", "list"]), ["k8s_auth_configs"]);
    drop(method);
    world
        .admin
        .run(&["delete-auth-method", "-n", "forms"])
        .fails(1, &["k8sAuthConfigs/forms"]);
    let deleted = world
        .admin
        .ok(&["gateway-delete-k8s-auth-config", "-n", "forms"]);
    assert_eq!(deleted, "K8s auth config forms deleted.\n");
    let deleted = world.admin.ok(&["auth-method", "delete", "-n", "forms"]);
    assert_eq!(deleted, "Auth method forms deleted.\n");
    world
        .admin
        .run(&["get-auth-method", "-n", "forms"])
        .fails(4, &["forms"]);
}

#[test]
fn the_tutorials_units_keys_and_flags_are_understood() {
    let world = World::shared();
    let end = Timestamp::now().as_second() + 3600;
    let end_text = end.to_string();
    let method = world.method_with(
        "units",
        &[
            "--bound-namespaces",
            "my-namespace-a,other",
            "--jwt-ttl=30",
            "--access-expires",
            &end_text,
            "--gen-key=true",
        ],
    );
    let stored = world
        .admin
        .json(&["get-auth-method", "-n", &method.access_id]);
    assert_eq!(stored["token_ttl"], "1800s");
    assert_eq!(
        stored["access_expire_time"],
        Timestamp::from_second(end).unwrap().to_string()
    );
    assert_eq!(
        stored["kubernetes"]["rules"][0]["namespaces"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert!(stored["prv_key"].is_null(), "a private key is shown once");

    let pem = String::from_utf8(STANDARD.decode(&method.prv_key).unwrap()).unwrap();
    let mut args = world.config_args("units", &method);
    args.iter_mut()
        .filter(|arg| **arg == method.prv_key)
        .for_each(|arg| arg.clone_from(&pem));
    args.extend([
        "--token-exp".to_owned(),
        "2m".to_owned(),
        "--json".to_owned(),
    ]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let config = world.admin.run(&args).document();
    assert_eq!(config["token_exp"], "120s");
    assert_eq!(config["signing_key_set"], true);
    assert_eq!(config["token_reviewer_jwt_set"], true);
    assert!(world.token(&method).starts_with("t-"));
}

#[test]
fn configure_stores_a_profile_for_its_owner_alone_and_never_prompts_without_a_terminal() {
    let world = World::shared();
    let (cli, admin) = (Cli::new(), world.stack().deployment().admin());
    let key_file = admin.to_str().unwrap();
    let ca = world.stack().deployment().ca_cert();
    let access_id = world.stack().admin().access_id.clone();
    let args = [
        "configure",
        "--control-plane-url",
        world.stack().control_plane_url(),
        "--gateway-url",
        world.stack().gateway_url(),
        "--ca-cert",
        ca.to_str().unwrap(),
        "--access-id",
        &access_id,
        "--access-key-file",
        key_file,
    ];
    let output = cli.run(&args);
    assert!(
        output.stdout.starts_with("Profile `default` stored in "),
        "{}",
        output.stdout
    );
    output.success();
    let json: serde_json::Value =
        serde_json::from_str(&cli.ok(&[&args[..], &["--json"]].concat())).unwrap();
    assert_eq!(json["profile"], "default");
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(cli.profile("default")), 0o600);
    assert_eq!(
        mode(cli.profile("default").parent().unwrap().to_owned()),
        0o700
    );
    cli.ok(&["list-auth-methods"]);
    cli.run(&["list-auth-methods", "--profile", "other"])
        .fails(2, &["other", "postern configure"]);

    let stranger = Cli::new();
    stranger
        .run(&["configure"])
        .fails(2, &["--access-key-file"]);
    stranger
        .run(&["list-auth-methods"])
        .fails(2, &["postern configure"]);
    let bare = stranger.file("key", world.stack().admin().access_id.as_str());
    stranger
        .run(&["configure", "--access-key-file", &bare])
        .fails(2, &["--access-id"]);
    assert!(!stranger.profile("default").exists());
}

#[test]
fn addresses_come_from_the_flag_then_the_environment_then_the_profile() {
    let world = World::shared();
    let said = |output: Output| output.stderr;
    let args = ["list-auth-methods", "-v"];
    let from_profile = said(world.admin.run(&args));
    assert!(
        from_profile.contains("from the profile `default`"),
        "{from_profile}"
    );
    let flag = ["--control-plane-url", world.stack().control_plane_url()];
    let from_flag = said(world.admin.run(&[&args[..], &flag].concat()));
    assert!(
        from_flag.contains("from --control-plane-url"),
        "{from_flag}"
    );
    let pod = [
        "auth",
        "-v",
        "-i",
        "p-AAAAAAAAAAkA",
        "--k8s-auth-config-name",
        "x",
        "--k8s-service-account-token",
        "a.b.c",
    ];
    let from_environment = said(world.pod.run(&pod));
    assert!(
        from_environment.contains("from POSTERN_GATEWAY_URL"),
        "{from_environment}"
    );
}

fn text(document: &Value, field: &str) -> String {
    document[field]
        .as_str()
        .unwrap_or_else(|| panic!("no {field} in {document}"))
        .to_owned()
}
