//! `tokens` and `access_keys`: access keys for tokens.

use std::time::Duration;

use jiff::Timestamp;
use postern_core::access_token::TokenHash;
use postern_core::audit::{Component, Event, EventKind};
use postern_core::auth_method::{AuthMethod, Kind, TokenUses};
use postern_core::ip;
use sqlx::Row as _;

use super::{Connection, Engine, audit, auth_methods, feed, gateways};
use crate::store::time::{micros, stored};
use crate::store::{Inconsistent, KeyDenial, LogIn, LoggedIn, StoreError};

const GATEWAY_TOKEN_TTL: Duration = Duration::from_secs(60 * 60);
const NARROWED_TOKEN_TTL: Duration = Duration::from_secs(5 * 60);

/// A token that is allowed and not yet stored.
struct Allowed {
    kind: &'static str,
    method_uid: Option<String>,
    gateway_uid: Option<String>,
    narrowed_gateway_uid: Option<String>,
    gateway_name: String,
    expire_time: Timestamp,
    /// No renewal goes beyond. `None`: it isn't renewed, another one is asked for.
    max_expire_time: Option<Timestamp>,
    uses: Option<TokenUses>,
}

impl Engine {
    pub(in crate::store) async fn log_in(&self, login: &LogIn) -> Result<LoggedIn, StoreError> {
        let mut tx = self.begin_login().await?;
        // Before the rules: what is revoked while this goes on has a later revision.
        let rules_revision = feed::revision(&mut tx).await?;
        let decision = decide(&mut tx, login).await?;
        let mut event = Event {
            request_id: login.request_id.clone(),
            caller_ip: login.caller_ip,
            user_agent: login.user_agent.clone(),
            access_id: login.access_id.to_string(),
            ..Event::new(
                EventKind::AccessKeyGranted,
                Component::ControlPlane,
                login.now,
            )
        };
        let answer = match decision {
            Ok(allowed) => {
                insert(&mut tx, login, &allowed, rules_revision).await?;
                event.accessor = login.accessor.to_string();
                event.gateway = allowed.gateway_name;
                LoggedIn::Granted {
                    expire_time: allowed.expire_time,
                }
            }
            Err(denial) => {
                event.kind = EventKind::AccessKeyDenied;
                event.reason = denial.as_str().to_owned();
                if denial == KeyDenial::AccessIdUnknown {
                    event.access_id = "unknown".to_owned();
                }
                LoggedIn::Refused(denial)
            }
        };
        let events = [event];
        let new = audit::insert(&mut tx, &events).await?;
        tx.commit().await?;
        self.hooks.recorded(new);
        Ok(answer)
    }
}

type Decision = Result<Allowed, KeyDenial>;

async fn decide(connection: &mut Connection, login: &LogIn) -> Result<Decision, StoreError> {
    let method = auth_methods::get_by_access_id(connection, &login.access_id).await?;
    if let Some(method) = method {
        return administrator(connection, login, &method.value).await;
    }
    let gateway = sqlx::query("SELECT uid, name FROM gateways WHERE access_id = $1")
        .bind(login.access_id.as_str())
        .fetch_optional(&mut *connection)
        .await?;
    let Some(gateway) = gateway else {
        return Ok(Err(KeyDenial::AccessIdUnknown));
    };
    let uid: String = gateway.try_get("uid")?;
    if !has_key(connection, "", &uid, &login.key).await? {
        return Ok(Err(KeyDenial::AccessKeyWrong));
    }
    if login.narrow_to.is_some() {
        return Ok(Err(KeyDenial::NarrowingNotAllowed));
    }
    let name: String = gateway.try_get("name")?;
    if !login.speaks_for.admits(&name) {
        return Ok(Err(KeyDenial::GatewayCertificate));
    }
    Ok(Ok(Allowed {
        kind: "gateway",
        method_uid: None,
        gateway_uid: Some(uid),
        narrowed_gateway_uid: None,
        gateway_name: name,
        expire_time: after(login.now, GATEWAY_TOKEN_TTL),
        max_expire_time: None,
        uses: None,
    }))
}

