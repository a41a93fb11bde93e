//! Rules from the command line to the login: nodes, selectors, conditions, and files of them.

use serde_json::{Value, json};

use crate::support::{Method, Output, World};

const NAMESPACE: [&str; 2] = ["--bound-namespaces", "my-namespace-a"];

/// A method and a config of one name, with a rule of these flags beside the namespace.
fn route(world: &World, name: &str, flags: &[&str]) -> Method {
    let method = world.method_with(name, &[&NAMESPACE[..], flags].concat());
    world.config(name, &method);
    method
}

fn log_in(world: &World, method: &Method) -> Result<(), String> {
    log_in_from(world, method, "mypod1")
}

fn log_in_from(world: &World, method: &Method, pod: &str) -> Result<(), String> {
    let token = world.pod_token(pod);
    let output = world.log_in(&method.access_id, &method.name, &token);
    if output.code == 0 {
        return Ok(());
    }
    let record = world.audited(&output.refused());
    Err(record["reason"].as_str().unwrap().to_owned())
}

/// For methods that ask for labels; another test may have done it already.
fn let_labels_be_read(world: &World) {
    let reviewer = ("default", "gateway-token-reviewer");
    let _already = world
        .cluster()
        .allow_reading_subjects(reviewer.0, reviewer.1);
}

fn rule(world: &World, name: &str) -> Value {
    world.admin.json(&["get-auth-method", "-n", name])["kubernetes"]["rules"][0].clone()
}

#[test]
fn a_rule_binds_nodes_from_the_command_line() {
    let world = World::shared();
    // Pods live in a namespace; another test may have made it already.
    world.pod_token("mypod1");
    let on = |node, pod| {
        world
            .cluster()
            .create_pod_on(node, "my-namespace-a", pod, "default")
    };
    on("gpu-1", "trainer").unwrap();
    on("cpu-1", "runner").unwrap();
    let method = route(&world, "nodes", &["--bound-node-names", "gpu-*,tpu-?"]);
    assert_eq!(log_in_from(&world, &method, "trainer"), Ok(()));
    for (pod, reason) in [
        ("runner", "NODE_NAME_NOT_BOUND"),
        ("mypod1", "NODE_MISSING"),
    ] {
        let denied = log_in_from(&world, &method, pod);
        assert_eq!(denied, Err(reason.to_owned()), "{pod}");
    }
    let update = ["update-auth-method-k8s", "-n", "nodes"];
    let clear = ["--clear", "bound_node_names"];
    world.admin.ok(&[&update[..], &clear].concat());
    assert_eq!(log_in_from(&world, &method, "runner"), Ok(()));
    assert_eq!(rule(&world, "nodes")["nodes"], json!([]));
}

#[test]
fn a_rule_carries_a_condition_from_the_command_line() {
    let world = World::shared();
    let_labels_be_read(&world);
    let met = "facts.pod_name.startsWith('mypod') && facts.mode == 'review'";
    let method = route(&world, "conditions/met", &["--condition", met]);
    assert_eq!(log_in(&world, &method), Ok(()));
    assert_eq!(rule(&world, "conditions/met")["condition"], json!(met));
    let update = |flags: &[&str]| {
        let update = ["update-auth-method-k8s", "-n", "conditions/met"];
        world.admin.run(&[&update[..], flags].concat())
    };
    update(&["--condition", "facts.pod_name != 'mypod1'"]).success();
    assert_eq!(log_in(&world, &method), Err("CONDITION_NOT_MET".to_owned()));
    // A fact that isn't there is no value, and that is a no.
    update(&["--condition", "facts.namespace_labels.team != 'a'"]).success();
    let failed = log_in(&world, &method);
    assert_eq!(failed, Err("CONDITION_FAILED".to_owned()));
    update(&["--condition", "facts.nmespace == 'a'"])
        .fails(2, &["--condition", "`facts.nmespace` is no fact"]);
    update(&["--condition", "facts.namespace"]).fails(2, &["must be true or false"]);
    update(&["--condition", ""]).fails(2, &["--condition"]);
    update(&["--condition", "true", "--clear", "condition"]).fails(2, &["exclude each other"]);
    update(&["--clear", "condition"]).success();
    assert_eq!(log_in(&world, &method), Ok(()));
}

#[test]
fn a_condition_alone_restricts_nothing() {
    let world = World::shared();
    let create = ["create-auth-method-k8s", "-n", "conditions/alone"];
    let condition = ["--condition", "facts.namespace == 'my-namespace-a'"];
    let refused = world.admin.run(&[&create[..], &condition].concat());
    refused.fails(2, &["--any-namespace", "--allow-any"]);
}

