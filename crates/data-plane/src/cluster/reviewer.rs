//! Sends TokenReviews, within limits on time and bytes.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, header};
use postern_core::k8s_auth_config::{K8sHost, ReviewerToken};
use postern_rpc::deadline::Deadline;
use reqwest::{Client, Response};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::fault::ReviewFault;
use super::review::{self, Verdict};

const PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
/// From the connection to the last byte of the answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;

/// May create TokenReviews at one API server.
pub(super) struct Reviewer {
    client: Client,
    url: String,
    credential: ReviewerToken,
}

impl Reviewer {
    pub(super) fn new(client: Client, host: &K8sHost, credential: ReviewerToken) -> Self {
        Self {
            client,
            url: host.join(PATH),
            credential,
        }
    }

    /// One TokenReview. Empty audiences ask for the API server's own.
    pub(super) async fn review(
        &self,
        token: &SecretString,
        audiences: &[String],
        deadline: Deadline,
    ) -> Result<Verdict, ReviewFault> {
        let body = body(token.expose_secret(), audiences)?;
        let answer = deadline.within(TIMEOUT).run(self.post(body)).await??;
        review::verdict(&answer, audiences)
    }

    async fn post(&self, body: Bytes) -> Result<Vec<u8>, ReviewFault> {
        let response = self
            .client
            .post(&self.url)
            .header(header::AUTHORIZATION, self.authorization()?)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .body(body)
            .send()
            .await?;
        match ReviewFault::of_status(response.status()) {
            None => read(response).await,
            Some(fault) => Err(fault),
        }
    }

    fn authorization(&self) -> Result<HeaderValue, ReviewFault> {
        let text = Zeroizing::new(format!("Bearer {}", self.credential.expose()));
        let mut value =
            HeaderValue::from_str(&text).map_err(|error| ReviewFault::Request(error.into()))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// Wiped when it has been sent.
fn body(token: &str, audiences: &[String]) -> Result<Bytes, ReviewFault> {
    let length = token.len() + audiences.iter().map(|aud| aud.len() + 3).sum::<usize>() + 256;
    let mut body = Zeroizing::new(Vec::with_capacity(length));
    review::write(&mut *body, token, audiences)
        .map_err(|error| ReviewFault::Request(error.into()))?;
    Ok(Bytes::from_owner(body))
}

async fn read(mut response: Response) -> Result<Vec<u8>, ReviewFault> {
    let mut answer = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if answer.len() + chunk.len() > MAX_ANSWER {
            return Err(ReviewFault::TooLarge);
        }
        answer.extend_from_slice(&chunk);
    }
    Ok(answer)
}
