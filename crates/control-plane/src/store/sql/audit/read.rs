//! Records as people ask for them: pages from the newest back, and the order of the seals for those that follow.

use sqlx::QueryBuilder;

use postern_core::audit::Event;

use super::super::{Db, Engine};
use super::clean;
use crate::store::page::Room;
use crate::store::rows::EventRow;
use crate::store::time::{micros, time};
use crate::store::{
    EventCursor, EventFilter, EventPage, LoginStat, StatsWindow, StoreError, Tail, TailCursor,
};

/// How many records a page looks at: one that finds nothing must end as well.
const WINDOW: i64 = 20_000;
/// How many seals a follower's look covers at once.
const SEALS: i64 = 100;
const MAX_STATS: i64 = 1000;

impl Engine {
    pub(in crate::store) async fn list_events(
        &self,
        filter: &EventFilter,
        before: Option<&EventCursor>,
        limit: u32,
    ) -> Result<EventPage, StoreError> {
        let mut tx = self.begin_read().await?;
        // Of one request there are few, and an index.
        let window = filter.request_id.is_none() && filter.is_narrow();
        let end = match window {
            true => {
                let mut last = records("SELECT time, id FROM audit_events", filter, before);
                last.push(" ORDER BY time DESC, id DESC LIMIT 1 OFFSET ")
                    .push_bind(WINDOW - 1);
                last.build_query_as::<(i64, String)>()
                    .fetch_optional(&mut *tx)
                    .await?
            }
            false => None,
        };
        let mut select = records("SELECT * FROM audit_events", filter, before);
        if let Some((time, id)) = &end {
            select.push(" AND time >= ").push_bind(*time);
            select.push(" AND (time > ").push_bind(*time);
            select.push(" OR id >= ").push_bind(id.clone()).push(")");
        }
        narrow(&mut select, filter);
        select
            .push(" ORDER BY time DESC, id DESC LIMIT ")
            .push_bind(i64::from(limit) + 1);
        let rows: Vec<EventRow> = select.build_query_as().fetch_all(&mut *tx).await?;
        tx.commit().await?;
        page(rows, limit, end)
    }

    pub(in crate::store) async fn tail_events(
        &self,
        filter: &EventFilter,
        after: &TailCursor,
        limit: u32,
    ) -> Result<Tail, StoreError> {
        let mut tx = self.begin_read().await?;
        let head: i64 = sqlx::query_scalar("SELECT sequence FROM audit_chain")
            .fetch_one(&mut *tx)
            .await?;
        // Retention may have removed what comes next.
        let next: Option<i64> = sqlx::query_scalar(
            "SELECT sequence FROM audit_seals WHERE sequence >= $1 ORDER BY sequence LIMIT 1",
        )
        .bind(after.seal)
        .fetch_optional(&mut *tx)
        .await?;
        let until = next.map_or(head, |next| head.min(next.max(after.seal) + SEALS));
        let mut select = QueryBuilder::<Db>::new("SELECT * FROM audit_events WHERE seal >= ");
        select.push_bind(after.seal);
        select.push(" AND seal <= ").push_bind(until);
        select.push(" AND (seal > ").push_bind(after.seal);
        if let Some(last) = &after.last {
            select.push(" OR time > ").push_bind(micros(last.time));
            select.push(" OR (time = ").push_bind(micros(last.time));
            select
                .push(" AND id > ")
                .push_bind(last.id.to_string())
                .push(")");
        }
        select.push(")");
        between(&mut select, filter);
        narrow(&mut select, filter);
        select
            .push(" ORDER BY seal, time, id LIMIT ")
            .push_bind(i64::from(limit) + 1);
        let rows: Vec<EventRow> = select.build_query_as().fetch_all(&mut *tx).await?;
        tx.commit().await?;
        let page = page(rows, limit, None)?;
        let reached = match page.items.last() {
            Some(last) if page.next.is_some() => TailCursor {
                seal: last.seal.unwrap_or(until),
                last: Some(EventCursor::of(last)),
            },
            _ => TailCursor::after(until.max(after.seal)),
        };
        Ok(Tail {
            behind: reached.seal < head || page.next.is_some(),
            events: page.items,
            reached,
        })
    }

