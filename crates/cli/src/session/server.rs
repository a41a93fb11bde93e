//! A server that is what it should be, and calls to it.

use std::io::IsTerminal as _;
use std::time::Duration;

use postern_proto::pb;
use postern_rpc::caller::BearerToken;
use postern_rpc::client::{self, Channel, Credentials as _};
use postern_rpc::deadline::Deadline;
use tonic::{Request, Response, Status};

use crate::failure::Failure;
use crate::output::note;

/// What may take so long without a word.
const PATIENCE: Duration = Duration::from_secs(1);

/// A server that has said what it is.
pub(crate) struct Server {
    pub(crate) channel: Channel,
    /// For messages: `the gateway at https://…`.
    pub(crate) label: String,
    pub(crate) url: String,
    pub(super) info: pb::GetServerInfoResponse,
    pub(super) deadline: Deadline,
}

/// A server and a token for it.
pub(crate) struct Administrator {
    pub(crate) server: Server,
    pub(super) token: BearerToken,
}

/// Which failed calls are tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeat {
    /// All that may succeed in a moment.
    Safe,
    /// Those of them that the server can't have carried out.
    Unsent,
}

type Called<T> = Result<Response<T>, Status>;

// === impl Server ===

impl Clone for Server {
    fn clone(&self) -> Self {
        Self {
            channel: self.channel.clone(),
            label: self.label.clone(),
            url: self.url.clone(),
            info: self.info.clone(),
            deadline: self.deadline,
        }
    }
}

impl Server {
    /// Calls, and tries again while the server says that it is worth it and there is time.
    pub(crate) async fn call<M, T, F>(
        &self,
        message: &M,
        call: impl Fn(Channel, Request<M>) -> F,
    ) -> Result<T, Failure>
    where
        M: Clone,
        F: Future<Output = Called<T>>,
    {
        self.attempt(message, None, Repeat::Safe, &call).await
    }

    async fn attempt<M, T, F>(
        &self,
        message: &M,
        token: Option<&BearerToken>,
        repeat: Repeat,
        call: &impl Fn(Channel, Request<M>) -> F,
    ) -> Result<T, Failure>
    where
        M: Clone,
        F: Future<Output = Called<T>>,
    {
        let once = || {
            let request = client::request(message.clone(), self.deadline);
            let request = match token {
                Some(token) => request.with_bearer(token),
                None => request,
            };
            call(self.channel.clone(), request)
        };
        let result = match repeat {
            Repeat::Safe => {
                self.with_a_word(Box::pin(client::retry(self.deadline, once)))
                    .await
            }
            Repeat::Unsent => {
                self.with_a_word(Box::pin(client::retry_unsent(self.deadline, once)))
                    .await
            }
        };
        result.map_err(|failure| {
            let perhaps = repeat == Repeat::Unsent && failure.may_have_been_carried_out();
            let failure = Failure::of_call(&self.label, failure);
            if perhaps {
                failure.hint("it may have been done all the same: look before you run it again")
            } else {
                failure
            }
        })
    }

    /// Says on a terminal who is being waited for, once it takes longer than a second.
    async fn with_a_word<T>(&self, mut call: impl Future<Output = T> + Unpin) -> T {
        tokio::select! {
            result = &mut call => return result,
            () = tokio::time::sleep(PATIENCE) => {}
        }
        if std::io::stderr().is_terminal() {
            note(&format!("waiting for {} …", self.label));
        }
        call.await
    }

    /// The same for a caller that looks at the failure itself.
    pub(crate) async fn call_as<M, T, F>(
        &self,
        message: &M,
        call: impl Fn(Channel, Request<M>) -> F,
    ) -> Result<T, postern_rpc::error::Failure>
    where
        M: Clone,
        F: Future<Output = Called<T>>,
    {
        let result = client::retry(self.deadline, || {
            call(
                self.channel.clone(),
                client::request(message.clone(), self.deadline),
            )
        });
        self.with_a_word(Box::pin(result)).await
    }
}

// === impl Administrator ===

impl Administrator {
    /// Whoever has the token.
    pub(crate) fn with(server: Server, token: BearerToken) -> Self {
        Self { server, token }
    }

    /// Calls with the administrator's token.
    pub(crate) async fn call<M, T, F>(
        &self,
        message: &M,
        call: impl Fn(Channel, Request<M>) -> F,
    ) -> Result<T, Failure>
    where
        M: Clone,
        F: Future<Output = Called<T>>,
    {
        self.server
            .attempt(message, Some(&self.token), Repeat::Safe, &call)
            .await
    }

    /// The same for what changes something: it is never done twice, so that a key that is shown
    /// once isn't lost to an answer that says that its object exists.
    pub(crate) async fn change<M, T, F>(
        &self,
        message: &M,
        call: impl Fn(Channel, Request<M>) -> F,
    ) -> Result<T, Failure>
    where
        M: Clone,
        F: Future<Output = Called<T>>,
    {
        self.server
            .attempt(message, Some(&self.token), Repeat::Unsent, &call)
            .await
    }

    /// Why a stream that the server had begun has ended.
    pub(crate) fn ended(&self, status: tonic::Status) -> Failure {
        Failure::of_call(&self.server.label, status.into())
    }
}
