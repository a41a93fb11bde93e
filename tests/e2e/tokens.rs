//! What a token is worth: asked about, renewed and ended, at both servers and by everybody.

pub(crate) mod http;
mod maxima;
mod uses;

use postern_dev::StackOptions;
use postern_proto::pb;
use postern_proto::pb::token_service_client::TokenServiceClient;
use postern_rpc::error::{Failure, Reason};
use serde_json::{Value, json};
use test_support::postgres::{Postgres, PrivatePostgres, StopMode};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tonic::Code;

use crate::support::{Caller, Method, World};

/// A method with those flags and a config of its name.
pub(crate) fn route(world: &World, name: &str, flags: &[&str]) -> Method {
    let bounds = ["--bound-namespaces", "my-namespace-a"];
    let method = world.method_with(name, &[&bounds[..], flags].concat());
    world.config(name, &method);
    method
}

/// About the caller's own token, or about that one.
pub(crate) fn ask(
    world: &World,
    caller: &Caller,
    token: &str,
    client_address: &str,
) -> Result<pb::IntrospectResponse, Failure> {
    let request = caller.request(pb::IntrospectRequest {
        token: token.to_owned(),
        client_address: client_address.to_owned(),
        caller_address: String::new(),
    });
    let mut client = TokenServiceClient::new(caller.channel());
    let answer = world.block_on(client.introspect(request));
    answer
        .map(tonic::Response::into_inner)
        .map_err(Failure::from)
}

fn is_active(world: &World, caller: &Caller, token: &str) -> bool {
    ask(world, caller, token, "").unwrap().active
}

/// Runs on SQLite, and on PostgreSQL where there is one.
pub(crate) fn on_both_engines(test: fn(&World)) {
    test(&World::start());
    let runtime = Runtime::new().unwrap();
    let Some(postgres) = runtime.block_on(Postgres::shared()) else {
        return;
    };
    let database = runtime.block_on(postgres.database());
    test(&World::with(StackOptions {
        database_url: Some(database.url().to_owned()),
        ..StackOptions::default()
    }));
}

#[test]
fn a_pod_asks_about_renews_and_ends_its_token_at_the_gateway_alone() {
    on_both_engines(|world| {
        let method = route(world, "m", &["--jwt-ttl", "10", "--token-max-ttl", "15"]);
        let token = world.token(&method);
        let pod = |args: &[&str]| {
            let args = [&["token"], args, &["--token-file", "-", "--json"]].concat();
            world.pod.run_with_stdin(&args, &token)
        };
        let said = pod(&["introspect", "--self"]).document();
        assert_eq!(said["active"], true);
        assert_eq!(said["access_id"], method.access_id.as_str());
        assert_eq!(said["sub_claims"]["pod_name"]["values"], json!(["mypod1"]));
        assert!(said["sub"].as_str().unwrap().starts_with("k8s:"), "{said}");
        let first = said["expire_time"].as_str().unwrap();
        world.advance(300);
        let current = world.pod.file("current", &world.pod_token("mypod1"));
        let renewed = pod(&[
            "renew",
            "-i",
            &method.access_id,
            "--k8s-auth-config-name",
            "m",
            "--k8s-service-account-token-file",
            &current,
        ])
        .document();
        assert_eq!(renewed["accessor"], said["accessor"]);
        assert!(renewed["expiration"].as_str().unwrap() > first, "{renewed}");
        pod(&["revoke", "--self"]).success();
        pod(&["revoke", "--self"]).success();
        let dead = pod(&["introspect", "--self"]);
        assert_eq!(dead.code, 1, "{}", dead.stderr);
        let said: Value = serde_json::from_str(&dead.stdout).unwrap();
        assert_eq!(said["active"], false);
        let events = world.admin.json(&["audit", "list"]);
        let events = events["audit_events"].as_array().unwrap();
        let kinds: Vec<_> = events
            .iter()
            .map(|e| e["event"].as_str().unwrap())
            .collect();
        let count = |kind: &str| kinds.iter().filter(|found| **found == kind).count();
        assert_eq!(count("token.renewed"), 1, "{kinds:?}");
        assert_eq!(count("token.revoked"), 1, "{kinds:?}");
    });
}

