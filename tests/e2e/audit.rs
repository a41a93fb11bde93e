//! What happened is on record, once and whole; and who looks finds it.

mod retention;
mod streams;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::Arc;
use std::time::Duration;

use postern_core::access_token::AccessKey;
use postern_core::audit::EventKind;
use postern_dev::StackOptions;
use postern_proto::pb;
use postern_proto::pb::access_key_auth_service_client::AccessKeyAuthServiceClient;
use postern_proto::pb::audit_service_client::AuditServiceClient;
use postern_proto::pb::auth_method_service_client::AuthMethodServiceClient;
use serde_json::Value;
use test_support::capture::LogBuffer;
use tonic::Code;

use crate::support::{Method, World, eventually, request};

const SOON: Duration = Duration::from_secs(10);

fn listed(world: &World, flags: &[&str]) -> Vec<Value> {
    let args = [&["audit", "list", "--limit=500"], flags].concat();
    let list = world.admin.json(&args);
    list["audit_events"].as_array().unwrap().clone()
}

fn log_in(world: &World, method: &Method, pod: &str) -> crate::support::Output {
    world.log_in(&method.access_id, &method.name, &world.pod_token(pod))
}

/// Somebody who hasn't got the administrator's key.
fn wrong_key(world: &World) {
    let message = pb::AuthenticateAccessKeyRequest {
        access_id: world.stack().admin().access_id.clone(),
        access_key: AccessKey::generate().unwrap().expose().to_owned(),
        gateway: String::new(),
    };
    let mut client = AccessKeyAuthServiceClient::new(world.control_plane().channel());
    let refused = world.block_on(client.authenticate_access_key(request(message)));
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
}

/// The seal of a request's record, once there is one.
fn seal_of(world: &World, request_id: &str) -> i64 {
    eventually("a sealed record", SOON, || {
        let seal = world.audited(request_id)["seal"].as_i64().unwrap();
        (seal > 0).then_some(seal)
    })
}

/// The report of a verification, whatever it found.
fn verified(world: &World, flags: &[&str]) -> Value {
    let args = [&["audit", "verify", "--json"], flags].concat();
    let output = world.admin.run(&args);
    let report: Value = serde_json::from_str(&output.stdout).unwrap();
    let whole = report["summary"]["findings"] == 0;
    assert_eq!(output.code, i32::from(!whole), "{}", output.stderr);
    report
}

fn faults(report: &Value) -> Vec<(&str, i64)> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings
        .map(|f| {
            (
                f["fault"].as_str().unwrap(),
                f["sequence"].as_i64().unwrap(),
            )
        })
        .collect()
}

/// What this test causes, and sees recorded. Another event is one that another test names.
const CAUSED: &[EventKind] = &[
    EventKind::LoginGranted,
    EventKind::LoginDenied,
    EventKind::LoginExplained,
    EventKind::LoginSimulated,
    EventKind::AccessKeyGranted,
    EventKind::AccessKeyDenied,
    EventKind::DeploymentBootstrapped,
    EventKind::AuthMethodCreated,
    EventKind::AuthMethodUpdated,
    EventKind::AuthMethodDeleted,
    EventKind::ConfigCreated,
    EventKind::ConfigUpdated,
    EventKind::ConfigDeleted,
    EventKind::GatewayCreated,
    EventKind::GatewayDeleted,
    EventKind::RoleCreated,
    EventKind::RoleUpdated,
    EventKind::RoleDeleted,
    EventKind::AssociationCreated,
    EventKind::AssociationUpdated,
    EventKind::AssociationDeleted,
    EventKind::AdminCalled,
    EventKind::AdminRefused,
];

