//! AuthMethodService.

mod access_keys;
mod keys;
mod own_address;
mod warnings;

use jiff::Timestamp;
use postern_core::access_id::{AccessId, AccessIdError, AccessType};
use postern_core::access_token::AccessKey;
use postern_core::auth_method::{AuthMethod, Kind, MAX_LIST, Settings};
use postern_core::invalid::{Invalid, Violations};
use postern_core::meta::Stored;
use postern_core::resource_id::{ResourceId, ResourceIdError};
use postern_proto::convert::{auth_method as convert, time};
use postern_proto::pb;
use postern_proto::pb::auth_method::Type;
use postern_proto::pb::auth_method_service_server::AuthMethodService;
use postern_rpc::error::Error;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::context::{Context, intent};
use crate::identity::Administrator;
use crate::page::Paging;
use crate::store::{Etag, KeyUse, KeyUses, MethodRef, StoredKeys, WriteError};
use crate::{failure, keys as access_key, meta};

pub(crate) struct AuthMethods(pub(crate) Context);

#[tonic::async_trait]
impl AuthMethodService for AuthMethods {
    async fn create_auth_method(
        &self,
        request: Request<pb::CreateAuthMethodRequest>,
    ) -> Result<Response<pb::CreateAuthMethodResponse>, Status> {
        Ok(Response::new(self.create(request).await?))
    }

    async fn get_auth_method(
        &self,
        request: Request<pb::GetAuthMethodRequest>,
    ) -> Result<Response<pb::GetAuthMethodResponse>, Status> {
        Ok(Response::new(self.get(request).await?))
    }

    async fn list_auth_methods(
        &self,
        request: Request<pb::ListAuthMethodsRequest>,
    ) -> Result<Response<pb::ListAuthMethodsResponse>, Status> {
        Ok(Response::new(self.list(request).await?))
    }

    async fn update_auth_method(
        &self,
        request: Request<pb::UpdateAuthMethodRequest>,
    ) -> Result<Response<pb::UpdateAuthMethodResponse>, Status> {
        Ok(Response::new(self.update(request).await?))
    }

    async fn rename_auth_method(
        &self,
        request: Request<pb::RenameAuthMethodRequest>,
    ) -> Result<Response<pb::RenameAuthMethodResponse>, Status> {
        Ok(Response::new(self.rename(request).await?))
    }

    async fn delete_auth_method(
        &self,
        request: Request<pb::DeleteAuthMethodRequest>,
    ) -> Result<Response<pb::DeleteAuthMethodResponse>, Status> {
        Ok(Response::new(self.delete(request).await?))
    }

    async fn add_public_key(
        &self,
        request: Request<pb::AddPublicKeyRequest>,
    ) -> Result<Response<pb::AddPublicKeyResponse>, Status> {
        Ok(Response::new(self.add_key(request).await?))
    }

    async fn remove_public_key(
        &self,
        request: Request<pb::RemovePublicKeyRequest>,
    ) -> Result<Response<pb::RemovePublicKeyResponse>, Status> {
        Ok(Response::new(self.remove_key(request).await?))
    }

    async fn rotate_access_key(
        &self,
        request: Request<pb::RotateAccessKeyRequest>,
    ) -> Result<Response<pb::RotateAccessKeyResponse>, Status> {
        Ok(Response::new(self.rotate_key(request).await?))
    }

    async fn revoke_access_key(
        &self,
        request: Request<pb::RevokeAccessKeyRequest>,
    ) -> Result<Response<pb::RevokeAccessKeyResponse>, Status> {
        Ok(Response::new(self.revoke_key(request).await?))
    }
}

// === impl AuthMethods ===

