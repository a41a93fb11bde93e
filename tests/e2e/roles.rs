//! Roles, from the command line to what a token may do.

mod apply;
mod authorize;
mod gateways;

use std::collections::BTreeSet;

use postern_core::permission::Permission;
use postern_proto::permissions::{self, Need, Server, Service};
use postern_rpc::error::Reason;
use serde_json::{Value, json};
use tonic::Code;

use crate::support::{Caller, Method, World};

fn text(document: &Value, field: &str) -> String {
    document[field].as_str().unwrap().to_owned()
}

/// A method that pods of `my-namespace-a` come by, and what one of them may call.
fn pod(world: &World, name: &str) -> (Method, Caller) {
    let method = world.route(name);
    let token = world.token(&method);
    (method, world.control_plane().with(&token))
}

fn give(world: &World, role: &str, method: &str, flags: &[&str]) -> String {
    let give = ["assoc-role-am", "-r", role, "-a", method];
    text(&world.admin.json(&[&give[..], flags].concat()), "assoc_id")
}

/// `None` where the handler was reached, be it with a message that it finds fault with.
fn refusal(world: &World, caller: &Caller, path: &str) -> Option<Reason> {
    match world.block_on(caller.send(path, ())) {
        Ok(()) => None,
        Err(failure) if failure.code == Code::InvalidArgument => None,
        Err(failure) => Some(failure.reason.unwrap()),
    }
}

fn may(world: &World, caller: &Caller, path: &str) -> bool {
    match refusal(world, caller, path) {
        None => true,
        Some(Reason::PermissionDenied) => false,
        Some(reason) => panic!("{path}: {reason:?}"),
    }
}

/// Whom the path is open to: auth methods' names.
fn who_can(world: &World, capability: &str, path: &str) -> Vec<String> {
    let asked = world.admin.json(&["who-can", "-c", capability, "-p", path]);
    let access = asked["access"].as_array().unwrap();
    access.iter().map(|one| text(one, "auth_method")).collect()
}

const METHODS: &str = "/postern.v1.AuthMethodService/ListAuthMethods";
const CREATE_METHOD: &str = "/postern.v1.AuthMethodService/CreateAuthMethod";
const ROLES: &str = "/postern.v1.RoleService/ListRoles";
const CREATE_ROLE: &str = "/postern.v1.RoleService/CreateRole";

#[test]
fn the_tutorials_verbs_make_a_role_give_it_and_take_it_away() {
    let world = World::start();
    let admin = &world.admin;
    world.route("k8s");
    admin.ok(&["create-role", "-n", "team/readers", "--description", "d"]);
    let rule = ["set-role-rule", "-r", "team/readers"];
    admin.ok(&[&rule[..], &["-p", "/{{namespace}}/*", "-c", "read,list"]].concat());
    let deny = ["-p", "/my-namespace-a/secret", "-c", "deny", "--ttl", "60"];
    admin.ok(&[&rule[..], &deny].concat());
    let id = give(
        &world,
        "team/readers",
        "k8s",
        &["-s", "namespace=MY-*,other"],
    );
    admin.ok(&["update-assoc", "-a", &id, "--case-sensitive=false"]);

    let role = admin.json(&["get-role", "-n", "/team/readers"]);
    assert_eq!(role["name"], "roles/team/readers");
    assert_eq!(role["rules"][0]["path"], "/{{namespace}}/*");
    assert_eq!(role["rules"][1]["capabilities"], json!(["CAPABILITY_DENY"]));
    assert!(role["rules"][1]["expire_time"].is_string());
    let given = &role["associations"][0];
    assert_eq!(given["assoc_id"], json!(id));
    assert_eq!(given["auth_method"], "authMethods/k8s");
    assert_eq!(given["case_insensitive"], true);
    let listed = admin.ok(&["list-roles"]);
    for name in ["admin", "auditor", "gateway", "operator", "team/readers"] {
        assert!(listed.contains(name), "{listed}");
    }
    let twins = [
        (&["get-role", "-n", "team/readers"][..], ["role", "get"]),
        (&["list-roles"], ["role", "list"]),
    ];
    for (verb, noun_first) in twins {
        let twin = [&noun_first[..], &verb[1..]].concat();
        assert_eq!(admin.json(verb), admin.json(&twin));
    }

    let asked = ["-c", "read", "-p", "/my-namespace-a/config"];
    let reverse = admin.json(&[&["reverse-rbac"][..], &asked].concat());
    assert_eq!(reverse, admin.json(&[&["who-can"][..], &asked].concat()));
    assert_eq!(reverse["access"][0]["rule_path"], "/{{namespace}}/*");
    assert_eq!(
        reverse["access"][0]["association"],
        format!("associations/{id}")
    );
    let filled = &reverse["access"][0]["template_claims"];
    assert_eq!(filled, &json!({ "namespace": "my-namespace-a" }));
    assert_eq!(who_can(&world, "update", "/my-namespace-a/config"), [""; 0]);

    admin.ok(&[
        "delete-role-rule",
        "-r",
        "team/readers",
        "-p",
        "/{{namespace}}/*",
    ]);
    assert_eq!(who_can(&world, "read", "/my-namespace-a/config"), [""; 0]);
    let again = [
        "delete-role-rule",
        "-r",
        "team/readers",
        "-p",
        "/{{namespace}}/*",
    ];
    admin.run(&again).fails(4, &["no rule for"]);
    let in_use = ["delete-role", "-n", "team/readers"];
    admin.run(&in_use).fails(1, &["in use by associations/"]);
    admin.ok(&["delete-assoc", "-a", &id]);
    admin.ok(&in_use);
    admin
        .run(&["get-role", "-n", "team/readers"])
        .fails(4, &["team/readers"]);
}

