//! The gateway's own token.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use postern_core::resource_id::GatewayName;
use postern_proto::pb;
use postern_proto::pb::access_key_auth_service_client::AccessKeyAuthServiceClient;
use postern_rpc::caller::BearerToken;
use postern_rpc::client::{self, Channel};
use postern_rpc::deadline::Deadline;
use postern_rpc::error::Failure;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tonic::Code;
use uuid::Uuid;

use super::{away, no_answer};
use crate::backoff::Backoff;
use crate::config::Credential;

const LOG_IN_TIMEOUT: Duration = Duration::from_secs(5);
/// However fast the control plane refuses fresh tokens, it isn't asked for more of them.
const MIN_LIFE: Duration = Duration::from_secs(1);

/// How often the file is looked at that the access key stands in.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Who this gateway is, by its own configuration.
pub(crate) struct Own {
    pub(crate) gateway: GatewayName,
    pub(crate) deployment: Uuid,
    pub(crate) credential: Credential,
    /// Where the credential is read again; `None`: it doesn't change.
    pub(crate) credential_file: Option<PathBuf>,
}

/// Logs in with the access key, and keeps the token.
pub(super) struct Session {
    channel: Channel,
    gateway: GatewayName,
    deployment: Uuid,
    credential: ArcSwap<Credential>,
    credential_file: Option<PathBuf>,
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
    /// The control plane answered, and there is no working with it: why, for operators.
    Refused(String),
}

impl Session {
    pub(super) fn new(channel: Channel, own: Own) -> Self {
        Self {
            channel,
            gateway: own.gateway,
            deployment: own.deployment,
            credential: ArcSwap::from_pointee(own.credential),
            credential_file: own.credential_file,
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
            State::Refused(why) => Err(refused(&why)),
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
        tokio::join!(self.keep_token(), self.follow_file());
    }

    async fn keep_token(&self) {
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
                    tokio::select! {
                        () = tokio::time::sleep(backoff.pause()) => {}
                        () = self.renew.notified() => {}
                    }
                }
            }
        }
    }

    /// Takes another access key over from the file that the first one was read from. The token that
    /// the old one gave stays until there is one of the new one's.
    async fn follow_file(&self) {
        let Some(path) = &self.credential_file else {
            return;
        };
        let mut complaint = String::new();
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            ticks.tick().await;
            match Credential::read(path) {
                Ok(found) if found.is(&self.credential.load()) => complaint.clear(),
                Ok(found) => {
                    self.credential.store(Arc::new(found));
                    tracing::info!(file = %path.display(), "the access key was changed; logging in with the new one");
                    self.renew.notify_one();
                }
                Err(error) => {
                    let text = error.to_string();
                    if text != complaint {
                        tracing::warn!(error = %text, "the file can't be used; the access key stays");
                        complaint = text;
                    }
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
                        State::Refused(NOT_ACCEPTED.to_owned())
                    }
                    Code::FailedPrecondition => State::Refused(failure.message),
                    _ => State::Waiting(Some(Box::new(failure))),
                };
            }
            !keep
        });
    }

    async fn log_in(&self) -> Result<Token, Failure> {
        let credential = self.credential.load_full();
        let Credential {
            access_id,
            access_key,
        } = &*credential;
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
        self.check(&response)?;
        let life = response.expires_in.unwrap_or_default();
        let life = Duration::from_secs(u64::try_from(life.seconds).unwrap_or_default());
        Ok(Token {
            bearer: BearerToken::new(response.access_token),
            renew_at: begun + life * 3 / 4,
        })
    }

    /// Whether the access key is of the gateway, and of the deployment, that the configuration says:
    /// otherwise nothing that this gateway signs would ever be taken.
    fn check(&self, response: &pb::AuthenticateAccessKeyResponse) -> Result<(), Failure> {
        let (own, deployment) = (&self.gateway, self.deployment.to_string());
        let differs = |field, ours: &str, theirs: &str| {
            let message = format!(
                "gateway.json says {field} `{ours}`, and its access key is for `{theirs}`: give it the credential that belongs to it, and restart the gateway"
            );
            Err(away(Code::FailedPrecondition, &message))
        };
        match (response.gateway.as_str(), response.deployment_id.as_str()) {
            // A control plane of the version before doesn't say.
            (_, "") => Ok(()),
            ("", _) => Err(away(
                Code::FailedPrecondition,
                "gateway.json holds an administrator's access key, and no gateway's",
            )),
            (name, _) if name != own.as_str() => differs("gateway", own.as_str(), name),
            (_, id) if id != deployment => differs("deployment_id", &deployment, id),
            _ => Ok(()),
        }
    }
}

const NOT_ACCEPTED: &str =
    "the control plane doesn't accept this gateway's access key, or not over this connection";

/// Not to be taken for a refused login: that the gateway isn't accepted is an outage to pods.
fn refused(why: &str) -> Failure {
    away(Code::Unauthenticated, why)
}
