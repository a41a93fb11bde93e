//! Raw calls, for what the command line can't or won't say.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postern_rpc::caller::BearerToken;
use postern_rpc::client::{self, Channel, Credentials as _};
use postern_rpc::deadline::Deadline;
use postern_rpc::error::Failure;
use prost::Message;
use serde_json::Value;
use tonic::{Request, Streaming};
use tonic_prost::ProstCodec;

const LIMIT: Duration = Duration::from_secs(10);

/// Whoever calls a server, and what they show it.
#[derive(Clone)]
pub(crate) struct Caller {
    channel: Channel,
    bearer: Option<BearerToken>,
    on_behalf_of: Option<BearerToken>,
}

/// A request without credentials.
pub(crate) fn request<T>(message: T) -> Request<T> {
    client::request(message, Deadline::after(LIMIT))
}

/// A part of a JWT.
pub(crate) fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

impl Caller {
    pub(crate) fn anonymous(channel: Channel) -> Self {
        Self {
            channel,
            bearer: None,
            on_behalf_of: None,
        }
    }

    #[must_use]
    pub(crate) fn with(&self, token: &str) -> Self {
        Self {
            bearer: Some(BearerToken::new(token)),
            ..self.clone()
        }
    }

    #[must_use]
    pub(crate) fn on_behalf_of(&self, token: &str) -> Self {
        Self {
            on_behalf_of: Some(BearerToken::new(token)),
            ..self.clone()
        }
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = request(message);
        if let Some(token) = &self.bearer {
            request = request.with_bearer(token);
        }
        if let Some(token) = &self.on_behalf_of {
            request = request.with_on_behalf_of(token);
        }
        request
    }

    /// Sends a message to any method and waits for the first answer, whatever it is.
    pub(crate) async fn send<M>(&self, path: &str, message: M) -> Result<(), Failure>
    where
        M: Message + Default + 'static,
    {
        self.open(path, message).await?.message().await?;
        Ok(())
    }

    /// The answers of any method, whatever they say.
    pub(crate) async fn open<M>(&self, path: &str, message: M) -> Result<Streaming<()>, Failure>
    where
        M: Message + Default + 'static,
    {
        let mut grpc = tonic::client::Grpc::new(self.channel());
        grpc.ready().await.unwrap();
        let path = path.parse().unwrap();
        let codec = ProstCodec::<M, ()>::default();
        let answer = grpc
            .server_streaming(self.request(message), path, codec)
            .await?;
        Ok(answer.into_inner())
    }
}
