//! A method's keys, one by one: what a rotation is made of.

use jiff::Timestamp;
use postern_core::auth_method::{AuthMethod, Kind, Kubernetes, MethodKey, Settings};
use postern_core::invalid::{Invalid, Violations};
use postern_core::meta::Stored;
use postern_core::seconds::Seconds;
use postern_proto::convert::auth_method as convert;
use postern_proto::pb;
use postern_rpc::error::Error;
use tonic::Request;

use super::{AuthMethods, target};
use crate::context::intent;
use crate::failure;
use crate::identity::Administrator;
use crate::store::{Cause, Etag, Intent, MethodRef, WriteError};

/// The longest overlap, 366 days.
type Overlap = Seconds<{ 366 * 24 * 60 * 60 }>;

/// A write of one method's keys.
struct KeyWrite {
    name: String,
    etag_text: String,
    method: MethodRef,
    etag: Etag,
    intent: Intent,
    cause: Cause,
}

impl AuthMethods {
    pub(super) async fn add_key(
        &self,
        request: Request<pb::AddPublicKeyRequest>,
    ) -> Result<pb::AddPublicKeyResponse, Error> {
        let now = self.0.now();
        let cause = Administrator::of(&request)?.cause(&request, now)?;
        let request = request.into_inner();
        let mut faults = Violations::default();
        let target = faults.absorb(target("name", &request.name, "etag", &request.etag));
        let key = faults.absorb(new_key(request.public_key.as_ref(), now));
        let (Some((method, etag)), Some(key)) = (target, key) else {
            return Err(faults.into_invalid().into());
        };
        let write = KeyWrite {
            name: request.name,
            etag_text: request.etag,
            method,
            etag,
            intent: intent(request.validate_only),
            cause,
        };
        let stored = self.write_keys(&write, |keys| add(keys, key)).await;
        let stored = stored.map_err(|e| failure::of_write(e, &write.name, &write.etag_text))?;
        let (auth_method, warnings) = self.shown(&stored).await?;
        Ok(pb::AddPublicKeyResponse {
            auth_method: Some(auth_method),
            warnings,
        })
    }

    pub(super) async fn remove_key(
        &self,
        request: Request<pb::RemovePublicKeyRequest>,
    ) -> Result<pb::RemovePublicKeyResponse, Error> {
        let now = self.0.now();
        let cause = Administrator::of(&request)?.cause(&request, now)?;
        let request = request.into_inner();
        let mut faults = Violations::default();
        let target = faults.absorb(target("name", &request.name, "etag", &request.etag));
        let overlap = request.overlap.unwrap_or_default();
        let overlap = faults.check("overlap", Overlap::parse(overlap.seconds, overlap.nanos));
        let (Some((method, etag)), Some(overlap)) = (target, overlap) else {
            return Err(faults.into_invalid().into());
        };
        let write = KeyWrite {
            name: request.name,
            etag_text: request.etag,
            method,
            etag,
            intent: intent(request.validate_only),
            cause,
        };
        let key_id = request.key_id;
        let end = overlap.map(|overlap| now.saturating_add(overlap.get()).unwrap_or(now));
        let change = |keys: &mut Vec<MethodKey>| remove(keys, &key_id, end);
        let stored = self.write_keys(&write, change).await;
        let stored = stored.map_err(|error| match error {
            WriteError::InUse(users) => failure::key_in_use(&write.name, &key_id, users),
            error => failure::of_write(error, &write.name, &write.etag_text),
        })?;
        let (auth_method, warnings) = self.shown(&stored).await?;
        Ok(pb::RemovePublicKeyResponse {
            auth_method: Some(auth_method),
            warnings,
        })
    }

    async fn write_keys(
        &self,
        write: &KeyWrite,
        change: impl FnOnce(&mut Vec<MethodKey>) -> Result<(), Invalid> + Send,
    ) -> Result<Stored<AuthMethod>, WriteError> {
        let edit = |current: &AuthMethod| {
            let mut settings = current.settings.clone();
            change(&mut kubernetes(&mut settings)?.public_keys)?;
            settings.check()?;
            Ok(settings)
        };
        let KeyWrite {
            method,
            etag,
            intent,
            cause,
            ..
        } = write;
        let store = &self.0.store;
        store
            .update_auth_method(method, *etag, edit, *intent, cause)
            .await
    }
}

fn kubernetes(settings: &mut Settings) -> Result<&mut Kubernetes, Invalid> {
    match &mut settings.kind {
        Kind::Kubernetes(kubernetes) => Ok(kubernetes),
        Kind::AccessKey => Err(Invalid::field("name", "is no Kubernetes auth method's")),
    }
}

fn new_key(wire: Option<&pb::PublicKey>, now: Timestamp) -> Result<MethodKey, Invalid> {
    let wire = wire.ok_or_else(|| Invalid::field("public_key", "is missing"))?;
    let key = convert::method_key(wire, &[], now).map_err(|e| e.within("public_key"))?;
    if key.expired(now) {
        return Err(Invalid::field("public_key.expire_time", "is past"));
    }
    Ok(key)
}

fn add(keys: &mut Vec<MethodKey>, key: MethodKey) -> Result<(), Invalid> {
    if keys.iter().any(|known| known.key == key.key) {
        let fault = "is a key of the method already";
        return Err(Invalid::field("public_key.public_key", fault));
    }
    keys.push(key);
    Ok(())
}

fn remove(keys: &mut Vec<MethodKey>, id: &str, end: Option<Timestamp>) -> Result<(), Invalid> {
    let position = keys.iter().position(|key| key.key.id().as_str() == id);
    let position = position.ok_or_else(|| Invalid::field("key_id", "is no key of the method"))?;
    match end {
        Some(_) => keys[position].expire_time = end,
        None if keys.len() == 1 => {
            let fault = "is the method's only key: add another first";
            return Err(Invalid::field("key_id", fault));
        }
        None => {
            keys.remove(position);
        }
    }
    Ok(())
}
