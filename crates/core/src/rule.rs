//! Rules: which workloads an auth method lets in.

use crate::check::{Finding, Shown};
use crate::condition::Condition;
use crate::facts::{Facts, LabelNotRead};
use crate::invalid::{Invalid, Violations};
use crate::pattern::{NameKind, Pattern, PatternError};
use crate::reason::DenyReason;
use crate::selector::{Selector, SelectorSpec};

/// The most entries that one bound list may have.
const MAX_ENTRIES: usize = 500;

/// A rule as it is written: what a request or a stored row says.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSpec {
    /// Patterns of namespaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Patterns of service accounts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_accounts: Vec<String>,
    /// Patterns of pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<String>,
    /// `namespace/service-account` pairs of patterns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaced_service_accounts: Vec<String>,
    /// Patterns of nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    /// What the namespace's labels must be like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<SelectorSpec>,
    /// A CEL expression over the facts; empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub condition: String,
    /// Says on purpose that the rule holds in every namespace.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub any_namespace: bool,
    /// Says on purpose that the rule restricts nothing at all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_any: bool,
}

/// A rule that can be asked: everything named in it must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    spec: RuleSpec,
    namespaces: Vec<Pattern>,
    service_accounts: Vec<Pattern>,
    pods: Vec<Pattern>,
    pairs: Vec<(Pattern, Pattern)>,
    nodes: Vec<Pattern>,
    selector: Option<Selector>,
    condition: Option<Condition>,
}

/// A bound of a rule; `None`: the rule doesn't have it.
type Bound = for<'a> fn(&'a Rule, &'a Facts) -> Option<Finding<'a>>;

/// All bounds, by the field that states them; everything that a rule has must hold.
const BOUNDS: &[(&str, Bound)] = &[
    ("namespaces", Rule::namespace),
    ("service_accounts", Rule::service_account),
    ("namespaced_service_accounts", Rule::pair),
    ("pods", Rule::pod),
    ("nodes", Rule::node),
    ("namespace_selector", Rule::namespace_labels),
    ("condition", Rule::condition),
];

/// A rule that doesn't hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Miss {
    /// The first bound that didn't match.
    pub reason: DenyReason,
    /// How many bounds matched before it: the nearest miss is the most useful to report.
    pub matched: usize,
}

/// Why a bound list can't be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum PairError {
    #[error("`{0}` must be `namespace/service-account`")]
    Form(String),
    #[error("its namespace {0}")]
    Namespace(PatternError),
    #[error("its service account {0}")]
    ServiceAccount(PatternError),
}

// === impl Rule ===

impl Rule {
    /// Parses a rule; field names are relative to the rule.
    ///
    /// # Errors
    /// Every fault at once: blank or impossible names, and a rule that restricts less than it
    /// says it does.
    pub fn parse(spec: RuleSpec) -> Result<Self, Invalid> {
        let mut faults = Violations::default();
        let namespaces = patterns(&mut faults, "namespaces", &spec.namespaces, NameKind::Label);
        let service_accounts = patterns(
            &mut faults,
            "service_accounts",
            &spec.service_accounts,
            NameKind::Subdomain,
        );
        let pods = patterns(&mut faults, "pods", &spec.pods, NameKind::Subdomain);
        let pairs = pairs(&mut faults, &spec.namespaced_service_accounts);
        let nodes = patterns(&mut faults, "nodes", &spec.nodes, NameKind::Subdomain);
        let selector = spec.namespace_selector.clone().and_then(|selector| {
            let parsed = Selector::parse(selector);
            faults.absorb(parsed.map_err(|e| e.within("namespace_selector")))
        });
        let condition = (!spec.condition.is_empty())
            .then(|| faults.check("condition", Condition::parse(&spec.condition)))
            .flatten();
        let rule = Self {
            spec,
            namespaces,
            service_accounts,
            pods,
            pairs,
            nodes,
            selector,
            condition,
        };
        // A list that didn't parse would look like one that isn't there.
        faults.finish()?;
        rule.check_breadth()?;
        Ok(rule)
    }

    /// What was parsed.
    pub fn spec(&self) -> &RuleSpec {
        &self.spec
    }

