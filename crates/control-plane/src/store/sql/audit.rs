//! `audit_events`: written with what they tell of, or reported by gateways; sealed, and never changed.

mod chain;
mod read;

use std::borrow::Cow;
use std::collections::HashSet;

use jiff::Timestamp;
use postern_core::audit::Event;
use sqlx::QueryBuilder;
use sqlx::query_builder::Separated;

use super::{Connection, Db, Engine, portions};
use crate::store::StoreError;
use crate::store::rows::to_json;
use crate::store::time::micros;

pub(super) const INTO: &str = "INSERT INTO audit_events
     (id, time, event, component, request_id, gateway, k8s_auth_config, access_id,
      caller_ip, user_agent, accessor, resource, facts, reason, rule, count, revision,
      before_json, after_json, sub_claims, namespace, service_account, pod,
      token_expire_time) ";

/// Those that weren't there before.
pub(super) async fn insert<'e>(
    connection: &mut Connection,
    events: &'e [Event],
) -> Result<Vec<&'e Event>, StoreError> {
    let mut new = HashSet::new();
    for batch in portions(events) {
        let mut insert = QueryBuilder::<Db>::new(INTO);
        insert.push_values(rows(batch)?, bind);
        insert.push(" ON CONFLICT (id) DO NOTHING RETURNING id");
        let ids: Vec<String> = insert
            .build_query_scalar()
            .fetch_all(&mut *connection)
            .await?;
        new.extend(ids);
    }
    // A record that stands twice in one report was stored once.
    Ok(events
        .iter()
        .filter(|event| new.remove(&event.id.to_string()))
        .collect())
}

/// A record, as it is stored.
pub(super) type Row<'e> = (&'e Event, Documents);

pub(super) fn rows(events: &[Event]) -> Result<Vec<Row<'_>>, StoreError> {
    let row = |event| Ok((event, Documents::of(event)?));
    events.iter().map(row).collect()
}

/// What of a record is JSON in a column.
pub(super) struct Documents {
    facts: Option<String>,
    sub_claims: Option<String>,
}

impl Documents {
    fn of(event: &Event) -> Result<Self, StoreError> {
        let claims = Some(&event.sub_claims).filter(|claims| !claims.is_empty());
        Ok(Self {
            facts: event.facts.as_ref().map(to_json).transpose()?,
            sub_claims: claims.map(to_json).transpose()?,
        })
    }
}

pub(super) fn bind(mut row: Separated<'_, Db, &str>, (event, documents): Row<'_>) {
    let owned = |text: &str| clean(text).into_owned();
    let facts = event.facts.as_ref();
    row.push_bind(event.id.to_string())
        .push_bind(micros(event.time))
        .push_bind(event.kind.as_str())
        .push_bind(event.component.as_str())
        .push_bind(owned(&event.request_id))
        .push_bind(owned(&event.gateway))
        .push_bind(owned(&event.k8s_auth_config))
        .push_bind(owned(&event.access_id))
        .push_bind(event.caller_ip.map(|ip| ip.to_string()))
        .push_bind(owned(&event.user_agent))
        .push_bind(owned(&event.accessor))
        .push_bind(owned(&event.resource))
        .push_bind(documents.facts)
        .push_bind(owned(&event.reason))
        .push_bind(event.rule.and_then(|rule| i64::try_from(rule).ok()))
        .push_bind(i64::from(event.count))
        .push_bind(event.revision)
        .push_bind(event.before.as_deref().map(owned))
        .push_bind(event.after.as_deref().map(owned))
        .push_bind(documents.sub_claims)
        .push_bind(facts.map(|facts| owned(&facts.namespace)))
        .push_bind(facts.map(|facts| owned(&facts.service_account_name)))
        .push_bind(facts.and_then(|facts| facts.pod_name.as_deref().map(owned)))
        .push_bind(event.token_expire_time.map(micros));
}

/// PostgreSQL's text takes every character but this one, which would cost the whole report.
fn clean(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

impl Engine {
    pub(in crate::store) async fn report_events(&self, events: &[Event]) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        let mut tx = self.begin_write().await?;
        let new = insert(&mut tx, events).await?;
        tx.commit().await?;
        self.hooks.recorded(new);
        Ok(())
    }

    pub(in crate::store) async fn record_refusal(&self, event: Event) -> Result<(), StoreError> {
        let events: Vec<Event> = self.hooks.refused(event).into_iter().collect();
        self.report_events(&events).await
    }

    pub(in crate::store) fn record_later(&self, event: Event) {
        self.hooks.limited(event);
    }

    pub(in crate::store) async fn close_refusals(
        &self,
        now: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let waiting = self.hooks.waiting(now);
        self.report_events(&waiting).await?;
        self.hooks.taken(waiting.len());
        Ok(())
    }

    pub(in crate::store) async fn record_call(&self, event: &Event) -> Result<(), StoreError> {
        let mut tx = self.begin_write().await?;
        let recorded: Option<String> =
            sqlx::query_scalar("SELECT id FROM audit_events WHERE request_id = $1 LIMIT 1")
                .bind(clean(&event.request_id))
                .fetch_optional(&mut *tx)
                .await?;
        if recorded.is_some() {
            return Ok(());
        }
        let events = std::slice::from_ref(event);
        let new = insert(&mut tx, events).await?;
        tx.commit().await?;
        self.hooks.recorded(new);
        Ok(())
    }
}