impl AuthMethods {
    async fn create(
        &self,
        request: Request<pb::CreateAuthMethodRequest>,
    ) -> Result<pb::CreateAuthMethodResponse, Error> {
        let now = self.0.now();
        let cause = Administrator::of(&request)?.cause(&request, now)?;
        let request = request.into_inner();
        let intent = intent(request.validate_only);
        let (id, settings, roles) = creation(&request, now)?;
        self.can_sign(&settings)?;
        let (access_type, key) = match settings.kind {
            Kind::Kubernetes(_) => (AccessType::Kubernetes, None),
            Kind::AccessKey => {
                let key = AccessKey::generate().map_err(failure::of_randomness)?;
                (AccessType::AccessKey, Some(key))
            }
        };
        let method = AuthMethod {
            id,
            uid: Uuid::now_v7(),
            access_id: AccessId::generate(access_type).map_err(failure::of_randomness)?,
            settings,
        };
        let hash = key.as_ref().map(AccessKey::hash);
        let created =
            self.0
                .store
                .create_auth_method_with(&method, hash.as_ref(), &roles, intent, &cause);
        let stored = created
            .await
            .map_err(|e| failure::of_write(e, &method.id.auth_method_name(), ""))?;
        let (auth_method, warnings) = self.shown(&stored).await?;
        Ok(pb::CreateAuthMethodResponse {
            auth_method: Some(auth_method),
            warnings,
            access_key: key
                .map(|key| access_key::shown(&key, request.validate_only))
                .unwrap_or_default(),
        })
    }

    async fn get(
        &self,
        request: Request<pb::GetAuthMethodRequest>,
    ) -> Result<pb::GetAuthMethodResponse, Error> {
        Administrator::of(&request)?;
        let name = request.into_inner().name;
        let method = reference("name", &name)?;
        let stored = self.0.store.get_auth_method(&method).await?;
        let stored = stored.ok_or_else(|| Error::not_found(name))?;
        let (auth_method, _) = self.shown(&stored).await?;
        Ok(pb::GetAuthMethodResponse {
            auth_method: Some(auth_method),
        })
    }

    async fn list(
        &self,
        request: Request<pb::ListAuthMethodsRequest>,
    ) -> Result<pb::ListAuthMethodsResponse, Error> {
        Administrator::of(&request)?;
        let request = request.into_inner();
        let list = "authMethods administrator".to_owned();
        let paging = Paging::parse(request.page_size, &request.page_token, list)?;
        let after: Option<ResourceId> = paging.after(|id| id.parse().ok())?;
        let listed = self.0.store.list_auth_methods(after.as_ref(), paging.limit);
        let page = listed.await?;
        let last = page.items.last().map(|last| last.value.id.to_string());
        let keys = match (page.items.first(), page.items.last()) {
            (Some(first), Some(last)) => self.keys(&first.value.id, &last.value.id).await?,
            _ => Keys::default(),
        };
        Ok(pb::ListAuthMethodsResponse {
            auth_methods: page.items.iter().map(|m| to_pb(m, &keys)).collect(),
            next_page_token: paging.next(page.more, last),
        })
    }

    async fn update(
        &self,
        request: Request<pb::UpdateAuthMethodRequest>,
    ) -> Result<pb::UpdateAuthMethodResponse, Error> {
        let now = self.0.now();
        let cause = Administrator::of(&request)?.cause(&request, now)?;
        let request = request.into_inner();
        let intent = intent(request.validate_only);
        let (patch, mask) = (request.auth_method.unwrap_or_default(), request.update_mask);
        let (method, etag) = target(
            "auth_method.name",
            &patch.name,
            "auth_method.meta.etag",
            etag_of(&patch),
        )?;
        let store = &self.0.store;
        own_address::keep_open(store, &method, &patch, mask.as_ref(), &cause).await?;
        let edit = |current: &AuthMethod| {
            let settings = convert::updated_settings(current, &patch, mask.as_ref(), now);
            let settings = settings.map_err(in_auth_method)?;
            // One that gives them already can still be switched off.
            if settings.token_format != current.settings.token_format {
                self.can_sign(&settings)?;
            }
            Ok(settings)
        };
        let updated = store.update_auth_method(&method, etag, edit, intent, &cause);
        let stored = updated
            .await
            .map_err(|e| failure::of_write(e, &patch.name, etag_of(&patch)))?;
        let (auth_method, warnings) = self.shown(&stored).await?;
        Ok(pb::UpdateAuthMethodResponse {
            auth_method: Some(auth_method),
            warnings,
        })
    }

