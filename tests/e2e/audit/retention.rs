//! Old records go, and what is left can still be shown to be whole.

use postern_dev::StackOptions;
use test_support::postgres::Postgres;
use tokio::runtime::Runtime;

use super::{faults, seal_of, verified};
use crate::support::{Process, World};

const THREE_DAYS: i64 = 3 * 24 * 60 * 60;

/// The request ID of the record that a method was made.
fn made(world: &World, name: &str) -> String {
    world.method(name);
    let resource = format!("authMethods/{name}");
    let events = super::listed(world, &["--event", "auth_method.created"]);
    let mine = events.iter().find(|event| event["resource"] == resource);
    mine.unwrap()["request_id"].as_str().unwrap().to_owned()
}

fn old_records_go_and_the_rest_is_whole(database_url: Option<String>) {
    let mut world = World::behind(
        THREE_DAYS,
        StackOptions {
            database_url,
            ..StackOptions::default()
        },
    );
    let old = made(&world, "old");
    seal_of(&world, &old);
    world.stop_gateway();
    world.stop_control_plane();

    let mut serving = Process::control_plane(&world, &["--audit-retention", "1"]);
    serving.wait_for("removed audit records that are older than the retention");
    world
        .admin
        .run(&["audit", "get", &old])
        .fails(4, &["no audit record"]);
    let young = made(&world, "young");
    let seal = seal_of(&world, &young);
    let report = verified(&world, &[]);
    assert_eq!(report["summary"]["findings"], 0, "{report}");
    let anchor = report["summary"]["anchor"]["sequence"].as_i64();
    assert!(anchor.is_some_and(|anchor| anchor > 0), "{report}");

    // Nobody passes more off as what retention removed.
    world.sql("UPDATE audit_chain SET anchor_sequence = anchor_sequence + 1");
    let report = verified(&world, &[]);
    assert!(
        faults(&report)
            .iter()
            .any(|(fault, _)| *fault == "ANCHOR_ALTERED"),
        "{report}"
    );
    world.sql("UPDATE audit_chain SET anchor_sequence = anchor_sequence - 1");
    assert_eq!(verified(&world, &[])["summary"]["findings"], 0);
    world.sql(&format!(
        "DELETE FROM audit_events WHERE request_id = '{young}'"
    ));
    assert_eq!(faults(&verified(&world, &[])), [("RECORD_REMOVED", seal)]);
}

#[test]
fn retention_removes_what_is_older_than_its_flag_says_and_verify_knows_the_rest() {
    old_records_go_and_the_rest_is_whole(None);
    let runtime = Runtime::new().unwrap();
    if let Some(postgres) = runtime.block_on(Postgres::shared()) {
        let database = runtime.block_on(postgres.database());
        old_records_go_and_the_rest_is_whole(Some(database.url().to_owned()));
    }
}
