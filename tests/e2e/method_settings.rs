//! What a method asks of tokens and logins beyond its rules, from the command line to the refusal.

use std::time::Duration;

use kube_sim::TokenOptions;
use serde_json::{Value, json};
use tonic::Code;

use crate::support::{Method, World, log_in, login};

const LATER: [&str; 2] = ["update-auth-method-k8s", "-n"];

fn route_with(world: &World, name: &str, flags: &[&str]) -> Method {
    let bounds = ["--bound-namespaces", "my-namespace-a"];
    let method = world.method_with(name, &[&bounds[..], flags].concat());
    world.config(name, &method);
    method
}

/// The audit record of a login that must be refused.
fn refused(world: &World, method: &Method, token: &str) -> Value {
    let output = world.log_in(&method.access_id, &method.name, token);
    world.audited(&output.refused())
}

/// A token of no pod, of the service account that pods have.
fn unbound(world: &World, life: Duration) -> String {
    world.pod_token("mypod1");
    let options = TokenOptions {
        expiration: Some(life),
        ..TokenOptions::default()
    };
    let cluster = world.cluster();
    cluster
        .create_token("my-namespace-a", "default", &options)
        .unwrap()
}

#[test]
fn a_token_without_expiry_is_refused_unless_the_method_allows_legacy_tokens() {
    let world = World::start();
    let method = world.method_with("m", &["--bound-namespaces", "my-namespace-a"]);
    let issuer = ["--k8s-issuer", "kubernetes/serviceaccount"];
    let args = world.config_args("m", &method);
    let args: Vec<&str> = args.iter().map(String::as_str).chain(issuer).collect();
    world.admin.ok(&args);
    world.pod_token("mypod1");
    let token = world
        .cluster()
        .legacy_token("my-namespace-a", "default", "legacy")
        .unwrap();
    let reviews = world.cluster().reviews();
    assert_eq!(
        refused(&world, &method, &token)["reason"],
        "TOKEN_WITHOUT_EXPIRY"
    );
    assert_eq!(world.cluster().reviews(), reviews, "refused early");
    let allow = world
        .admin
        .run(&[&LATER[..], &["m", "--allow-legacy-tokens"]].concat());
    assert!(allow.stderr.contains("LEGACY_TOKENS"), "{}", allow.stderr);
    world.log_in(&method.access_id, "m", &token).success();
}

#[test]
fn a_method_can_cap_the_age_and_the_lifetime_of_what_is_presented() {
    let world = World::start();
    let method = route_with(&world, "m", &["--max-presented-age", "10m"]);
    let token = unbound(&world, Duration::from_secs(7200));
    world.log_in(&method.access_id, "m", &token).success();
    world.advance(601);
    let reviews = world.cluster().reviews();
    assert_eq!(refused(&world, &method, &token)["reason"], "TOKEN_TOO_OLD");
    let update = |flags: &[&str]| world.admin.json(&[&LATER[..], &["m"], flags].concat());
    let updated = update(&[
        "--clear",
        "max_presented_age",
        "--max-presented-lifetime",
        "1h",
    ]);
    assert_eq!(updated["kubernetes"]["max_presented_age"], Value::Null);
    assert_eq!(updated["kubernetes"]["max_presented_lifetime"], "3600s");
    let record = refused(&world, &method, &token);
    assert_eq!(record["reason"], "TOKEN_LIFETIME_TOO_LONG");
    assert_eq!(
        world.cluster().reviews(),
        reviews,
        "both were refused early"
    );
    let short = unbound(&world, Duration::from_secs(3600));
    world.log_in(&method.access_id, "m", &short).success();
}

#[test]
fn a_token_of_no_pod_is_refused_where_a_pod_is_required() {
    let world = World::shared();
    let method = route_with(&world, "require-pod", &["--require-pod"]);
    let token = unbound(&world, Duration::from_secs(3600));
    assert_eq!(refused(&world, &method, &token)["reason"], "POD_REQUIRED");
    world.token(&method);
}

