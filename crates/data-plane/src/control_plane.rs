//! The gateway's one way to the control plane.

mod configs;
mod exchange;
mod session;
mod tokens;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use postern_proto::pb;
use postern_proto::pb::gateway_sync_service_client::GatewaySyncServiceClient as Sync;
use postern_rpc::caller::BearerToken;
use postern_rpc::client::{self, Channel, Credentials as _};
use postern_rpc::deadline::Deadline;
use postern_rpc::error::{Failure, Reason};
use postern_rpc::request_id::{RELAYED, RequestId};
use tokio_util::sync::CancellationToken;
use tonic::metadata::AsciiMetadataValue;
use tonic::{Code, Request, Response, Status, Streaming};

use self::exchange::Exchanges;
pub(crate) use self::session::Own;
use self::session::{Session, Token};
use crate::backoff::Backoff;

/// After this an answer is taken for lost, and the question repeated.
const ATTEMPT: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_millis(300);
/// A page of configs stays under 1 MiB, their boxes beside it.
const MAX_MESSAGE: usize = 8 * 1024 * 1024;

/// Calls the control plane with the gateway's own credential, which it keeps fresh.
pub(crate) struct ControlPlane {
    channel: Channel,
    session: Session,
    exchanges: Arc<Exchanges>,
}

/// For whom the gateway asks, beside itself.
#[derive(Clone)]
pub(crate) struct OnBehalf {
    /// An administrator's token that is narrowed to this gateway.
    pub(crate) token: BearerToken,
    /// Of the administrator's call.
    pub(crate) request_id: RequestId,
}

/// The changes that concern this gateway.
pub(crate) struct Watch {
    stream: Streaming<pb::WatchResponse>,
    token: Arc<Token>,
}

impl ControlPlane {
    pub(crate) fn new(channel: Channel, own: Own) -> Self {
        Self {
            session: Session::new(channel.clone(), own),
            channel,
            exchanges: exchange::batches(),
        }
    }

    /// Logs in, and again before the token expires or when it was refused.
    pub(crate) async fn keep_logged_in(&self, stop: CancellationToken) {
        stop.run_until_cancelled(self.session.keep()).await;
    }

    /// The revision that holds everything that was acknowledged before this call.
    pub(crate) async fn get_revision(&self, deadline: Deadline) -> Result<String, Failure> {
        let response = repeat(deadline, |attempt| {
            let request = pb::GetRevisionRequest {};
            self.call(request, None, attempt, async |channel, request| {
                sync(channel).get_revision(request).await
            })
        });
        response.await.map(|response| response.revision)
    }

    /// Whether the administrator may call `method` at this gateway.
    pub(crate) async fn authorize_administrator(
        &self,
        method: &str,
        caller: Option<IpAddr>,
        administrator: &OnBehalf,
        deadline: Deadline,
    ) -> Result<pb::AuthorizeAdministratorResponse, Failure> {
        let asked = repeat(deadline, |attempt| {
            let request = pb::AuthorizeAdministratorRequest {
                method: method.to_owned(),
                caller_address: caller.map(|ip| ip.to_string()).unwrap_or_default(),
            };
            self.call(
                request,
                Some(administrator),
                attempt,
                async |channel, request| sync(channel).authorize_administrator(request).await,
            )
        });
        asked.await
    }

    /// One try: whoever reports keeps what wasn't taken.
    pub(crate) async fn report_events(
        &self,
        request: pb::ReportEventsRequest,
        deadline: Deadline,
    ) -> Result<(), Failure> {
        let sent = self.call(request, None, deadline, async |channel, request| {
            sync(channel).report_events(request).await
        });
        sent.await.map(|_| ())
    }

    /// A page of the pods that hold tokens of a config.
    pub(crate) async fn list_token_pods(
        &self,
        request: pb::ListTokenPodsRequest,
        deadline: Deadline,
    ) -> Result<pb::ListTokenPodsResponse, Failure> {
        self.call(request, None, deadline, async |channel, request| {
            sync(channel).list_token_pods(request).await
        })
        .await
    }

    /// Has the tokens of deleted pods revoked. Safe to repeat.
    pub(crate) async fn revoke_pods(
        &self,
        request: pb::RevokePodsRequest,
        deadline: Deadline,
    ) -> Result<(), Failure> {
        let revoked = self.call(request, None, deadline, async |channel, request| {
            sync(channel).revoke_pods(request).await
        });
        revoked.await.map(|_| ())
    }

    /// One try: the next report says more than this one.
    pub(crate) async fn report_status(
        &self,
        request: pb::ReportStatusRequest,
        deadline: Deadline,
    ) -> Result<(), Failure> {
        let sent = self.call(request, None, deadline, async |channel, request| {
            sync(channel).report_status(request).await
        });
        sent.await.map(|_| ())
    }

