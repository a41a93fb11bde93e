//! GatewayService.

use postern_proto::pb;
use postern_rpc::error::Reason;
use tonic::Code;

use crate::world::{Key, Persona, World, failed, fields};

fn create(id: &str, url: &str) -> pb::CreateGatewayRequest {
    pb::CreateGatewayRequest {
        gateway_id: id.to_owned(),
        gateway: Some(pb::Gateway {
            url: Some(url.to_owned()),
            description: Some("the second".to_owned()),
            ..pb::Gateway::default()
        }),
    }
}

fn get(name: &str) -> pb::GetGatewayRequest {
    pb::GetGatewayRequest {
        name: name.to_owned(),
    }
}

fn delete(name: &str, etag: &str, force: bool) -> pb::DeleteGatewayRequest {
    pb::DeleteGatewayRequest {
        name: name.to_owned(),
        etag: etag.to_owned(),
        force,
    }
}

#[tokio::test]
async fn a_new_gateway_gets_its_key_this_once() {
    let world = World::start().await;
    let admin = world.administrator().await;
    let mut client = world.gateways();
    let request = admin.request(create("second", "https://GW.example.com:8000/"));
    let made = client.create_gateway(request).await.unwrap().into_inner();
    assert_eq!(made.deployment_id, world.deployment.to_string());
    let gateway = made.gateway.unwrap();
    assert_eq!(gateway.name, "gateways/second");
    assert_eq!(gateway.url(), "https://gw.example.com:8000");
    let key = Key {
        access_id: gateway.access_id.clone(),
        key: made.access_key.clone(),
    };
    let read = client
        .get_gateway(admin.request(get("gateways/second")))
        .await
        .unwrap();
    assert_eq!(read.into_inner().gateway, Some(gateway));
    assert!(world.log_in(&key, "").await.is_ok());
    let listed = client
        .list_gateways(admin.request(Default::default()))
        .await
        .unwrap();
    let names: Vec<_> = listed
        .into_inner()
        .gateways
        .into_iter()
        .map(|g| g.name)
        .collect();
    assert_eq!(names, ["gateways/default", "gateways/second"]);
    assert!(!world.audit.contents().contains(&made.access_key[2..]));
}

#[tokio::test]
async fn what_is_wrong_with_a_gateway_is_named() {
    let world = World::start().await;
    let admin = world.administrator().await;
    let mut client = world.gateways();
    let answer = client
        .create_gateway(admin.request(create("a/b", "http://gw.example.com")))
        .await;
    assert_eq!(fields(answer), ["gateway_id", "gateway.url"]);
    let answer = client
        .create_gateway(admin.request(Default::default()))
        .await;
    assert_eq!(fields(answer), ["gateway_id", "gateway.url"]);
    let failure = failed(
        client
            .create_gateway(admin.request(create("default", "https://gw")))
            .await,
    );
    assert_eq!(failure.code, Code::AlreadyExists);
    assert_eq!(
        fields(client.get_gateway(admin.request(get("default"))).await),
        ["name"]
    );
    let failure = failed(
        client
            .get_gateway(admin.request(get("gateways/nope")))
            .await,
    );
    assert_eq!(failure.code, Code::NotFound);
}

#[tokio::test]
async fn a_deleted_gateway_is_out_at_once() {
    let world = World::start().await;
    let admin = world.administrator().await;
    let mut client = world.gateways();
    world.setup().await;
    let gateway = world.gateway().await;
    let revision = async |persona: &Persona| {
        let request = persona.request(pb::GetRevisionRequest {});
        world.sync().get_revision(request).await
    };
    assert!(revision(&gateway).await.is_ok());
    let failure = failed(
        client
            .delete_gateway(admin.request(delete("gateways/default", "*", false)))
            .await,
    );
    assert_eq!(failure.reason, Some(Reason::InUse));
    assert_eq!(
        failure.blockers[0].subject,
        "gateways/default/k8sAuthConfigs/k8s-conf"
    );
    let stale = delete("gateways/default", "999999", true);
    assert_eq!(
        failed(client.delete_gateway(admin.request(stale)).await).code,
        Code::Aborted
    );
    client
        .delete_gateway(admin.request(delete("gateways/default", "*", true)))
        .await
        .unwrap();
    assert_eq!(failed(revision(&gateway).await).code, Code::Unauthenticated);
    assert_eq!(
        failed(world.log_in(&world.gateway, "").await).reason,
        Some(Reason::LoginRefused)
    );
    let answer = client
        .delete_gateway(admin.request(delete("nope", "", false)))
        .await;
    assert_eq!(fields(answer), ["name", "etag"]);
}
