//! What holds for every method, rule and login.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::check::Step;
use crate::facts::{NamespaceLabels, VerificationMode};
use crate::fixtures::{facts, kubernetes, method, noon};
use crate::rule::{Rule, RuleSpec};
use crate::selector::{Operator, RequirementSpec, SelectorSpec};

const NAMES: &[&str] = &["a", "b", "a-b", "prod"];
const PATTERNS: &[&str] = &["a", "b", "a-*", "a*", "prod", "*-b"];
const PAIRS: &[&str] = &["a/b", "a-*/a", "b/*", "*/prod"];
const CONDITIONS: &[&str] = &[
    "true",
    "facts.namespace == 'a'",
    "facts.pod_name != 'a'",
    "!has(facts.node_name) || facts.node_name == 'a'",
    "facts.namespace_labels.team == 'a'",
    "facts.aud.exists(x, x == facts.namespace)",
];

fn list(values: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    let one = proptest::sample::select(values).prop_map(str::to_owned);
    // Mostly none: a rule that binds everything holds for nobody, and shows nothing.
    prop_oneof![3 => Just(Vec::new()), 1 => proptest::collection::vec(one, 1..4)]
}

fn requirement() -> impl Strategy<Value = RequirementSpec> {
    let operator = proptest::sample::select(Operator::ALL);
    let values = proptest::collection::btree_set(proptest::sample::select(NAMES), 1..3);
    (
        proptest::sample::select(&["team", "env"][..]),
        operator,
        values,
    )
        .prop_map(|(key, operator, values)| RequirementSpec {
            key: key.to_owned(),
            operator,
            values: match operator {
                Operator::In | Operator::NotIn => values.into_iter().map(str::to_owned).collect(),
                Operator::Exists | Operator::DoesNotExist => Vec::new(),
            },
        })
}

fn selector() -> impl Strategy<Value = Option<SelectorSpec>> {
    let expressions = proptest::collection::vec(requirement(), 1..3);
    proptest::option::of(expressions.prop_map(|match_expressions| SelectorSpec {
        match_expressions,
        ..SelectorSpec::default()
    }))
}

/// A rule that says about its breadth what is so, where that can be.
fn spec() -> impl Strategy<Value = RuleSpec> {
    let condition = proptest::option::of(proptest::sample::select(CONDITIONS));
    let lists = (
        list(PATTERNS),
        list(PATTERNS),
        list(PATTERNS),
        list(PAIRS),
        list(PATTERNS),
    );
    (lists, selector(), condition).prop_map(|(lists, namespace_selector, condition)| {
        let (namespaces, service_accounts, pods, namespaced_service_accounts, nodes) = lists;
        RuleSpec {
            namespaces,
            service_accounts,
            pods,
            namespaced_service_accounts,
            nodes,
            namespace_selector,
            condition: condition.unwrap_or_default().to_owned(),
            any_namespace: false,
            allow_any: false,
        }
    })
}

fn parsed(spec: &RuleSpec) -> Option<Rule> {
    [(false, false), (true, false), (true, true)]
        .into_iter()
        .find_map(|(any_namespace, allow_any)| {
            let spec = RuleSpec {
                any_namespace,
                allow_any,
                ..spec.clone()
            };
            Rule::parse(spec).ok()
        })
}

fn rule() -> impl Strategy<Value = Rule> {
    spec().prop_filter_map("a rule that can't be written", |spec| parsed(&spec))
}

fn some_facts() -> impl Strategy<Value = Facts> {
    let name = || proptest::sample::select(NAMES).prop_map(str::to_owned);
    let optional = || proptest::option::of(name());
    let labels = proptest::option::of((
        proptest::sample::subsequence(vec!["team", "env"], 0..=2),
        proptest::collection::btree_map(
            proptest::sample::select(&["team", "env"][..]).prop_map(str::to_owned),
            name(),
            0..3,
        ),
    ));
    let times = (any::<bool>(), any::<bool>());
    let names = (name(), name(), optional(), optional(), optional());
    let aud = proptest::collection::vec(name(), 0..3);
    (
        names,
        labels,
        aud,
        times,
        any::<bool>(),
        proptest::sample::select(VerificationMode::ALL),
    )
        .prop_map(|(names, labels, aud, times, for_api_server, mode)| {
            let (namespace, service_account_name, pod_name, node_name, client) = names;
            Facts {
                namespace,
                service_account_name,
                pod_name,
                node_name,
                client_ip: client.map(|_| [10, 2, 3, 4].into()),
                aud,
                for_api_server,
                legacy: times.0,
                issue_time: times.1.then(noon),
                mode,
                namespace_labels: labels.map(|(keys, all): (Vec<&str>, BTreeMap<_, _>)| {
                    NamespaceLabels::read(keys, &all)
                }),
                ..facts()
            }
        })
}

