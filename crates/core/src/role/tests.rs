use super::*;

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
        let filled = pattern.fillings(&path.parse().unwrap())?;
        Some(
            filled
                .into_iter()
                .map(|(k, v)| format!("{k}={v}"))
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(
        filled("/{{namespace}}/*", "/pay/x/y").unwrap(),
        ["namespace=pay"]
    );
    assert_eq!(filled("/a/*", "/a/b").unwrap(), Vec::<String>::new());
    assert_eq!(filled("/a/{{namespace}}", "/b/c"), None);
    assert_eq!(
        filled("/x-{{namespace}}/{{pod_name}}", "/x-pay/api").unwrap(),
        ["namespace=pay", "pod_name=api"]
    );
    let hostile = format!("/{}b", "*a".repeat(100));
    assert_eq!(filled(&hostile, &format!("/{}", "a".repeat(400))), None);
}
