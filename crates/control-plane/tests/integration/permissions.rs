//! Every RPC, called by everybody.

use http::uri::PathAndQuery;
use postern_proto::pb;
use postern_proto::permissions::{self, Need, Server};
use postern_rpc::error::Failure;
use postern_rpc::error::Reason;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use crate::world::{Persona, World};

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Anonymous,
    Garbage,
    Workload,
    Gateway,
    Administrator,
    Narrowed,
    GatewayForNarrowed,
    GatewayForUnnarrowed,
    GatewayForWorkload,
    OtherGatewayForNarrowed,
    AdministratorForNarrowed,
}

/// What an empty message gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The handler answered: with a result, or with what is wrong with an empty message.
    Passed,
    Refused(Reason),
}

const PASSED: Outcome = Outcome::Passed;
const LOG_IN: Outcome = Outcome::Refused(Reason::Unauthenticated);
const ADMINISTRATOR_MISSING: Outcome = Outcome::Refused(Reason::OnBehalfUnauthenticated);
const DENIED: Outcome = Outcome::Refused(Reason::PermissionDenied);

fn expected(who: Who, need: Need) -> Outcome {
    use Need::{
        Anonymous, Gateway, GatewayAsking, GatewayOnBehalf, GatewayOnBehalfOrHolder, Holder,
        OwnToken, OwnTokenOr,
    };
    match (who, need) {
        (_, Anonymous) => PASSED,
        (Who::Anonymous, _) => LOG_IN,
        // Without a second token it isn't even asked whose the first one is.
        (
            Who::Garbage | Who::Workload | Who::Gateway | Who::Administrator | Who::Narrowed,
            GatewayOnBehalf(_) | GatewayAsking,
        ) => ADMINISTRATOR_MISSING,
        (Who::Garbage, _) => LOG_IN,
        (Who::Gateway, Gateway) => PASSED,
        (Who::Gateway, GatewayOnBehalfOrHolder(_)) => ADMINISTRATOR_MISSING,
        (Who::Administrator, Holder(_) | GatewayOnBehalfOrHolder(_)) => PASSED,
        (
            Who::GatewayForNarrowed,
            Gateway | GatewayOnBehalf(_) | GatewayAsking | GatewayOnBehalfOrHolder(_),
        ) => PASSED,
        (
            Who::GatewayForUnnarrowed | Who::GatewayForWorkload | Who::OtherGatewayForNarrowed,
            Gateway,
        ) => PASSED,
        (Who::AdministratorForNarrowed, Holder(_) | GatewayOnBehalfOrHolder(_)) => PASSED,
        // Asked about another's token; what asks about itself may always call.
        (Who::Administrator, OwnTokenOr(_)) => PASSED,
        (Who::Administrator | Who::GatewayForUnnarrowed, OwnToken) => PASSED,
        _ => DENIED,
    }
}

async fn personas(world: &World) -> Vec<(Who, Persona)> {
    let setup = world.setup().await;
    let gateway = world.gateway().await;
    let administrator = world.administrator().await;
    let narrowed = world.narrowed().await;
    let workload = world.workload(&setup).await;
    let other = world.other_gateway("other").await;
    vec![
        (Who::Anonymous, Persona::anonymous()),
        (Who::Garbage, Persona::bearer("t-garbage")),
        (
            Who::GatewayForUnnarrowed,
            gateway.on_behalf_of(&administrator),
        ),
        (Who::GatewayForNarrowed, gateway.on_behalf_of(&narrowed)),
        (Who::GatewayForWorkload, gateway.on_behalf_of(&workload)),
        (Who::OtherGatewayForNarrowed, other.on_behalf_of(&narrowed)),
        (
            Who::AdministratorForNarrowed,
            administrator.on_behalf_of(&narrowed),
        ),
        (Who::Gateway, gateway),
        (Who::Administrator, administrator),
        (Who::Narrowed, narrowed),
        (Who::Workload, workload),
    ]
}

/// Sends an empty message, or one about another's token, and waits for the first answer.
async fn call(world: &World, path: &str, persona: &Persona) -> Result<(), Status> {
    match permissions::need(path) {
        Some(Need::OwnTokenOr(_)) => {
            let about_another = pb::IntrospectRequest {
                token: "t-another".to_owned(),
                ..pb::IntrospectRequest::default()
            };
            send(world, path, persona, about_another).await
        }
        _ => send(world, path, persona, ()).await,
    }
}

async fn send<M>(world: &World, path: &str, persona: &Persona, message: M) -> Result<(), Status>
where
    M: prost::Message + Default + 'static,
{
    let mut client = tonic::client::Grpc::new(world.channel.clone());
    client.ready().await.unwrap();
    let path: PathAndQuery = path.parse().unwrap();
    let codec = ProstCodec::<M, ()>::default();
    let answer = client
        .server_streaming(persona.request(message), path, codec)
        .await?;
    answer.into_inner().message().await.map(|_| ())
}

fn outcome(answer: Result<(), Status>) -> Outcome {
    let Err(status) = answer else {
        return Outcome::Passed;
    };
    let failure = Failure::from(status);
    let reason = failure.reason.unwrap();
    match failure.code {
        Code::Unauthenticated | Code::PermissionDenied => Outcome::Refused(reason),
        Code::InvalidArgument => Outcome::Passed,
        code => panic!("an empty message gets {code:?}: {failure}"),
    }
}

