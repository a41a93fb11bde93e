//! SigningKeyService, and the first key.

use std::time::Duration;

use postern_core::access_id::NoRandomness;
use postern_core::key::{KeyId, SigningAlgorithm, SigningKey};
use postern_core::own_keys::{OwnKeys, SigningKeyContext};
use postern_core::seal::{OpenError, SealError, Sealed};
use postern_core::signing_key::{PublishedKey, Stage, State, StepRefused};
use postern_proto::convert::time;
use postern_proto::pb;
use postern_proto::pb::signing_key_service_server::SigningKeyService;
use postern_rpc::error::{Blocker, Error, Precondition};
use secrecy::ExposeSecret as _;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::context::Context;
use crate::identity::Administrator;
use crate::store::signing::name;
use crate::store::{BoxedKey, Store, StoreError, WriteError};
use crate::{bootstrap, failure};

/// A retired key goes without a change.
const WATCH_EVERY: Duration = Duration::from_secs(60);

pub(crate) struct SigningKeys(pub(crate) Context);

/// Why the signing keys can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeysError {
    /// The key file isn't the one that it was sealed under, or somebody changed the row.
    #[error("signing key {key_id} {fault}: start with the key file that all replicas share")]
    Unusable { key_id: KeyId, fault: Unusable },
    #[error("a signing key can't be made")]
    Make(#[source] MakeError),
    #[error("the signing keys can't be read or written")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A key couldn't be made: no randomness, or the cipher failed.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// Why the private half of a signing key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error(transparent)]
    Closed(#[from] OpenError),
    #[error("holds another key than its row says")]
    Inside,
}

/// See to it that there is a key that signs, and that the control plane's own keys open all of
/// them: what is wrong with them shows at the start and not at a login.
pub(crate) async fn at_start(
    store: &Store,
    keys: &OwnKeys,
    deployment: Uuid,
    now: jiff::Timestamp,
) -> Result<(), SigningKeysError> {
    let stored = store.signing_keys(now).await?;
    for BoxedKey { published, sealed } in &stored {
        let id = published.key.id();
        open(keys, deployment, id, sealed).map_err(|fault| SigningKeysError::Unusable {
            key_id: id.clone(),
            fault,
        })?;
    }
    let active = |key: &BoxedKey| key.published.stage.state() == State::Active;
    if stored.iter().any(active) {
        return Ok(());
    }
    let mut first = make(keys, deployment, now).map_err(SigningKeysError::Make)?;
    // Nobody has fetched a key set yet that lacks it.
    first.published.stage = Stage::Active { since: now };
    let cause = bootstrap::at_start(now);
    Ok(store.first_signing_key(&first, &cause).await?)
}

/// Tells the metrics what has become of the keys, here or at another replica. Never ends by itself.
pub(crate) async fn watch(context: Context) {
    let Ok(mut revisions) = context.store.subscribe() else {
        return;
    };
    let mut ticks = tokio::time::interval(WATCH_EVERY);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            Ok(()) = revisions.changed() => {}
        }
        match context.store.signing_keys(context.now()).await {
            Ok(keys) => context.metrics.signing_keys(&keys),
            // What was read last stays.
            Err(error) => tracing::debug!(%error, "couldn't look at the signing keys"),
        }
    }
}

/// A new one, prepared.
fn make(keys: &OwnKeys, deployment: Uuid, now: jiff::Timestamp) -> Result<BoxedKey, MakeError> {
    let key = SigningKey::generate(SigningAlgorithm::Es256)?;
    let public = key.public().clone();
    let pem = key.to_pkcs8_pem();
    let context = context(public.id(), deployment);
    let sealed = keys.seal_signing_key(&context, pem.expose_secret().as_bytes())?;
    Ok(BoxedKey {
        published: PublishedKey::prepared(public, now),
        sealed,
    })
}

/// The private half.
pub(crate) fn open(
    keys: &OwnKeys,
    deployment: Uuid,
    id: &KeyId,
    sealed: &Sealed,
) -> Result<SigningKey, Unusable> {
    let context = context(id, deployment);
    let pem = keys.open_signing_key(sealed.key_id.as_str(), &context, &sealed.bytes)?;
    let pem = std::str::from_utf8(&pem).map_err(|_| Unusable::Inside)?;
    let key = SigningKey::parse(pem).map_err(|_| Unusable::Inside)?;
    let same = key.public().id() == id;
    same.then_some(key).ok_or(Unusable::Inside)
}

fn context(id: &KeyId, deployment: Uuid) -> SigningKeyContext<'_> {
    SigningKeyContext {
        key_id: id.as_str(),
        deployment,
    }
}

#[tonic::async_trait]
impl SigningKeyService for SigningKeys {
    async fn list_signing_keys(
        &self,
        request: Request<pb::ListSigningKeysRequest>,
    ) -> Result<Response<pb::ListSigningKeysResponse>, Status> {
        Ok(Response::new(self.list(&request).await?))
    }