#[test]
fn a_selector_goes_in_as_kubectl_takes_it_and_comes_out_whole() {
    let world = World::shared();
    let text = "team in (a,b),!legacy,env=prod";
    let create = ["create-auth-method-k8s", "-n", "selectors/text"];
    let selector = ["--bound-namespace-selector", text];
    world.admin.json(&[&create[..], &selector].concat());
    let stored = rule(&world, "selectors/text")["namespace_selector"].clone();
    assert_eq!(stored["match_labels"], json!({ "env": "prod" }));
    assert_eq!(
        stored["match_expressions"],
        json!([
            { "key": "team", "operator": "LABEL_SELECTOR_OPERATOR_IN", "values": ["a", "b"] },
            { "key": "legacy", "operator": "LABEL_SELECTOR_OPERATOR_DOES_NOT_EXIST", "values": [] },
        ])
    );
    for (text, what) in [
        ("", "--bound-namespace-selector"),
        ("team=", "a value is empty"),
        ("team in ()", "a value is empty"),
        ("team>1", "`,` must stand between"),
        ("team=a b", "`,` must stand between"),
        ("Example.com/team=a", "can't be a label's key"),
        ("!legacy", "--any-namespace"),
        ("team,!team", "it matches nothing"),
    ] {
        let create = ["create-auth-method-k8s", "-n", "selectors/bad"];
        let selector = ["--bound-namespace-selector", text];
        let output = world.admin.run(&[&create[..], &selector].concat());
        output.fails(2, &[what]);
    }
    let update = ["update-auth-method-k8s", "-n", "selectors/text"];
    let change = [
        "--clear",
        "bound_namespace_selector",
        "--bound-namespaces",
        "a",
    ];
    world.admin.ok(&[&update[..], &change].concat());
    assert_eq!(
        rule(&world, "selectors/text")["namespace_selector"],
        Value::Null
    );
}

#[test]
fn several_rules_come_from_a_file_and_a_second_time_change_nothing() {
    let world = World::shared();
    let_labels_be_read(&world);
    let file = world.admin.file(
        "method.yaml",
        "kind: AuthMethod
name: apply/method
description: two rules
token_ttl: 10m
kubernetes:
  rules:
    - namespaces: [my-namespace-b]
      serviceAccounts: [deployer]
    - namespace_selector:
        matchExpressions:
          - {key: team, operator: In, values: [payments]}
          - {key: legacy, operator: DoesNotExist}
      condition: facts.mode == 'review'
    - namespaces: [my-namespace-a]
      pods: [mypod1]
",
    );
    let apply = |more: &[&str]| {
        let apply = ["apply", "-f", &file, "--json"];
        world.admin.run(&[&apply[..], more].concat()).document()["results"][0].clone()
    };
    let dry = apply(&["--dry-run"]);
    assert_eq!(dry["result"], "created");
    assert_eq!(dry["prv_key"], Value::Null);
    let absent = world.admin.run(&["get-auth-method", "-n", "apply/method"]);
    absent.fails(4, &[]);

    let created = apply(&[]);
    assert_eq!(created["result"], "created");
    let method = Method {
        name: "apply/method".to_owned(),
        access_id: created["access_id"].as_str().unwrap().to_owned(),
        prv_key: created["prv_key"].as_str().unwrap().to_owned(),
    };
    world.config("apply/method", &method);
    assert_eq!(log_in(&world, &method), Ok(()));

    let before = world.admin.json(&["get-auth-method", "-n", "apply/method"]);
    let again = apply(&[]);
    assert_eq!(again["result"], "unchanged");
    assert_eq!(again["diff"], "");
    let after = world.admin.json(&["get-auth-method", "-n", "apply/method"]);
    assert_eq!(before, after, "not even its revision");

    // Flags can't say which of the rules they mean.
    let update = ["update-auth-method-k8s", "-n", "apply/method"];
    let flags = ["--bound-pod-names", "mypod2"];
    let refused = world.admin.run(&[&update[..], &flags].concat());
    refused.fails(2, &["has 3 rules", "postern apply -f"]);
}

