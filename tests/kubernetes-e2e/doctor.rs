//! What `postern doctor` finds at a real API server.

use serde_json::{Value, json};

use crate::bed::Bed;

fn condition(document: &Value, kind: &str) -> (String, String) {
    let kind = format!("CONDITION_TYPE_{kind}");
    let conditions = document["conditions"].as_array().unwrap();
    let condition = conditions.iter().find(|c| c["type"] == kind);
    let condition = condition.unwrap_or_else(|| panic!("{kind} in {document}"));
    let text = |field: &str| condition[field].as_str().unwrap().to_owned();
    (
        text("status").replace("CONDITION_STATUS_", ""),
        text("reason"),
    )
}

/// Tries a draft for the cluster, in which something must be wrong.
#[track_caller]
fn sick(bed: &Bed, flags: &[&str]) -> Value {
    let cluster = ["doctor", "--k8s-host", &bed.host, "--json"];
    let output = bed.world.admin.run(&[&cluster[..], flags].concat());
    assert_eq!(output.code, 1, "{}{}", output.stdout, output.stderr);
    serde_json::from_str(&output.stdout).unwrap()
}

#[track_caller]
fn assert_fails(document: &Value, kind: &str, reason: &str) {
    let expected = ("FALSE".to_owned(), reason.to_owned());
    assert_eq!(condition(document, kind), expected, "{document}");
}

#[test]
fn doctor_is_content_with_a_good_config_and_names_what_is_wrong_with_others() {
    let Some(bed) = Bed::shared() else { return };
    let namespace = bed.namespace();
    bed.route("doctor", &["--bound-namespaces", namespace.name()]);
    let document = bed.world.admin.run(&["doctor", "doctor", "--json"]);
    let document: Value = serde_json::from_str(&document.stdout).unwrap();
    for kind in [
        "REACHABLE",
        "CA_TRUSTED",
        "REVIEWER_AUTHORIZED",
        "ISSUER_MATCHES",
        "AUDIENCE_ACCEPTED",
        "CLOCK_SYNCHRONISED",
    ] {
        assert_eq!(condition(&document, kind).0, "TRUE", "{kind}: {document}");
    }
    // The reviewer's token is one of an hour.
    assert_fails(&document, "CREDENTIAL_FRESH", "EXPIRES_SOON");

    let reviewer = bed.reviewer_token();
    let ca = ["--k8s-ca-cert", &bed.ca];
    let issuer = ["--k8s-issuer", &bed.server.issuer];
    let by = |token: &str| ["--token-reviewer-jwt".to_owned(), token.to_owned()];
    let with = |token: &str, rest: &[&str]| {
        let reviewer = by(token);
        let flags: Vec<&str> = reviewer
            .iter()
            .map(String::as_str)
            .chain(rest.iter().copied())
            .collect();
        sick(&bed, &flags)
    };
    let other_issuer = [&ca[..], &["--k8s-issuer", "https://other"]].concat();
    assert_fails(
        &with(&reviewer, &other_issuer),
        "ISSUER_MATCHES",
        "ISSUER_DIFFERS",
    );
    let unauthorised = bed.token(&namespace, "default", json!({}));
    let good = [&ca[..], &issuer].concat();
    assert_fails(
        &with(&unauthorised, &good),
        "REVIEWER_AUTHORIZED",
        "REVIEWER_FORBIDDEN",
    );
    let other_ca = bed.world.cluster().ca_pem().to_owned();
    let wrong_ca = [&["--k8s-ca-cert", other_ca.as_str()][..], &issuer].concat();
    assert_fails(&with(&reviewer, &wrong_ca), "CA_TRUSTED", "CA_MISMATCH");
}
