//! One question of the policy and its answer.
//!
//! Every check is a function that returns a [`Finding`]. The decision runs a list of them and stops
//! at the first that fails; an explanation runs the same list to its end and writes the answers out.

use std::fmt;
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};

use crate::ip::IpBlock;
use crate::reason::DenyReason;

/// What a check found. Borrowed, since a login writes nothing of it out.
#[derive(Debug, Clone)]
pub struct Finding<'a> {
    /// What the method asks for.
    pub wanted: Shown<'a>,
    /// What was there.
    pub got: Shown<'a>,
    /// Whether it is enough.
    pub outcome: Result<(), DenyReason>,
}

/// A value that an explanation can show.
#[derive(Clone)]
pub enum Shown<'a> {
    /// There is none.
    Absent,
    /// A name, or a fixed word.
    Text(&'a str),
    /// What had to be written out.
    Owned(String),
    /// A namespace and a service account.
    Pair(&'a str, &'a str),
    /// A list of names or patterns.
    Texts(&'a [String]),
    /// A time.
    Time(Timestamp),
    /// A length of time.
    Duration(SignedDuration),
    /// The longest that may be.
    AtMost(SignedDuration),
    /// An address, where it is known.
    Address(Option<IpAddr>),
    /// Address blocks.
    Blocks(&'a [IpBlock]),
    /// Whatever else can be written.
    Value(&'a dyn fmt::Display),
}

/// Which part of the decision a check belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Whether the method takes logins at all, now and from there.
    Admit,
    /// Whether the presented token is one that the method takes.
    Token,
    /// Whether a rule holds.
    Rule,
}

/// A check of an explanation, written out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Which part of the decision it belongs to.
    pub step: Step,
    /// The rule that it is a bound of, from 0.
    pub rule: Option<usize>,
    /// The field of the auth method, or of the rule, that asks.
    pub bound: &'static str,
    /// What the method asks for.
    pub wanted: String,
    /// What was there.
    pub got: String,
    /// Why it isn't enough; `None`: it matched.
    pub reason: Option<DenyReason>,
}

// === impl Finding ===

impl<'a> Finding<'a> {
    /// An answer of yes, or of `reason`.
    pub fn new(wanted: Shown<'a>, got: Shown<'a>, holds: bool, reason: DenyReason) -> Self {
        Self {
            wanted,
            got,
            outcome: holds.then_some(()).ok_or(reason),
        }
    }
}

// === impl Shown ===

impl<'a> Shown<'a> {
    /// A name that may be absent.
    pub fn name(value: Option<&'a String>) -> Self {
        value.map_or(Self::Absent, |text| Self::Text(text))
    }

    /// A time that may be absent.
    pub fn time(value: Option<Timestamp>) -> Self {
        value.map_or(Self::Absent, Self::Time)
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent | Self::Address(None) => f.write_str("(absent)"),
            Self::Text(text) => f.write_str(text),
            Self::Owned(text) => f.write_str(text),
            Self::Texts(texts) => list(f, texts.iter().map(|text| text as _)),
            Self::Time(time) => write!(f, "{time}"),
            Self::Duration(duration) => write!(f, "{duration:#}"),
            Self::AtMost(limit) => write!(f, "at most {limit:#}"),
            Self::Address(Some(address)) => write!(f, "{address}"),
            Self::Pair(namespace, name) => write!(f, "{namespace}/{name}"),
            Self::Blocks(blocks) => list(f, blocks.iter().map(|block| block as _)),
            Self::Value(value) => write!(f, "{value}"),
        }
    }
}

fn list<'v>(
    f: &mut fmt::Formatter<'_>,
    values: impl Iterator<Item = &'v dyn fmt::Display>,
) -> fmt::Result {
    let mut any = false;
    for value in values {
        if any {
            f.write_str(", ")?;
        }
        any = true;
        write!(f, "{value}")?;
    }
    if any { Ok(()) } else { f.write_str("(none)") }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

// === impl Step ===

impl Step {
    /// As it is written to people and programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Token => "token",
            Self::Rule => "rule",
        }
    }
}

// === impl Check ===

impl Check {
    /// Writes a finding out.
    pub fn new(
        step: Step,
        rule: Option<usize>,
        bound: &'static str,
        finding: &Finding<'_>,
    ) -> Self {
        Self {
            step,
            rule,
            bound,
            wanted: finding.wanted.to_string(),
            got: finding.got.to_string(),
            reason: finding.outcome.err(),
        }
    }

    /// Whether it was enough.
    pub fn matched(&self) -> bool {
        self.reason.is_none()
    }
}
