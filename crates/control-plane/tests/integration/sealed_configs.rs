//! SealedK8sAuthConfigService.

use postern_proto::pb;
use postern_rpc::request_id::RequestId;
use tonic::Code;

use crate::messages::{config, config_creation, signing_key};
use crate::world::{World, failed, fields};

fn get(name: &str) -> pb::GetSealedK8sAuthConfigRequest {
    pb::GetSealedK8sAuthConfigRequest {
        name: name.to_owned(),
    }
}

fn list(parent: &str) -> pb::ListSealedK8sAuthConfigsRequest {
    pb::ListSealedK8sAuthConfigsRequest {
        parent: parent.to_owned(),
        ..Default::default()
    }
}

fn update(config: pb::SealedK8sAuthConfig) -> pb::UpdateSealedK8sAuthConfigRequest {
    pb::UpdateSealedK8sAuthConfigRequest {
        config: Some(config),
        validate_only: false,
    }
}

fn delete(name: &str, etag: &str) -> pb::DeleteSealedK8sAuthConfigRequest {
    pb::DeleteSealedK8sAuthConfigRequest {
        name: name.to_owned(),
        etag: etag.to_owned(),
    }
}

fn view(config: &mut pb::SealedK8sAuthConfig) -> &mut pb::K8sAuthConfig {
    config.view.as_mut().unwrap()
}

/// The next version of what is stored.
fn next(stored: &pb::SealedK8sAuthConfig) -> pb::SealedK8sAuthConfig {
    let mut next = stored.clone();
    view(&mut next).generation += 1;
    next.sealed = b"another ciphertext".to_vec();
    next
}

const NAME: &str = "gateways/default/k8sAuthConfigs/k8s-conf";

#[tokio::test]
async fn the_box_goes_to_its_gateway_alone() {
    let world = World::start().await;
    let setup = world.setup().await;
    assert_eq!(setup.config.sealed, b"ciphertext");
    let relayed = world.relayed().await;
    let admin = world.administrator().await;
    let mut client = world.configs();
    let got = client
        .get_sealed_k8s_auth_config(relayed.request(get(NAME)))
        .await
        .unwrap();
    assert_eq!(got.into_inner().config, Some(setup.config.clone()));
    let got = client
        .get_sealed_k8s_auth_config(admin.request(get(NAME)))
        .await
        .unwrap();
    let got = got.into_inner().config.unwrap();
    assert!(got.sealed.is_empty());
    assert_eq!(got.view, setup.config.view);
    for (persona, parent, boxed) in [
        (&relayed, "gateways/default", true),
        (&admin, "gateways/default", false),
        (&admin, "gateways/-", false),
    ] {
        let listed = client
            .list_sealed_k8s_auth_configs(persona.request(list(parent)))
            .await;
        let configs = listed.unwrap().into_inner().configs;
        assert_eq!(configs.len(), 1, "{parent}");
        assert_eq!(!configs[0].sealed.is_empty(), boxed, "{parent}");
    }
}

#[tokio::test]
async fn another_gateways_config_is_out_of_reach_whether_it_exists_or_not() {
    let world = World::start().await;
    let setup = world.setup().await;
    let other = world.other_gateway("other").await;
    let narrowed = world
        .log_in(&world.admin, "other")
        .await
        .unwrap()
        .into_inner();
    let other = other.on_behalf_of(&crate::world::Persona::bearer(&narrowed.access_token));
    let mut client = world.configs();
    for name in [NAME, "gateways/default/k8sAuthConfigs/nope"] {
        let failure = failed(
            client
                .get_sealed_k8s_auth_config(other.request(get(name)))
                .await,
        );
        assert_eq!(failure.code, Code::PermissionDenied, "{name}");
        let failure = failed(
            client
                .delete_sealed_k8s_auth_config(other.request(delete(name, "*")))
                .await,
        );
        assert_eq!(failure.code, Code::PermissionDenied, "{name}");
    }
    for parent in ["gateways/default", "gateways/-"] {
        let failure = failed(
            client
                .list_sealed_k8s_auth_configs(other.request(list(parent)))
                .await,
        );
        assert_eq!(failure.code, Code::PermissionDenied, "{parent}");
    }
    let failure = failed(
        client
            .update_sealed_k8s_auth_config(other.request(update(next(&setup.config))))
            .await,
    );
    assert_eq!(failure.code, Code::PermissionDenied);
    let theirs = config("theirs", &setup.method.access_id, &setup.key);
    let failure = failed(
        client
            .create_sealed_k8s_auth_config(other.request(config_creation(theirs)))
            .await,
    );
    assert_eq!(failure.code, Code::PermissionDenied);
}

#[tokio::test]
async fn faults_have_the_names_that_the_gateways_caller_knows() {
    let world = World::start().await;
    let setup = world.setup().await;
    let relayed = world.relayed().await;
    let mut client = world.configs();
    let mut unknown = config("x", "p-abcdefghijkl", &setup.key);
    let answer = client
        .create_sealed_k8s_auth_config(relayed.request(config_creation(unknown.clone())))
        .await;
    assert_eq!(fields(answer), ["k8s_auth_config.access_id"]);
    view(&mut unknown).access_id = Some(String::new());
    let answer = client
        .create_sealed_k8s_auth_config(relayed.request(config_creation(unknown)))
        .await;
    assert_eq!(fields(answer), ["k8s_auth_config.access_id"]);
    let foreign = config("x", &setup.method.access_id, &signing_key());
    let answer = client
        .create_sealed_k8s_auth_config(relayed.request(config_creation(foreign)))
        .await;
    let failure = failed(answer);
    assert_eq!(failure.violations[0].field, "secrets.signing_key");
    assert_eq!(
        failure.violations[0].fault,
        format!(
            "doesn't belong to auth method {}; use the private key of one of its public keys",
            setup.method.access_id
        )
    );
    let answer = client
        .create_sealed_k8s_auth_config(relayed.request(Default::default()))
        .await;
    assert_eq!(fields(answer), ["config"]);
    let mut boxless = config("x", &setup.method.access_id, &setup.key);
    boxless.sealed.clear();
    let answer = client
        .create_sealed_k8s_auth_config(relayed.request(config_creation(boxless)))
        .await;
    assert_eq!(fields(answer), ["config.sealed"]);
    assert!(!world.audit.contents().contains("k8sAuthConfigs/x"));
}