#[test]
fn a_token_is_renewed_for_the_very_same_pod_only() {
    let world = World::start();
    let method = route(&world, "m", &[]);
    let other = route(&world, "other", &[]);
    let token = world.token(&method);
    let renew = |method: &Method, presented: &str, token: &str| {
        let file = world.pod.file("access", token);
        let args = ["token", "renew", "--token-file", &file];
        let route = [
            "-i",
            &method.access_id,
            "--k8s-auth-config-name",
            &method.name,
        ];
        let presented = ["--k8s-service-account-token", presented];
        world.pod.run(&[&args[..], &route, &presented].concat())
    };
    let reason = |output: crate::support::Output| {
        let record = world.audited(&output.refused());
        record["reason"].as_str().unwrap().to_owned()
    };
    renew(&method, &world.pod_token("mypod1"), &token).success();
    let elsewhere = renew(&method, &world.pod_token("mypod2"), &token);
    assert_eq!(reason(elsewhere), "RENEWED_TOKEN_OF_ANOTHER");
    let elsewhere = renew(&other, &world.pod_token("mypod1"), &token);
    assert_eq!(reason(elsewhere), "RENEWED_TOKEN_OF_ANOTHER");
    let unknown = format!("t-{}", "0".repeat(43));
    let unknown = renew(&method, &world.pod_token("mypod1"), &unknown);
    assert_eq!(reason(unknown), "RENEWED_TOKEN_UNKNOWN");
    renew(&method, &world.pod_token("mypod1"), "t-short").fails(2, &["access_token"]);
}

#[test]
fn a_question_about_oneself_is_one_use_and_the_last_one_is_the_last() {
    on_both_engines(|world| {
        let method = route(world, "m", &["--token-num-uses", "2"]);
        let token = world.token(&method);
        let (own, admin) = (
            world.gateway().with(&token),
            world.control_plane().with(&world.administrator_token("")),
        );
        assert!(is_active(world, &own, ""));
        assert!(is_active(world, &admin, &token));
        assert!(!is_active(world, &own, ""));
        assert!(!is_active(world, &admin, &token));
        let one = route(world, "one", &["--token-num-uses", "1"]);
        let token = world.token(&one);
        let (here, there) = (world.gateway(), world.control_plane());
        let active = world.block_on(async {
            let mut calls = JoinSet::new();
            for i in 0..50 {
                let caller = if i % 2 == 0 { &here } else { &there };
                let caller = caller.with(&token);
                let request = caller.request(pb::IntrospectRequest::default());
                let mut client = TokenServiceClient::new(caller.channel());
                calls.spawn(async move { client.introspect(request).await.unwrap() });
            }
            let answers = calls.join_all().await.into_iter();
            answers.filter(|answer| answer.get_ref().active).count()
        });
        assert_eq!(active, 1);
    });
}

#[test]
fn whatever_isnt_a_good_token_gets_the_same_answer_byte_for_byte() {
    use prost::Message as _;
    let world = World::start();
    let method = route(&world, "m", &["--jwt-ttl", "1", "--token-num-uses", "1"]);
    let bound = route(&world, "bound", &["--bound-ips", "127.0.0.0/8"]);
    let admin = world.control_plane().with(&world.administrator_token(""));
    let (used, revoked, expired) = (world.token(&method), world.token(&method), {
        world.token(&method)
    });
    assert!(is_active(&world, &admin, &used));
    world.admin.ok(&["token", "revoke", "--token", &revoked]);
    let elsewhere = world.token(&bound);
    world.advance(61);
    let unknown = format!("t-{}", "0".repeat(43));
    let jwt = world.pod_token("mypod1");
    let tokens = [
        &used, &revoked, &expired, &unknown, &jwt, "t-", "x", &elsewhere,
    ];
    for token in tokens {
        let said = ask(&world, &admin, token, "192.0.2.1").unwrap();
        assert_eq!(said.encode_to_vec(), Vec::<u8>::new(), "{token}");
        if token == elsewhere {
            continue;
        }
        for server in [world.control_plane(), world.gateway()] {
            let said = ask(&world, &server.with(token), "", "").unwrap();
            assert_eq!(said.encode_to_vec(), Vec::<u8>::new(), "{token}");
        }
    }
    // From where it may be shown, written as either protocol writes it.
    for address in ["127.0.0.9", "::ffff:127.0.0.9"] {
        assert!(ask(&world, &admin, &elsewhere, address).unwrap().active);
    }
    assert!(!ask(&world, &admin, &elsewhere, "").unwrap().active);
    // About itself it is there where its caller is.
    assert!(is_active(&world, &world.gateway().with(&elsewhere), ""));
}

