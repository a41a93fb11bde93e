//! Modes of verification, the cluster's keys, and what is read of a namespace: from the command line.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kube_sim::{Fault, TokenOptions};
use serde_json::{Value, json};

use crate::support::{Method, Output, World};

const KEYS: &str = "/openid/v1/jwks";
const AUDIENCE: &str = "postern";

/// A method for tokens that are for Postern, with these arguments, and a config with those.
fn route(world: &World, name: &str, method: &[&str], config: &[&str]) -> Method {
    let method = world.method_with(name, &[&["--audience", AUDIENCE], method].concat());
    let args = world.config_args(name, &method);
    let args: Vec<&str> = args
        .iter()
        .map(String::as_str)
        .chain(config.iter().copied())
        .collect();
    world.admin.json(&args);
    method
}

const PODS: [&str; 3] = [
    "--bound-pod-names=mypod1,mypod2",
    "--bound-namespaces",
    "my-namespace-a",
];

/// A token of `my-namespace-a` for Postern, bound to a pod.
fn token(world: &World, pod: &str) -> String {
    world.pod_token(pod);
    let options = TokenOptions {
        pod: Some(pod.to_owned()),
        audiences: vec![AUDIENCE.to_owned()],
        ..TokenOptions::default()
    };
    let cluster = world.cluster();
    cluster
        .create_token("my-namespace-a", "default", &options)
        .unwrap()
}

fn log_in(world: &World, method: &Method, token: &str) -> Output {
    world.log_in(&method.access_id, &method.name, token)
}

fn refused_for(world: &World, method: &Method, token: &str, reason: &str) -> Value {
    let request = log_in(world, method, token).refused();
    let record = world.audited(&request);
    assert_eq!(record["reason"], reason, "{record}");
    record
}

/// The same token with another header, or other claims, and the signature that it had.
fn altered(token: &str, change: impl FnOnce(&mut Value, &mut Value)) -> String {
    let parts: Vec<&str> = token.split('.').collect();
    let read = |part: &str| -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    let (mut header, mut claims) = (read(parts[0]), read(parts[1]));
    change(&mut header, &mut claims);
    let write = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{}", write(header), write(claims), parts[2])
}

#[test]
fn a_pod_logs_in_offline_and_no_review_is_sent() {
    let world = World::start();
    let method = route(&world, "offline", &PODS, &["--mode", "offline"]);
    let pods_token = token(&world, "mypod1");
    log_in(&world, &method, &pods_token).success();
    refused_for(
        &world,
        &method,
        &token(&world, "mypod3"),
        "POD_NAME_NOT_BOUND",
    );
    assert_eq!(world.cluster().reviews(), 0);
    // Nobody is asked whether the pod is still there.
    world
        .cluster()
        .delete_pod("my-namespace-a", "mypod1")
        .unwrap();
    log_in(&world, &method, &pods_token).success();
    let shown = world
        .admin
        .json(&["k8s-auth-config", "get", "-n", "offline"]);
    assert_eq!(shown["mode"], "VERIFICATION_MODE_OFFLINE", "{shown}");
}

#[test]
fn what_the_cluster_didnt_sign_is_refused_and_costs_no_review() {
    let world = World::start();
    let offline = route(&world, "offline", &PODS, &["--mode", "offline"]);
    let both = route(&world, "both", &PODS, &["--mode", "jwks-then-review"]);
    let good = token(&world, "mypod1");
    type Change = fn(&mut Value, &mut Value);
    let forgeries: [(Change, &str); 6] = [
        (
            |_, claims| claims["kubernetes.io"]["pod"]["name"] = json!("mypod2"),
            "TOKEN_SIGNATURE_INVALID",
        ),
        (
            |header, _| header["kid"] = json!("another"),
            "TOKEN_KEY_UNKNOWN",
        ),
        (
            |header, _| header["alg"] = json!("RS512"),
            "TOKEN_ALGORITHM_NOT_ALLOWED",
        ),
        (
            |header, _| header["alg"] = json!("HS256"),
            "TOKEN_ALGORITHM_NOT_ALLOWED",
        ),
        (
            |header, _| header["alg"] = json!("none"),
            "TOKEN_ALGORITHM_NOT_ALLOWED",
        ),
        (
            |_, claims| claims["iss"] = json!("https://other"),
            "TOKEN_ISSUER_NOT_TRUSTED",
        ),
    ];
    for (change, reason) in forgeries {
        let forged = altered(&good, change);
        for method in [&offline, &both] {
            refused_for(&world, method, &forged, reason);
        }
    }
    assert_eq!(world.cluster().reviews(), 0);
    log_in(&world, &offline, &good).success();
    log_in(&world, &both, &good).success();
    assert_eq!(world.cluster().reviews(), 1);
}

#[test]
fn offline_takes_pod_bound_tokens_of_an_hour_for_a_listed_audience_only() {
    let world = World::start();
    let method = route(
        &world,
        "offline",
        &["--bound-namespaces", "my-namespace-a"],
        &["--mode", "offline"],
    );
    world.pod_token("mypod1");
    let make = |pod: Option<&str>, seconds: u64| {
        let options = TokenOptions {
            pod: pod.map(str::to_owned),
            audiences: vec![AUDIENCE.to_owned()],
            expiration: Some(std::time::Duration::from_secs(seconds)),
        };
        world
            .cluster()
            .create_token("my-namespace-a", "default", &options)
            .unwrap()
    };
    refused_for(&world, &method, &make(None, 3600), "POD_REQUIRED");
    refused_for(
        &world,
        &method,
        &make(Some("mypod1"), 3601),
        "TOKEN_LIFETIME_TOO_LONG",
    );
    log_in(&world, &method, &make(Some("mypod1"), 3600)).success();
    refused_for(
        &world,
        &method,
        &world.pod_token("mypod1"),
        "TOKEN_AUDIENCE_NOT_ACCEPTED",
    );
}