    async fn rename(
        &self,
        request: Request<pb::RenameAuthMethodRequest>,
    ) -> Result<pb::RenameAuthMethodResponse, Error> {
        let cause = Administrator::of(&request)?.cause(&request, self.0.now())?;
        let request = request.into_inner();
        let mut faults = Violations::default();
        let target = faults.absorb(target("name", &request.name, "etag", &request.etag));
        let id = request.new_auth_method_id.parse::<ResourceId>();
        let id = faults.check("new_auth_method_id", id);
        let (Some((method, etag)), Some(id)) = (target, id) else {
            return Err(faults.into_invalid().into());
        };
        let intent = intent(request.validate_only);
        let store = &self.0.store;
        let renamed = store.rename_auth_method(&method, etag, &id, intent, &cause);
        let stored = renamed.await.map_err(|error| {
            let taken = id.auth_method_name();
            let name = match error {
                WriteError::Exists => &taken,
                _ => &request.name,
            };
            failure::of_write(error, name, &request.etag)
        })?;
        let (auth_method, _) = self.shown(&stored).await?;
        Ok(pb::RenameAuthMethodResponse {
            auth_method: Some(auth_method),
        })
    }

    /// Whether what the method gives can be given.
    fn can_sign(&self, settings: &Settings) -> Result<(), Invalid> {
        if settings.token_format.is_jwt() && self.0.issuer.is_none() {
            let fault = "JWTs need an issuer: start the control plane with --issuer-url";
            return Err(Invalid::field("auth_method.token_format", fault));
        }
        Ok(())
    }

    /// The method with its keys' uses, and what there is to warn of.
    async fn shown(
        &self,
        stored: &Stored<AuthMethod>,
    ) -> Result<(pb::AuthMethod, Vec<pb::Warning>), Error> {
        let id = &stored.value.id;
        let keys = self.keys(id, id).await?;
        let warnings = warnings::of(&stored.value, &keys.uses, self.0.token_maxima);
        Ok((to_pb(stored, &keys), warnings))
    }

    /// Of all methods from `first` to `last`.
    async fn keys(&self, first: &ResourceId, last: &ResourceId) -> Result<Keys, Error> {
        Ok(Keys {
            uses: self.0.store.key_uses(first, last).await?,
            access: self.0.store.keys_of_methods(first, last).await?,
        })
    }

    async fn delete(
        &self,
        request: Request<pb::DeleteAuthMethodRequest>,
    ) -> Result<pb::DeleteAuthMethodResponse, Error> {
        let cause = Administrator::of(&request)?.cause(&request, self.0.now())?;
        let request = request.into_inner();
        let (method, etag) = target("name", &request.name, "etag", &request.etag)?;
        let deleted = self
            .0
            .store
            .delete_auth_method(&method, etag, request.force, &cause);
        deleted
            .await
            .map_err(|e| failure::of_write(e, &request.name, &request.etag))?;
        Ok(pb::DeleteAuthMethodResponse {})
    }
}

/// What is known of methods' keys beside the methods.
#[derive(Default)]
struct Keys {
    uses: KeyUses,
    access: StoredKeys,
}

