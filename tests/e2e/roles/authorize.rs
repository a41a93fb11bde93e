//! What tokens may do elsewhere, asked at both servers.

use postern_proto::pb;
use postern_proto::pb::token_service_client::TokenServiceClient;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::give;
use crate::support::{Caller, Output, World};
use crate::tokens::{on_both_engines, route};

/// A role with those rules, for the tokens of the method of that name.
fn role(world: &World, name: &str, rules: &[(&str, &str)]) {
    world.admin.ok(&["create-role", "-n", name]);
    for (path, capabilities) in rules {
        let rule = ["set-role-rule", "-r", name, "-p", path, "-c", capabilities];
        world.admin.ok(&rule);
    }
    give(world, name, name, &[]);
}

/// Asked by the token itself, at its gateway.
fn own(world: &World, token: &str, capability: &str, path: &str) -> Output {
    let ask = ["token", "authorize", "--self", "-c", capability, "-p", path];
    let args = [&ask[..], &["--token-file", "-", "--json"]].concat();
    world.pod.run_with_stdin(&args, token)
}

/// Asked by an administrator, at the control plane.
fn asked(world: &World, token: &str, path: &str, flags: &[&str]) -> Output {
    let ask = ["token", "authorize", "-p", path, "--token-file", "-"];
    let args = [&ask[..], &["--json"], flags].concat();
    world.admin.run_with_stdin(&args, token)
}

fn document(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{e} in {output:?}"))
}

#[test]
fn a_token_may_what_the_rules_of_its_roles_say_and_the_answer_names_the_rule() {
    on_both_engines(|world| {
        let method = route(world, "m", &[]);
        let rules = [
            ("/{{namespace}}/*", "read,list"),
            ("/+/secret", "deny"),
            ("/other/*", "read"),
        ];
        role(world, "m", &rules);
        let short = ["set-role-rule", "-r", "m", "-p", "/short", "-c", "read"];
        world.admin.ok(&[&short[..], &["--ttl", "5"]].concat());
        let token = world.token(&method);
        for (capability, path, rule) in [
            ("read", "/my-namespace-a/x/y", Some("/{{namespace}}/*")),
            ("list", "/my-namespace-a/x", Some("/{{namespace}}/*")),
            ("read", "/other/x", Some("/other/*")),
            ("read", "/short", Some("/short")),
            ("update", "/my-namespace-a/x", None),
            ("list", "/other/x", None),
            ("read", "/my-namespace-b/x", None),
            ("read", "/my-namespace-a", None),
        ] {
            let answer = own(world, &token, capability, path);
            let said = document(&answer);
            assert_eq!(answer.code == 0, rule.is_some(), "{capability} {path}");
            assert_eq!(said["allowed"], json!(rule.is_some()), "{said}");
            if let Some(rule) = rule {
                assert_eq!(said["rule_path"], rule);
                assert_eq!(said["role"], "roles/m");
            }
        }
        for path in ["/my-namespace-a/secret", "/other/secret"] {
            for answer in [
                own(world, &token, "read", path),
                asked(world, &token, path, &[]),
            ] {
                assert_eq!(answer.code, 1);
                let said = document(&answer);
                assert_eq!(said["denied_by_rule"], true, "{said}");
                assert_eq!(said["rule_path"], "/+/secret");
            }
        }
        world.advance(301);
        assert_eq!(
            own(world, &token, "read", "/short").code,
            1,
            "its rule's end"
        );
        assert_eq!(asked(world, &token, "/other/x", &[]).code, 0);
        world.admin.ok(&["delete-role", "-n", "m", "--force"]);
        assert_eq!(
            asked(world, &token, "/other/x", &[]).code,
            1,
            "taken at once"
        );
    });
}

#[test]
fn what_isnt_a_good_token_may_nothing_and_looks_like_one_without_rules() {
    let world = World::start();
    let method = route(&world, "m", &["--bound-ips", "127.0.0.0/8"]);
    role(&world, "m", &[("/x", "read")]);
    let token = world.token(&method);
    let here = ["--client-address", "127.0.0.1"];
    assert_eq!(asked(&world, &token, "/x", &here).code, 0);
    assert_eq!(own(&world, &token, "read", "/x").code, 0);
    let nothing = document(&asked(&world, &token, "/y", &here));
    assert_eq!(nothing["allowed"], json!(false));
    let elsewhere = ["--client-address", "10.0.0.1"];
    for (token, flags) in [
        (token.as_str(), &[][..]),
        (&token, &elsewhere),
        ("t-unknown", &here),
        ("garbage", &here),
    ] {
        let answer = asked(&world, token, "/x", flags);
        assert_eq!(answer.code, 1);
        assert_eq!(document(&answer), nothing, "{flags:?}");
    }
    let revoke = ["token", "revoke", "--token-file", "-"];
    world.admin.run_with_stdin(&revoke, &token).success();
    assert_eq!(document(&asked(&world, &token, "/x", &here)), nothing);
    let wrong = asked(&world, &token, "/x/../y", &here);
    wrong.fails(2, &["path"]);
}

fn authorize(
    caller: &Caller,
    path: &str,
) -> (
    TokenServiceClient<postern_rpc::client::Channel>,
    tonic::Request<pb::AuthorizeRequest>,
) {
    let request = caller.request(pb::AuthorizeRequest {
        path: path.to_owned(),
        capability: pb::Capability::Read.into(),
        ..pb::AuthorizeRequest::default()
    });
    (TokenServiceClient::new(caller.channel()), request)
}

#[test]
fn of_fifty_parallel_authorizations_of_a_token_of_one_use_one_is_allowed() {
    on_both_engines(|world| {
        let method = route(world, "m", &["--token-num-uses", "1"]);
        role(world, "m", &[("/x", "read")]);
        let token = world.token(&method);
        assert_eq!(own(world, &token, "read", "/y").code, 1);
        let caller = world.control_plane().with(&token);
        let allowed = world.block_on(async {
            let mut asking = JoinSet::new();
            for _ in 0..50 {
                let (mut client, request) = authorize(&caller, "/x");
                asking.spawn(async move { client.authorize(request).await });
            }
            let answers = asking.join_all().await.into_iter();
            answers
                .filter(|answer| answer.as_ref().unwrap().get_ref().allowed)
                .count()
        });
        assert_eq!(allowed, 1);
        assert_eq!(own(world, &token, "read", "/x").code, 1, "used up");
    });
}

#[test]
fn validate_token_says_whether_a_token_is_valid_and_until_when() {
    let world = World::start();
    let method = route(&world, "m", &[]);
    let token = world.token(&method);
    let validate = ["validate-token", "--token-file", "-"];
    let said = world.pod.run_with_stdin(&validate, &token).success();
    assert!(
        said.starts_with("Token is valid.\nExpiration: 20"),
        "{said}"
    );
    let json = [&validate[..], &["--json"]].concat();
    assert_eq!(
        world.pod.run_with_stdin(&json, &token).document()["is_valid"],
        true
    );
    world.advance(16 * 60);
    let answer = world.pod.run_with_stdin(&json, &token);
    assert_eq!(answer.code, 1);
    assert_eq!(document(&answer), json!({ "is_valid": false }));
}
