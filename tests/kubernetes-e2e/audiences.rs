//! Which audiences a presented token may have.

use serde_json::json;

use crate::bed::Bed;

#[test]
fn without_an_audience_only_tokens_for_the_api_server_are_accepted() {
    let Some(bed) = Bed::shared() else { return };
    let namespace = bed.namespace();
    let method = bed.route("aud-none", &["--bound-namespaces", namespace.name()]);
    let own = bed.pod(&namespace, "mypod1");
    bed.admits(&method, &own);
    let for_vault = bed.pod_token_with(&namespace, "mypod1", json!({ "audiences": ["vault"] }));
    bed.refuses(&method, &for_vault, "TOKEN_NOT_AUTHENTICATED");
}

#[test]
fn of_the_listed_audiences_a_token_must_have_one_and_the_fact_is_what_came_back() {
    let Some(bed) = Bed::shared() else { return };
    let namespace = bed.namespace();
    let bounds = ["--bound-namespaces", namespace.name()];
    let listed = ["--audience", "postern", "--audience", "other"];
    let method = bed.route("aud-listed", &[&bounds[..], &listed].concat());
    let own = bed.pod(&namespace, "mypod1");
    bed.refuses(&method, &own, "TOKEN_AUDIENCE_NOT_ACCEPTED");
    // One audience is a string in some tokens and a list in others; here it is a list.
    for audiences in [json!(["postern"]), json!(["vault", "postern"])] {
        let token = bed.pod_token_with(&namespace, "mypod1", json!({ "audiences": audiences }));
        bed.admits(&method, &token);
    }
    let granted = bed.granted(&method);
    let facts: Vec<_> = granted
        .iter()
        .map(|record| &record["facts"]["aud"])
        .collect();
    assert_eq!(facts, [&json!(["postern"]), &json!(["postern"])]);
}

#[test]
fn any_audience_is_accepted_only_when_that_is_said() {
    let Some(bed) = Bed::shared() else { return };
    let namespace = bed.namespace();
    let bounds = [
        "--bound-namespaces",
        namespace.name(),
        "--allow-any-audience",
    ];
    let method = bed.route("aud-any", &bounds);
    bed.admits(&method, &bed.pod(&namespace, "mypod1"));
    let for_vault = bed.pod_token_with(&namespace, "mypod1", json!({ "audiences": ["vault"] }));
    bed.admits(&method, &for_vault);
}