fn creation(
    request: &pb::CreateAuthMethodRequest,
    now: Timestamp,
) -> Result<(ResourceId, Settings, Vec<ResourceId>), Invalid> {
    let mut faults = Violations::default();
    let roles = roles(&mut faults, &request.roles);
    let id = faults.check("auth_method_id", request.auth_method_id.parse());
    let settings = match &request.auth_method {
        None => Err(Invalid::field("auth_method", "is missing")),
        Some(method) => convert::settings(method, now).map_err(in_auth_method),
    };
    match (id, faults.absorb(settings)) {
        (Some(id), Some(settings)) => {
            faults.finish()?;
            Ok((id, settings, roles))
        }
        _ => Err(faults.into_invalid()),
    }
}

/// Roles that all of a new method's tokens have, each once.
fn roles(faults: &mut Violations, names: &[String]) -> Vec<ResourceId> {
    if names.len() > MAX_LIST {
        faults.add("roles", format!("has more than {MAX_LIST} entries"));
        return Vec::new();
    }
    let mut roles: Vec<ResourceId> = Vec::with_capacity(names.len());
    for (i, name) in names.iter().enumerate() {
        match faults.check(format!("roles[{i}]"), ResourceId::of_role(name)) {
            Some(role) if roles.contains(&role) => {
                faults.add(format!("roles[{i}]"), "is there twice");
            }
            role => roles.extend(role),
        }
    }
    roles
}

/// Fields as the request has them; the mask stands beside the method.
fn in_auth_method(invalid: Invalid) -> Invalid {
    let mut faults = Violations::default();
    for violation in invalid.violations() {
        let field = match violation.field.as_str() {
            "update_mask" => "update_mask".to_owned(),
            field => format!("auth_method.{field}"),
        };
        faults.add(field, &violation.fault);
    }
    faults.into_invalid()
}

fn etag_of(method: &pb::AuthMethod) -> &str {
    method.meta.as_ref().map_or("", |meta| &meta.etag)
}

fn target(
    name_field: &str,
    name: &str,
    etag_field: &str,
    etag: &str,
) -> Result<(MethodRef, Etag), Invalid> {
    let mut faults = Violations::default();
    let method = faults.absorb(reference(name_field, name));
    match (method, faults.check(etag_field, etag.parse())) {
        (Some(method), Some(etag)) => Ok((method, etag)),
        _ => Err(faults.into_invalid()),
    }
}

/// `authMethods/{id}` or `authMethods/{access ID}`.
pub(crate) fn reference(field: &str, name: &str) -> Result<MethodRef, Invalid> {
    match ResourceId::of_auth_method(name) {
        Ok(id) => Ok(MethodRef::Id(id)),
        Err(ResourceIdError::LooksLikeAccessId) => {
            let access_id = name.strip_prefix("authMethods/").unwrap_or_default();
            access_id
                .parse()
                .map(MethodRef::AccessId)
                .map_err(|fault: AccessIdError| Invalid::field(field, fault.to_string()))
        }
        Err(fault) => Err(Invalid::field(field, format!("`{}` {fault}", shown(name)))),
    }
}

fn shown(name: &str) -> String {
    name.chars().take(64).collect()
}

fn to_pb(stored: &Stored<AuthMethod>, known: &Keys) -> pb::AuthMethod {
    let method = &stored.value;
    let mut wire = pb::AuthMethod {
        meta: Some(meta::to_pb(method.uid, stored)),
        ..convert::to_pb(method)
    };
    let keys = method.kubernetes().map_or(&[][..], |k| &k.public_keys);
    if let Some(Type::AccessKey(access_key)) = &mut wire.r#type {
        access_key.keys = access_key::to_pb(known.access.of(method.uid));
    }
    if let Some(Type::Kubernetes(kubernetes)) = &mut wire.r#type {
        for (wire, key) in kubernetes.public_keys.iter_mut().zip(keys) {
            let KeyUse {
                last_used_time,
                used_by,
            } = known
                .uses
                .of(method.uid, key.key.id())
                .cloned()
                .unwrap_or_default();
            wire.last_used_time = last_used_time.map(time::timestamp);
            wire.used_by = used_by;
        }
    }
    wire
}
