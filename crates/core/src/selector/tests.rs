use proptest::prelude::*;

use super::*;

fn labels(list: &[(&str, &str)]) -> BTreeMap<String, String> {
    list.iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn selector(text: &str) -> Selector {
    let spec = SelectorSpec::parse_text(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    Selector::parse(spec).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn requirement(key: &str, operator: Operator, values: &[&str]) -> SelectorSpec {
    SelectorSpec {
        match_expressions: vec![RequirementSpec {
            key: key.to_owned(),
            operator,
            values: values.iter().map(|v| (*v).to_owned()).collect(),
        }],
        ..SelectorSpec::default()
    }
}

fn fields(spec: SelectorSpec) -> Vec<String> {
    let invalid = Selector::parse(spec.clone()).expect_err(&format!("{spec:?}"));
    let violations = invalid.violations().iter();
    violations.map(|v| v.field.clone()).collect()
}

#[test]
fn each_operator_means_what_it_means_in_kubernetes() {
    for (text, has, expected) in [
        ("team=a", &[("team", "a")][..], true),
        ("team=a", &[("team", "b")], false),
        ("team=a", &[], false),
        ("team==a", &[("team", "a")], true),
        ("team in (a,b)", &[("team", "b")], true),
        ("team in (a,b)", &[("team", "c")], false),
        ("team in (a,b)", &[], false),
        ("team!=a", &[("team", "a")], false),
        ("team!=a", &[("team", "b")], true),
        ("team!=a", &[], true),
        ("team notin (a,b)", &[("team", "b")], false),
        ("team notin (a,b)", &[("team", "c")], true),
        ("team notin (a,b)", &[], true),
        ("team", &[("team", "")], true),
        ("team", &[], false),
        ("!team", &[("team", "")], false),
        ("!team", &[], true),
        (
            "team in (a,b),!legacy,env=prod",
            &[("team", "a"), ("env", "prod")],
            true,
        ),
        (
            "team in (a,b),!legacy,env=prod",
            &[("team", "a"), ("env", "prod"), ("legacy", "")],
            false,
        ),
        (" team  in ( a , b ) , ! legacy ", &[("team", "a")], true),
    ] {
        let selector = selector(text);
        let read = NamespaceLabels::read(selector.keys(), &labels(has));
        assert_eq!(selector.matches(&read), Ok(expected), "{text} {has:?}");
    }
}

#[test]
fn a_label_that_was_not_read_is_not_one_that_is_absent() {
    let read = NamespaceLabels::read(["team"], &labels(&[("team", "a")]));
    for text in ["!legacy", "legacy!=yes", "team=b,!legacy", "legacy"] {
        assert_eq!(selector(text).matches(&read), Err(LabelNotRead), "{text}");
    }
}

#[test]
fn an_empty_selector_is_refused() {
    assert_eq!(fields(SelectorSpec::default()), ["match_labels"]);
    for text in [
        "",
        " ",
        ",",
        "()",
        "team in ()",
        "team=",
        "team=$",
        "!",
        "team in (a,)",
        "team in (a",
    ] {
        let parsed = SelectorSpec::parse_text(text).map(Selector::parse);
        assert!(!matches!(parsed, Ok(Ok(_))), "{text}");
    }
    let empty: SelectorSpec = serde_json::from_str("{}").unwrap();
    assert!(Selector::parse(empty).is_err());
}

#[test]
fn unknown_keys_and_operators_of_a_selector_are_refused() {
    for json in [
        r#"{"match_label":{"a":"b"}}"#,
        r#"{"match_expressions":[{"key":"a","operator":"Gt","values":["1"]}]}"#,
        r#"{"match_expressions":[{"key":"a","operator":"in","values":["1"]}]}"#,
        r#"{"match_expressions":[{"key":"a","operator":"Exists","value":"1"}]}"#,
        r#"{"match_expressions":[{"key":"a"}]}"#,
        r#"{"match_labels":null}"#,
    ] {
        assert!(
            serde_json::from_str::<SelectorSpec>(json).is_err(),
            "{json}"
        );
    }
    for text in [
        "a>1", "a<1", "a like b", "a=b=c", "a=b c=d", "a in b", "a b", "a,,b", "a,", "(a)",
    ] {
        let parsed = SelectorSpec::parse_text(text);
        assert!(parsed.is_err(), "{text}: {parsed:?}");
    }
}

#[test]
fn requirements_that_can_not_be_meant_are_refused_by_their_place() {
    use Operator::{DoesNotExist, Exists, In, NotIn};
    for (spec, field) in [
        (requirement("a", In, &[]), "match_expressions[0].values"),
        (requirement("a", NotIn, &[]), "match_expressions[0].values"),
        (
            requirement("a", Exists, &["b"]),
            "match_expressions[0].values",
        ),
        (
            requirement("a", DoesNotExist, &["b"]),
            "match_expressions[0].values",
        ),
        (
            requirement("a", In, &["b", "b"]),
            "match_expressions[0].values[1]",
        ),
        (
            requirement("a", In, &["-b"]),
            "match_expressions[0].values[0]",
        ),
        (
            requirement("a", In, &[" "]),
            "match_expressions[0].values[0]",
        ),
        (requirement("", Exists, &[]), "match_expressions[0].key"),
        (requirement("a b", Exists, &[]), "match_expressions[0].key"),
        (requirement("/a", Exists, &[]), "match_expressions[0].key"),
        (requirement("a/", Exists, &[]), "match_expressions[0].key"),
        (
            requirement("a/b/c", Exists, &[]),
            "match_expressions[0].key",
        ),
        (
            requirement("Example.com/a", Exists, &[]),
            "match_expressions[0].key",
        ),
        (
            requirement(&"a".repeat(64), Exists, &[]),
            "match_expressions[0].key",
        ),
    ] {
        assert_eq!(fields(spec.clone()), [field], "{spec:?}");
    }
    for text in ["a in (b),a in (c)", "a,a", "a=b,a in (c)", "a,!a", "a=b,!a"] {
        let spec = SelectorSpec::parse_text(text).unwrap();
        assert_eq!(fields(spec), ["match_expressions"], "{text}");
    }
    assert!(SelectorSpec::parse_text("a=b,a=c").is_err());
}

#[test]
fn a_selector_restricts_only_where_it_asks_for_a_label() {
    for (text, expected) in [
        ("team=a", true),
        ("team in (a,b)", true),
        ("team", true),
        ("!legacy", false),
        ("team!=a", false),
        ("team notin (a,b),!legacy", false),
        ("team=a,!legacy", true),
        ("kubernetes.io/metadata.name", false),
        ("kubernetes.io/metadata.name=a", true),
    ] {
        assert_eq!(selector(text).restricts(), expected, "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_is_refused_or_selects(text in "[a-c!=<>(),in nt./-]{0,80}|\\PC{0,200}") {
        if let Ok(selector) = SelectorSpec::parse_text(&text).map_err(drop).and_then(|s| Selector::parse(s).map_err(drop)) {
            let read = NamespaceLabels::read(selector.keys(), &BTreeMap::new());
            prop_assert_eq!(selector.matches(&read), Ok(!selector.requirements.iter().any(|r| r.operator.needs_label())));
            // Its text is a selector that means the same.
            let again = super::tests::selector(&selector.to_string());
            let sorted = |s: &Selector| { let mut all: Vec<String> = s.requirements.iter().map(ToString::to_string).collect(); all.sort(); all };
            prop_assert_eq!(sorted(&again), sorted(&selector));
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
        let text = String::from_utf8_lossy(&bytes);
        let _ = SelectorSpec::parse_text(&text);
        let _ = serde_json::from_slice::<SelectorSpec>(&bytes);
    }
}
