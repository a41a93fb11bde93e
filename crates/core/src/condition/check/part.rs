//! Parts of a checked expression, and those that stand for themselves.

use cel::IdedExpr;
use cel::common::ast::{Expr, LiteralValue};

use crate::condition::{ConditionError, Node, Type};

/// A part of the expression: what it is, its type, and what it may cost.
pub(super) struct Part {
    pub(super) node: Node,
    pub(super) kind: Type,
    pub(super) cost: u64,
    /// The most entries that it has, if it is a list.
    pub(super) entries: u64,
}

pub(super) fn refuse<T>(what: impl Into<String>) -> Result<T, ConditionError> {
    Err(ConditionError::Refused(what.into()))
}

pub(super) fn literal_part(literal: &LiteralValue) -> Result<Part, ConditionError> {
    let (node, kind) = match literal {
        LiteralValue::Boolean(value) => (Node::Bool(*value.inner()), Type::Bool),
        LiteralValue::Int(value) => (Node::Int(*value.inner()), Type::Int),
        LiteralValue::String(value) => (Node::Text(value.inner().to_owned()), Type::Text),
        LiteralValue::Bytes(_) => return refuse("bytes aren't allowed"),
        LiteralValue::Double(_) => return refuse("numbers with a fraction aren't allowed"),
        LiteralValue::UInt(_) => return refuse("unsigned numbers aren't allowed"),
        LiteralValue::Null => return refuse("`null` isn't allowed: ask has() for a fact"),
    };
    Ok(Part::new(node, kind, 1))
}

/// A time or a duration, which are read when the condition is written.
pub(super) fn constant(
    name: &str,
    arg: &IdedExpr,
    example: &str,
    read: impl FnOnce(&str) -> Option<(Node, Type)>,
) -> Result<Part, ConditionError> {
    let value = match &arg.expr {
        Expr::Literal(LiteralValue::String(text)) => read(text.inner()),
        _ => None,
    };
    match value {
        Some((node, kind)) => Ok(Part::new(node, kind, 1)),
        None => refuse(format!(
            "`{name}` needs a text literal such as \"{example}\""
        )),
    }
}

/// As much of a name as an error needs.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}

// === impl Part ===

impl Part {
    pub(super) fn new(node: Node, kind: Type, cost: u64) -> Self {
        Self {
            node,
            kind,
            cost,
            entries: 0,
        }
    }

    pub(super) fn pair(
        left: Self,
        right: Self,
        kind: Type,
        node: impl FnOnce(Box<[Node; 2]>) -> Node,
    ) -> Self {
        let cost = left.cost.saturating_add(right.cost) + 1;
        Self::new(node(Box::new([left.node, right.node])), kind, cost)
    }

    pub(super) fn of(self, kind: Type, who: &str) -> Result<Self, ConditionError> {
        if self.kind == kind {
            return Ok(self);
        }
        let who = if who.contains([' ', '`']) {
            who.to_owned()
        } else {
            format!("`{who}`")
        };
        refuse(format!(
            "{who} must be {}, and is {}",
            kind.as_str(),
            self.kind.as_str()
        ))
    }
}

// === impl Type ===

impl Type {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Int => "a whole number",
            Self::Text => "a text",
            Self::Texts => "a list of texts",
            Self::Labels => "the labels",
            Self::Time => "a time",
            Self::Span => "a duration",
        }
    }
}