#[test]
fn offline_without_listed_audiences_is_refused_when_written() {
    let world = World::shared();
    let method = world.method("audienceless");
    let args = world.config_args("audienceless", &method);
    let with = |more: &[&str]| {
        let args = args.iter().map(String::as_str);
        let args: Vec<&str> = args.chain(more.iter().copied()).collect();
        world.admin.run(&args)
    };
    with(&["--mode", "offline"]).fails(2, &["--mode", "lists audiences", "--audience"]);
    let update = ["auth-method", "update", "k8s", "-n", "audienceless"];
    world
        .admin
        .ok(&[&update[..], &["--audience", AUDIENCE]].concat());
    with(&["--mode", "offline"]).success();
    let clear = [&update[..], &["--clear", "audience"]].concat();
    let config = "gateways/default/k8sAuthConfigs/audienceless";
    world.admin.run(&clear).fails(2, &["audience", config]);
}

#[test]
fn keys_are_given_and_checked_when_they_are_written() {
    let world = World::start();
    let method = world.method_with("given", &[&["--audience", AUDIENCE], &PODS[..]].concat());
    let args = world.config_args("given", &method);
    let with = |more: &[&str]| {
        let args: Vec<&str> = args
            .iter()
            .map(String::as_str)
            .chain(more.iter().copied())
            .collect();
        world.admin.run(&args)
    };
    for (keys, says) in [
        ("{}", "is not a JWK set"),
        (r#"{"keys":[]}"#, "holds no key"),
        (
            r#"{"keys":[{"kty":"oct","kid":"a","k":"AQ"}]}"#,
            "keys[0]: is a private or symmetric key",
        ),
        (
            r#"{"keys":[{"kty":"RSA","kid":"a","n":"!","e":"AQAB"}]}"#,
            "keys[0]: `n`",
        ),
    ] {
        with(&["--mode", "offline", "--jwks", keys]).fails(2, &["jwks", says]);
    }
    let keys = r#"{"keys":[{"kty":"EC","kid":"a","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
    let file = world.admin.file("keys.json", keys);
    with(&["--jwks-file", &file]).fails(2, &["jwks", "--mode"]);
    with(&["--mode", "offline", "--jwks-file", &file]).success();
    refused_for(
        &world,
        &method,
        &token(&world, "mypod1"),
        "TOKEN_KEY_UNKNOWN",
    );
    assert_eq!(world.cluster().requests(KEYS), 0);
}

#[test]
fn keys_that_cant_be_had_are_an_outage_and_no_refusal() {
    let world = World::start();
    world.cluster().set_fault_at(KEYS, Fault::Status(403));
    let method = route(&world, "offline", &PODS, &["--mode", "offline"]);
    let output = log_in(&world, &method, &token(&world, "mypod1"));
    output.fails(
        3,
        &["signing keys", "system:service-account-issuer-discovery"],
    );
}

#[test]
fn a_namespaces_labels_decide_as_they_are() {
    let world = World::start();
    let selector = ["--bound-namespace-selector", "team in (a,b),env!=dev"];
    let method = route(&world, "labelled", &selector, &[]);
    let pods_token = token(&world, "mypod1");
    // The reviewer may only review: its own trouble is nobody's refusal.
    let output = log_in(&world, &method, &pods_token);
    output.fails(3, &["read namespaces and service accounts", "ClusterRole"]);

    let cluster = world.cluster();
    cluster
        .allow_reading_subjects("default", "gateway-token-reviewer")
        .unwrap();
    let relabel = |labels: Value| {
        cluster.label_namespace("my-namespace-a", &labels).unwrap();
        // What was read is good for as long as a verdict.
        world.advance(11);
    };
    relabel(json!({ "team": "c" }));
    refused_for(&world, &method, &pods_token, "NAMESPACE_LABELS_NOT_BOUND");
    relabel(json!({ "team": "a" }));
    log_in(&world, &method, &pods_token).success();
    relabel(json!({ "env": "dev" }));
    refused_for(&world, &method, &pods_token, "NAMESPACE_LABELS_NOT_BOUND");
}

#[test]
fn an_account_that_was_made_again_is_another_one() {
    let world = World::start();
    let cluster = world.cluster();
    world.reviewer_token();
    cluster
        .allow_reading_subjects("default", "gateway-token-reviewer")
        .unwrap();
    let selector = [
        "--bound-namespace-selector",
        "kubernetes.io/metadata.name=my-namespace-a",
    ];
    let offline = route(&world, "offline", &selector, &["--mode", "offline"]);
    let pods_token = token(&world, "mypod1");
    log_in(&world, &offline, &pods_token).success();
    world.advance(11);
    // `default` comes back by itself, with another UID.
    cluster
        .delete_service_account("my-namespace-a", "default")
        .unwrap();
    refused_for(&world, &offline, &pods_token, "SERVICE_ACCOUNT_GONE");
    world.advance(11);
    cluster.delete_namespace("my-namespace-a").unwrap();
    refused_for(&world, &offline, &pods_token, "NAMESPACE_GONE");
}
