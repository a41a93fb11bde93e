//! Each login on its own, on rules that are read once for all of a batch.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use postern_core::access_id::AccessId;
use postern_core::assertion::Claims;
use postern_core::auth_method::{AuthMethod, TokenMaxima};
use postern_core::reason::DenyReason;
use sqlx::{Database, FromRow, Row as _};
use uuid::Uuid;

use super::super::auth_methods::columns;
use super::super::blocks::Blocks;
use super::super::{Connection, Db};
use super::{Allowed, Decision};
use crate::store::exchange::{self, ConfigFacts, Refusal};
use crate::store::parsed::Parsed;
use crate::store::rows::MethodRow;
use crate::store::{Exchange, Inconsistent, StoreError};

type DbRow = <Db as Database>::Row;

/// An assertion that was verified by what its method was last.
pub(super) struct Foreseen {
    method: Arc<AuthMethod>,
    verified: Result<Claims, DenyReason>,
}

/// Access ID, gateway and, where the assertion was verified, its config.
type Key = (AccessId, Uuid, Option<Uuid>);

/// What this transaction has read, in as few questions as there can be: each is a way to the
/// database and back. Who changes any of it waits until the transaction's end.
struct Rules<'e> {
    parsed: &'e Parsed,
    grounds: HashMap<Key, Ground>,
}

/// What a login stands on.
struct Ground {
    revision: i64,
    /// Whether anybody is blocked.
    blocks: bool,
    /// The inner error is of this method alone.
    method: Result<Option<Arc<AuthMethod>>, Inconsistent>,
    /// `None`: there is no such gateway.
    gateway_disabled: Option<bool>,
    config: Option<ConfigFacts>,
}

/// In the requests' order; `None` for a method that isn't known yet.
pub(super) fn foresee(parsed: &Parsed, requests: &[Exchange]) -> Vec<Option<Foreseen>> {
    let foresee = |request: &Exchange| {
        let method = parsed.last(&request.access_id)?;
        let verified = exchange::verify(request, &method);
        Some(Foreseen { method, verified })
    };
    requests.iter().map(foresee).collect()
}

/// In the requests' order, with the revision of the rules.
pub(super) async fn all(
    connection: &mut Connection,
    parsed: &Parsed,
    requests: &[Exchange],
    foreseen: Vec<Option<Foreseen>>,
) -> Result<(i64, Vec<Decision>), StoreError> {
    let mut rules = Rules {
        parsed,
        grounds: HashMap::new(),
    };
    let mut decisions = Vec::with_capacity(requests.len());
    for (request, foreseen) in requests.iter().zip(foreseen) {
        decisions.push(decide(connection, &mut rules, request, foreseen).await?);
    }
    if rules.grounds.values().any(|ground| ground.blocks) {
        refuse_blocked(connection, requests, &mut decisions).await?;
    }
    // No revision is taken while this transaction is open; the lowest is on the safe side.
    let revisions = rules.grounds.values().map(|ground| ground.revision);
    Ok((revisions.min().unwrap_or_default(), decisions))
}

/// Whom the rules let in and an administrator doesn't.
async fn refuse_blocked(
    connection: &mut Connection,
    requests: &[Exchange],
    decisions: &mut [Decision],
) -> Result<(), StoreError> {
    let Some(Exchange { now, .. }) = requests.first() else {
        return Ok(());
    };
    let allowed = decisions.iter().flatten().flatten();
    let workloads = allowed.map(|allowed| allowed.grant.facts());
    let blocks = Blocks::of(connection, workloads, *now).await?;
    for decision in decisions.iter_mut().flatten() {
        if let Ok(allowed) = decision
            && blocks.hold(
                allowed.grant.facts(),
                &allowed.claims.config_uid.to_string(),
            )
        {
            let Allowed {
                method,
                claims,
                config,
                ..
            } = allowed;
            let refusal = Refusal::new(DenyReason::SubjectBlocked).of_method(method);
            *decision = Err(refusal.of_claims(claims).of_config(method, config));
        }
    }
    Ok(())
}

