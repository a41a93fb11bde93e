//! What a method asks of a presented token, beside for whom it is.

use jiff::{SignedDuration, Timestamp};

use crate::check::{Finding, Shown};
use crate::facts::{Facts, VerificationMode};
use crate::invalid::Violations;
use crate::reason::DenyReason;
use crate::seconds::Seconds;

/// How old a presented token may be, or how long it may live: at most 366 days, more than which no
/// cluster issues.
pub type PresentedLimit = Seconds<{ 366 * 24 * 60 * 60 }>;

/// The longest life of a token that is verified offline, when the method doesn't say: nobody is
/// asked whether its pod is still there.
const OFFLINE_LIFETIME: SignedDuration = SignedDuration::from_hours(1);

/// What a method asks of a presented token. The default asks for an expiry and nothing else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenBounds {
    /// A token without expiry, as Secrets have it, is fine.
    pub allow_legacy: bool,
    /// It must be bound to a pod.
    pub require_pod: bool,
    /// It is good for one login.
    pub single_use: bool,
    /// How long ago it may have been issued.
    pub max_age: Option<PresentedLimit>,
    /// How long it may be from `iat` to `exp`.
    pub max_lifetime: Option<PresentedLimit>,
}

/// What those bounds look at: verified facts, or unverified claims to refuse early by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenTraits<'t> {
    /// `iat`.
    pub issue_time: Option<Timestamp>,
    /// `exp`.
    pub expire_time: Option<Timestamp>,
    /// The pod that it is bound to.
    pub pod: Option<&'t str>,
    /// Tells it from all others.
    pub credential_id: Option<&'t str>,
}

/// A bound and what it looks at; `None`: the method doesn't ask.
type BoundCheck = for<'a> fn(&'a TokenBounds, Look<'a>) -> Option<Finding<'a>>;

/// A token at a moment.
#[derive(Clone, Copy)]
struct Look<'t> {
    token: TokenTraits<'t>,
    mode: VerificationMode,
    now: Timestamp,
}

/// In the order in which they are checked, by the API's field.
const BOUNDS: &[(&str, BoundCheck)] = &[
    ("allow_legacy_tokens", expiry),
    ("max_presented_age", age),
    ("max_presented_lifetime", lifetime),
    ("require_pod", pod),
    ("single_use", credential_id),
];

// === impl TokenBounds ===

impl TokenBounds {
    /// Every bound that is set, in the order in which they are checked, by the API's field.
    pub fn findings<'a>(
        &'a self,
        token: TokenTraits<'a>,
        mode: VerificationMode,
        now: Timestamp,
    ) -> impl Iterator<Item = (&'static str, Finding<'a>)> {
        let look = Look { token, mode, now };
        let asked = BOUNDS.iter();
        asked.filter_map(move |(bound, check)| Some((*bound, check(self, look)?)))
    }

    /// The first bound that the token doesn't keep.
    ///
    /// # Errors
    /// Its reason.
    pub fn check(
        &self,
        token: TokenTraits<'_>,
        mode: VerificationMode,
        now: Timestamp,
    ) -> Result<(), DenyReason> {
        self.findings(token, mode, now)
            .try_for_each(|(_, finding)| finding.outcome)
    }

    /// How long a token may be from `iat` to `exp`; offline an hour, unless the method says otherwise.
    pub fn max_lifetime(&self, mode: VerificationMode) -> Option<SignedDuration> {
        let said = self.max_lifetime.map(Seconds::signed);
        match mode {
            VerificationMode::Offline => said.or(Some(OFFLINE_LIFETIME)),
            VerificationMode::Review | VerificationMode::JwksThenReview => said,
        }
    }

    /// What contradicts itself, by the fields of the API's `AuthMethod`.
    pub(super) fn check_settings(&self, faults: &mut Violations) {
        let contradicted = [
            (
                "kubernetes.single_use",
                self.single_use,
                "have no credential ID",
            ),
            (
                "kubernetes.max_presented_lifetime",
                self.max_lifetime.is_some(),
                "have no end",
            ),
        ];
        for (field, set, fault) in contradicted {
            if self.allow_legacy && set {
                faults.add(
                    field,
                    format!("contradicts allow_legacy_tokens: those tokens {fault}"),
                );
            }
        }
    }
}

