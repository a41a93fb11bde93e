//! `postern doctor`: every condition made to fail for real, and what it then says.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube_sim::{Fault, KubeSim, Options, TokenOptions};
use serde_json::{Value, json};

use crate::support::{Method, World, eventually, free_port};

/// The condition of that type: status, reason, fix.
fn condition(document: &Value, kind: &str) -> (String, String, String) {
    let conditions = document["conditions"].as_array().unwrap();
    let kind = format!("CONDITION_TYPE_{kind}");
    let condition = conditions.iter().find(|c| c["type"] == kind);
    let condition = condition.unwrap_or_else(|| panic!("{kind} in {document}"));
    let text = |field: &str| condition[field].as_str().unwrap().to_owned();
    let status = text("status").replace("CONDITION_STATUS_", "");
    (status, text("reason"), text("fix"))
}

/// Runs doctor, which must fail, and returns what it found.
#[track_caller]
fn sick(world: &World, args: &[&str]) -> Value {
    let output = world.admin.run(&[&["doctor"], args, &["--json"]].concat());
    assert_eq!(output.code, 1, "{}{}", output.stdout, output.stderr);
    assert!(output.stderr.contains("hold"), "{}", output.stderr);
    serde_json::from_str(&output.stdout).unwrap()
}

#[track_caller]
fn assert_fails(document: &Value, kind: &str, reason: &str) {
    let (status, found, fix) = condition(document, kind);
    assert_eq!(
        (status.as_str(), found.as_str()),
        ("FALSE", reason),
        "{document}"
    );
    assert!(!fix.is_empty(), "{document}");
}

/// Flags of a draft for that cluster.
fn draft<'a>(cluster: &'a KubeSim, ca: &'a str, reviewer: &'a str) -> Vec<&'a str> {
    vec![
        "--k8s-host",
        cluster.host(),
        "--k8s-ca-cert",
        ca,
        "--token-reviewer-jwt",
        reviewer,
        "--k8s-issuer",
        cluster.issuer(),
    ]
}

/// A gateway that may talk to any API server.
fn world_without_list() -> World {
    let mut world = World::start();
    let path = world.stack().deployment().gateway_config();
    let mut file = world.gateway_file();
    file.as_object_mut().unwrap().remove("api_servers");
    world.stop_gateway();
    std::fs::write(path, file.to_string()).unwrap();
    world.start_gateway();
    world.ready();
    world
}

fn cluster(world: &World, options: Options) -> KubeSim {
    world.block_on(KubeSim::start(options)).unwrap()
}

#[test]
fn a_healthy_config_has_every_condition_and_doctor_is_content() {
    let world = World::start();
    world.route("healthy");
    let document = world.admin.json(&["doctor", "healthy"]);
    for kind in [
        "SEAL_INTACT",
        "API_SERVER_ALLOWED",
        "REACHABLE",
        "CA_TRUSTED",
        "REVIEWER_AUTHORIZED",
        "ISSUER_MATCHES",
        "AUDIENCE_ACCEPTED",
        "CLOCK_SYNCHRONISED",
        "CREDENTIAL_FRESH",
    ] {
        assert_eq!(condition(&document, kind).0, "TRUE", "{kind}: {document}");
    }
    let text = world.admin.ok(&["doctor", "healthy"]);
    assert!(
        text.contains("✓ Reachable") && !text.contains('✗'),
        "{text}"
    );
    world
        .admin
        .run(&["doctor", "nowhere"])
        .fails(4, &["nowhere"]);
    world
        .admin
        .run(&["doctor"])
        .fails(2, &["name a K8s auth config"]);
}

#[test]
fn a_draft_is_tried_and_not_stored() {
    let world = World::start();
    let cluster = world.cluster();
    let reviewer = world.reviewer_token();
    let document = world.admin.json(
        &[
            &["doctor"][..],
            &draft(cluster, cluster.ca_pem(), &reviewer),
        ]
        .concat(),
    );
    assert_eq!(condition(&document, "REVIEWER_AUTHORIZED").0, "TRUE");
    let configs = world.admin.json(&["k8s-auth-config", "list"]);
    assert_eq!(configs["k8s_auth_configs"], json!([]));
}

