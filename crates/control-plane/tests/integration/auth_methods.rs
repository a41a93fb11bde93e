//! AuthMethodService.

use postern_proto::pb;
use postern_rpc::error::Reason;
use prost_types::FieldMask;
use tonic::Code;

use crate::messages::{creation, method, signing_key};
use crate::world::{World, failed, fields};

fn kubernetes(method: &mut pb::AuthMethod) -> &mut pb::KubernetesAuthMethod {
    match method.r#type.as_mut().unwrap() {
        pb::auth_method::Type::Kubernetes(kubernetes) => kubernetes,
        pb::auth_method::Type::AccessKey(_) => panic!("a Kubernetes method"),
    }
}

fn get(name: &str) -> pb::GetAuthMethodRequest {
    pb::GetAuthMethodRequest {
        name: name.to_owned(),
    }
}

fn update(method: pb::AuthMethod, paths: &[&str]) -> pb::UpdateAuthMethodRequest {
    pb::UpdateAuthMethodRequest {
        auth_method: Some(method),
        update_mask: (!paths.is_empty()).then(|| FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        }),
        validate_only: false,
    }
}

fn patch(of: &pb::AuthMethod) -> pb::AuthMethod {
    pb::AuthMethod {
        name: of.name.clone(),
        meta: of.meta.clone(),
        ..pb::AuthMethod::default()
    }
}

fn delete(name: &str, etag: &str, force: bool) -> pb::DeleteAuthMethodRequest {
    pb::DeleteAuthMethodRequest {
        name: name.to_owned(),
        etag: etag.to_owned(),
        force,
    }
}

#[tokio::test]
async fn what_is_created_is_read_by_both_of_its_names() {
    let world = World::start().await;
    let admin = world.administrator().await;
    let mut client = world.methods();
    let request = admin.request(creation("/team/web", method(&signing_key())));
    let created = client
        .create_auth_method(request)
        .await
        .unwrap()
        .into_inner();
    let made = created.auth_method.unwrap();
    assert_eq!(made.name, "authMethods/team/web");
    assert!(made.access_id.starts_with("p-"));
    assert_eq!(made.token_ttl.unwrap().seconds, 900);
    let meta = made.meta.clone().unwrap();
    assert!(!meta.uid.is_empty() && !meta.etag.is_empty());
    assert_eq!(
        meta.create_time.unwrap().seconds,
        world.clock.now().as_second()
    );
    for name in [made.name.clone(), format!("authMethods/{}", made.access_id)] {
        let answer = client
            .get_auth_method(admin.request(get(&name)))
            .await
            .unwrap();
        assert_eq!(answer.into_inner().auth_method, Some(made.clone()));
    }
}

#[tokio::test]
async fn the_api_servers_own_audience_is_a_warning() {
    let world = World::start().await;
    let admin = world.administrator().await;
    let warned = async |id: &str, method: pb::AuthMethod| {
        let request = admin.request(creation(id, method));
        let answer = world.methods().create_auth_method(request).await.unwrap();
        let warnings = answer.into_inner().warnings;
        warnings
            .into_iter()
            .map(|warning| warning.reason)
            .collect::<Vec<_>>()
    };
    let plain = method(&signing_key());
    let (mut listed, mut any) = (plain.clone(), plain.clone());
    kubernetes(&mut listed).audiences = vec!["postern".to_owned()];
    kubernetes(&mut any).allow_any_audience = Some(true);
    assert_eq!(warned("a", plain).await, ["API_SERVER_AUDIENCE"]);
    assert!(warned("b", listed).await.is_empty());
    assert!(warned("c", any).await.is_empty());
}

