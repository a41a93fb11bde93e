//! Conditions: one CEL expression over the verified facts.
//!
//! The `cel` crate reads the text, this module does the rest: it has no type checker, and its
//! interpreter takes errors for values where CEL says so (`error || true` is true). What is allowed
//! is a small, total language (`docs/rules.md` lists it): checked and priced when it is written,
//! and evaluated so that no error is ever taken for a yes.

mod check;
mod eval;

use std::collections::BTreeSet;

use cel::parser::PrattParser;
use jiff::{SignedDuration, Timestamp};

use crate::facts::Facts;

/// The longest condition, in bytes.
pub const MAX_LENGTH: usize = 2048;
/// How deep an expression may nest.
pub const MAX_DEPTH: u16 = 32;
/// The most steps that one evaluation may take.
pub const MAX_COST: u64 = 10_000;
/// The most audiences that a condition looks at; a token with more is denied.
pub const MAX_AUDIENCES: usize = 32;

/// A condition that was checked: it evaluates to true, to false, or to an error that denies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    source: String,
    node: Node,
    labels: BTreeSet<String>,
    cost: u64,
}

/// Why a text can't be a condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// Empty or only blanks.
    #[error("is empty or blank")]
    Blank,
    /// More than 2048 bytes.
    #[error("is longer than {MAX_LENGTH} bytes")]
    TooLong,
    /// More than 32 levels.
    #[error("nests deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// Not CEL.
    #[error("is no CEL expression: {0}")]
    Syntax(String),
    /// CEL that isn't allowed here, or that can't work.
    #[error("{0}")]
    Refused(String),
    /// More than 10,000 steps.
    #[error("may take {0} steps; the most is {MAX_COST}")]
    TooCostly(u64),
}

/// Why a condition has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConditionFault {
    /// The fact isn't there.
    #[error("the fact {0} is absent: ask has() first")]
    FactAbsent(&'static str),
    /// The namespace doesn't have the label.
    #[error("the namespace has no label {0}: ask `in` first")]
    LabelAbsent(String),
    /// Nobody looked.
    #[error("the namespace's label {0} wasn't read")]
    LabelNotRead(String),
    /// More entries than the cost was reckoned with.
    #[error("the token has more than {MAX_AUDIENCES} audiences")]
    TooManyAudiences,
    /// A time that can't be written.
    #[error("a time is out of range")]
    TimeOutOfRange,
    /// The checker let a type through that it shouldn't have.
    #[error("a value isn't of its type")]
    Type,
}

/// A checked expression.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Bool(bool),
    Int(i64),
    Text(String),
    Time(Timestamp),
    Span(SignedDuration),
    Texts(Vec<Node>),
    Fact(Field),
    Has(Field),
    Label(String),
    HasLabel(String),
    /// The variable of an enclosing `exists` or `all`, counted from the outermost.
    Variable(usize),
    Not(Box<Node>),
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    If(Box<[Node; 3]>),
    Compare(Comparison, Box<[Node; 2]>),
    Plus(Box<[Node; 2]>),
    Minus(Box<[Node; 2]>),
    In(Box<[Node; 2]>),
    Test(TextTest, Box<[Node; 2]>),
    Size(Box<Node>),
    /// `all`, or else `exists`: the list and the body.
    Each {
        all: bool,
        of: Box<[Node; 2]>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TextTest {
    StartsWith,
    EndsWith,
    Contains,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Bool,
    Int,
    Text,
    Texts,
    Labels,
    Time,
    Span,
}

/// A fact, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Namespace,
    ServiceAccountName,
    ServiceAccountUid,
    PodName,
    PodUid,
    NodeName,
    CredentialId,
    ClientIp,
    Aud,
    ForApiServer,
    Legacy,
    IssueTime,
    ExpireTime,
    Mode,
    NamespaceLabels,
}

// === impl Condition ===

