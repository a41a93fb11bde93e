//! The keys of access-key methods.

use postern_core::access_token::AccessKey;
use postern_core::invalid::Violations;
use postern_proto::pb;
use postern_rpc::error::Error;
use tonic::Request;

use super::{AuthMethods, target};
use crate::context::intent;
use crate::identity::Administrator;
use crate::{failure, keys};

impl AuthMethods {
    pub(super) async fn rotate_key(
        &self,
        request: Request<pb::RotateAccessKeyRequest>,
    ) -> Result<pb::RotateAccessKeyResponse, Error> {
        let cause = Administrator::of(&request)?.cause(&request, self.0.now())?;
        let request = request.into_inner();
        let key = AccessKey::generate().map_err(failure::of_randomness)?;
        let mut faults = Violations::default();
        let target = faults.absorb(target("name", &request.name, "etag", &request.etag));
        let new = keys::rotation(&mut faults, request.overlap, &key);
        let (Some((method, etag)), Some(new)) = (target, new) else {
            return Err(faults.into_invalid().into());
        };
        let intent = intent(request.validate_only);
        let store = &self.0.store;
        let rotated = store.rotate_access_key(&method, etag, &new, intent, &cause);
        let stored = rotated
            .await
            .map_err(|e| failure::of_write(e, &request.name, &request.etag))?;
        let (auth_method, _) = self.shown(&stored).await?;
        Ok(pb::RotateAccessKeyResponse {
            auth_method: Some(auth_method),
            access_key: keys::shown(&key, request.validate_only),
        })
    }

    pub(super) async fn revoke_key(
        &self,
        request: Request<pb::RevokeAccessKeyRequest>,
    ) -> Result<pb::RevokeAccessKeyResponse, Error> {
        let cause = Administrator::of(&request)?.cause(&request, self.0.now())?;
        let request = request.into_inner();
        let mut faults = Violations::default();
        let target = faults.absorb(target("name", &request.name, "etag", &request.etag));
        let id = faults.check("key_id", request.key_id.parse());
        let overlap = keys::overlap(&mut faults, request.overlap.unwrap_or_default());
        let (Some((method, etag)), Some(id), Some(overlap)) = (target, id, overlap) else {
            return Err(faults.into_invalid().into());
        };
        let intent = intent(request.validate_only);
        let store = &self.0.store;
        let revoked = store.revoke_access_key(&method, etag, (&id, overlap), intent, &cause);
        let stored = revoked
            .await
            .map_err(|e| failure::of_write(e, &request.name, &request.etag))?;
        let (auth_method, _) = self.shown(&stored).await?;
        Ok(pb::RevokeAccessKeyResponse {
            auth_method: Some(auth_method),
        })
    }
}