#[test]
fn who_asks_about_anothers_token_needs_the_permission() {
    let world = World::start();
    let (method, checker) = (route(&world, "m", &[]), route(&world, "checker", &[]));
    let (token, asker) = (world.token(&method), world.token(&checker));
    let denied = |answer: Result<pb::IntrospectResponse, Failure>| {
        assert_eq!(answer.unwrap_err().code, Code::PermissionDenied);
    };
    let (here, there) = (world.gateway(), world.control_plane());
    for server in [&here, &there] {
        denied(ask(&world, &server.with(&asker), &token, ""));
        // Who may not ask learns nothing about the message either.
        denied(ask(&world, &server.with(&asker), &token, "nowhere"));
    }
    let refused = ["audit", "list", "--event", "admin.refused"];
    let refused = world.admin.json(&refused);
    let refused = refused["audit_events"].as_array().unwrap();
    assert_eq!(refused.len(), 4);
    for record in refused {
        assert_eq!(record["resource"], "/postern.v1.TokenService/Introspect");
        assert_eq!(record["reason"], "PERMISSION_DENIED");
    }
    let role = [
        "create-role",
        "-n",
        "checkers",
        "--permission",
        "tokens.check",
    ];
    world.admin.ok(&role);
    world.admin.ok(&[
        "assoc-role-am",
        "--role-name",
        "checkers",
        "--am-name",
        "checker",
    ]);
    for server in [&here, &there] {
        assert!(is_active(&world, &server.with(&asker), &token));
    }
    let refused = ask(&world, &here.with(&asker), &token, "nowhere").unwrap_err();
    assert_eq!(refused.violations[0].field, "client_address");
    // An administrator's token opens more than a gateway should see.
    let admin = world.administrator_token("");
    denied(ask(&world, &here.with(&admin), &token, ""));
    // Nor does anybody but a gateway say where its caller is.
    let caller = there.with(&asker);
    let request = caller.request(pb::IntrospectRequest {
        caller_address: "127.0.0.1".to_owned(),
        ..pb::IntrospectRequest::default()
    });
    let mut client = TokenServiceClient::new(caller.channel());
    let refused = world.block_on(client.introspect(request)).unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[test]
fn what_is_no_token_of_ours_stays_at_the_gateway() {
    let mut world = World::start();
    let method = route(&world, "m", &[]);
    let (token, pods) = (world.token(&method), world.pod_token("mypod1"));
    let jwts = route(
        &world,
        "jwts",
        &["--token-format", "jwt", "--token-audience", "x"],
    );
    let jwt = world.token(&jwts);
    world.stop_control_plane();
    // Answered without anybody: it went nowhere.
    assert!(!is_active(&world, &world.gateway().with(&pods), ""));
    let about_another = ask(&world, &world.gateway().with(&pods), &token, "");
    assert_eq!(about_another.unwrap_err().code, Code::Unauthenticated);
    for ours in [token, jwt] {
        let away = ask(&world, &world.gateway().with(&ours), "", "").unwrap_err();
        assert_eq!(away.code, Code::Unavailable);
    }
}

#[test]
fn while_the_database_is_away_a_token_is_unavailable_and_never_inactive() {
    let runtime = Runtime::new().unwrap();
    let Some(postgres) = runtime.block_on(PrivatePostgres::start()) else {
        return;
    };
    let database = runtime.block_on(postgres.database());
    let world = World::with(StackOptions {
        database_url: Some(database.url().to_owned()),
        ..StackOptions::default()
    });
    let method = route(&world, "m", &[]);
    let (token, revoked) = (world.token(&method), world.token(&method));
    let admin = world.control_plane().with(&world.administrator_token(""));
    world.admin.ok(&["token", "revoke", "--token", &revoked]);
    runtime.block_on(postgres.stop(StopMode::Immediate));
    for token in [&token, &revoked] {
        let away = ask(&world, &admin, token, "").unwrap_err();
        assert_eq!(
            (away.code, away.reason),
            (Code::Unavailable, Some(Reason::Database))
        );
        let away = ask(&world, &world.gateway().with(token), "", "").unwrap_err();
        assert_eq!(away.code, Code::Unavailable);
        let renewed = world
            .admin
            .run(&["token", "renew", "--token", token, "--timeout", "1s"]);
        assert_eq!(renewed.code, 3, "{}", renewed.stderr);
    }
    runtime.block_on(postgres.start_again());
    world.ready();
    assert!(is_active(&world, &world.gateway().with(&token), ""));
    assert!(!is_active(&world, &world.gateway().with(&revoked), ""));
}

#[test]
fn a_clock_that_steps_by_90_seconds_moves_a_tokens_end_by_90_seconds_and_nothing_else() {
    let world = World::start();
    let method = route(&world, "m", &["--jwt-ttl", "10", "--token-max-ttl", "20"]);
    let token = world.token(&method);
    let own = || world.gateway().with(&token);
    for step in [90, -180, 90] {
        world.advance(step);
        assert!(is_active(&world, &own(), ""), "after a step of {step} s");
        let renewed = world.token(&method);
        assert!(is_active(&world, &world.gateway().with(&renewed), ""));
    }
    world.advance(600 - 91);
    assert!(is_active(&world, &own(), ""));
    // 90 s early: the most that such a step takes away.
    world.advance(91);
    assert!(!is_active(&world, &own(), ""));
}

#[test]
fn a_step_of_90_seconds_refuses_a_new_service_account_token_for_what_is_beyond_a_minute() {
    let world = World::start();
    let method = route(&world, "m", &[]);
    let presented = world.pod_token("mypod1");
    let log_in = || world.log_in(&method.access_id, "m", &presented);
    for (step, good) in [
        (-60, true),
        (-30, false),
        (30, true),
        (60, true),
        (90, true),
    ] {
        world.advance(step);
        match good {
            true => drop(log_in().success()),
            false => {
                let record = world.audited(&log_in().refused());
                assert_eq!(record["reason"], "TOKEN_NOT_YET_VALID");
            }
        }
    }
}

#[test]
fn an_administrators_token_is_renewed_where_it_came_from_and_through_a_gateway() {
    let world = World::start();
    let token = world.administrator_token("");
    let file = world.admin.file("token", &token);
    for at in [vec![], vec!["--gateway-url", world.stack().gateway_url()]] {
        let renew = [&["token", "renew", "--token-file", &file][..], &at].concat();
        let renewed = world.admin.json(&renew);
        assert!(renewed["accessor"].as_str().unwrap().starts_with("a-"));
    }
    let narrowed = world.administrator_token("default");
    for token in [narrowed, world.gateway_token()] {
        let file = world.admin.file("other", &token);
        let renew = ["token", "renew", "--token-file", &file];
        world.admin.run(&renew).fails(1, &["isn't renewed here"]);
    }
    world.admin.ok(&[
        "token",
        "revoke",
        "--self",
        "--token-file",
        &file,
        "--control-plane-url",
        world.stack().control_plane_url(),
    ]);
    let renew = ["token", "renew", "--token-file", &file];
    assert_eq!(world.admin.run(&renew).code, 1);
}
