//! What holds for every role, path and token.

use proptest::prelude::*;

use super::*;
use crate::association::RequiredSubClaims;

const SEGMENTS: &[&str] = &["a", "b", "ab", "pay", "x.y", "-", "..."];
const PATTERN_SEGMENTS: &[&str] = &[
    "a",
    "ab",
    "pay",
    "+",
    "*",
    "a*",
    "*b",
    "{{namespace}}",
    "x-{{pod_name}}",
];
/// Those of the second half can't be a piece of a path.
const VALUES: &[&str] = &["a", "pay", "ab", "", "*", "+", "..", "a/b", "{{pod_name}}"];

fn path() -> impl Strategy<Value = ResourcePath> {
    let segments = proptest::collection::vec(proptest::sample::select(SEGMENTS), 1..5);
    segments.prop_map(|segments| segments.join("/").parse().unwrap())
}

fn pattern() -> impl Strategy<Value = PathPattern> {
    let segments = proptest::collection::vec(proptest::sample::select(PATTERN_SEGMENTS), 1..5);
    segments.prop_filter_map("a template twice", |segments| {
        segments.join("/").parse().ok()
    })
}

fn rule() -> impl Strategy<Value = RoleRule> {
    let capability = proptest::sample::select(Capability::ALL);
    let end = proptest::option::of(0i64..4);
    (pattern(), capability, end).prop_map(|(path, capability, end)| {
        let end = end.map(|second| Timestamp::from_second(second).unwrap());
        RoleRule::new(path, vec![capability], end).unwrap()
    })
}

fn roles() -> impl Strategy<Value = Vec<Role>> {
    let rules = proptest::collection::vec(rule(), 0..4);
    let role = rules.prop_map(|rules| Role {
        id: "r".parse().unwrap(),
        uid: Uuid::from_u128(100),
        settings: RoleSettings {
            rules,
            ..RoleSettings::default()
        },
    });
    proptest::collection::vec(role, 0..4)
}

/// A role for tokens with a sub-claim of which each has one value, or for all.
fn given() -> impl Strategy<Value = Given> {
    let patterns = proptest::sample::subsequence(&["a", "pay", "a*", "?", "*"][..], 1..3);
    let name = proptest::sample::select(&["namespace", "pod_name"][..]);
    let claims = proptest::collection::btree_map(name, patterns, 0..3);
    let rules = proptest::collection::vec(rule(), 0..4);
    (claims, any::<bool>(), rules).prop_map(|(claims, case_insensitive, rules)| {
        let owned = |list: Vec<&str>| list.into_iter().map(str::to_owned).collect();
        let claims = claims
            .into_iter()
            .map(|(name, list)| (name.to_owned(), owned(list)));
        Given {
            required: RequiredSubClaims::new(claims.collect(), case_insensitive).unwrap(),
            role: Role {
                id: "r".parse().unwrap(),
                uid: Uuid::from_u128(100),
                settings: RoleSettings {
                    rules,
                    ..RoleSettings::default()
                },
            },
        }
    })
}

fn sub_claims() -> impl Strategy<Value = SubClaims> {
    let values = proptest::collection::vec(proptest::sample::select(VALUES), 0..3);
    let values = values.prop_map(|list| list.into_iter().map(str::to_owned).collect::<Vec<_>>());
    let name = proptest::sample::select(&["namespace", "pod_name"][..]).prop_map(str::to_owned);
    proptest::collection::btree_map(name, values, 0..3)
}

/// Sub-claims as tokens have them: of each one value, `aud` aside.
fn token() -> impl Strategy<Value = SubClaims> {
    let one = |mut claims: SubClaims| {
        claims.values_mut().for_each(|values| values.truncate(1));
        claims.retain(|_, values| !values.is_empty());
        claims
    };
    sub_claims().prop_map(one)
}

fn now() -> Timestamp {
    Timestamp::from_second(2).unwrap()
}

fn is_allowed(roles: &[Role], claims: &SubClaims, path: &ResourcePath) -> bool {
    let answer = authorize(roles, claims, path, Capability::Read, now());
    matches!(answer, Authorization::Allowed(_))
}

