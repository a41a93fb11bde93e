//! Arbitrary conditions: nothing panics, and what is true here is true to the crate's interpreter.

use std::collections::HashMap;

use cel::{Context, Value};
use proptest::prelude::*;

use super::*;

const TEXTS: &[&str] = &[
    "facts.namespace",
    "facts.service_account_name",
    "facts.pod_name",
    "facts.node_name",
    "facts.namespace_labels.team",
    "'my-namespace-a'",
    "'mypod1'",
    "'m'",
    "''",
];

fn text() -> impl Strategy<Value = String> {
    let leaf = proptest::sample::select(TEXTS).prop_map(str::to_owned);
    leaf.prop_recursive(2, 4, 2, |text| {
        prop_oneof![
            (text.clone(), text.clone()).prop_map(|(a, b)| format!("({a} + {b})")),
            (text.clone(), text).prop_map(|(a, b)| format!("(has(facts.pod_name) ? {a} : {b})")),
        ]
    })
}

fn truth() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("true".to_owned()),
        Just("facts.legacy".to_owned()),
        Just("has(facts.node_name)".to_owned()),
        Just("has(facts.pod_name)".to_owned()),
        Just("'team' in facts.namespace_labels".to_owned()),
        (text(), text()).prop_map(|(a, b)| format!("{a} == {b}")),
        (text(), text()).prop_map(|(a, b)| format!("{a} != {b}")),
        (text(), text()).prop_map(|(a, b)| format!("{a}.startsWith({b})")),
        (text(), text()).prop_map(|(a, b)| format!("{a}.contains({b})")),
        (text(), text()).prop_map(|(a, b)| format!("{a} in [{b}, 'x']")),
        text().prop_map(|a| format!("{a} in facts.aud")),
        text().prop_map(|a| format!("size({a}) >= 3")),
    ];
    leaf.prop_recursive(4, 24, 3, |truth| {
        prop_oneof![
            truth.clone().prop_map(|a| format!("!({a})")),
            (truth.clone(), truth.clone()).prop_map(|(a, b)| format!("({a} && {b})")),
            (truth.clone(), truth.clone()).prop_map(|(a, b)| format!("({a} || {b})")),
            (truth.clone(), truth.clone(), truth.clone())
                .prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            (truth.clone(), text())
                .prop_map(|(a, b)| format!("facts.aud.exists(x, x == {b} || {a})")),
            (truth, text()).prop_map(|(a, b)| format!("facts.aud.all(x, x != {b} && {a})")),
        ]
    })
}

fn some_facts() -> impl Strategy<Value = Facts> {
    let name = || proptest::sample::select(&["my-namespace-a", "mypod1", "m", "x"][..]);
    let optional = || proptest::option::of(name().prop_map(str::to_owned));
    (
        name(),
        optional(),
        optional(),
        optional(),
        proptest::collection::vec(name().prop_map(str::to_owned), 0..3),
        any::<bool>(),
    )
        .prop_map(|(namespace, pod, node, team, aud, legacy)| {
            let team = team.map(|team| ("team".to_owned(), team));
            Facts {
                namespace: namespace.to_owned(),
                pod_name: pod,
                node_name: node,
                aud,
                legacy,
                namespace_labels: Some(NamespaceLabels::read(
                    ["team"],
                    &team.into_iter().collect(),
                )),
                ..facts()
            }
        })
}

/// What the crate's own interpreter says.
fn interpreted(source: &str, facts: &Facts) -> Option<bool> {
    let mut map: HashMap<String, Value> = HashMap::from([
        ("namespace".to_owned(), facts.namespace.clone().into()),
        (
            "service_account_name".to_owned(),
            facts.service_account_name.clone().into(),
        ),
        ("legacy".to_owned(), facts.legacy.into()),
        ("aud".to_owned(), facts.aud.clone().into()),
    ]);
    for (name, value) in [
        ("pod_name", &facts.pod_name),
        ("node_name", &facts.node_name),
    ] {
        map.extend(value.clone().map(|value| (name.to_owned(), value.into())));
    }
    let labels = facts
        .namespace_labels
        .iter()
        .flat_map(NamespaceLabels::present);
    let labels: HashMap<String, Value> = labels
        .map(|(key, value)| (key.to_owned(), value.to_owned().into()))
        .collect();
    map.insert("namespace_labels".to_owned(), labels.into());
    let mut context = Context::default();
    context.add_variable_from_value("facts", map);
    let expr = super::super::read(source).unwrap();
    match Value::resolve(&expr, &context) {
        Ok(Value::Bool(value)) => Some(value),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_holds_here_holds_in_cel(source in truth(), facts in some_facts()) {
        // One that nests too deep or costs too much is refused, and so can't differ.
        if let Ok(condition) = Condition::parse(&source)
            && let Ok(value) = condition.holds(&facts)
        {
            prop_assert_eq!(interpreted(&source, &facts), Some(value), "{}", source);
        }
    }

    #[test]
    fn arbitrary_text_is_refused_or_evaluated(text in "\\PC{0,200}", facts in some_facts()) {
        if let Ok(condition) = Condition::parse(&text) {
            let _ = condition.holds(&facts);
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_evaluated(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Condition::parse(&String::from_utf8_lossy(&bytes)).map(|c| c.holds(&facts()));
    }

    #[test]
    fn arbitrary_tokens_are_refused_or_evaluated(
        tokens in proptest::collection::vec(proptest::sample::select(&[
            "facts", ".", "namespace", "aud", "(", ")", "[", "]", "{", "}", "?", ":", "&&", "||", "!", "-", "+",
            "==", "<", "in", "'a'", "\"", "'", "1", "1.0", "b'a'", "r'a'", "has(", ".exists(x,", ".all(", "x", ",",
            "true", "null", "\\", "//", " ", "namespace_labels", "['team']", "timestamp('", "duration(", "0x", "u",
        ][..]), 0..60),
    ) {
        let _ = Condition::parse(&tokens.concat()).map(|c| c.holds(&facts()));
    }
}