#[test]
fn the_closed_lists_are_there_to_be_asked_for() {
    let world = World::shared();
    let claims = world.admin.ok(&["describe-sub-claims"]);
    for claim in [
        "namespace",
        "service_account_name",
        "pod_name",
        "config_name",
    ] {
        assert!(claims.lines().any(|line| line == claim), "{claims}");
    }
    let described = world.admin.json(&["describe-permissions"]);
    let permissions = described["permissions"].as_array().unwrap();
    let names: Vec<_> = permissions
        .iter()
        .map(|one| text(one, "permission"))
        .collect();
    let all: Vec<_> = Permission::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(names, all);
    let table = world.admin.ok(&["describe-permissions"]);
    assert!(
        table.contains("AuthMethodService/CreateAuthMethod"),
        "{table}"
    );
    assert!(table.contains("deny"), "{table}");
}

#[test]
fn every_call_at_the_control_plane_is_refused_to_a_token_without_its_permission() {
    let world = World::start();
    let (_, caller) = pod(&world, "clerk");
    world.admin.ok(&["create-role", "-n", "clerk"]);
    give(&world, "clerk", "clerk", &[]);
    let needed: Vec<(String, Permission)> = permissions::services(Server::ControlPlane)
        .flat_map(Service::paths)
        .filter_map(|path| match permissions::need(&path) {
            Some(Need::Holder(needed) | Need::GatewayOnBehalfOrHolder(needed)) => {
                Some((path, needed))
            }
            _ => None,
        })
        .collect();
    assert!(needed.len() >= 20, "{needed:?}");
    let can_be_held = Permission::ALL
        .iter()
        .filter(|permission| **permission != Permission::GatewaySync);
    for held in can_be_held.clone() {
        let others: Vec<&str> = can_be_held
            .clone()
            .filter(|other| *other != held)
            .map(|other| other.as_str())
            .collect();
        for (permissions, is_held) in [(held.as_str().to_owned(), true), (others.join(","), false)]
        {
            world
                .admin
                .ok(&["update-role", "-n", "clerk", "--permission", &permissions]);
            for (path, _) in needed.iter().filter(|(_, needed)| needed == held) {
                assert_eq!(
                    may(&world, &caller, path),
                    is_held,
                    "{path} with {permissions}"
                );
            }
        }
    }
    world
        .admin
        .ok(&["update-role", "-n", "clerk", "--clear", "permission"]);
    for (path, _) in &needed {
        assert!(!may(&world, &caller, path), "{path} with nothing");
    }
}

