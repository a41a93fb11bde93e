//! What can be learnt about a cluster without a pod's token.
//!
//! A review of a token that nobody issued answers `authenticated: false`, and only to somebody who
//! may review. Where the reviewer's own credential is a token, that one is reviewed instead: the
//! API server then also says which audiences it takes.

use http::Method;
use jiff::{SignedDuration, Timestamp};
use postern_core::clock::Clock;
use postern_rpc::deadline::Deadline;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::Cluster;
use super::connection::{Ask, Connection, Dated, JSON};
use super::fault::ReviewFault;
use super::jwks::KeysState;
use super::review::{self, Verdict};
use super::reviewer;

const DISCOVERY: &str = "/.well-known/openid-configuration";
/// Three parts, as the checks of some proxies want, and no cluster's.
const NOBODYS_TOKEN: &str = "e30.e30.cG9zdGVybg";
/// The longest issuer that is shown, in characters.
const MAX_ISSUER: usize = 256;

/// What an API server let us find out.
pub(crate) struct Probe {
    /// Whether the reviewer may review.
    pub(crate) reviewer: Result<(), ReviewFault>,
    /// Whether tokens are reviewed by themselves, so that the reviewer can't be tried.
    pub(crate) presented: bool,
    pub(crate) audience: Audience,
    pub(crate) issuer: Result<String, ReviewFault>,
    /// How far the API server's clock is ahead.
    pub(crate) skew: Option<SignedDuration>,
    /// Of a mode that uses the cluster's keys.
    pub(crate) keys: Option<KeysState>,
    /// When the credential that reviews expires.
    pub(crate) credential_end: Option<Timestamp>,
}

/// What an API server does about audiences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Audience {
    /// There is no token to try it with.
    NotTried,
    /// It took the reviewer's own token, for these.
    Own(Vec<String>),
    /// It refused the reviewer's own token for the audiences that were asked for, and takes it for
    /// itself: it looks at audiences.
    Judged,
    /// It took the reviewer's token and named none of the audiences that were asked for.
    Ignored,
    /// It doesn't take the reviewer's own token, which it lets in.
    Refused,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
}

impl Cluster {
    /// Asks the API server at most three questions, beside those that its keys take. `audiences` are those that the auth method
    /// lists.
    pub(crate) async fn probe(
        &self,
        audiences: &[String],
        clock: &Clock,
        deadline: Deadline,
    ) -> Probe {
        let connection = &self.connection;
        let (own, token) = match connection.bearer(deadline).await {
            Some(token) if is_jwt(&token) => (true, token),
            _ => (false, SecretString::from(NOBODYS_TOKEN)),
        };
        let before = clock.now();
        let listed = async {
            if own && !audiences.is_empty() {
                Some(connection.review(&token, audiences, deadline).await)
            } else {
                None
            }
        };
        let keys = async {
            match self.means.keys() {
                Some(keys) => Some(keys.state(deadline).await),
                None => None,
            }
        };
        let (reviewed, listed, discovery, keys) = tokio::join!(
            review(connection, &token, deadline),
            listed,
            discover(connection, &token, deadline),
            keys
        );
        let skew = reviewed.date.or(discovery.date);
        let skew = skew.map(|date| skew_of(date, before, clock.now()));
        let verdict = reviewed
            .body
            .and_then(|answer| review::verdict(&answer, &[]));
        self.note_reviewer(verdict.as_ref().err());
        let audience = match (&verdict, listed) {
            _ if !own => Audience::NotTried,
            (Err(_), _) => Audience::NotTried,
            (Ok(Verdict::No(_)), _) => Audience::Refused,
            (Ok(Verdict::Yes(reviewed)), None) if reviewed.audiences.is_empty() => {
                Audience::Ignored
            }
            (Ok(Verdict::Yes(reviewed)), None) => Audience::Own(reviewed.audiences.clone()),
            (Ok(Verdict::Yes(_)), Some(listed)) => of_listed(listed),
        };
        Probe {
            reviewer: verdict.map(drop),
            presented: connection.presents(),
            audience,
            issuer: discovery.body.and_then(|body| issuer(&body)),
            skew,
            keys,
            credential_end: self.credential_expire_time(),
        }
    }
}

async fn review(connection: &Connection, token: &SecretString, deadline: Deadline) -> Dated {
    match reviewer::ask(token, &[]) {
        Ok(ask) => connection.ask_dated(ask, deadline).await,
        Err(fault) => Dated {
            body: Err(fault),
            date: None,
        },
    }
}

async fn discover(connection: &Connection, token: &SecretString, deadline: Deadline) -> Dated {
    let ask = Ask {
        method: Method::GET,
        path: DISCOVERY,
        accept: JSON,
        body: None,
        presented: Some(token),
    };
    connection.ask_dated(ask, deadline).await
}

fn of_listed(verdict: Result<Verdict, ReviewFault>) -> Audience {
    use postern_core::reason::DenyReason;
    match verdict {
        Ok(Verdict::Yes(reviewed)) => Audience::Own(reviewed.audiences),
        Ok(Verdict::No(DenyReason::AudienceNotConfirmed)) => Audience::Ignored,
        Ok(Verdict::No(_)) => Audience::Judged,
        Err(_) => Audience::NotTried,
    }
}

fn issuer(body: &[u8]) -> Result<String, ReviewFault> {
    let discovery: Discovery =
        serde_json::from_slice(body).map_err(|_| ReviewFault::NotATokenReview)?;
    let plain = discovery.issuer.chars().filter(|c| !c.is_control());
    Ok(plain.take(MAX_ISSUER).collect())
}

fn is_jwt(token: &SecretString) -> bool {
    token.expose_secret().split('.').count() == 3
}

/// How far `date` is from the time in which the answer was made. It has whole seconds.
fn skew_of(date: Timestamp, before: Timestamp, after: Timestamp) -> SignedDuration {
    let whole = |time: Timestamp| Timestamp::from_second(time.as_second()).unwrap_or(time);
    if date < whole(before) {
        date.duration_since(whole(before))
    } else if date > after {
        date.duration_since(after)
    } else {
        SignedDuration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_took_long_is_no_skew() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let skew = |date, before, after| skew_of(at(date), at(before), at(after)).as_secs();
        assert_eq!(skew(100, 100, 100), 0);
        assert_eq!(skew(105, 100, 110), 0);
        assert_eq!(skew(190, 100, 101), 89);
        assert_eq!(skew(10, 100, 101), -90);
    }
}
