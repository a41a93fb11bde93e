//! The rig itself, for a moment, on the simulator.

use std::process::{Command, Stdio};

use serde_json::Value;

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