#[test]
fn each_failure_of_a_cluster_has_its_own_reason_and_says_what_to_do() {
    let world = world_without_list();
    let cluster = world.cluster();
    let reviewer = world.reviewer_token();
    let sick = |args: &[&str]| sick(&world, args);
    let other = self::cluster(&world, Options::default());

    let wrong_ca = draft(cluster, other.ca_pem(), &reviewer);
    assert_fails(&sick(&wrong_ca), "CA_TRUSTED", "CA_MISMATCH");

    let named = [
        &draft(cluster, cluster.ca_pem(), &reviewer)[..],
        &["--tls-server-name", "elsewhere.example"],
    ]
    .concat();
    assert_fails(&sick(&named), "CA_TRUSTED", "SERVER_NAME_MISMATCH");

    let mut closed = draft(cluster, cluster.ca_pem(), &reviewer);
    let nobody = format!("https://127.0.0.1:{}", free_port());
    closed[1] = &nobody;
    let document = sick(&closed);
    assert_fails(&document, "REACHABLE", "CONNECTION_REFUSED");
    assert_eq!(condition(&document, "CA_TRUSTED").0, "UNKNOWN");

    closed[1] = "https://no-such-host.invalid";
    assert_fails(&sick(&closed), "REACHABLE", "DNS_FAILED");

    let mut issuer = draft(cluster, cluster.ca_pem(), &reviewer);
    issuer[7] = "https://another-issuer";
    let text = world.admin.run(&[&["doctor"][..], &issuer].concat());
    assert!(text.stdout.contains(cluster.issuer()), "{}", text.stdout);
    assert!(text.stdout.contains("✗ IssuerMatches"), "{}", text.stdout);
    assert_fails(&sick(&issuer), "ISSUER_MATCHES", "ISSUER_DIFFERS");
}

#[test]
fn a_reviewer_that_isnt_known_and_one_that_may_not_review_are_two_failures() {
    let world = World::start();
    let cluster = world.cluster();
    let unbound = cluster
        .legacy_token("default", "default", "no-rights")
        .unwrap();
    let forbidden = sick(&world, &draft(cluster, cluster.ca_pem(), &unbound));
    assert_fails(&forbidden, "REVIEWER_AUTHORIZED", "REVIEWER_FORBIDDEN");
    assert_eq!(condition(&forbidden, "REACHABLE").0, "TRUE");
    cluster.delete_secret("default", "no-rights").unwrap();
    let unknown = sick(&world, &draft(cluster, cluster.ca_pem(), &unbound));
    assert_fails(&unknown, "REVIEWER_AUTHORIZED", "REVIEWER_UNAUTHENTICATED");
}

#[test]
fn a_clock_that_differs_is_said_with_the_seconds() {
    let world = world_without_list();
    for (seconds, words) in [(95, "ahead of"), (-45, "behind")] {
        let shift = SignedDuration::from_secs(seconds);
        let clock = Arc::new(move || Timestamp::now() + shift);
        let cluster = self::cluster(
            &world,
            Options {
                clock,
                ..Options::default()
            },
        );
        let reviewer = cluster.reviewer_token("default", "reviewer").unwrap();
        let document = sick(&world, &draft(&cluster, cluster.ca_pem(), &reviewer));
        assert_fails(&document, "CLOCK_SYNCHRONISED", "CLOCK_DIFFERS");
        assert!(document.to_string().contains(words), "{document}");
    }
}

#[test]
fn a_credential_that_ends_within_a_week_is_said_with_its_date() {
    let world = World::start();
    let cluster = world.cluster();
    world.reviewer_token();
    let lasting = |days: u64| {
        let options = TokenOptions {
            expiration: Some(Duration::from_secs(days * 86_400)),
            ..TokenOptions::default()
        };
        cluster
            .create_token("default", "gateway-token-reviewer", &options)
            .unwrap()
    };
    let document = sick(&world, &draft(cluster, cluster.ca_pem(), &lasting(6)));
    assert_fails(&document, "CREDENTIAL_FRESH", "EXPIRES_SOON");
    let fresh = lasting(8);
    let args = [&["doctor"][..], &draft(cluster, cluster.ca_pem(), &fresh)].concat();
    assert_eq!(
        condition(&world.admin.json(&args), "CREDENTIAL_FRESH").1,
        "FRESH"
    );
}

#[test]
fn an_api_server_that_isnt_the_gateways_to_talk_to_isnt_asked() {
    let world = World::start();
    let other = cluster(&world, Options::default());
    let reviewer = other.reviewer_token("default", "reviewer").unwrap();
    let document = sick(&world, &draft(&other, other.ca_pem(), &reviewer));
    assert_fails(&document, "API_SERVER_ALLOWED", "NOT_IN_LIST");
    assert_eq!(condition(&document, "REACHABLE").0, "UNKNOWN");
    assert_eq!(other.reviews(), 0);
}

