//! The database: PostgreSQL, or SQLite for one node.
//!
//! One function is one transaction, and a write takes its audit record along. The SQL stands once,
//! in `sql/`, in the subset that both engines share; what differs between them stands in
//! `postgres.rs` and `sqlite.rs`. Nothing outside sees a connection.

#![expect(
    clippy::duplicate_mod,
    reason = "sql/ is compiled once for each engine, against its native driver"
)]

mod access_keys;
mod batches;
mod document;
mod error;
mod events;
mod exchange;
mod hooks;
mod instances;
mod key_uses;
mod page;
mod parsed;
mod postgres;
mod revocation;
mod rows;
pub(crate) mod signing;
mod sqlite;
mod time;
mod types;
mod url;
mod worth;

#[cfg(test)]
mod contract;

use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use postern_core::access_id::AccessId;
use postern_core::access_token::{AccessKeyId, Accessor, TokenHash};
use postern_core::association::{Association, RequiredSubClaims};
use postern_core::audit::Event;
use postern_core::audit::chain::Chain;
use postern_core::auth_method::{AuthMethod, Settings};
use postern_core::invalid::Invalid;
use postern_core::key::KeyId;
use postern_core::meta::Stored;
use postern_core::own_keys::OwnKeys;
use postern_core::resource_id::{ConfigName, GatewayName, ResourceId};
use postern_core::role::{Authorization, Role, RoleSettings};
use postern_core::sealed_config::SealedConfig;
use postern_core::signing_key::StepRefused;
use tokio::sync::watch;
use uuid::Uuid;

pub(crate) use access_keys::{KeyOverlap, NewKey, StoredKey, StoredKeys};
pub(crate) use error::{Inconsistent, StoreError, WriteError};
pub(crate) use events::{
    EventCursor, EventFilter, EventPage, LoginStat, Sealed, SealedPage, StatsWindow, Tail,
    TailCursor,
};
pub(crate) use instances::{Instance, Instances};
pub(crate) use key_uses::{KeyUse, KeyUses};
pub(crate) use page::Page;
pub(crate) use revocation::{Block, BlockCursor, Blocked, LiveToken, TokenFilter};
pub(crate) use signing::{BoxedKey, Signer};
pub(crate) use types::{
    AssociationCursor, AssociationFilter, AuditSink, Cause, Change, Changes, Etag, Exchange,
    Exchanged, FirstStart, Gateway, GatewayIdentity, Granted, Intent, KeyDenial, Limited, LogIn,
    LoggedIn, MethodRef, NewAssociation, Recovery, RevokePods, Session, Snapshot, SpeaksFor,
    TokenPod, Unsigned,
};
pub use url::{DatabaseUrl, DatabaseUrlError};
pub(crate) use worth::{
    Ask, Inspection, Introspected, Prolonged, Renewal, Renewed, Revocation, Shown, Subject,
    WhichToken,
};

/// The one way to the database. Clones share it. Until it is open, the answer to everything is that
/// the database is unavailable.
#[derive(Clone, Default)]
pub(crate) struct Store(Arc<OnceLock<Engine>>);

#[derive(Clone)]
enum Engine {
    Postgres(Arc<postgres::Postgres>),
    Sqlite(Arc<sqlite::Sqlite>),
}

macro_rules! on_engine {
    ($self:ident.$function:ident($($argument:expr),*)) => {
        match $self.engine()? {
            Engine::Postgres(engine) => engine.$function($($argument),*).await,
            Engine::Sqlite(engine) => engine.$function($($argument),*).await,
        }
    };
}

type Read<T> = Result<T, StoreError>;
type Write<T> = Result<T, WriteError>;

impl Store {
    /// Connects, waiting some seconds for a server that isn't up yet, and brings the schema up to
    /// date. `sink` gets every new audit record.
    pub(crate) async fn connect(url: &DatabaseUrl, sink: AuditSink) -> Read<Self> {
        let engine = match &url.0 {
            url::Target::Postgres(options) => {
                Engine::Postgres(postgres::connect(options, sink).await?)
            }
            url::Target::Sqlite(path) => Engine::Sqlite(sqlite::connect(path, sink).await?),
        };
        Ok(Self(Arc::new(OnceLock::from(engine))))
    }

