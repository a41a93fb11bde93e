//! Logins that are refused: one message for every reason, and the reason for an administrator.

use std::time::Duration;

use kube_sim::{Fault, TokenOptions};
use postern_proto::pb;
use postern_proto::pb::auth_service_client::AuthServiceClient;
use serde_json::{Value, json};
use tonic::Code;

use crate::support::{Method, World, encoded, request};

/// Whether the API server may see the token.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Review {
    Never,
    Allowed,
}

struct Case {
    what: &'static str,
    access_id: String,
    config: String,
    token: String,
    reason: &'static str,
    review: Review,
}

/// A JWT with claims as `mypod1`'s could be, changed, and a signature that is none.
fn forged(world: &World, header: Value, change: impl FnOnce(&mut Value)) -> String {
    let mut claims = json!({
        "iss": world.cluster().issuer(),
        "aud": [world.cluster().issuer()],
        "exp": 4_000_000_000_u64,
        "sub": "system:serviceaccount:my-namespace-a:default",
    });
    change(&mut claims);
    format!("{}.{}.c2lnbmF0dXJl", encoded(&header), encoded(&claims))
}

fn set_up(world: &World) -> Vec<Case> {
    let good = world.route("good");
    let other = world.route("other");
    let disabled = world.route("disabled");
    world
        .admin
        .ok(&["update-auth-method-k8s", "-n", "disabled", "--disabled"]);
    let off = world.route("config-off");
    world.admin.ok(&[
        "gateway-update-k8s-auth-config",
        "-n",
        "config-off",
        "--disabled",
    ]);
    let expired = world.route("expired");
    world.admin.ok(&[
        "update-auth-method-k8s",
        "-n",
        "expired",
        "--access-expires",
        "1000000000",
    ]);
    let elsewhere = world.route("elsewhere");
    world.admin.ok(&[
        "update-auth-method-k8s",
        "-n",
        "elsewhere",
        "--bound-ips",
        "10.9.9.0/24",
    ]);
    let gateway_elsewhere = world.route("gw-elsewhere");
    world.admin.ok(&[
        "update-auth-method-k8s",
        "-n",
        "gw-elsewhere",
        "--gw-bound-ips",
        "10.9.9.9",
    ]);
    let audience = world.route("audience");
    world.admin.ok(&[
        "update-auth-method-k8s",
        "-n",
        "audience",
        "--audience",
        "postern",
    ]);

    let cluster = world.cluster();
    let mypod1 = world.pod_token("mypod1");
    let in_other_namespace = cluster.pod_token("my-namespace-b", "mypod1").unwrap();
    let deleted = world.pod_token("mypod2");
    cluster.delete_pod("my-namespace-a", "mypod2").unwrap();
    let unbound = cluster
        .create_token("my-namespace-a", "default", &TokenOptions::default())
        .unwrap();
    let for_another_service = TokenOptions {
        pod: Some("mypod1".to_owned()),
        audiences: vec!["vault".to_owned()],
        ..TokenOptions::default()
    };
    let for_another_service = cluster
        .create_token("my-namespace-a", "default", &for_another_service)
        .unwrap();
    let legacy = cluster
        .legacy_token("my-namespace-a", "default", "legacy")
        .unwrap();
    let (head, signature) = mypod1.rsplit_once('.').unwrap();
    let mut tampered: String = signature.to_owned();
    tampered.replace_range(
        10..12,
        if &signature[10..12] == "AA" {
            "BB"
        } else {
            "AA"
        },
    );

    let rs256 = json!({ "alg": "RS256", "typ": "JWT" });
    let case = |what, method: &Method, token: &str, reason, review| Case {
        what,
        access_id: method.access_id.clone(),
        config: method.name.clone(),
        token: token.to_owned(),
        reason,
        review,
    };
    let claim = |change: fn(&mut Value)| forged(world, rs256.clone(), change);
    let header = |header: Value| forged(world, header, |_| ());
    let (never, allowed) = (Review::Never, Review::Allowed);
    vec![
        case(
            "another pod",
            &good,
            &world.pod_token("mypod3"),
            "POD_NAME_NOT_BOUND",
            allowed,
        ),
        case(
            "another namespace",
            &good,
            &in_other_namespace,
            "NAMESPACE_NOT_BOUND",
            allowed,
        ),
        case("a token of no pod", &good, &unbound, "POD_MISSING", allowed),
        Case {
            config: "unknown".to_owned(),
            ..case("an unknown config", &good, &mypod1, "CONFIG_UNKNOWN", never)
        },
        Case {
            access_id: other.access_id,
            ..case(
                "another's access ID",
                &good,
                &mypod1,
                "ACCESS_ID_MISMATCH",
                never,
            )
        },
        Case {
            access_id: "p-AAAAAAAAAAkA".to_owned(),
            ..case(
                "an unknown access ID",
                &good,
                &mypod1,
                "ACCESS_ID_MISMATCH",
                never,
            )
        },
        case(
            "a forged token",
            &good,
            &claim(|_| ()),
            "TOKEN_NOT_AUTHENTICATED",
            allowed,
        ),
        case(
            "a changed signature",
            &good,
            &format!("{head}.{tampered}"),
            "TOKEN_NOT_AUTHENTICATED",
            allowed,
        ),
        case(
            "a deleted pod",
            &good,
            &deleted,
            "TOKEN_NOT_AUTHENTICATED",
            allowed,
        ),
        case(
            "a token for another service",
            &good,
            &for_another_service,
            "TOKEN_NOT_AUTHENTICATED",
            allowed,
        ),
        case(
            "an expired token",
            &good,
            &claim(|c| c["exp"] = json!(1_000_000_000)),
            "TOKEN_EXPIRED",
            never,
        ),
        case(
            "a token of later",
            &good,
            &claim(|c| c["nbf"] = json!(3_999_999_999_u64)),
            "TOKEN_NOT_YET_VALID",
            never,
        ),
        case(
            "another issuer",
            &good,
            &claim(|c| c["iss"] = json!("https://evil")),
            "TOKEN_ISSUER_NOT_TRUSTED",
            never,
        ),
        case(
            "no issuer",
            &good,
            &claim(|c| {
                c.as_object_mut().unwrap().remove("iss");
            }),
            "TOKEN_ISSUER_NOT_TRUSTED",
            never,
        ),
        case(
            "a legacy token",
            &good,
            &legacy,
            "TOKEN_WITHOUT_EXPIRY",
            never,
        ),
        case(
            "no algorithm",
            &good,
            &header(json!({ "alg": "none" })),
            "TOKEN_ALGORITHM_NOT_ALLOWED",
            never,
        ),
        case(
            "a shared secret",
            &good,
            &header(json!({ "alg": "HS256" })),
            "TOKEN_ALGORITHM_NOT_ALLOWED",
            never,
        ),
        case(
            "a key of its own",
            &good,
            &header(json!({ "alg": "RS256", "jku": "https://evil" })),
            "TOKEN_HEADER_NOT_ALLOWED",
            never,
        ),
        case(
            "no signature",
            &good,
            &format!("{head}."),
            "TOKEN_SIGNATURE_EMPTY",
            never,
        ),
        case(
            "not the listed audience",
            &audience,
            &mypod1,
            "TOKEN_AUDIENCE_NOT_ACCEPTED",
            never,
        ),
        case(
            "a disabled method",
            &disabled,
            &mypod1,
            "METHOD_DISABLED",
            never,
        ),
        case("a disabled config", &off, &mypod1, "CONFIG_DISABLED", never),
        case(
            "access that has ended",
            &expired,
            &mypod1,
            "ACCESS_EXPIRED",
            never,
        ),
        case(
            "a client's address",
            &elsewhere,
            &mypod1,
            "CLIENT_IP_NOT_BOUND",
            never,
        ),
        case(
            "the gateway's address",
            &gateway_elsewhere,
            &mypod1,
            "GATEWAY_IP_NOT_BOUND",
            allowed,
        ),
    ]
}

