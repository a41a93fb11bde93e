//! Label selectors on a namespace, with the meaning that Kubernetes gives them.

mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::facts::{LabelNotRead, NamespaceLabels};
use crate::invalid::{Invalid, Violations};

/// The most requirements that one selector may have.
const MAX_REQUIREMENTS: usize = 50;
/// The most values that one requirement may have.
const MAX_VALUES: usize = 100;
/// The API server puts it on every namespace, so that asking for its presence asks for nothing.
const ON_EVERY_NAMESPACE: &str = "kubernetes.io/metadata.name";

/// A selector as it is written; every requirement of it must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelectorSpec {
    /// Labels and the values that they must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// What a value alone can't say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<RequirementSpec>,
}

/// One requirement as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequirementSpec {
    /// The label.
    pub key: String,
    /// What about it.
    pub operator: Operator,
    /// For `In` and `NotIn`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// What a requirement asks of a label, in Kubernetes' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Operator {
    /// It has one of the values.
    In,
    /// It has none of the values, or isn't there.
    NotIn,
    /// It is there.
    Exists,
    /// It isn't there.
    DoesNotExist,
}

/// A selector that can be asked; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    spec: SelectorSpec,
    requirements: Vec<Requirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
    values: BTreeSet<String>,
}

/// Why a text isn't a selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}, at `{rest}`")]
pub struct SelectorTextError {
    what: &'static str,
    rest: String,
}

// === impl Operator ===

impl Operator {
    /// All operators.
    pub const ALL: &[Self] = &[Self::In, Self::NotIn, Self::Exists, Self::DoesNotExist];

    /// In Kubernetes' words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::In => "In",
            Self::NotIn => "NotIn",
            Self::Exists => "Exists",
            Self::DoesNotExist => "DoesNotExist",
        }
    }

    const fn takes_values(self) -> bool {
        matches!(self, Self::In | Self::NotIn)
    }

    /// Whether it asks that the label is there.
    const fn needs_label(self) -> bool {
        matches!(self, Self::In | Self::Exists)
    }
}

// === impl SelectorSpec ===

impl SelectorSpec {
    /// Reads Kubernetes' text form, such as `team in (a,b),!legacy,env=prod`.
    ///
    /// # Errors
    /// A text that isn't one, and blank keys or values: what an empty shell variable leaves.
    pub fn parse_text(text: &str) -> Result<Self, SelectorTextError> {
        text::parse(text)
    }
}

// === impl Selector ===

impl Selector {
    /// Parses a selector; field names are relative to it.
    ///
    /// # Errors
    /// Every fault at once: no requirement at all, keys and values that no label has, operators
    /// with values too few or too many, and requirements that repeat or contradict each other.
    pub fn parse(spec: SelectorSpec) -> Result<Self, Invalid> {
        let mut faults = Violations::default();
        let count = spec.match_labels.len() + spec.match_expressions.len();
        if count == 0 {
            faults.add(
                "match_labels",
                "the selector is empty: it would match every namespace",
            );
        }
        if count > MAX_REQUIREMENTS {
            let fault = format!("the selector has more than {MAX_REQUIREMENTS} requirements");
            return Err(Invalid::field("match_expressions", fault));
        }
        let mut requirements = Vec::with_capacity(count);
        for (key, value) in &spec.match_labels {
            let field = format!("match_labels[{}]", cut(key));
            faults.check(field.clone(), label_key(key));
            faults.check(field, label_value(value));
            requirements.push(Requirement {
                key: key.clone(),
                operator: Operator::In,
                values: BTreeSet::from([value.clone()]),
            });
        }
        for (i, wire) in spec.match_expressions.iter().enumerate() {
            let parsed = Requirement::parse(wire);
            let parsed = parsed.map_err(|e| e.within(&format!("match_expressions[{i}]")));
            requirements.extend(faults.absorb(parsed));
        }
        check_together(&mut faults, &requirements);
        faults.finish()?;
        Ok(Self { spec, requirements })
    }

    /// What was parsed.
    pub fn spec(&self) -> &SelectorSpec {
        &self.spec
    }

