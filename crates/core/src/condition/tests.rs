use std::time::{Duration, Instant};

use super::*;
use crate::facts::NamespaceLabels;
use crate::fixtures::facts;

mod agreement;

fn parse(source: &str) -> Condition {
    Condition::parse(source).unwrap_or_else(|error| panic!("{source}: {error}"))
}

fn refused(source: &str) -> String {
    match Condition::parse(source) {
        Ok(_) => panic!("{source} is taken"),
        Err(error) => error.to_string(),
    }
}

fn labelled() -> Facts {
    let labels = [("team", "payments"), ("example.com/tier", "gold")];
    let labels = labels.map(|(k, v)| (k.to_owned(), v.to_owned()));
    let keys = ["team", "example.com/tier", "legacy"];
    Facts {
        namespace_labels: Some(NamespaceLabels::read(keys, &labels.into())),
        expire_time: Some("2026-11-23T13:00:00Z".parse().unwrap()),
        ..facts()
    }
}

#[test]
fn the_listed_operators_and_functions_work() {
    for (source, expected) in [
        ("true", true),
        ("!true", false),
        ("facts.namespace == 'my-namespace-a'", true),
        ("facts.namespace != \"my-namespace-a\"", false),
        ("facts.namespace.startsWith('my-')", true),
        ("facts.namespace.endsWith('-b')", false),
        ("facts.namespace.contains('space')", true),
        ("facts.namespace in ['a', 'my-namespace-a']", true),
        ("'vault' in facts.aud", false),
        ("facts.aud.exists(a, a.startsWith('https://'))", true),
        ("facts.aud.all(a, a == 'vault')", false),
        ("size(facts.aud) == 1", true),
        ("facts.namespace.size() > 20", false),
        ("size('äöü') == 3", true),
        ("facts.namespace == 'my-' + 'namespace-a'", true),
        (
            "has(facts.pod_name) ? facts.pod_name == 'mypod1' : false",
            true,
        ),
        ("has(facts.node_name)", false),
        ("!has(facts.node_name) || facts.node_name == 'a'", true),
        ("facts.client_ip == '10.2.3.4'", true),
        ("facts.legacy", false),
        ("facts.for_api_server && facts.mode == 'review'", true),
        (
            "facts.expire_time - facts.issue_time <= duration('1h')",
            true,
        ),
        (
            "facts.issue_time + duration('59m') >= facts.expire_time",
            false,
        ),
        ("facts.issue_time < timestamp('2027-01-01T00:00:00Z')", true),
        ("facts.namespace_labels.team == 'payments'", true),
        ("facts.namespace_labels['example.com/tier'] == 'gold'", true),
        ("'legacy' in facts.namespace_labels", false),
        ("has(facts.namespace_labels.team)", true),
        ("has(facts.namespace_labels.legacy)", false),
        ("has(facts.namespace_labels)", true),
        ("facts.pod_uid != facts.service_account_uid", true),
        ("true || facts.node_name == 'never looked at'", true),
    ] {
        assert_eq!(parse(source).holds(&labelled()), Ok(expected), "{source}");
    }
}

#[test]
fn an_absent_fact_is_no_value_and_never_a_yes() {
    for (source, fault) in [
        (
            "facts.node_name == 'a'",
            ConditionFault::FactAbsent("node_name"),
        ),
        (
            "facts.node_name != 'a'",
            ConditionFault::FactAbsent("node_name"),
        ),
        (
            "!(facts.node_name == 'a')",
            ConditionFault::FactAbsent("node_name"),
        ),
        // CEL would say true.
        (
            "facts.node_name == 'a' || true",
            ConditionFault::FactAbsent("node_name"),
        ),
        (
            "facts.aud.exists(a, facts.node_name == a || true)",
            ConditionFault::FactAbsent("node_name"),
        ),
        (
            "facts.namespace_labels.legacy != 'yes'",
            ConditionFault::LabelAbsent("legacy".to_owned()),
        ),
    ] {
        assert_eq!(parse(source).holds(&labelled()), Err(fault), "{source}");
    }
}

#[test]
fn a_label_that_was_not_read_is_not_one_that_is_absent() {
    let unread = ConditionFault::LabelNotRead("team".to_owned());
    for source in [
        "!has(facts.namespace_labels.team)",
        "!('team' in facts.namespace_labels)",
        "facts.namespace_labels.team != 'a'",
    ] {
        assert_eq!(
            parse(source).holds(&facts()),
            Err(unread.clone()),
            "{source}"
        );
        let others = Facts {
            namespace_labels: Some(NamespaceLabels::read(["other"], &[].into())),
            ..facts()
        };
        assert_eq!(
            parse(source).holds(&others),
            Err(unread.clone()),
            "{source}"
        );
    }
    let asked = parse("facts.namespace_labels['a/b'] == 'x' && has(facts.namespace_labels.team)");
    assert_eq!(asked.label_keys().collect::<Vec<_>>(), ["a/b", "team"]);
}

