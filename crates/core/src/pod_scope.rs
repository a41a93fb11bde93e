//! Whose pods are watched for a method.

use std::collections::BTreeSet;

use crate::auth_method::Kubernetes;
use crate::rule::RuleSpec;

/// With more namespaces than this, the pods of all are watched: each takes a request of its own.
const MAX_NAMESPACES: usize = 50;

/// The namespaces that a method's rules name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodScope {
    /// Of these.
    Namespaces(BTreeSet<String>),
    /// A rule names them by wildcards or by labels, or there are too many.
    All,
}

impl PodScope {
    /// `None`: the method's tokens don't end with their pods.
    pub fn of(method: &Kubernetes) -> Option<Self> {
        method.revoke_with_pod.then(|| {
            let named: Option<Vec<_>> = method.rules.iter().map(|r| named(r.spec())).collect();
            let all: BTreeSet<String> = named.into_iter().flatten().flatten().collect();
            if all.is_empty() || all.len() > MAX_NAMESPACES {
                Self::All
            } else {
                Self::Namespaces(all)
            }
        })
    }

    /// Whether the pods of that namespace are among them.
    pub fn holds(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Namespaces(named) => named.contains(namespace),
        }
    }

    /// What to list and watch, each by itself.
    pub fn parts(&self) -> Vec<Option<String>> {
        match self {
            Self::All => vec![None],
            Self::Namespaces(named) => named.iter().cloned().map(Some).collect(),
        }
    }
}

/// The namespaces outside of which a rule lets nobody in; `None`: they aren't named.
fn named(rule: &RuleSpec) -> Option<Vec<String>> {
    let exact = |name: &str| !name.contains(['*', '?']);
    if !rule.namespaces.is_empty() && rule.namespaces.iter().all(|name| exact(name)) {
        return Some(rule.namespaces.clone());
    }
    let pairs = &rule.namespaced_service_accounts;
    let namespaces = pairs.iter().filter_map(|pair| pair.split_once('/'));
    let namespaces: Vec<_> = namespaces
        .map(|(namespace, _)| namespace.to_owned())
        .collect();
    let exact = namespaces.len() == pairs.len() && namespaces.iter().all(|name| exact(name));
    (!pairs.is_empty() && exact).then_some(namespaces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use crate::rule::Rule;

    fn scope(rules: &[RuleSpec]) -> Option<PodScope> {
        let method = fixtures::method(Vec::new());
        let mut method = method.kubernetes().unwrap().clone();
        method.revoke_with_pod = true;
        let rules = rules.iter().cloned().map(|rule| Rule::parse(rule).unwrap());
        method.rules = rules.collect();
        PodScope::of(&method)
    }

    fn strings(values: &[&str]) -> Vec<String> {
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    fn namespaces(names: &[&str]) -> RuleSpec {
        RuleSpec {
            namespaces: strings(names),
            pods: strings(&["a*"]),
            ..RuleSpec::default()
        }
    }

    fn pairs(pairs: &[&str]) -> RuleSpec {
        RuleSpec {
            namespaced_service_accounts: strings(pairs),
            ..RuleSpec::default()
        }
    }

    #[test]
    fn only_the_namespaces_that_rules_name_are_watched_where_all_rules_name_some() {
        let named =
            |names: &[&str]| Some(PodScope::Namespaces(strings(names).into_iter().collect()));
        let found = scope(&[namespaces(&["a", "b"]), pairs(&["c/x", "a/y"])]);
        assert_eq!(found, named(&["a", "b", "c"]));
        let wild = scope(&[namespaces(&["a"]), namespaces(&["team-*"])]);
        assert_eq!(wild, Some(PodScope::All));
        assert_eq!(scope(&[pairs(&["a-*/x"])]), Some(PodScope::All));
        let many: Vec<String> = (0..51).map(|n| format!("n{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(scope(&[namespaces(&many)]), Some(PodScope::All));
        let method = fixtures::method(Vec::new());
        assert_eq!(
            PodScope::of(method.kubernetes().unwrap()),
            None,
            "nobody asked"
        );
    }
}
