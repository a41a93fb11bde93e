//! `subjects`: what each workload has had lately, exactly, whoever else logs in at the time.
//!
//! One statement takes the places of a whole batch. It locks the subjects' rows in the order of their
//! keys, until the tokens are there: what is counted under such a lock still holds at the commit.

use std::collections::BTreeMap;

use sqlx::QueryBuilder;

use super::revocations::revoked;
use super::{Connection, Db, portions};
use crate::limits::{Pace, SubjectLimits, until};
use crate::store::{Limited, StoreError};
use postern_core::subject::SubjectLimit;

/// Of its row: K8s auth config, service account, pod; the last is empty where there is none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SubjectKey {
    pub(super) config_uid: String,
    pub(super) service_account_uid: String,
    pub(super) pod_uid: String,
}

/// What a batch asks for one subject.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    pub(super) logins: i64,
    /// When the first of the tokens ends, in microseconds.
    pub(super) first_end: i64,
    /// When none of them lives any more, however it is renewed.
    pub(super) last_end: i64,
}

/// What it gets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    pub(super) logins: usize,
    /// What to tell the others.
    pub(super) rest: Limited,
}

#[derive(sqlx::FromRow)]
struct Row {
    config_uid: String,
    service_account_uid: String,
    pod_uid: String,
    due_time: i64,
    admitted: i64,
    tokens: i64,
}

/// Places for each subject's first logins.
pub(super) async fn take(
    connection: &mut Connection,
    limits: SubjectLimits,
    asks: &BTreeMap<SubjectKey, Ask>,
    now: i64,
) -> Result<BTreeMap<SubjectKey, Places>, StoreError> {
    let pace = limits.pace();
    let rows: Vec<_> = asks.iter().collect();
    let mut places = BTreeMap::new();
    for rows in portions(&rows) {
        for row in admit(connection, pace, rows, now).await? {
            let given = match limits.tokens().filter(|most| row.tokens > *most) {
                Some(most) => {
                    let own = asks.get(&row.key()).map_or(now, |ask| ask.first_end);
                    recount(connection, &row, most, own, now).await?
                }
                None => Places {
                    logins: usize::try_from(row.admitted).unwrap_or_default(),
                    rest: row.next_login(pace, now),
                },
            };
            places.insert(row.key(), given);
        }
    }
    Ok(places)
}

async fn admit(
    connection: &mut Connection,
    pace: Option<Pace>,
    asks: &[(&SubjectKey, &Ask)],
    now: i64,
) -> Result<Vec<Row>, StoreError> {
    let mut insert = QueryBuilder::<Db>::new(
        "INSERT INTO subjects
             (config_uid, service_account_uid, pod_uid, due_time, admitted, tokens, expire_time) ",
    );
    insert.push_values(asks, |mut row, (key, ask)| {
        let first = pace.map_or(ask.logins, |pace| ask.logins.min(pace.burst));
        let paced = pace.map_or(now, |pace| now.saturating_add(pace.earliness()));
        row.push_bind(&key.config_uid)
            .push_bind(&key.service_account_uid)
            .push_bind(&key.pod_uid)
            .push_bind(now)
            .push_bind(first)
            .push_bind(first)
            .push_bind(ask.last_end.max(paced));
    });
    let (due, admitted) = paced(pace);
    insert.push(format!(
        " ON CONFLICT (config_uid, service_account_uid, pod_uid) DO UPDATE
          SET due_time = {due}, admitted = {admitted}, tokens = subjects.tokens + {admitted},
              expire_time = CASE WHEN subjects.expire_time > excluded.expire_time
                                 THEN subjects.expire_time ELSE excluded.expire_time END
          RETURNING config_uid, service_account_uid, pod_uid, due_time, admitted, tokens"
    ));
    Ok(insert.build_query_as().fetch_all(connection).await?)
}

/// From which time on the batch's logins are due, and how many of them are admitted, as SQL of the
/// row that is there and the one that was to be inserted.
fn paced(pace: Option<Pace>) -> (String, String) {
    let Some(pace) = pace else {
        return (
            "excluded.due_time".to_owned(),
            "excluded.admitted".to_owned(),
        );
    };
    let (interval, earliness) = (pace.interval, pace.earliness());
    let next = format!("subjects.due_time + subjects.admitted * {interval}");
    let due =
        format!("CASE WHEN {next} > excluded.due_time THEN {next} ELSE excluded.due_time END");
    let room = format!("(excluded.due_time + {earliness} - ({due})) / {interval}");
    let admitted = format!(
        "CASE WHEN {room} < 0 THEN 0 WHEN {room} < excluded.admitted THEN {room} ELSE excluded.admitted END"
    );
    (due, admitted)
}

/// Counts the subject's live tokens, since it has had as many as it may, and keeps the number.
/// `own_end` is that of the first of those that it asks for now.
async fn recount(
    connection: &mut Connection,
    row: &Row,
    most: i64,
    own_end: i64,
    now: i64,
) -> Result<Places, StoreError> {
    let mut select = QueryBuilder::<Db>::new(
        "SELECT COUNT(*), MIN(t.expire_time) FROM tokens t WHERE t.service_account_uid = ",
    );
    select.push_bind(&row.service_account_uid);
    select
        .push(" AND t.config_uid = ")
        .push_bind(&row.config_uid);
    match row.pod_uid.as_str() {
        "" => select.push(" AND t.pod_uid IS NULL"),
        uid => select.push(" AND t.pod_uid = ").push_bind(uid),
    };
    select.push(" AND t.expire_time > ").push_bind(now);
    select
        .push(" AND COALESCE(t.uses_left, 1) > 0 AND NOT ")
        .push(revoked!());
    let (live, first_end): (i64, Option<i64>) =
        select.build_query_as().fetch_one(&mut *connection).await?;
    let given = row.admitted.min(most - live).max(0);
    sqlx::query(
        "UPDATE subjects SET tokens = $1
         WHERE config_uid = $2 AND service_account_uid = $3 AND pod_uid = $4",
    )
    .bind(live + given)
    .bind(&row.config_uid)
    .bind(&row.service_account_uid)
    .bind(&row.pod_uid)
    .execute(connection)
    .await?;
    Ok(Places {
        logins: usize::try_from(given).unwrap_or_default(),
        rest: Limited {
            limit: SubjectLimit::Tokens,
            retry_after: until(first_end.unwrap_or(own_end), now),
        },
    })
}

// === impl Row ===

impl Row {
    fn key(&self) -> SubjectKey {
        SubjectKey {
            config_uid: self.config_uid.clone(),
            service_account_uid: self.service_account_uid.clone(),
            pod_uid: self.pod_uid.clone(),
        }
    }

    /// When one more would be admitted.
    fn next_login(&self, pace: Option<Pace>, now: i64) -> Limited {
        let then = pace.map_or(now, |pace| {
            let due = self.due_time + self.admitted * pace.interval;
            due + pace.interval - pace.earliness()
        });
        Limited {
            limit: SubjectLimit::Logins,
            retry_after: until(then, now),
        }
    }
}