#[test]
fn every_refusal_looks_the_same_and_its_reason_is_in_the_audit() {
    let world = World::start();
    for case in set_up(&world) {
        let before = world.cluster().reviews();
        let id = world
            .log_in(&case.access_id, &case.config, &case.token)
            .refused();
        let reviews = world.cluster().reviews() - before;
        assert!(
            reviews == 0 || case.review == Review::Allowed,
            "{}: {reviews} reviews",
            case.what
        );
        let record = world.audited(&id);
        assert_eq!(record["reason"], case.reason, "{}", case.what);
        assert_eq!(record["event"], "login.denied", "{}", case.what);
        assert_eq!(record["request_id"], id.as_str());
        let unknown = matches!(case.reason, "CONFIG_UNKNOWN");
        let name = if unknown { "unknown" } else { &case.config };
        let config = record["k8s_auth_config"].as_str().unwrap();
        assert!(config.ends_with(name), "{}: {config}", case.what);
        let verified = record["facts"].is_object();
        assert_eq!(
            verified,
            case.review == Review::Allowed && case.reason != "TOKEN_NOT_AUTHENTICATED"
        );
    }
}

#[test]
fn refusals_have_one_code_one_message_and_one_size() {
    let world = World::start();
    let mut client = AuthServiceClient::new(world.gateway().channel());
    let mut seen: Option<(Code, String, usize, Vec<String>)> = None;
    for case in set_up(&world) {
        let message = pb::AuthenticateRequest {
            token_audiences: Vec::new(),
            access_id: case.access_id,
            k8s_auth_config: case.config,
            credential: Some(pb::authenticate_request::Credential::ServiceAccountToken(
                case.token,
            )),
        };
        let status = world
            .block_on(client.authenticate(request(message)))
            .unwrap_err();
        let mut keys: Vec<String> = status
            .metadata()
            .as_ref()
            .keys()
            .map(ToString::to_string)
            .collect();
        keys.sort();
        let got = (
            status.code(),
            status.message().to_owned(),
            status.details().len(),
            keys,
        );
        assert_eq!(got.0, Code::Unauthenticated, "{}", case.what);
        let first = seen.get_or_insert_with(|| got.clone());
        assert_eq!(*first, got, "{}", case.what);
    }
}

