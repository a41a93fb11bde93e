//! The operations as RPCs.

use postern_proto::pb;
use postern_proto::pb::k8s_auth_config_service_server::K8sAuthConfigService;
use postern_rpc::error::Error;
use postern_rpc::request::RequestExt as _;
use tonic::{Request, Response, Status};

use super::{Context, K8sAuthConfigs};
use crate::authorizer::Administrator;

fn context<T>(request: &Request<T>) -> Result<Context, Error> {
    Ok(Context {
        administrator: Administrator::of(request)?,
        deadline: request.deadline()?,
    })
}

#[tonic::async_trait]
impl K8sAuthConfigService for K8sAuthConfigs {
    async fn create_k8s_auth_config(
        &self,
        request: Request<pb::CreateK8sAuthConfigRequest>,
    ) -> Result<Response<pb::CreateK8sAuthConfigResponse>, Status> {
        let context = context(&request)?;
        Ok(Response::new(
            self.create(context, request.into_inner()).await?,
        ))
    }

    async fn get_k8s_auth_config(
        &self,
        request: Request<pb::GetK8sAuthConfigRequest>,
    ) -> Result<Response<pb::GetK8sAuthConfigResponse>, Status> {
        let context = context(&request)?;
        Ok(Response::new(
            self.get(context, request.into_inner()).await?,
        ))
    }

    async fn list_k8s_auth_configs(
        &self,
        request: Request<pb::ListK8sAuthConfigsRequest>,
    ) -> Result<Response<pb::ListK8sAuthConfigsResponse>, Status> {
        let context = context(&request)?;
        Ok(Response::new(
            self.list(context, request.into_inner()).await?,
        ))
    }

    async fn update_k8s_auth_config(
        &self,
        request: Request<pb::UpdateK8sAuthConfigRequest>,
    ) -> Result<Response<pb::UpdateK8sAuthConfigResponse>, Status> {
        let context = context(&request)?;
        Ok(Response::new(
            Box::pin(self.update(context, request.into_inner())).await?,
        ))
    }

    async fn check_k8s_auth_config(
        &self,
        request: Request<pb::CheckK8sAuthConfigRequest>,
    ) -> Result<Response<pb::CheckK8sAuthConfigResponse>, Status> {
        let context = context(&request)?;
        Ok(Response::new(
            self.check(context, request.into_inner()).await?,
        ))
    }

    async fn delete_k8s_auth_config(
        &self,
        request: Request<pb::DeleteK8sAuthConfigRequest>,
    ) -> Result<Response<pb::DeleteK8sAuthConfigResponse>, Status> {
        let context = context(&request)?;
        Ok(Response::new(
            self.delete(context, request.into_inner()).await?,
        ))
    }
}