fn do_everything(world: &World) {
    let method = world.route("all");
    log_in(world, &method, "mypod1").success();
    log_in(world, &method, "mypod3").refused();
    let token = world.admin.file("token", &world.pod_token("mypod1"));
    let explain = ["explain", "--config", "all", "--token-file", &token];
    world.admin.ok(&explain);
    let pod = ["--namespace", "my-namespace-a", "--pod", "mypod1"];
    world
        .admin
        .ok(&[&["simulate", "--config", "all"], &pod[..]].concat());
    wrong_key(world);
    world.admin.ok(&["create-role", "-n", "r"]);
    let rule = ["set-role-rule", "-r", "r", "-p", "/x", "-c", "read"];
    world.admin.ok(&rule);
    let associated = world.admin.json(&["assoc-role-am", "-r", "r", "-a", "all"]);
    let association = associated["assoc_id"].as_str().unwrap();
    world
        .admin
        .ok(&["update-assoc", "-a", association, "-s", "pod_name=x"]);
    world.admin.ok(&["delete-assoc", "-a", association]);
    world.admin.ok(&["delete-role", "-n", "r"]);
    let describe = ["--description", "x"];
    world
        .admin
        .ok(&[&["update-auth-method-k8s", "-n", "all"], &describe[..]].concat());
    world
        .admin
        .ok(&["gateway-update-k8s-auth-config", "-n", "all", "--disabled"]);
    world
        .admin
        .ok(&["gateway-delete-k8s-auth-config", "-n", "all"]);
    world.admin.ok(&["delete-auth-method", "-n", "all"]);
    world.admin.ok(&[
        "gateway",
        "create",
        "-n",
        "other",
        "--url",
        "https://other:8000",
    ]);
    world.admin.ok(&["gateway", "delete", "-n", "other"]);
    world
        .admin
        .run(&["delete-auth-method", "-n", "all"])
        .fails(4, &["not found"]);
}

#[test]
fn every_event_of_the_list_is_recorded() {
    let world = World::start();
    do_everything(&world);
    let wanted: BTreeSet<&str> = CAUSED.iter().map(|kind| kind.as_str()).collect();
    let missing = || {
        let events = listed(&world, &[]);
        let seen: BTreeSet<&str> = events
            .iter()
            .map(|e| e["event"].as_str().unwrap())
            .collect();
        let missing: Vec<&str> = wanted.difference(&seen).copied().collect();
        missing.is_empty().then_some(())
    };
    eventually("a record of each event", SOON, missing);
    let tests = crate::documents::tests_but("e2e/audit.rs");
    for kind in EventKind::ALL.iter().filter(|kind| !CAUSED.contains(kind)) {
        let names = [
            format!("EventKind::{kind:?}"),
            format!("\"{}\"", kind.as_str()),
        ];
        assert!(
            names.iter().any(|name| tests.contains(name)),
            "no test looks for a record of {}",
            kind.as_str()
        );
    }
}

#[test]
fn what_is_done_to_the_record_is_found_and_named_by_verify() {
    let log = LogBuffer::default();
    let written = log.clone();
    let world = World::with(StackOptions {
        audit: Arc::new(move || Box::new(written.clone())),
        ..StackOptions::default()
    });
    let method = world.route("m");
    let id = log_in(&world, &method, "mypod3").refused();
    let seal = seal_of(&world, &id);
    let record = world.audited(&id);
    let report = verified(&world, &[]);
    assert_eq!(report["findings"].as_array().unwrap().len(), 0);
    let head = &report["summary"]["head"];
    let head = format!("{}:{}", head["sequence"], head["digest"].as_str().unwrap());
    let kept = world.admin.file("audit.log", &log.contents());
    assert_eq!(faults(&verified(&world, &["--head", &head])), []);
    assert_eq!(faults(&verified(&world, &["--log", &kept])), []);

    world.sql(&format!(
        "UPDATE audit_events SET reason = '' WHERE request_id = '{id}'"
    ));
    let report = verified(&world, &[]);
    assert_eq!(faults(&report), [("RECORD_ALTERED", seal)]);
    assert_eq!(report["findings"][0]["record_id"], record["id"]);
    world.sql(&format!(
        "DELETE FROM audit_events WHERE request_id = '{id}'"
    ));
    assert_eq!(faults(&verified(&world, &[])), [("RECORD_REMOVED", seal)]);
    let output = world.admin.run(&["audit", "verify"]);
    assert_eq!(output.code, 1);
    assert!(
        output.stdout.contains("RECORD_REMOVED"),
        "{}",
        output.stdout
    );
    assert!(output.stderr.contains("isn't whole"), "{}", output.stderr);

    // The end is cut off, with everything in the database that speaks of it.
    for statement in [
        "DELETE FROM audit_events WHERE seal > 1".to_owned(),
        "DELETE FROM audit_events WHERE seal IS NULL".to_owned(),
        "DELETE FROM audit_seals WHERE sequence > 1".to_owned(),
        "UPDATE audit_chain SET sequence = 1, digest = (SELECT digest FROM audit_seals WHERE sequence = 1)".to_owned(),
    ] {
        world.sql(&statement);
    }
    let found = verified(&world, &["--head", &head]);
    assert_ne!(
        found["summary"]["findings"], 0,
        "a head that was kept tells"
    );
    let found = verified(&world, &["--log", &kept]);
    assert_ne!(found["summary"]["findings"], 0, "and so does the log");
    let wrong = world.admin.run(&["audit", "verify", "--head", "7"]);
    wrong.fails(2, &["--head", "SEQUENCE:DIGEST"]);
}

