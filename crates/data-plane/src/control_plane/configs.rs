//! Sealed configs, read and written for administrators.

use postern_proto::pb;
use postern_proto::pb::sealed_k8s_auth_config_service_client::SealedK8sAuthConfigServiceClient as Sealed;
use postern_rpc::client::Channel;
use postern_rpc::deadline::Deadline;
use postern_rpc::error::Failure;

use super::{ControlPlane, MAX_MESSAGE, OnBehalf, repeat};

impl ControlPlane {
    pub(crate) async fn get_config(
        &self,
        request: pb::GetSealedK8sAuthConfigRequest,
        administrator: &OnBehalf,
        deadline: Deadline,
    ) -> Result<pb::GetSealedK8sAuthConfigResponse, Failure> {
        repeat(deadline, |attempt| {
            self.call(
                request.clone(),
                Some(administrator),
                attempt,
                async |channel, request| sealed(channel).get_sealed_k8s_auth_config(request).await,
            )
        })
        .await
    }

    pub(crate) async fn list_configs(
        &self,
        request: pb::ListSealedK8sAuthConfigsRequest,
        administrator: &OnBehalf,
        deadline: Deadline,
    ) -> Result<pb::ListSealedK8sAuthConfigsResponse, Failure> {
        repeat(deadline, |attempt| {
            self.call(
                request.clone(),
                Some(administrator),
                attempt,
                async |channel, request| {
                    sealed(channel).list_sealed_k8s_auth_configs(request).await
                },
            )
        })
        .await
    }

    /// Not repeated, as no write is: one whose answer was lost may have been made.
    pub(crate) async fn create_config(
        &self,
        request: pb::CreateSealedK8sAuthConfigRequest,
        administrator: &OnBehalf,
        deadline: Deadline,
    ) -> Result<pb::CreateSealedK8sAuthConfigResponse, Failure> {
        self.call(
            request,
            Some(administrator),
            deadline,
            async |channel, request| sealed(channel).create_sealed_k8s_auth_config(request).await,
        )
        .await
    }

    pub(crate) async fn update_config(
        &self,
        request: pb::UpdateSealedK8sAuthConfigRequest,
        administrator: &OnBehalf,
        deadline: Deadline,
    ) -> Result<pb::UpdateSealedK8sAuthConfigResponse, Failure> {
        self.call(
            request,
            Some(administrator),
            deadline,
            async |channel, request| sealed(channel).update_sealed_k8s_auth_config(request).await,
        )
        .await
    }

    pub(crate) async fn delete_config(
        &self,
        request: pb::DeleteSealedK8sAuthConfigRequest,
        administrator: &OnBehalf,
        deadline: Deadline,
    ) -> Result<(), Failure> {
        let deleted = self.call(
            request,
            Some(administrator),
            deadline,
            async |channel, request| sealed(channel).delete_sealed_k8s_auth_config(request).await,
        );
        deleted.await.map(|_| ())
    }
}

fn sealed(channel: Channel) -> Sealed<Channel> {
    Sealed::new(channel).max_decoding_message_size(MAX_MESSAGE)
}
