//! `auth_methods`: reading, creating and deleting.

mod access_key;
mod recover;
mod rename;
mod update;

use postern_core::access_id::AccessId;
use postern_core::access_token::TokenHash;
use postern_core::audit::EventKind;
use postern_core::auth_method::{
    AuthMethod, Kind, Kubernetes, MethodKey, PresentedLimit, TokenBounds,
};
use postern_core::meta::Stored;
use postern_core::resource_id::ResourceId;

use super::access_keys::{self, Owner};
use super::{ConfigWrite, Connection, Engine, associations, held, k8s_auth_configs};
use crate::store::page::Room;
use crate::store::rows::{KIND_ACCESS_KEY, KIND_KUBERNETES, MethodRow, format, methods, to_json};
use crate::store::time::micros;
use crate::store::{Cause, Etag, Intent, MethodRef, Page, StoreError, WriteError, document};

/// Of a [`MethodRow`]: a method `m` with one of its keys `k`.
macro_rules! columns {
    () => {
        "m.uid, m.id, m.access_id, m.kind, m.description, m.access_expire_time,
         m.token_ttl_seconds, m.token_max_ttl_seconds, m.disabled, m.bound_ips, m.gw_bound_ips,
         m.force_sub_claims, m.audit_logs_claims, m.delete_protection, m.audiences,
         m.allow_any_audience, m.allow_legacy_tokens, m.require_pod, m.single_use,
         m.max_presented_age_seconds, m.max_presented_lifetime_seconds, m.token_num_uses,
         m.cap_to_presented_expiry, m.revoke_with_pod, m.token_format, m.token_audiences, m.rules,
         m.revision, m.create_time, m.update_time, k.key_id, k.public_key,
         k.create_time AS key_create_time, k.expire_time AS key_expire_time"
    };
}
pub(super) use columns;

/// Methods with their keys, a row for each key.
macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            " FROM auth_methods m LEFT JOIN auth_method_keys k ON k.method_uid = m.uid
             WHERE ",
            $condition,
            " ORDER BY m.id, k.position"
        )
    };
}

pub(super) async fn get(
    connection: &mut Connection,
    method: &MethodRef,
) -> Result<Option<Stored<AuthMethod>>, StoreError> {
    let rows = rows(connection, method).await?;
    let method = methods(&rows).next().map(|(_, method)| method);
    Ok(method.transpose()?)
}

/// All of one method; none where there is no such method.
async fn rows(
    connection: &mut Connection,
    method: &MethodRef,
) -> Result<Vec<MethodRow>, sqlx::Error> {
    let (statement, key) = match method {
        MethodRef::Id(id) => (select!("m.id = $1"), id.as_str()),
        MethodRef::AccessId(id) => (select!("m.access_id = $1"), id.as_str()),
    };
    sqlx::query_as(statement)
        .bind(key)
        .fetch_all(connection)
        .await
}

pub(super) async fn get_by_access_id(
    connection: &mut Connection,
    id: &AccessId,
) -> Result<Option<Stored<AuthMethod>>, StoreError> {
    get(connection, &MethodRef::AccessId(id.clone())).await
}

/// The methods that the gateway's configs name. One that can't be read is left out, and so lets
/// nobody in, instead of taking all others of the gateway along.
pub(super) async fn of_gateway(
    connection: &mut Connection,
    gateway_uid: &str,
) -> Result<Vec<Stored<AuthMethod>>, StoreError> {
    const OF_GATEWAY: &str =
        select!("m.uid IN (SELECT c.method_uid FROM k8s_auth_configs c WHERE c.gateway_uid = $1)");
    let rows: Vec<MethodRow> = sqlx::query_as(OF_GATEWAY)
        .bind(gateway_uid)
        .fetch_all(connection)
        .await?;
    let readable = methods(&rows).filter_map(|(_, method)| {
        method
            .inspect_err(|fault| tracing::error!(%fault, "an auth method can't be used"))
            .ok()
    });
    Ok(readable.collect())
}