#[test]
fn of_fifty_parallel_logins_with_one_single_use_token_one_succeeds() {
    let world = World::shared();
    let method = route_with(&world, "single-use", &["--single-use"]);
    let (channel, message) = (world.gateway().channel(), login(&world, &method));
    let patience = Duration::from_secs(20);
    let logins: Vec<_> = (0..50)
        .map(|_| {
            let (channel, message) = (channel.clone(), message.clone());
            let login = async move { log_in(&channel, &message, patience).await };
            world.handle().spawn(login)
        })
        .collect();
    let answers: Vec<_> = logins
        .into_iter()
        .map(|login| world.block_on(login).unwrap())
        .collect();
    let granted = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(granted, 1);
    for failure in answers.into_iter().filter_map(Result::err) {
        assert_eq!(failure.code, Code::Unauthenticated, "{failure}");
    }
    let token = world.pod_token("mypod2");
    world
        .log_in(&method.access_id, "single-use", &token)
        .success();
    let record = refused(&world, &method, &token);
    assert_eq!(record["reason"], "TOKEN_USED_BEFORE");
}

#[test]
fn the_audit_of_a_login_has_the_claims_that_the_method_names() {
    let world = World::shared();
    let flags = [
        "--audit-logs-claims",
        "namespace,pod_name",
        "--bound-pod-names",
        "mypod1",
    ];
    let method = route_with(&world, "claims", &flags);
    let record = refused(&world, &method, &world.pod_token("mypod2"));
    let claim = |value: &str| json!({ "values": [value] });
    let expected = json!({ "namespace": claim("my-namespace-a"), "pod_name": claim("mypod2") });
    assert_eq!(record["sub_claims"], expected);
    let args = [
        "create-auth-method-k8s",
        "-n",
        "wrong-claims",
        "--bound-namespaces",
        "a",
    ];
    let wrong = [&args[..], &["--audit-logs-claims", "password"]].concat();
    world
        .admin
        .run(&wrong)
        .fails(2, &["--audit-logs-claims", "service_account_uid"]);
}

#[test]
fn a_protected_method_is_not_deleted_by_force_either() {
    let world = World::shared();
    world.method_with(
        "protected",
        &["--bound-namespaces", "a", "--delete-protection"],
    );
    for force in [&[][..], &["--force"]] {
        let delete = [&["delete-auth-method", "-n", "protected"][..], force].concat();
        world.admin.run(&delete).fails(1, &["delete_protection"]);
    }
    let off = ["protected", "--delete-protection=false"];
    world.admin.ok(&[&LATER[..], &off].concat());
    world.admin.ok(&["delete-auth-method", "-n", "protected"]);
}

#[test]
fn whose_audience_is_taken_is_a_warning_on_standard_error_and_in_the_document() {
    let world = World::shared();
    let create = |name: &str, flags: &[&str]| {
        let create = [
            "create-auth-method-k8s",
            "-n",
            name,
            "--bound-namespaces",
            "a",
            "--json",
        ];
        let output = world.admin.run(&[&create[..], flags].concat());
        (output.stderr.clone(), output.document()["warnings"].clone())
    };
    for (name, flags, reason) in [
        ("aud-own", &[][..], "API_SERVER_AUDIENCE"),
        ("aud-any", &["--allow-any-audience"], "ANY_AUDIENCE"),
    ] {
        let (stderr, warnings) = create(name, flags);
        assert!(stderr.contains(reason), "{stderr}");
        assert_eq!(warnings[0]["reason"], reason);
    }
    let (stderr, warnings) = create("aud-listed", &["--audience", "a", "--audience", "b"]);
    assert_eq!((stderr.as_str(), warnings), ("", json!([])));
}

