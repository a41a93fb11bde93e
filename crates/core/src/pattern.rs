//! Bounds with the wildcards `*` (any run of characters) and `?` (one character).

use std::fmt;

/// What kind of Kubernetes name a pattern stands for: decides which characters can occur.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameKind {
    /// RFC 1123 label, at most 63: namespaces.
    Label,
    /// RFC 1123 subdomain, at most 253: pods, service accounts, nodes.
    Subdomain,
}

/// A name, or a pattern of names, that Kubernetes could have accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

/// Why a text can't bind anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Empty or only blanks.
    #[error("is empty or blank")]
    Blank,
    /// Longer than any such name.
    #[error("`{value}` is longer than {max} characters")]
    TooLong {
        /// What was given.
        value: String,
        /// The longest that Kubernetes accepts.
        max: usize,
    },
    /// A character that no such name has.
    #[error("`{value}` can't be a Kubernetes name: {what}")]
    NotAName {
        /// What was given.
        value: String,
        /// The fault.
        what: &'static str,
    },
}

// === impl Pattern ===

impl Pattern {
    /// Parses a bound.
    ///
    /// # Errors
    /// When no Kubernetes name of that kind could match it.
    pub fn parse(text: &str, kind: NameKind) -> Result<Self, PatternError> {
        if text.trim().is_empty() {
            return Err(PatternError::Blank);
        }
        let max = match kind {
            NameKind::Label => 63,
            NameKind::Subdomain => 253,
        };
        if text.len() > max {
            return Err(PatternError::TooLong {
                value: text.chars().take(64).collect(),
                max,
            });
        }
        match name_fault(text, kind) {
            None => Ok(Self(text.to_owned())),
            Some(what) => Err(PatternError::NotAName {
                value: text.to_owned(),
                what,
            }),
        }
    }

    /// Whether nothing but wildcards stands in it, so that it restricts nothing worth the name.
    pub fn is_only_wildcards(&self) -> bool {
        self.0.bytes().all(|b| matches!(b, b'*' | b'?'))
    }

    /// Whether the whole name matches.
    pub fn matches(&self, name: &str) -> bool {
        wildcards_match(&self.0, name)
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn name_fault(text: &str, kind: NameKind) -> Option<&'static str> {
    let wild = |b: u8| matches!(b, b'*' | b'?');
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    for b in text.bytes() {
        if b.is_ascii_uppercase() {
            return Some("it has an upper-case letter");
        }
        let dot = b == b'.' && kind == NameKind::Subdomain;
        if !(alphanumeric(b) || wild(b) || b == b'-' || dot) {
            return Some(
                "it has a character outside `a-z 0-9 -` (names other than a namespace's may have `.`)",
            );
        }
    }
    let edge = |b: Option<u8>| b.is_some_and(|b| alphanumeric(b) || wild(b));
    let whole = |part: &str| edge(part.bytes().next()) && edge(part.bytes().next_back());
    if text.split('.').all(whole) {
        None
    } else {
        Some("each part starts and ends with a letter or a digit")
    }
}

/// Whether a whole text matches a pattern of `*` (any run of characters) and `?` (one byte).
///
/// Greedy matching with one point to come back to: linear in practice, at worst the product of
/// both lengths, which callers cap.
pub fn wildcards_match(pattern: &str, text: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&c) if c == b'?' || c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((star_p, star_n)) => {
                    star = Some((star_p, star_n + 1));
                    p = star_p + 1;
                    n = star_n + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&b| b == b'*')
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text, NameKind::Subdomain).unwrap()
    }

    #[test]
    fn wildcards_match_whole_names() {
        for (p, name, expected) in [
            ("mypod1", "mypod1", true),
            ("mypod1", "mypod11", false),
            ("mypod?", "mypod1", true),
            ("mypod?", "mypod", false),
            ("my*", "my", true),
            ("*-api", "pay-api", true),
            ("*-api", "pay-api-x", false),
            ("a*b*c", "a-xx-b-yy-c", true),
            ("a*b*c", "acb", false),
            ("*", "anything", true),
            ("a**", "a", true),
        ] {
            assert_eq!(pattern(p).matches(name), expected, "{p} {name}");
        }
    }

    #[test]
    fn what_kubernetes_could_never_name_is_refused() {
        for text in [
            "", " ", ",", "A", "a_b", "a/b", "..", "-a", "a-", "a..b", "a b", "é",
        ] {
            assert!(
                Pattern::parse(text, NameKind::Subdomain).is_err(),
                "{text:?}"
            );
        }
        assert!(Pattern::parse("a.b", NameKind::Label).is_err());
        assert!(Pattern::parse("a.b", NameKind::Subdomain).is_ok());
        assert!(Pattern::parse(&"a".repeat(64), NameKind::Label).is_err());
        assert!(Pattern::parse("*-x", NameKind::Label).is_ok());
    }

    #[test]
    fn a_hostile_pattern_takes_no_time() {
        let hostile = pattern(&format!("{}b", "a*".repeat(120)));
        assert!(!hostile.matches(&"a".repeat(253)));
    }
}