#[test]
fn a_dry_run_shows_the_difference_and_a_run_makes_it() {
    let world = World::shared();
    let method = route(&world, "apply/changed", &["--bound-pod-names", "mypod1"]);
    let document = json!({
        "kind": "AuthMethod",
        "name": "apply/changed",
        "kubernetes": { "rules": [{ "namespaces": ["my-namespace-a"], "pods": ["mypod2"] }] },
    });
    let text = document.to_string();
    let apply = ["apply", "-f", "-"];
    let dry = world
        .admin
        .run_with_stdin(&[&apply[..], &["--dry-run"]].concat(), &text)
        .success();
    assert!(dry.contains("authMethods/apply/changed changed"), "{dry}");
    assert!(dry.contains("-    - mypod1\n+    - mypod2"), "{dry}");
    assert_eq!(log_in(&world, &method), Ok(()));
    world.admin.run_with_stdin(&apply, &text).success();
    assert_eq!(
        log_in(&world, &method),
        Err("POD_NAME_NOT_BOUND".to_owned())
    );
    let public_keys = &world
        .admin
        .json(&["get-auth-method", "-n", "apply/changed"]);
    assert_eq!(
        public_keys["kubernetes"]["public_keys"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn a_file_makes_a_method_and_its_config_with_secrets_from_elsewhere() {
    let world = World::shared();
    let method = world.method("apply/config");
    let key = world.admin.file("apply.key", &method.prv_key);
    let reviewer = world.admin.file("reviewer", &world.reviewer_token());
    let document = json!({
        "kind": "K8sAuthConfig",
        "name": "apply/config",
        "auth_method": "apply/config",
        "k8s_host": world.cluster().host(),
        "k8s_ca_cert": world.cluster().ca_pem(),
        "k8s_issuers": [world.cluster().issuer()],
        "secrets": { "signing_key": { "file": key }, "token_reviewer_jwt": { "file": reviewer } },
    });
    let file = world.admin.file("config.json", &document.to_string());
    let apply = |more: &[&str]| {
        let apply = ["apply", "-f", &file, "--json"];
        world.admin.run(&[&apply[..], more].concat()).document()["results"][0]["result"].clone()
    };
    assert_eq!(apply(&[]), "created");
    assert_eq!(log_in(&world, &method), Ok(()));
    assert_eq!(apply(&[]), "unchanged");
    assert_eq!(apply(&["--replace-secrets"]), "changed");
    assert_eq!(log_in(&world, &method), Ok(()));

    let mut inline = document;
    inline["secrets"]["signing_key"] = json!("secret");
    let refused = world
        .admin
        .run_with_stdin(&["apply", "-f", "-"], &inline.to_string());
    let error = refused.fails(2, &["secrets.signing_key", "{file: PATH}"]);
    assert!(!error.contains("secret\""), "{error}");
}

#[test]
fn a_key_that_was_made_is_shown_though_no_gateway_answers_for_what_comes_after_it() {
    let mut world = World::start();
    world.stop_gateway();
    let method = "kind: AuthMethod\nname: m\nkubernetes: {rules: [{namespaces: [a]}]}\n";
    let config = "kind: K8sAuthConfig\nname: m\nauth_method: m\nk8s_host: https://10.0.0.1:6443\n";
    let file = format!("{method}---\n{config}");
    let Output {
        code,
        stdout,
        stderr,
    } = world.admin.run_with_stdin(&["apply", "-f", "-"], &file);
    assert_eq!(code, 3, "{stderr}");
    assert!(stderr.contains("document 2"), "{stderr}");
    assert!(
        stdout.contains("Private key (shown this once): "),
        "{stdout}"
    );
}

#[test]
fn a_file_that_is_not_understood_whole_changes_nothing() {
    let world = World::shared();
    let good = "kind: AuthMethod\nname: apply/good\nkubernetes: {rules: [{namespaces: [a]}]}\n";
    for (bad, what) in [
        (
            "kind: AuthMethod\nname: x\nkubernetes: {rules: [{namespacs: [a]}]}",
            "kubernetes.rules[0].namespacs: is no field",
        ),
        (
            "kind: AuthMethod\nname: x\nkubernets: {}",
            "kubernets: is no field",
        ),
        ("kind: Rule\nname: x", "`Rule` is none of AuthMethod, Role"),
        ("name: x", "kind: is missing"),
        ("kind: AuthMethod", "name: is missing"),
        (
            "kind: Role\nname: x\nrules: [{path: /a, capabilities: [write]}]",
            "capabilities[0]: `write` is no",
        ),
        ("kind: Association\nrole: x", "auth_method: is missing"),
        ("kind: Association\nauth_method: x", "role: is missing"),
        (
            "kind: Association\nauth_method: x\nrole: y\nname: z",
            "name: is for the server to say",
        ),
        (
            "kind: AuthMethod\nname: x\naccess_id: p-abcdefghijkl",
            "access_id: is for the server to say",
        ),
        (
            "kind: AuthMethod\nname: x\nkubernetes: {rules: [{namespaces: null}]}",
            "namespaces: has no value",
        ),
        ("kind: AuthMethod\nname: x\nname: y", "duplicate"),
        (
            "kind: AuthMethod\nname: x\nkubernetes: {rules: [{namespace_selector: {match_expressions: [{key: a, operator: Gt}]}}]}",
            "operator: `Gt` is no",
        ),
        (
            "kind: AuthMethod\nname: apply/good\nkubernetes: {rules: []}",
            "stands in",
        ),
        ("- a", "is no mapping"),
        ("a: [", "document 2"),
    ] {
        let text = format!("{good}---\n{bad}\n");
        let output = world.admin.run_with_stdin(&["apply", "-f", "-"], &text);
        output.fails(2, &["document 2", what]);
        let absent = world.admin.run(&["get-auth-method", "-n", "apply/good"]);
        absent.fails(4, &[]);
    }
    for empty in ["", "---\n"] {
        let output = world.admin.run_with_stdin(&["apply", "-f", "-"], empty);
        output.fails(2, &[]);
    }
}