async fn decide(
    connection: &mut Connection,
    rules: &mut Rules<'_>,
    request: &Exchange,
    foreseen: Option<Foreseen>,
) -> Result<Decision, StoreError> {
    let config_uid = foreseen.as_ref().and_then(Foreseen::config_uid);
    let ground = rules.ground(connection, request, config_uid).await?;
    // Its token was looked at before this transaction: it may have been switched off since.
    if ground.gateway_disabled != Some(false) {
        return Ok(Ok(Err(Refusal::new(DenyReason::GatewayDisabled))));
    }
    let method = match &ground.method {
        Ok(Some(method)) => Arc::clone(method),
        Ok(None) => return Ok(Ok(Err(Refusal::new(DenyReason::MethodUnknown)))),
        Err(fault) => return Ok(Err(fault.clone())),
    };
    let verified = match foreseen {
        Some(foreseen) if Arc::ptr_eq(&foreseen.method, &method) => foreseen.verified,
        // The method isn't what it was.
        Some(_) | None => exchange::verify(request, &method),
    };
    let method = under(method, request.maxima);
    let claims = match verified {
        Ok(claims) => claims,
        Err(reason) => return Ok(Ok(Err(Refusal::new(reason).of_method(&method)))),
    };
    let ground = rules
        .ground(connection, request, Some(claims.config_uid))
        .await?;
    let config = match exchange::own_config(request, &method, &claims, ground.config.as_ref()) {
        Ok(Ok(config)) => config,
        Ok(Err(reason)) => {
            let refusal = Refusal::new(reason).of_method(&method).of_claims(&claims);
            return Ok(Ok(Err(refusal)));
        }
        Err(fault) => return Ok(Err(fault)),
    };
    let granted = exchange::grant(request.gateway_ip, &method, &claims.facts, request.now);
    let format = &method.settings.token_format;
    let granted = granted.and_then(|grant| Ok((grant, format.granted(&request.token_audiences)?)));
    Ok(Ok(match granted {
        Ok((grant, audiences)) => Ok(Allowed {
            method,
            claims,
            config,
            grant,
            audiences,
        }),
        Err(denial) => {
            let refusal = Refusal::new(denial).of_method(&method).of_claims(&claims);
            Err(refusal.of_config(&method, &config))
        }
    }))
}

/// The method as it is on a server that gives no token more.
fn under(mut method: Arc<AuthMethod>, maxima: TokenMaxima) -> Arc<AuthMethod> {
    if !method.keeps(maxima) {
        Arc::make_mut(&mut method).cap(maxima);
    }
    method
}

// === impl Foreseen ===

impl Foreseen {
    fn config_uid(&self) -> Option<Uuid> {
        self.verified.as_ref().ok().map(|claims| claims.config_uid)
    }
}

// === impl Ground ===

impl Ground {
    /// From rows that differ in the method's keys alone.
    fn new(parsed: &Parsed, access_id: &AccessId, rows: &[DbRow]) -> Result<Self, sqlx::Error> {
        let first = rows.first().ok_or(sqlx::Error::RowNotFound)?;
        let is_there =
            |column| Ok::<_, sqlx::Error>(first.try_get::<Option<&str>, _>(column)?.is_some());
        let method = match is_there("uid")? {
            true => rows
                .iter()
                .map(MethodRow::from_row)
                .collect::<Result<_, _>>()?,
            false => Vec::new(),
        };
        let config = is_there("config_id")?.then(|| ConfigFacts::from_row(first));
        Ok(Self {
            revision: first.try_get("rules_revision")?,
            blocks: first.try_get("blocks")?,
            method: parsed.method(access_id, method),
            gateway_disabled: first.try_get("gateway_disabled")?,
            config: config.transpose()?,
        })
    }
}

// === impl Rules ===

impl Rules<'_> {
    async fn ground(
        &mut self,
        connection: &mut Connection,
        request: &Exchange,
        config_uid: Option<Uuid>,
    ) -> Result<&Ground, StoreError> {
        let (access_id, gateway_uid) = (&request.access_id, request.gateway.uid);
        let key = (access_id.clone(), gateway_uid, config_uid);
        let entry = match self.grounds.entry(key) {
            Entry::Occupied(known) => return Ok(known.into_mut()),
            Entry::Vacant(unknown) => unknown,
        };
        let rows: Vec<DbRow> = sqlx::query(concat!(
            "SELECT r.value AS rules_revision, EXISTS (SELECT 1 FROM blocks) AS blocks,
                    g.disabled AS gateway_disabled, c.id AS config_id,
                    c.gateway_uid AS config_gateway_uid, c.method_uid AS config_method_uid,
                    c.generation AS config_generation, c.disabled AS config_disabled, ",
            columns!(),
            " FROM revision r
             LEFT JOIN gateways g ON g.uid = $1
             LEFT JOIN k8s_auth_configs c ON c.uid = $2
             LEFT JOIN auth_methods m ON m.access_id = $3
             LEFT JOIN auth_method_keys k ON k.method_uid = m.uid
             ORDER BY k.position",
        ))
        .bind(gateway_uid.to_string())
        .bind(config_uid.map(|uid| uid.to_string()))
        .bind(access_id.as_str())
        .fetch_all(connection)
        .await?;
        let ground = Ground::new(self.parsed, access_id, &rows)?;
        Ok(entry.insert(ground))
    }
}