    fn check_breadth(&self) -> Result<(), Invalid> {
        let mut faults = Violations::default();
        let spec = &self.spec;
        let namespace_restricted = restricts(&self.namespaces)
            || self.selector.as_ref().is_some_and(Selector::restricts)
            || (!self.pairs.is_empty() && self.pairs.iter().all(|(ns, _)| !ns.is_only_wildcards()));
        let else_restricted = restricts(&self.service_accounts)
            || restricts(&self.pods)
            || restricts(&self.nodes)
            || (!self.pairs.is_empty() && self.pairs.iter().all(|(_, sa)| !sa.is_only_wildcards()));
        if !namespace_restricted && !spec.any_namespace {
            faults.add(
                "namespaces",
                "the rule restricts no namespace: name some, or say any_namespace (--any-namespace); \
                 a selector of nothing but NotIn and DoesNotExist matches namespaces that nobody labelled",
            );
        }
        if namespace_restricted && spec.any_namespace {
            faults.add(
                "any_namespace",
                "contradicts the namespaces that the rule names",
            );
        }
        if !namespace_restricted && !else_restricted && !spec.allow_any {
            faults.add(
                "allow_any",
                "the rule restricts nothing at all: bind something, or say allow_any too (--any-namespace --allow-any)",
            );
        }
        if spec.allow_any && !spec.any_namespace {
            faults.add(
                "allow_any",
                "needs any_namespace beside it (--any-namespace)",
            );
        }
        if spec.allow_any && (namespace_restricted || else_restricted) {
            faults.add("allow_any", "contradicts the bounds that the rule has");
        }
        faults.finish()
    }

    /// The labels of the namespace that it asks about.
    pub fn namespace_label_keys(&self) -> impl Iterator<Item = &str> {
        let selected = self.selector.iter().flat_map(Selector::keys);
        selected.chain(self.condition.iter().flat_map(Condition::label_keys))
    }

    /// What each of its bounds finds, one after the other.
    pub fn findings<'a>(
        &'a self,
        facts: &'a Facts,
    ) -> impl Iterator<Item = (&'static str, Finding<'a>)> {
        BOUNDS
            .iter()
            .filter_map(move |(name, bound)| Some((*name, bound(self, facts)?)))
    }

    /// Whether the rule holds.
    ///
    /// # Errors
    /// The first bound that doesn't.
    pub fn check(&self, facts: &Facts) -> Result<(), Miss> {
        for (matched, (_, finding)) in self.findings(facts).enumerate() {
            finding.outcome.map_err(|reason| Miss { reason, matched })?;
        }
        Ok(())
    }

    fn namespace<'a>(&'a self, facts: &'a Facts) -> Option<Finding<'a>> {
        let name = Some(&facts.namespace);
        let absent = DenyReason::NamespaceNotBound;
        let reason = DenyReason::NamespaceNotBound;
        bound(
            &self.namespaces,
            &self.spec.namespaces,
            name,
            absent,
            reason,
        )
    }

    fn service_account<'a>(&'a self, facts: &'a Facts) -> Option<Finding<'a>> {
        let name = Some(&facts.service_account_name);
        let reason = DenyReason::ServiceAccountNotBound;
        let wanted = &self.spec.service_accounts;
        bound(&self.service_accounts, wanted, name, reason, reason)
    }

    fn pair<'a>(&'a self, facts: &'a Facts) -> Option<Finding<'a>> {
        let holds = |(ns, sa): &(Pattern, Pattern)| {
            ns.matches(&facts.namespace) && sa.matches(&facts.service_account_name)
        };
        (!self.pairs.is_empty()).then(|| {
            Finding::new(
                Shown::Texts(&self.spec.namespaced_service_accounts),
                Shown::Pair(&facts.namespace, &facts.service_account_name),
                self.pairs.iter().any(holds),
                DenyReason::NamespacedServiceAccountNotBound,
            )
        })
    }

    fn pod<'a>(&'a self, facts: &'a Facts) -> Option<Finding<'a>> {
        let name = facts.pod_name.as_ref();
        let absent = DenyReason::PodMissing;
        let reason = DenyReason::PodNameNotBound;
        bound(&self.pods, &self.spec.pods, name, absent, reason)
    }

    fn node<'a>(&'a self, facts: &'a Facts) -> Option<Finding<'a>> {
        let name = facts.node_name.as_ref();
        let absent = DenyReason::NodeMissing;
        let reason = DenyReason::NodeNameNotBound;
        bound(&self.nodes, &self.spec.nodes, name, absent, reason)
    }

    fn namespace_labels<'a>(&'a self, facts: &'a Facts) -> Option<Finding<'a>> {
        let selector = self.selector.as_ref()?;
        let read = facts.namespace_labels.as_ref();
        let matches = read.map(|labels| selector.matches(labels));
        Some(Finding {
            wanted: Shown::Value(selector),
            got: read.map_or(Shown::Absent, |labels| Shown::Value(labels)),
            outcome: match matches {
                Some(Ok(true)) => Ok(()),
                Some(Ok(false)) => Err(DenyReason::NamespaceLabelsNotBound),
                Some(Err(LabelNotRead)) | None => Err(DenyReason::NamespaceLabelsNotRead),
            },
        })
    }

    fn condition<'a>(&'a self, facts: &'a Facts) -> Option<Finding<'a>> {
        let condition = self.condition.as_ref()?;
        let (got, outcome) = match condition.holds(facts) {
            Ok(true) => (Shown::Text("true"), Ok(())),
            Ok(false) => (Shown::Text("false"), Err(DenyReason::ConditionNotMet)),
            Err(fault) => (
                Shown::Owned(fault.to_string()),
                Err(DenyReason::ConditionFailed),
            ),
        };
        Some(Finding {
            wanted: Shown::Text(condition.as_str()),
            got,
            outcome,
        })
    }
}

