//! `audit_events`: written with what they tell of, or reported by gateways; never changed.

use std::borrow::Cow;
use std::collections::HashSet;

use postern_core::audit::Event;
use sqlx::QueryBuilder;
use sqlx::query_builder::Separated;

use super::{Connection, Db, Engine, portions};
use crate::store::page::Room;
use crate::store::rows::{EventRow, to_json};
use crate::store::time::micros;
use crate::store::{EventCursor, Page, StoreError};

/// Those that weren't there before.
pub(super) async fn insert<'e>(
    connection: &mut Connection,
    events: &'e [Event],
) -> Result<Vec<&'e Event>, StoreError> {
    let mut new = HashSet::new();
    for batch in portions(events) {
        let documents = batch.iter().map(Documents::of);
        let documents = documents.collect::<Result<Vec<_>, _>>()?;
        let mut insert = QueryBuilder::<Db>::new(
            "INSERT INTO audit_events
                 (id, time, event, component, request_id, gateway, k8s_auth_config, access_id,
                  caller_ip, user_agent, accessor, resource, facts, reason, rule, count, revision,
                  before_json, after_json, sub_claims) ",
        );
        insert.push_values(batch.iter().zip(documents), bind);
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

/// What of a record is JSON in a column.
struct Documents {
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

fn bind(mut row: Separated<'_, Db, &str>, (event, documents): (&Event, Documents)) {
    row.push_bind(event.id.to_string())
        .push_bind(micros(event.time))
        .push_bind(event.kind.as_str())
        .push_bind(event.component.as_str())
        .push_bind(clean(&event.request_id).into_owned())
        .push_bind(clean(&event.gateway).into_owned())
        .push_bind(clean(&event.k8s_auth_config).into_owned())
        .push_bind(clean(&event.access_id).into_owned())
        .push_bind(event.caller_ip.map(|ip| ip.to_string()))
        .push_bind(clean(&event.user_agent).into_owned())
        .push_bind(clean(&event.accessor).into_owned())
        .push_bind(clean(&event.resource).into_owned())
        .push_bind(documents.facts)
        .push_bind(clean(&event.reason).into_owned())
        .push_bind(event.rule.and_then(|rule| i64::try_from(rule).ok()))
        .push_bind(i64::from(event.count))
        .push_bind(event.revision)
        .push_bind(event.before.as_deref().map(|json| clean(json).into_owned()))
        .push_bind(event.after.as_deref().map(|json| clean(json).into_owned()))
        .push_bind(documents.sub_claims);
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

    pub(in crate::store) async fn list_events(
        &self,
        request_id: Option<&str>,
        before: Option<&EventCursor>,
        limit: u32,
    ) -> Result<Page<Event>, StoreError> {
        let mut select = QueryBuilder::<Db>::new("SELECT * FROM audit_events WHERE time <= ");
        let newest = before.map_or(i64::MAX, |cursor| micros(cursor.time));
        select.push_bind(newest);
        if let Some(cursor) = before {
            select.push(" AND (time < ").push_bind(newest);
            select
                .push(" OR id < ")
                .push_bind(cursor.id.to_string())
                .push(")");
        }
        if let Some(request_id) = request_id {
            select
                .push(" AND request_id = ")
                .push_bind(clean(request_id).into_owned());
        }
        select
            .push(" ORDER BY time DESC, id DESC LIMIT ")
            .push_bind(i64::from(limit) + 1);
        let rows: Vec<EventRow> = select.build_query_as().fetch_all(&self.readers).await?;
        let (mut page, mut room) = (Page::new(), Room::new(limit));
        for row in rows {
            let weight = row.weight();
            page.take(row.try_into()?, &mut room, weight);
            if page.more {
                break;
            }
        }
        Ok(page)
    }
}
