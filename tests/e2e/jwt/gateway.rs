//! JWTs of pods that reach nothing but their gateway.

use postern_proto::pb;
use postern_proto::pb::token_service_client::TokenServiceClient;
use serde_json::{Value, json};

use super::{AUDIENCES, Service, UPDATE, on_both_engines, token};
use crate::support::{Method, Output, World};
use crate::tokens::http::Page;
use crate::tokens::{ask, route};

/// The command line in a pod, which reaches its gateway only.
fn at_the_gateway(world: &World, args: &[&str], token: &str) -> Output {
    let url = ["--gateway-url", world.stack().gateway_url()];
    let args = [&["token"], args, &["--token-file", "-", "--json"], &url].concat();
    world.pod.run_with_stdin(&args, token)
}

fn renew(world: &World, method: &Method, token: &str, presented: &str) -> Output {
    let presented = world.pod.file("presented", presented);
    let args = [
        "renew",
        "-i",
        &method.access_id,
        "--k8s-auth-config-name",
        &method.name,
        "--k8s-service-account-token-file",
        &presented,
    ];
    at_the_gateway(world, &args, token)
}

fn renewed(world: &World, method: &Method, token: &str) -> String {
    let document = renew(world, method, token, &world.pod_token("mypod1")).document();
    document["token"].as_str().unwrap().to_owned()
}

/// With the signature of another one.
fn forged(token: &str, other: &str) -> String {
    let (signed, _) = token.rsplit_once('.').unwrap();
    let (_, signature) = other.rsplit_once('.').unwrap();
    format!("{signed}.{signature}")
}

#[test]
fn a_jwt_asks_about_itself_authorizes_and_ends_itself_at_the_gateway_alone() {
    on_both_engines(|world| {
        let method = route(world, "m", &AUDIENCES);
        world.admin.ok(&["role", "create", "-n", "reader"]);
        let rule = ["set-role-rule", "-r", "reader", "-p", "/x", "-c", "read"];
        world.admin.ok(&rule);
        let assoc = ["assoc-role-am", "--role-name", "reader", "--am-name", "m"];
        let claims = ["--sub-claims", "namespace=my-namespace-a"];
        world.admin.ok(&[&assoc[..], &claims].concat());
        let (token, other) = (self::token(world, &method), self::token(world, &method));
        let said = at_the_gateway(world, &["introspect", "--self"], &token).document();
        assert_eq!(said["active"], true);
        assert_eq!(said["access_id"], method.access_id.as_str());
        assert_eq!(said["iss"], world.stack().control_plane_url());
        assert_eq!(said["aud"], json!(["orders", "billing"]));
        assert_eq!(said["roles"], json!(["reader"]));
        let may = |token: &str, path: &str| {
            let caller = world.gateway().with(token);
            let request = caller.request(pb::AuthorizeRequest {
                path: path.to_owned(),
                capability: pb::Capability::Read.into(),
                ..pb::AuthorizeRequest::default()
            });
            let mut client = TokenServiceClient::new(caller.channel());
            let answer = world.block_on(client.authorize(request)).unwrap();
            answer.into_inner().allowed
        };
        assert!(may(&token, "/x"));
        assert!(!may(&token, "/y"));
        let page = Page::at(world, world.stack().gateway_url());
        let (status, said) = page.post(Some(&token), format!("token={token}"));
        assert_eq!(status, 200, "{said}");
        assert_eq!(said["active"], true);
        assert_eq!(said["iss"], world.stack().control_plane_url());
        // What isn't signed like that is as dead as what has ended.
        let forged = forged(&token, &other);
        at_the_gateway(world, &["revoke", "--self"], &forged).success();
        assert!(may(&token, "/x"), "who can't sign one can't end one");
        at_the_gateway(world, &["revoke", "--self"], &token).success();
        at_the_gateway(world, &["revoke", "--self"], &token).success();
        for dead in [&token, &forged] {
            let said = ask(world, &world.gateway().with(dead), "", "").unwrap();
            assert_eq!(said, pb::IntrospectResponse::default());
            assert!(!may(dead, "/x"));
            let (status, said) = page.post(Some(dead), format!("token={dead}"));
            assert_eq!((status.as_u16(), said), (200, json!({ "active": false })));
        }
        assert!(may(&other, "/x"));
        let events = world.admin.json(&["audit", "list"]);
        let events = events["audit_events"].as_array().unwrap().iter();
        let ended = events.filter(|event| event["event"] == "token.revoked");
        assert_eq!(ended.count(), 1);
    });
}

