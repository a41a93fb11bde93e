//! Logins within what their workloads may have.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::QueryBuilder;

use super::super::super::limits::{self, Ask, SubjectKey};
use super::super::super::{Connection, Db, portions};
use super::{Login, Standing};
use crate::store::StoreError;
use crate::store::time::micros;

/// Those of a subject that come first get its places. What was kept of the others goes: the same
/// requests may come again.
pub(super) async fn take(
    connection: &mut Connection,
    logins: &mut [Login<'_>],
) -> Result<(), StoreError> {
    let Some(first) = logins.first() else {
        return Ok(());
    };
    let (limits, now) = (first.request.limits, micros(first.request.now));
    if limits.are_off() {
        return Ok(());
    }
    let mut asks = BTreeMap::new();
    for login in logins.iter().filter(|login| login.wants_place()) {
        let ask = asks.entry(login.workload()).or_insert(Ask {
            logins: 0,
            first_end: i64::MAX,
            last_end: 0,
        });
        ask.logins += 1;
        ask.first_end = ask.first_end.min(micros(login.allowed.grant.expire_time()));
        ask.last_end = ask.last_end.max(micros(login.last_end()));
    }
    let mut places = limits::take(connection, limits, &asks, now).await?;
    let mut turned_away = BTreeMap::new();
    for login in logins.iter_mut().filter(|login| login.wants_place()) {
        let Some(places) = places.get_mut(&login.workload()) else {
            continue;
        };
        match places.logins.checked_sub(1) {
            Some(left) => places.logins = left,
            None => {
                login.standing = Standing::Limited(places.rest);
                turned_away.insert(login.assertion(), places.rest);
            }
        }
    }
    for login in logins
        .iter_mut()
        .filter(|login| login.standing == Standing::Presented)
    {
        if let Some(limited) = turned_away.get(&login.assertion()) {
            login.standing = Standing::Limited(*limited);
        }
    }
    forget(connection, turned_away.into_keys().collect()).await
}

async fn forget(
    connection: &mut Connection,
    assertions: BTreeSet<(String, String)>,
) -> Result<(), StoreError> {
    let assertions: Vec<_> = assertions.into_iter().collect();
    for assertions in portions(&assertions) {
        let mut delete =
            QueryBuilder::<Db>::new("DELETE FROM assertions WHERE (method_uid, jti) IN (");
        delete.push_values(assertions, |mut row, (method_uid, jti)| {
            row.push_bind(method_uid).push_bind(jti);
        });
        delete.push(")").build().execute(&mut *connection).await?;
    }
    Ok(())
}

impl Login<'_> {
    /// A renewal is no login and makes no token.
    fn wants_place(&self) -> bool {
        self.standing == Standing::New && !self.is_renewal()
    }

    fn workload(&self) -> SubjectKey {
        let facts = self.allowed.grant.facts();
        SubjectKey {
            config_uid: self.allowed.claims.config_uid.to_string(),
            service_account_uid: facts.service_account_uid.clone(),
            pod_uid: facts.pod_uid.clone().unwrap_or_default(),
        }
    }

    /// Beyond which no renewal of its token goes.
    fn last_end(&self) -> jiff::Timestamp {
        self.allowed.method.max_expire_time(self.request.now)
    }
}
