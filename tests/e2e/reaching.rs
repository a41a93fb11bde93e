//! Every way of reaching a cluster, from the command line to a login.

use std::time::Duration;

use kube_sim::{KubeSim, Options, Rancher};
use postern_dev::StackOptions;
use serde_json::{Value, json};
use test_support::fixtures::TestCa;

use crate::support::{Method, World};

const HOUR: Duration = Duration::from_secs(3600);

/// What every config says of the world's cluster, apart from its reviewer.
fn create<'a>(world: &'a World, method: &'a Method, reviewer: &[&'a str]) -> Vec<&'a str> {
    let cluster = world.cluster();
    let common = [
        "k8s-auth-config",
        "create",
        "--name",
        &method.name,
        "--access-id",
        &method.access_id,
        "--signing-key",
        &method.prv_key,
        "--k8s-host",
        cluster.host(),
        "--k8s-ca-cert",
        cluster.ca_pem(),
        "--k8s-issuer",
        cluster.issuer(),
    ];
    [&common[..], reviewer].concat()
}

fn get(world: &World, name: &str) -> Value {
    world
        .admin
        .json(&["k8s-auth-config", "get", "--name", name])
}

#[test]
fn a_reviewer_changes_from_a_token_to_a_certificate_and_back_on_the_command_line() {
    let world = World::start();
    let (method, cluster) = (world.route("changing"), world.cluster());
    world.token(&method);
    cluster.let_review("postern-reviewer").unwrap();
    let pair = cluster.client_certificate("postern-reviewer", &[], HOUR);
    let (certificate, key) = pair.unwrap();
    let files = (
        world.admin.file("client.crt", &certificate),
        world.admin.file("client.key", &key),
    );
    let update = ["k8s-auth-config", "update", "--name", "changing"];
    let to_certificate = ["--k8s-auth-type", "certificate"];
    let certificate_file = ["--k8s-client-certificate-file", &files.0];
    let key_file = ["--k8s-client-key-file", &files.1];

    let args = [&update[..], &to_certificate, &certificate_file].concat();
    world.admin.run(&args).fails(2, &["--k8s-client-key"]);
    let args = [&update[..], &to_certificate, &certificate_file, &key_file].concat();
    world.admin.ok(&args);
    let shown = get(&world, "changing");
    assert_eq!(shown["reviewer"], "REVIEWER_TYPE_CERTIFICATE", "{shown}");
    assert_eq!(shown["k8s_client_key_set"], true, "{shown}");
    assert!(shown["token_reviewer_jwt_set"] != true, "{shown}");
    assert!(
        shown["reviewer_credential_expire_time"].is_string(),
        "{shown}"
    );
    assert!(!shown.to_string().contains("PRIVATE KEY"), "{shown}");
    world.token(&method);

    let reviewer = world.reviewer_token();
    let back = [
        "--k8s-auth-type",
        "token",
        "--token-reviewer-jwt",
        &reviewer,
    ];
    world.admin.ok(&[&update[..], &back].concat());
    let shown = get(&world, "changing");
    assert!(shown["k8s_client_certificate"].is_null(), "{shown}");
    world.token(&method);
}

#[test]
fn a_presented_token_reviews_only_where_that_is_said() {
    let world = World::start();
    let method = world.method("presented");
    let unsaid = create(&world, &method, &[]);
    world.admin.run(&unsaid).fails(2, &["--token-reviewer-jwt"]);
    let said = create(&world, &method, &["--k8s-auth-type", "presented-token"]);
    world.admin.ok(&said);
    let cluster = world.cluster();
    let pod = world.pod_token("mypod1");
    let refused = world.log_in(&method.access_id, "presented", &pod);
    refused.fails(3, &["create TokenReviews"]);
    cluster.reviewer_token("my-namespace-a", "default").unwrap();
    world.token(&method);
}

#[test]
fn a_cluster_behind_rancher_is_reached_where_the_gateway_lists_it_by_its_own_url() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let options = || Options {
        rancher: Some(Rancher {
            cluster_id: "c-m-abcdefgh".to_owned(),
            api_key: "token-abcde:secret".to_owned(),
        }),
        ..Options::default()
    };
    let rancher: KubeSim = runtime.block_on(KubeSim::start(options())).unwrap();
    let world = World::with(StackOptions {
        api_servers: vec![format!("{}/k8s/clusters/c-m-abcdefgh", rancher.host())],
        ..StackOptions::default()
    });
    let method = world.method("rancher");
    let create = |id: &'static str| {
        [
            "k8s-auth-config",
            "create",
            "--name",
            "rancher",
            "--access-id",
            &method.access_id,
            "--signing-key",
            &method.prv_key,
            "--k8s-host",
            rancher.host(),
            "--k8s-ca-cert",
            rancher.ca_pem(),
            "--k8s-issuer",
            rancher.issuer(),
            "--cluster-api-type",
            "rancher",
            "--rancher-api-key",
            "token-abcde:secret",
            "--rancher-cluster-id",
            id,
        ]
    };
    let unlisted = world.admin.run(&create("c-m-zzzzzzzz"));
    unlisted.fails(2, &["/k8s/clusters/c-m-zzzzzzzz", "api_servers"]);
    world.admin.ok(&create("c-m-abcdefgh"));
    let pod = rancher.pod_token("my-namespace-a", "mypod1").unwrap();
    world.log_in(&method.access_id, "rancher", &pod).success();
    let shown = get(&world, "rancher");
    assert_eq!(shown["rancher_api_key_set"], true, "{shown}");
    assert!(!shown.to_string().contains("secret"), "{shown}");
}

