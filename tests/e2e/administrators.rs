//! Access keys: made, replaced and ended from the command line, and a way in when all are lost.

use serde_json::{Value, json};

use crate::support::{Cli, Output, World};
use crate::tokens::on_both_engines;

/// Somebody else's command line, with that access key.
fn with_key(world: &World, access_id: &str, key: &str) -> Cli {
    let cli = Cli::new();
    let file = cli.file("key", key);
    let ca = world.stack().deployment().ca_cert();
    let args = [
        "configure",
        "--access-id",
        access_id,
        "--access-key-file",
        &file,
        "--control-plane-url",
        world.stack().control_plane_url(),
        "--gateway-url",
        world.stack().gateway_url(),
        "--ca-cert",
        ca.to_str().unwrap(),
    ];
    cli.ok(&args);
    cli
}

fn text(document: &Value, field: &str) -> String {
    document[field].as_str().unwrap().to_owned()
}

/// Anything that needs to be logged in.
fn ask(cli: &Cli) -> Output {
    cli.run(&["list-auth-methods"])
}

fn reason(world: &World, refused: Output) -> Value {
    let stderr = refused.fails(1, &["refused the access key of the profile `default`"]);
    let id = stderr.split("request ID ").nth(1).unwrap();
    let id: String = id.chars().take_while(char::is_ascii_alphanumeric).collect();
    world.audited(&id)["reason"].clone()
}

#[test]
fn an_access_key_is_made_replaced_and_ended_and_is_shown_only_once() {
    let world = World::start();
    let made = world.admin.json(&ADMIN_CREATE);
    let (access_id, first) = (text(&made, "access_id"), text(&made, "access_key"));
    let old = with_key(&world, &access_id, &first);
    ask(&old).success();

    let rotated = world
        .admin
        .json(&["auth-method", "rotate-access-key", "-n", "second"]);
    let second = text(&rotated, "access_key");
    let new = with_key(&world, &access_id, &second);
    ask(&old).success();
    ask(&new).success();
    let again = ["auth-method", "rotate-access-key", "-n", "second"];
    world
        .admin
        .run(&again)
        .fails(1, &["two good access keys already"]);

    let keys = world
        .admin
        .json(&["auth-method", "list-access-keys", "-n", "second"]);
    let keys = keys["keys"].as_array().unwrap().clone();
    assert_eq!(keys.len(), 2);
    assert!(
        keys.iter().all(|key| key["last_used_time"].is_string()),
        "{keys:?}"
    );
    let ending = keys
        .iter()
        .find(|key| key["expire_time"].is_string())
        .unwrap();
    let id = text(ending, "key_id");
    world.admin.ok(&[
        "auth-method",
        "revoke-access-key",
        "-n",
        "second",
        "--key-id",
        &id,
    ]);
    assert_eq!(reason(&world, ask(&old)), "ACCESS_KEY_WRONG");
    ask(&new).success();

    let shown = world
        .admin
        .ok(&["auth-method", "get", "-n", "second", "--json"]);
    let listed = world.admin.ok(&["auth-method", "list", "--json"]);
    let audited = world.admin.ok(&["audit", "list", "--json"]);
    for key in [&first, &second] {
        for text in [&shown, &listed, &audited] {
            assert!(!text.contains(&key[2..20]), "a key is shown again");
        }
    }
}

#[test]
fn a_new_access_key_may_do_nothing_until_it_has_a_role_and_gets_none_beyond_its_makers() {
    let world = World::start();
    let make = |cli: &Cli, name: &str, role: &[&str]| {
        let create = ["create-auth-method-api-key", "-n", name, "--json"];
        cli.run(&[&create[..], role].concat())
    };
    let bare = make(&world.admin, "bare", &[]).document();
    let bare = with_key(
        &world,
        &text(&bare, "access_id"),
        &text(&bare, "access_key"),
    );
    ask(&bare).fails(1, &["no permission"]);
    world.admin.ok(&[
        "assoc-role-am",
        "--am-name",
        "bare",
        "--role-name",
        "auditor",
    ]);
    ask(&bare).success();

    let operator = make(&world.admin, "op", &["--role", "operator"]).document();
    let operator = with_key(
        &world,
        &text(&operator, "access_id"),
        &text(&operator, "access_key"),
    );
    ask(&operator).success();
    make(&operator, "sneaky", &["--role", "admin"]).fails(1, &["roles.write"]);
    let rotate = ["auth-method", "rotate-access-key", "-n", "admin"];
    operator.run(&rotate).fails(1, &["roles.write"]);
    let listed = world.admin.ok(&["list-auth-methods"]);
    assert!(!listed.contains("sneaky"), "{listed}");
}

