//! `revocations`: tokens that are taken away in bulk.
//!
//! One row and no deletion revokes them, so that a million tokens are revoked as fast as one. A
//! token is dead while a row matches it whose revision is higher than the one that its login read
//! before its rules: the transaction that takes the revision commits when no login that read a lower
//! one is open. The rows of dead tokens are swept later.

use jiff::Timestamp;
use postern_core::audit::EventKind;
use postern_core::auth_method::TokenMaxima;
use serde::Serialize;
use sqlx::QueryBuilder;

use super::{ConfigWrite, Connection, Db, Engine, auth_methods};
use crate::store::rows::to_json;
use crate::store::time::micros;
use crate::store::{Cause, Intent, StoreError, TokenFilter, WriteError};

/// Whether the token `t` was taken away, as SQL.
macro_rules! revoked {
    () => {
        "EXISTS (
    SELECT 1 FROM revocations r
    WHERE r.key IN ('pod:' || t.pod_uid,
                    'service_account_uid:' || t.service_account_uid,
                    'service_account:' || t.namespace || '/' || t.service_account_name,
                    'namespace:' || t.namespace,
                    'config:' || t.config_uid,
                    'gateway:' || t.gateway_uid,
                    'method:' || t.method_uid)
      AND r.revision > t.rules_revision
      AND (r.method_uid IS NULL OR r.method_uid = t.method_uid)
      AND (r.config_uid IS NULL OR r.config_uid = t.config_uid)
      AND (r.gateway_uid IS NULL OR r.gateway_uid = t.gateway_uid)
      AND (r.namespace IS NULL OR r.namespace = t.namespace)
      AND (r.service_account_name IS NULL OR r.service_account_name = t.service_account_name)
      AND (r.service_account_uid IS NULL OR r.service_account_uid = t.service_account_uid)
      AND (r.pod_uid IS NULL OR r.pod_uid = t.pod_uid))"
    };
}
pub(super) use revoked;

/// How far tokens are counted for the answer and the record: all of a revocation's other work takes
/// as long for one token as for ten million.
const MOST_COUNTED: i64 = 1_000_000;

/// What tokens must be, as columns have it; `None`: whatever they are.
#[derive(Default, Serialize, sqlx::FromRow)]
pub(super) struct Marks {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) method_uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) config_uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gateway_uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) service_account_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) service_account_uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pod_uid: Option<String>,
}

/// What an audit record says was taken away.
#[derive(Serialize)]
struct Document<'m> {
    #[serde(flatten)]
    marks: &'m Marks,
    tokens: i64,
}

impl Engine {
    /// How many it takes away.
    pub(in crate::store) async fn revoke_tokens(
        &self,
        filter: &TokenFilter,
        intent: Intent,
        cause: &Cause,
    ) -> Result<i64, WriteError> {
        let mut write = ConfigWrite::begin(self, cause).await?;
        let marks = Marks::of(write.connection(), filter).await?;
        let tokens = revoke(&mut write, &marks).await?;
        write.touch_nothing();
        let after = to_json(&Document {
            marks: &marks,
            tokens,
        })?;
        write.record(EventKind::TokensRevoked, "tokens".to_owned(), |event| {
            event.after = Some(after);
        });
        write.commit(intent).await?;
        Ok(tokens)
    }
}

/// With this write's revision. How many tokens that is.
pub(super) async fn revoke(write: &mut ConfigWrite<'_>, marks: &Marks) -> Result<i64, StoreError> {
    let now = micros(write.now());
    let tokens = count(write.connection(), marks, now).await?;
    insert(write, marks).await?;
    Ok(tokens)
}

