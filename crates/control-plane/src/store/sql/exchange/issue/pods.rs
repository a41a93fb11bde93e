//! Where tokens end with their pods: none is given to a pod that is gone.
//!
//! Who reports a deletion writes it down, waits until no login is open, and deletes the tokens that
//! there are. A login that comes later finds it written.

use std::collections::BTreeSet;

use postern_core::reason::DenyReason;
use sqlx::QueryBuilder;

use super::super::super::{Connection, Db, portions};
use super::{Login, Standing};
use crate::store::StoreError;

pub(super) async fn refuse_deleted(
    connection: &mut Connection,
    logins: &mut [Login<'_>],
) -> Result<(), StoreError> {
    let asked: BTreeSet<_> = logins.iter().filter_map(pod).collect();
    let rows: Vec<_> = asked.into_iter().collect();
    let mut deleted = BTreeSet::new();
    for rows in portions(&rows) {
        let mut select = QueryBuilder::<Db>::new(
            "SELECT config_uid, pod_uid FROM deleted_pods WHERE (config_uid, pod_uid) IN (",
        );
        select.push_values(rows, |mut row, (config_uid, pod_uid)| {
            row.push_bind(config_uid).push_bind(pod_uid);
        });
        select.push(")");
        let found: Vec<(String, String)> =
            select.build_query_as().fetch_all(&mut *connection).await?;
        deleted.extend(found);
    }
    for login in logins.iter_mut() {
        if pod(login).is_some_and(|pod| deleted.contains(&pod)) {
            login.standing = Standing::Refused(DenyReason::PodDeleted);
        }
    }
    Ok(())
}

/// Its config and its pod, where its token would end with the pod.
fn pod(login: &Login<'_>) -> Option<(String, String)> {
    let allowed = &login.allowed;
    let ends = allowed.method.kubernetes()?.revoke_with_pod;
    let pod_uid = allowed.grant.facts().pod_uid.clone().filter(|_| ends)?;
    Some((allowed.claims.config_uid.to_string(), pod_uid))
}