#[test]
fn who_may_check_or_end_others_tokens_may_so_through_a_gateway_with_jwts_too() {
    let world = World::start();
    let (method, checker) = (
        route(&world, "m", &AUDIENCES),
        route(&world, "c", &AUDIENCES),
    );
    let (token, asker) = (token(&world, &method), token(&world, &checker));
    let caller = world.gateway().with(&asker);
    let denied = ask(&world, &caller, &token, "").unwrap_err();
    assert_eq!(denied.code, tonic::Code::PermissionDenied);
    let permissions = [
        "--permission",
        "tokens.check",
        "--permission",
        "tokens.revoke",
    ];
    let role = ["create-role", "-n", "checkers"];
    world.admin.ok(&[&role[..], &permissions].concat());
    let assoc = ["assoc-role-am", "--role-name", "checkers", "--am-name", "c"];
    world.admin.ok(&assoc);
    assert!(ask(&world, &caller, &token, "").unwrap().active);
    let request = caller.request(pb::RevokeRequest {
        token: token.clone(),
        ..pb::RevokeRequest::default()
    });
    let mut client = TokenServiceClient::new(caller.channel());
    world.block_on(client.revoke(request)).unwrap();
    assert!(!ask(&world, &caller, &token, "").unwrap().active);
}

#[test]
fn a_jwt_is_renewed_at_its_gateway_and_the_old_one_is_good_until_its_own_end() {
    on_both_engines(|world| {
        let lives = ["--jwt-ttl", "10", "--token-max-ttl", "15"];
        let method = route(world, "m", &[&AUDIENCES[..], &lives].concat());
        let service = Service::trusting(world);
        let old = token(world, &method);
        world.advance(300);
        let new = renewed(world, &method, &old);
        let (before, after) = (
            service.verify(&old, "orders").unwrap(),
            service.verify(&new, "orders").unwrap(),
        );
        for same in [
            "iss",
            "sub",
            "aud",
            "iat",
            "nbf",
            "jti",
            "access_id",
            "sub_claims",
        ] {
            assert_eq!(before[same], after[same], "{same}");
        }
        let life =
            |claims: &Value| claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
        assert_eq!((life(&before), life(&after)), (600, 900));
        let active = |token: &str| {
            let said = ask(world, &world.gateway().with(token), "", "").unwrap();
            said.active.then(|| said.expire_time.unwrap().seconds)
        };
        assert_eq!(
            active(&old),
            before["exp"].as_i64(),
            "each says its own end"
        );
        assert_eq!(active(&new), after["exp"].as_i64());
        world.advance(300);
        assert_eq!(active(&old), None);
        let late = renew(world, &method, &old, &world.pod_token("mypod1"));
        let record = world.audited(&late.refused());
        assert_eq!(record["reason"], "RENEWED_TOKEN_UNKNOWN");
        // To the most that it may live, and no further.
        let last = renewed(world, &method, &new);
        assert_eq!(life(&service.verify(&last, "orders").unwrap()), 900);
        // They are one token.
        at_the_gateway(world, &["revoke", "--self"], &new).success();
        assert_eq!((active(&new), active(&last)), (None, None));
        let dead = renew(world, &method, &last, &world.pod_token("mypod1"));
        let record = world.audited(&dead.refused());
        assert_eq!(record["reason"], "RENEWED_TOKEN_UNKNOWN");
        let events = world.admin.json(&["audit", "list"]);
        let events = events["audit_events"].as_array().unwrap().iter();
        let renewals = events.filter(|event| event["event"] == "token.renewed");
        assert_eq!(renewals.count(), 2);
    });
}

#[test]
fn a_jwt_is_renewed_by_who_shows_it_as_it_was_signed_and_by_its_own_pod() {
    let world = World::start();
    let method = route(&world, "m", &AUDIENCES);
    let (token, other) = (token(&world, &method), token(&world, &method));
    let reason = |token: &str, pod: &str| {
        let refused = renew(&world, &method, token, &world.pod_token(pod));
        let record = world.audited(&refused.refused());
        record["reason"].as_str().unwrap().to_owned()
    };
    assert_eq!(reason(&token, "mypod2"), "RENEWED_TOKEN_OF_ANOTHER");
    let forged = forged(&token, &other);
    assert_eq!(reason(&forged, "mypod1"), "RENEWED_TOKEN_UNKNOWN");
    // A pod's own token is no token of Postern's, and goes nowhere.
    let pods = world.pod_token("mypod1");
    renew(&world, &method, &pods, &pods).fails(2, &["access_token", "JWT"]);
    let less = ["--token-audience", "orders"];
    world.admin.ok(&[&UPDATE[..], &["m"], &less].concat());
    assert_eq!(reason(&token, "mypod1"), "TOKEN_AUDIENCE_NOT_ALLOWED");
}