/// The same without a count.
pub(super) async fn insert(write: &mut ConfigWrite<'_>, marks: &Marks) -> Result<(), StoreError> {
    let (revision, now) = (write.revision, micros(write.now()));
    // Nothing finds these tokens quickly, and they needn't go before their time: the revocation
    // stays until the last one has ended.
    let longest = TokenMaxima::default().life;
    let last = write
        .now()
        .saturating_add(longest)
        .unwrap_or(Timestamp::MAX);
    let swept = marks.is_of_a_whole_cluster().then(|| micros(last));
    sqlx::query(
        "INSERT INTO revocations
             (revision, key, method_uid, config_uid, namespace, service_account_name,
              service_account_uid, pod_uid, create_time, gateway_uid, swept_time)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(revision)
    .bind(marks.key())
    .bind(&marks.method_uid)
    .bind(&marks.config_uid)
    .bind(&marks.namespace)
    .bind(&marks.service_account_name)
    .bind(&marks.service_account_uid)
    .bind(&marks.pod_uid)
    .bind(now)
    .bind(&marks.gateway_uid)
    .bind(swept)
    .execute(write.connection())
    .await?;
    Ok(())
}

/// Without those that the same revocation took before: asking again takes nothing.
async fn count(connection: &mut Connection, marks: &Marks, now: i64) -> Result<i64, StoreError> {
    let mut select = QueryBuilder::<Db>::new("SELECT COUNT(*) FROM (SELECT 1 FROM tokens t WHERE ");
    marks.push_to(&mut select, "t");
    select.push(" AND t.expire_time > ").push_bind(now);
    select.push(" AND t.rules_revision >= (SELECT COALESCE(MAX(r.revision), 0) FROM revocations r WHERE r.key = ");
    select.push_bind(marks.key());
    for (column, value) in marks.columns() {
        match value {
            Some(value) => select.push(format!(" AND r.{column} = ")).push_bind(value),
            None => select.push(format!(" AND r.{column} IS NULL")),
        };
    }
    select
        .push(") LIMIT ")
        .push_bind(MOST_COUNTED)
        .push(") AS matching");
    Ok(select.build_query_scalar().fetch_one(connection).await?)
}

// === impl Marks ===

impl Marks {
    pub(super) fn of_method(uid: &str) -> Self {
        Self {
            method_uid: Some(uid.to_owned()),
            ..Self::default()
        }
    }

    /// All that logins by the config were given.
    pub(super) fn of_config(uid: &str) -> Self {
        Self {
            config_uid: Some(uid.to_owned()),
            ..Self::default()
        }
    }

    /// All that logins at the gateway were given, and its own sessions.
    pub(super) fn of_gateway(uid: &str) -> Self {
        Self {
            gateway_uid: Some(uid.to_owned()),
            ..Self::default()
        }
    }

    /// # Errors
    /// A method that doesn't exist.
    pub(super) async fn of(
        connection: &mut Connection,
        filter: &TokenFilter,
    ) -> Result<Self, WriteError> {
        let method_uid = match &filter.method {
            None => None,
            Some(method) => {
                let method = auth_methods::get(connection, method).await?;
                Some(method.ok_or(WriteError::NotFound)?.value.uid.to_string())
            }
        };
        let account = filter.service_account.as_ref();
        let namespace = account
            .map(|account| &account.namespace)
            .or(filter.namespace.as_ref());
        Ok(Self {
            method_uid,
            config_uid: None,
            gateway_uid: None,
            namespace: namespace.map(ToString::to_string),
            service_account_name: account.map(|account| account.name().to_owned()),
            service_account_uid: filter.service_account_uid.as_ref().map(ToString::to_string),
            pod_uid: filter.pod_uid.as_ref().map(ToString::to_string),
        })
    }

    /// The narrowest: what a use of a token asks for.
    pub(super) fn key(&self) -> String {
        match self {
            Self {
                pod_uid: Some(uid), ..
            } => format!("pod:{uid}"),
            Self {
                service_account_uid: Some(uid),
                ..
            } => format!("service_account_uid:{uid}"),
            Self {
                namespace: Some(namespace),
                service_account_name: Some(name),
                ..
            } => {
                format!("service_account:{namespace}/{name}")
            }
            Self {
                namespace: Some(namespace),
                ..
            } => format!("namespace:{namespace}"),
            Self {
                method_uid: None,
                config_uid: Some(uid),
                ..
            } => format!("config:{uid}"),
            Self {
                method_uid: None,
                gateway_uid: Some(uid),
                ..
            } => format!("gateway:{uid}"),
            Self { method_uid, .. } => {
                format!("method:{}", method_uid.as_deref().unwrap_or_default())
            }
        }
    }

    /// Of a config or a gateway, whatever else they are.
    fn is_of_a_whole_cluster(&self) -> bool {
        let key = self.key();
        key.starts_with("config:") || key.starts_with("gateway:")
    }

    fn columns(&self) -> [(&'static str, Option<&str>); 7] {
        [
            ("method_uid", self.method_uid.as_deref()),
            ("config_uid", self.config_uid.as_deref()),
            ("gateway_uid", self.gateway_uid.as_deref()),
            ("namespace", self.namespace.as_deref()),
            ("service_account_name", self.service_account_name.as_deref()),
            ("service_account_uid", self.service_account_uid.as_deref()),
            ("pod_uid", self.pod_uid.as_deref()),
        ]
    }

    /// As a condition on the rows of a table.
    pub(super) fn push_to(&self, query: &mut QueryBuilder<Db>, table: &str) {
        query.push("1 = 1");
        for (column, value) in self.columns() {
            if let Some(value) = value {
                query
                    .push(format!(" AND {table}.{column} = "))
                    .push_bind(value.to_owned());
            }
        }
    }
}
