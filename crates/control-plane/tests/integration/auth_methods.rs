//! AuthMethodService.

use postern_proto::pb;
use prost_types::FieldMask;
use tonic::{Code, Response};

use crate::messages::{creation, method, signing_key};
use crate::world::{World, failed, fields};

fn kubernetes(method: &mut pb::AuthMethod) -> &mut pb::KubernetesAuthMethod {
    match method.r#type.as_mut().unwrap() {
        pb::auth_method::Type::Kubernetes(kubernetes) => kubernetes,
        pb::auth_method::Type::AccessKey(_) => panic!("a Kubernetes method"),
    }
}

pub(crate) fn get(name: &str) -> pb::GetAuthMethodRequest {
    pb::GetAuthMethodRequest {
        name: name.to_owned(),
    }
}

pub(crate) fn update(method: pb::AuthMethod, paths: &[&str]) -> pb::UpdateAuthMethodRequest {
    pb::UpdateAuthMethodRequest {
        auth_method: Some(method),
        update_mask: (!paths.is_empty()).then(|| FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        }),
        validate_only: false,
    }
}

pub(crate) fn patch(of: &pb::AuthMethod) -> pb::AuthMethod {
    pb::AuthMethod {
        name: of.name.clone(),
        meta: of.meta.clone(),
        ..pb::AuthMethod::default()
    }
}

pub(crate) fn delete(name: &str, etag: &str, force: bool) -> pb::DeleteAuthMethodRequest {
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
async fn whose_audience_and_legacy_tokens_are_warnings() {
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
    let mut legacy = listed.clone();
    kubernetes(&mut legacy).allow_legacy_tokens = Some(true);
    kubernetes(&mut any).allow_any_audience = Some(true);
    assert_eq!(warned("a", plain).await, ["API_SERVER_AUDIENCE"]);
    assert!(warned("b", listed).await.is_empty());
    assert_eq!(warned("c", any).await, ["ANY_AUDIENCE"]);
    assert_eq!(warned("d", legacy).await, ["LEGACY_TOKENS"]);
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
        gw_bound_ips: vec!["10.0.0.0/8".to_owned()],
        ..pb::AuthMethod::default()
    };
    let request = admin.request(creation("x", access_key));
    assert_eq!(
        fields(world.methods().create_auth_method(request).await),
        ["auth_method.gw_bound_ips"]
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

#[tokio::test]
async fn a_method_of_jwts_is_refused_by_a_control_plane_without_an_issuer_url() {
    let mut world = World::start().await;
    let jwts = || pb::AuthMethod {
        token_format: pb::TokenFormat::Jwt.into(),
        token_audiences: vec!["orders".to_owned()],
        ..method(&signing_key())
    };
    let admin = world.administrator().await;
    let create = async |world: &World, id: &str, method: pb::AuthMethod| {
        let request = admin.request(creation(id, method));
        let created = world.methods().create_auth_method(request).await;
        created.map(|created| created.into_inner().auth_method.unwrap())
    };
    let before = create(&world, "before", jwts()).await.unwrap();
    let opaque = create(&world, "opaque", method(&signing_key())).await;
    let opaque = opaque.unwrap();
    // Without the bootstrap file, which named one.
    world.restart().await;
    let change = async |method: pb::AuthMethod, paths: &[&str]| {
        let request = admin.request(update(method, paths));
        world.methods().update_auth_method(request).await
    };
    let to_jwts = pb::AuthMethod {
        token_format: pb::TokenFormat::Jwt.into(),
        token_audiences: vec!["orders".to_owned()],
        ..patch(&opaque)
    };
    let created = create(&world, "after", jwts()).await.map(Response::new);
    let changed = change(to_jwts, &["token_format", "token_audiences"]).await;
    for failure in [failed(created), failed(changed)] {
        assert_eq!(failure.code, Code::InvalidArgument);
        let violation = &failure.violations[0];
        assert_eq!(violation.field, "auth_method.token_format");
        assert!(violation.fault.contains("--issuer-url"), "{violation:?}");
    }
    assert!(
        create(&world, "after", method(&signing_key()))
            .await
            .is_ok()
    );
    // One that gives them already can be switched off all the same.
    let off = pb::AuthMethod {
        disabled: Some(true),
        ..patch(&before)
    };
    change(off, &["disabled"]).await.unwrap();
}
