//! Open streams of records, and the token that each was opened with.

use std::time::Duration;

use postern_dev::StackOptions;
use postern_proto::pb::audit_service_client::AuditServiceClient;
use postern_proto::pb::{self, FILE_DESCRIPTOR_SET};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use sqlx::{Connection as _, PgConnection};
use test_support::postgres::Postgres;
use tokio::runtime::Runtime;
use tonic::{Code, Status, Streaming};

use crate::support::{Caller, World};

type Records = Streaming<pb::TailAuditEventsResponse>;

/// A token of an administrator's method with those flags.
fn token(world: &World, flags: &[&str]) -> String {
    let create = ["auth-method", "create", "access-key", "-n", "reader"];
    let made = world
        .admin
        .json(&[&create[..], &["--role", "admin"], flags].concat());
    let text = |field: &str| made[field].as_str().unwrap().to_owned();
    world.log_in_with_key(&text("access_id"), &text("access_key"), "")
}

/// Its first cursor has come.
async fn opened(caller: &Caller) -> Records {
    let mut client = AuditServiceClient::new(caller.channel());
    let request = caller.request(pb::TailAuditEventsRequest::default());
    let mut stream = client.tail_audit_events(request).await.unwrap();
    assert!(stream.get_mut().message().await.unwrap().is_some());
    stream.into_inner()
}

async fn ended<T: std::fmt::Debug>(stream: &mut Streaming<T>) -> Status {
    let ended = async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                ended => return ended.unwrap_err(),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), ended)
        .await
        .unwrap()
}

#[test]
fn an_open_stream_is_one_use_however_often_its_token_is_looked_at() {
    let world = World::start();
    let caller = world
        .control_plane()
        .with(&token(&world, &["--token-num-uses", "2"]));
    world.block_on(async {
        // The token was looked at before the first message.
        let mut stream = opened(&caller).await;
        let request = caller.request(pb::ListAuditEventsRequest::default());
        let mut client = AuditServiceClient::new(caller.channel());
        let listed = client.list_audit_events(request).await;
        assert!(listed.is_ok(), "the second use of two: {listed:?}");
        assert_eq!(ended(&mut stream).await.code(), Code::Unauthenticated);
    });
}

#[test]
fn an_open_stream_ends_when_its_callers_address_is_bound_no_longer() {
    let world = World::start();
    let caller = world.control_plane().with(&token(&world, &[]));
    let mut stream = world.block_on(opened(&caller));
    let update = ["auth-method", "update", "access-key", "-n", "reader"];
    world
        .admin
        .ok(&[&update[..], &["--bound-ips", "192.0.2.0/24"]].concat());
    let status = world.block_on(ended(&mut stream));
    assert_eq!(status.code(), Code::PermissionDenied);
}

const TAIL: &str = "/postern.v1.AuditService/TailAuditEvents";
const VERIFY: &str = "/postern.v1.AuditService/VerifyAuditLog";
const WATCH: &str = "/postern.v1.GatewaySyncService/Watch";

/// Every method whose answer is a stream.
fn streaming() -> Vec<String> {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let mut paths = Vec::new();
    for file in &set.file {
        for service in &file.service {
            let streams = service.method.iter().filter(|m| m.server_streaming());
            let path = |m: &str| format!("/{}.{}/{m}", file.package(), service.name());
            paths.extend(streams.map(|m| path(m.name())));
        }
    }
    paths.sort();
    paths
}

#[test]
fn whose_token_is_revoked_loses_every_open_stream_even_one_that_waits_for_the_database() {
    assert_eq!(streaming(), [TAIL, VERIFY, WATCH]);
    let runtime = Runtime::new().unwrap();
    let Some(postgres) = runtime.block_on(Postgres::shared()) else {
        return;
    };
    let database = runtime.block_on(postgres.database());
    let world = World::with(StackOptions {
        database_url: Some(database.url().to_owned()),
        ..StackOptions::default()
    });
    // A verification ends by itself, unless it can't read.
    let mut barrier = world
        .block_on(PgConnection::connect(database.url()))
        .unwrap();
    for (path, token) in [
        (TAIL, world.administrator_token("")),
        (WATCH, world.gateway_token()),
        (VERIFY, world.administrator_token("")),
    ] {
        let caller = world.control_plane().with(&token);
        let file = world.admin.file("token", &token);
        let lock = match path {
            VERIFY => "BEGIN; LOCK TABLE audit_seals IN ACCESS EXCLUSIVE MODE",
            _ => "BEGIN",
        };
        world
            .block_on(sqlx::raw_sql(lock).execute(&mut barrier))
            .unwrap();
        let watch = pb::WatchRequest {
            instance: "a-replica".to_owned(),
            ..pb::WatchRequest::default()
        };
        let stream = match path {
            WATCH => world.block_on(caller.open(path, watch)),
            _ => world.block_on(caller.open(path, ())),
        };
        let mut stream = stream.unwrap();
        world.admin.ok(&["token", "revoke", "--token-file", &file]);
        let status = world.block_on(ended(&mut stream));
        assert_eq!(status.code(), Code::Unauthenticated, "{path}: {status}");
        world
            .block_on(sqlx::raw_sql("ROLLBACK").execute(&mut barrier))
            .unwrap();
    }
}