#[test]
fn a_gateway_outside_a_cluster_refuses_a_config_of_its_own_service_account_and_says_why() {
    let world = World::start();
    let method = world.method("own");
    let args = [
        "k8s-auth-config",
        "create",
        "--name",
        "own",
        "--access-id",
        &method.access_id,
        "--signing-key",
        &method.prv_key,
        "--disable-issuer-validation",
        "--use-gw-service-account",
    ];
    world
        .admin
        .run(&args)
        .fails(2, &["doesn't run in a cluster"]);
}

#[test]
fn a_config_of_the_gateways_own_service_account_is_pinned_and_logs_in() {
    let mut world = World::start();
    let mounted = tempfile::tempdir().unwrap();
    let token = world
        .cluster()
        .reviewer_token("default", "gateway")
        .unwrap();
    std::fs::write(mounted.path().join("token"), token).unwrap();
    std::fs::write(mounted.path().join("ca.crt"), world.cluster().ca_pem()).unwrap();
    let path = world.stack().deployment().gateway_config();
    let mut file = world.gateway_file();
    let url = world.cluster().host();
    file["own_cluster"] = json!({ "service_account_dir": mounted.path(), "url": url });
    std::fs::write(&path, file.to_string()).unwrap();
    world.restart_gateway();
    let method = world.method("own");
    let issuer = world.cluster().issuer().to_owned();
    let args = [
        "k8s-auth-config",
        "create",
        "--name",
        "own",
        "--access-id",
        &method.access_id,
        "--signing-key",
        &method.prv_key,
        "--k8s-issuer",
        &issuer,
        "--use-gw-service-account",
    ];
    let contradiction = [&args[..], &["--k8s-host", "https://a"]].concat();
    world
        .admin
        .run(&contradiction)
        .fails(2, &["--k8s-host", "leave it out"]);
    world.admin.ok(&args);
    world.token(&method);
    let shown = get(&world, "own");
    let pinned = shown["pinned_cluster"].as_str().unwrap();
    assert!(pinned.starts_with("ca-sha256:"), "{shown}");
    let conditions = shown["conditions"].as_array().unwrap();
    let pin = conditions
        .iter()
        .find(|c| c["type"] == "CONDITION_TYPE_CLUSTER_PINNED")
        .unwrap();
    assert_eq!(pin["status"], "CONDITION_STATUS_TRUE", "{pin}");
    let list = world.admin.ok(&["k8s-auth-config", "list"]);
    assert!(list.contains("the gateway's own"), "{list}");
    let doctor = world.admin.json(&["doctor", "own"]);
    let held = |kind: &str| {
        let conditions = doctor["conditions"].as_array().unwrap();
        let kind = format!("CONDITION_TYPE_{kind}");
        let found = conditions.iter().find(|c| c["type"] == kind).unwrap();
        (found["status"].clone(), found["reason"].clone())
    };
    for (kind, reason) in [
        ("CLUSTER_PINNED", "PINNED"),
        ("CREDENTIAL_FRESH", "NO_EXPIRY"),
    ] {
        let wanted = (json!("CONDITION_STATUS_TRUE"), json!(reason));
        assert_eq!(held(kind), wanted, "{doctor}");
    }
}

#[test]
fn a_ca_that_is_replaced_takes_effect_in_seconds_and_closes_old_connections() {
    let world = World::start();
    let method = world.route("moving");
    world.token(&method);
    world.block_on(world.cluster().until_open(1));
    let other = TestCa::default().pem();
    let bundle = format!("{other}{}", world.cluster().ca_pem());
    let update = ["k8s-auth-config", "update", "--name", "moving"];
    let said = world
        .admin
        .run(&[&update[..], &["--k8s-ca-cert", &bundle]].concat());
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(
        said.stderr.contains("stored credential stays"),
        "{}",
        said.stderr
    );
    let closed =
        async { tokio::time::timeout(Duration::from_secs(5), world.cluster().until_open(0)).await };
    world.block_on(closed).unwrap();
    world.token(&method);

    world
        .admin
        .ok(&[&update[..], &["--k8s-ca-cert", &other]].concat());
    let distrusted = world.log_in(&method.access_id, "moving", &world.pod_token("mypod1"));
    distrusted.fails(3, &["isn't trusted"]);
}

#[test]
fn a_servers_name_and_time_outs_come_from_the_command_line_and_can_be_emptied() {
    let world = World::start();
    let method = world.route("named");
    let update = ["k8s-auth-config", "update", "--name", "named"];
    let set = [
        "--tls-server-name",
        "kubernetes.default",
        "--connect-timeout",
        "500ms",
        "--total-timeout",
        "2",
    ];
    world.admin.ok(&[&update[..], &set].concat());
    let shown = get(&world, "named");
    assert_eq!(shown["tls_server_name"], "kubernetes.default", "{shown}");
    assert_eq!(shown["connect_timeout"], "0.500s", "{shown}");
    assert_eq!(shown["total_timeout"], "2s", "{shown}");
    world.token(&method);
    let other = ["--tls-server-name", "elsewhere.example"];
    world.admin.ok(&[&update[..], &other].concat());
    let distrusted = world.log_in(&method.access_id, "named", &world.pod_token("mypod1"));
    distrusted.fails(3, &["isn't trusted"]);
    let clear = ["--clear", "tls_server_name,connect_timeout,total_timeout"];
    world.admin.ok(&[&update[..], &clear].concat());
    let shown = get(&world, "named");
    assert_eq!(shown["connect_timeout"], "3s", "{shown}");
    world.token(&method);
    let too_long = [&update[..], &["--total-timeout", "11"]].concat();
    world
        .admin
        .run(&too_long)
        .fails(2, &["--total-timeout", "10 s"]);
}
