//! AssociationService.

use postern_core::association::Association;
use postern_core::invalid::{Invalid, Violations};
use postern_core::meta::Stored;
use postern_proto::convert::association as convert;
use postern_proto::pb;
use postern_proto::pb::association_service_server::AssociationService;
use postern_rpc::error::Error;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::context::{Context, intent};
use crate::identity::Administrator;
use crate::page::Paging;
use crate::store::{AssociationCursor, AssociationFilter, NewAssociation};
use crate::{auth_methods, failure, meta, roles};

pub(crate) struct Associations(pub(crate) Context);

#[tonic::async_trait]
impl AssociationService for Associations {
    async fn create_association(
        &self,
        request: Request<pb::CreateAssociationRequest>,
    ) -> Result<Response<pb::CreateAssociationResponse>, Status> {
        Ok(Response::new(self.create(request).await?))
    }

    async fn get_association(
        &self,
        request: Request<pb::GetAssociationRequest>,
    ) -> Result<Response<pb::GetAssociationResponse>, Status> {
        Ok(Response::new(self.get(request).await?))
    }

    async fn list_associations(
        &self,
        request: Request<pb::ListAssociationsRequest>,
    ) -> Result<Response<pb::ListAssociationsResponse>, Status> {
        Ok(Response::new(self.list(request).await?))
    }

    async fn update_association(
        &self,
        request: Request<pb::UpdateAssociationRequest>,
    ) -> Result<Response<pb::UpdateAssociationResponse>, Status> {
        Ok(Response::new(self.update(request).await?))
    }

    async fn delete_association(
        &self,
        request: Request<pb::DeleteAssociationRequest>,
    ) -> Result<Response<pb::DeleteAssociationResponse>, Status> {
        Ok(Response::new(self.delete(request).await?))
    }
}

// === impl Associations ===

impl Associations {
    async fn create(
        &self,
        request: Request<pb::CreateAssociationRequest>,
    ) -> Result<pb::CreateAssociationResponse, Error> {
        let cause = Administrator::of(&request)?.cause(&request, self.0.now())?;
        let request = request.into_inner();
        let new = creation(&request.association.unwrap_or_default())?;
        let intent = intent(request.validate_only);
        let created = self.0.store.create_association(&new, intent, &cause).await;
        let stored = created.map_err(|e| {
            failure::of_write(e, &format!("an association with roles/{}", new.role), "")
        })?;
        Ok(pb::CreateAssociationResponse {
            association: Some(to_pb(&stored)),
        })
    }

    async fn get(
        &self,
        request: Request<pb::GetAssociationRequest>,
    ) -> Result<pb::GetAssociationResponse, Error> {
        Administrator::of(&request)?;
        let name = request.into_inner().name;
        let stored = self.0.store.get_association(uid("name", &name)?).await?;
        let stored = stored.ok_or_else(|| Error::not_found(name))?;
        Ok(pb::GetAssociationResponse {
            association: Some(to_pb(&stored)),
        })
    }

    async fn list(
        &self,
        request: Request<pb::ListAssociationsRequest>,
    ) -> Result<pb::ListAssociationsResponse, Error> {
        Administrator::of(&request)?;
        let request = request.into_inner();
        let filter = filter(&request)?;
        let list = format!("associations {} {}", request.auth_method, request.role);
        let paging = Paging::parse(request.page_size, &request.page_token, list)?;
        let after = paging.after(cursor)?;
        let listed = self
            .0
            .store
            .list_associations(&filter, after.as_ref(), paging.limit);
        let page = listed.await?;
        let last = page.items.last().map(key);
        Ok(pb::ListAssociationsResponse {
            associations: page.items.iter().map(to_pb).collect(),
            next_page_token: paging.next(page.more, last),
        })
    }

