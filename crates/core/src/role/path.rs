//! Paths of resources, and the patterns of paths that rules have.

mod fillings;

use std::fmt;
use std::str::FromStr;

use crate::facts::{SUB_CLAIMS, SubClaims};

pub use fillings::Fillings;

/// The longest path or pattern, in bytes.
const MAX_LENGTH: usize = 512;
const MAX_SEGMENTS: usize = 32;

/// The path of a resource that somebody wants to do something with: `/` and segments of
/// `[A-Za-z0-9._-]+` joined by `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourcePath(String);

/// Why a text is no path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResourcePathError {
    /// Nothing was given.
    #[error("is empty")]
    Empty,
    /// Longer than 512 bytes, or more than 32 segments.
    #[error("is longer than 512 bytes, or has more than 32 segments")]
    TooLong,
    /// An empty segment, `.` or `..`.
    #[error("has a segment that is empty, `.` or `..`")]
    Segment,
    /// A character outside `[A-Za-z0-9._-]`.
    #[error("has a character outside `A-Z a-z 0-9 . _ -`")]
    Character,
}

/// A pattern of paths. `+` stands for one whole segment, `*` for any run of characters, slashes
/// included, and `{{namespace}}` and the like for what the token's sub-claim of that name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    /// `+`
    Segment,
    /// `*`
    Run,
    /// The only value of that sub-claim.
    Claim(String),
}

/// Why a text is no pattern of paths.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathPatternError {
    /// Nothing was given.
    #[error("is empty")]
    Empty,
    /// Longer than 512 bytes, or more than 32 segments.
    #[error("is longer than 512 bytes, or has more than 32 segments")]
    TooLong,
    /// An empty segment, `.` or `..`.
    #[error("has a segment that is empty, `.` or `..`")]
    Segment,
    /// A character that no path has.
    #[error("has a character outside `A-Z a-z 0-9 . _ - * +`")]
    Character,
    /// `+` beside other characters.
    #[error("has a `+` that isn't a whole segment")]
    PlusInSegment,
    /// `{{` without `}}`, or the other way round.
    #[error("has braces that aren't of the form `{{{{name}}}}`")]
    Braces,
    /// A template of something that no token carries.
    #[error("has `{{{{{0}}}}}`, which is no sub-claim")]
    UnknownClaim(String),
    /// The same template in two places: what fills it could then not be read back from a path.
    #[error("has `{{{{{0}}}}}` twice")]
    ClaimTwice(String),
}

// === impl ResourcePath ===

impl FromStr for ResourcePath {
    type Err = ResourcePathError;

    /// A leading `/` may be left out.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = text.strip_prefix('/').unwrap_or(text);
        if path.is_empty() {
            return Err(ResourcePathError::Empty);
        }
        if path.len() > MAX_LENGTH || path.split('/').count() > MAX_SEGMENTS {
            return Err(ResourcePathError::TooLong);
        }
        if !path.bytes().all(|b| is_plain(b) || b == b'/') {
            return Err(ResourcePathError::Character);
        }
        if path.split('/').any(|s| matches!(s, "" | "." | "..")) {
            return Err(ResourcePathError::Segment);
        }
        Ok(Self(format!("/{path}")))
    }
}

impl ResourcePath {
    /// With its leading `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_plain(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')
}

// === impl PathPattern ===

impl FromStr for PathPattern {
    type Err = PathPatternError;

    /// A leading `/` may be left out.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = text.strip_prefix('/').unwrap_or(text);
        if path.is_empty() {
            return Err(PathPatternError::Empty);
        }
        if path.len() > MAX_LENGTH || path.split('/').count() > MAX_SEGMENTS {
            return Err(PathPatternError::TooLong);
        }
        let mut parts = Vec::new();
        for segment in path.split('/') {
            if matches!(segment, "" | "." | "..") {
                return Err(PathPatternError::Segment);
            }
            parts.push(Part::Literal("/".to_owned()));
            parse_segment(segment, &mut parts)?;
        }
        Ok(Self {
            text: format!("/{path}"),
            parts,
        })
    }
}