#[test]
fn after_a_logout_the_profile_has_no_key_and_still_knows_its_servers() {
    let world = World::shared();
    let made = world
        .admin
        .json(&["create-auth-method", "-n", "leaver", "--role", "auditor"]);
    let cli = with_key(
        &world,
        &text(&made, "access_id"),
        &text(&made, "access_key"),
    );
    ask(&cli).success();
    cli.ok(&["logout"]);
    ask(&cli).fails(2, &["has no administrator's credential"]);
    let profile = std::fs::read_to_string(cli.profile("default")).unwrap();
    let profile: Value = serde_json::from_str(&profile).unwrap();
    assert!(profile["access_id"].is_null() && profile["access_key"].is_null());
    assert_eq!(profile["gateway_url"], world.stack().gateway_url());
    assert_eq!(cli.json(&["logout"])["had_access_key"], false);
    world
        .admin
        .ok(&["delete-auth-method", "-n", "leaver", "--force"]);
}

#[test]
fn the_tutorials_words_make_and_change_access_keys() {
    let world = World::shared();
    for verb in ["create-auth-method", "create-auth-method-api-key"] {
        let made = world
            .admin
            .json(&[verb, "-n", verb, "--jwt-ttl", "5", "--description", "ci"]);
        assert!(text(&made, "access_key").starts_with("k-"));
        assert_eq!(made["token_ttl"], "300s");
        let updated =
            world
                .admin
                .json(&["update-auth-method", "-n", verb, "--clear", "description"]);
        assert_eq!(updated["description"], "");
        let reset = world
            .admin
            .json(&["reset-access-key", "-n", verb, "--overlap", "0"]);
        let (access_id, old) = (text(&made, "access_id"), text(&made, "access_key"));
        assert_ne!(text(&reset, "access_key"), old);
        let refused = ask(&with_key(&world, &access_id, &old));
        assert_eq!(reason(&world, refused), "ACCESS_KEY_WRONG");
        world.admin.ok(&["delete-auth-method", "-n", verb]);
    }
}

#[test]
fn what_closes_an_access_key_method_closes_it_at_once() {
    let world = World::start();
    let made = world.admin.json(&ADMIN_CREATE);
    let (access_id, key) = (text(&made, "access_id"), text(&made, "access_key"));
    let other = with_key(&world, &access_id, &key);
    let update = |args: &[&str]| {
        let update = ["auth-method", "update", "access-key", "-n", "second"];
        world.admin.ok(&[&update[..], args].concat())
    };
    for (close, open, expected) in [
        (
            &["--disabled"][..],
            &["--disabled=false"][..],
            "METHOD_DISABLED",
        ),
        (
            &["--access-expires", "1"],
            &["--clear", "access_expires"],
            "ACCESS_EXPIRED",
        ),
        (
            &["--bound-ips", "10.0.0.0/8"],
            &["--clear", "bound_ips"],
            "CLIENT_IP_NOT_BOUND",
        ),
    ] {
        ask(&other).success();
        let token = world.log_in_with_key(&access_id, &key, "");
        update(close);
        assert_eq!(reason(&world, ask(&other)), expected);
        let caller = world.control_plane().with(&token);
        let used = world.block_on(caller.send("/postern.v1.AuthMethodService/ListAuthMethods", ()));
        assert!(
            used.is_err(),
            "{expected}: a token that was there is worth nothing either"
        );
        update(open);
    }
    ask(&other).success();
    world
        .admin
        .ok(&["auth-method", "delete", "-n", "second", "--force"]);
    assert_eq!(reason(&world, ask(&other)), "ACCESS_ID_UNKNOWN");
    let through_gateways = [&ADMIN_CREATE[..], &["--gw-bound-ips", "10.0.0.1"]].concat();
    assert_eq!(world.admin.run(&through_gateways).code, 2);
}

#[test]
fn whoever_has_the_database_lets_an_administrator_in_again_while_the_server_runs() {
    on_both_engines(recover);
}

