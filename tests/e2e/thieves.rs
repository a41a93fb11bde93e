//! What each thief gets: design section 1, line by line.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kube_sim::KubeSim;
use postern_dev::StackOptions;
use postern_proto::pb;
use postern_proto::pb::gateway_sync_service_client::GatewaySyncServiceClient;
use postern_proto::pb::k8s_auth_config_service_client::K8sAuthConfigServiceClient;
use postern_proto::pb::watch_response::Change;
use postern_rpc::error::{Failure, Reason};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tonic::Code;
use uuid::Uuid;

use crate::support::{Caller, Forgery, Method, World, encoded, eventually};

/// Changes rows as whoever has the database can, and lets the gateway hear of it.
fn tamper(world: &mut World, config: &str, statements: &[&str]) {
    world.stop_control_plane();
    for statement in statements {
        world.sql(statement);
    }
    world.sql("UPDATE revision SET value = value + 1");
    world.sql(&format!(
        "INSERT INTO changes (revision, kind, name, gateway_uid) \
         SELECT r.value, 'k8s_auth_config', 'gateways/default/k8sAuthConfigs/{config}', g.uid \
         FROM revision r, gateways g WHERE g.name = 'default'"
    ));
    world.start_control_plane();
    world.ready();
}

/// The condition of this type, as an administrator sees it.
fn condition(world: &World, config: &str, kind: &str) -> Value {
    let config = world
        .admin
        .json(&["gateway-get-k8s-auth-config", "-n", config]);
    let conditions = config["conditions"].as_array().unwrap();
    conditions
        .iter()
        .find(|c| c["type"] == kind)
        .unwrap()
        .clone()
}

/// Logins say that the config can't be used, and nobody is refused for it.
fn unusable(world: &World, method: &Method, kind: &str, reason: &str) {
    let name = &method.name;
    let seen = || {
        let condition = condition(world, name, kind);
        (condition["reason"] == reason).then_some(condition)
    };
    let condition = eventually(&format!("{name}: {reason}"), Duration::from_secs(8), seen);
    assert_eq!(condition["status"], "CONDITION_STATUS_FALSE");
    assert_ne!(condition["fix"], "");
    let token = world.pod_token("mypod1");
    let args = [
        "auth",
        "-i",
        &method.access_id,
        "--k8s-auth-config-name",
        name,
        "--timeout=1s",
    ];
    let output = world.pod.run_with_stdin(
        &[&args[..], &["--k8s-service-account-token-file=-"]].concat(),
        &token,
    );
    output.fails(3, &["can't be used"]);
}

const SEAL_INTACT: &str = "CONDITION_TYPE_SEAL_INTACT";

#[test]
fn an_edited_database_points_no_gateway_elsewhere() {
    let runtime = Runtime::new().unwrap();
    let evil = runtime
        .block_on(KubeSim::start(kube_sim::Options::default()))
        .unwrap();
    // Even where the gateway's own list would let it.
    let mut world = World::with(StackOptions {
        api_servers: vec![evil.host().to_owned()],
        ..StackOptions::default()
    });
    let method = world.route("edited");
    let host = format!(
        "UPDATE k8s_auth_configs SET k8s_host = '{}', k8s_ca_cert = '{}'",
        evil.host(),
        evil.ca_pem()
    );
    tamper(&mut world, "edited", &[&host]);
    unusable(&world, &method, SEAL_INTACT, "ROW_DIFFERS");
    world.restart_gateway();
    unusable(&world, &method, SEAL_INTACT, "ROW_DIFFERS");
    tamper(
        &mut world,
        "edited",
        &["UPDATE k8s_auth_configs SET sealed = substr(sealed, 1, length(sealed) - 1)"],
    );
    unusable(&world, &method, SEAL_INTACT, "BOX_NOT_AUTHENTIC");
    assert!(
        evil.recent_requests().is_empty(),
        "nothing was sent to the other cluster"
    );
}

