//! Who is gone is refused.

use serde_json::json;

use crate::bed::{Bed, block_on};

/// Tokens for one pod, each of which the API server sees for the first time.
fn fresh(bed: &Bed, namespace: &crate::objects::Namespace, account: &str) -> Vec<String> {
    let token = |_| bed.pod_token(namespace, account, "mypod1");
    (0..8).map(token).collect()
}

#[test]
fn a_deleted_pod_is_refused_and_its_successor_is_another() {
    let Some(bed) = Bed::shared() else { return };
    let namespace = bed.namespace();
    let first = bed.pod(&namespace, "mypod1");
    let method = bed.route("deleted-pod", &["--bound-namespaces", namespace.name()]);
    bed.admits(&method, &first);
    let mut tokens = fresh(&bed, &namespace, "default");
    let last = tokens.pop().unwrap();
    bed.delete(&namespace, "pods", "mypod1");
    bed.until_refused(tokens);
    bed.refuses(&method, &last, "TOKEN_NOT_AUTHENTICATED");
    let successor = bed.pod(&namespace, "mypod1");
    bed.admits(&method, &successor);
    let more = bed.pod_token(&namespace, "default", "mypod1");
    bed.admits(&method, &more);
}

#[test]
fn a_deleted_service_account_is_refused_and_so_is_it_when_it_comes_back() {
    let Some(bed) = Bed::shared() else { return };
    let namespace = bed.namespace();
    bed.service_account(&namespace, "robot");
    bed.pod_of(&namespace, "mypod1", "robot");
    let method = bed.route("deleted-sa", &["--bound-namespaces", namespace.name()]);
    let mut tokens = fresh(&bed, &namespace, "robot");
    let (last, after) = (tokens.pop().unwrap(), tokens.pop().unwrap());
    bed.delete(&namespace, "serviceaccounts", "robot");
    bed.until_refused(tokens);
    bed.refuses(&method, &last, "TOKEN_NOT_AUTHENTICATED");
    bed.service_account(&namespace, "robot");
    bed.refuses(&method, &after, "TOKEN_NOT_AUTHENTICATED");
}

#[test]
fn a_token_without_a_pod_is_one_of_its_service_account() {
    let Some(bed) = Bed::shared() else { return };
    let namespace = bed.namespace();
    let token = bed.token(&namespace, "default", json!({}));
    let method = bed.route("no-pod", &["--bound-namespaces", namespace.name()]);
    bed.admits(&method, &token);
}

#[test]
fn an_expired_token_is_refused_without_a_review() {
    let Some(bed) = Bed::shared() else { return };
    let namespace = bed.namespace();
    let method = bed.route("expired", &["--bound-namespaces", namespace.name()]);
    let token = bed.pod(&namespace, "mypod1");
    let Some(expired) = block_on(bed.server.expired(&token, 120)) else {
        return;
    };
    bed.refuses(&method, &expired, "TOKEN_EXPIRED");
    // Within the minute that clocks may differ by, the API server decides, which adds one of its own.
    let just_now = block_on(bed.server.expired(&token, 5)).unwrap();
    bed.admits(&method, &just_now);
}