    /// From now on this and all its clones are what `connected` is; the first time counts.
    pub(crate) fn open(&self, connected: &Self) {
        if let Some(engine) = connected.0.get() {
            let _ = self.0.set(engine.clone());
        }
    }

    fn engine(&self) -> Read<&Engine> {
        self.0.get().ok_or(StoreError::NotOpen)
    }

    /// The same for a database that a control plane keeps: nothing of it is changed by connecting,
    /// and its schema must be this version's.
    pub(crate) async fn connect_as_it_is(url: &DatabaseUrl, sink: AuditSink) -> Read<Self> {
        let engine = match &url.0 {
            url::Target::Postgres(options) => {
                Engine::Postgres(postgres::connect_as_it_is(options, sink).await?)
            }
            url::Target::Sqlite(path) => {
                Engine::Sqlite(sqlite::connect_as_it_is(path, sink).await?)
            }
        };
        Ok(Self(Arc::new(OnceLock::from(engine))))
    }

    /// Whether the database answers.
    pub(crate) async fn ping(&self) -> Read<()> {
        on_engine!(self.ping())
    }

    /// The highest revision that this process knows of. Changes within a second of another
    /// process's write.
    pub(crate) fn subscribe(&self) -> Read<watch::Receiver<i64>> {
        Ok(match self.engine()? {
            Engine::Postgres(engine) => engine.subscribe(),
            Engine::Sqlite(engine) => engine.subscribe(),
        })
    }

    /// `None` for a database that was never started with a bootstrap file.
    pub(crate) async fn deployment_id(&self) -> Read<Option<Uuid>> {
        on_engine!(self.deployment_id())
    }

    /// Fills an empty database; changes nothing in one that isn't. The deployment's ID as stored.
    pub(crate) async fn bootstrap(&self, start: &FirstStart, cause: &Cause) -> Write<Uuid> {
        on_engine!(self.bootstrap(start, cause))
    }

    /// `key` is the first one of an access-key method; all of the method's tokens have `roles`.
    pub(crate) async fn create_auth_method_with(
        &self,
        method: &AuthMethod,
        key: Option<&TokenHash>,
        roles: &[ResourceId],
        intent: Intent,
        cause: &Cause,
    ) -> Write<Stored<AuthMethod>> {
        on_engine!(self.create_auth_method(method, (key, roles), intent, cause))
    }

    pub(crate) async fn get_auth_method(
        &self,
        method: &MethodRef,
    ) -> Read<Option<Stored<AuthMethod>>> {
        on_engine!(self.get_auth_method(method))
    }

    /// By ID.
    pub(crate) async fn list_auth_methods(
        &self,
        after: Option<&ResourceId>,
        limit: u32,
    ) -> Read<Page<Stored<AuthMethod>>> {
        on_engine!(self.list_auth_methods(after, limit))
    }

    /// `edit` runs inside the transaction on the row as it is, so that an update of some fields
    /// under `*` loses nobody's write to the others.
    pub(crate) async fn update_auth_method<F>(
        &self,
        method: &MethodRef,
        etag: Etag,
        edit: F,
        intent: Intent,
        cause: &Cause,
    ) -> Write<Stored<AuthMethod>>
    where
        F: FnOnce(&AuthMethod) -> Result<Settings, Invalid> + Send,
    {
        on_engine!(self.update_auth_method(method, etag, edit, intent, cause))
    }

    /// Another ID; all else stays.
    pub(crate) async fn rename_auth_method(
        &self,
        method: &MethodRef,
        etag: Etag,
        id: &ResourceId,
        intent: Intent,
        cause: &Cause,
    ) -> Write<Stored<AuthMethod>> {
        on_engine!(self.rename_auth_method(method, etag, id, intent, cause))
    }