#[test]
fn what_the_api_server_leaves_out_is_a_no() {
    let world = World::start();
    let method = world.route("absent");
    let other_user = json!({ "user": { "username": "system:serviceaccount:other:default" } });
    for (patch, reason) in [
        (json!({ "authenticated": null }), "TOKEN_NOT_AUTHENTICATED"),
        (json!({ "authenticated": false }), "TOKEN_NOT_AUTHENTICATED"),
        (json!({ "error": "something" }), "TOKEN_NOT_AUTHENTICATED"),
        (json!({ "user": null }), "NOT_A_SERVICE_ACCOUNT"),
        (json!({ "user": { "uid": null } }), "NOT_A_SERVICE_ACCOUNT"),
        (
            json!({ "user": { "username": "my-namespace-a:default" } }),
            "NOT_A_SERVICE_ACCOUNT",
        ),
        (
            json!({ "user": { "username": "system:serviceaccount:my-namespace-a:" } }),
            "NOT_A_SERVICE_ACCOUNT",
        ),
        (json!({ "user": { "extra": null } }), "POD_MISSING"),
        (other_user, "TOKEN_CLAIMS_DIFFER"),
    ] {
        world.cluster().set_fault(Fault::Patch(patch.clone()));
        // A refusal is remembered for a moment.
        let token = world.pod_token("mypod1");
        let id = world.log_in(&method.access_id, "absent", &token).refused();
        assert_eq!(world.audited(&id)["reason"], reason, "{patch}");
    }
    world.cluster().set_fault(Fault::None);
    let token = world.pod_token("mypod1");
    world.log_in(&method.access_id, "absent", &token).success();
}

#[test]
fn a_changed_rule_holds_for_the_next_login() {
    let world = World::start();
    let method = world.route("changing");
    let token = world.pod_token("mypod1");
    for _ in 0..3 {
        world.admin.ok(&[
            "update-auth-method-k8s",
            "-n",
            "changing",
            "--bound-pod-names",
            "other",
        ]);
        let id = world
            .log_in(&method.access_id, "changing", &token)
            .refused();
        assert_eq!(world.audited(&id)["reason"], "POD_NAME_NOT_BOUND");
        world.admin.ok(&[
            "update-auth-method-k8s",
            "-n",
            "changing",
            "--bound-pod-names",
            "my*",
        ]);
        // A rule that lets in is not looked for again at a refusal: it comes with the next change.
        crate::support::eventually("a login", Duration::from_secs(2), || {
            let output = world.log_in(&method.access_id, "changing", &token);
            (output.code == 0).then_some(())
        });
    }
    world
        .admin
        .ok(&["delete-auth-method", "-n", "changing", "--force"]);
    world
        .log_in(&method.access_id, "changing", &token)
        .refused();
}

#[test]
fn a_flood_of_refusals_is_counted_and_not_stored_one_by_one() {
    let world = World::start();
    let method = world.route("flood");
    let token = world.pod_token("mypod1");
    let mut client = AuthServiceClient::new(world.gateway().channel());
    for _ in 0..40 {
        let message = pb::AuthenticateRequest {
            token_audiences: Vec::new(),
            access_id: method.access_id.clone(),
            k8s_auth_config: "nowhere".to_owned(),
            credential: Some(pb::authenticate_request::Credential::ServiceAccountToken(
                token.clone(),
            )),
        };
        let status = world
            .block_on(client.authenticate(request(message)))
            .unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
    }
    // The minute's rest becomes a record when the minute is over.
    world.advance(61);
    let count = || {
        let events = world.admin.json(&["audit", "list", "--limit", "500"]);
        let events = events["audit_events"].as_array().unwrap().clone();
        let denied: Vec<_> = events
            .into_iter()
            .filter(|e| e["reason"] == "CONFIG_UNKNOWN")
            .collect();
        let total: i64 = denied
            .iter()
            .map(|e| e["count"].as_i64().unwrap().max(1))
            .sum();
        (total == 40).then_some(denied.len())
    };
    let records = crate::support::eventually("40 refusals", Duration::from_secs(5), count);
    assert!((11..=22).contains(&records), "{records} records");
}