    /// Opens the stream of changes, which has no deadline.
    pub(crate) async fn watch(
        &self,
        request: pb::WatchRequest,
        opening: Deadline,
    ) -> Result<Watch, Failure> {
        let token = self.session.token(opening).await?;
        let request = Request::new(request).with_bearer(&token.bearer);
        let mut client = sync(self.channel.clone());
        match opening.run(client.watch(request)).await {
            Ok(Ok(response)) => Ok(Watch {
                stream: response.into_inner(),
                token,
            }),
            Ok(Err(status)) => Err(self.seen(status, &token)),
            Err(_) => Err(no_answer()),
        }
    }

    /// The stream's next message; `None` when the control plane ended it.
    pub(crate) async fn next(
        &self,
        watch: &mut Watch,
        deadline: Deadline,
    ) -> Result<Option<pb::WatchResponse>, Failure> {
        match deadline.run(watch.stream.message()).await {
            Ok(Ok(message)) => Ok(message),
            Ok(Err(status)) => Err(self.seen(status, &watch.token)),
            Err(_) => Err(no_answer()),
        }
    }

    /// One try, and a second one when the gateway's own token was refused.
    async fn call<T, R>(
        &self,
        message: T,
        administrator: Option<&OnBehalf>,
        deadline: Deadline,
        send: impl AsyncFn(Channel, Request<T>) -> Result<Response<R>, Status>,
    ) -> Result<R, Failure>
    where
        T: Clone,
    {
        let deadline = in_time_to_say_so(deadline);
        let mut again = true;
        loop {
            let token = self.session.token(deadline).await?;
            let mut request = client::request(message.clone(), deadline).with_bearer(&token.bearer);
            if let Some(OnBehalf { token, request_id }) = administrator {
                request = request.with_on_behalf_of(token);
                if let Ok(id) = AsciiMetadataValue::try_from(request_id.to_string()) {
                    request.metadata_mut().insert(RELAYED, id);
                }
            }
            let failure = match deadline.run(send(self.channel.clone(), request)).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => self.seen(status, &token),
                Err(_) => return Err(no_answer()),
            };
            if !(own_token_refused(&failure) && again) {
                return Err(failure);
            }
            again = false;
        }
    }

    /// A failed call; a token that was refused isn't used again.
    fn seen(&self, status: Status, token: &Arc<Token>) -> Failure {
        let failure = Failure::from(status);
        if own_token_refused(&failure) {
            self.session.refused(token);
        }
        failure
    }
}

fn sync(channel: Channel) -> Sync<Channel> {
    Sync::new(channel).max_decoding_message_size(MAX_MESSAGE)
}

/// A little before the caller's deadline: the answer must still say who didn't answer.
pub(crate) fn in_time_to_say_so(deadline: Deadline) -> Deadline {
    let left = deadline.remaining();
    deadline.within(left - (left / 10).min(Duration::from_millis(50)))
}

fn own_token_refused(failure: &Failure) -> bool {
    failure.code == Code::Unauthenticated && failure.reason == Some(Reason::Unauthenticated)
}

/// Repeats what is safe to repeat until it is answered, or the deadline is too near for
/// another try; then the last failure is returned.
async fn repeat<R, F>(
    deadline: Deadline,
    mut attempt: impl FnMut(Deadline) -> F,
) -> Result<R, Failure>
where
    F: Future<Output = Result<R, Failure>>,
{
    let mut backoff = Backoff::new(FIRST_PAUSE, MAX_PAUSE);
    loop {
        let failure = match attempt(deadline.within(ATTEMPT)).await {
            Ok(response) => return Ok(response),
            Err(failure) => failure,
        };
        let pause = backoff.pause();
        if !repeatable(&failure) || deadline.remaining() <= pause {
            return Err(failure);
        }
        tokio::time::sleep(pause).await;
    }
}

/// Beside what says so itself, but for the limits of the workload that logs in: an answer that didn't come, and one that no Postern server gave,
/// such as when a connection breaks in the middle of a call.
fn repeatable(failure: &Failure) -> bool {
    match &failure.connect {
        Some(fault) => fault.retryable(),
        None => {
            (failure.retryable() && failure.reason.and_then(Reason::subject_limit).is_none())
                || failure.reason.is_none()
                || failure.code == Code::DeadlineExceeded
        }
    }
}

/// What the control plane would say if it could.
fn away(code: Code, message: &str) -> Failure {
    Failure {
        code,
        reason: Some(Reason::ControlPlane),
        message: message.to_owned(),
        violations: Vec::new(),
        blockers: Vec::new(),
        resource: None,
        etags: None,
        request_id: None,
        retry_after: (code == Code::Unavailable).then_some(FIRST_PAUSE),
        connect: None,
    }
}

fn no_answer() -> Failure {
    away(Code::Unavailable, "the control plane didn't answer in time")
}

#[cfg(test)]
mod tests;