    /// With its keys; with `force` the configs that name it too.
    pub(crate) async fn delete_auth_method(
        &self,
        method: &MethodRef,
        etag: Etag,
        force: bool,
        cause: &Cause,
    ) -> Write<()> {
        on_engine!(self.delete_auth_method(method, etag, force, cause))
    }

    /// Lets an administrator in by the key alone: by a new method, or by one that is there, whose
    /// other keys end and which nothing closes any more. Whether it is new.
    pub(crate) async fn recover_admin(
        &self,
        recovery: &Recovery,
        cause: &Cause,
    ) -> Write<(Stored<AuthMethod>, bool)> {
        on_engine!(self.recover_admin(recovery, cause))
    }

    /// Of the keys of all methods from `first` to `last`, by ID.
    pub(crate) async fn key_uses(&self, first: &ResourceId, last: &ResourceId) -> Read<KeyUses> {
        on_engine!(self.key_uses(first, last))
    }

    /// Another key for an access-key method.
    pub(crate) async fn rotate_access_key(
        &self,
        method: &MethodRef,
        etag: Etag,
        key: &NewKey,
        intent: Intent,
        cause: &Cause,
    ) -> Write<Stored<AuthMethod>> {
        on_engine!(self.rotate_access_key(method, etag, key, intent, cause))
    }

    /// Ends one key of an access-key method: after `overlap`, or at once.
    pub(crate) async fn revoke_access_key(
        &self,
        method: &MethodRef,
        etag: Etag,
        (id, overlap): (&AccessKeyId, Option<KeyOverlap>),
        intent: Intent,
        cause: &Cause,
    ) -> Write<Stored<AuthMethod>> {
        on_engine!(self.revoke_access_key(method, etag, (id, overlap), intent, cause))
    }

    /// Of all access-key methods from `first` to `last`, by ID.
    pub(crate) async fn keys_of_methods(
        &self,
        first: &ResourceId,
        last: &ResourceId,
    ) -> Read<StoredKeys> {
        on_engine!(self.keys_of_methods(first, last))
    }

    /// Whether the access key is that access ID's and good.
    pub(crate) async fn knows_key(
        &self,
        access_id: &AccessId,
        key: &TokenHash,
        now: Timestamp,
    ) -> Read<bool> {
        on_engine!(self.knows_key(access_id, key, now))
    }

    /// Notes that a login was signed with the key; within a minute of the last note it does nothing.
    pub(crate) async fn key_used(
        &self,
        access_id: &AccessId,
        key_id: &str,
        now: Timestamp,
    ) -> Read<()> {
        on_engine!(self.key_used(access_id, key_id, now))
    }

    /// Refused where the role holds more than whoever asks; so are the other writes of roles and
    /// associations.
    pub(crate) async fn create_role(
        &self,
        role: &Role,
        intent: Intent,
        cause: &Cause,
    ) -> Write<Stored<Role>> {
        on_engine!(self.create_role(role, intent, cause))
    }

    pub(crate) async fn get_role(&self, id: &ResourceId) -> Read<Option<Stored<Role>>> {
        on_engine!(self.get_role(id))
    }

    /// By ID.
    pub(crate) async fn list_roles(
        &self,
        after: Option<&ResourceId>,
        limit: u32,
    ) -> Read<Page<Stored<Role>>> {
        on_engine!(self.list_roles(after, limit))
    }

    /// `edit` runs inside the transaction on the row as it is.
    pub(crate) async fn update_role<F>(
        &self,
        id: &ResourceId,
        etag: Etag,
        edit: F,
        intent: Intent,
        cause: &Cause,
    ) -> Write<Stored<Role>>
    where
        F: FnOnce(&Role) -> Result<RoleSettings, Invalid> + Send,
    {
        on_engine!(self.update_role(id, etag, edit, intent, cause))
    }