proptest! {
    #[test]
    fn one_more_rule_that_denies_never_admits_more(
        roles in roles(), claims in sub_claims(), path in path(), denied in pattern(),
    ) {
        let deny = RoleRule::new(denied, vec![Capability::Deny], None).unwrap();
        let mut stricter = roles.clone();
        for role in &mut stricter {
            role.settings.rules.insert(0, deny.clone());
        }
        prop_assert!(is_allowed(&roles, &claims, &path) || !is_allowed(&stricter, &claims, &path));
    }

    #[test]
    fn the_order_of_roles_and_rules_decides_nothing(
        roles in roles(), claims in sub_claims(), path in path(),
    ) {
        let mut turned = roles.clone();
        turned.reverse();
        for role in &mut turned {
            role.settings.rules.reverse();
        }
        let verdict = |roles: &[Role]| {
            let answer = authorize(roles, &claims, &path, Capability::Read, now());
            std::mem::discriminant(&answer)
        };
        prop_assert_eq!(verdict(&roles), verdict(&turned));
    }

    #[test]
    fn lacking_a_claim_never_gets_around_a_denial(
        denied in pattern(), claims in sub_claims(), path in path(),
    ) {
        prop_assert!(
            !denied.could_match(&path, &claims) || denied.could_match(&path, &SubClaims::new())
        );
    }

    #[test]
    fn a_template_never_matches_more_than_one_segment_of_any_text(
        pattern in pattern(), claims in sub_claims(), path in path(),
    ) {
        // One piece of a segment stands in place of any value: no value may do more than that.
        let piece = pattern.as_str().replace("{{namespace}}", "+").replace("x-{{pod_name}}", "+");
        let widest: PathPattern = piece.parse().unwrap();
        prop_assert!(!pattern.matches(&path, &claims) || widest.matches(&path, &SubClaims::new()));
        prop_assert!(!pattern.matches(&path, &claims) || pattern.could_match(&path, &claims));
    }

    #[test]
    fn what_is_said_to_fill_a_template_fills_it(pattern in pattern(), path in path()) {
        for filled in pattern.fillings(&path, |_, _| true, 20).ways {
            let claims = filled.into_iter().map(|(name, value)| (name, vec![value])).collect();
            prop_assert!(pattern.matches(&path, &claims));
        }
    }

    #[test]
    fn who_is_listed_may_and_who_may_is_listed(
        all in proptest::collection::vec(given(), 1..4), token in token(), path in path(),
    ) {
        let held = all.iter().filter(|given| given.required.hold(&token));
        let answer = authorize(held.map(|given| &given.role), &token, &path, Capability::Read, now());
        let is_allowed = matches!(answer, Authorization::Allowed(_));
        let question = Question { path: path.clone(), capability: Capability::Read, now: now() };
        let mut told = false;
        for own in all.iter().filter(|own| own.required.hold(&token)) {
            for row in who_can(own, &all, true, &question) {
                told |= row.more_fillings;
                let fits = row.template_claims.iter().all(|(name, value)| {
                    token.get(name).is_some_and(|values| values == std::slice::from_ref(value))
                });
                if fits {
                    told = true;
                    prop_assert!(is_allowed || row.may_be_denied, "{row:?} {token:?} {path:?}");
                }
            }
        }
        prop_assert!(told || !is_allowed, "{token:?} may at {path:?}, by {all:?}");
    }

    #[test]
    fn any_text_is_a_pattern_of_its_own_text_or_refused(text in ".{0,80}") {
        if let Ok(pattern) = text.parse::<PathPattern>() {
            prop_assert_eq!(pattern.as_str().trim_start_matches('/'), text.trim_start_matches('/'));
            prop_assert_eq!(pattern.to_string().parse::<PathPattern>(), Ok(pattern));
        }
        if let Ok(path) = text.parse::<ResourcePath>() {
            prop_assert!(!path.as_str().contains("/../") && !path.as_str().contains("//"));
        }
    }
}