pub(super) async fn insert(
    write: &mut ConfigWrite<'_>,
    method: &AuthMethod,
    key: Option<&TokenHash>,
) -> Result<(), WriteError> {
    let columns = Columns::of(method)?;
    let (revision, now) = (write.revision, micros(write.now()));
    let query = sqlx::query(
        "INSERT INTO auth_methods
             (description, access_expire_time, token_ttl_seconds, disabled, bound_ips,
              gw_bound_ips, audiences, allow_any_audience, rules, token_max_ttl_seconds,
              force_sub_claims, audit_logs_claims, delete_protection, allow_legacy_tokens,
              require_pod, single_use, max_presented_age_seconds,
              max_presented_lifetime_seconds, token_num_uses, cap_to_presented_expiry,
              revoke_with_pod, token_format, token_audiences, revision, create_time, update_time, uid, id, access_id, kind)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
                 $19, $20, $21, $22, $23, $24, $25, $25, $26, $27, $28, $29)",
    );
    columns
        .bind(query)
        .bind(revision)
        .bind(now)
        .bind(method.uid.to_string())
        .bind(method.id.as_str())
        .bind(method.access_id.as_str())
        .bind(columns.kind)
        .execute(write.connection())
        .await?;
    insert_keys(write, method).await?;
    if let Some(key) = key {
        let uid = method.uid.to_string();
        access_keys::insert(write, Owner::Method(&uid), key).await?;
    }
    write.touch_auth_method(method.id.auth_method_name(), "");
    write.record(
        EventKind::AuthMethodCreated,
        method.id.auth_method_name(),
        |event| {
            event.after = document::method(method);
        },
    );
    Ok(())
}

/// Those that are there already keep their row, since configs refer to it.
async fn insert_keys(write: &mut ConfigWrite<'_>, method: &AuthMethod) -> Result<(), WriteError> {
    let keys = method.kubernetes().map_or(&[][..], |k| &k.public_keys);
    for (position, method_key) in (0i64..).zip(keys) {
        let MethodKey {
            key,
            create_time,
            expire_time,
        } = method_key;
        sqlx::query(
            "INSERT INTO auth_method_keys
                 (method_uid, key_id, public_key, position, create_time, expire_time)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (method_uid, key_id)
             DO UPDATE SET position = excluded.position, expire_time = excluded.expire_time",
        )
        .bind(method.uid.to_string())
        .bind(key.id().as_str())
        .bind(key.to_pem())
        .bind(position)
        .bind(micros(*create_time))
        .bind(expire_time.map(micros))
        .execute(write.connection())
        .await?;
    }
    Ok(())
}

/// What a create and an update write alike.
struct Columns<'m> {
    method: &'m AuthMethod,
    kind: &'static str,
    bound_ips: String,
    gw_bound_ips: String,
    audiences: String,
    allow_any_audience: bool,
    rules: String,
    audit_logs_claims: String,
    token_audiences: String,
    tokens: TokenBounds,
    revoke_with_pod: bool,
}

type Query<'q> = sqlx::query::Query<'q, super::Db, <super::Db as sqlx::Database>::Arguments>;

impl<'m> Columns<'m> {
    fn of(method: &'m AuthMethod) -> Result<Self, StoreError> {
        use postern_core::auth_method::Audiences;
        let settings = &method.settings;
        let none = Kubernetes {
            audiences: Audiences::ApiServer,
            tokens: TokenBounds::default(),
            rules: Vec::new(),
            public_keys: Vec::new(),
            revoke_with_pod: false,
        };
        let (kind, kubernetes) = match &settings.kind {
            Kind::Kubernetes(kubernetes) => (KIND_KUBERNETES, kubernetes),
            Kind::AccessKey => (KIND_ACCESS_KEY, &none),
        };
        Ok(Self {
            method,
            kind,
            bound_ips: texts(&settings.bound_ips)?,
            gw_bound_ips: texts(&settings.gw_bound_ips)?,
            audiences: to_json(&kubernetes.audiences.listed())?,
            allow_any_audience: kubernetes.audiences == Audiences::Any,
            rules: to_json(
                &kubernetes
                    .rules
                    .iter()
                    .map(|rule| rule.spec())
                    .collect::<Vec<_>>(),
            )?,
            audit_logs_claims: texts(&settings.audit_logs_claims)?,
            token_audiences: to_json(&settings.token_format.audiences())?,
            tokens: kubernetes.tokens.clone(),
            revoke_with_pod: kubernetes.revoke_with_pod,
        })
    }

