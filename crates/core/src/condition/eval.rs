//! Evaluation: total, bounded, and without a way from an error to a yes.
//!
//! From left to right, and no further than needed: `||` doesn't look at its right side when its
//! left is true. Where CEL would take `error || true` for true, here the error stands.

use std::borrow::Cow;
use std::cmp::Ordering;

use jiff::{SignedDuration, Timestamp};

use super::{Comparison, ConditionFault, Field, MAX_AUDIENCES, Node, TextTest};
use crate::facts::Facts;

enum Value<'f> {
    Bool(bool),
    Int(i64),
    Text(Cow<'f, str>),
    Texts(Vec<Cow<'f, str>>),
    Time(Timestamp),
    Span(SignedDuration),
}

struct Evaluation<'f> {
    facts: &'f Facts,
    /// The variables of the enclosing `exists` and `all`, outermost first.
    variables: Vec<Cow<'f, str>>,
}

pub(super) fn holds<'f>(node: &'f Node, facts: &'f Facts) -> Result<bool, ConditionFault> {
    let mut evaluation = Evaluation {
        facts,
        variables: Vec::new(),
    };
    evaluation.bool(node)
}

impl<'f> Evaluation<'f> {
    fn value(&mut self, node: &'f Node) -> Result<Value<'f>, ConditionFault> {
        Ok(match node {
            Node::Int(value) => Value::Int(*value),
            Node::Text(text) => Value::Text(Cow::Borrowed(text)),
            Node::Time(time) => Value::Time(*time),
            Node::Span(span) => Value::Span(*span),
            Node::Texts(nodes) => {
                let texts = nodes.iter().map(|node| self.text(node));
                Value::Texts(texts.collect::<Result<_, _>>()?)
            }
            Node::Fact(field) => self.fact(*field)?,
            Node::Label(key) => {
                let absent = || ConditionFault::LabelAbsent(key.clone());
                Value::Text(Cow::Borrowed(self.label(key)?.ok_or_else(absent)?))
            }
            Node::Variable(index) => {
                let value = self.variables.get(*index);
                Value::Text(value.cloned().ok_or(ConditionFault::Type)?)
            }
            Node::If(parts) => {
                let [condition, yes, no] = parts.as_ref();
                let chosen = if self.bool(condition)? { yes } else { no };
                self.value(chosen)?
            }
            Node::Plus(both) | Node::Minus(both) => {
                let [left, right] = both.as_ref();
                let (left, right) = (self.value(left)?, self.value(right)?);
                sum(matches!(node, Node::Plus(_)), left, right)?
            }
            Node::Size(of) => Value::Int(size(&self.value(of)?)?),
            Node::Bool(_)
            | Node::Has(_)
            | Node::HasLabel(_)
            | Node::Not(_)
            | Node::And(_)
            | Node::Or(_)
            | Node::Compare(..)
            | Node::In(_)
            | Node::Test(..)
            | Node::Each { .. } => Value::Bool(self.bool(node)?),
        })
    }

    fn bool(&mut self, node: &'f Node) -> Result<bool, ConditionFault> {
        match node {
            Node::Bool(value) => Ok(*value),
            Node::Has(field) => Ok(self.has(*field)),
            Node::HasLabel(key) => Ok(self.label(key)?.is_some()),
            Node::Not(part) => Ok(!self.bool(part)?),
            Node::And(both) => Ok(self.bool(&both[0])? && self.bool(&both[1])?),
            Node::Or(both) => Ok(self.bool(&both[0])? || self.bool(&both[1])?),
            Node::Compare(comparison, both) => {
                let (left, right) = (self.value(&both[0])?, self.value(&both[1])?);
                let ordering = compare(&left, &right).ok_or(ConditionFault::Type)?;
                Ok(comparison.holds(ordering))
            }
            Node::In(both) => {
                let text = self.text(&both[0])?;
                Ok(self.texts(&both[1])?.contains(&text))
            }
            Node::Test(test, both) => {
                let (text, part) = (self.text(&both[0])?, self.text(&both[1])?);
                Ok(test.holds(&text, &part))
            }
            Node::Each { all, of } => self.each(*all, &of[0], &of[1]),
            Node::Int(_)
            | Node::Text(_)
            | Node::Time(_)
            | Node::Span(_)
            | Node::Texts(_)
            | Node::Fact(_)
            | Node::Label(_)
            | Node::Variable(_)
            | Node::If(_)
            | Node::Plus(_)
            | Node::Minus(_)
            | Node::Size(_) => match self.value(node)? {
                Value::Bool(value) => Ok(value),
                _ => Err(ConditionFault::Type),
            },
        }
    }

    fn text(&mut self, node: &'f Node) -> Result<Cow<'f, str>, ConditionFault> {
        match self.value(node)? {
            Value::Text(text) => Ok(text),
            _ => Err(ConditionFault::Type),
        }
    }

    fn texts(&mut self, node: &'f Node) -> Result<Vec<Cow<'f, str>>, ConditionFault> {
        match self.value(node)? {
            Value::Texts(texts) => Ok(texts),
            _ => Err(ConditionFault::Type),
        }
    }

    fn each(&mut self, all: bool, list: &'f Node, body: &'f Node) -> Result<bool, ConditionFault> {
        for text in self.texts(list)? {
            self.variables.push(text);
            let holds = self.bool(body);
            self.variables.pop();
            if holds? != all {
                return Ok(!all);
            }
        }
        Ok(all)
    }

    fn label(&self, key: &str) -> Result<Option<&'f str>, ConditionFault> {
        let not_read = || ConditionFault::LabelNotRead(key.to_owned());
        let labels = self.facts.namespace_labels.as_ref().ok_or_else(not_read)?;
        labels.get(key).map_err(|_| not_read())
    }

    fn has(&self, field: Field) -> bool {
        match field {
            Field::NamespaceLabels => self.facts.namespace_labels.is_some(),
            _ => self.fact(field).is_ok(),
        }
    }

    fn fact(&self, field: Field) -> Result<Value<'f>, ConditionFault> {
        let facts = self.facts;
        let absent = ConditionFault::FactAbsent(field.name());
        let text = |text: &'f str| Ok(Value::Text(Cow::Borrowed(text)));
        let optional = |value: &'f Option<String>| match value {
            Some(value) => Ok(Value::Text(Cow::Borrowed(value.as_str()))),
            None => Err(ConditionFault::FactAbsent(field.name())),
        };
        match field {
            Field::Namespace => text(&facts.namespace),
            Field::ServiceAccountName => text(&facts.service_account_name),
            Field::ServiceAccountUid => text(&facts.service_account_uid),
            Field::PodName => optional(&facts.pod_name),
            Field::PodUid => optional(&facts.pod_uid),
            Field::NodeName => optional(&facts.node_name),
            Field::CredentialId => optional(&facts.credential_id),
            Field::ClientIp => {
                let address = facts.client_ip.ok_or(absent)?;
                Ok(Value::Text(Cow::Owned(address.to_canonical().to_string())))
            }
            // The price was reckoned with so many.
            Field::Aud if facts.aud.len() > MAX_AUDIENCES => Err(ConditionFault::TooManyAudiences),
            Field::Aud => {
                let audiences = facts.aud.iter();
                Ok(Value::Texts(
                    audiences.map(|aud| Cow::Borrowed(aud.as_str())).collect(),
                ))
            }
            Field::ForApiServer => Ok(Value::Bool(facts.for_api_server)),
            Field::Legacy => Ok(Value::Bool(facts.legacy)),
            Field::IssueTime => facts.issue_time.map(Value::Time).ok_or(absent),
            Field::ExpireTime => facts.expire_time.map(Value::Time).ok_or(absent),
            Field::Mode => text(facts.mode.as_str()),
            Field::NamespaceLabels => Err(ConditionFault::Type),
        }
    }
}