    /// With `force` its associations too.
    pub(crate) async fn delete_role(
        &self,
        id: &ResourceId,
        etag: Etag,
        force: bool,
        cause: &Cause,
    ) -> Write<()> {
        on_engine!(self.delete_role(id, etag, force, cause))
    }

    pub(crate) async fn create_association(
        &self,
        new: &NewAssociation,
        intent: Intent,
        cause: &Cause,
    ) -> Write<Stored<Association>> {
        on_engine!(self.create_association(new, intent, cause))
    }

    pub(crate) async fn get_association(&self, uid: Uuid) -> Read<Option<Stored<Association>>> {
        on_engine!(self.get_association(uid))
    }

    /// Oldest first.
    pub(crate) async fn list_associations(
        &self,
        filter: &AssociationFilter,
        after: Option<&AssociationCursor>,
        limit: u32,
    ) -> Read<Page<Stored<Association>>> {
        on_engine!(self.list_associations(filter, after, limit))
    }

    /// `edit` runs inside the transaction on the row as it is.
    pub(crate) async fn update_association<F>(
        &self,
        uid: Uuid,
        etag: Etag,
        edit: F,
        intent: Intent,
        cause: &Cause,
    ) -> Write<Stored<Association>>
    where
        F: FnOnce(&Association) -> Result<RequiredSubClaims, Invalid> + Send,
    {
        on_engine!(self.update_association(uid, etag, edit, intent, cause))
    }

    pub(crate) async fn delete_association(
        &self,
        uid: Uuid,
        etag: Etag,
        cause: &Cause,
    ) -> Write<()> {
        on_engine!(self.delete_association(uid, etag, cause))
    }

    /// All roles that some of the method's tokens have.
    pub(crate) async fn roles_of_method(&self, method: &ResourceId) -> Read<Vec<Role>> {
        on_engine!(self.roles_of_method(method))
    }

    pub(crate) async fn create_gateway(
        &self,
        gateway: &Gateway,
        key: &TokenHash,
        cause: &Cause,
    ) -> Write<Stored<Gateway>> {
        on_engine!(self.create_gateway(gateway, key, cause))
    }

    pub(crate) async fn get_gateway(&self, name: &GatewayName) -> Read<Option<Stored<Gateway>>> {
        on_engine!(self.get_gateway(name))
    }

    /// By name.
    pub(crate) async fn list_gateways(
        &self,
        after: Option<&GatewayName>,
        limit: u32,
    ) -> Read<Page<Stored<Gateway>>> {
        on_engine!(self.list_gateways(after, limit))
    }

    /// `edit` runs inside the transaction on the row as it is.
    pub(crate) async fn update_gateway<F>(
        &self,
        name: &GatewayName,
        etag: Etag,
        edit: F,
        intent: Intent,
        cause: &Cause,
    ) -> Write<Stored<Gateway>>
    where
        F: FnOnce(&Gateway) -> Result<Gateway, Invalid> + Send,
    {
        on_engine!(self.update_gateway(name, etag, edit, intent, cause))
    }

    /// Another key for the gateway's credential.
    pub(crate) async fn rotate_gateway_key(
        &self,
        name: &GatewayName,
        etag: Etag,
        key: &NewKey,
        intent: Intent,
        cause: &Cause,
    ) -> Write<Stored<Gateway>> {
        on_engine!(self.rotate_gateway_key(name, etag, key, intent, cause))
    }

    /// Names of the gateways that clients reach at that URL.
    pub(crate) async fn gateways_at(&self, url: &str) -> Read<Vec<GatewayName>> {
        on_engine!(self.gateways_at(url))
    }

    /// Of the credentials of all gateways from `first` to `last`, by name.
    pub(crate) async fn keys_of_gateways(
        &self,
        first: &GatewayName,
        last: &GatewayName,
    ) -> Read<StoredKeys> {
        on_engine!(self.keys_of_gateways(first, last))
    }

