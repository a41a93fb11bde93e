use std::collections::BTreeMap;

use super::*;
use crate::association::RequiredSubClaims;

fn claims(pairs: &[(&str, &str)]) -> SubClaims {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()]))
        .collect()
}

fn role(id: &str, rules: &[(&str, &[Capability])]) -> Role {
    Role {
        id: id.parse().unwrap(),
        uid: Uuid::from_u128(100),
        settings: RoleSettings {
            rules: rules
                .iter()
                .map(|(path, capabilities)| {
                    RoleRule::new(path.parse().unwrap(), capabilities.to_vec(), None).unwrap()
                })
                .collect(),
            ..RoleSettings::default()
        },
    }
}

fn asked(role: &Role, claims: &SubClaims, path: &str) -> Authorization {
    let path = path.parse().unwrap();
    authorize(
        [role],
        claims,
        &path,
        Capability::Read,
        Timestamp::UNIX_EPOCH,
    )
}

fn allows(pattern: &str, claims: &SubClaims, path: &str) -> bool {
    let role = role("r", &[(pattern, &[Capability::Read])]);
    matches!(asked(&role, claims, path), Authorization::Allowed(_))
}

#[test]
fn a_plus_is_one_segment_and_a_star_is_any_run() {
    let none = SubClaims::new();
    for (pattern, path, expected) in [
        ("/a/b", "/a/b", true),
        ("a/b", "/a/b", true),
        ("/a/b", "/a/b/c", false),
        ("/a/*", "/a/b/c", true),
        ("/a/*", "/a", false),
        ("/*", "/a/b", true),
        ("/a/+/c", "/a/b/c", true),
        ("/a/+/c", "/a/b/x/c", false),
        ("/+", "/a", true),
        ("/+", "/a/b", false),
        ("/a*z", "/a/b/z", true),
        ("/a/b-*", "/a/b-c/d", true),
        ("/a", "/A", false),
    ] {
        assert_eq!(allows(pattern, &none, path), expected, "{pattern} {path}");
    }
}

#[test]
fn a_template_is_filled_with_the_tokens_own_claim_and_nothing_else() {
    let pay = claims(&[("namespace", "pay"), ("pod_name", "api-7c")]);
    assert!(allows("/{{namespace}}/*", &pay, "/pay/secret"));
    assert!(!allows("/{{namespace}}/*", &pay, "/shop/secret"));
    assert!(allows(
        "/x/{{ namespace }}-{{pod_name}}",
        &pay,
        "/x/pay-api-7c"
    ));
    assert!(!allows("/{{node_name}}/*", &pay, "/pay/secret"));
}

#[test]
fn a_claim_that_would_change_the_path_fills_nothing() {
    for value in [
        "",
        "*",
        "+",
        "..",
        ".",
        "a/b",
        "a/../b",
        "{{namespace}}",
        "a b",
    ] {
        let hostile = claims(&[("namespace", value)]);
        for path in ["/x", "/a/b", "/pay/x", "/b"] {
            assert!(
                !allows("/{{namespace}}/*", &hostile, path),
                "{value:?} {path}"
            );
            assert!(
                !allows("/{{namespace}}", &hostile, path),
                "{value:?} {path}"
            );
        }
    }
    let two = SubClaims::from([("aud".to_owned(), vec!["a".to_owned(), "b".to_owned()])]);
    assert!(!allows("/{{aud}}/*", &two, "/a/x"));
}

#[test]
fn deny_wins_whatever_the_order_and_lacking_a_claim_gets_nobody_around_it() {
    let none = SubClaims::new();
    let (read, deny): (&[_], &[_]) = (&[Capability::Read], &[Capability::Deny]);
    for rules in [
        [("/a/*", read), ("/a/x", deny)],
        [("/a/x", deny), ("/a/*", read)],
    ] {
        let role = role("r", &rules);
        assert!(matches!(
            asked(&role, &none, "/a/y"),
            Authorization::Allowed(_)
        ));
        let Authorization::Denied(decider) = asked(&role, &none, "/a/x") else {
            panic!("deny must win");
        };
        assert_eq!(decider.rule_path, "/a/x");
    }
    let role = role("r", &[("/*", read), ("/{{node_name}}/*", deny)]);
    assert!(matches!(
        asked(&role, &none, "/n1/x"),
        Authorization::Denied(_)
    ));
    let node = claims(&[("node_name", "n2")]);
    assert!(matches!(
        asked(&role, &node, "/n1/x"),
        Authorization::Allowed(_)
    ));
}

#[test]
fn a_rule_that_has_ended_counts_for_nothing() {
    let now = Timestamp::from_second(1_000).unwrap();
    let mut role = role("r", &[("/a", &[Capability::Read])]);
    role.settings.rules[0].expire_time = Some(now);
    let path = "/a".parse().unwrap();
    let none = SubClaims::new();
    let ask = |now| authorize([&role], &none, &path, Capability::Read, now);
    assert_eq!(ask(now), Authorization::NotAllowed);
    let before = Timestamp::from_second(999).unwrap();
    assert!(matches!(ask(before), Authorization::Allowed(_)));
}

