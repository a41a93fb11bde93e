//! Tokens taken away, subjects blocked, and what one workload may have, from the command line.

use std::time::Duration;

use postern_control_plane::SubjectLimits;
use postern_proto::pb;
use postern_proto::pb::blocked_subject::Subject;
use postern_proto::pb::token_admin_service_client::TokenAdminServiceClient;
use postern_rpc::error::Failure;
use serde_json::Value;

use crate::support::{Method, World, eventually};

const UID: &str = "5b7b1a3e-0000-4000-8000-000000000002";

fn names(document: &Value, list: &str) -> Vec<String> {
    let items = document[list].as_array().unwrap().iter();
    items
        .map(|item| item["name"].as_str().unwrap_or_default().to_owned())
        .collect()
}

/// The API's violations, whatever the command line would have refused itself.
fn violations<T>(answer: Result<T, tonic::Status>) -> Vec<String> {
    let failure = Failure::from(answer.err().unwrap());
    assert_eq!(failure.code, tonic::Code::InvalidArgument);
    let fields = failure.violations.into_iter();
    fields.map(|violation| violation.field).collect()
}

fn of_method(method: &Method) -> [&str; 4] {
    ["token", "list", "--auth-method", &method.name]
}

#[test]
fn tokens_are_listed_shown_counted_and_taken_away_in_bulk() {
    let world = World::shared();
    let (method, other) = (world.route("bulk"), world.route("spared"));
    world.token(&method);
    world.token(&method);
    world.token(&other);
    let listed = world.admin.json(&of_method(&method));
    assert_eq!(names(&listed, "tokens").len(), 2);
    let token = &listed["tokens"][0];
    assert_eq!(token["kind"], "kubernetes");
    assert_eq!(token["access_id"], method.access_id.as_str());
    assert_eq!(token["namespace"], "my-namespace-a");
    assert_eq!(
        token["k8s_auth_config"],
        "gateways/default/k8sAuthConfigs/bulk"
    );
    assert!(!listed.to_string().contains("t-"), "never a token");
    let accessor = token["name"].as_str().unwrap().replace("tokens/", "");
    let shown = world.admin.json(&["token", "get", &accessor]);
    assert_eq!(&shown, token);
    let table = world.admin.ok(&of_method(&method));
    assert!(
        table.contains("ACCESSOR") && table.contains(&accessor),
        "{table}"
    );

    let revoke = ["token", "revoke", "--auth-method", &method.access_id];
    let counted = world
        .admin
        .ok(&[&revoke[..], &["--validate-only"]].concat());
    assert_eq!(counted, "2 tokens would be revoked; nothing was changed.\n");
    assert_eq!(
        names(&world.admin.json(&of_method(&method)), "tokens").len(),
        2
    );
    assert_eq!(world.admin.json(&revoke)["revoked"], 2);
    assert_eq!(
        world.admin.json(&revoke)["revoked"],
        0,
        "again changes nothing"
    );
    assert_eq!(
        names(&world.admin.json(&of_method(&method)), "tokens").len(),
        0
    );
    assert_eq!(
        names(&world.admin.json(&of_method(&other)), "tokens").len(),
        1
    );
    world
        .admin
        .run(&["token", "get", &accessor])
        .fails(4, &["not found"]);
    world.token(&method);
}

#[test]
fn what_is_asked_wrongly_is_said_field_by_field_and_takes_nothing() {
    let world = World::shared();
    let fails = |args: &[&str], code, parts: &[&str]| {
        world.admin.run(args).fails(code, parts);
    };
    fails(
        &["token", "revoke", "--validate-only"],
        2,
        &["say whose tokens"],
    );
    fails(
        &["token", "revoke", "--namespace", "pay", "--accessor", "a-x"],
        2,
        &["the one or the other"],
    );
    fails(
        &["token", "revoke", "--auth-method", "nope"],
        4,
        &["authMethods/nope"],
    );
    fails(
        &[
            "token",
            "revoke",
            "--namespace",
            "*",
            "--service-account",
            "a",
        ],
        2,
        &["namespace", "service_account", "namespace/name"],
    );
    fails(&["token", "revoke", "--pod-uid="], 2, &["--pod-uid"]);
    fails(&["block", "service-account", "pay"], 2, &["namespace/name"]);
    fails(
        &["block", "pod", UID, "--end", "2020-01-01T00:00:00Z"],
        2,
        &["end_time", "past"],
    );
    let config = ["--k8s-auth-config", "gateways/default/k8sAuthConfigs/nope"];
    fails(
        &[&["block", "pod", UID][..], &config].concat(),
        4,
        &["k8sAuthConfigs/nope"],
    );
    fails(&["unblock", "pod", "never-blocked"], 4, &["not found"]);
}