    /// What one replica of the gateway says of itself.
    pub(crate) async fn report_instance(
        &self,
        gateway: &GatewayIdentity,
        instance: &Instance,
    ) -> Read<()> {
        on_engine!(self.report_instance(gateway, instance))
    }

    /// Of all gateways from `first` to `last`, by name: the replicas that were heard of in the last
    /// 24 hours.
    pub(crate) async fn instances(
        &self,
        first: &GatewayName,
        last: &GatewayName,
        now: Timestamp,
    ) -> Read<Instances> {
        on_engine!(self.instances(first, last, now))
    }

    /// With its credential; with `force` its configs too.
    pub(crate) async fn delete_gateway(
        &self,
        name: &GatewayName,
        etag: Etag,
        force: bool,
        cause: &Cause,
    ) -> Write<()> {
        on_engine!(self.delete_gateway(name, etag, force, cause))
    }

    /// Takes generation 1 under a UID that was never used, for a Kubernetes method and with one of
    /// its keys.
    pub(crate) async fn create_config(
        &self,
        config: &SealedConfig,
        intent: Intent,
        cause: &Cause,
    ) -> Write<Stored<SealedConfig>> {
        on_engine!(self.create_config(config, intent, cause))
    }

    pub(crate) async fn get_config(&self, name: &ConfigName) -> Read<Option<Stored<SealedConfig>>> {
        on_engine!(self.get_config(name))
    }

    /// By name; of all gateways where none is given.
    pub(crate) async fn list_configs(
        &self,
        gateway: Option<&GatewayName>,
        after: Option<&ConfigName>,
        limit: u32,
    ) -> Read<Page<Stored<SealedConfig>>> {
        on_engine!(self.list_configs(gateway, after, limit))
    }

    /// Replaces the config whole. Stale also where the generation isn't the next one.
    pub(crate) async fn update_config(
        &self,
        config: &SealedConfig,
        etag: Etag,
        intent: Intent,
        cause: &Cause,
    ) -> Write<Stored<SealedConfig>> {
        on_engine!(self.update_config(config, etag, intent, cause))
    }

    pub(crate) async fn delete_config(
        &self,
        name: &ConfigName,
        etag: Etag,
        cause: &Cause,
    ) -> Write<()> {
        on_engine!(self.delete_config(name, etag, cause))
    }

    /// An access key for a token of an administrator (as long as the method says, 5 minutes where
    /// narrowed) or a gateway (an hour).
    pub(crate) async fn log_in(&self, login: &LogIn) -> Read<LoggedIn> {
        on_engine!(self.log_in(login))
    }

    /// Whom a token stands for; `None` when it isn't good, for whatever reason.
    pub(crate) async fn session(&self, token: &TokenHash, now: Timestamp) -> Read<Option<Session>> {
        on_engine!(self.session(token, now))
    }

    /// What a token is worth there, and what it says; `None` when it isn't good, for whatever
    /// reason.
    pub(crate) async fn introspect(&self, inspection: &Inspection) -> Read<Option<Introspected>> {
        on_engine!(self.introspect(inspection))
    }

    /// What the rules of a token's roles say; nothing of one that isn't good. Where it is allowed,
    /// one use.
    pub(crate) async fn authorize(&self, ask: &Ask) -> Read<Authorization> {
        on_engine!(self.authorize(ask))
    }

    /// Ends a token. Whether there was such a one.
    pub(crate) async fn revoke(&self, revocation: &Revocation) -> Read<bool> {
        on_engine!(self.revoke(revocation))
    }

    /// Gives a token that an access key was shown for more time.
    pub(crate) async fn renew(&self, renewal: &Renewal) -> Read<Renewed> {
        on_engine!(self.renew(renewal))
    }

    /// An assertion for a token. After [`StoreError::Unavailable`] it can be asked for again with
    /// the same bytes: it is granted once, and the first answer repeated.
    pub(crate) async fn exchange(&self, request: &Exchange) -> Read<Exchanged> {
        on_engine!(self.exchange(request))
    }

