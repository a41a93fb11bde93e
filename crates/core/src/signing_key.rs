//! The keys that access tokens in the form of JWTs are signed with, and the steps of their lives.
//!
//! A key stands in the published key set before it signs, so that whoever fetched the set knows
//! it by then, and after it signed, until the last token that it signed has ended.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::auth_method::MAX_TOKEN_TTL;
use crate::key::PublicKey;

/// How long others may keep the key set before they fetch it again.
pub const KEY_SET_MAX_AGE: Duration = Duration::from_secs(5 * 60);
/// How long a key that signs no more stands in the key set: as long as its last token can live,
/// and a while for a login that was under way and for clocks that differ.
const KEPT_AFTER_SIGNING: SignedDuration = SignedDuration::from_secs(MAX_TOKEN_TTL_SECS + 10 * 60);
const MAX_TOKEN_TTL_SECS: i64 = MAX_TOKEN_TTL.as_secs().cast_signed();
/// The most keys that there can be at once.
pub const MAX_KEYS: usize = 16;

/// A signing key as everybody may know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedKey {
    /// What verifies.
    pub key: PublicKey,
    /// Which part of its life it is in.
    pub stage: Stage,
    /// Since when it stands in the key set.
    pub create_time: Timestamp,
}

/// Which part of its life a key is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Published, and signs nothing yet.
    Prepared,
    /// Signs. There is one.
    Active {
        /// Since when.
        since: Timestamp,
    },
    /// Signed once. What it signed is good until its own end.
    Retired {
        /// When it began to sign.
        activated: Timestamp,
        /// When it ceased to.
        at: Timestamp,
        /// From then on it stands in the key set no more, and nothing that it signed is good.
        until: Timestamp,
    },
}

/// A [`Stage`] by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// See [`Stage::Prepared`].
    Prepared,
    /// See [`Stage::Active`].
    Active,
    /// See [`Stage::Retired`].
    Retired,
}

/// A text that names no state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no state of a signing key")]
pub struct UnknownState;

/// Why a key can't take the step that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StepRefused {
    /// Who fetched the key set right before it was prepared may not know it yet.
    #[error(
        "has been published for less than 5 minutes, so that not everybody knows it yet: activate it from {0} on, or with force"
    )]
    TooYoung(Timestamp),
    /// It doesn't come back.
    #[error("is retired: prepare another one")]
    Retired,
    /// Then nothing could be signed.
    #[error("is the one that signs: activate another one first, which retires it")]
    Active,
    /// It goes by itself.
    #[error(
        "is retired already, and goes at {0}: with force it goes at once, and tokens that it signed with it"
    )]
    Going(Timestamp),
    /// As many as there can be.
    #[error("can't be made: there are {MAX_KEYS}; retire one that was prepared")]
    TooMany,
}

// === impl PublishedKey ===

impl PublishedKey {
    /// A new one.
    pub fn prepared(key: PublicKey, now: Timestamp) -> Self {
        Self {
            key,
            stage: Stage::Prepared,
            create_time: now,
        }
    }

    /// Whether it stands in the key set.
    pub fn is_published(&self, now: Timestamp) -> bool {
        match self.stage {
            Stage::Prepared | Stage::Active { .. } => true,
            Stage::Retired { until, .. } => now < until,
        }
    }

    /// From when on whoever keeps the key set as long as it may be kept knows it.
    pub fn known_from(&self) -> Timestamp {
        after(self.create_time, KEY_SET_MAX_AGE)
    }

    /// Begins to sign; one that signs already goes on. `force`: whoever doesn't know it yet will
    /// refuse its tokens for up to [`KEY_SET_MAX_AGE`].
    ///
    /// # Errors
    /// It may not.
    pub fn activate(&mut self, force: bool, now: Timestamp) -> Result<(), StepRefused> {
        match self.stage {
            Stage::Prepared if !force && now < self.known_from() => {
                Err(StepRefused::TooYoung(self.known_from()))
            }
            Stage::Prepared => {
                self.stage = Stage::Active { since: now };
                Ok(())
            }
            Stage::Active { .. } => Ok(()),
            Stage::Retired { .. } => Err(StepRefused::Retired),
        }
    }