#[test]
fn an_auditor_reads_and_writes_nothing_and_an_operator_makes_no_administrators() {
    let world = World::start();
    let (_, caller) = pod(&world, "m");
    assert!(!may(&world, &caller, METHODS), "a token without a role");
    let auditor = give(&world, "auditor", "m", &[]);
    let allowed: BTreeSet<String> = permissions::services(Server::ControlPlane)
        .flat_map(Service::paths)
        .filter(|path| {
            matches!(
                permissions::need(path),
                Some(Need::Holder(_) | Need::GatewayOnBehalfOrHolder(_))
            ) && may(&world, &caller, path)
        })
        .collect();
    for path in &allowed {
        let verb = path.rsplit('/').next().unwrap();
        let reads = [
            "Get", "List", "WhoCan", "Describe", "Tail", "Verify", "Export",
        ];
        assert!(
            reads.iter().any(|prefix| verb.starts_with(prefix)),
            "{path}"
        );
    }
    for path in [METHODS, ROLES, "/postern.v1.AuditService/ListAuditEvents"] {
        assert!(allowed.contains(path), "{path}");
    }
    world.admin.ok(&["delete-assoc", "-a", &auditor]);
    assert!(!may(&world, &caller, METHODS), "taken away at once");

    give(&world, "operator", "m", &[]);
    assert!(may(&world, &caller, CREATE_METHOD));
    assert!(!may(&world, &caller, CREATE_ROLE));
    assert!(!may(
        &world,
        &caller,
        "/postern.v1.AssociationService/CreateAssociation"
    ));
}

#[test]
fn a_role_counts_for_the_tokens_that_its_sub_claims_describe() {
    let world = World::start();
    let (_, caller) = pod(&world, "m");
    for (claims, holds) in [
        (&["-s", "namespace=my-namespace-a"][..], true),
        (&["-s", "namespace=other,my-*"], true),
        (
            &["-s", "namespace=my-namespace-?", "-s", "pod_name=mypod1"],
            true,
        ),
        (
            &["-s", "namespace=my-namespace-a", "-s", "pod_name=mypod2"],
            false,
        ),
        (&["-s", "namespace=other"], false),
        (&["-s", "namespace=MY-NAMESPACE-A"], false),
        (
            &["-s", "namespace=MY-NAMESPACE-A", "--case-sensitive=false"],
            true,
        ),
    ] {
        let id = give(&world, "auditor", "m", claims);
        assert_eq!(may(&world, &caller, ROLES), holds, "{claims:?}");
        world.admin.ok(&["delete-assoc", "-a", &id]);
    }
}

#[test]
fn a_method_that_forces_sub_claims_gives_roles_by_no_others() {
    let world = World::start();
    let (_, caller) = pod(&world, "m");
    world
        .admin
        .ok(&["create-role", "-n", "r", "--permission", "roles.read"]);
    world
        .admin
        .ok(&["set-role-rule", "-r", "r", "-p", "/x", "-c", "read"]);
    let id = give(&world, "r", "m", &[]);
    assert!(may(&world, &caller, ROLES));
    assert_eq!(who_can(&world, "read", "/x"), ["authMethods/m"]);
    let update = ["update-auth-method-k8s", "-n", "m"];
    world
        .admin
        .ok(&[&update[..], &["--force-sub-claims"]].concat());
    assert!(!may(&world, &caller, ROLES), "found, it counts for nothing");
    assert_eq!(who_can(&world, "read", "/x"), [""; 0]);
    let give_all = ["assoc-role-am", "-r", "auditor", "-a", "m"];
    world.admin.run(&give_all).fails(2, &["force_sub_claims"]);
    let named = ["update-assoc", "-a", &id, "-s", "namespace=my-namespace-a"];
    world.admin.ok(&named);
    assert!(may(&world, &caller, ROLES));
    assert_eq!(who_can(&world, "read", "/x"), ["authMethods/m"]);
}

