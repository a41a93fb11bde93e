use super::*;
use crate::facts::VerificationMode;

fn spec(edit: impl FnOnce(&mut RuleSpec)) -> RuleSpec {
    let mut spec = RuleSpec::default();
    edit(&mut spec);
    spec
}

fn list(values: &[&str]) -> Vec<String> {
    values.iter().map(|v| (*v).to_owned()).collect()
}

fn tutorial() -> Rule {
    Rule::parse(spec(|s| {
        s.namespaces = list(&["my-namespace-a"]);
        s.pods = list(&["mypod1", "mypod2"]);
    }))
    .unwrap()
}

fn facts(namespace: &str, name: &str, pod: Option<&str>) -> Facts {
    Facts {
        namespace: namespace.to_owned(),
        service_account_name: name.to_owned(),
        service_account_uid: "5b7b1a3e-0000-4000-8000-000000000001".to_owned(),
        pod_name: pod.map(str::to_owned),
        pod_uid: None,
        node_name: None,
        credential_id: None,
        client_ip: None,
        aud: vec![],
        for_api_server: true,
        legacy: false,
        issue_time: None,
        expire_time: None,
        mode: VerificationMode::Review,
        namespace_labels: None,
    }
}

fn reason(rule: &Rule, facts: &Facts) -> Option<DenyReason> {
    rule.check(facts).err().map(|miss| miss.reason)
}

#[test]
fn the_tutorials_rule_lets_its_two_pods_in_and_nobody_else() {
    let rule = tutorial();
    for pod in ["mypod1", "mypod2"] {
        assert_eq!(
            reason(&rule, &facts("my-namespace-a", "default", Some(pod))),
            None
        );
    }
    for (namespace, pod, expected) in [
        (
            "my-namespace-a",
            Some("mypod3"),
            DenyReason::PodNameNotBound,
        ),
        (
            "my-namespace-b",
            Some("mypod1"),
            DenyReason::NamespaceNotBound,
        ),
        ("my-namespace-a", None, DenyReason::PodMissing),
    ] {
        assert_eq!(
            reason(&rule, &facts(namespace, "default", pod)),
            Some(expected)
        );
    }
}

#[test]
fn two_lists_multiply_and_pairs_do_not() {
    let pairs = Rule::parse(spec(|s| {
        s.namespaced_service_accounts = list(&["a/x", "b/y"]);
    }))
    .unwrap();
    assert_eq!(reason(&pairs, &facts("a", "x", None)), None);
    assert_eq!(
        reason(&pairs, &facts("a", "y", None)),
        Some(DenyReason::NamespacedServiceAccountNotBound)
    );
}

#[test]
fn a_rule_that_lets_more_in_than_it_seems_is_refused() {
    let refused = [
        spec(|_| {}),
        spec(|s| s.pods = list(&["mypod1"])),
        spec(|s| s.namespaces = list(&["*"])),
        spec(|s| s.namespaces = list(&["??*"])),
        spec(|s| s.namespaces = list(&["a", "*"])),
        spec(|s| s.any_namespace = true),
        spec(|s| {
            s.any_namespace = true;
            s.pods = list(&["*"]);
        }),
        spec(|s| {
            s.any_namespace = true;
            s.namespaces = list(&["a"]);
        }),
        spec(|s| s.allow_any = true),
        spec(|s| {
            s.allow_any = true;
            s.any_namespace = true;
            s.pods = list(&["a"]);
        }),
        spec(|s| s.namespaced_service_accounts = list(&["*/x"])),
        spec(|s| {
            s.any_namespace = true;
            s.namespaced_service_accounts = list(&["*/*"]);
        }),
    ];
    for spec in refused {
        assert!(Rule::parse(spec.clone()).is_err(), "{spec:?}");
    }
}

#[test]
fn what_says_it_on_purpose_is_accepted() {
    let accepted = [
        spec(|s| {
            s.any_namespace = true;
            s.pods = list(&["mypod1"]);
        }),
        spec(|s| {
            s.any_namespace = true;
            s.allow_any = true;
        }),
        spec(|s| {
            s.namespaces = list(&["a"]);
            s.pods = list(&["*"]);
        }),
        spec(|s| {
            s.any_namespace = true;
            s.namespaced_service_accounts = list(&["*/x"]);
        }),
    ];
    for spec in accepted {
        assert!(Rule::parse(spec.clone()).is_ok(), "{spec:?}");
    }
}

#[test]
fn blank_and_impossible_values_are_named_by_their_place() {
    let error = Rule::parse(spec(|s| {
        s.namespaces = list(&["a", " "]);
        s.pods = list(&["Pod"]);
        s.namespaced_service_accounts = list(&["no-slash"]);
    }))
    .unwrap_err();
    let fields: Vec<&str> = error
        .violations()
        .iter()
        .map(|v| v.field.as_str())
        .collect();
    assert_eq!(
        fields,
        ["namespaces[1]", "pods[0]", "namespaced_service_accounts[0]"]
    );
}

#[test]
fn the_same_joined_name_in_another_namespace_is_another_subject() {
    let rule = Rule::parse(spec(|s| {
        s.namespaced_service_accounts = list(&["a-b/c"]);
    }))
    .unwrap();
    assert!(rule.check(&facts("a", "b-c", None)).is_err());
}
