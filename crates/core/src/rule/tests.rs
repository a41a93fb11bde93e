use super::*;
use crate::facts::{NamespaceLabels, VerificationMode};

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
        cached: false,
        review_ms: None,
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

fn selecting(text: &str) -> Option<SelectorSpec> {
    Some(SelectorSpec::parse_text(text).unwrap())
}

#[test]
fn a_rule_that_binds_nodes_lets_in_only_whom_the_cluster_places_there() {
    let rule = Rule::parse(spec(|s| {
        s.namespaces = list(&["a"]);
        s.nodes = list(&["gpu-*", "ip-10-0-0-1.ec2.internal"]);
    }))
    .unwrap();
    let on = |node: Option<&str>| Facts {
        node_name: node.map(str::to_owned),
        ..facts("a", "x", None)
    };
    for (node, expected) in [
        (Some("gpu-1"), None),
        (Some("ip-10-0-0-1.ec2.internal"), None),
        (Some("cpu-1"), Some(DenyReason::NodeNameNotBound)),
        (None, Some(DenyReason::NodeMissing)),
    ] {
        assert_eq!(reason(&rule, &on(node)), expected, "{node:?}");
    }
}

#[test]
fn a_selector_restricts_namespaces_only_where_it_asks_for_a_label() {
    for text in ["!legacy", "team notin (a)", "kubernetes.io/metadata.name"] {
        let alone = spec(|s| s.namespace_selector = selecting(text));
        assert!(Rule::parse(alone.clone()).is_err(), "{text}");
        let with_pods = spec(|s| {
            s.any_namespace = true;
            s.pods = list(&["mypod1"]);
            s.namespace_selector = selecting(text);
        });
        assert!(Rule::parse(with_pods).is_ok(), "{text}");
    }
    for text in ["team=a", "team", "team in (a,b),!legacy"] {
        assert!(
            Rule::parse(spec(|s| s.namespace_selector = selecting(text))).is_ok(),
            "{text}"
        );
        let contradicting = spec(|s| {
            s.any_namespace = true;
            s.namespace_selector = selecting(text);
        });
        assert!(Rule::parse(contradicting).is_err(), "{text}");
    }
}

#[test]
fn a_condition_does_not_count_as_a_restriction() {
    let condition = "facts.namespace == 'a' && facts.service_account_name == 'x'";
    let alone = spec(|s| s.condition = condition.to_owned());
    assert!(Rule::parse(alone).is_err());
    let on_purpose = spec(|s| {
        s.condition = condition.to_owned();
        s.any_namespace = true;
        s.allow_any = true;
    });
    let rule = Rule::parse(on_purpose).unwrap();
    assert_eq!(reason(&rule, &facts("a", "x", None)), None);
    assert_eq!(
        reason(&rule, &facts("a", "y", None)),
        Some(DenyReason::ConditionNotMet)
    );
}

#[test]
fn a_condition_without_a_value_denies_with_its_own_reason() {
    let rule = Rule::parse(spec(|s| {
        s.namespaces = list(&["a"]);
        s.condition = "facts.node_name != 'x'".to_owned();
    }))
    .unwrap();
    assert_eq!(
        reason(&rule, &facts("a", "x", None)),
        Some(DenyReason::ConditionFailed)
    );
}

#[test]
fn faults_of_selectors_and_conditions_are_named_by_their_place() {
    let error = Rule::parse(spec(|s| {
        s.nodes = list(&["Node"]);
        s.namespace_selector = Some(SelectorSpec::default());
        s.condition = "facts.nmespace == 'a'".to_owned();
    }))
    .unwrap_err();
    let fields = error.violations().iter().map(|v| v.field.as_str());
    assert_eq!(
        fields.collect::<Vec<_>>(),
        ["nodes[0]", "namespace_selector.match_labels", "condition"]
    );
}

#[test]
fn labels_that_others_may_edit_never_stand_in_for_a_name() {
    let rule = Rule::parse(spec(|s| {
        s.namespaces = list(&["a"]);
        s.namespace_selector = selecting("kubernetes.io/metadata.name=a");
    }))
    .unwrap();
    let labels = [("kubernetes.io/metadata.name".to_owned(), "a".to_owned())].into();
    let labels = NamespaceLabels::read(["kubernetes.io/metadata.name"], &labels);
    let elsewhere = Facts {
        namespace_labels: Some(labels),
        ..facts("b", "x", None)
    };
    assert_eq!(
        reason(&rule, &elsewhere),
        Some(DenyReason::NamespaceNotBound)
    );
}

#[test]
fn a_rule_that_selects_namespaces_lets_in_only_those_with_its_labels() {
    let rule = Rule::parse(spec(|s| {
        s.namespace_selector = selecting("team in (a,b),!legacy");
    }))
    .unwrap();
    let labelled = |labels: &[(&str, &str)]| {
        let all = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Facts {
            namespace_labels: Some(NamespaceLabels::read(
                rule.namespace_label_keys(),
                &all.collect(),
            )),
            ..facts("a", "x", None)
        }
    };
    assert_eq!(reason(&rule, &labelled(&[("team", "b")])), None);
    for labels in [
        &[][..],
        &[("team", "c")],
        &[("team", "a"), ("legacy", "yes")],
    ] {
        assert_eq!(
            reason(&rule, &labelled(labels)),
            Some(DenyReason::NamespaceLabelsNotBound),
            "{labels:?}"
        );
    }
    assert_eq!(
        reason(&rule, &facts("a", "x", None)),
        Some(DenyReason::NamespaceLabelsNotRead)
    );
}