impl Condition {
    /// Reads, checks and prices a condition.
    ///
    /// # Errors
    /// The first fault: what isn't CEL, isn't allowed, doesn't fit its types, or costs too much.
    pub fn parse(source: &str) -> Result<Self, ConditionError> {
        if source.trim().is_empty() {
            return Err(ConditionError::Blank);
        }
        if source.len() > MAX_LENGTH {
            return Err(ConditionError::TooLong);
        }
        let checked = check::check(&read(source)?)?;
        if checked.cost > MAX_COST {
            return Err(ConditionError::TooCostly(checked.cost));
        }
        Ok(Self {
            source: source.to_owned(),
            node: checked.node,
            labels: checked.labels,
            cost: checked.cost,
        })
    }

    /// Whether the facts meet it.
    ///
    /// # Errors
    /// It has no value: that is a no.
    pub fn holds(&self, facts: &Facts) -> Result<bool, ConditionFault> {
        eval::holds(&self.node, facts)
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// The labels of the namespace that it asks about.
    pub fn label_keys(&self) -> impl Iterator<Item = &str> {
        self.labels.iter().map(String::as_str)
    }

    /// The most steps that an evaluation takes.
    pub fn cost(&self) -> u64 {
        self.cost
    }
}

/// The crate's older parser overflows the stack of a server's thread on 16 parentheses, and is out of
/// the question for text from outside; this one bounds its depth.
fn read(source: &str) -> Result<cel::IdedExpr, ConditionError> {
    // A panic in it would be one for what somebody wrote: refused like all that can't be read.
    let parsed = std::panic::catch_unwind(|| {
        PrattParser::new()
            .max_recursion_depth(MAX_DEPTH)
            .error_recovery_limit(2)
            .error_reporting_limit(4)
            .parse(source)
    });
    let Ok(parsed) = parsed else {
        return Err(ConditionError::Syntax("it can't be read".to_owned()));
    };
    parsed.map_err(|errors| {
        let mut texts = errors.errors.iter().map(|error| error.msg.as_str());
        if texts.clone().any(|text| text.contains("recursion limit")) {
            return ConditionError::TooDeep;
        }
        let what = texts.find(|text| !text.contains("limit exceeded"));
        ConditionError::Syntax(
            what.unwrap_or("it can't be read")
                .chars()
                .take(200)
                .collect(),
        )
    })
}

// === impl Field ===

impl Field {
    const ALL: &[Self] = &[
        Self::Namespace,
        Self::ServiceAccountName,
        Self::ServiceAccountUid,
        Self::PodName,
        Self::PodUid,
        Self::NodeName,
        Self::CredentialId,
        Self::ClientIp,
        Self::Aud,
        Self::ForApiServer,
        Self::Legacy,
        Self::IssueTime,
        Self::ExpireTime,
        Self::Mode,
        Self::NamespaceLabels,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::ServiceAccountName => "service_account_name",
            Self::ServiceAccountUid => "service_account_uid",
            Self::PodName => "pod_name",
            Self::PodUid => "pod_uid",
            Self::NodeName => "node_name",
            Self::CredentialId => "credential_id",
            Self::ClientIp => "client_ip",
            Self::Aud => "aud",
            Self::ForApiServer => "for_api_server",
            Self::Legacy => "legacy",
            Self::IssueTime => "issue_time",
            Self::ExpireTime => "expire_time",
            Self::Mode => "mode",
            Self::NamespaceLabels => "namespace_labels",
        }
    }

    const fn kind(self) -> Type {
        match self {
            Self::Aud => Type::Texts,
            Self::ForApiServer | Self::Legacy => Type::Bool,
            Self::IssueTime | Self::ExpireTime => Type::Time,
            Self::NamespaceLabels => Type::Labels,
            Self::Namespace
            | Self::ServiceAccountName
            | Self::ServiceAccountUid
            | Self::PodName
            | Self::PodUid
            | Self::NodeName
            | Self::CredentialId
            | Self::ClientIp
            | Self::Mode => Type::Text,
        }
    }
}

#[cfg(test)]
mod tests;