fn sum<'f>(plus: bool, left: Value<'f>, right: Value<'f>) -> Result<Value<'f>, ConditionFault> {
    let time = |time: Result<Timestamp, jiff::Error>| {
        time.map(Value::Time)
            .map_err(|_| ConditionFault::TimeOutOfRange)
    };
    match (left, plus, right) {
        (Value::Text(left), true, Value::Text(right)) => Ok(Value::Text(left + right)),
        (Value::Time(left), true, Value::Span(right)) => time(left.checked_add(right)),
        (Value::Time(left), false, Value::Span(right)) => time(left.checked_sub(right)),
        (Value::Time(left), false, Value::Time(right)) => {
            Ok(Value::Span(left.duration_since(right)))
        }
        _ => Err(ConditionFault::Type),
    }
}

/// Of a text, its characters.
fn size(value: &Value<'_>) -> Result<i64, ConditionFault> {
    let size = match value {
        Value::Text(text) => text.chars().count(),
        Value::Texts(texts) => texts.len(),
        _ => return Err(ConditionFault::Type),
    };
    i64::try_from(size).map_err(|_| ConditionFault::Type)
}

fn compare(left: &Value<'_>, right: &Value<'_>) -> Option<Ordering> {
    match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        (Value::Int(left), Value::Int(right)) => Some(left.cmp(right)),
        (Value::Text(left), Value::Text(right)) => Some(left.cmp(right)),
        (Value::Time(left), Value::Time(right)) => Some(left.cmp(right)),
        (Value::Span(left), Value::Span(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

// === impl Comparison ===

impl Comparison {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

// === impl TextTest ===

impl TextTest {
    fn holds(self, text: &str, part: &str) -> bool {
        match self {
            Self::StartsWith => text.starts_with(part),
            Self::EndsWith => text.ends_with(part),
            Self::Contains => text.contains(part),
        }
    }
}