fn expiry<'a>(bounds: &'a TokenBounds, look: Look<'a>) -> Option<Finding<'a>> {
    let end = look.token.expire_time;
    (!bounds.allow_legacy).then(|| {
        Finding::new(
            Shown::Text("an expiry"),
            Shown::time(end),
            end.is_some(),
            DenyReason::TokenWithoutExpiry,
        )
    })
}

fn age<'a>(bounds: &'a TokenBounds, look: Look<'a>) -> Option<Finding<'a>> {
    let limit = bounds.max_age?.signed();
    let age = look.token.issue_time;
    let age = age.map(|issued| look.now.duration_since(issued));
    let age = age.ok_or(DenyReason::TokenWithoutIssueTime);
    Some(at_most(limit, age, DenyReason::TokenTooOld))
}

fn lifetime<'a>(bounds: &'a TokenBounds, look: Look<'a>) -> Option<Finding<'a>> {
    let limit = bounds.max_lifetime(look.mode)?;
    let lifetime = match (look.token.issue_time, look.token.expire_time) {
        (_, None) => Err(DenyReason::TokenWithoutExpiry),
        (None, Some(_)) => Err(DenyReason::TokenWithoutIssueTime),
        (Some(issued), Some(expires)) => Ok(expires.duration_since(issued)),
    };
    Some(at_most(limit, lifetime, DenyReason::TokenLifetimeTooLong))
}

fn at_most<'a>(
    limit: SignedDuration,
    got: Result<SignedDuration, DenyReason>,
    too_much: DenyReason,
) -> Finding<'a> {
    Finding {
        wanted: Shown::AtMost(limit),
        got: got.map_or(Shown::Absent, Shown::Duration),
        outcome: got.and_then(|got| (got <= limit).then_some(()).ok_or(too_much)),
    }
}

fn pod<'a>(bounds: &'a TokenBounds, look: Look<'a>) -> Option<Finding<'a>> {
    let pod = look.token.pod;
    bounds
        .require_pod
        .then(|| present("a pod", pod, DenyReason::PodRequired))
}

fn credential_id<'a>(bounds: &'a TokenBounds, look: Look<'a>) -> Option<Finding<'a>> {
    let id = look.token.credential_id;
    bounds
        .single_use
        .then(|| present("a credential ID", id, DenyReason::CredentialIdMissing))
}

fn present<'a>(wanted: &'a str, got: Option<&'a str>, reason: DenyReason) -> Finding<'a> {
    let shown = got.map_or(Shown::Absent, Shown::Text);
    Finding::new(Shown::Text(wanted), shown, got.is_some(), reason)
}

// === impl TokenTraits ===

