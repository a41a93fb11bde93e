//! Rules from a file.

use serde_json::json;

use crate::bed::{Bed, block_on};
use crate::support::Method;

#[test]
fn rules_with_selectors_and_conditions_come_from_a_file_and_decide() {
    let Some(bed) = Bed::private(|_| ()) else {
        return;
    };
    bed.let_reviewer_read();
    let (pay, other) = (bed.namespace(), bed.namespace());
    let path = format!("/api/v1/namespaces/{}", pay.name());
    let labels = json!({ "metadata": { "labels": { "team": "payments" } } });
    assert_eq!(block_on(bed.server.merge(&path, labels)).code, 200);
    let file = bed.world.admin.file(
        "method.yaml",
        &format!(
            "kind: AuthMethod
name: from-a-file
kubernetes:
  rules:
    - namespace_selector:
        matchExpressions:
          - {{key: team, operator: In, values: [payments]}}
          - {{key: legacy, operator: DoesNotExist}}
      condition: facts.pod_name != 'banned'
    - namespaces: [{}]
      condition: facts.pod_name.startsWith('job-') && facts.mode == 'review'
",
            other.name()
        ),
    );
    let applied = bed.world.admin.json(&["apply", "-f", &file]);
    let created = &applied["results"][0];
    let method = Method {
        name: "from-a-file".to_owned(),
        access_id: created["access_id"].as_str().unwrap().to_owned(),
        prv_key: created["prv_key"].as_str().unwrap().to_owned(),
    };
    bed.config_for(&method);
    let good = bed.pod(&pay, "mypod1");
    bed.eventually_admits(&method, &good);
    bed.admits(&method, &bed.pod(&other, "job-1"));
    bed.refuses(&method, &bed.pod(&pay, "banned"), "CONDITION_NOT_MET");
    let reason = bed.refused_for(&method, &bed.pod(&other, "mypod1"));
    assert!(
        ["CONDITION_NOT_MET", "NAMESPACE_LABELS_NOT_BOUND"].contains(&reason.as_str()),
        "{reason}"
    );
    let again = bed.world.admin.json(&["apply", "-f", &file]);
    assert_eq!(again["results"][0]["result"], "unchanged");
}
