//! Tokens that end with their pods.

use std::time::Duration;

use kube_sim::Fault;
use serde_json::{Value, json};

use crate::support::{Method, World, eventually};

const PODS: &str = "/api/v1/namespaces/my-namespace-a/pods";
const IN_TIME: Duration = Duration::from_secs(5);
const METHOD: [&str; 3] = [
    "--bound-namespaces=my-namespace-a",
    "--revoke-with-pod",
    "--require-pod",
];

/// A method whose tokens end with their pods, and a config of that name whose reviewer may watch.
fn route(world: &World, name: &str) -> Method {
    let method = world.method_with(name, &METHOD);
    world.config(name, &method);
    let cluster = world.cluster();
    cluster
        .allow_watching_pods("default", "gateway-token-reviewer")
        .unwrap();
    watched(world, name, "WATCHED");
    method
}

fn condition(world: &World, config: &str) -> Option<Value> {
    let config = world.admin.json(&["k8s-auth-config", "get", "-n", config]);
    let conditions = config["conditions"].as_array().unwrap().clone();
    let watched = |c: &Value| c["type"] == "CONDITION_TYPE_PODS_WATCHED";
    conditions.into_iter().find(watched)
}

/// Waits until the condition has that reason.
fn watched(world: &World, config: &str, reason: &str) -> Value {
    eventually(reason, Duration::from_secs(20), || {
        condition(world, config).filter(|condition| condition["reason"] == reason)
    })
}

/// The UID of the pod that logs in.
fn log_in(world: &World, method: &Method, pod: &str) -> String {
    let token = world.pod_token(pod);
    world
        .log_in(&method.access_id, &method.name, &token)
        .success();
    let granted = events(world, "login.granted");
    granted[0]["facts"]["pod_uid"].as_str().unwrap().to_owned()
}

/// Newest first.
fn events(world: &World, kind: &str) -> Vec<Value> {
    let list = world.admin.json(&["audit", "list", "--limit=100"]);
    let events = list["audit_events"].as_array().unwrap().clone();
    events.into_iter().filter(|e| e["event"] == kind).collect()
}

/// Waits for the record that the pod's tokens were revoked.
fn revoked(world: &World, pod_uid: &str) -> Value {
    let resource = format!("pods/{pod_uid}");
    eventually(&resource, IN_TIME, || {
        let revoked = events(world, "tokens.revoked_with_pod");
        revoked.into_iter().find(|e| e["resource"] == *resource)
    })
}

#[test]
fn a_pods_deletion_revokes_its_tokens_within_five_seconds_and_no_others() {
    let world = World::start();
    let method = route(&world, "ending");
    log_in(&world, &method, "mypod1");
    let uid = log_in(&world, &method, "mypod1");
    let other = log_in(&world, &method, "mypod2");
    let token = world.pod_token("mypod1");
    world
        .cluster()
        .delete_pod("my-namespace-a", "mypod1")
        .unwrap();
    let record = revoked(&world, &uid);
    assert_eq!(record["count"], 2, "{record}");
    assert_eq!(record["access_id"], method.access_id);
    assert_eq!(
        record["k8s_auth_config"],
        "gateways/default/k8sAuthConfigs/ending"
    );
    let others = events(&world, "tokens.revoked_with_pod");
    assert!(!json!(others).to_string().contains(&other), "{others:?}");
    // Also where the cluster's yes is still in the cache.
    let refused = world.log_in(&method.access_id, "ending", &token).refused();
    let reason = world.audited(&refused)["reason"].clone();
    assert!(
        reason == "POD_DELETED" || reason == "TOKEN_NOT_AUTHENTICATED",
        "{reason}"
    );
    world.cluster().delete_namespace("my-namespace-a").unwrap();
    revoked(&world, &other);
}

#[test]
fn a_login_by_a_cached_verdict_gets_no_token_once_its_pod_is_deleted() {
    let world = World::start();
    let method = route(&world, "cached");
    let token = world.pod_token("mypod1");
    let login = || world.log_in(&method.access_id, "cached", &token);
    login().success();
    let uid = events(&world, "login.granted")[0]["facts"]["pod_uid"].clone();
    let reviews = world.cluster().reviews();
    world
        .cluster()
        .delete_pod("my-namespace-a", "mypod1")
        .unwrap();
    revoked(&world, uid.as_str().unwrap());
    let refused = login().refused();
    assert_eq!(world.audited(&refused)["reason"], "POD_DELETED");
    assert_eq!(world.cluster().reviews(), reviews, "the verdict was cached");
}