    /// Deletes the tokens of pods that are gone and remembers those pods, so that no login that is under way gives
    /// one of them another. How many tokens; `None`: the config isn't this gateway's.
    pub(crate) async fn revoke_pods(&self, revoke: &RevokePods) -> Read<Option<u64>> {
        on_engine!(self.revoke_pods(revoke))
    }

    /// Pods that hold tokens of a config, by UID. `None`: the config isn't this gateway's.
    pub(crate) async fn token_pods(
        &self,
        gateway: &GatewayIdentity,
        config_uid: Uuid,
        after: &str,
        limit: u32,
        now: Timestamp,
    ) -> Read<Option<Vec<TokenPod>>> {
        on_engine!(self.token_pods(gateway, config_uid, after, limit, now))
    }

    /// `None` for one that isn't good, for whatever reason.
    pub(crate) async fn get_token(
        &self,
        accessor: &Accessor,
        now: Timestamp,
    ) -> Read<Option<LiveToken>> {
        on_engine!(self.get_token(accessor, now))
    }

    /// Those that are good, by accessor. The filter's method must exist.
    pub(crate) async fn list_tokens(
        &self,
        filter: &TokenFilter,
        after: Option<&Accessor>,
        limit: u32,
        now: Timestamp,
    ) -> Write<Page<LiveToken>> {
        on_engine!(self.list_tokens(filter, after, limit, now))
    }

    /// Takes away all that match, those of logins under way included. How many, up to a million.
    pub(crate) async fn revoke_tokens(
        &self,
        filter: &TokenFilter,
        intent: Intent,
        cause: &Cause,
    ) -> Write<i64> {
        on_engine!(self.revoke_tokens(filter, intent, cause))
    }

    /// Also takes the subject's tokens away: how many. A block that is there is replaced.
    pub(crate) async fn block(&self, block: &Block, cause: &Cause) -> Write<i64> {
        on_engine!(self.block(block, cause))
    }

    /// Revives no token.
    pub(crate) async fn unblock(&self, blocked: &Blocked, cause: &Cause) -> Write<()> {
        on_engine!(self.unblock(blocked, cause))
    }

    /// Those that haven't ended, by subject.
    pub(crate) async fn list_blocks(
        &self,
        after: Option<&BlockCursor>,
        limit: u32,
        now: Timestamp,
    ) -> Read<Page<(BlockCursor, Block)>> {
        on_engine!(self.list_blocks(after, limit, now))
    }

    /// That of the last committed write.
    pub(crate) async fn current_revision(&self) -> Read<i64> {
        on_engine!(self.current_revision())
    }

    /// The gateway's configs and the methods that they name.
    pub(crate) async fn snapshot(&self, gateway: &GatewayIdentity) -> Read<Snapshot> {
        on_engine!(self.snapshot(gateway))
    }

    /// What concerns the gateway after that revision.
    pub(crate) async fn changes_since(
        &self,
        gateway: &GatewayIdentity,
        after: i64,
    ) -> Read<Changes> {
        on_engine!(self.changes_since(gateway, after))
    }

    /// Gateways' records; those whose ID is there already are dropped.
    pub(crate) async fn report_events(&self, events: &[Event]) -> Read<()> {
        on_engine!(self.report_events(events))
    }

    /// A refusal that anybody can cause. Of a flood the first are records of their own.
    pub(crate) async fn record_refusal(&self, event: Event) -> Read<()> {
        on_engine!(self.record_refusal(event))
    }

    /// Records how many refusals have none, of minutes that are over at `now`; of all without it.
    pub(crate) async fn close_refusals(&self, now: Option<Timestamp>) -> Read<()> {
        on_engine!(self.close_refusals(now))
    }

    /// The record of a call, unless its request has one already.
    pub(crate) async fn record_call(&self, event: &Event) -> Read<()> {
        on_engine!(self.record_call(event))
    }

    /// Newest first. A page that finds little ends as well: it may be empty and not the last.
    pub(crate) async fn list_events(
        &self,
        filter: &EventFilter,
        before: Option<&EventCursor>,
        limit: u32,
    ) -> Read<EventPage> {
        on_engine!(self.list_events(filter, before, limit))
    }

