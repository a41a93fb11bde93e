//! Access keys whose tokens are good for so many calls.

use postern_proto::pb;
use postern_proto::pb::audit_service_client::AuditServiceClient;
use postern_proto::pb::role_service_client::RoleServiceClient;
use postern_rpc::error::Failure;
use tokio::task::JoinSet;
use tonic::{Code, Status};

use super::on_both_engines;
use crate::support::{Caller, World};

/// A token of a new auditor's key, good for so many calls.
fn auditor(world: &World, name: &str, uses: &str) -> Caller {
    let create = ["auth-method", "create", "access-key", "-n", name];
    let flags = ["--role", "auditor", "--token-num-uses", uses];
    let made = world.admin.json(&[&create[..], &flags].concat());
    let text = |field: &str| made[field].as_str().unwrap();
    let token = world.log_in_with_key(text("access_id"), text("access_key"), "");
    world.control_plane().with(&token)
}

async fn list(caller: Caller) -> Result<(), Status> {
    let request = caller.request(pb::ListAuditEventsRequest::default());
    let mut client = AuditServiceClient::new(caller.channel());
    client.list_audit_events(request).await.map(drop)
}

#[test]
fn an_access_keys_token_makes_exactly_as_many_calls_as_its_method_says_however_many_come_at_once() {
    on_both_engines(|world| {
        for uses in [1, 7] {
            let caller = auditor(world, &format!("of-{uses}"), &uses.to_string());
            let answers = world.block_on(async {
                let mut calls = JoinSet::new();
                for _ in 0..40 {
                    calls.spawn(list(caller.clone()));
                }
                calls.join_all().await
            });
            let (made, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
            assert_eq!(made.len(), uses);
            for status in refused.into_iter().filter_map(Result::err) {
                assert_eq!(status.code(), Code::Unauthenticated, "{status}");
            }
        }
    });
}

#[test]
fn a_call_that_is_denied_is_a_use_too() {
    on_both_engines(|world| {
        let caller = auditor(world, "few", "2");
        let mut roles = RoleServiceClient::new(caller.channel());
        let create = caller.request(pb::CreateRoleRequest {
            role_id: "mine".to_owned(),
            ..pb::CreateRoleRequest::default()
        });
        let denied = Failure::from(world.block_on(roles.create_role(create)).unwrap_err());
        assert_eq!(denied.code, Code::PermissionDenied, "{denied}");
        world.block_on(list(caller.clone())).unwrap();
        let spent = world.block_on(list(caller)).unwrap_err();
        assert_eq!(spent.code(), Code::Unauthenticated, "{spent}");
    });
}