#[test]
fn a_deletion_while_the_gateway_was_away_is_found_when_it_comes_back() {
    let mut world = World::start();
    let method = route(&world, "away");
    let gone = log_in(&world, &method, "mypod1");
    log_in(&world, &method, "mypod2");
    world.stop_gateway();
    world
        .cluster()
        .delete_pod("my-namespace-a", "mypod1")
        .unwrap();
    world.start_gateway();
    world.ready();
    revoked(&world, &gone);
    assert_eq!(events(&world, "tokens.revoked_with_pod").len(), 1);
}

#[test]
fn a_deletion_while_the_watch_was_broken_is_found_by_a_new_list() {
    let world = World::start();
    let method = route(&world, "broken");
    let gone = log_in(&world, &method, "mypod1");
    world.cluster().set_fault_at(PODS, Fault::Status(500));
    world.cluster().end_watches();
    let condition = watched(&world, "broken", "WATCH_FAILED");
    assert_eq!(condition["status"], "CONDITION_STATUS_FALSE");
    world
        .cluster()
        .delete_pod("my-namespace-a", "mypod1")
        .unwrap();
    world.cluster().compact();
    log_in(&world, &method, "mypod2");
    world.cluster().set_fault_at(PODS, Fault::None);
    watched(&world, "broken", "WATCHED");
    revoked(&world, &gone);
    assert_eq!(events(&world, "tokens.revoked_with_pod").len(), 1);
}

#[test]
fn a_watch_that_is_too_old_begins_anew_and_misses_nothing() {
    let world = World::start();
    let method = route(&world, "old");
    let first = log_in(&world, &method, "mypod1");
    world.cluster().compact();
    world.cluster().end_watches();
    world
        .cluster()
        .delete_pod("my-namespace-a", "mypod1")
        .unwrap();
    revoked(&world, &first);
    let second = log_in(&world, &method, "mypod2");
    world
        .cluster()
        .delete_pod("my-namespace-a", "mypod2")
        .unwrap();
    revoked(&world, &second);
}

#[test]
fn where_pods_cant_be_watched_logins_go_on_and_the_condition_says_what_to_do() {
    let world = World::start();
    let method = world.method_with("unwatched", &METHOD);
    world.config("unwatched", &method);
    let condition = watched(&world, "unwatched", "PODS_FORBIDDEN");
    assert_eq!(condition["status"], "CONDITION_STATUS_FALSE", "{condition}");
    let fix = condition["fix"].as_str().unwrap();
    assert!(fix.contains("manifest reviewer --with-pods"), "{fix}");
    let doctor = world.admin.run(&["doctor", "unwatched"]);
    assert_eq!(doctor.code, 1, "{}", doctor.stderr);
    assert!(doctor.stdout.contains("✗ PodsWatched"), "{}", doctor.stdout);
    log_in(&world, &method, "mypod1");

    let cluster = world.cluster();
    cluster
        .allow_watching_pods("default", "gateway-token-reviewer")
        .unwrap();
    watched(&world, "unwatched", "WATCHED");
    let off = [
        "update-auth-method-k8s",
        "-n",
        "unwatched",
        "--revoke-with-pod=false",
    ];
    world.admin.ok(&off);
    eventually("no condition", IN_TIME, || {
        self::condition(&world, "unwatched").is_none().then_some(())
    });
}

#[test]
fn rules_without_names_of_namespaces_watch_all_and_that_is_said() {
    let world = World::start();
    let create = ["auth-method", "create", "k8s", "--revoke-with-pod", "-n"];
    let all = ["wild", "--bound-namespaces=team-*"];
    let output = world.admin.run(&[&create[..], &all].concat());
    assert!(
        output.stderr.contains("pods of all namespaces"),
        "{}",
        output.stderr
    );
    let named = ["named", "--bound-namespaces=team-a"];
    let output = world.admin.run(&[&create[..], &named].concat());
    assert!(
        !output.stderr.contains("all namespaces"),
        "{}",
        output.stderr
    );
    let shown = world.admin.json(&["get-auth-method", "-n", "named"]);
    assert_eq!(shown["kubernetes"]["revoke_with_pod"], true, "{shown}");
}