    pub(in crate::store) async fn sealed_until(&self) -> Result<i64, StoreError> {
        Ok(sqlx::query_scalar("SELECT sequence FROM audit_chain")
            .fetch_one(&self.readers)
            .await?)
    }

    pub(in crate::store) async fn login_stats(
        &self,
        window: &StatsWindow,
    ) -> Result<Vec<LoginStat>, StoreError> {
        let mut select = QueryBuilder::<Db>::new(
            "SELECT k8s_auth_config, result, reason, CAST(SUM(count) AS BIGINT) AS count
             FROM login_stats WHERE minute >= ",
        );
        select.push_bind(micros(window.start));
        select.push(" AND minute < ").push_bind(micros(window.end));
        if let Some(config) = &window.k8s_auth_config {
            select
                .push(" AND k8s_auth_config = ")
                .push_bind(config.clone());
        }
        select
            .push(" GROUP BY k8s_auth_config, result, reason ORDER BY k8s_auth_config, result, reason LIMIT ")
            .push_bind(MAX_STATS);
        Ok(select.build_query_as().fetch_all(&self.readers).await?)
    }
}

/// From the newest back, of the filter what the index knows.
fn records(
    select: &'static str,
    filter: &EventFilter,
    before: Option<&EventCursor>,
) -> QueryBuilder<Db> {
    let mut select = QueryBuilder::<Db>::new(select);
    let newest = before.map_or(i64::MAX, |cursor| micros(cursor.time));
    select.push(" WHERE time <= ").push_bind(newest);
    if let Some(cursor) = before {
        select.push(" AND (time < ").push_bind(newest);
        select
            .push(" OR id < ")
            .push_bind(cursor.id.to_string())
            .push(")");
    }
    if let Some(request_id) = &filter.request_id {
        select
            .push(" AND request_id = ")
            .push_bind(clean(request_id).into_owned());
    }
    between(&mut select, filter);
    select
}

fn between(select: &mut QueryBuilder<Db>, filter: &EventFilter) {
    if let Some(start) = filter.start {
        select.push(" AND time >= ").push_bind(micros(start));
    }
    if let Some(end) = filter.end {
        select.push(" AND time < ").push_bind(micros(end));
    }
}

fn narrow(select: &mut QueryBuilder<Db>, filter: &EventFilter) {
    for (condition, text) in [
        (" AND event = ", filter.kind.map(|kind| kind.as_str())),
        (" AND access_id = ", filter.access_id.as_deref()),
        (" AND namespace = ", filter.namespace.as_deref()),
        (" AND service_account = ", filter.service_account.as_deref()),
        (" AND pod = ", filter.pod.as_deref()),
        (" AND reason = ", filter.reason.as_deref()),
        (" AND gateway = ", filter.gateway.as_deref()),
        (" AND k8s_auth_config = ", filter.k8s_auth_config.as_deref()),
    ] {
        if let Some(text) = text {
            select.push(condition).push_bind(clean(text).into_owned());
        }
    }
}

/// `end`: the oldest record that was looked at, if there may be older ones.
fn page(
    rows: Vec<EventRow>,
    limit: u32,
    end: Option<(i64, String)>,
) -> Result<EventPage, StoreError> {
    let mut room = Room::new(limit);
    let mut page = crate::store::Page::new();
    for row in rows {
        let weight = row.weight();
        page.take(Event::try_from(row)?, &mut room, weight);
        if page.more {
            break;
        }
    }
    let next = match page.items.last() {
        Some(last) if page.more => Some(EventCursor::of(last)),
        _ => end.and_then(|(at, id)| {
            Some(EventCursor {
                time: time(at)?,
                id: id.parse().ok()?,
            })
        }),
    };
    Ok(EventPage {
        items: page.items,
        next,
    })
}