/// A list restricts when no entry of it lets everything through.
fn restricts(list: &[Pattern]) -> bool {
    !list.is_empty() && list.iter().all(|p| !p.is_only_wildcards())
}

fn bound<'a>(
    patterns: &[Pattern],
    wanted: &'a [String],
    name: Option<&'a String>,
    absent: DenyReason,
    differs: DenyReason,
) -> Option<Finding<'a>> {
    (!patterns.is_empty()).then(|| Finding {
        wanted: Shown::Texts(wanted),
        got: Shown::name(name),
        outcome: match name {
            None => Err(absent),
            Some(name) if patterns.iter().any(|pattern| pattern.matches(name)) => Ok(()),
            Some(_) => Err(differs),
        },
    })
}

fn patterns(faults: &mut Violations, field: &str, list: &[String], kind: NameKind) -> Vec<Pattern> {
    if list.len() > MAX_ENTRIES {
        faults.add(field, format!("has more than {MAX_ENTRIES} entries"));
        return Vec::new();
    }
    let parsed: Vec<Pattern> = list
        .iter()
        .enumerate()
        .filter_map(|(i, text)| faults.check(format!("{field}[{i}]"), Pattern::parse(text, kind)))
        .collect();
    if parsed.len() > 1 && parsed.iter().any(Pattern::is_only_wildcards) {
        faults.add(
            field,
            "has a pattern of nothing but wildcards beside other values, which it makes meaningless",
        );
    }
    parsed
}

fn pairs(faults: &mut Violations, list: &[String]) -> Vec<(Pattern, Pattern)> {
    const FIELD: &str = "namespaced_service_accounts";
    if list.len() > MAX_ENTRIES {
        faults.add(FIELD, format!("has more than {MAX_ENTRIES} entries"));
        return Vec::new();
    }
    list.iter()
        .enumerate()
        .filter_map(|(i, text)| faults.check(format!("{FIELD}[{i}]"), pair(text)))
        .collect()
}

fn pair(text: &str) -> Result<(Pattern, Pattern), PairError> {
    let (namespace, name) = text
        .split_once('/')
        .ok_or_else(|| PairError::Form(text.chars().take(64).collect()))?;
    let namespace = Pattern::parse(namespace, NameKind::Label).map_err(PairError::Namespace)?;
    let name = Pattern::parse(name, NameKind::Subdomain).map_err(PairError::ServiceAccount)?;
    Ok((namespace, name))
}

#[cfg(test)]
mod tests;
