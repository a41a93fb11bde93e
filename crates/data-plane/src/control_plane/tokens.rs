//! Questions about tokens, passed on for those who ask.

use postern_proto::pb;
use postern_proto::pb::token_service_client::TokenServiceClient as Tokens;
use postern_rpc::client::Channel;
use postern_rpc::deadline::Deadline;
use postern_rpc::error::Failure;

use super::{ControlPlane, OnBehalf, repeat};

impl ControlPlane {
    /// One try: a second one would be a second use of the token.
    pub(crate) async fn introspect(
        &self,
        request: pb::IntrospectRequest,
        asker: &OnBehalf,
        deadline: Deadline,
    ) -> Result<pb::IntrospectResponse, Failure> {
        self.call(request, Some(asker), deadline, async |channel, request| {
            tokens(channel).introspect(request).await
        })
        .await
    }

    /// One try, for the same reason.
    pub(crate) async fn authorize(
        &self,
        request: pb::AuthorizeRequest,
        asker: &OnBehalf,
        deadline: Deadline,
    ) -> Result<pb::AuthorizeResponse, Failure> {
        self.call(request, Some(asker), deadline, async |channel, request| {
            tokens(channel).authorize(request).await
        })
        .await
    }

    pub(crate) async fn revoke(
        &self,
        request: pb::RevokeRequest,
        asker: &OnBehalf,
        deadline: Deadline,
    ) -> Result<pb::RevokeResponse, Failure> {
        repeat(deadline, |attempt| {
            self.call(
                request.clone(),
                Some(asker),
                attempt,
                async |channel, request| tokens(channel).revoke(request).await,
            )
        })
        .await
    }

    /// One try, for the same reason.
    pub(crate) async fn renew(
        &self,
        request: pb::TokenServiceRenewRequest,
        asker: &OnBehalf,
        deadline: Deadline,
    ) -> Result<pb::TokenServiceRenewResponse, Failure> {
        self.call(request, Some(asker), deadline, async |channel, request| {
            tokens(channel).renew(request).await
        })
        .await
    }
}

fn tokens(channel: Channel) -> Tokens<Channel> {
    Tokens::new(channel)
}
