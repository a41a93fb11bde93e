//! Open streams of records, and the token that each was opened with.

use std::time::Duration;

use postern_proto::pb;
use postern_proto::pb::audit_service_client::AuditServiceClient;
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

async fn ended(stream: &mut Records) -> Status {
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
