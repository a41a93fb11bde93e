//! Whom a token speaks for, as administrators name it: to block somebody, or to take tokens away.

use std::fmt;
use std::str::FromStr;

use crate::reason::DenyReason;

/// The longest namespace or service account that Kubernetes has, in characters.
const MAX_NAME: usize = 253;
const MAX_UID: usize = 128;

/// A namespace's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Namespace(String);

/// A service account by its names, which another one may have later.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceAccount {
    /// Where it is.
    pub namespace: Namespace,
    name: String,
}

/// Of an object in a cluster; nothing else ever has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectUid(String);

/// A workload, or all that run under one service account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Whoever has these names.
    ServiceAccount(ServiceAccount),
    /// This service account, and none that is made anew under its name.
    ServiceAccountUid(ObjectUid),
    /// This pod.
    Pod(ObjectUid),
}

/// What a subject may have no more of, after its login was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubjectLimit {
    /// Logins lately.
    Logins,
    /// Live tokens.
    Tokens,
}

/// Why a text names nothing in a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// Nothing was given.
    #[error("is empty")]
    Empty,
    /// Longer than any.
    #[error("is longer than {0} characters")]
    TooLong(usize),
    /// What Kubernetes doesn't allow in a name.
    #[error("has a character outside `a-z 0-9 . -`")]
    NameCharacter,
    /// What no UID has.
    #[error("has a character outside `A-Z a-z 0-9 . _ : -`")]
    UidCharacter,
    /// Not two names.
    #[error("must be of the form `namespace/name`")]
    Form,
}

fn name(text: &str) -> Result<String, SubjectError> {
    check(text, MAX_NAME)?;
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-');
    if !text.bytes().all(fine) {
        return Err(SubjectError::NameCharacter);
    }
    Ok(text.to_owned())
}

fn check(text: &str, most: usize) -> Result<(), SubjectError> {
    if text.is_empty() {
        return Err(SubjectError::Empty);
    }
    if text.len() > most {
        return Err(SubjectError::TooLong(most));
    }
    Ok(())
}

// === impl Namespace ===

impl Namespace {
    /// As Kubernetes has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Namespace {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        name(text).map(Self)
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl ServiceAccount ===

impl ServiceAccount {
    /// In its namespace.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl FromStr for ServiceAccount {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (namespace, own) = match text.split_once('/') {
            Some(names) => names,
            None if text.is_empty() => return Err(SubjectError::Empty),
            None => return Err(SubjectError::Form),
        };
        if own.contains('/') {
            return Err(SubjectError::Form);
        }
        Ok(Self {
            namespace: namespace.parse()?,
            name: name(own)?,
        })
    }
}

impl fmt::Display for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

// === impl ObjectUid ===

impl ObjectUid {
    /// As Kubernetes has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ObjectUid {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check(text, MAX_UID)?;
        let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-');
        if !text.bytes().all(fine) {
            return Err(SubjectError::UidCharacter);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ObjectUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl SubjectLimit ===

impl SubjectLimit {
    /// What a record says of who met it.
    pub const fn reason(self) -> DenyReason {
        match self {
            Self::Logins => DenyReason::SubjectLoginLimit,
            Self::Tokens => DenyReason::SubjectTokenLimit,
        }
    }
}

// === impl Subject ===

impl fmt::Display for Subject {
    /// `serviceAccounts/NAMESPACE/NAME`, `serviceAccountUids/UID` or `pods/UID`: for records.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServiceAccount(account) => write!(f, "serviceAccounts/{account}"),
            Self::ServiceAccountUid(uid) => write!(f, "serviceAccountUids/{uid}"),
            Self::Pod(uid) => write!(f, "pods/{uid}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_account_has_two_names() {
        let account: ServiceAccount = "pay/api".parse().unwrap();
        assert_eq!((account.namespace.as_str(), account.name()), ("pay", "api"));
        assert_eq!(account.to_string(), "pay/api");
        for (text, fault) in [
            ("", SubjectError::Empty),
            ("pay", SubjectError::Form),
            ("a/b/c", SubjectError::Form),
            ("/api", SubjectError::Empty),
            ("pay/", SubjectError::Empty),
            ("Pay/api", SubjectError::NameCharacter),
            ("pay/a*", SubjectError::NameCharacter),
        ] {
            assert_eq!(text.parse::<ServiceAccount>(), Err(fault), "{text}");
        }
    }

    #[test]
    fn a_uid_is_no_pattern_and_no_name() {
        let uid = "5b7b1a3e-0000-4000-8000-000000000001";
        assert_eq!(uid.parse::<ObjectUid>().unwrap().as_str(), uid);
        for (text, fault) in [
            ("", SubjectError::Empty),
            ("*", SubjectError::UidCharacter),
            ("pay/api", SubjectError::UidCharacter),
            ("a b", SubjectError::UidCharacter),
        ] {
            assert_eq!(text.parse::<ObjectUid>(), Err(fault), "{text}");
        }
        assert_eq!(
            "x".repeat(129).parse::<ObjectUid>(),
            Err(SubjectError::TooLong(128))
        );
    }
}