#[test]
fn an_answer_that_is_none_and_one_that_doesnt_come_are_told_apart_in_time() {
    let world = World::start();
    world.route("c");
    for (fault, kind, reason) in [
        (Fault::Html, "REACHABLE", "NOT_AN_API_SERVER"),
        (Fault::Status(500), "REACHABLE", "SERVER_ERROR"),
        (
            Fault::Redirect("https://x".to_owned()),
            "REACHABLE",
            "REDIRECTED",
        ),
        (
            Fault::Patch(json!({ "audiences": null })),
            "AUDIENCE_ACCEPTED",
            "AUDIENCE_REFUSED",
        ),
    ] {
        world.cluster().set_fault(fault);
        assert_fails(&sick(&world, &["c"]), kind, reason);
    }
    world.cluster().set_fault(Fault::Hang);
    let document = sick(&world, &["c", "--timeout", "4s"]);
    assert_fails(&document, "REACHABLE", "TIMED_OUT");
    assert_eq!(condition(&document, "ISSUER_MATCHES").0, "TRUE");
}

#[test]
fn audiences_that_the_method_lists_are_asked_about() {
    let world = World::start();
    let method: Method = world.method_with(
        "listed",
        &["--audience=postern", "--bound-namespaces=my-namespace-a"],
    );
    world.config("listed", &method);
    let document = world.admin.json(&["doctor", "listed"]);
    let (status, reason, _) = condition(&document, "AUDIENCE_ACCEPTED");
    assert_eq!((status.as_str(), reason.as_str()), ("TRUE", "JUDGED"));
}

#[test]
fn conditions_are_data_on_the_config_and_follow_the_cluster_by_themselves() {
    let world = World::checked_every(Duration::from_millis(200));
    world.route("c");
    let reason = || {
        let config = world.admin.json(&["k8s-auth-config", "get", "-n", "c"]);
        let conditions = config["conditions"].as_array().unwrap().clone();
        let authorized = |c: &&Value| c["type"] == "CONDITION_TYPE_REVIEWER_AUTHORIZED";
        let condition = conditions.iter().find(authorized).cloned();
        condition.map(|c| (c["reason"].clone(), c["change_time"].clone()))
    };
    let limit = Duration::from_secs(10);
    let is = |wanted: &'static str| {
        eventually(wanted, limit, || reason().filter(|(r, _)| r == wanted)).1
    };
    let first = is("AUTHORIZED");
    world.cluster().set_fault(Fault::Status(403));
    let second = is("REVIEWER_FORBIDDEN");
    assert_ne!(first, second, "the time of its change");
    assert_eq!(is("REVIEWER_FORBIDDEN"), second, "which stays");
}

#[test]
fn a_mode_that_needs_the_clusters_keys_has_a_condition_of_them_with_a_fix_for_each_failure() {
    const KEYS: &str = "/openid/v1/jwks";
    let world = World::start();
    let (cluster, reviewer) = (world.cluster(), world.reviewer_token());
    let mode = ["--mode", "jwks_then_review"];
    let args = [&draft(cluster, cluster.ca_pem(), &reviewer)[..], &mode].concat();
    let healthy = world.admin.json(&[&["doctor"][..], &args].concat());
    let (status, reason, _) = condition(&healthy, "KEYS_AVAILABLE");
    assert_eq!((status.as_str(), reason.as_str()), ("TRUE", "FETCHED"));
    let message = healthy["conditions"].to_string();
    assert!(message.contains("publishes 1 keys"), "{message}");

    for (fault, reason, fix) in [
        (Fault::Status(403), "KEYS_FORBIDDEN", "--with-discovery"),
        (Fault::Status(500), "FETCH_FAILED", "--jwks-file"),
        (
            Fault::Body("{}".to_owned()),
            "NO_USABLE_KEYS",
            "/openid/v1/jwks",
        ),
        (
            Fault::Patch(json!({ "keys": [] })),
            "NO_USABLE_KEYS",
            "/openid/v1/jwks",
        ),
    ] {
        cluster.set_fault_at(KEYS, fault);
        let document = sick(&world, &args);
        assert_fails(&document, "KEYS_AVAILABLE", reason);
        let found = condition(&document, "KEYS_AVAILABLE");
        assert!(found.2.contains(fix), "{found:?}");
    }
    cluster.set_fault_at(KEYS, Fault::None);
    let mut other = args.clone();
    other[7] = "https://another-issuer";
    assert_fails(&sick(&world, &other), "KEYS_AVAILABLE", "ISSUER_DIFFERS");

    let review = draft(cluster, cluster.ca_pem(), &reviewer);
    let review = world.admin.json(&[&["doctor"][..], &review].concat());
    let named = review["conditions"].to_string().contains("KEYS_AVAILABLE");
    assert!(!named, "a review needs no keys: {review}");
}