    async fn prepare_signing_key(
        &self,
        request: Request<pb::PrepareSigningKeyRequest>,
    ) -> Result<Response<pb::PrepareSigningKeyResponse>, Status> {
        Ok(Response::new(self.prepare(&request).await?))
    }

    async fn activate_signing_key(
        &self,
        request: Request<pb::ActivateSigningKeyRequest>,
    ) -> Result<Response<pb::ActivateSigningKeyResponse>, Status> {
        Ok(Response::new(self.activate(&request).await?))
    }

    async fn retire_signing_key(
        &self,
        request: Request<pb::RetireSigningKeyRequest>,
    ) -> Result<Response<pb::RetireSigningKeyResponse>, Status> {
        Ok(Response::new(self.retire(&request).await?))
    }
}

// === impl SigningKeys ===

impl SigningKeys {
    async fn list(
        &self,
        request: &Request<pb::ListSigningKeysRequest>,
    ) -> Result<pb::ListSigningKeysResponse, Error> {
        Administrator::of(request)?;
        let keys = self.0.store.signing_keys(self.0.now()).await?;
        Ok(pb::ListSigningKeysResponse {
            signing_keys: keys.iter().map(to_pb).collect(),
        })
    }

    async fn prepare(
        &self,
        request: &Request<pb::PrepareSigningKeyRequest>,
    ) -> Result<pb::PrepareSigningKeyResponse, Error> {
        let now = self.0.now();
        let cause = Administrator::of(request)?.cause(request, now)?;
        let key = make(&self.0.keys, self.0.deployment()?, now).map_err(Error::internal)?;
        let resource = name(key.published.key.id());
        let prepared = self.0.store.prepare_signing_key(&key, &cause).await;
        step(prepared, &resource)?;
        Ok(pb::PrepareSigningKeyResponse {
            signing_key: Some(to_pb(&key)),
        })
    }

    async fn activate(
        &self,
        request: &Request<pb::ActivateSigningKeyRequest>,
    ) -> Result<pb::ActivateSigningKeyResponse, Error> {
        let cause = Administrator::of(request)?.cause(request, self.0.now())?;
        let pb::ActivateSigningKeyRequest { name, force } = request.get_ref();
        let id = id(name)?;
        let activated = self.0.store.activate_signing_key(&id, *force, &cause).await;
        let key = step(activated, name)?;
        Ok(pb::ActivateSigningKeyResponse {
            signing_key: Some(to_pb(&key)),
        })
    }

    async fn retire(
        &self,
        request: &Request<pb::RetireSigningKeyRequest>,
    ) -> Result<pb::RetireSigningKeyResponse, Error> {
        let cause = Administrator::of(request)?.cause(request, self.0.now())?;
        let pb::RetireSigningKeyRequest { name, force } = request.get_ref();
        let id = id(name)?;
        let retired = self.0.store.retire_signing_key(&id, *force, &cause).await;
        step(retired, name)?;
        Ok(pb::RetireSigningKeyResponse {})
    }
}

fn id(name: &str) -> Result<KeyId, Error> {
    let id = name.strip_prefix("signingKeys/");
    id.and_then(|id| id.parse().ok()).ok_or_else(|| {
        Error::invalid(
            "name",
            "must be `signingKeys/` and a key ID of 43 characters",
        )
    })
}

fn step<T>(done: Result<Result<T, StepRefused>, WriteError>, name: &str) -> Result<T, Error> {
    let done = done.map_err(|error| failure::of_write(error, name, ""))?;
    done.map_err(|refused| Error::FailedPrecondition {
        reason: Precondition::SigningKeyState,
        message: format!("{name} {refused}"),
        violations: vec![Blocker {
            subject: name.to_owned(),
            description: refused.to_string(),
        }],
    })
}

fn to_pb(boxed: &BoxedKey) -> pb::SigningKey {
    let PublishedKey {
        key,
        stage,
        create_time,
    } = &boxed.published;
    let (state, activate, retire, remove) = match *stage {
        Stage::Prepared => (pb::SigningKeyState::Prepared, None, None, None),
        Stage::Active { since } => (pb::SigningKeyState::Active, Some(since), None, None),
        Stage::Retired {
            activated,
            at,
            until,
        } => (
            pb::SigningKeyState::Retired,
            Some(activated),
            Some(at),
            Some(until),
        ),
    };
    let known_from = (*stage == Stage::Prepared).then(|| boxed.published.known_from());
    pb::SigningKey {
        name: name(key.id()),
        key_id: key.id().to_string(),
        state: state.into(),
        public_key: key.to_pem(),
        seal_key_id: boxed.sealed.key_id.to_string(),
        create_time: Some(time::timestamp(*create_time)),
        activatable_time: known_from.map(time::timestamp),
        activate_time: activate.map(time::timestamp),
        retire_time: retire.map(time::timestamp),
        remove_time: remove.map(time::timestamp),
    }
}

impl From<StoreError> for SigningKeysError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.into())
    }
}

impl From<WriteError> for SigningKeysError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Store(error) => error.into(),
            error => Self::Store(error.into()),
        }
    }
}