#[test]
fn who_has_no_sub_claims_is_not_listed_where_a_template_wants_one() {
    let world = World::start();
    let admin = &world.admin;
    admin.ok(&["create-role", "-n", "r"]);
    for path in ["/{{namespace}}/x", "/open/y"] {
        admin.ok(&["set-role-rule", "-r", "r", "-p", path, "-c", "read"]);
    }
    admin.ok(&["create-auth-method-api-key", "-n", "key", "--role", "r"]);
    assert_eq!(who_can(&world, "read", "/pay/x"), [""; 0]);
    assert_eq!(who_can(&world, "read", "/open/y"), ["authMethods/key"]);
}

#[test]
fn every_row_of_who_can_agrees_with_its_associations_sub_claims() {
    let world = World::start();
    let admin = &world.admin;
    world.method("m");
    admin.ok(&["create-role", "-n", "r"]);
    let rule = ["set-role-rule", "-r", "r", "-c", "read", "-p"];
    admin.ok(&[&rule[..], &["/{{namespace}}/*"]].concat());
    admin.ok(&[&rule[..], &["/at/{{namespace}}-{{pod_name}}"]].concat());
    let id = give(&world, "r", "m", &["-s", "namespace=a"]);
    assert_eq!(who_can(&world, "read", "/a/x"), ["authMethods/m"]);
    assert_eq!(who_can(&world, "read", "/b/x"), [""; 0]);
    admin.ok(&["update-assoc", "-a", &id, "-s", "namespace=pay*"]);
    assert_eq!(who_can(&world, "read", "/pay-eu/x"), ["authMethods/m"]);
    assert_eq!(who_can(&world, "read", "/a/x"), [""; 0]);
    let asked = admin.json(&["who-can", "-c", "read", "-p", "/at/pay-eu-web"]);
    let rows = asked["access"].as_array().unwrap().iter();
    let filled: Vec<_> = rows.map(|row| row["template_claims"].clone()).collect();
    assert_eq!(
        filled,
        [
            json!({ "namespace": "pay", "pod_name": "eu-web" }),
            json!({ "namespace": "pay-eu", "pod_name": "web" }),
        ]
    );
    let deny = ["set-role-rule", "-r", "r", "-c", "deny", "-p", "/+/secret"];
    admin.ok(&deny);
    assert_eq!(who_can(&world, "read", "/pay/secret"), [""; 0]);
}

#[test]
fn an_association_of_an_access_key_names_no_sub_claims() {
    let world = World::start();
    let admin = &world.admin;
    admin.ok(&["create-role", "-n", "r"]);
    admin.ok(&["create-auth-method-api-key", "-n", "key"]);
    let named = ["-s", "namespace=a"];
    let says = ["sub_claims", "an access key's token carries no sub-claims"];
    let give_some = ["assoc-role-am", "-r", "r", "-a", "key"];
    admin
        .run(&[&give_some[..], &named].concat())
        .fails(2, &says);
    let id = give(&world, "r", "key", &[]);
    let update = ["update-assoc", "-a", &id];
    admin.run(&[&update[..], &named].concat()).fails(2, &says);
}