impl<'t> TokenTraits<'t> {
    /// What was verified.
    pub fn of(facts: &'t Facts) -> Self {
        Self {
            issue_time: facts.issue_time,
            // A legacy token has no end, whatever stands beside.
            expire_time: facts.expire_time.filter(|_| !facts.legacy),
            pod: facts.pod_uid.as_deref(),
            credential_id: facts.credential_id.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{facts, noon};

    const REVIEW: VerificationMode = VerificationMode::Review;

    fn limit(seconds: i64) -> Option<PresentedLimit> {
        PresentedLimit::parse(seconds, 0).unwrap()
    }

    fn later(seconds: i64) -> Timestamp {
        noon() + SignedDuration::from_secs(seconds)
    }

    /// Issued at noon, for an hour.
    fn token() -> Facts {
        Facts {
            expire_time: Some(later(3600)),
            ..facts()
        }
    }

    fn check(bounds: &TokenBounds, facts: &Facts, now: Timestamp) -> Result<(), DenyReason> {
        bounds.check(TokenTraits::of(facts), REVIEW, now)
    }

    #[test]
    fn a_token_without_expiry_is_refused_unless_the_method_allows_legacy_tokens() {
        let legacy = Facts {
            legacy: true,
            expire_time: None,
            ..facts()
        };
        let mut bounds = TokenBounds::default();
        let refused = Err(DenyReason::TokenWithoutExpiry);
        assert_eq!(check(&bounds, &legacy, noon()), refused);
        assert_eq!(check(&bounds, &token(), noon()), Ok(()));
        bounds.allow_legacy = true;
        assert_eq!(check(&bounds, &legacy, noon()), Ok(()));
        assert_eq!(check(&bounds, &token(), noon()), Ok(()));
    }

    #[test]
    fn a_method_can_cap_the_age_of_what_is_presented() {
        let bounds = TokenBounds {
            max_age: limit(600),
            ..TokenBounds::default()
        };
        assert_eq!(check(&bounds, &token(), later(600)), Ok(()));
        let refused = Err(DenyReason::TokenTooOld);
        assert_eq!(check(&bounds, &token(), later(601)), refused);
        let undated = Facts {
            issue_time: None,
            ..token()
        };
        let refused = Err(DenyReason::TokenWithoutIssueTime);
        assert_eq!(check(&bounds, &undated, noon()), refused);
    }

    #[test]
    fn a_method_can_cap_the_lifetime_of_what_is_presented() {
        let mut bounds = TokenBounds {
            max_lifetime: limit(3600),
            ..TokenBounds::default()
        };
        assert_eq!(check(&bounds, &token(), later(3599)), Ok(()));
        bounds.max_lifetime = limit(3599);
        let refused = Err(DenyReason::TokenLifetimeTooLong);
        assert_eq!(check(&bounds, &token(), noon()), refused);
        let undated = Facts {
            issue_time: None,
            ..token()
        };
        let refused = Err(DenyReason::TokenWithoutIssueTime);
        assert_eq!(check(&bounds, &undated, noon()), refused);
    }

    #[test]
    fn offline_an_hour_is_the_longest_life_unless_the_method_says_otherwise() {
        let mut bounds = TokenBounds::default();
        let two_hours = Facts {
            expire_time: Some(later(7200)),
            ..token()
        };
        let ask = |bounds: &TokenBounds, facts: &Facts, mode| {
            bounds.check(TokenTraits::of(facts), mode, noon())
        };
        let refused = Err(DenyReason::TokenLifetimeTooLong);
        assert_eq!(ask(&bounds, &token(), VerificationMode::Offline), Ok(()));
        assert_eq!(ask(&bounds, &two_hours, VerificationMode::Offline), refused);
        assert_eq!(ask(&bounds, &two_hours, REVIEW), Ok(()));
        bounds.max_lifetime = limit(7200);
        assert_eq!(ask(&bounds, &two_hours, VerificationMode::Offline), Ok(()));
    }

    #[test]
    fn a_token_of_no_pod_or_of_no_credential_id_is_refused_where_it_is_needed() {
        let bounds = TokenBounds {
            require_pod: true,
            single_use: true,
            ..TokenBounds::default()
        };
        assert_eq!(check(&bounds, &token(), noon()), Ok(()));
        let unbound = Facts {
            pod_name: None,
            pod_uid: None,
            ..token()
        };
        let refused = Err(DenyReason::PodRequired);
        assert_eq!(check(&bounds, &unbound, noon()), refused);
        let nameless = Facts {
            credential_id: None,
            ..token()
        };
        let refused = Err(DenyReason::CredentialIdMissing);
        assert_eq!(check(&bounds, &nameless, noon()), refused);
    }
}
