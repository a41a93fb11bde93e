//! What this server is.

use postern_proto::pb;
use postern_proto::pb::server_info_service_server::ServerInfoService;
use tonic::{Request, Response, Status};

pub(crate) struct ServerInfo;

#[tonic::async_trait]
impl ServerInfoService for ServerInfo {
    async fn get_server_info(
        &self,
        _: Request<pb::GetServerInfoRequest>,
    ) -> Result<Response<pb::GetServerInfoResponse>, Status> {
        Ok(Response::new(pb::GetServerInfoResponse {
            role: pb::ServerRole::ControlPlane.into(),
            gateway: String::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }))
    }
}
