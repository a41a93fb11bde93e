//! Each login on its own, on rules that are read once for all of a batch.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use postern_core::access_id::AccessId;
use postern_core::auth_method::{AuthMethod, TokenMaxima};
use postern_core::reason::DenyReason;
use sqlx::{Database, FromRow, Row as _};
use uuid::Uuid;

use super::super::blocks::Blocks;
use super::super::{Connection, Db, auth_methods};
use super::{Allowed, Decision};
use crate::store::exchange::{self, ConfigFacts, Refusal};
use crate::store::parsed::Parsed;
use crate::store::{Exchange, Inconsistent, MethodRef, StoreError};

type DbRow = <Db as Database>::Row;

/// What this transaction has read, in as few questions as there can be: each is a way to the
/// database and back. Who changes any of it waits until the transaction's end.
struct Rules<'e> {
    parsed: &'e Parsed,
    methods: HashMap<AccessId, Result<Option<Arc<AuthMethod>>, Inconsistent>>,
    /// By gateway and, where the assertion was verified, its config.
    grounds: HashMap<(Uuid, Option<Uuid>), Ground>,
}

/// What a login stands on beside its method.
struct Ground {
    revision: i64,
    /// Whether anybody is blocked.
    blocks: bool,
    /// `None`: there is no such gateway.
    gateway_disabled: Option<bool>,
    config: Option<ConfigFacts>,
}

/// In the requests' order, with the revision of the rules.
pub(super) async fn all(
    connection: &mut Connection,
    parsed: &Parsed,
    requests: &[Exchange],
) -> Result<(i64, Vec<Decision>), StoreError> {
    let mut rules = Rules {
        parsed,
        methods: HashMap::new(),
        grounds: HashMap::new(),
    };
    let mut decisions = Vec::with_capacity(requests.len());
    for request in requests {
        decisions.push(decide(connection, &mut rules, request).await?);
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
) -> Result<Decision, StoreError> {
    let method = rules.method(connection, &request.access_id).await?;
    let method = method.map(|method| method.map(|method| under(method, request.maxima)));
    let verified = match &method {
        Ok(Some(method)) => Some(exchange::verify(request, method)),
        Ok(None) | Err(_) => None,
    };
    let config_uid = match &verified {
        Some(Ok(claims)) => Some(claims.config_uid),
        Some(Err(_)) | None => None,
    };
    let ground = rules
        .ground(connection, request.gateway.uid, config_uid)
        .await?;
    // Its token was looked at before this transaction: it may have been switched off since.
    if ground.gateway_disabled != Some(false) {
        return Ok(Ok(Err(Refusal::new(DenyReason::GatewayDisabled))));
    }
    let (method, claims) = match (method, verified) {
        (Ok(Some(method)), Some(Ok(claims))) => (method, claims),
        (Ok(Some(method)), Some(Err(reason))) => {
            return Ok(Ok(Err(Refusal::new(reason).of_method(&method))));
        }
        (Ok(_), _) => return Ok(Ok(Err(Refusal::new(DenyReason::MethodUnknown)))),
        (Err(fault), _) => return Ok(Err(fault)),
    };
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

// === impl Ground ===

impl FromRow<'_, DbRow> for Ground {
    fn from_row(row: &DbRow) -> Result<Self, sqlx::Error> {
        let config_id: Option<String> = row.try_get("id")?;
        let config = config_id.map(|_| ConfigFacts::from_row(row));
        Ok(Self {
            revision: row.try_get("revision")?,
            blocks: row.try_get("blocks")?,
            gateway_disabled: row.try_get("gateway_disabled")?,
            config: config.transpose()?,
        })
    }
}

// === impl Rules ===

impl Rules<'_> {
    /// The inner error is of this method alone.
    async fn method(
        &mut self,
        connection: &mut Connection,
        access_id: &AccessId,
    ) -> Result<Result<Option<Arc<AuthMethod>>, Inconsistent>, StoreError> {
        let entry = match self.methods.entry(access_id.clone()) {
            Entry::Occupied(known) => return Ok(known.get().clone()),
            Entry::Vacant(unknown) => unknown,
        };
        let method = MethodRef::AccessId(access_id.clone());
        let rows = auth_methods::rows(connection, &method).await?;
        let method = self.parsed.method(access_id, rows);
        Ok(entry.insert(method).clone())
    }

    async fn ground(
        &mut self,
        connection: &mut Connection,
        gateway_uid: Uuid,
        config_uid: Option<Uuid>,
    ) -> Result<&Ground, StoreError> {
        let entry = match self.grounds.entry((gateway_uid, config_uid)) {
            Entry::Occupied(known) => return Ok(known.into_mut()),
            Entry::Vacant(unknown) => unknown,
        };
        let read = sqlx::query_as(
            "SELECT r.value AS revision, EXISTS (SELECT 1 FROM blocks) AS blocks,
                    g.disabled AS gateway_disabled,
                    c.id, c.gateway_uid, c.method_uid, c.generation, c.disabled
             FROM revision r
             LEFT JOIN gateways g ON g.uid = $1
             LEFT JOIN k8s_auth_configs c ON c.uid = $2",
        )
        .bind(gateway_uid.to_string())
        .bind(config_uid.map(|uid| uid.to_string()))
        .fetch_one(connection)
        .await?;
        Ok(entry.insert(read))
    }
}
