//! `tokens` and `access_keys`: access keys for tokens.

use std::time::Duration;

use jiff::Timestamp;
use postern_core::audit::{Component, Event, EventKind};
use postern_core::auth_method::{AuthMethod, Kind, TokenUses};
use postern_core::ip;
use postern_core::meta::Stored;
use postern_core::resource_id::GatewayName;

use super::access_keys::{self, Owner, Shown};
use super::{Connection, Engine, audit, auth_methods, feed, gateways};
use crate::store::rows::GatewayRow;
use crate::store::time::{micros, stored};
use crate::store::{Gateway, KeyDenial, LogIn, LoggedIn, StoreError};

const GATEWAY_TOKEN_TTL: Duration = Duration::from_secs(60 * 60);
const NARROWED_TOKEN_TTL: Duration = Duration::from_secs(5 * 60);

/// A token that is allowed and not yet stored.
struct Allowed {
    kind: &'static str,
    method_uid: Option<String>,
    gateway_uid: Option<String>,
    narrowed_gateway_uid: Option<String>,
    /// The gateway that it is good at, or whose own it is.
    gateway: Option<GatewayName>,
    expire_time: Timestamp,
    /// No renewal goes beyond. `None`: it isn't renewed, another one is asked for.
    max_expire_time: Option<Timestamp>,
    uses: Option<TokenUses>,
    key: Shown,
}

impl Engine {
    pub(in crate::store) async fn log_in(&self, login: &LogIn) -> Result<LoggedIn, StoreError> {
        let mut tx = self.begin_login().await?;
        // Before the rules: what is revoked while this goes on has a later revision.
        let rules_revision = feed::revision(&mut tx).await?;
        let decision = decide(&mut tx, login).await?;
        let mut used = false;
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
                event.gateway = name(allowed.gateway.as_ref());
                used = allowed.key.note_due;
                event.token_expire_time = Some(allowed.expire_time);
                LoggedIn::Granted {
                    expire_time: allowed.expire_time,
                    gateway: allowed.gateway.filter(|_| allowed.gateway_uid.is_some()),
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
        let events: Vec<Event> = match answer {
            // Anybody can cause these.
            LoggedIn::Refused(KeyDenial::AccessIdUnknown | KeyDenial::AccessKeyWrong) => {
                self.hooks.refused(event).into_iter().collect()
            }
            LoggedIn::Granted { .. } | LoggedIn::Refused(_) => vec![event],
        };
        let new = audit::insert(&mut tx, &events).await?;
        tx.commit().await?;
        self.hooks.recorded(new);
        if used {
            self.note_use(login).await;
        }
        Ok(answer)
    }

    /// After the login, and outside of its transaction: that must not wait for whoever is changing
    /// the key, since they wait for it.
    async fn note_use(&self, login: &LogIn) {
        let noted = sqlx::query("UPDATE access_keys SET last_used_time = $1 WHERE key_hash = $2")
            .bind(micros(login.now))
            .bind(login.key.as_bytes().as_slice())
            .execute(&self.writers);
        if let Err(error) = noted.await {
            tracing::warn!(%error, "couldn't note that an access key was used");
        }
    }
}

type Decision = Result<Allowed, KeyDenial>;

async fn decide(connection: &mut Connection, login: &LogIn) -> Result<Decision, StoreError> {
    let method = auth_methods::get_by_access_id(connection, &login.access_id).await?;
    if let Some(mut method) = method {
        method.value.cap(login.maxima);
        return administrator(connection, login, &method.value).await;
    }
    let row: Option<GatewayRow> = sqlx::query_as("SELECT * FROM gateways WHERE access_id = $1")
        .bind(login.access_id.as_str())
        .fetch_optional(&mut *connection)
        .await?;
    match row {
        None => Ok(Err(KeyDenial::AccessIdUnknown)),
        Some(row) => gateway(connection, login, Stored::try_from(row)?.value).await,
    }
}

async fn gateway(
    connection: &mut Connection,
    login: &LogIn,
    gateway: Gateway,
) -> Result<Decision, StoreError> {
    let uid = gateway.uid.to_string();
    let owner = Owner::Gateway(&uid);
    let Some(key) = access_keys::shown(connection, owner, &login.key, login.now).await? else {
        return Ok(Err(KeyDenial::AccessKeyWrong));
    };
    if gateway.disabled {
        return Ok(Err(KeyDenial::GatewayDisabled));
    }
    if login.narrow_to.is_some() {
        return Ok(Err(KeyDenial::NarrowingNotAllowed));
    }
    if !login.speaks_for.admits(gateway.name.as_str()) {
        return Ok(Err(KeyDenial::GatewayCertificate));
    }
    Ok(Ok(Allowed {
        kind: "gateway",
        method_uid: None,
        gateway_uid: Some(uid),
        narrowed_gateway_uid: None,
        gateway: Some(gateway.name),
        expire_time: key.at_most(after(login.now, GATEWAY_TOKEN_TTL)),
        max_expire_time: None,
        uses: None,
        key,
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
    let owner = Owner::Method(&uid);
    let Some(key) = access_keys::shown(connection, owner, &login.key, login.now).await? else {
        return Ok(Err(KeyDenial::AccessKeyWrong));
    };
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
    let end = key.at_most(after(login.now, ttl));
    Ok(Ok(Allowed {
        kind: "administrator",
        method_uid: Some(uid),
        gateway_uid: None,
        expire_time: method
            .settings
            .access_expires
            .map_or(end, |access| end.min(access)),
        max_expire_time: narrowed
            .is_none()
            .then(|| key.at_most(method.max_expire_time(login.now))),
        uses: method.settings.token_num_uses,
        gateway: narrowed.as_ref().map(|gateway| gateway.name.clone()),
        narrowed_gateway_uid: narrowed.map(|gateway| gateway.uid.to_string()),
        key,
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

fn name(gateway: Option<&GatewayName>) -> String {
    gateway.map(ToString::to_string).unwrap_or_default()
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
              sub_claims, issue_time, expire_time, max_expire_time, rules_revision, uses_left,
              access_key_hash)
         VALUES ($1, $2, $3, $4, $5, $6, $7, '{}', $8, $9, $10, $11, $12, $13)",
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
    .bind(login.key.as_bytes().as_slice())
    .execute(connection)
    .await?;
    Ok(())
}
