//! The rig itself, for a moment, on the simulator.

use std::process::{Command, Stdio};

use serde_json::Value;
use test_support::postgres::Postgres;

#[test]
fn the_rig_measures_logins_against_the_simulator_and_stops_by_itself() {
    let output = Command::new(env!("CARGO_BIN_EXE_postern-bench"))
        .args(["login", "--json", "--clients=2", "--rounds=1"])
        .args(["--seconds=0.1", "--tokens=100"])
        .env_remove("POSTERN_TUTORIAL_DATABASE_URL")
        .env_remove("POSTERN_TEST_KUBECONFIG")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    for series in report["series"].as_array().unwrap() {
        assert_eq!(series["errors"], 0, "{series}");
        assert!(
            series["figures"]["per_second"].as_f64() > Some(0.0),
            "{series}"
        );
    }
    let ratio = &report["ratios"][0];
    assert_eq!(ratio["name"], "login / R");
    assert!(ratio["value"].as_f64() > Some(0.0), "{ratio}");
    let shares = report["processor_time"].as_array().unwrap();
    let named: Vec<&str> = shares
        .iter()
        .filter_map(|share| share["of"].as_str())
        .collect();
    for server in ["gateway", "control-plane", "simulator"] {
        assert!(named.contains(&server), "{named:?}");
    }
}

#[test]
fn the_rig_measures_one_cluster_beside_another_that_hangs_or_is_dead() {
    let output = Command::new(env!("CARGO_BIN_EXE_postern-bench"))
        .args(["isolation", "--json", "--clients=1", "--rounds=1"])
        .args(["--flood=20", "--seconds=0.1", "--tokens=200"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let ratios = report["ratios"].as_array().unwrap();
    let names: Vec<_> = ratios.iter().map(|ratio| &ratio["name"]).collect();
    assert_eq!(
        names,
        ["another is slow", "another hangs", "another is dead"]
    );
}

#[tokio::test]
async fn the_rig_compares_a_full_table_of_tokens_with_an_empty_one_and_revokes_them() {
    let Some(postgres) = Postgres::shared().await else {
        return;
    };
    let database = postgres.database().await;
    let output = Command::new(env!("CARGO_BIN_EXE_postern-bench"))
        .args(["tokens", "--json", "--clients=2", "--rounds=1"])
        .args(["--live=5000", "--expired=0", "--seconds=0.1"])
        .env("POSTERN_TUTORIAL_DATABASE_URL", database.url())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    for series in report["series"].as_array().unwrap() {
        assert_eq!(series["errors"], 0, "{series}");
    }
    // What was exchanged meanwhile is revoked as well.
    assert!(report["revocation"]["counted"].as_i64() > Some(5000));
}
