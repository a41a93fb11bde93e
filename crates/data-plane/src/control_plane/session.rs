//! The gateway's own token.

use std::sync::Arc;
use std::time::Duration;

use postern_proto::pb;
use postern_proto::pb::access_key_auth_service_client::AccessKeyAuthServiceClient;
use postern_rpc::caller::BearerToken;
use postern_rpc::client::{self, Channel};
use postern_rpc::deadline::Deadline;
use postern_rpc::error::Failure;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tonic::Code;

use super::{away, no_answer};
use crate::backoff::Backoff;
use crate::config::Credential;

const LOG_IN_TIMEOUT: Duration = Duration::from_secs(5);
/// However fast the control plane refuses fresh tokens, it isn't asked for more of them.
const MIN_LIFE: Duration = Duration::from_secs(1);

/// Logs in with the access key, and keeps the token.
pub(super) struct Session {
    channel: Channel,
    credential: Credential,
    state: watch::Sender<State>,
    renew: Notify,
}

/// What the control plane knows this gateway by, for an hour or so.
pub(super) struct Token {
    pub(super) bearer: BearerToken,
    /// When to have another one: well before it expires.
    renew_at: Instant,
}

#[derive(Clone)]
enum State {
    /// No token; why not, once that is known.
    Waiting(Option<Box<Failure>>),
    LoggedIn(Arc<Token>),
    /// The control plane answered, and doesn't accept the access key.
    Refused,
}

impl Session {
    pub(super) fn new(channel: Channel, credential: Credential) -> Self {
        Self {
            channel,
            credential,
            state: watch::Sender::new(State::Waiting(None)),
            renew: Notify::new(),
        }
    }

    /// The current token, or the next one.
    ///
    /// # Errors
    /// The access key isn't accepted, or there was no token before the deadline.
    pub(super) async fn token(&self, deadline: Deadline) -> Result<Arc<Token>, Failure> {
        let mut states = self.state.subscribe();
        let known = |state: &State| !matches!(state, State::Waiting(_));
        let waited = deadline.run(states.wait_for(known)).await;
        drop(waited);
        match self.state.borrow().clone() {
            State::LoggedIn(token) => Ok(token),
            State::Waiting(failure) => Err(failure.map_or_else(no_answer, |failure| *failure)),
            State::Refused => Err(not_accepted()),
        }
    }

    /// Says that a call with `token` was answered UNAUTHENTICATED.
    pub(super) fn refused(&self, token: &Arc<Token>) {
        let current = self.state.send_if_modified(|state| {
            let current = matches!(state, State::LoggedIn(held) if Arc::ptr_eq(held, token));
            if current {
                *state = State::Waiting(None);
            }
            current
        });
        if current {
            self.renew.notify_one();
        }
    }

    /// Never ends by itself.
    pub(super) async fn keep(&self) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            match self.log_in().await {
                Ok(token) => {
                    backoff.reset();
                    let renew_at = token.renew_at;
                    self.state.send_replace(State::LoggedIn(Arc::new(token)));
                    tokio::time::sleep(MIN_LIFE).await;
                    tokio::select! {
                        () = tokio::time::sleep_until(renew_at) => {}
                        () = self.renew.notified() => {}
                    }
                }
                Err(failure) => {
                    tracing::warn!(error = %failure, code = ?failure.code, "can't log in to the control plane");
                    self.failed(failure);
                    tokio::time::sleep(backoff.pause()).await;
                }
            }
        }
    }

    /// A token that was there before stays until it is refused.
    fn failed(&self, failure: Failure) {
        self.state.send_if_modified(|state| {
            let keep = matches!(state, State::LoggedIn(_));
            if !keep {
                *state = match failure.code {
                    Code::Unauthenticated | Code::PermissionDenied | Code::InvalidArgument => {
                        State::Refused
                    }
                    _ => State::Waiting(Some(Box::new(failure))),
                };
            }
            !keep
        });
    }

    async fn log_in(&self) -> Result<Token, Failure> {
        let Credential {
            access_id,
            access_key,
        } = &self.credential;
        let deadline = Deadline::after(LOG_IN_TIMEOUT);
        let request = pb::AuthenticateAccessKeyRequest {
            access_id: access_id.to_string(),
            access_key: access_key.expose().to_owned(),
            gateway: String::new(),
        };
        let begun = Instant::now();
        let mut client = AccessKeyAuthServiceClient::new(self.channel.clone());
        let answer = client.authenticate_access_key(client::request(request, deadline));
        let response = match deadline.run(answer).await {
            Ok(response) => response.map_err(Failure::from)?.into_inner(),
            Err(_) => return Err(no_answer()),
        };
        let life = response.expires_in.unwrap_or_default();
        let life = Duration::from_secs(u64::try_from(life.seconds).unwrap_or_default());
        Ok(Token {
            bearer: BearerToken::new(response.access_token),
            renew_at: begun + life * 3 / 4,
        })
    }
}

/// Not to be taken for a refused login: that the gateway isn't accepted is an outage to pods.
fn not_accepted() -> Failure {
    away(
        Code::Unauthenticated,
        "the control plane doesn't accept this gateway's access key, or not over this connection",
    )
}
