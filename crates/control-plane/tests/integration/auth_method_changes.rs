//! AuthMethodService: updates, deletes, and what they must not do.

use postern_proto::pb;
use postern_rpc::error::Reason;
use tonic::Code;

use crate::auth_methods::{delete, get, patch, update};
use crate::messages::{method, signing_key};
use crate::world::{World, failed, fields};

#[tokio::test]
async fn an_update_changes_what_is_there_or_what_the_mask_names() {
    let world = World::start().await;
    let admin = world.administrator().await;
    let mut client = world.methods();
    let made = world.create_method("x", &signing_key()).await;
    let mut change = patch(&made);
    change.description = Some("web".to_owned());
    change.bound_ips = vec!["10.0.0.0/8".to_owned()];
    let answer = client
        .update_auth_method(admin.request(update(change, &[])))
        .await
        .unwrap();
    let first = answer.into_inner().auth_method.unwrap();
    assert_eq!(first.description.as_deref(), Some("web"));
    assert_eq!(first.bound_ips, ["10.0.0.0/8"]);
    assert_eq!(first.r#type, made.r#type, "rules and keys stay");
    assert_ne!(first.meta, made.meta);
    let clear = update(patch(&first), &["bound_ips"]);
    let answer = client
        .update_auth_method(admin.request(clear))
        .await
        .unwrap();
    let second = answer.into_inner().auth_method.unwrap();
    assert!(second.bound_ips.is_empty());
    assert_eq!(second.description.as_deref(), Some("web"));
    let unknown = update(patch(&second), &["access_id"]);
    let answer = client.update_auth_method(admin.request(unknown)).await;
    assert_eq!(fields(answer), ["update_mask"]);
    let mut wrong = patch(&second);
    wrong.bound_ips = vec!["10.0.0.1/8".to_owned()];
    let answer = client
        .update_auth_method(admin.request(update(wrong, &[])))
        .await;
    assert_eq!(fields(answer), ["auth_method.bound_ips[0]"]);
}

#[tokio::test]
async fn a_stale_etag_loses_no_write() {
    let world = World::start().await;
    let admin = world.administrator().await;
    let mut client = world.methods();
    let made = world.create_method("x", &signing_key()).await;
    let mut change = patch(&made);
    change.description = Some("first".to_owned());
    let first = client
        .update_auth_method(admin.request(update(change.clone(), &[])))
        .await;
    let current = first
        .unwrap()
        .into_inner()
        .auth_method
        .unwrap()
        .meta
        .unwrap()
        .etag;
    change.description = Some("second".to_owned());
    let failure = failed(
        client
            .update_auth_method(admin.request(update(change.clone(), &[])))
            .await,
    );
    assert_eq!(failure.code, Code::Aborted);
    let etags = failure.etags.unwrap();
    let stale = made.meta.unwrap().etag;
    assert_eq!((etags.yours, etags.current), (stale.clone(), current));
    let failure = failed(
        client
            .delete_auth_method(admin.request(delete(&made.name, &stale, false)))
            .await,
    );
    assert_eq!(failure.code, Code::Aborted);
    change.meta.as_mut().unwrap().etag = String::new();
    let answer = client
        .update_auth_method(admin.request(update(change.clone(), &[])))
        .await;
    assert_eq!(fields(answer), ["auth_method.meta.etag"]);
    change.meta.as_mut().unwrap().etag = "*".to_owned();
    assert!(
        client
            .update_auth_method(admin.request(update(change, &[])))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn what_is_in_use_is_deleted_by_force_only() {
    let world = World::start().await;
    let admin = world.administrator().await;
    let mut client = world.methods();
    let setup = world.setup().await;
    let name = setup.method.name.as_str();
    let failure = failed(
        client
            .delete_auth_method(admin.request(delete(name, "*", false)))
            .await,
    );
    assert_eq!(failure.code, Code::FailedPrecondition);
    assert_eq!(failure.reason, Some(Reason::InUse));
    assert_eq!(
        failure.blockers[0].subject,
        "gateways/default/k8sAuthConfigs/k8s-conf"
    );
    client
        .delete_auth_method(admin.request(delete(name, "*", true)))
        .await
        .unwrap();
    let failure = failed(client.get_auth_method(admin.request(get(name))).await);
    assert_eq!(failure.code, Code::NotFound);
    let configs = pb::ListSealedK8sAuthConfigsRequest {
        parent: "gateways/-".to_owned(),
        ..Default::default()
    };
    let left = world
        .configs()
        .list_sealed_k8s_auth_configs(admin.request(configs))
        .await;
    assert!(left.unwrap().into_inner().configs.is_empty());
}

#[tokio::test]
async fn a_key_that_a_config_signs_with_stays() {
    let world = World::start().await;
    let admin = world.administrator().await;
    let setup = world.setup().await;
    let mut change = patch(&setup.method);
    change.r#type = method(&signing_key()).r#type;
    let request = admin.request(update(change, &["kubernetes.public_keys"]));
    let failure = failed(world.methods().update_auth_method(request).await);
    assert_eq!(failure.reason, Some(Reason::InUse));
}

#[tokio::test]
async fn the_last_way_in_for_administrators_stays() {
    let world = World::start().await;
    let admin = world.administrator().await;
    let mut client = world.methods();
    let name = format!("authMethods/{}", world.admin.access_id);
    let own = client
        .get_auth_method(admin.request(get(&name)))
        .await
        .unwrap();
    let own = own.into_inner().auth_method.unwrap();
    let mut disabled = patch(&own);
    disabled.disabled = Some(true);
    let mut ended = patch(&own);
    ended.access_expire_time = Some(prost_types::Timestamp {
        seconds: 1,
        nanos: 0,
    });
    let mut elsewhere = patch(&own);
    elsewhere.bound_ips = vec!["10.0.0.0/8".to_owned()];
    for change in [disabled, ended, elsewhere] {
        let failure = failed(
            client
                .update_auth_method(admin.request(update(change, &[])))
                .await,
        );
        assert_eq!(failure.code, Code::FailedPrecondition);
        assert_eq!(failure.blockers[0].subject, own.name);
    }
    for force in [false, true] {
        let request = admin.request(delete(&name, "*", force));
        assert_eq!(
            failed(client.delete_auth_method(request).await).code,
            Code::FailedPrecondition
        );
    }
    let mut described = patch(&own);
    described.description = Some("the two of us".to_owned());
    assert!(
        client
            .update_auth_method(admin.request(update(described, &[])))
            .await
            .is_ok()
    );
    assert!(world.log_in(&world.admin, "").await.is_ok());
}

#[tokio::test]
async fn writes_are_on_record_with_before_and_after() {
    let world = World::start().await;
    let made = world.create_method("x", &signing_key()).await;
    let admin = world.administrator().await;
    let mut change = patch(&made);
    change.description = Some("blue".to_owned());
    let answer = world
        .methods()
        .update_auth_method(admin.request(update(change, &[])))
        .await
        .unwrap();
    let request_id = answer
        .metadata()
        .get("x-request-id")
        .unwrap()
        .to_str()
        .unwrap();
    let events = world.events(request_id).await;
    assert_eq!(events.len(), 1);
    let event = &events[0];
    assert_eq!(
        (event.event.as_str(), event.resource.as_str()),
        ("auth_method.updated", "authMethods/x")
    );
    assert_eq!(event.access_id, world.admin.access_id);
    assert!(!event.before_json.contains("blue") && event.after_json.contains("blue"));
    assert!(event.gateway.is_empty());
    let lines = world.audit.contents();
    let line = lines
        .lines()
        .find(|line| line.contains(request_id))
        .unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["event"], "auth_method.updated");
    assert_eq!(line["decision"]["revision"].to_string(), event.revision);
}