fn some_method() -> impl Strategy<Value = AuthMethod> {
    let audiences = prop_oneof![
        Just(Audiences::ApiServer),
        Just(Audiences::Any),
        Just(Audiences::Listed(vec!["a".to_owned(), "prod".to_owned()])),
    ];
    let settings = (any::<bool>(), any::<bool>(), proptest::option::of(-5i64..5));
    (proptest::collection::vec(rule(), 0..3), audiences, settings).prop_map(
        |(rules, audiences, (disabled, bound, expires))| {
            let mut method = method(vec![]);
            method.settings.disabled = disabled;
            if bound {
                method.settings.bound_ips = vec!["10.2.0.0/16".parse().unwrap()];
            }
            method.settings.access_expires = expires.map(|s| noon() + SignedDuration::from_secs(s));
            let kubernetes = kubernetes(&mut method);
            kubernetes.rules = rules;
            kubernetes.audiences = audiences;
            method
        },
    )
}

fn decided(method: &AuthMethod, facts: &Facts) -> Result<Allowed, Denial> {
    let admission = admit(method, facts.client_ip, noon())?;
    let grant = decide(admission, facts.clone(), noon())?;
    Ok(Allowed {
        rule: grant.rule(),
        expire_time: grant.expire_time(),
    })
}

/// The rule with one more bound of `extra`, where it has none of that kind.
fn narrower(base: &RuleSpec, extra: &RuleSpec, which: usize) -> RuleSpec {
    let mut spec = base.clone();
    let lists = [
        (&mut spec.namespaces, &extra.namespaces),
        (&mut spec.service_accounts, &extra.service_accounts),
        (&mut spec.pods, &extra.pods),
        (
            &mut spec.namespaced_service_accounts,
            &extra.namespaced_service_accounts,
        ),
        (&mut spec.nodes, &extra.nodes),
    ];
    if let Some((list, more)) = lists.into_iter().nth(which) {
        if list.is_empty() {
            list.clone_from(more);
        }
    } else if which == 5 {
        let more = || extra.namespace_selector.clone();
        spec.namespace_selector = spec.namespace_selector.or_else(more);
    } else if spec.condition.is_empty() {
        spec.condition.clone_from(&extra.condition);
    }
    spec
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_rule_that_names_a_fact_never_admits_an_identity_without_it(rule in rule(), facts in some_facts()) {
        let spec = rule.spec();
        let lacks = (!spec.pods.is_empty() && facts.pod_name.is_none())
            || (!spec.nodes.is_empty() && facts.node_name.is_none())
            || (spec.namespace_selector.is_some() && facts.namespace_labels.is_none())
            || (spec.condition == "facts.pod_name != 'a'" && facts.pod_name.is_none())
            || (spec.condition.contains("namespace_labels") && facts.namespace_labels.is_none());
        if lacks {
            prop_assert!(rule.check(&facts).is_err());
        }
    }

    #[test]
    fn adding_a_bound_or_a_condition_to_a_rule_never_admits_more(
        base in spec(), extra in spec(), which in 0usize..7, facts in some_facts(),
    ) {
        if let (Some(wide), Some(narrow)) = (parsed(&base), parsed(&narrower(&base, &extra, which)))
            && narrow.check(&facts).is_ok()
        {
            prop_assert!(wide.check(&facts).is_ok(), "{:?} {:?}", wide, narrow);
        }
    }

    #[test]
    fn a_fact_that_goes_missing_never_turns_a_bounds_no_into_a_yes(rule in rule(), facts in some_facts()) {
        // Conditions may ask for absence on purpose.
        if rule.spec().condition.is_empty() && rule.check(&facts).is_err() {
            let less = Facts { pod_name: None, node_name: None, namespace_labels: None, ..facts };
            prop_assert!(rule.check(&less).is_err());
        }
    }

    #[test]
    fn both_ends_say_the_same(method in some_method(), facts in some_facts()) {
        // The facts as the assertion carries them, the rules as they are stored.
        let carried: Facts = serde_json::from_str(&serde_json::to_string(&facts).unwrap()).unwrap();
        prop_assert_eq!(&carried, &facts);
        let mut stored = method.clone();
        for rule in &mut kubernetes(&mut stored).rules {
            let json = serde_json::to_string(rule.spec()).unwrap();
            *rule = Rule::parse(serde_json::from_str(&json).unwrap()).unwrap();
        }
        prop_assert_eq!(decided(&method, &facts), decided(&stored, &carried));
    }

    #[test]
    fn an_explanation_says_what_is_decided(method in some_method(), facts in some_facts()) {
        let explanation = explain(&method, &facts, noon());
        prop_assert_eq!(&explanation.verdict, &decided(&method, &facts));

        let failed = |step, rule| explanation.checks.iter()
            .find(|check| check.step == step && check.rule == rule && !check.matched())
            .and_then(|check| check.reason);
        let before = failed(Step::Admit, None).or(failed(Step::Token, None));
        let rules = method.kubernetes().unwrap().rules.len();
        match explanation.verdict {
            Ok(allowed) => {
                prop_assert_eq!(before, None);
                prop_assert_eq!(failed(Step::Rule, Some(allowed.rule)), None);
            }
            Err(denial) => {
                prop_assert_eq!(
                    Some(denial.reason),
                    before
                        .or(denial.rule.and_then(|rule| failed(Step::Rule, Some(rule))))
                        .or((rules == 0).then_some(DenyReason::NoRules))
                );
                if before.is_none() {
                    let holds = (0..rules).any(|rule| failed(Step::Rule, Some(rule)).is_none());
                    prop_assert!(!holds);
                }
            }
        }
    }

    #[test]
    fn only_labels_that_a_rule_asks_about_are_read(method in some_method(), facts in some_facts()) {
        let keys = method.kubernetes().unwrap().namespace_label_keys();
        if keys.is_empty() {
            let bare = Facts { namespace_labels: None, ..facts.clone() };
            prop_assert_eq!(decided(&method, &bare), decided(&method, &facts));
        }
    }

    #[test]
    fn arbitrary_rules_are_refused_or_asked(
        texts in proptest::collection::vec("\\PC{0,40}", 0..4),
        which in 0usize..6, any_namespace in any::<bool>(), allow_any in any::<bool>(), facts in some_facts(),
    ) {
        let mut spec = RuleSpec { any_namespace, allow_any, ..RuleSpec::default() };
        match which {
            0 => spec.namespaces = texts,
            1 => spec.service_accounts = texts,
            2 => spec.pods = texts,
            3 => spec.namespaced_service_accounts = texts,
            4 => spec.nodes = texts,
            _ => spec.condition = texts.concat(),
        }
        let _ = Rule::parse(spec).map(|rule| rule.check(&facts));
    }

    #[test]
    fn arbitrary_bytes_are_no_rule(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = serde_json::from_slice::<RuleSpec>(&bytes).map(Rule::parse);
    }
}

#[test]
fn what_an_older_version_wrote_is_read_as_it_was_meant() {
    let rule: RuleSpec = serde_json::from_str(r#"{"namespaces":["my-namespace-a"]}"#).unwrap();
    let rule = Rule::parse(rule).unwrap();
    let facts: Facts = serde_json::from_str(
        r#"{"namespace":"my-namespace-a","service_account_name":"default","service_account_uid":"u",
            "aud":[],"for_api_server":true,"legacy":false}"#,
    )
    .unwrap();
    assert_eq!(facts.mode, VerificationMode::Review);
    assert_eq!(rule.check(&facts), Ok(()));
    let selecting = Rule::parse(RuleSpec {
        namespaces: vec!["my-namespace-a".to_owned()],
        namespace_selector: Some(SelectorSpec::parse_text("!legacy").unwrap()),
        ..RuleSpec::default()
    })
    .unwrap();
    let denied = selecting.check(&facts).unwrap_err();
    assert_eq!(denied.reason, DenyReason::NamespaceLabelsNotRead);
}