    async fn update(
        &self,
        request: Request<pb::UpdateAssociationRequest>,
    ) -> Result<pb::UpdateAssociationResponse, Error> {
        let cause = Administrator::of(&request)?.cause(&request, self.0.now())?;
        let request = request.into_inner();
        let intent = intent(request.validate_only);
        let (patch, mask) = (request.association.unwrap_or_default(), request.update_mask);
        let sent = patch.meta.as_ref().map_or("", |meta| &meta.etag);
        let mut faults = Violations::default();
        let uid = faults.absorb(uid("association.name", &patch.name));
        let etag = faults.check("association.meta.etag", sent.parse());
        let (Some(uid), Some(etag)) = (uid, etag) else {
            return Err(faults.into_invalid().into());
        };
        let edit = |current: &Association| {
            convert::updated(current, &patch, mask.as_ref()).map_err(in_association)
        };
        let store = &self.0.store;
        let updated = store.update_association(uid, etag, edit, intent, &cause);
        let stored = updated
            .await
            .map_err(|e| failure::of_write(e, &patch.name, sent))?;
        Ok(pb::UpdateAssociationResponse {
            association: Some(to_pb(&stored)),
        })
    }

    async fn delete(
        &self,
        request: Request<pb::DeleteAssociationRequest>,
    ) -> Result<pb::DeleteAssociationResponse, Error> {
        let cause = Administrator::of(&request)?.cause(&request, self.0.now())?;
        let request = request.into_inner();
        let mut faults = Violations::default();
        let uid = faults.absorb(uid("name", &request.name));
        let etag = faults.check("etag", request.etag.parse());
        let (Some(uid), Some(etag)) = (uid, etag) else {
            return Err(faults.into_invalid().into());
        };
        let deleted = self.0.store.delete_association(uid, etag, &cause).await;
        deleted.map_err(|e| failure::of_write(e, &request.name, &request.etag))?;
        Ok(pb::DeleteAssociationResponse {})
    }
}

fn creation(wire: &pb::Association) -> Result<NewAssociation, Invalid> {
    let mut faults = Violations::default();
    let auth_method = auth_methods::reference("association.auth_method", &wire.auth_method);
    let auth_method = faults.absorb(auth_method);
    let role = faults.absorb(roles::id("association.role", &wire.role));
    let sub_claims = faults.absorb(convert::required(wire).map_err(in_association));
    let (Some(auth_method), Some(role), Some(sub_claims)) = (auth_method, role, sub_claims) else {
        return Err(faults.into_invalid());
    };
    Ok(NewAssociation {
        uid: Uuid::now_v7(),
        auth_method,
        role,
        sub_claims,
    })
}

fn filter(request: &pb::ListAssociationsRequest) -> Result<AssociationFilter, Invalid> {
    let mut faults = Violations::default();
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let auth_method = some(&request.auth_method)
        .and_then(|name| faults.absorb(auth_methods::reference("auth_method", &name)));
    let role = some(&request.role).and_then(|name| faults.absorb(roles::id("role", &name)));
    faults.finish()?;
    Ok(AssociationFilter { auth_method, role })
}

/// Fields as the request has them; the mask stands beside the association.
fn in_association(invalid: Invalid) -> Invalid {
    let mut faults = Violations::default();
    for violation in invalid.violations() {
        let field = match violation.field.as_str() {
            "update_mask" => "update_mask".to_owned(),
            field => format!("association.{field}"),
        };
        faults.add(field, &violation.fault);
    }
    faults.into_invalid()
}

fn uid(field: &str, name: &str) -> Result<Uuid, Invalid> {
    Association::uid_of_name(name).map_err(|fault| Invalid::field(field, fault.to_string()))
}

pub(crate) fn key(stored: &Stored<Association>) -> String {
    format!("{} {}", stored.create_time, stored.value.uid)
}

pub(crate) fn cursor(text: &str) -> Option<AssociationCursor> {
    let (time, uid) = text.split_once(' ')?;
    Some(AssociationCursor {
        create_time: time.parse().ok()?,
        uid: uid.parse().ok()?,
    })
}

fn to_pb(stored: &Stored<Association>) -> pb::Association {
    pb::Association {
        meta: Some(meta::to_pb(stored.value.uid, stored)),
        ..convert::to_pb(&stored.value)
    }
}
