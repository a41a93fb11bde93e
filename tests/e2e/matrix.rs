//! Every RPC of the descriptor set, at both servers, called by everybody.

use postern_proto::pb::{self, FILE_DESCRIPTOR_SET};
use postern_proto::permissions::{self, Need, Server};
use postern_rpc::error::{Failure, Reason};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use serde_json::Value;
use tonic::Code;

use crate::support::{Caller, World};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Anonymous,
    Garbage,
    Pod,
    Gateway,
    Administrator,
    Narrowed,
    NarrowedElsewhere,
    GatewayForNarrowed,
    GatewayForUnnarrowed,
    AdministratorForNarrowed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The handler answered, be it with what is wrong with the message.
    Passed,
    Refused(Reason),
}

const PASSED: Outcome = Outcome::Passed;
const LOG_IN: Outcome = Outcome::Refused(Reason::Unauthenticated);
const ADMINISTRATOR_MISSING: Outcome = Outcome::Refused(Reason::OnBehalfUnauthenticated);
const DENIED: Outcome = Outcome::Refused(Reason::PermissionDenied);

fn expected(server: Server, who: Who, need: Need) -> Outcome {
    use Need::{
        Anonymous, Gateway, GatewayAsking, GatewayOnBehalf, GatewayOnBehalfOrHolder, Holder,
        Narrowed, OwnToken, OwnTokenOr,
    };
    match (who, need) {
        // Asked about another's token; what asks about itself may always call.
        (Who::Garbage, OwnTokenOr(_)) => LOG_IN,
        (Who::Administrator, OwnTokenOr(_)) if server == Server::ControlPlane => PASSED,
        (_, OwnTokenOr(_)) if who != Who::Anonymous => DENIED,
        (Who::Garbage, OwnToken) => LOG_IN,
        (Who::Administrator, OwnToken) => PASSED,
        (Who::AdministratorForNarrowed, OwnToken) if server == Server::Gateway => PASSED,
        (Who::GatewayForUnnarrowed, OwnToken) if server == Server::ControlPlane => PASSED,
        (_, OwnToken) if who != Who::Anonymous => DENIED,
        (_, Anonymous) => PASSED,
        (Who::Anonymous, _) => LOG_IN,
        (Who::Narrowed, Narrowed(_)) => PASSED,
        (Who::Garbage, _) if server == Server::Gateway => LOG_IN,
        (_, Narrowed(_)) => DENIED,
        (
            Who::GatewayForNarrowed,
            Gateway | GatewayOnBehalf(_) | GatewayAsking | GatewayOnBehalfOrHolder(_),
        ) => PASSED,
        (Who::GatewayForUnnarrowed | Who::Gateway, Gateway) => PASSED,
        (
            Who::GatewayForUnnarrowed | Who::AdministratorForNarrowed,
            GatewayOnBehalf(_) | GatewayAsking,
        ) => DENIED,
        // Without a second token it isn't even asked whose the first one is.
        (_, GatewayOnBehalf(_) | GatewayAsking) => ADMINISTRATOR_MISSING,
        (Who::Gateway, GatewayOnBehalfOrHolder(_)) => ADMINISTRATOR_MISSING,
        (Who::Garbage, _) => LOG_IN,
        (
            Who::Administrator | Who::AdministratorForNarrowed,
            Holder(_) | GatewayOnBehalfOrHolder(_),
        ) => PASSED,
        _ => DENIED,
    }
}

fn everybody(world: &World, server: &Caller) -> Vec<(Who, Caller)> {
    let method = world.route("matrix");
    let pod = world.token(&method);
    let gateway = world.gateway_token();
    let administrator = world.administrator_token("");
    let narrowed = world.administrator_token("default");
    let created = [
        "gateway",
        "create",
        "-n",
        "elsewhere",
        "--url",
        "https://elsewhere:8000",
    ];
    world.admin.ok(&created);
    let elsewhere = world.administrator_token("elsewhere");
    vec![
        (Who::Anonymous, server.clone()),
        (Who::Garbage, server.with("t-garbage")),
        (Who::Pod, server.with(&pod)),
        (Who::Gateway, server.with(&gateway)),
        (Who::Administrator, server.with(&administrator)),
        (Who::Narrowed, server.with(&narrowed)),
        (Who::NarrowedElsewhere, server.with(&elsewhere)),
        (
            Who::GatewayForNarrowed,
            server.with(&gateway).on_behalf_of(&narrowed),
        ),
        (
            Who::GatewayForUnnarrowed,
            server.with(&gateway).on_behalf_of(&administrator),
        ),
        (
            Who::AdministratorForNarrowed,
            server.with(&administrator).on_behalf_of(&narrowed),
        ),
    ]
}

