//! Keys that sign JWTs.

use jiff::Timestamp;
use postern_core::key::KeyId;
use postern_core::signing_key::StepRefused;

use crate::store::{BoxedKey, Cause, Engine, Read, Store, Write, patience};

impl Store {
    /// `None` also for one that verifies nothing any more.
    pub(crate) async fn signing_key(&self, id: &KeyId, now: Timestamp) -> Read<Option<BoxedKey>> {
        on_engine!(self.signing_key(id, now))
    }

    /// Those that can still verify something; the one that signs first, then the newest.
    pub(crate) async fn signing_keys(&self, now: Timestamp) -> Read<Vec<BoxedKey>> {
        on_engine!(self.signing_keys(now))
    }

    /// Keeps an active key where none is; does nothing where one is.
    pub(crate) async fn first_signing_key(&self, key: &BoxedKey, cause: &Cause) -> Write<()> {
        on_engine!(self.first_signing_key(key, cause))
    }

    /// Keeps a prepared key. The inner error: why not.
    pub(crate) async fn prepare_signing_key(
        &self,
        key: &BoxedKey,
        cause: &Cause,
    ) -> Write<Result<(), StepRefused>> {
        on_engine!(self.prepare_signing_key(key, cause))
    }

    /// Retires the one that signed. The inner error: why not.
    pub(crate) async fn activate_signing_key(
        &self,
        id: &KeyId,
        force: bool,
        cause: &Cause,
    ) -> Write<Result<BoxedKey, StepRefused>> {
        on_engine!(self.activate_signing_key(id, force, cause))
    }

    /// Deletes it, and all that it signed is worth nothing. The inner error: why not.
    pub(crate) async fn retire_signing_key(
        &self,
        id: &KeyId,
        force: bool,
        cause: &Cause,
    ) -> Write<Result<(), StepRefused>> {
        on_engine!(self.retire_signing_key(id, force, cause))
    }
}
