//! Roles and associations from a file.

use serde_json::{Value, json};

use super::who_can;
use crate::documents;
use crate::support::World;

/// The file that docs/roles.md shows.
fn shown() -> String {
    let page = documents::read("docs/roles.md");
    let (_, from) = page.split_once("```yaml\n").unwrap();
    let (file, _) = from.split_once("```").unwrap();
    file.to_owned()
}

/// What became of each document.
fn apply(world: &World, text: &str, flags: &[&str]) -> Vec<String> {
    let file = world.admin.file("roles.yaml", text);
    let apply = ["apply", "-f", &file, "--json"];
    let answer = world.admin.run(&[&apply[..], flags].concat()).document();
    let results = answer["results"].as_array().unwrap();
    let result = |one: &Value| {
        let (name, result) = (&one["name"], &one["result"]);
        format!("{}: {}", name.as_str().unwrap(), result.as_str().unwrap())
    };
    results.iter().map(result).collect()
}

#[test]
fn roles_and_who_has_them_come_from_a_file_and_a_second_time_change_nothing() {
    let world = World::start();
    world.route("k8s");
    let file = shown();
    let both = |result: &str, association: &str| {
        vec![
            format!("roles/payments/readers: {result}"),
            format!("associations/k8s has payments/readers: {association}"),
        ]
    };
    // The role isn't there to be given yet.
    assert_eq!(
        apply(&world, &file, &["--dry-run"]),
        both("created", "not_checked")
    );
    let absent = world.admin.run(&["get-role", "-n", "payments/readers"]);
    absent.fails(4, &[]);

    assert_eq!(apply(&world, &file, &[]), both("created", "created"));
    assert_eq!(
        who_can(&world, "read", "/pay-eu/config"),
        ["authMethods/k8s"]
    );
    assert!(who_can(&world, "read", "/pay-eu/secret").is_empty());
    let before = world.admin.json(&["get-role", "-n", "payments/readers"]);
    assert_eq!(apply(&world, &file, &[]), both("unchanged", "unchanged"));
    let after = world.admin.json(&["get-role", "-n", "payments/readers"]);
    assert_eq!(before, after, "not even its revision");

    // A list is replaced whole, and what isn't named stays.
    let fewer = "kind: Role\nname: /payments/readers\nrules:\n- {path: /a, capabilities: [list]}\n";
    let dry = world
        .admin
        .run_with_stdin(&["apply", "-f", "-", "--dry-run"], fewer)
        .success();
    assert!(dry.contains("roles/payments/readers changed"), "{dry}");
    assert_eq!(
        who_can(&world, "read", "/pay-eu/config"),
        ["authMethods/k8s"]
    );
    world
        .admin
        .run_with_stdin(&["apply", "-f", "-"], fewer)
        .success();
    assert!(who_can(&world, "read", "/pay-eu/config").is_empty());
    assert_eq!(who_can(&world, "list", "/a"), ["authMethods/k8s"]);
    let role = world.admin.json(&["get-role", "-n", "payments/readers"]);
    assert_eq!(role["description"], "reads what its namespace owns");
}

#[test]
fn other_sub_claims_are_another_association_and_letters_case_changes_the_one_that_is_there() {
    let world = World::start();
    world.route("k8s");
    world.admin.ok(&["create-role", "-n", "readers"]);
    let association = |more: Value| {
        let mut document =
            json!({ "kind": "Association", "auth_method": "k8s", "role": "readers" });
        document
            .as_object_mut()
            .unwrap()
            .append(&mut more.as_object().unwrap().clone());
        document.to_string()
    };
    let claims = |values: &[&str]| json!({ "sub_claims": { "namespace": values } });
    let (ab, ba, c) = (claims(&["a", "b"]), claims(&["b", "a"]), claims(&["c"]));
    let mut insensitive = ba.clone();
    insensitive["case_insensitive"] = json!(true);
    for (more, result) in [
        (&ab, "created"),
        (&ba, "unchanged"),
        (&c, "created"),
        (&insensitive, "changed"),
        (&ab, "unchanged"),
    ] {
        let done = apply(&world, &association(more.clone()), &[]);
        assert_eq!(
            done,
            [format!("associations/k8s has readers: {result}")],
            "{more}"
        );
    }
    let listed = world.admin.json(&["association", "list", "-r", "readers"]);
    let listed = listed["associations"].as_array().unwrap();
    let insensitive = |one: &&Value| one["case_insensitive"] == true;
    assert_eq!(
        (listed.len(), listed.iter().filter(insensitive).count()),
        (2, 1)
    );

    // One file may give a role twice, but not the same way.
    let twice = format!("{}\n---\n{}\n", association(ab.clone()), association(c));
    assert_eq!(apply(&world, &twice, &[]).len(), 2);
    let same = format!("{}\n---\n{}\n", association(ab.clone()), association(ab));
    let refused = world.admin.run_with_stdin(&["apply", "-f", "-"], &same);
    refused.fails(2, &["document 2", "stands in"]);
}