#[test]
fn every_setting_is_shown_changed_and_kept() {
    let world = World::shared();
    let flags = [
        "--description=all of them",
        "--jwt-ttl=5",
        "--token-max-ttl=8h",
        "--token-num-uses=7",
        "--cap-to-presented-expiry",
        "--bound-ips=10.0.0.0/8,::ffff:192.0.2.1,2001:db8::/32",
        "--gw-bound-ips=::1",
        "--audience=postern",
        "--require-pod",
        "--single-use",
        "--max-presented-age=30",
        "--max-presented-lifetime=60",
        "--force-sub-claims",
        "--audit-logs-claims=aud",
        "--delete-protection",
    ];
    let create = [
        "create-auth-method-k8s",
        "-n",
        "all",
        "--bound-namespaces",
        "a",
    ];
    let made = world.admin.json(&[&create[..], &flags].concat());
    // An update of one field leaves the others.
    let changed = world
        .admin
        .json(&[&LATER[..], &["all", "--description", "new"]].concat());
    for method in [made, changed] {
        assert_eq!(method["token_ttl"], "300s");
        assert_eq!(method["token_max_ttl"], "28800s");
        assert_eq!(method["token_num_uses"], 7);
        assert_eq!(method["cap_to_presented_expiry"], true);
        let ips = json!(["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"]);
        assert_eq!(method["bound_ips"], ips);
        assert_eq!(method["gw_bound_ips"], json!(["::1"]));
        assert_eq!(method["force_sub_claims"], true);
        assert_eq!(method["audit_logs_claims"], json!(["aud"]));
        assert_eq!(method["delete_protection"], true);
        let kubernetes = &method["kubernetes"];
        assert_eq!(kubernetes["audiences"], json!(["postern"]));
        assert_eq!(kubernetes["allow_legacy_tokens"], false);
        assert_eq!(kubernetes["require_pod"], true);
        assert_eq!(kubernetes["single_use"], true);
        assert_eq!(kubernetes["max_presented_age"], "1800s");
        assert_eq!(kubernetes["max_presented_lifetime"], "3600s");
    }
    let update = |flags: &[&str]| world.admin.run(&[&LATER[..], &["all"], flags].concat());
    update(&["--token-max-ttl", "4m"]).fails(2, &["--token-max-ttl", "token_ttl"]);
    update(&["--token-max-ttl", "169h"]).fails(2, &["--token-max-ttl", "604800"]);
    update(&["--token-num-uses", "1000001"]).fails(2, &["--token-num-uses", "1000000"]);
    let contradicts = [
        "--single-use",
        "--max-presented-lifetime",
        "--cap-to-presented-expiry",
    ];
    update(&["--allow-legacy-tokens"]).fails(2, &contradicts);
    let uncapped = world
        .admin
        .json(&[&LATER[..], &["all", "--cap-to-presented-expiry=false"]].concat());
    assert_eq!(uncapped["cap_to_presented_expiry"], false);
    let cleared = world.admin.json(
        &[
            &LATER[..],
            &[
                "all",
                "--clear",
                "token_max_ttl,token_num_uses,audit_logs_claims,gw_bound_ips",
            ],
        ]
        .concat(),
    );
    assert_eq!(cleared["token_max_ttl"], Value::Null);
    assert_eq!(cleared["token_num_uses"], Value::Null);
    assert_eq!(cleared["audit_logs_claims"], json!([]));
    assert_eq!(cleared["gw_bound_ips"], json!([]));
}

#[test]
fn a_method_that_is_renamed_goes_on_under_its_access_id_and_is_found_by_its_new_name() {
    let world = World::start();
    let method = world.route("old/name");
    world.token(&method);
    let rename = |from: &str, to: &str| {
        let rename = ["auth-method", "rename", "-n", from, "--new-name", to];
        world.admin.run(&rename)
    };
    let renamed = rename("old/name", "a/new/name");
    assert_eq!(renamed.code, 0, "{}", renamed.stderr);
    world
        .admin
        .run(&["get-auth-method", "-n", "old/name"])
        .fails(4, &["old/name"]);
    for name in ["a/new/name", "authMethods/a/new/name", &method.access_id] {
        let shown = world.admin.json(&["auth-method", "get", "-n", name]);
        assert_eq!(shown["name"], "authMethods/a/new/name");
        assert_eq!(shown["access_id"], method.access_id);
    }
    world.token(&method);
    let other = world.pod_token("mypod3");
    let refused = world
        .log_in(&method.access_id, "old/name", &other)
        .refused();
    let record = world.audited(&refused);
    assert_eq!(
        record["reason"], "POD_NAME_NOT_BOUND",
        "its rules still hold"
    );

    world.method("taken");
    rename("a/new/name", "taken").fails(5, &["authMethods/taken"]);
    rename("a/new/name", "..").fails(2, &["--new-name"]);
    rename("nowhere", "somewhere").fails(4, &["nowhere"]);
    let list = world.admin.json(&["audit", "list", "--limit=100"]);
    let events = list["audit_events"].as_array().unwrap();
    let event = events
        .iter()
        .find(|e| e["event"] == "auth_method.renamed")
        .unwrap();
    assert_eq!(event["resource"], "authMethods/a/new/name");
    assert!(
        event["before_json"]
            .as_str()
            .unwrap()
            .contains("authMethods/old/name")
    );
}