async fn administrator(
    connection: &mut Connection,
    login: &LogIn,
    method: &AuthMethod,
) -> Result<Decision, StoreError> {
    let uid = method.uid.to_string();
    if !matches!(method.settings.kind, Kind::AccessKey) {
        return Ok(Err(KeyDenial::AccessKeyWrong));
    }
    // The key first: who hasn't got it learns nothing, not even from the time that it takes.
    if !has_key(connection, &uid, "", &login.key).await? {
        return Ok(Err(KeyDenial::AccessKeyWrong));
    }
    if let Err(denial) = admit(method, login) {
        return Ok(Err(denial));
    }
    let narrowed = match &login.narrow_to {
        None => None,
        Some(name) => match gateways::get(connection, name).await? {
            None => return Ok(Err(KeyDenial::GatewayUnknown)),
            Some(gateway) => Some(gateway.value),
        },
    };
    let ttl = method.settings.token_ttl.get();
    let ttl = if narrowed.is_some() {
        ttl.min(NARROWED_TOKEN_TTL)
    } else {
        ttl
    };
    let end = after(login.now, ttl);
    Ok(Ok(Allowed {
        kind: "administrator",
        method_uid: Some(uid),
        gateway_uid: None,
        expire_time: method
            .settings
            .access_expires
            .map_or(end, |access| end.min(access)),
        gateway_name: narrowed
            .as_ref()
            .map(|g| g.name.to_string())
            .unwrap_or_default(),
        max_expire_time: narrowed
            .is_none()
            .then(|| method.max_expire_time(login.now)),
        uses: method.settings.token_num_uses,
        narrowed_gateway_uid: narrowed.map(|gateway| gateway.uid.to_string()),
    }))
}

fn admit(method: &AuthMethod, login: &LogIn) -> Result<(), KeyDenial> {
    let settings = &method.settings;
    if settings.disabled {
        return Err(KeyDenial::MethodDisabled);
    }
    if settings.access_expires.is_some_and(|end| end <= login.now) {
        return Err(KeyDenial::AccessExpired);
    }
    if !ip::allowed(&settings.bound_ips, login.caller_ip) {
        return Err(KeyDenial::ClientIpNotBound);
    }
    Ok(())
}

fn after(now: Timestamp, ttl: Duration) -> Timestamp {
    stored(now.saturating_add(ttl).unwrap_or(now))
}

/// Whether the key is one of the method's, or of the gateway's.
async fn has_key(
    connection: &mut Connection,
    method_uid: &str,
    gateway_uid: &str,
    presented: &TokenHash,
) -> Result<bool, StoreError> {
    let keys: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT key_hash FROM access_keys WHERE method_uid = $1 OR gateway_uid = $2",
    )
    .bind(method_uid)
    .bind(gateway_uid)
    .fetch_all(connection)
    .await?;
    let mut found = false;
    for key in keys {
        let key = TokenHash::try_from(key.as_slice()).map_err(|_| Inconsistent {
            table: "access_keys",
            column: "key_hash",
            key: format!("{method_uid}{gateway_uid}"),
        })?;
        found |= key == *presented;
    }
    Ok(found)
}

async fn insert(
    connection: &mut Connection,
    login: &LogIn,
    allowed: &Allowed,
    rules_revision: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO tokens
             (hash, accessor, kind, access_id, method_uid, gateway_uid, narrowed_gateway_uid,
              sub_claims, issue_time, expire_time, max_expire_time, rules_revision, uses_left)
         VALUES ($1, $2, $3, $4, $5, $6, $7, '{}', $8, $9, $10, $11, $12)",
    )
    .bind(login.token.as_bytes().as_slice())
    .bind(login.accessor.as_str())
    .bind(allowed.kind)
    .bind(login.access_id.as_str())
    .bind(&allowed.method_uid)
    .bind(&allowed.gateway_uid)
    .bind(&allowed.narrowed_gateway_uid)
    .bind(micros(login.now))
    .bind(micros(allowed.expire_time))
    .bind(allowed.max_expire_time.map(micros))
    .bind(rules_revision)
    .bind(allowed.uses.map(|uses| i64::from(uses.get())))
    .execute(connection)
    .await?;
    Ok(())
}