#[test]
fn what_does_not_fit_its_types_is_refused_when_written() {
    for (source, what) in [
        ("", "empty"),
        ("  ", "empty"),
        ("facts", "alone"),
        ("facts.namespace", "must be true or false"),
        ("1", "must be true or false"),
        ("facts.nmespace == 'a'", "`facts.nmespace` is no fact"),
        ("pod_name == 'a'", "`pod_name` is no variable"),
        ("facts.namespace == 1", "can't be compared"),
        ("facts.namespace < 'b'", "can't be compared"),
        ("facts.aud == ['a']", "can't be compared"),
        ("facts.aud == 'a'", "can't be compared"),
        ("facts.namespace && true", "`&&` must be true or false"),
        ("!facts.namespace", "`!` must be true or false"),
        ("facts.namespace in 'abc'", "`in` needs a list"),
        ("1 in facts.aud", "`in` must be a text"),
        (
            "facts.legacy.startsWith('a')",
            "`startsWith` must be a text",
        ),
        ("facts.namespace.matches('.*')", "`matches` isn't allowed"),
        (
            "facts.namespace.lowerAscii() == 'a'",
            "`lowerAscii` isn't allowed",
        ),
        ("facts.aud.map(a, a) == []", "macros"),
        ("facts.aud.filter(a, true).size() == 1", "macros"),
        ("facts.aud.exists_one(a, a == 'x')", "macros"),
        ("facts.aud.exists(facts, true)", "hides another"),
        (
            "facts.aud.exists(a, facts.aud.exists(a, true))",
            "hides another",
        ),
        ("facts.namespace.exists(a, true)", "`exists` must be a list"),
        ("facts.namespace.foo == 'a'", "must be the labels"),
        ("facts['namespace'] == 'a'", "alone"),
        (
            "facts.namespace_labels[facts.namespace] == 'a'",
            "text literal",
        ),
        ("facts.namespace in facts.namespace_labels", "text literal"),
        (
            "facts.namespace_labels['-'] == 'a'",
            "can't be a label's key",
        ),
        (
            "facts.namespace_labels == facts.namespace_labels",
            "can't be compared",
        ),
        ("size(facts.namespace_labels) > 0", "`size` needs"),
        ("null == facts.pod_name", "`null` isn't allowed"),
        ("1.5 > 1.0", "fraction"),
        ("1u == 1u", "unsigned"),
        ("b'a' == b'a'", "bytes"),
        ("{'a': true}['a']", "map literals"),
        ("Facts{namespace: 'a'}", "messages"),
        ("facts.namespace - 'a' == 'b'", "can't take"),
        ("-1 < 0 && -(size('a')) < 0", "isn't allowed"),
        ("2 * 3 == 6", "isn't allowed"),
        (
            "timestamp(facts.namespace) > facts.issue_time",
            "text literal",
        ),
        ("timestamp('yesterday') > facts.issue_time", "text literal"),
        (
            "duration('-1h') < facts.expire_time - facts.issue_time",
            "text literal",
        ),
        ("facts.namespace == ", "no CEL expression"),
        ("facts.namespace = 'a'", "no CEL expression"),
        ("facts.namespace in []", "empty list"),
        ("dyn(facts.namespace) == 'a'", "`dyn` isn't allowed"),
        ("type(facts.namespace) == string", "isn't allowed"),
    ] {
        let error = refused(source);
        assert!(error.contains(what), "{source}: {error}");
    }
}

#[test]
fn what_may_take_too_long_is_refused_when_written() {
    let nested = "facts.aud.exists(a, facts.aud.exists(b, facts.aud.exists(c, a == b && b == c)))";
    assert!(refused(nested).contains("steps; the most is 10000"));
    assert!(parse("facts.aud.exists(a, facts.aud.exists(b, a != b))").cost() <= MAX_COST);
    let long = format!("'{}' == facts.namespace", "a".repeat(MAX_LENGTH));
    assert!(refused(&long).contains("longer than 2048 bytes"));
    let many = Facts {
        aud: vec!["a".to_owned(); MAX_AUDIENCES + 1],
        ..facts()
    };
    assert_eq!(
        parse("facts.aud.all(a, a == 'a')").holds(&many),
        Err(ConditionFault::TooManyAudiences)
    );
}

/// On a thread with the stack of a server's worker. Each shape is cut to what is read at all.
#[test]
fn hostile_text_is_refused_in_no_time_and_on_little_stack() {
    let shapes = [
        "(",
        "[",
        "{a:",
        "f(",
        "a.b(",
        "a.exists(x,",
        "a?",
        "a?b:",
        "a[",
        "has(",
        "-(",
        "!(",
        "a{b:",
        "a||(",
        "!",
        "-",
        "?",
        ":",
        ",",
        "'",
        "\"\"\"",
        "r'",
        "\\",
        "a.",
        "a+",
        "a&&",
        "a||",
        "a==",
        "a in ",
        "é",
        "\u{0}",
        "1",
        "0x",
        "`",
        "//",
        "'\\u",
        "@",
        ".",
        "a b ",
    ];
    for shape in shapes {
        for closing in ["", "a", ")", "]", "}", "'"] {
            let open = shape.repeat(MAX_LENGTH / shape.len());
            for text in [
                open.clone(),
                format!("{}{}", &shape.repeat(300), closing.repeat(300)),
            ] {
                let started = Instant::now();
                let _ = Condition::parse(&text);
                assert!(
                    started.elapsed() < Duration::from_secs(1),
                    "{shape} {closing}"
                );
            }
        }
    }
    assert_eq!(
        Condition::parse(&format!("{}true{}", "!(".repeat(100), ")".repeat(100))),
        Err(ConditionError::TooDeep)
    );
}