#[test]
fn what_is_no_uid_is_refused_and_never_said_to_be_blocked_or_revoked() {
    let world = World::shared();
    for uid in ["not-a-uid", "mypod1", &UID.to_uppercase()] {
        for (args, flag) in [
            (&["block", "pod", uid][..], "UID"),
            (&["block", "service-account", "--uid", uid], "--uid"),
            (&["token", "revoke", "--pod-uid", uid], "--pod-uid"),
            (
                &["token", "revoke", "--service-account-uid", uid],
                "--service-account-uid",
            ),
        ] {
            world.admin.run(args).fails(2, &[flag, "no UID"]);
        }
    }
    let caller = world.control_plane().with(&world.administrator_token(""));
    let mut client = TokenAdminServiceClient::new(caller.channel());
    for (subject, field) in [
        (Subject::PodUid("mypod1".to_owned()), "pod_uid"),
        (
            Subject::ServiceAccountUid("x".to_owned()),
            "service_account_uid",
        ),
    ] {
        let subject = Some(pb::BlockedSubject {
            subject: Some(subject),
            ..pb::BlockedSubject::default()
        });
        let request = caller.request(pb::BlockRequest {
            block: Some(pb::Block {
                subject,
                ..pb::Block::default()
            }),
        });
        let blocked = world.block_on(client.block(request));
        assert_eq!(violations(blocked), [format!("block.subject.{field}")]);
    }
    let request = caller.request(pb::RevokeTokensRequest {
        filter: Some(pb::TokenFilter {
            service_account_uid: "x".to_owned(),
            pod_uid: "mypod1".to_owned(),
            ..pb::TokenFilter::default()
        }),
        validate_only: false,
    });
    let revoked = world.block_on(client.revoke_tokens(request));
    let fields = ["filter.service_account_uid", "filter.pod_uid"];
    assert_eq!(violations(revoked), fields);
}

#[test]
fn a_blocked_service_account_gets_no_token_until_it_is_unblocked() {
    let world = World::start();
    let method = world.route("blocked");
    world.token(&method);
    let pod = || world.log_in(&method.access_id, "blocked", &world.pod_token("mypod1"));
    let subject = ["service-account", "my-namespace-a/default"];
    let block = [
        &["block"][..],
        &subject,
        &["--reason", "stolen", "--end", "24h"],
    ]
    .concat();
    let blocked = world.admin.json(&block);
    assert_eq!(blocked["revoked_tokens"], 1);
    assert_eq!(
        blocked["subject"]["service_account"],
        "my-namespace-a/default"
    );
    let id = pod().refused();
    assert_eq!(world.audited(&id)["reason"], "SUBJECT_BLOCKED");
    let listed = world.admin.ok(&["block", "list"]);
    for shown in ["Service account my-namespace-a/default", "stolen"] {
        assert!(listed.contains(shown), "{listed}");
    }
    world.admin.ok(&[&["unblock"][..], &subject].concat());
    assert_eq!(
        names(&world.admin.json(&of_method(&method)), "tokens").len(),
        0
    );
    pod().success();
    world.advance(1);
    let uid = world.admin.json(&of_method(&method))["tokens"][0]["pod_uid"].clone();
    world.admin.ok(&["block", "pod", uid.as_str().unwrap()]);
    pod().refused();
}

#[test]
fn a_workload_that_logs_in_too_often_is_told_when_to_come_again_and_is_on_record() {
    let world = World::limited(SubjectLimits {
        logins_per_minute: 1,
        login_burst: 2,
        live_tokens: 0,
    });
    let method = world.route("often");
    world.token(&method);
    world.token(&method);
    let args = [
        "auth",
        "--access-id",
        &method.access_id,
        "--k8s-auth-config-name",
        "often",
        "--timeout=300ms",
        "--k8s-service-account-token-file",
        "-",
    ];
    let pod_token = world.pod_token("mypod1");
    let output = world.pod.run_with_stdin(&args, &pod_token);
    output.fails(3, &["this workload logs in too often"]);
    let record = eventually("the record of a limit", Duration::from_secs(3), || {
        let all = world.admin.json(&["audit", "list"]);
        let events = all["audit_events"].as_array().unwrap().clone();
        events
            .into_iter()
            .find(|event| event["reason"] == "SUBJECT_LOGIN_LIMIT")
    });
    assert_eq!(record["component"], "gateway");
    assert_eq!(record["facts"]["namespace"], "my-namespace-a");
    world.advance(60);
    world.token(&method);
}