#[test]
fn an_older_box_that_is_put_back_is_not_used() {
    let mut world = World::start();
    let method = world.route("back");
    world.sql("CREATE TABLE saved AS SELECT * FROM k8s_auth_configs");
    world.token(&method);
    world.admin.ok(&[
        "gateway-update-k8s-auth-config",
        "-n",
        "back",
        "--token-exp=100",
    ]);
    world.token(&method);
    let back = [
        "DELETE FROM k8s_auth_configs",
        "INSERT INTO k8s_auth_configs SELECT * FROM saved",
    ];
    tamper(&mut world, "back", &back);
    unusable(&world, &method, SEAL_INTACT, "ROLLED_BACK");
}

#[test]
fn two_configs_boxes_cant_be_swapped() {
    let mut world = World::start();
    let (one, other) = (world.route("one"), world.route("other"));
    let swap = "UPDATE k8s_auth_configs SET sealed = \
                (SELECT b.sealed FROM k8s_auth_configs b WHERE b.id <> k8s_auth_configs.id)";
    world.stop_gateway();
    tamper(
        &mut world,
        "one",
        &[
            "CREATE TABLE boxes AS SELECT id, sealed FROM k8s_auth_configs",
            &swap.replace("FROM k8s_auth_configs b", "FROM boxes b"),
        ],
    );
    world.start_gateway();
    world.ready();
    unusable(&world, &one, SEAL_INTACT, "BOX_NOT_AUTHENTIC");
    unusable(&world, &other, SEAL_INTACT, "BOX_NOT_AUTHENTIC");
}

#[test]
fn an_api_server_that_left_the_gateways_list_is_not_talked_to() {
    let mut world = World::start();
    let method = world.route("unlisted");
    let mut file = world.gateway_file();
    file["api_servers"] = json!(["https://10.0.0.1:6443"]);
    let path = world.stack().deployment().gateway_config();
    world.stop_gateway();
    std::fs::write(path, file.to_string()).unwrap();
    world.start_gateway();
    world.ready();
    let before = world.cluster().reviews();
    unusable(
        &world,
        &method,
        "CONDITION_TYPE_API_SERVER_ALLOWED",
        "NOT_IN_LIST",
    );
    assert_eq!(world.cluster().reviews(), before);
    let again = world.method("unlisted-2");
    let args = world.config_args("unlisted-2", &again);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    world
        .admin
        .run(&args)
        .fails(2, &["--k8s-host", "api_servers"]);
}

fn refused(world: &World, caller: &Caller, access_id: &str, assertion: &str, reason: &str) {
    let (request_id, answer) = world.exchange(caller, access_id, assertion);
    assert_eq!(
        answer.unwrap_err().reason,
        Some(Reason::LoginRefused),
        "{reason}"
    );
    assert_eq!(world.audited(&request_id)["reason"], reason);
}

#[test]
fn a_methods_key_without_a_gateway_is_worth_nothing() {
    let world = World::shared();
    let method = world.route("key-alone");
    let assertion = world.assertion(&world.forgery(&method));
    let control_plane = world.control_plane();
    let (_, answer) = world.exchange(&control_plane, &method.access_id, &assertion);
    assert_eq!(answer.unwrap_err().code, Code::Unauthenticated);
    for token in [
        world.token(&method),
        world.administrator_token(""),
        world.administrator_token("default"),
    ] {
        let (_, answer) =
            world.exchange(&control_plane.with(&token), &method.access_id, &assertion);
        assert_eq!(answer.unwrap_err().code, Code::PermissionDenied);
    }
    let gateway = control_plane.with(&world.gateway_token());
    let (_, answer) = world.exchange(&gateway, &method.access_id, &assertion);
    answer.expect("both together are what a gateway is");
}

