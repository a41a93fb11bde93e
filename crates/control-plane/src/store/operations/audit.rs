//! Audit records and their seals.

use jiff::Timestamp;
use postern_core::audit::Event;
use postern_core::audit::chain::Chain;
use postern_core::own_keys::OwnKeys;

use crate::store::{
    Engine, EventCursor, EventFilter, EventPage, LoginStat, Read, Sealed, SealedPage, StatsWindow,
    Store, Tail, TailCursor, patience,
};

impl Store {
    /// Gateways' records; those whose ID is there already are dropped.
    pub(crate) async fn report_events(&self, events: &[Event]) -> Read<()> {
        on_engine!(self.report_events(events))
    }

    /// A refusal that anybody can cause. Of a flood the first are records of their own.
    pub(crate) async fn record_refusal(&self, event: Event) -> Read<()> {
        on_engine!(self.record_refusal(event))
    }

    /// What a limit turned away: as a refusal, but written with the next [counts](Self::close_refusals).
    pub(crate) fn record_later(&self, event: Event) -> Read<()> {
        match self.engine()? {
            Engine::Postgres(engine) => engine.record_later(event),
            Engine::Sqlite(engine) => engine.record_later(event),
        }
        Ok(())
    }

    /// Records what waits for it, and how many refusals have no record, of minutes that are over at `now`; of all
    /// without it.
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
        stepwise_on_engine!(self.prune_events(chain, keys, before))
    }

    /// Forgets how many logins there were before. How many rows.
    pub(crate) async fn prune_stats(&self, before: Timestamp) -> Read<u64> {
        on_engine!(self.prune_stats(before))
    }

    /// By config, result and reason; 1000 at most.
    pub(crate) async fn login_stats(&self, window: &StatsWindow) -> Read<Vec<LoginStat>> {
        on_engine!(self.login_stats(window))
    }
}