/// `postern audit tail`, until it is dropped.
struct Tail {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Tail {
    fn start(world: &World, flags: &[&str]) -> Self {
        let mut command = world.admin.command();
        command.args(["audit", "tail", "--json"]).args(flags);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn next(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn a_tail_prints_records_as_they_come_and_goes_on_after_a_restart_without_missing_one() {
    let mut world = World::start();
    let method = world.route("m");
    let filter = ["--event", "login.denied", "--namespace", "my-namespace-a"];
    // From the beginning: nothing depends on when it is connected.
    let beginning = ["--cursor", "MA"];
    let mut tail = Tail::start(&world, &[&filter[..], &beginning].concat());
    let first = log_in(&world, &method, "mypod3").refused();
    let printed = tail.next();
    assert_eq!(printed["request_id"], first.as_str());
    assert_eq!(printed["reason"], "POD_NAME_NOT_BOUND");
    let second = log_in(&world, &method, "mypod3").refused();
    world.audited(&second);
    world.stop_control_plane();
    world.start_control_plane();
    world.ready();
    let third = log_in(&world, &method, "mypod3").refused();
    assert_eq!(tail.next()["request_id"], second.as_str());
    assert_eq!(tail.next()["request_id"], third.as_str());
    let cursor = printed["cursor"].as_str().unwrap();
    let mut resumed = Tail::start(&world, &[&filter[..], &["--cursor", cursor]].concat());
    assert_eq!(resumed.next()["request_id"], second.as_str());
}

#[test]
fn a_revoked_administrator_loses_an_open_stream() {
    let world = World::start();
    let token = world.administrator_token("");
    let caller = world.control_plane().with(&token);
    world.block_on(async {
        let mut client = AuditServiceClient::new(caller.channel());
        let request = caller.request(pb::TailAuditEventsRequest::default());
        let mut stream = client
            .tail_audit_events(request)
            .await
            .unwrap()
            .into_inner();
        assert!(
            stream.message().await.unwrap().is_some(),
            "a cursor comes at once"
        );
        // All that a revocation leaves of a token.
        let mut database = crate::support::Database::open(world.stack().database_url()).await;
        database
            .execute("DELETE FROM tokens WHERE gateway_uid IS NULL")
            .await;
        let ended = async {
            loop {
                match stream.message().await {
                    Ok(Some(_)) => {}
                    ended => return ended.unwrap_err(),
                }
            }
        };
        let status = tokio::time::timeout(Duration::from_secs(3), ended).await;
        assert_eq!(status.unwrap().code(), Code::Unauthenticated);
    });
}

#[test]
fn the_request_id_of_every_call_of_an_administrator_finds_its_record() {
    let world = World::start();
    world.method("m");
    let token = world.administrator_token("");
    let narrowed = world.administrator_token("default");
    let admin = world.control_plane().with(&token);
    let call = async |caller: &crate::support::Caller, id: &str| {
        let mut client = AuthMethodServiceClient::new(caller.channel());
        let message = pb::GetAuthMethodRequest {
            name: format!("authMethods/{id}"),
        };
        match client.get_auth_method(caller.request(message)).await {
            Ok(answer) => answer.metadata().clone(),
            Err(status) => status.metadata().clone(),
        }
    };
    let record = |metadata: &tonic::metadata::MetadataMap| {
        let id = metadata.get("x-request-id").unwrap().to_str().unwrap();
        world.audited(id)
    };
    let method = "/postern.v1.AuthMethodService/GetAuthMethod";
    let read = record(&world.block_on(call(&admin, "m")));
    assert_eq!(
        (&read["event"], &read["resource"]),
        (&"admin.called".into(), &method.into())
    );
    assert!(!read["access_id"].as_str().unwrap().is_empty());
    let refused = record(&world.block_on(call(&admin, "nothing")));
    assert_eq!(
        (&refused["event"], &refused["reason"]),
        (&"admin.refused".into(), &"NOT_FOUND".into())
    );
    for (caller, reason) in [
        (world.control_plane(), "UNAUTHENTICATED"),
        (world.control_plane().with("t-nobody"), "UNAUTHENTICATED"),
        (world.control_plane().with(&narrowed), "PERMISSION_DENIED"),
    ] {
        let refused = record(&world.block_on(call(&caller, "m")));
        assert_eq!(
            (&refused["event"], &refused["reason"]),
            (&"admin.refused".into(), &reason.into())
        );
        assert_eq!(refused["resource"], method);
    }
    // A path can be anything, a token included.
    let path = "/postern.v1.AuthMethodService/eyJhbGciOiJ";
    let odd = world.block_on(admin.send(path, pb::GetServerInfoRequest {}));
    let id = odd.unwrap_err().request_id.unwrap();
    assert_eq!(world.audited(&id)["resource"], "unknown");
}

#[test]
fn records_are_found_by_what_they_say_and_exported_as_lines_of_json() {
    let world = World::start();
    let method = world.route("m");
    let other = world.route("other");
    let denied = log_in(&world, &method, "mypod3").refused();
    log_in(&world, &other, "mypod1").success();
    world.audited(&denied);
    let one = |flags: &[&str]| {
        let found = listed(&world, flags);
        assert_eq!(found.len(), 1, "{flags:?}: {found:?}");
        found[0].clone()
    };
    let of = ["--access-id", &method.access_id, "--event", "login.denied"];
    assert_eq!(one(&of)["request_id"], denied.as_str());
    let pod = [
        "--namespace",
        "my-namespace-a",
        "--service-account",
        "default",
        "--pod",
        "mypod3",
    ];
    assert_eq!(one(&pod)["request_id"], denied.as_str());
    let config = "gateways/default/k8sAuthConfigs/other";
    let granted = one(&["--config", config, "--event", "login.granted", "--since=1h"]);
    assert!(granted["token_expire_time"].is_string(), "{granted}");
    assert_eq!(listed(&world, &["--until=1h"]).len(), 0);
    assert_eq!(
        one(&["--reason", "POD_NAME_NOT_BOUND", "--gateway", "default"])["rule"],
        0
    );
    let unknown = world.admin.run(&["audit", "list", "--event", "login.deny"]);
    unknown.fails(2, &["--event <EVENT>", "login.denied, "]);

    let file = world.admin.home().join("export.jsonl");
    let export = [
        "audit",
        "export",
        "--event",
        "login.denied",
        "--file",
        file.to_str().unwrap(),
    ];
    world.admin.ok(&export);
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (lines.len(), &lines[0]["request_id"]),
        (1, &denied.as_str().into())
    );
    let all = world.admin.ok(&["audit", "export"]);
    assert!(all.lines().count() > 10 && all.lines().all(|line| line.starts_with('{')));

    let counted = || {
        let stats = world.admin.json(&["audit", "stats"]);
        let stats = stats["stats"].as_array().unwrap().clone();
        let count = |result: &str| {
            let of = stats.iter().filter(|stat| stat["result"] == result);
            of.map(|stat| stat["count"].as_i64().unwrap()).sum::<i64>()
        };
        ((count("granted"), count("denied")) == (1, 1)).then_some(())
    };
    eventually("two logins counted", SOON, counted);
}

#[test]
fn a_flood_of_wrong_keys_is_ten_records_and_one_with_the_rest() {
    let world = World::start();
    for _ in 0..25 {
        wrong_key(&world);
    }
    world.advance(61);
    let count = || {
        let denied = listed(&world, &["--event", "access_key.denied"]);
        let total: i64 = denied.iter().map(|e| e["count"].as_i64().unwrap()).sum();
        (total == 25).then_some(denied.len())
    };
    let records = eventually("25 refusals", SOON, count);
    // Two minutes may have had a part of them.
    assert!((11..=22).contains(&records), "{records} records");
}