/// The API's methods that the control plane serves, from the descriptors.
fn served() -> Vec<String> {
    let set = FileDescriptorSet::decode(pb::FILE_DESCRIPTOR_SET).unwrap();
    let files = set.file.iter().flat_map(|file| {
        let package = file.package().to_owned();
        file.service
            .iter()
            .map(move |service| (format!("{package}.{}", service.name()), service))
    });
    let here = |name: &str| permissions::services(Server::ControlPlane).any(|s| s.name == name);
    files
        .filter(|(name, _)| here(name))
        .flat_map(|(name, service)| {
            let methods = service.method.iter();
            methods.map(move |method| format!("/{name}/{}", method.name()))
        })
        .collect()
}

#[tokio::test]
async fn every_rpc_takes_whom_it_should_and_nobody_else() {
    let world = World::start().await;
    let personas = personas(&world).await;
    let paths = served();
    assert!(paths.len() >= 20, "{paths:?}");
    for path in &paths {
        let need = permissions::need(path).unwrap();
        for (who, persona) in &personas {
            let got = outcome(call(&world, path, persona).await);
            assert_eq!(got, expected(*who, need), "{path} called by {who:?}");
        }
    }
}

#[tokio::test]
async fn a_handful_by_hand() {
    let world = World::start().await;
    let personas = personas(&world).await;
    for (path, who, wanted) in [
        (
            "AuthMethodService/CreateAuthMethod",
            Who::Administrator,
            PASSED,
        ),
        ("AuthMethodService/CreateAuthMethod", Who::Narrowed, DENIED),
        ("AuthMethodService/ListAuthMethods", Who::Gateway, DENIED),
        ("AuthMethodService/ListAuthMethods", Who::Workload, DENIED),
        ("AuthMethodService/ListAuthMethods", Who::Anonymous, LOG_IN),
        (
            "AuditService/ListAuditEvents",
            Who::GatewayForNarrowed,
            DENIED,
        ),
        (
            "GatewayService/CreateGateway",
            Who::GatewayForNarrowed,
            DENIED,
        ),
        ("GatewaySyncService/Watch", Who::Administrator, DENIED),
        ("GatewaySyncService/Watch", Who::Gateway, PASSED),
        (
            "GatewaySyncService/ExchangeAssertion",
            Who::Workload,
            DENIED,
        ),
        (
            "GatewaySyncService/BatchExchangeAssertions",
            Who::Workload,
            DENIED,
        ),
        (
            "GatewaySyncService/AuthorizeAdministrator",
            Who::GatewayForUnnarrowed,
            DENIED,
        ),
        (
            "GatewaySyncService/AuthorizeAdministrator",
            Who::OtherGatewayForNarrowed,
            DENIED,
        ),
        (
            "SealedK8sAuthConfigService/CreateSealedK8sAuthConfig",
            Who::Administrator,
            ADMINISTRATOR_MISSING,
        ),
        (
            "SealedK8sAuthConfigService/CreateSealedK8sAuthConfig",
            Who::AdministratorForNarrowed,
            DENIED,
        ),
        (
            "SealedK8sAuthConfigService/ListSealedK8sAuthConfigs",
            Who::Narrowed,
            DENIED,
        ),
        (
            "SealedK8sAuthConfigService/DeleteSealedK8sAuthConfig",
            Who::Gateway,
            ADMINISTRATOR_MISSING,
        ),
        ("ServerInfoService/GetServerInfo", Who::Anonymous, PASSED),
    ] {
        let (_, persona) = personas
            .iter()
            .find(|(persona, _)| *persona == who)
            .unwrap();
        let got = call(&world, &format!("/postern.v1.{path}"), persona).await;
        assert_eq!(outcome(got), wanted, "{path} called by {who:?}");
    }
}

#[tokio::test]
async fn what_a_gateway_serves_is_not_here() {
    let world = World::start().await;
    let administrator = world.administrator().await;
    for path in [
        "AuthService/Authenticate",
        "K8sAuthConfigService/ListK8sAuthConfigs",
        "Nope/Nope",
    ] {
        let got = call(&world, &format!("/postern.v1.{path}"), &administrator).await;
        assert_eq!(got.unwrap_err().code(), Code::Unimplemented, "{path}");
    }
}

#[tokio::test]
async fn a_token_that_has_expired_is_no_token() {
    let world = World::start().await;
    let personas = personas(&world).await;
    world.clock.advance(jiff::SignedDuration::from_mins(6));
    let find = |who| {
        &personas
            .iter()
            .find(|(persona, _)| *persona == who)
            .unwrap()
            .1
    };
    let path = "/postern.v1.GatewaySyncService/AuthorizeAdministrator";
    let got = call(&world, path, find(Who::GatewayForNarrowed)).await;
    assert_eq!(
        outcome(got),
        ADMINISTRATOR_MISSING,
        "narrowed tokens live 5 minutes"
    );
    let path = "/postern.v1.AuthMethodService/ListAuthMethods";
    assert_eq!(
        outcome(call(&world, path, find(Who::Administrator)).await),
        PASSED
    );
    world.clock.advance(jiff::SignedDuration::from_mins(10));
    assert_eq!(
        outcome(call(&world, path, find(Who::Administrator)).await),
        LOG_IN
    );
    let path = "/postern.v1.GatewaySyncService/GetRevision";
    assert_eq!(
        outcome(call(&world, path, find(Who::Gateway)).await),
        PASSED
    );
    world.clock.advance(jiff::SignedDuration::from_mins(45));
    assert_eq!(
        outcome(call(&world, path, find(Who::Gateway)).await),
        LOG_IN
    );
}