#[test]
fn no_rule_and_another_capability_are_a_no() {
    let none = SubClaims::new();
    let role = role("r", &[("/a", &[Capability::List])]);
    assert_eq!(asked(&role, &none, "/a"), Authorization::NotAllowed);
    let path = "/a".parse().unwrap();
    let nobody = authorize([], &none, &path, Capability::Read, Timestamp::UNIX_EPOCH);
    assert_eq!(nobody, Authorization::NotAllowed);
}

#[test]
fn what_is_no_pattern_is_refused_with_its_fault() {
    for (text, fault) in [
        ("", PathPatternError::Empty),
        ("/", PathPatternError::Empty),
        ("/a//b", PathPatternError::Segment),
        ("/a/../b", PathPatternError::Segment),
        ("/a b", PathPatternError::Character),
        ("/a%2e", PathPatternError::Character),
        ("/a+", PathPatternError::PlusInSegment),
        ("/{{namespace", PathPatternError::Braces),
        ("/a}}", PathPatternError::Braces),
        ("/{{x}}", PathPatternError::UnknownClaim("x".to_owned())),
        (
            "/{{pod_name}}/{{pod_name}}",
            PathPatternError::ClaimTwice("pod_name".to_owned()),
        ),
    ] {
        assert_eq!(text.parse::<PathPattern>(), Err(fault), "{text}");
    }
    assert!(
        format!("/{}", "a".repeat(513))
            .parse::<PathPattern>()
            .is_err()
    );
}

#[test]
fn a_path_has_no_wildcards() {
    for text in [
        "",
        "/",
        "/*",
        "/+",
        "/a/..",
        "//",
        "/a/",
        "/%2e%2e",
        "/{{namespace}}",
    ] {
        assert!(text.parse::<ResourcePath>().is_err(), "{text}");
    }
    assert_eq!("a/b".parse::<ResourcePath>().unwrap().as_str(), "/a/b");
}

#[test]
fn capabilities_are_some_and_deny_stands_alone() {
    let rule = |capabilities: &[Capability]| {
        RoleRule::new("/a".parse().unwrap(), capabilities.to_vec(), None)
    };
    assert!(rule(&[]).is_err());
    assert!(rule(&[Capability::Deny, Capability::Read]).is_err());
    assert!(rule(&[Capability::Read, Capability::Read]).is_err());
    assert!(rule(&[Capability::Read, Capability::List]).is_ok());
}

#[test]
fn an_auditor_changes_nothing_and_an_operator_makes_no_administrator() {
    assert!(
        BuiltIn::Auditor
            .permissions()
            .iter()
            .all(Permission::only_reads)
    );
    let operator = BuiltIn::Operator.permissions();
    assert!(!operator.has(Permission::RolesWrite));
    let admin = BuiltIn::Admin.permissions();
    let all: Permissions = Permission::ALL.iter().copied().collect();
    let missing: Vec<_> = admin.missing(&all).collect();
    assert_eq!(
        missing,
        [Permission::GatewaySync],
        "that is a gateway's own"
    );
}

#[test]
fn what_would_fill_a_template_is_found() {
    let filled = |pattern: &str, path: &str| {
        let pattern: PathPattern = pattern.parse().unwrap();
        let found = pattern.fillings(&path.parse().unwrap(), |_, _| true, 4);
        let way = |way: &BTreeMap<String, String>| {
            let texts: Vec<_> = way.iter().map(|(k, v)| format!("{k}={v}")).collect();
            texts.join(" ")
        };
        let mut ways: Vec<String> = found.ways.iter().map(way).collect();
        ways.extend(found.more.then(|| "more".to_owned()));
        ways
    };
    let none = Vec::<String>::new();
    assert_eq!(filled("/{{namespace}}/*", "/pay/x/y"), ["namespace=pay"]);
    assert_eq!(filled("/a/*", "/a/b"), [""]);
    assert_eq!(filled("/a/{{namespace}}", "/b/c"), none);
    assert_eq!(
        filled("/x-{{namespace}}/{{pod_name}}", "/x-pay/api"),
        ["namespace=pay pod_name=api"]
    );
    assert_eq!(
        filled("/{{namespace}}-{{pod_name}}", "/a-b-c"),
        ["namespace=a pod_name=b-c", "namespace=a-b pod_name=c"]
    );
    assert_eq!(
        filled("/*{{namespace}}*", "/ab"),
        ["namespace=a", "namespace=ab", "namespace=b"]
    );
    assert_eq!(
        filled("/*{{namespace}}*", "/abcde").len(),
        5,
        "four, and more"
    );
    let hostile = format!("/{}b", "*a".repeat(100));
    assert_eq!(filled(&hostile, &format!("/{}", "a".repeat(400))), none);
}