#[test]
fn a_gateways_credential_without_the_methods_key_is_worth_nothing() {
    let world = World::shared();
    let (method, other) = (world.route("no-key"), world.route("no-key-other"));
    let gateway = world.control_plane().with(&world.gateway_token());
    let by_other = world.assertion(&Forgery {
        signer: &other,
        ..world.forgery(&method)
    });
    refused(
        &world,
        &gateway,
        &method.access_id,
        &by_other,
        "ASSERTION_KEY_UNKNOWN",
    );
    let good = world.assertion(&world.forgery(&method));
    let (header, _) = good.split_once('.').unwrap();
    let (_, rest) = by_other.split_once('.').unwrap();
    refused(
        &world,
        &gateway,
        &method.access_id,
        &format!("{header}.{rest}"),
        "ASSERTION_SIGNATURE_INVALID",
    );
    let (unsigned, _) = good.rsplit_once('.').unwrap();
    refused(
        &world,
        &gateway,
        &method.access_id,
        &format!("{unsigned}."),
        "ASSERTION_SIGNATURE_INVALID",
    );
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    for change in [json!({ "alg": "none" }), json!({ "alg": "HS256" })] {
        let mut header = header.clone();
        header
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let (_, rest) = good.split_once('.').unwrap();
        let assertion = format!("{}.{rest}", encoded(&header));
        refused(
            &world,
            &gateway,
            &method.access_id,
            &assertion,
            "ASSERTION_SIGNATURE_INVALID",
        );
    }
    refused(
        &world,
        &gateway,
        &other.access_id,
        &good,
        "ASSERTION_KEY_UNKNOWN",
    );
    refused(&world, &gateway, "p-AAAAAAAAAAkA", &good, "METHOD_UNKNOWN");
    let elsewhere = Forgery {
        deployment: Uuid::new_v4(),
        ..world.forgery(&method)
    };
    let elsewhere = world.assertion(&elsewhere);
    refused(
        &world,
        &gateway,
        &method.access_id,
        &elsewhere,
        "ASSERTION_AUDIENCE_MISMATCH",
    );
}

#[test]
fn a_whole_gateway_is_still_held_to_the_rules_and_an_assertion_is_good_once() {
    let world = World::shared();
    let method = world.route("held");
    let gateway = world.control_plane().with(&world.gateway_token());
    let unbound = world.assertion(&Forgery {
        pod: "mypod3",
        ..world.forgery(&method)
    });
    refused(
        &world,
        &gateway,
        &method.access_id,
        &unbound,
        "POD_NAME_NOT_BOUND",
    );
    let forgery = world.forgery(&method);
    let assertion = world.assertion(&forgery);
    let first = world
        .exchange(&gateway, &method.access_id, &assertion)
        .1
        .unwrap();
    let again = world
        .exchange(&gateway, &method.access_id, &assertion)
        .1
        .unwrap();
    assert_eq!(
        (first.accessor, first.expire_time),
        (again.accessor, again.expire_time)
    );
    let same_jti = world.assertion(&forgery);
    refused(
        &world,
        &gateway,
        &method.access_id,
        &same_jti,
        "ASSERTION_REPLAYED",
    );
    world
        .admin
        .ok(&["gateway-update-k8s-auth-config", "-n", "held", "--disabled"]);
    let of_before = world.assertion(&Forgery {
        jti: Uuid::new_v4(),
        ..forgery
    });
    let config_differs = "ASSERTION_CONFIG_MISMATCH";
    refused(
        &world,
        &gateway,
        &method.access_id,
        &of_before,
        config_differs,
    );
    let fresh = world.assertion(&world.forgery(&method));
    refused(
        &world,
        &gateway,
        &method.access_id,
        &fresh,
        "CONFIG_DISABLED",
    );
}