/// All methods of all services in the descriptor set, with their service's name.
fn described() -> Vec<(String, String)> {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let mut methods = Vec::new();
    for file in &set.file {
        for service in &file.service {
            let name = format!("{}.{}", file.package(), service.name());
            let paths = service
                .method
                .iter()
                .map(|m| format!("/{name}/{}", m.name()));
            methods.extend(paths.map(|path| (name.clone(), path)));
        }
    }
    methods
}

/// In the field that all of those methods have for it.
fn anothers_token() -> pb::IntrospectRequest {
    pb::IntrospectRequest {
        token: "t-another".to_owned(),
        ..pb::IntrospectRequest::default()
    }
}

fn outcome(answer: Result<(), Failure>) -> Outcome {
    match answer {
        Ok(()) => PASSED,
        Err(failure) => match (failure.code, failure.reason) {
            (Code::InvalidArgument, _) => PASSED,
            (_, Some(reason)) => Outcome::Refused(reason),
            (code, None) => panic!("{code:?}: {failure}"),
        },
    }
}

fn drive(world: &World, server: Server, caller: &Caller) {
    let everybody = everybody(world, caller);
    let before = objects(world);
    let (mut served, mut others) = (0, 0);
    for (service, path) in described() {
        let here = permissions::services(server).any(|s| s.name == service);
        for (who, caller) in &everybody {
            let got = match permissions::need(&path) {
                Some(Need::OwnTokenOr(_)) => world.block_on(caller.send(&path, anothers_token())),
                _ => world.block_on(caller.send(&path, ())),
            };
            if here {
                let need = permissions::need(&path).expect("a row for every method");
                assert_eq!(
                    outcome(got),
                    expected(server, *who, need),
                    "{path} called by {who:?}"
                );
                served += 1;
            } else {
                let code = got.unwrap_err().code;
                assert_eq!(code, Code::Unimplemented, "{path} called by {who:?}");
                others += 1;
            }
        }
    }
    assert!(served >= 60 && others >= 50, "{served} {others}");
    assert_eq!(objects(world), before, "nothing was created or deleted");
}

fn objects(world: &World) -> Vec<Value> {
    let lists = [
        &["list-auth-methods"][..],
        &["gateway", "list"],
        &["gateway-list-k8s-auth-config"],
    ];
    let mut objects: Vec<Value> = lists.iter().map(|args| world.admin.json(args)).collect();
    objects.iter_mut().for_each(forget_what_moves);
    objects
}

/// Replicas report, and keys are used, whatever is asked.
fn forget_what_moves(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("instances");
            fields.remove("last_used_time");
            fields.values_mut().for_each(forget_what_moves);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_what_moves),
        _ => {}
    }
}

#[test]
fn the_control_plane_takes_whom_it_should_and_nobody_else() {
    let world = World::start();
    drive(&world, Server::ControlPlane, &world.control_plane());
}

#[test]
fn the_gateway_takes_whom_it_should_and_nobody_else() {
    let world = World::start();
    drive(&world, Server::Gateway, &world.gateway());
}

#[test]
fn who_may_not_call_learns_nothing_about_the_message() {
    let world = World::shared();
    // As every message's first field, text that isn't UTF-8.
    let malformed = vec![0xff_u8, 0xfe];
    for (server, caller) in [
        (Server::ControlPlane, world.control_plane()),
        (Server::Gateway, world.gateway()),
    ] {
        for path in permissions::services(server).flat_map(permissions::Service::paths) {
            // Of a token's own questions, only the message says that they are.
            if let Some(Need::Anonymous | Need::OwnTokenOr(_) | Need::OwnToken) =
                permissions::need(&path)
            {
                continue;
            }
            let failure = world
                .block_on(caller.send(&path, malformed.clone()))
                .unwrap_err();
            assert_eq!(failure.code, Code::Unauthenticated, "{path}: {failure}");
            let stranger = caller.with("t-garbage");
            let failure = world
                .block_on(stranger.send(&path, malformed.clone()))
                .unwrap_err();
            assert_eq!(failure.code, Code::Unauthenticated, "{path}: {failure}");
        }
    }
}
