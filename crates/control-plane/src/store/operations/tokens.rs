//! Tokens: from login to revocation.

use std::net::IpAddr;

use jiff::Timestamp;
use postern_core::access_token::{Accessor, TokenHash};
use postern_core::role::Authorization;
use uuid::Uuid;

use crate::store::{
    Ask, Block, BlockCursor, Blocked, Cause, Engine, Exchange, Exchanged, GatewayIdentity,
    Inspection, Intent, Introspected, LiveToken, LogIn, LoggedIn, Page, Read, Renewal, Renewed,
    Revocation, RevokePods, Session, Store, TokenFilter, TokenPod, Write, patience,
};

impl Store {
    /// An access key for a token of an administrator (as long as the method says, 5 minutes where
    /// narrowed) or a gateway (an hour).
    pub(crate) async fn log_in(&self, login: &LogIn) -> Read<LoggedIn> {
        on_engine!(self.log_in(login))
    }

    /// Whom a token stands for; `None` when it isn't good, for whatever reason.
    pub(crate) async fn session(&self, token: &TokenHash, now: Timestamp) -> Read<Option<Session>> {
        on_engine!(self.session(token, now))
    }

    /// As [`session`](Self::session), for a caller at that address: no use where the method's
    /// `bound_ips` don't have it, which is for whoever asks to refuse.
    pub(crate) async fn session_at(
        &self,
        token: &TokenHash,
        client_ip: Option<IpAddr>,
        now: Timestamp,
    ) -> Read<Option<Session>> {
        on_engine!(self.session_at(token, client_ip, now))
    }

    /// Whom a token that was used already stands for now. No use of it.
    pub(crate) async fn standing(
        &self,
        token: &TokenHash,
        now: Timestamp,
    ) -> Read<Option<Session>> {
        on_engine!(self.standing(token, now))
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

    /// An assertion for a token. After [UNAVAILABLE](crate::store::StoreError::Unavailable) it can be asked for again with
    /// the same bytes: it is granted once, and the first answer repeated.
    pub(crate) async fn exchange(&self, request: &Exchange) -> Read<Exchanged> {
        on_engine!(self.exchange(request))
    }

    /// The same for those that came together, in their order.
    pub(crate) async fn exchange_all(&self, requests: Vec<Exchange>) -> Read<Vec<Read<Exchanged>>> {
        on_engine!(self.exchange_all(requests))
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
}
