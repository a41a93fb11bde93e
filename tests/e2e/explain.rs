//! `postern explain` and `postern simulate`: what a login would say, without one.

use kube_sim::{Fault, TokenOptions};
use serde_json::Value;

use crate::support::{Method, Output, World};

fn explain(world: &World, config: &str, token: &str, more: &[&str]) -> Output {
    let args = ["explain", "--config", config, "--token-file", "-", "--json"];
    world.admin.run_with_stdin(&[&args, more].concat(), token)
}

/// An explanation, whatever it says.
#[track_caller]
fn explained(world: &World, config: &str, token: &str, more: &[&str]) -> Value {
    let output = explain(world, config, token, more);
    let document: Value = serde_json::from_str(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", output.stderr));
    let allowed = document["allowed"] == true;
    assert_eq!(output.code, i32::from(!allowed), "{}", output.stderr);
    document
}

fn events(world: &World, kind: &str) -> Vec<Value> {
    let list = world.admin.json(&["audit", "list", "--limit=500"]);
    let events = list["audit_events"].as_array().unwrap();
    events
        .iter()
        .filter(|event| event["event"] == kind)
        .cloned()
        .collect()
}

struct Case {
    what: &'static str,
    method: Method,
    config: &'static str,
    token: String,
}

fn cases(world: &World) -> Vec<Case> {
    let cluster = world.cluster();
    let mypod1 = world.pod_token("mypod1");
    let other_namespace = cluster.pod_token("my-namespace-b", "mypod1").unwrap();
    let podless = TokenOptions::default();
    let podless = cluster
        .create_token("my-namespace-a", "default", &podless)
        .unwrap();
    let elsewhere = TokenOptions {
        pod: Some("mypod1".to_owned()),
        audiences: vec!["vault".to_owned()],
        ..TokenOptions::default()
    };
    let elsewhere = cluster
        .create_token("my-namespace-a", "default", &elsewhere)
        .unwrap();
    let legacy = cluster
        .legacy_token("my-namespace-a", "default", "legacy")
        .unwrap();
    let (head, _) = mypod1.rsplit_once('.').unwrap();
    let tampered = format!("{head}.c2lnbmF0dXJl");
    let (_, rest) = mypod1.split_once('.').unwrap();
    let unsigned = format!("eyJhbGciOiJub25lIn0.{rest}");
    let case = |what, config, token: &str| {
        let method = world.route(config);
        Case {
            what,
            method,
            config,
            token: token.to_owned(),
        }
    };
    let cases = vec![
        case("another pod", "pod", &world.pod_token("mypod3")),
        case("another namespace", "namespace", &other_namespace),
        case("no pod", "podless", &podless),
        case("another service's token", "audience", &elsewhere),
        case("a Secret's token", "legacy", &legacy),
        case("a signature that is none", "tampered", &tampered),
        case("alg none", "unsigned", &unsigned),
        case("a disabled method", "disabled", &mypod1),
        case("a disabled config", "off", &mypod1),
        case("an expired method", "expired", &mypod1),
        case("an address that isn't bound", "address", &mypod1),
        case("an audience that is listed", "listed", &mypod1),
    ];
    for change in [
        &["update-auth-method-k8s", "-n", "disabled", "--disabled"][..],
        &["gateway-update-k8s-auth-config", "-n", "off", "--disabled"],
        &[
            "update-auth-method-k8s",
            "-n",
            "expired",
            "--access-expires",
            "1000000000",
        ],
        &[
            "update-auth-method-k8s",
            "-n",
            "address",
            "--bound-ips",
            "10.9.9.0/24",
        ],
        &[
            "update-auth-method-k8s",
            "-n",
            "listed",
            "--audience",
            "postern",
        ],
    ] {
        world.admin.ok(change);
    }
    cases
}

#[test]
fn an_explanation_is_what_a_login_then_records() {
    let world = World::start();
    let cases = cases(&world);
    for case in &cases {
        let request_id = world
            .log_in(&case.method.access_id, case.config, &case.token)
            .refused();
        let recorded = world.audited(&request_id);
        let ip = ["--client-ip", "127.0.0.1"];
        let explained = explained(&world, case.config, &case.token, &ip);
        assert_eq!(explained["allowed"], false, "{}", case.what);
        assert_eq!(explained["reason"], recorded["reason"], "{}", case.what);
        assert_eq!(explained["rule"], recorded["rule"], "{}", case.what);
        let checks = explained["checks"].as_array().unwrap();
        let refused = checks.iter().any(|c| c["reason"] == explained["reason"]);
        assert!(refused, "{}: {explained}", case.what);
        if recorded["facts"].is_object() {
            let facts = |of: &Value| of["facts"]["pod_uid"].clone();
            assert_eq!(facts(&explained), facts(&recorded), "{}", case.what);
        }
    }
    let unknown = explained(&world, "nowhere", &world.pod_token("mypod1"), &[]);
    assert_eq!(unknown["reason"], "CONFIG_UNKNOWN");
}

#[test]
fn an_explanation_issues_nothing_and_is_no_login_in_the_audit() {
    let world = World::start();
    let method = world.route("good");
    let token = world.pod_token("mypod1");
    let explained = explained(&world, "good", &token, &["--client-ip", "10.2.3.4"]);
    assert_eq!(explained["allowed"], true, "{explained}");
    assert_eq!(explained["rule"], 0);
    assert_eq!(explained["facts"]["pod_name"], "mypod1");
    assert_eq!(explained["access_id"], method.access_id);
    assert!(!explained.to_string().contains("t-"), "{explained}");

    let text = world.admin.file("token", &token);
    let text = world
        .admin
        .ok(&["explain", "--config", "good", "--token-file", &text]);
    assert!(text.contains("✓ rule[0].namespaces"), "{text}");
    assert!(text.contains("allowed by rule 0"), "{text}");

    let asked = crate::support::eventually("the record", std::time::Duration::from_secs(3), || {
        Some(events(&world, "login.explained")).filter(|events| events.len() == 2)
    });
    let admin = &world.stack().admin().access_id;
    assert_eq!(asked[0]["access_id"], *admin, "who asked");
    assert_eq!(asked[0]["resource"], "authMethods/good");
    assert!(asked[0]["accessor"].as_str().is_some_and(|a| !a.is_empty()));
    assert_eq!(events(&world, "login.granted").len(), 0);
    assert_eq!(events(&world, "login.denied").len(), 0);
}

#[test]
fn what_is_no_token_and_a_cluster_that_gives_no_verdict_are_no_explanations() {
    let world = World::start();
    world.route("c");
    explain(&world, "c", "no-token", &[]).fails(2, &["three parts"]);
    let token = world.pod_token("mypod1");
    world.cluster().set_fault(Fault::Status(403));
    let error = explain(&world, "c", &token, &["--timeout=2s"]);
    error.fails(3, &["doesn't let the reviewer create TokenReviews"]);
}

#[test]
fn a_described_pod_gets_the_verdict_that_a_real_one_would() {
    let world = World::start();
    let method = world.route("c");
    let simulate = |more: &[&str]| {
        let args = ["simulate", "--namespace", "my-namespace-a", "--json"];
        let output = world.admin.run(&[&args[..], more].concat());
        let document: Value = serde_json::from_str(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", output.stderr));
        assert_eq!(output.code, i32::from(document["allowed"] != true));
        document
    };
    assert_eq!(
        simulate(&["--config", "c", "--pod", "mypod1"])["allowed"],
        true
    );
    let by_id = ["--access-id", &method.access_id, "--pod", "mypod3"];
    assert_eq!(simulate(&by_id)["reason"], "POD_NAME_NOT_BOUND");
    assert_eq!(simulate(&["--config", "c"])["reason"], "POD_MISSING");
    let elsewhere = ["--config", "c", "--pod", "mypod1", "--audience", "vault"];
    assert_eq!(simulate(&elsewhere)["reason"], "AUDIENCE_NOT_CONFIRMED");

    let draft = world.admin.file(
        "draft.yaml",
        "kubernetes:\n  rules:\n  - namespace_selector: {match_labels: {team: pay}}\n    nodes: ['node-*']\n",
    );
    let draft = ["--draft-file", &draft, "--node", "node-1"];
    let labelled = [&draft[..], &["--namespace-label", "team=pay"]].concat();
    assert_eq!(simulate(&labelled)["allowed"], true);
    assert_eq!(simulate(&draft)["allowed"], false);
    assert_eq!(world.cluster().reviews(), 0, "nobody was asked");
    let args = ["simulate", "--namespace", "A", "--config", "c"];
    world.admin.run(&args).fails(2, &["namespace"]);
    let args = ["simulate", "--namespace", "a", "--config", "nowhere"];
    world.admin.run(&args).fails(4, &["nowhere"]);
}

#[test]
fn an_explanation_says_when_the_verdict_was_known_from_a_moment_ago() {
    let world = World::start();
    world.route("c");
    let (good, bad) = (world.pod_token("mypod1"), world.pod_token("mypod2"));
    world
        .cluster()
        .delete_pod("my-namespace-a", "mypod2")
        .unwrap();
    for (token, allowed) in [(&good, true), (&bad, false)] {
        let first = explained(&world, "c", token, &["--client-ip", "10.2.3.4"]);
        assert_eq!(first["allowed"], allowed, "{first}");
        assert!(first["cached"] != true, "{first}");
        let reviews = world.cluster().reviews();
        let second = explained(&world, "c", token, &["--client-ip", "10.2.3.4"]);
        assert_eq!(second["cached"], true, "{second}");
        assert_eq!(second["reason"], first["reason"]);
        assert!(
            second.to_string().contains("known from a moment ago"),
            "{second}"
        );
        assert_eq!(world.cluster().reviews(), reviews, "nobody was asked");
    }
    assert_eq!(
        events(&world, "login.granted").len(),
        0,
        "nothing is issued"
    );
}

#[test]
fn a_record_says_whether_the_verdict_was_cached_and_how_long_the_review_took() {
    let world = World::start();
    let method = world.route("c");
    let token = world.pod_token("mypod3");
    let mut facts = Vec::new();
    for _ in 0..2 {
        let request = world.log_in(&method.access_id, "c", &token).refused();
        facts.push(world.audited(&request)["facts"].clone());
    }
    assert!(facts[0]["review_ms"].is_number(), "{facts:?}");
    assert!(facts[0]["cached"] != true, "{facts:?}");
    assert_eq!(facts[1]["cached"], true, "{facts:?}");
    assert!(facts[1]["review_ms"].is_null(), "{facts:?}");
    let granted = world.pod_token("mypod1");
    world.log_in(&method.access_id, "c", &granted).success();
    let record = &events(&world, "login.granted")[0];
    assert!(record["facts"]["review_ms"].is_number(), "{record}");
}

#[test]
fn a_simulation_says_what_it_didnt_ask_and_takes_an_issuer_for_a_config() {
    let world = World::start();
    let args = [
        "--bound-namespaces=my-namespace-a",
        "--single-use",
        "--gw-bound-ips=127.0.0.0/8",
    ];
    let method = world.method_with("c", &args);
    world.config("c", &method);
    let simulate = |more: &[&str]| {
        let args = ["simulate", "--namespace", "my-namespace-a", "--config", "c"];
        world.admin.run(&[&args[..], &["--json"], more].concat())
    };
    let document = |output: &Output| -> Value { serde_json::from_str(&output.stdout).unwrap() };
    let plain = document(&simulate(&[]));
    assert_eq!(plain["allowed"], true, "{plain}");
    let notes = plain["notes"].to_string();
    for note in [
        "gw_bound_ips: 127.0.0.0/8",
        "takes a token once",
        "not simulated: the token's issuer",
        "not simulated: the token's form and signature",
    ] {
        assert!(notes.contains(note), "{note}: {notes}");
    }
    let issuer = world.cluster().issuer().to_owned();
    let known = document(&simulate(&["--issuer", &issuer]));
    assert_eq!(known["allowed"], true, "{known}");
    assert!(
        !known["notes"].to_string().contains("token's issuer"),
        "{known}"
    );
    let other = simulate(&["--issuer", "https://elsewhere"]);
    assert_eq!(document(&other)["reason"], "TOKEN_ISSUER_NOT_TRUSTED");
    let late = [
        "--issued=2020-01-01T00:00:00Z",
        "--expires=2020-01-01T01:00:00Z",
    ];
    let late = document(&simulate(&late));
    assert_eq!(late["reason"], "TOKEN_EXPIRED", "{late}");
    let by_id = [
        "simulate",
        "--namespace=a",
        "--issuer=https://x",
        "--access-id",
        &method.access_id,
    ];
    world.admin.run(&by_id).fails(2, &["issuer", "name one"]);

    let real = explained(
        &world,
        "c",
        &world.pod_token("mypod1"),
        &["--client-ip", "10.2.3.4"],
    );
    let notes = real["notes"].to_string();
    assert!(
        notes.contains("takes a token once") && notes.contains("gw_bound_ips"),
        "{notes}"
    );
    assert!(!notes.contains("not simulated"), "{notes}");
}
