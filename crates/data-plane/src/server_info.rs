//! `ServerInfoService`: says what this is before anybody sends it a secret.

use postern_core::resource_id::GatewayName;
use postern_proto::pb;
use postern_proto::pb::server_info_service_server::ServerInfoService;
use tonic::{Request, Response, Status};

pub(crate) struct ServerInfo {
    gateway: GatewayName,
}

impl ServerInfo {
    pub(crate) fn new(gateway: GatewayName) -> Self {
        Self { gateway }
    }
}

#[tonic::async_trait]
impl ServerInfoService for ServerInfo {
    async fn get_server_info(
        &self,
        _: Request<pb::GetServerInfoRequest>,
    ) -> Result<Response<pb::GetServerInfoResponse>, Status> {
        Ok(Response::new(pb::GetServerInfoResponse {
            role: pb::ServerRole::Gateway.into(),
            gateway: self.gateway.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }))
    }
}