    /// The labels that it asks about.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.requirements.iter().map(|r| r.key.as_str())
    }

    /// Whether it keeps out the namespace that nobody has labelled.
    ///
    /// `NotIn` and `DoesNotExist` match where the label is absent: a selector of nothing else lets
    /// in every namespace that anybody makes, and so doesn't restrict.
    pub fn restricts(&self) -> bool {
        self.requirements.iter().any(|r| match r.operator {
            Operator::In => true,
            Operator::Exists => r.key != ON_EVERY_NAMESPACE,
            Operator::NotIn | Operator::DoesNotExist => false,
        })
    }

    /// Whether a namespace with these labels is selected.
    ///
    /// # Errors
    /// A label that the selector asks about wasn't read, which isn't the same as absent.
    pub fn matches(&self, labels: &NamespaceLabels) -> Result<bool, LabelNotRead> {
        let mut all = true;
        for requirement in &self.requirements {
            all &= requirement.holds(labels.get(&requirement.key)?);
        }
        Ok(all)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, requirement) in self.requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            write!(f, "{requirement}")?;
        }
        Ok(())
    }
}

/// What a requirement can't be by itself, beside others.
fn check_together(faults: &mut Violations, requirements: &[Requirement]) {
    const FIELD: &str = "match_expressions";
    let mut seen = BTreeSet::new();
    for requirement in requirements {
        let (key, operator) = (requirement.key.as_str(), requirement.operator);
        if !seen.insert((key, operator)) {
            let word = operator.as_str();
            faults.add(FIELD, format!("asks twice for `{}` {word}", cut(key)));
        }
    }
    for key in requirements.iter().map(|r| r.key.as_str()) {
        let needed = seen.iter().any(|(k, o)| *k == key && o.needs_label());
        if needed && seen.remove(&(key, Operator::DoesNotExist)) {
            let key = cut(key);
            faults.add(
                FIELD,
                format!("asks that `{key}` is there and that it isn't: it matches nothing"),
            );
        }
    }
}

// === impl Requirement ===

impl Requirement {
    fn parse(spec: &RequirementSpec) -> Result<Self, Invalid> {
        let mut faults = Violations::default();
        faults.check("key", label_key(&spec.key));
        if spec.values.len() > MAX_VALUES {
            return Err(Invalid::field(
                "values",
                format!("has more than {MAX_VALUES} values"),
            ));
        }
        let word = spec.operator.as_str();
        match (spec.operator.takes_values(), spec.values.is_empty()) {
            (true, true) => faults.add("values", format!("is empty, and {word} needs some")),
            (false, false) => faults.add("values", format!("must be empty: {word} takes none")),
            _ => {}
        }
        let mut values = BTreeSet::new();
        for (i, value) in spec.values.iter().enumerate() {
            faults.check(format!("values[{i}]"), label_value(value));
            if !values.insert(value.clone()) {
                faults.add(
                    format!("values[{i}]"),
                    format!("`{}` stands twice", cut(value)),
                );
            }
        }
        faults.finish()?;
        Ok(Self {
            key: spec.key.clone(),
            operator: spec.operator,
            values,
        })
    }

    fn holds(&self, value: Option<&str>) -> bool {
        let listed = |value| self.values.contains::<str>(value);
        match self.operator {
            Operator::In => value.is_some_and(listed),
            Operator::NotIn => !value.is_some_and(listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        let values = self.values.iter().map(String::as_str).collect::<Vec<_>>();
        match self.operator {
            Operator::In if values.len() == 1 => write!(f, "{key}={}", values.concat()),
            Operator::In => write!(f, "{key} in ({})", values.join(",")),
            Operator::NotIn => write!(f, "{key} notin ({})", values.join(",")),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
        }
    }
}

/// A label's key: a name, with a DNS name and `/` before it or not.
///
/// # Errors
/// What no label's key is like.
pub fn label_key(text: &str) -> Result<(), String> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    let fault = |what| Err(format!("`{}` can't be a label's key: {what}", cut(text)));
    if prefix.is_some_and(|prefix| !is_dns_name(prefix)) {
        return fault("what stands before `/` must be a DNS name in lower case");
    }
    if name.is_empty() {
        return fault("it is empty");
    }
    if !is_label_text(name) {
        return fault(LABEL_TEXT);
    }
    Ok(())
}

const LABEL_TEXT: &str =
    "at most 63 of `A-Za-z0-9._-`, starting and ending with a letter or a digit";

fn label_value(text: &str) -> Result<(), String> {
    if text.is_empty() || is_label_text(text) {
        return Ok(());
    }
    Err(format!(
        "`{}` can't be a label's value: {LABEL_TEXT}",
        cut(text)
    ))
}

fn is_label_text(text: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    text.len() <= 63
        && edge(text.bytes().next())
        && edge(text.bytes().next_back())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn is_dns_name(text: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    text.len() <= 253
        && text.split('.').all(|part| {
            edge(part.bytes().next())
                && edge(part.bytes().next_back())
                && part
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        })
}

/// As much of a text as an error needs.
fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests;