fn recover(world: &World) {
    let file = world.admin.home().join("recovered");
    let url = world.stack().database_url();
    let recover = ["recover-admin", "--database-url", url];
    let to_file = ["--access-key-file", file.to_str().unwrap()];
    let recovered = world.admin.json(&[&recover[..], &to_file].concat());
    assert_eq!(recovered["created"], false);
    assert!(recovered.get("access_key").is_none(), "it is in the file");
    // Who had the keys before has nothing now.
    assert_eq!(ask(&world.admin).code, 1);
    let key = std::fs::read_to_string(&file).unwrap();
    let access_id = text(&recovered, "access_id");
    let back = with_key(world, &access_id, key.trim());
    ask(&back).success();
    let request_id = text(&recovered, "request_id");
    let record = back.json(&["audit", "get", &request_id])["audit_events"][0].clone();
    assert_eq!(record["event"], "admin.recovered");
    assert_eq!(record["resource"], "authMethods/admin");

    let lines = recovered["audit_events"].as_array().unwrap();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["id"], record["id"], "it is said where it was done");
    assert_eq!(lines[0]["event"], "admin.recovered");

    let another = back.json(&[&recover[..], &["--name", "break-glass"]].concat());
    assert_eq!(another["created"], true);
    let printed = back.ok(&[&recover[..], &["--name", "break-glass"]].concat());
    let line: Value = serde_json::from_str(printed.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&line["event"], &line["resource"]),
        (&json!("admin.recovered"), &json!("authMethods/break-glass"))
    );
    let record = back.json(&["audit", "get", line["request_id"].as_str().unwrap()]);
    assert_eq!(record["audit_events"][0]["id"], line["id"]);
    let another = back.json(&[&recover[..], &["--name", "break-glass"]].concat());
    let (access_id, key) = (text(&another, "access_id"), text(&another, "access_key"));
    ask(&with_key(world, &access_id, &key)).success();
    // A file that is there is never overwritten, and then nothing was changed either.
    back.run(&[&recover[..], &to_file].concat())
        .fails(2, &["exists"]);
    ask(&back).success();
    let unknown = [&recover[..], &["--access-id", "p-abcdefghijal"]].concat();
    back.run(&unknown)
        .fails(4, &["no auth method with that access ID"]);
}

#[test]
fn where_no_usable_administrator_is_left_recover_admin_makes_one_that_may_do_everything() {
    on_both_engines(|world| {
        for gone in [
            "DELETE FROM access_keys WHERE method_uid IS NOT NULL",
            "DELETE FROM associations",
            "UPDATE auth_methods SET disabled = TRUE, access_expire_time = 1",
        ] {
            world.sql(gone);
        }
        assert_eq!(ask(&world.admin).code, 1);
        let url = world.stack().database_url();
        let recover = ["recover-admin", "--database-url", url];
        let recovered = world.admin.json(&recover);
        let (access_id, key) = (
            text(&recovered, "access_id"),
            text(&recovered, "access_key"),
        );
        let back = with_key(world, &access_id, &key);
        back.json(&ADMIN_CREATE);
        let request_id = text(&recovered, "request_id");
        let record = back.json(&["audit", "get", &request_id])["audit_events"][0].clone();
        assert_eq!(record["event"], "admin.recovered");
        let before: Value = serde_json::from_str(record["before_json"].as_str().unwrap()).unwrap();
        assert_eq!(before["disabled"], true, "{record}");
    });
}

#[test]
fn a_database_of_another_version_is_left_alone_by_recover_admin() {
    let cli = Cli::new();
    let missing = format!("sqlite:{}", cli.home().join("none.db").display());
    let recover = |url: &str| cli.run(&["recover-admin", "--database-url", url]);
    assert_eq!(recover(&missing).code, 3);
    assert!(!cli.home().join("none.db").exists(), "nothing is made");
    let empty = cli.file("empty.db", "");
    recover(&format!("sqlite:{empty}")).fails(3, &["schema isn't there"]);

    let world = World::start();
    let url = world.stack().database_url();
    for (edit, says) in [
        (
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             SELECT 9999, 'newer', success, checksum, execution_time
             FROM _sqlx_migrations WHERE version = 1",
            "newer version",
        ),
        (
            "DELETE FROM _sqlx_migrations WHERE version IN (9999, 14)",
            "older version",
        ),
    ] {
        world.sql(edit);
        recover(url).fails(3, &[says]);
        ask(&world.admin).success();
    }
}

/// An administrator beside the first one.
const ADMIN_CREATE: [&str; 7] = [
    "auth-method",
    "create",
    "access-key",
    "-n",
    "second",
    "--role",
    "admin",
];