    /// $1 to $23.
    fn bind<'q>(&'q self, query: Query<'q>) -> Query<'q> {
        let (settings, tokens) = (&self.method.settings, &self.tokens);
        let limit = |limit: Option<PresentedLimit>| limit.map(|l| l.as_secs().cast_signed());
        query
            .bind(&settings.description)
            .bind(settings.access_expires.map(micros))
            .bind(settings.token_ttl.get().as_secs().cast_signed())
            .bind(settings.disabled)
            .bind(&self.bound_ips)
            .bind(&self.gw_bound_ips)
            .bind(&self.audiences)
            .bind(self.allow_any_audience)
            .bind(&self.rules)
            .bind(
                settings
                    .token_max_ttl
                    .map(|max| max.as_secs().cast_signed()),
            )
            .bind(settings.force_sub_claims)
            .bind(&self.audit_logs_claims)
            .bind(settings.delete_protection)
            .bind(tokens.allow_legacy)
            .bind(tokens.require_pod)
            .bind(tokens.single_use)
            .bind(limit(tokens.max_age))
            .bind(limit(tokens.max_lifetime))
            .bind(settings.token_num_uses.map(|uses| i64::from(uses.get())))
            .bind(settings.cap_to_presented_expiry)
            .bind(self.revoke_with_pod)
            .bind(format(settings.token_format.is_jwt()))
            .bind(&self.token_audiences)
    }
}

/// A JSON list of what can be written as text.
fn texts(list: &[impl ToString]) -> Result<String, StoreError> {
    to_json(&list.iter().map(ToString::to_string).collect::<Vec<_>>())
}

impl Engine {
    pub(in crate::store) async fn create_auth_method(
        &self,
        method: &AuthMethod,
        (key, roles): (Option<&TokenHash>, &[ResourceId]),
        intent: Intent,
        cause: &Cause,
    ) -> Result<Stored<AuthMethod>, WriteError> {
        let mut write = ConfigWrite::begin(self, cause).await?;
        insert(&mut write, method, key).await?;
        associations::give(&mut write, method, roles).await?;
        let by_id = MethodRef::Id(method.id.clone());
        let stored = get(write.connection(), &by_id)
            .await?
            .ok_or(WriteError::NotFound)?;
        write.commit(intent).await?;
        Ok(stored)
    }

    pub(in crate::store) async fn get_auth_method(
        &self,
        method: &MethodRef,
    ) -> Result<Option<Stored<AuthMethod>>, StoreError> {
        let mut connection = self.readers.acquire().await?;
        get(&mut connection, method).await
    }

    pub(in crate::store) async fn list_auth_methods(
        &self,
        after: Option<&ResourceId>,
        limit: u32,
    ) -> Result<Page<Stored<AuthMethod>>, StoreError> {
        const PAGE: &str =
            select!("m.uid IN (SELECT uid FROM auth_methods WHERE id > $1 ORDER BY id LIMIT $2)");
        let rows: Vec<MethodRow> = sqlx::query_as(PAGE)
            .bind(after.map_or("", ResourceId::as_str))
            .bind(i64::from(limit) + 1)
            .fetch_all(&self.readers)
            .await?;
        let (mut page, mut room) = (Page::new(), Room::new(limit));
        for (weight, method) in methods(&rows) {
            page.take(method?, &mut room, weight);
            if page.more {
                break;
            }
        }
        Ok(page)
    }

    pub(in crate::store) async fn delete_auth_method(
        &self,
        method: &MethodRef,
        etag: Etag,
        force: bool,
        cause: &Cause,
    ) -> Result<(), WriteError> {
        let mut write = ConfigWrite::begin(self, cause).await?;
        let current = get(write.connection(), method)
            .await?
            .ok_or(WriteError::NotFound)?;
        etag.check(current.revision)?;
        if current.value.settings.delete_protection {
            return Err(WriteError::Protected);
        }
        let (uid, name) = (
            current.value.uid.to_string(),
            current.value.id.auth_method_name(),
        );
        let held = held::by_method(write.connection(), &uid).await?;
        write.within_own(&held)?;
        let configs = k8s_auth_configs::of_method(write.connection(), &uid).await?;
        for gateway_uid in k8s_auth_configs::gateways(&configs) {
            write.touch_auth_method(name.clone(), &gateway_uid);
        }
        k8s_auth_configs::delete_with_owner(&mut write, configs, force).await?;
        let roles = associations::of_method(write.connection(), &current.value.uid).await?;
        associations::delete_with_owner(&mut write, roles, force).await?;
        sqlx::query("DELETE FROM auth_methods WHERE uid = $1")
            .bind(&uid)
            .execute(write.connection())
            .await?;
        write.touch_auth_method(name.clone(), "");
        write.record(EventKind::AuthMethodDeleted, name, |event| {
            event.before = document::method(&current.value);
        });
        if matches!(current.value.settings.kind, Kind::AccessKey) {
            write.administrator_stays().await?;
        }
        write.commit(Intent::Write).await
    }
}
