//! Assertions become tokens.

use jiff::SignedDuration;
use postern_core::access_token::AccessToken;
use postern_proto::pb;
use postern_proto::pb::auth_method::Type;
use postern_proto::pb::exchange_outcome::Outcome;
use postern_rpc::error::{Failure, LOGIN_REFUSED, Reason};
use prost_types::FieldMask;
use tonic::{Code, Response, Status};

use crate::messages::{Setup, pod, signing_key};
use crate::world::{Key, Persona, World, failed, fields};

async fn exchange(
    world: &World,
    gateway: &Persona,
    message: &pb::ExchangeAssertionRequest,
) -> Result<Response<pb::ExchangeAssertionResponse>, Status> {
    let request = gateway.request(message.clone());
    world.sync().exchange_assertion(request).await
}

/// Refused with the fixed message; the reason is on record under the login's request ID.
async fn refused(
    world: &World,
    gateway: &Persona,
    message: &pb::ExchangeAssertionRequest,
) -> String {
    let failure = failed(exchange(world, gateway, message).await);
    assert_eq!(failure.code, Code::Unauthenticated);
    assert_eq!(failure.reason, Some(Reason::LoginRefused));
    assert_eq!(failure.message, LOGIN_REFUSED);
    let events = world.events(&message.request_id).await;
    assert_eq!(events[0].event, "login.denied");
    events[0].reason.clone()
}

async fn update(
    world: &World,
    setup: &Setup,
    path: &str,
    change: impl FnOnce(&mut pb::AuthMethod),
) {
    let mut patch = pb::AuthMethod {
        name: setup.method.name.clone(),
        meta: Some(pb::ResourceMeta {
            etag: "*".to_owned(),
            ..Default::default()
        }),
        ..pb::AuthMethod::default()
    };
    change(&mut patch);
    let message = pb::UpdateAuthMethodRequest {
        auth_method: Some(patch),
        update_mask: Some(FieldMask {
            paths: vec![path.to_owned()],
        }),
        validate_only: false,
    };
    let request = world.administrator().await.request(message);
    world.methods().update_auth_method(request).await.unwrap();
}

#[tokio::test]
async fn a_login_gets_its_token_and_a_retry_the_same_answer() {
    let world = World::start().await;
    let setup = world.setup().await;
    let gateway = world.gateway().await;
    let token = AccessToken::generate().unwrap();
    let message = world.assertion(&setup, &token, &pod("mypod1"));
    let first = exchange(&world, &gateway, &message)
        .await
        .unwrap()
        .into_inner();
    assert!(first.accessor.starts_with("a-"));
    assert_eq!(first.expires_in.unwrap().seconds, 900);
    assert_eq!(first.sub_claims["pod_name"].values, ["mypod1"]);
    assert_eq!(first.sub_claims["gateway"].values, ["default"]);
    let again = exchange(&world, &gateway, &message)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (again.accessor, again.expire_time),
        (first.accessor.clone(), first.expire_time)
    );
    let events = world.events(&message.request_id).await;
    assert_eq!(events.len(), 1, "one login is one record");
    assert_eq!(events[0].event, "login.granted");
    assert_eq!(events[0].accessor, first.accessor);
    assert_eq!(events[0].facts.as_ref().unwrap().pod_name, "mypod1");
    assert_eq!(events[0].rule, Some(0));
}

#[tokio::test]
async fn the_control_plane_decides_for_itself() {
    let world = World::start().await;
    let setup = world.setup().await;
    let gateway = world.gateway().await;
    let refused_pod = async |name: &str| {
        let token = AccessToken::generate().unwrap();
        let message = world.assertion(&setup, &token, &pod(name));
        refused(&world, &gateway, &message).await
    };
    assert_eq!(refused_pod("mypod3").await, "POD_NAME_NOT_BOUND");
    update(&world, &setup, "gw_bound_ips", |m| {
        m.gw_bound_ips = vec!["10.0.0.0/8".to_owned()]
    })
    .await;
    assert_eq!(refused_pod("mypod1").await, "GATEWAY_IP_NOT_BOUND");
    update(&world, &setup, "gw_bound_ips", |m| {
        m.gw_bound_ips = vec!["127.0.0.1".to_owned()]
    })
    .await;
    world.workload(&setup).await;
    update(&world, &setup, "bound_ips", |m| {
        m.bound_ips = vec!["192.168.0.0/16".to_owned()]
    })
    .await;
    assert_eq!(refused_pod("mypod1").await, "CLIENT_IP_NOT_BOUND");
    update(&world, &setup, "bound_ips", |_| {}).await;
    update(&world, &setup, "disabled", |m| m.disabled = Some(true)).await;
    assert_eq!(refused_pod("mypod1").await, "METHOD_DISABLED");
}

