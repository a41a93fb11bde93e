//! Sends TokenReviews.

use bytes::Bytes;
use http::Method;
use postern_core::reason::DenyReason;
use postern_rpc::deadline::Deadline;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::connection::{Ask, Connection, JSON};
use super::fault::ReviewFault;
use super::review::{self, Verdict};

const PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

impl Connection {
    /// One TokenReview. Empty audiences ask for the API server's own.
    pub(super) async fn review(
        &self,
        token: &SecretString,
        audiences: &[String],
        deadline: Deadline,
    ) -> Result<Verdict, ReviewFault> {
        let ask = ask(token, audiences)?;
        match (self.ask(ask, deadline).await, self.presents()) {
            (Ok(answer), _) => review::verdict(&answer, audiences),
            // That the presented token isn't let in is the API server's verdict on it.
            (Err(ReviewFault::ReviewerUnauthorized), true) => {
                Ok(Verdict::No(DenyReason::TokenNotAuthenticated))
            }
            (Err(fault), _) => Err(fault),
        }
    }
}

/// A TokenReview as a request.
pub(super) fn ask<'a>(
    token: &'a SecretString,
    audiences: &[String],
) -> Result<Ask<'a>, ReviewFault> {
    Ok(Ask {
        method: Method::POST,
        path: PATH,
        accept: JSON,
        body: Some(body(token.expose_secret(), audiences)?),
        presented: Some(token),
    })
}

/// Wiped when it has been sent.
fn body(token: &str, audiences: &[String]) -> Result<Bytes, ReviewFault> {
    let length = token.len() + audiences.iter().map(|aud| aud.len() + 3).sum::<usize>() + 256;
    let mut body = Zeroizing::new(Vec::with_capacity(length));
    review::write(&mut *body, token, audiences)
        .map_err(|error| ReviewFault::Request(error.into()))?;
    Ok(Bytes::from_owner(body))
}
