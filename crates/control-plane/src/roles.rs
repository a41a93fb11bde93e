//! RoleService.

use postern_core::invalid::{Invalid, Violations};
use postern_core::meta::Stored;
use postern_core::resource_id::{ResourceId, ResourceIdError};
use postern_core::role::{Role, RoleSettings};
use postern_proto::convert::role as convert;
use postern_proto::pb;
use postern_proto::pb::role_service_server::RoleService;
use postern_rpc::error::Error;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::context::{Context, intent};
use crate::identity::Administrator;
use crate::page::Paging;
use crate::{failure, meta};

pub(crate) struct Roles(pub(crate) Context);

#[tonic::async_trait]
impl RoleService for Roles {
    async fn create_role(
        &self,
        request: Request<pb::CreateRoleRequest>,
    ) -> Result<Response<pb::CreateRoleResponse>, Status> {
        Ok(Response::new(self.create(request).await?))
    }

    async fn get_role(
        &self,
        request: Request<pb::GetRoleRequest>,
    ) -> Result<Response<pb::GetRoleResponse>, Status> {
        Ok(Response::new(self.get(request).await?))
    }

    async fn list_roles(
        &self,
        request: Request<pb::ListRolesRequest>,
    ) -> Result<Response<pb::ListRolesResponse>, Status> {
        Ok(Response::new(self.list(request).await?))
    }

    async fn update_role(
        &self,
        request: Request<pb::UpdateRoleRequest>,
    ) -> Result<Response<pb::UpdateRoleResponse>, Status> {
        Ok(Response::new(self.update(request).await?))
    }

    async fn delete_role(
        &self,
        request: Request<pb::DeleteRoleRequest>,
    ) -> Result<Response<pb::DeleteRoleResponse>, Status> {
        Ok(Response::new(self.delete(request).await?))
    }
}

// === impl Roles ===

impl Roles {
    async fn create(
        &self,
        request: Request<pb::CreateRoleRequest>,
    ) -> Result<pb::CreateRoleResponse, Error> {
        let cause = Administrator::of(&request)?.cause(&request, self.0.now())?;
        let request = request.into_inner();
        let (id, settings) = creation(&request)?;
        let role = Role {
            id,
            uid: Uuid::now_v7(),
            settings,
        };
        let intent = intent(request.validate_only);
        let created = self.0.store.create_role(&role, intent, &cause).await;
        let stored = created.map_err(|e| failure::of_write(e, &role.id.role_name(), ""))?;
        Ok(pb::CreateRoleResponse {
            role: Some(to_pb(&stored)),
        })
    }

    async fn get(
        &self,
        request: Request<pb::GetRoleRequest>,
    ) -> Result<pb::GetRoleResponse, Error> {
        Administrator::of(&request)?;
        let name = request.into_inner().name;
        let stored = self.0.store.get_role(&id("name", &name)?).await?;
        let stored = stored.ok_or_else(|| Error::not_found(name))?;
        Ok(pb::GetRoleResponse {
            role: Some(to_pb(&stored)),
        })
    }

    async fn list(
        &self,
        request: Request<pb::ListRolesRequest>,
    ) -> Result<pb::ListRolesResponse, Error> {
        Administrator::of(&request)?;
        let request = request.into_inner();
        let list = "roles administrator".to_owned();
        let paging = Paging::parse(request.page_size, &request.page_token, list)?;
        let after: Option<ResourceId> = paging.after(|id| id.parse().ok())?;
        let listed = self.0.store.list_roles(after.as_ref(), paging.limit);
        let page = listed.await?;
        let last = page.items.last().map(|last| last.value.id.to_string());
        Ok(pb::ListRolesResponse {
            roles: page.items.iter().map(to_pb).collect(),
            next_page_token: paging.next(page.more, last),
        })
    }

    async fn update(
        &self,
        request: Request<pb::UpdateRoleRequest>,
    ) -> Result<pb::UpdateRoleResponse, Error> {
        let cause = Administrator::of(&request)?.cause(&request, self.0.now())?;
        let request = request.into_inner();
        let intent = intent(request.validate_only);
        let (patch, mask) = (request.role.unwrap_or_default(), request.update_mask);
        let sent = patch.meta.as_ref().map_or("", |meta| &meta.etag);
        let mut faults = Violations::default();
        let id = faults.absorb(id("role.name", &patch.name));
        let etag = faults.check("role.meta.etag", sent.parse());
        let (Some(id), Some(etag)) = (id, etag) else {
            return Err(faults.into_invalid().into());
        };
        let edit = |current: &Role| {
            convert::updated_settings(current, &patch, mask.as_ref()).map_err(in_role)
        };
        let updated = self.0.store.update_role(&id, etag, edit, intent, &cause);
        let stored = updated
            .await
            .map_err(|e| failure::of_write(e, &patch.name, sent))?;
        Ok(pb::UpdateRoleResponse {
            role: Some(to_pb(&stored)),
        })
    }

    async fn delete(
        &self,
        request: Request<pb::DeleteRoleRequest>,
    ) -> Result<pb::DeleteRoleResponse, Error> {
        let cause = Administrator::of(&request)?.cause(&request, self.0.now())?;
        let request = request.into_inner();
        let mut faults = Violations::default();
        let id = faults.absorb(id("name", &request.name));
        let etag = faults.check("etag", request.etag.parse());
        let (Some(id), Some(etag)) = (id, etag) else {
            return Err(faults.into_invalid().into());
        };
        let deleted = self.0.store.delete_role(&id, etag, request.force, &cause);
        deleted
            .await
            .map_err(|e| failure::of_write(e, &request.name, &request.etag))?;
        Ok(pb::DeleteRoleResponse {})
    }
}

fn creation(request: &pb::CreateRoleRequest) -> Result<(ResourceId, RoleSettings), Invalid> {
    let mut faults = Violations::default();
    let id = faults.check("role_id", request.role_id.parse());
    let settings = match &request.role {
        None => Err(Invalid::field("role", "is missing")),
        Some(role) => convert::settings(role).map_err(in_role),
    };
    match (id, faults.absorb(settings)) {
        (Some(id), Some(settings)) => Ok((id, settings)),
        _ => Err(faults.into_invalid()),
    }
}

/// Fields as the request has them; the mask stands beside the role.
fn in_role(invalid: Invalid) -> Invalid {
    let mut faults = Violations::default();
    for violation in invalid.violations() {
        let field = match violation.field.as_str() {
            "update_mask" => "update_mask".to_owned(),
            field => format!("role.{field}"),
        };
        faults.add(field, &violation.fault);
    }
    faults.into_invalid()
}

/// The ID in `roles/{id}`.
pub(crate) fn id(field: &str, name: &str) -> Result<ResourceId, Invalid> {
    ResourceId::of_role(name).map_err(|fault: ResourceIdError| {
        let shown: String = name.chars().take(64).collect();
        Invalid::field(field, format!("`{shown}` {fault}"))
    })
}

fn to_pb(stored: &Stored<Role>) -> pb::Role {
    pb::Role {
        meta: Some(meta::to_pb(stored.value.uid, stored)),
        ..convert::to_pb(&stored.value)
    }
}
