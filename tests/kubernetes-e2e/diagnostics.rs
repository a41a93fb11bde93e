//! Explanations.

use serde_json::Value;

use crate::bed::Bed;

#[test]
fn an_explanation_says_what_the_login_records() {
    let Some(bed) = Bed::shared() else { return };
    let namespace = bed.namespace();
    let pod = bed.pod(&namespace, "mypod1");
    let bounds = [
        "--bound-namespaces",
        namespace.name(),
        "--bound-pod-names=mypod2",
    ];
    let method = bed.route("explained", &bounds);
    let record = bed.refuses(&method, &pod, "POD_NAME_NOT_BOUND");
    let args = [
        "explain",
        "--config",
        "explained",
        "--token-file",
        "-",
        "--json",
    ];
    let output = bed.world.admin.run_with_stdin(&args, &pod);
    assert_eq!(output.code, 1, "{}", output.stderr);
    let explained: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(explained["reason"], record["reason"]);
    assert_eq!(explained["rule"], record["rule"]);
    let uid = |of: &Value| of["facts"]["pod_uid"].clone();
    assert_eq!(uid(&explained), uid(&record));
}