    /// Signs no more, since another one does.
    pub fn replaced(&mut self, now: Timestamp) {
        if let Stage::Active { since } = self.stage {
            self.stage = Stage::Retired {
                activated: since,
                at: now,
                until: now.saturating_add(KEPT_AFTER_SIGNING).unwrap_or(now),
            };
        }
    }

    /// Whether it may leave the key set now. `force`: what it signed is worth nothing from then on.
    ///
    /// # Errors
    /// It may not.
    pub fn remove(&self, force: bool) -> Result<(), StepRefused> {
        match self.stage {
            Stage::Prepared => Ok(()),
            Stage::Active { .. } => Err(StepRefused::Active),
            Stage::Retired { .. } if force => Ok(()),
            Stage::Retired { until, .. } => Err(StepRefused::Going(until)),
        }
    }
}

fn after(time: Timestamp, by: Duration) -> Timestamp {
    time.saturating_add(by).unwrap_or(time)
}

// === impl Stage ===

impl Stage {
    /// Its name.
    pub fn state(self) -> State {
        match self {
            Self::Prepared => State::Prepared,
            Self::Active { .. } => State::Active,
            Self::Retired { .. } => State::Retired,
        }
    }

    /// From when on nothing that the key signed is good. `None`: that isn't known yet.
    pub fn end(self) -> Option<Timestamp> {
        match self {
            Self::Prepared | Self::Active { .. } => None,
            Self::Retired { until, .. } => Some(until),
        }
    }
}

// === impl State ===

impl State {
    /// All states, in the order of a key's life.
    pub const ALL: &[Self] = &[Self::Prepared, Self::Active, Self::Retired];

    /// As stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }
}

impl FromStr for State {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().find(|state| state.as_str() == text);
        found.copied().ok_or(UnknownState)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{SigningAlgorithm, SigningKey};

    fn now() -> Timestamp {
        "2026-11-24T12:00:00Z".parse().unwrap()
    }

    fn later(seconds: i64) -> Timestamp {
        now() + SignedDuration::from_secs(seconds)
    }

    fn key() -> PublishedKey {
        let key = SigningKey::generate(SigningAlgorithm::Es256).unwrap();
        PublishedKey::prepared(key.public().clone(), now())
    }

    #[test]
    fn a_key_signs_once_everybody_knows_it_and_not_before() {
        let mut key = key();
        assert!(key.is_published(now()));
        let refused = key.activate(false, later(299));
        assert_eq!(refused, Err(StepRefused::TooYoung(later(300))));
        assert_eq!(key.stage, Stage::Prepared);
        key.activate(false, later(300)).unwrap();
        assert_eq!(key.stage, Stage::Active { since: later(300) });
        key.activate(false, later(400)).unwrap();
        assert_eq!(key.stage, Stage::Active { since: later(300) });
        let mut forced = self::key();
        forced.activate(true, now()).unwrap();
    }

    #[test]
    fn a_key_that_was_replaced_stays_as_long_as_its_last_token() {
        let mut key = key();
        key.activate(true, now()).unwrap();
        assert_eq!(key.remove(true), Err(StepRefused::Active));
        key.replaced(later(10));
        let day = 24 * 60 * 60;
        assert!(key.is_published(later(10 + day + 599)));
        assert!(!key.is_published(later(10 + day + 600)));
        assert_eq!(key.activate(true, later(20)), Err(StepRefused::Retired));
        assert!(matches!(key.remove(false), Err(StepRefused::Going(_))));
        assert_eq!(key.remove(true), Ok(()));
    }

    #[test]
    fn one_that_never_signed_goes_at_once() {
        assert_eq!(key().remove(false), Ok(()));
    }

    #[test]
    fn a_state_is_read_as_it_is_written() {
        for state in State::ALL {
            assert_eq!(state.as_str().parse(), Ok(*state));
        }
        assert_eq!("gone".parse::<State>(), Err(UnknownState));
    }
}
