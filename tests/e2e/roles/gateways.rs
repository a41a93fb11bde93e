//! What a gateway lets administrators do who may not do everything.

use std::fmt::Write as _;

use postern_core::permission::Permission;
use postern_proto::permissions::{self, Need, Server, Service};

use super::{give, may, text};
use crate::support::{Cli, World};

/// An access key whose holder has that role, and its access ID.
fn key(world: &World, role: &str) -> (String, String) {
    let create = ["auth-method", "create", "access-key", "-n", role];
    let made = world.admin.json(&create);
    give(world, role, role, &[]);
    (text(&made, "access_id"), text(&made, "access_key"))
}

/// Somebody else's command line, with that role.
fn holder(world: &World, role: &str) -> Cli {
    let (access_id, key) = key(world, role);
    let cli = Cli::new();
    let file = cli.file("key", &key);
    let stack = world.stack();
    let ca = stack.deployment().ca_cert();
    let mut args = vec!["configure", "--access-id", &access_id];
    args.extend([
        "--access-key-file",
        &file,
        "--ca-cert",
        ca.to_str().unwrap(),
    ]);
    args.extend(["--control-plane-url", stack.control_plane_url()]);
    args.extend(["--gateway-url", stack.gateway_url()]);
    cli.ok(&args);
    cli
}

#[test]
fn an_operator_works_at_a_gateway_and_an_auditor_only_looks() {
    let world = World::start();
    let method = world.method("m");
    let args = world.config_args("c", &method);
    let create: Vec<&str> = args.iter().map(String::as_str).collect();
    let list = ["gateway-list-k8s-auth-config"];
    let delete = ["gateway-delete-k8s-auth-config", "--name", "c"];
    let (auditor, operator) = (holder(&world, "auditor"), holder(&world, "operator"));

    auditor.run(&create).fails(1, &["k8s_auth_configs.write"]);
    operator.ok(&create);
    world
        .log_in(&method.access_id, "c", &world.pod_token("mypod1"))
        .success();
    assert!(auditor.ok(&list).contains('c'));
    auditor.run(&delete).fails(1, &["k8s_auth_configs.write"]);
    let doctor = auditor.run(&["doctor", "c"]);
    doctor.fails(1, &["diagnose"]);
    operator.ok(&["doctor", "c"]);

    let more = ["assoc-role-am", "-r", "admin", "-a", "operator"];
    operator.run(&more).fails(1, &["roles.write"]);
    auditor.ok(&["list-roles"]);
    operator.ok(&delete);
}

#[test]
fn every_call_at_a_gateway_is_refused_to_a_token_without_its_permission() {
    let world = World::start();
    world.admin.ok(&["create-role", "-n", "clerk"]);
    let (access_id, key) = key(&world, "clerk");
    let token = world.log_in_with_key(&access_id, &key, "default");
    let caller = world.gateway().with(&token);
    let needed: Vec<(String, Permission)> = permissions::services(Server::Gateway)
        .flat_map(Service::paths)
        .filter_map(|path| match permissions::need(&path) {
            Some(Need::Narrowed(needed)) => Some((path, needed)),
            _ => None,
        })
        .collect();
    assert!(needed.len() >= 8, "{needed:?}");
    let held = |permissions: &str| {
        let update = ["update-role", "-n", "clerk", "--permission", permissions];
        world.admin.ok(&update);
    };
    for permission in [
        Permission::K8sAuthConfigsRead,
        Permission::K8sAuthConfigsWrite,
        Permission::Diagnose,
    ] {
        let of_it = || needed.iter().filter(|(_, needed)| *needed == permission);
        assert!(of_it().count() > 0);
        held(permission.as_str());
        for (path, _) in of_it() {
            assert!(may(&world, &caller, path), "{path} with {permission}");
        }
        let mut others = String::from("audit.read");
        for other in Permission::ALL {
            if ![permission, Permission::GatewaySync, Permission::AuditRead].contains(other) {
                write!(others, ",{other}").unwrap();
            }
        }
        held(&others);
        for (path, _) in of_it() {
            assert!(!may(&world, &caller, path), "{path} with {others}");
        }
    }
}