/// What `who_can` says: the filled templates of each row, and `!` where it may be denied.
fn listed(own: usize, given: &[Given], carry: bool, path: &str) -> Vec<String> {
    let question = Question {
        path: path.parse().unwrap(),
        capability: Capability::Read,
        now: Timestamp::UNIX_EPOCH,
    };
    let row = |access: Access| {
        let filled = access.template_claims.iter();
        let filled: Vec<_> = filled
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let doubt = if access.may_be_denied { "!" } else { "" };
        format!("{}{doubt}", filled.join(" "))
    };
    let access = who_can(&given[own], given, carry, &question);
    access.into_iter().map(row).collect()
}

fn given(required: &[(&str, &[&str])], rules: &[(&str, &[Capability])]) -> Given {
    let list = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    let claims = required
        .iter()
        .map(|(name, values)| ((*name).to_owned(), list(values)));
    Given {
        required: RequiredSubClaims::new(claims.collect(), false).unwrap(),
        role: role("r", rules),
    }
}

#[test]
fn nobody_is_listed_whose_association_says_otherwise_than_the_path() {
    let none = Vec::<String>::new();
    let (own, read): (_, &[_]) = ("/{{namespace}}/*", &[Capability::Read]);
    for (required, path, rows) in [
        (&[][..], "/b/x", vec!["namespace=b"]),
        (
            &[("namespace", &["a"] as &[_])],
            "/a/x",
            vec!["namespace=a"],
        ),
        (&[("namespace", &["a"])], "/b/x", vec![]),
        (&[("namespace", &["a", "b"])], "/b/x", vec!["namespace=b"]),
        (
            &[("namespace", &["pay-*"])],
            "/pay-eu/x",
            vec!["namespace=pay-eu"],
        ),
        (&[("namespace", &["pay-*"])], "/pays/x", vec![]),
        (&[("namespace", &["pay-?"])], "/pay-eu/x", vec![]),
        (&[("pod_name", &["web"])], "/b/x", vec!["namespace=b"]),
    ] {
        let given = [given(required, &[(own, read)])];
        assert_eq!(listed(0, &given, true, path), rows, "{required:?} {path}");
    }
    let given = [given(&[], &[("/{{config_name}}/*", read)])];
    assert_eq!(
        listed(0, &given, true, "/c/x"),
        none,
        "a config's name has slashes"
    );
}

#[test]
fn each_way_to_fill_a_template_is_listed_and_none_that_the_association_refuses() {
    let read: &[_] = &[Capability::Read];
    let rule = ("/{{namespace}}-{{pod_name}}", read);
    let all = [given(&[], &[rule])];
    let both = ["namespace=a pod_name=b-c", "namespace=a-b pod_name=c"];
    assert_eq!(listed(0, &all, true, "/a-b-c"), both);
    let some = [given(&[("pod_name", &["?"])], &[rule])];
    assert_eq!(listed(0, &some, true, "/a-b-c"), both[1..]);
    let wide = [given(&[], &[("/*{{namespace}}*", read)])];
    let path = format!("/{}", "a1b2c3d4e5".repeat(3));
    assert_eq!(listed(0, &wide, true, &path).len(), MAX_FILLINGS);
}

#[test]
fn whom_a_denial_catches_for_certain_is_not_listed_and_others_with_a_doubt() {
    let none = Vec::<String>::new();
    let (read, deny): (&[_], &[_]) = (&[Capability::Read], &[Capability::Deny]);
    let open = given(&[("namespace", &["a"])], &[("/x/*", read)]);
    for (required, denied, rows) in [
        (&[][..], "/x/y", vec![]),
        (&[("namespace", &["a", "b"] as &[_])], "/x/y", vec![]),
        (&[("namespace", &["b"])], "/x/y", vec![""]),
        (&[("pod_name", &["p"])], "/x/y", vec!["!"]),
        (&[], "/x/{{namespace}}", vec![""]),
        (&[], "/{{pod_name}}/y", vec!["!"]),
    ] {
        let given = [open.clone(), given(required, &[(denied, deny)])];
        assert_eq!(
            listed(0, &given, true, "/x/y"),
            rows,
            "{required:?} {denied}"
        );
    }
    let own = [given(
        &[],
        &[("/{{namespace}}/*", read), ("/+/secret", deny)],
    )];
    assert_eq!(listed(0, &own, true, "/a/secret"), none);
    assert_eq!(listed(0, &own, true, "/a/open"), ["namespace=a"]);
    let key = [given(&[], &[("/open/*", read), ("/{{node_name}}/x", deny)])];
    assert_eq!(
        listed(0, &key, false, "/open/x"),
        none,
        "without claims every template is denied"
    );
    assert_eq!(listed(0, &key, false, "/open/y"), [""]);
}