#[test]
fn nobody_gives_or_changes_what_holds_more_than_they_hold() {
    use postern_proto::pb;
    use postern_proto::pb::association_service_client::AssociationServiceClient;
    use postern_proto::pb::auth_method_service_client::AuthMethodServiceClient;
    use postern_proto::pb::role_service_client::RoleServiceClient;
    let world = World::start();
    let (_, clerk) = pod(&world, "clerk");
    let few = "roles.read,roles.write,auth_methods.read,auth_methods.write";
    world
        .admin
        .ok(&["create-role", "-n", "clerk", "--permission", few]);
    give(&world, "clerk", "clerk", &[]);
    world.method("strong");
    give(&world, "auditor", "strong", &[]);
    let roles = || RoleServiceClient::new(clerk.channel());
    let role = |id: &str, permission: &str| pb::CreateRoleRequest {
        role_id: id.to_owned(),
        role: Some(pb::Role {
            permissions: vec![permission.to_owned()],
            ..pb::Role::default()
        }),
        validate_only: false,
    };
    let refused = |status: tonic::Status| {
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
        assert!(status.message().contains("hold"), "{status}");
    };
    let own = clerk.request(role("own", "roles.read"));
    world.block_on(roles().create_role(own)).unwrap();
    let more = clerk.request(role("more", "audit.read"));
    refused(world.block_on(roles().create_role(more)).unwrap_err());

    let associate = |role: &str, method: &str| {
        clerk.request(pb::CreateAssociationRequest {
            association: Some(pb::Association {
                auth_method: format!("authMethods/{method}"),
                role: format!("roles/{role}"),
                ..pb::Association::default()
            }),
            validate_only: false,
        })
    };
    let associations = || AssociationServiceClient::new(clerk.channel());
    for (role, method) in [("admin", "clerk"), ("auditor", "clerk"), ("own", "strong")] {
        let answer = world.block_on(associations().create_association(associate(role, method)));
        refused(answer.unwrap_err());
    }
    let answer = world.block_on(associations().create_association(associate("own", "clerk")));
    answer.unwrap();
    let delete = clerk.request(pb::DeleteAuthMethodRequest {
        name: "authMethods/strong".to_owned(),
        etag: "*".to_owned(),
        force: true,
    });
    let mut methods = AuthMethodServiceClient::new(clerk.channel());
    refused(
        world
            .block_on(methods.delete_auth_method(delete))
            .unwrap_err(),
    );
}

#[test]
fn no_write_leaves_nobody_who_can_administer() {
    let world = World::start();
    let admin = &world.admin;
    let given = admin.json(&["association", "list", "-r", "admin"]);
    let id = text(&given["associations"][0], "assoc_id");
    let last = |args: &[&str]| admin.run(args).fails(1, &["last way in"]);
    last(&["delete-assoc", "-a", &id]);
    last(&["delete-auth-method", "-n", "admin", "--force"]);
    admin
        .run(&["delete-role", "-n", "admin", "--force"])
        .fails(1, &["built in"]);
    admin.ok(&["list-roles"]);
}

#[test]
fn a_role_that_is_protected_is_not_deleted() {
    let world = World::shared();
    let create = ["create-role", "-n", "protected", "--delete-protection"];
    world.admin.ok(&create);
    let delete = ["delete-role", "-n", "protected", "--force"];
    world.admin.run(&delete).fails(1, &["delete_protection"]);
    world.admin.ok(&[
        "update-role",
        "-n",
        "protected",
        "--delete-protection=false",
    ]);
    world.admin.ok(&delete);
}

#[test]
fn what_is_wrong_with_a_role_is_said_by_its_field() {
    let world = World::shared();
    let admin = &world.admin;
    admin.ok(&["create-role", "-n", "faults"]);
    for (path, part) in [
        ("/a/../b", "`..`"),
        ("/a b", "character"),
        ("/a+", "whole segment"),
        ("/{{email}}", "no sub-claim"),
        ("/{{namespace", "braces"),
    ] {
        let rule = ["set-role-rule", "-r", "faults", "-c", "read", "-p", path];
        admin.run(&rule).fails(2, &["rules[0].path", part]);
    }
    let rule = ["set-role-rule", "-r", "faults", "-p", "/a", "-c"];
    admin
        .run(&[&rule[..], &["deny,read"]].concat())
        .fails(2, &["deny"]);
    admin
        .run(&[&rule[..], &["fly"]].concat())
        .fails(2, &["--capability"]);
    let create = ["create-role", "-n", "f", "--permission", "audit.raed"];
    admin.run(&create).fails(2, &["audit.raed"]);
    let unknown = ["assoc-role-am", "-r", "nope", "-a", "neither"];
    admin
        .run(&unknown)
        .fails(2, &["no role", "no such auth method"]);
    let empty = ["assoc-role-am", "-r", "faults", "-a", "x", "-s", ""];
    admin.run(&empty).fails(2, &["--sub-claims"]);
    admin.ok(&["delete-role", "-n", "faults"]);
}