#[tokio::test]
async fn an_assertion_is_good_at_its_gateway_only() {
    let world = World::start().await;
    let setup = world.setup().await;
    let token = AccessToken::generate().unwrap();
    let message = world.assertion(&setup, &token, &pod("mypod1"));
    let other = world.other_gateway("other").await;
    assert_eq!(
        refused(&world, &other, &message).await,
        "ASSERTION_GATEWAY_MISMATCH"
    );
    assert!(
        exchange(&world, &world.gateway().await, &message)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_foreign_key_and_a_cut_assertion_are_refused() {
    let world = World::start().await;
    let mut setup = world.setup().await;
    let gateway = world.gateway().await;
    let token = AccessToken::generate().unwrap();
    let own = std::mem::replace(&mut setup.key, signing_key());
    let forged = world.assertion(&setup, &token, &pod("mypod1"));
    assert_eq!(
        refused(&world, &gateway, &forged).await,
        "ASSERTION_KEY_UNKNOWN"
    );
    setup.key = own;
    let cut = pb::ExchangeAssertionRequest {
        assertion: "x".to_owned(),
        ..forged
    };
    assert_eq!(refused(&world, &gateway, &cut).await, "ASSERTION_MALFORMED");
}

#[tokio::test]
async fn clocks_that_differ_are_a_fault_and_no_refusal() {
    let world = World::start().await;
    let setup = world.setup().await;
    let gateway = world.gateway().await;
    let token = AccessToken::generate().unwrap();
    let good = world.assertion(&setup, &token, &pod("mypod1"));
    world.clock.advance(SignedDuration::from_secs(61));
    let failure = failed(exchange(&world, &gateway, &good).await);
    assert_eq!(failure.reason, Some(Reason::PermissionDenied));
    assert!(failure.message.contains("clock"), "{}", failure.message);
}

#[tokio::test]
async fn a_login_through_what_a_config_was_before_is_refused() {
    let world = World::start().await;
    let mut setup = world.setup().await;
    let gateway = world.gateway().await;
    let token = AccessToken::generate().unwrap();
    setup.config.view.as_mut().unwrap().generation = 0;
    let old = world.assertion(&setup, &token, &pod("mypod1"));
    assert_eq!(
        refused(&world, &gateway, &old).await,
        "ASSERTION_CONFIG_MISMATCH"
    );
}

#[tokio::test]
async fn what_is_no_exchange_is_named() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    let message = pb::ExchangeAssertionRequest::default();
    let answer = exchange(&world, &gateway, &message).await;
    assert_eq!(fields(answer), ["access_id", "request_id"]);
}

async fn exchange_all(
    world: &World,
    gateway: &Persona,
    requests: Vec<pb::ExchangeAssertionRequest>,
) -> Result<Response<pb::BatchExchangeAssertionsResponse>, Status> {
    let message = pb::BatchExchangeAssertionsRequest { requests };
    let request = gateway.request(message);
    world.sync().batch_exchange_assertions(request).await
}

#[tokio::test]
async fn assertions_that_come_together_are_answered_each_by_itself_and_in_their_order() {
    let world = World::start().await;
    let setup = world.setup().await;
    let gateway = world.gateway().await;
    let token = || AccessToken::generate().unwrap();
    let (first, second) = (token(), token());
    let good = world.assertion(&setup, &first, &pod("mypod1"));
    let refused = world.assertion(&setup, &token(), &pod("mypod3"));
    let other = world.assertion(&setup, &second, &pod("mypod1"));
    let unnamed = pb::ExchangeAssertionRequest::default();
    let requests = vec![
        refused.clone(),
        good.clone(),
        unnamed,
        good.clone(),
        other.clone(),
    ];
    let answer = exchange_all(&world, &gateway, requests).await.unwrap();
    let outcomes = answer.into_inner().outcomes;
    let answers: Vec<_> = outcomes
        .into_iter()
        .map(|outcome| match outcome.outcome.unwrap() {
            Outcome::Response(response) => Ok(response.accessor),
            Outcome::Failure(failure) => Err(Failure::said(
                failure.code,
                failure.message,
                failure.details,
            )),
        })
        .collect();
    let [no, yes, invalid, again, another] = <[_; 5]>::try_from(answers).unwrap();
    let no = no.unwrap_err();
    assert_eq!(no.code, Code::Unauthenticated);
    assert_eq!(no.reason, Some(Reason::LoginRefused));
    assert_eq!(no.message, LOGIN_REFUSED);
    let invalid = invalid.unwrap_err();
    assert_eq!(invalid.code, Code::InvalidArgument);
    assert_eq!(invalid.violations[0].field, "access_id");
    let yes = yes.unwrap();
    assert_eq!(again.unwrap(), yes, "the same assertion, the same token");
    assert_ne!(another.unwrap(), yes);
    for (message, event) in [
        (refused, "login.denied"),
        (good, "login.granted"),
        (other, "login.granted"),
    ] {
        let events = world.events(&message.request_id).await;
        assert_eq!(events[0].event, event);
        assert_eq!(events.len(), 1);
    }
    for token in [first, second] {
        let holder = Persona::bearer(token.expose());
        let failure = failed(
            world
                .methods()
                .list_auth_methods(holder.request(pb::ListAuthMethodsRequest::default()))
                .await,
        );
        assert_eq!(failure.code, Code::PermissionDenied, "it is a token");
    }
}

#[tokio::test]
async fn together_come_1_to_32_assertions() {
    let world = World::start().await;
    let setup = world.setup().await;
    let gateway = world.gateway().await;
    for (count, good) in [(0, false), (1, true), (32, true), (33, false)] {
        let requests = (0..count).map(|_| {
            let token = AccessToken::generate().unwrap();
            world.assertion(&setup, &token, &pod("mypod1"))
        });
        let answer = exchange_all(&world, &gateway, requests.collect()).await;
        match good {
            true => assert_eq!(answer.unwrap().into_inner().outcomes.len(), count),
            false => assert_eq!(fields(answer), ["requests"]),
        }
    }
}

#[tokio::test]
async fn an_administrator_at_a_gateway_may_call_what_the_gateway_serves() {
    let world = World::start().await;
    let relayed = world.relayed().await;
    let authorize = async |method: &str| {
        let message = pb::AuthorizeAdministratorRequest {
            method: method.to_owned(),
            ..pb::AuthorizeAdministratorRequest::default()
        };
        world
            .sync()
            .authorize_administrator(relayed.request(message))
            .await
    };
    assert!(
        authorize("/postern.v1.K8sAuthConfigService/CreateK8sAuthConfig")
            .await
            .is_ok()
    );
    for method in [
        "/postern.v1.AuthMethodService/CreateAuthMethod",
        "/postern.v1.AuthService/Authenticate",
    ] {
        assert_eq!(
            failed(authorize(method).await).code,
            Code::PermissionDenied,
            "{method}"
        );
    }
    assert_eq!(
        fields(authorize("/postern.v1.K8sAuthConfigService/Nope").await),
        ["method"]
    );
}

#[tokio::test]
async fn a_narrowed_token_is_held_to_the_addresses_of_its_method_at_every_call() {
    let world = World::start().await;
    let create = pb::CreateAuthMethodRequest {
        auth_method_id: "bound".to_owned(),
        auth_method: Some(pb::AuthMethod {
            bound_ips: vec!["127.0.0.0/8".to_owned()],
            r#type: Some(Type::AccessKey(pb::AccessKeyAuthMethod::default())),
            ..pb::AuthMethod::default()
        }),
        roles: vec!["roles/admin".to_owned()],
        ..pb::CreateAuthMethodRequest::default()
    };
    let create = world.administrator().await.request(create);
    let made = world.methods().create_auth_method(create).await;
    let made = made.unwrap().into_inner();
    let key = Key {
        access_id: made.auth_method.unwrap().access_id,
        key: made.access_key,
    };
    let narrowed = world.logged_in(&key, "default").await;
    let relayed = world.gateway().await.on_behalf_of(&narrowed);
    let authorize = async |address: &str| {
        let message = pb::AuthorizeAdministratorRequest {
            method: "/postern.v1.K8sAuthConfigService/CreateK8sAuthConfig".to_owned(),
            caller_address: address.to_owned(),
        };
        let request = relayed.request(message);
        world.sync().authorize_administrator(request).await
    };
    for inside in ["127.0.0.9", "::ffff:127.0.0.1"] {
        assert!(authorize(inside).await.is_ok(), "{inside}");
    }
    for outside in ["192.0.2.1", "", "nowhere"] {
        let refused = failed(authorize(outside).await);
        assert_eq!(refused.code, Code::PermissionDenied, "{outside}");
    }
}

#[tokio::test]
async fn a_clock_that_steps_by_90_seconds_refuses_an_assertion_for_what_is_beyond_a_minute() {
    let world = World::start().await;
    let setup = world.setup().await;
    let (gateway, token) = (world.gateway().await, AccessToken::generate().unwrap());
    let said = world.assertion(&setup, &token, &pod("mypod1"));
    for (step, good) in [
        (90, false),
        (-180, false),
        (30, true),
        (60, true),
        (60, true),
    ] {
        world.clock.advance(SignedDuration::from_secs(step));
        match good {
            // The same each time.
            true => drop(exchange(&world, &gateway, &said).await.unwrap()),
            // The servers' own fault, and so no refusal of the pod.
            false => {
                let failure = failed(exchange(&world, &gateway, &said).await);
                assert_eq!(failure.code, Code::PermissionDenied);
                assert!(failure.message.contains("clock"), "{}", failure.message);
                let events = world.events(&said.request_id).await;
                assert_eq!(events[0].reason, "ASSERTION_STALE");
            }
        }
    }
}