#[test]
fn a_gateway_has_its_own_configs_and_nobody_elses() {
    let world = World::start();
    let method = world.route("theirs");
    let create = [
        "gateway",
        "create",
        "-n",
        "second",
        "--url",
        "https://second:8000",
    ];
    let created = world.admin.json(&create);
    let text = |field: &str| created[field].as_str().unwrap().to_owned();
    let second = world.log_in_with_key(&text("access_id"), &text("access_key"), "");
    let second = world.control_plane().with(&second);
    let assertion = world.assertion(&Forgery {
        gateway: "second",
        ..world.forgery(&method)
    });
    refused(
        &world,
        &second,
        &method.access_id,
        &assertion,
        "ASSERTION_CONFIG_MISMATCH",
    );
    let stolen = world.assertion(&world.forgery(&method));
    refused(
        &world,
        &second,
        &method.access_id,
        &stolen,
        "ASSERTION_GATEWAY_MISMATCH",
    );
    let first = world.control_plane().with(&world.gateway_token());
    let unknown = world.assertion(&Forgery {
        config_uid: Uuid::now_v7(),
        ..world.forgery(&method)
    });
    refused(
        &world,
        &first,
        &method.access_id,
        &unknown,
        "ASSERTION_CONFIG_MISMATCH",
    );

    assert_eq!(watched(&world, &second), 0);
    assert_eq!(
        watched(&world, &first),
        2,
        "its config and the method that it names"
    );
}

/// How many objects a gateway is told of.
fn watched(world: &World, gateway: &Caller) -> usize {
    let message = pb::WatchRequest {
        instance: "thief".to_owned(),
        ..pb::WatchRequest::default()
    };
    let mut client = GatewaySyncServiceClient::new(gateway.channel());
    world.block_on(async {
        let mut stream = client
            .watch(gateway.request(message))
            .await
            .unwrap()
            .into_inner();
        let mut objects = 0;
        while let Some(response) = stream.message().await.unwrap() {
            match response.change {
                Some(Change::SnapshotEnd(_)) => break,
                Some(Change::AuthMethod(_) | Change::Config(_)) => objects += 1,
                _ => {}
            }
        }
        objects
    })
}

#[test]
fn an_administrators_token_is_good_where_it_was_asked_for_and_nowhere_else() {
    let world = World::shared();
    world.route("narrow");
    world.admin.ok(&[
        "gateway",
        "create",
        "-n",
        "narrow-other",
        "--url",
        "https://narrow-other:8000",
    ]);
    let list = |token: &str| {
        let caller = world.gateway().with(token);
        let mut client = K8sAuthConfigServiceClient::new(caller.channel());
        let request = caller.request(pb::ListK8sAuthConfigsRequest::default());
        world
            .block_on(client.list_k8s_auth_configs(request))
            .map_err(Failure::from)
    };
    let narrowed = world.administrator_token("default");
    assert!(list(&narrowed).is_ok());
    for token in [
        world.administrator_token(""),
        world.administrator_token("narrow-other"),
        world.gateway_token(),
    ] {
        assert_eq!(list(&token).unwrap_err().code, Code::PermissionDenied);
    }
    let path = "/postern.v1.AuthMethodService/ListAuthMethods";
    let answer = world.block_on(world.control_plane().with(&narrowed).send(path, ()));
    assert_eq!(answer.unwrap_err().code, Code::PermissionDenied);
}

#[test]
fn an_administrators_token_caught_at_a_gateway_lasts_minutes() {
    let world = World::start();
    let narrowed = world.gateway().with(&world.administrator_token("default"));
    let administrator = world.control_plane().with(&world.administrator_token(""));
    let list = "/postern.v1.K8sAuthConfigService/ListK8sAuthConfigs";
    let methods = "/postern.v1.AuthMethodService/ListAuthMethods";
    world.advance(299);
    world.block_on(narrowed.send(list, ())).unwrap();
    world.advance(2);
    assert_eq!(
        world.block_on(narrowed.send(list, ())).unwrap_err().code,
        Code::Unauthenticated
    );
    world.block_on(administrator.send(methods, ())).unwrap();
    world.advance(600);
    let failure = world.block_on(administrator.send(methods, ())).unwrap_err();
    assert_eq!(failure.code, Code::Unauthenticated);
}