    /// In the order in which records were sealed, each once.
    pub(crate) async fn tail_events(
        &self,
        filter: &EventFilter,
        after: &TailCursor,
        limit: u32,
    ) -> Read<Tail> {
        on_engine!(self.tail_events(filter, after, limit))
    }

    /// The last seal's sequence.
    pub(crate) async fn sealed_until(&self) -> Read<i64> {
        on_engine!(self.sealed_until())
    }

    /// Seals the records that have none, up to as many as a seal can have. Of several processes one
    /// seals at a time. `None`: there are none.
    pub(crate) async fn seal_events(
        &self,
        chain: Chain,
        keys: &OwnKeys,
        now: Timestamp,
    ) -> Read<Option<Sealed>> {
        on_engine!(self.seal_events(chain, keys, now))
    }

    /// The seals after that sequence, as they are now, whatever was done to them.
    pub(crate) async fn sealed(&self, chain: Chain, after: i64) -> Read<SealedPage> {
        on_engine!(self.sealed(chain, after))
    }

    /// Removes what was sealed before, and leaves an anchor. How many rows.
    pub(crate) async fn prune_events(
        &self,
        chain: Chain,
        keys: &OwnKeys,
        before: Timestamp,
    ) -> Read<u64> {
        on_engine!(self.prune_events(chain, keys, before))
    }

    /// Forgets how many logins there were before. How many rows.
    pub(crate) async fn prune_stats(&self, before: Timestamp) -> Read<u64> {
        on_engine!(self.prune_stats(before))
    }

    /// By config, result and reason; 1000 at most.
    pub(crate) async fn login_stats(&self, window: &StatsWindow) -> Read<Vec<LoginStat>> {
        on_engine!(self.login_stats(window))
    }

    /// Those that can still verify something; the one that signs first, then the newest.
    pub(crate) async fn signing_keys(&self, now: Timestamp) -> Read<Vec<BoxedKey>> {
        on_engine!(self.signing_keys(now))
    }

    /// `None` also for one that verifies nothing any more.
    pub(crate) async fn signing_key(&self, id: &KeyId, now: Timestamp) -> Read<Option<BoxedKey>> {
        on_engine!(self.signing_key(id, now))
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

    /// Removes what has expired, in small transactions. How many rows.
    pub(crate) async fn sweep(&self, now: Timestamp) -> Read<u64> {
        on_engine!(self.sweep(now))
    }

    /// Forgets all but the last `keep` revisions' changes. How many rows.
    pub(crate) async fn prune_changes(&self, keep: i64) -> Read<u64> {
        on_engine!(self.prune_changes(keep))
    }
}

/// What tests do to a database behind the store's back.
#[cfg(test)]
impl Store {
    /// One whose tokens have no role.
    async fn create_auth_method(
        &self,
        method: &AuthMethod,
        key: Option<&TokenHash>,
        intent: Intent,
        cause: &Cause,
    ) -> Write<Stored<AuthMethod>> {
        self.create_auth_method_with(method, key, &[], intent, cause)
            .await
    }

    async fn raw(&self, statement: &'static str) {
        match self.engine().unwrap() {
            Engine::Postgres(engine) => engine.raw(statement).await,
            Engine::Sqlite(engine) => engine.raw(statement).await,
        }
    }

    async fn rules_revision(&self, token: &TokenHash) -> Option<i64> {
        match self.engine().unwrap() {
            Engine::Postgres(engine) => engine.rules_revision(token).await,
            Engine::Sqlite(engine) => engine.rules_revision(token).await,
        }
    }

    async fn scalar(&self, statement: &'static str) -> i64 {
        match self.engine().unwrap() {
            Engine::Postgres(engine) => engine.scalar(statement).await,
            Engine::Sqlite(engine) => engine.scalar(statement).await,
        }
    }
}