#[tokio::test]
async fn every_fault_of_a_create_is_named_and_nothing_is_stored() {
    let world = World::start().await;
    let admin = world.administrator().await;
    let mut wrong = method(&signing_key());
    wrong.token_ttl = Some(prost_types::Duration {
        seconds: -1,
        nanos: 0,
    });
    kubernetes(&mut wrong).rules[0].pods = vec![" ".to_owned()];
    kubernetes(&mut wrong).public_keys[0].public_key = "x".to_owned();
    let request = admin.request(creation("..", wrong));
    let mut named = fields(world.methods().create_auth_method(request).await);
    named.sort();
    assert_eq!(
        named,
        [
            "auth_method.kubernetes.public_keys[0].public_key",
            "auth_method.kubernetes.rules[0].pods[0]",
            "auth_method.token_ttl",
            "auth_method_id",
        ]
    );
    let absent = pb::CreateAuthMethodRequest::default();
    let answer = world
        .methods()
        .create_auth_method(admin.request(absent))
        .await;
    assert_eq!(fields(answer), ["auth_method_id", "auth_method"]);
    let access_key = pb::AuthMethod {
        r#type: Some(pb::auth_method::Type::AccessKey(
            pb::AccessKeyAuthMethod::default(),
        )),
        ..pb::AuthMethod::default()
    };
    let request = admin.request(creation("x", access_key));
    assert_eq!(
        fields(world.methods().create_auth_method(request).await),
        ["auth_method.type"]
    );
    let list = world
        .methods()
        .list_auth_methods(admin.request(Default::default()))
        .await;
    assert_eq!(
        list.unwrap().into_inner().auth_methods.len(),
        1,
        "the administrator's alone"
    );
}

#[tokio::test]
async fn validate_only_stores_nothing_and_records_nothing() {
    let world = World::start().await;
    let admin = world.administrator().await;
    let mut client = world.methods();
    let mut create = creation("x", method(&signing_key()));
    create.validate_only = true;
    let answer = client
        .create_auth_method(admin.request(create))
        .await
        .unwrap();
    assert!(answer.into_inner().auth_method.is_some());
    let failure = failed(
        client
            .get_auth_method(admin.request(get("authMethods/x")))
            .await,
    );
    assert_eq!(failure.code, Code::NotFound);
    assert_eq!(failure.resource.as_deref(), Some("authMethods/x"));
    assert!(!world.audit.contents().contains("authMethods/x"));
}

#[tokio::test]
async fn a_name_is_given_once() {
    let world = World::start().await;
    world.create_method("x", &signing_key()).await;
    let request = world
        .administrator()
        .await
        .request(creation("x", method(&signing_key())));
    let failure = failed(world.methods().create_auth_method(request).await);
    assert_eq!(failure.code, Code::AlreadyExists);
    assert_eq!(failure.resource.as_deref(), Some("authMethods/x"));
}

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
async fn a_list_is_paged_by_tokens_that_fit_it_alone() {
    let world = World::start().await;
    let admin = world.administrator().await;
    for id in ["b", "c", "a/x"] {
        world.create_method(id, &signing_key()).await;
    }
    let list = async |page_size, page_token: String| {
        let message = pb::ListAuthMethodsRequest {
            page_size,
            page_token,
        };
        world
            .methods()
            .list_auth_methods(admin.request(message))
            .await
    };
    let (mut names, mut token) = (Vec::new(), String::new());
    loop {
        let page = list(2, token).await.unwrap().into_inner();
        assert!(page.auth_methods.len() <= 2);
        names.extend(page.auth_methods.into_iter().map(|method| method.name));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(
        names,
        [
            "authMethods/a/x",
            "authMethods/admin",
            "authMethods/b",
            "authMethods/c"
        ]
    );
    assert_eq!(
        fields(list(-1, "garbage".to_owned()).await),
        ["page_size", "page_token"]
    );
    let token = list(1, String::new())
        .await
        .unwrap()
        .into_inner()
        .next_page_token;
    let other = pb::ListGatewaysRequest {
        page_size: 1,
        page_token: token,
    };
    let answer = world.gateways().list_gateways(admin.request(other)).await;
    assert_eq!(fields(answer), ["page_token"]);
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

#[tokio::test]
async fn what_doesnt_exist_is_not_found_and_what_is_no_name_is_invalid() {
    let world = World::start().await;
    let admin = world.administrator().await;
    let mut client = world.methods();
    for name in ["authMethods/nope", "authMethods/p-abcdefghijkl"] {
        let failure = failed(client.get_auth_method(admin.request(get(name))).await);
        assert_eq!(failure.code, Code::NotFound, "{name}");
        let failure = failed(
            client
                .delete_auth_method(admin.request(delete(name, "*", true)))
                .await,
        );
        assert_eq!(failure.code, Code::NotFound, "{name}");
    }
    for name in [
        "",
        "nope",
        "authMethods/",
        "authMethods/..",
        "authMethods/%2e%2e",
    ] {
        assert_eq!(
            fields(client.get_auth_method(admin.request(get(name))).await),
            ["name"],
            "{name}"
        );
    }
    let both = delete("nope", "x", false);
    assert_eq!(
        fields(client.delete_auth_method(admin.request(both)).await),
        ["name", "etag"]
    );
}