fn parse_segment(segment: &str, parts: &mut Vec<Part>) -> Result<(), PathPatternError> {
    if segment == "+" {
        parts.push(Part::Segment);
        return Ok(());
    }
    let mut rest = segment;
    while let Some(first) = rest.chars().next() {
        if let Some(claim) = rest.strip_prefix("{{") {
            let (name, after) = claim.split_once("}}").ok_or(PathPatternError::Braces)?;
            let name = name.trim();
            if !SUB_CLAIMS.contains(&name) {
                let name = name.chars().take(64).collect();
                return Err(PathPatternError::UnknownClaim(name));
            }
            let part = Part::Claim(name.to_owned());
            if parts.contains(&part) {
                return Err(PathPatternError::ClaimTwice(name.to_owned()));
            }
            parts.push(part);
            rest = after;
        } else if first == '*' {
            parts.push(Part::Run);
            rest = rest.trim_start_matches('*');
        } else {
            let end = rest.find(|c: char| !is_plain(u8::try_from(c).unwrap_or(0)));
            match end {
                Some(0) if first == '+' => return Err(PathPatternError::PlusInSegment),
                Some(0) if matches!(first, '{' | '}') => return Err(PathPatternError::Braces),
                Some(0) => return Err(PathPatternError::Character),
                _ => {}
            }
            let (literal, after) = rest.split_at(end.unwrap_or(rest.len()));
            parts.push(Part::Literal(literal.to_owned()));
            rest = after;
        }
    }
    Ok(())
}

impl PathPattern {
    /// Whether the whole path matches, templates filled from the token's sub-claims. One that
    /// can't be filled matches nothing.
    pub fn matches(&self, path: &ResourcePath, sub_claims: &SubClaims) -> bool {
        let parts: Option<Vec<Token<'_>>> = self
            .parts
            .iter()
            .map(|part| part.token(sub_claims))
            .collect();
        parts.is_some_and(|parts| matches(&parts, path.as_str().as_bytes()))
    }

    /// The same for a rule that denies: a template that can't be filled stands for any segment,
    /// so that nobody gets around a denial by lacking a claim.
    pub fn could_match(&self, path: &ResourcePath, sub_claims: &SubClaims) -> bool {
        let parts: Vec<Token<'_>> = self
            .parts
            .iter()
            .map(|part| part.token(sub_claims).unwrap_or(Token::Segment))
            .collect();
        matches(&parts, path.as_str().as_bytes())
    }

    /// The sub-claims that fill its templates.
    pub fn claims(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Claim(name) => Some(name.as_str()),
            Part::Literal(_) | Part::Segment | Part::Run => None,
        })
    }

    /// Its text, with its leading `/`.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

// === impl Part ===

#[derive(Clone, Copy)]
enum Token<'a> {
    Literal(&'a [u8]),
    Segment,
    Run,
}

impl Part {
    fn token<'a>(&'a self, sub_claims: &'a SubClaims) -> Option<Token<'a>> {
        match self {
            Self::Literal(text) => Some(Token::Literal(text.as_bytes())),
            Self::Segment => Some(Token::Segment),
            Self::Run => Some(Token::Run),
            Self::Claim(name) => only_value(sub_claims, name).map(|v| Token::Literal(v.as_bytes())),
        }
    }
}

/// A claim's one value, if it is a plain piece of a segment: a `/`, a `*` or `..` from outside
/// would make another path of it.
fn only_value<'a>(sub_claims: &'a SubClaims, name: &str) -> Option<&'a str> {
    let [value] = sub_claims.get(name)?.as_slice() else {
        return None;
    };
    let plain =
        !value.is_empty() && value.bytes().all(is_plain) && !matches!(value.as_str(), "." | "..");
    plain.then_some(value.as_str())
}

/// Whether the tokens match the whole text. Each pair of positions is looked at once.
fn matches(tokens: &[Token<'_>], text: &[u8]) -> bool {
    // The positions in the text that the tokens so far can end at.
    let mut ends = vec![false; text.len() + 1];
    ends[0] = true;
    for token in tokens {
        let mut next = vec![false; text.len() + 1];
        match token {
            Token::Literal(literal) => {
                for at in (0..=text.len()).filter(|at| ends[*at]) {
                    if text[at..].starts_with(literal) {
                        next[at + literal.len()] = true;
                    }
                }
            }
            Token::Segment => {
                for at in (0..=text.len()).filter(|at| ends[*at]) {
                    let length = text[at..].iter().take_while(|b| **b != b'/').count();
                    next[at + 1..=at + length].fill(true);
                }
            }
            Token::Run => {
                let mut reached = false;
                for at in 0..=text.len() {
                    reached |= ends[at];
                    next[at] = reached;
                }
            }
        }
        ends = next;
    }
    ends[text.len()]
}