#[tokio::test]
async fn a_uid_and_a_name_are_used_once_and_generations_count_up() {
    let world = World::start().await;
    let setup = world.setup().await;
    let relayed = world.relayed().await;
    let mut client = world.configs();
    let again = config("k8s-conf", &setup.method.access_id, &setup.key);
    let failure = failed(
        client
            .create_sealed_k8s_auth_config(relayed.request(config_creation(again)))
            .await,
    );
    assert_eq!(failure.code, Code::AlreadyExists);
    assert_eq!(failure.resource.as_deref(), Some(NAME));
    let mut late = config("y", &setup.method.access_id, &setup.key);
    view(&mut late).generation = 2;
    let answer = client
        .create_sealed_k8s_auth_config(relayed.request(config_creation(late)))
        .await;
    assert_eq!(fields(answer), ["k8s_auth_config.generation"]);
    let answer = client
        .update_sealed_k8s_auth_config(relayed.request(update(next(&setup.config))))
        .await;
    let second = answer.unwrap().into_inner().config.unwrap();
    assert_eq!(second.view.as_ref().unwrap().generation, 2);
    assert_eq!(second.sealed, b"another ciphertext");
    let failure = failed(
        client
            .update_sealed_k8s_auth_config(relayed.request(update(next(&setup.config))))
            .await,
    );
    assert_eq!(failure.code, Code::Aborted);
    let mut skipped = next(&next(&second));
    view(&mut skipped).meta.as_mut().unwrap().etag = "*".to_owned();
    let failure = failed(
        client
            .update_sealed_k8s_auth_config(relayed.request(update(skipped)))
            .await,
    );
    assert_eq!(failure.code, Code::Aborted);
}

#[tokio::test]
async fn validate_only_keeps_nothing() {
    let world = World::start().await;
    let setup = world.setup().await;
    let relayed = world.relayed().await;
    let mut client = world.configs();
    let mut create = config_creation(config("draft", &setup.method.access_id, &setup.key));
    create.validate_only = true;
    client
        .create_sealed_k8s_auth_config(relayed.request(create))
        .await
        .unwrap();
    let name = "gateways/default/k8sAuthConfigs/draft";
    let failure = failed(
        client
            .get_sealed_k8s_auth_config(relayed.request(get(name)))
            .await,
    );
    assert_eq!(failure.code, Code::NotFound);
    assert_eq!(failure.resource.as_deref(), Some(name));
}

#[tokio::test]
async fn an_administrator_deletes_what_no_gateway_can_use_any_more() {
    let world = World::start().await;
    let setup = world.setup().await;
    let admin = world.administrator().await;
    let mut client = world.configs();
    let answer = client
        .delete_sealed_k8s_auth_config(admin.request(delete(NAME, "1x")))
        .await;
    assert_eq!(fields(answer), ["etag"]);
    let failure = failed(
        client
            .delete_sealed_k8s_auth_config(admin.request(delete(NAME, "0")))
            .await,
    );
    assert_eq!(failure.code, Code::Aborted);
    let etag = setup.config.view.unwrap().meta.unwrap().etag;
    client
        .delete_sealed_k8s_auth_config(admin.request(delete(NAME, &etag)))
        .await
        .unwrap();
    let failure = failed(
        client
            .delete_sealed_k8s_auth_config(admin.request(delete(NAME, "*")))
            .await,
    );
    assert_eq!(failure.code, Code::NotFound);
}

#[tokio::test]
async fn a_relayed_write_is_on_record_with_both_names_under_the_callers_request_id() {
    let world = World::start().await;
    let key = signing_key();
    let method = world.create_method("m", &key).await;
    let relayed = world.relayed().await;
    let id = RequestId::generate().to_string();
    world
        .create_config(&relayed.relaying(&id), config("c", &method.access_id, &key))
        .await;
    let events = world.events(&id).await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].event, "k8s_auth_config.created");
    assert_eq!(events[0].gateway, "default");
    assert_eq!(events[0].access_id, world.admin.access_id);
    assert_eq!(events[0].resource, "gateways/default/k8sAuthConfigs/c");
    assert!(!events[0].after_json.contains("ciphertext"));
    // What is no request ID is not believed, and neither is one of somebody else.
    let not_an_id = "not-an-id";
    let config = config("d", &method.access_id, &key);
    world
        .create_config(&relayed.relaying(not_an_id), config)
        .await;
    assert!(world.events(not_an_id).await.is_empty());
    let forged = RequestId::generate().to_string();
    let admin = world.administrator().await.relaying(&forged);
    let message = delete("gateways/default/k8sAuthConfigs/d", "*");
    world
        .configs()
        .delete_sealed_k8s_auth_config(admin.request(message))
        .await
        .unwrap();
    assert!(world.events(&forged).await.is_empty());
}
