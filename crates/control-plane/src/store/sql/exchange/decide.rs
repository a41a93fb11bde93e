//! Each login on its own, on rules that are read once for all of a batch.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use postern_core::access_id::AccessId;
use postern_core::auth_method::AuthMethod;
use postern_core::reason::DenyReason;
use uuid::Uuid;

use super::super::blocks::Blocks;
use super::super::{Connection, auth_methods};
use super::{Allowed, Decision};
use crate::store::exchange::{self, ConfigFacts, Refusal};
use crate::store::parsed::Parsed;
use crate::store::{Exchange, Inconsistent, MethodRef, StoreError};

/// What this transaction has read. Who changes any of it waits until the transaction's end.
struct Rules<'e> {
    parsed: &'e Parsed,
    methods: HashMap<AccessId, Result<Option<Arc<AuthMethod>>, Inconsistent>>,
    configs: HashMap<Uuid, Option<ConfigFacts>>,
    /// Whether the gateway is there and enabled.
    gateways: HashMap<Uuid, bool>,
}

/// In the requests' order.
pub(super) async fn all(
    connection: &mut Connection,
    parsed: &Parsed,
    requests: &[Exchange],
) -> Result<Vec<Decision>, StoreError> {
    let mut rules = Rules {
        parsed,
        methods: HashMap::new(),
        configs: HashMap::new(),
        gateways: HashMap::new(),
    };
    let mut decisions = Vec::with_capacity(requests.len());
    for request in requests {
        decisions.push(decide(connection, &mut rules, request).await?);
    }
    refuse_blocked(connection, requests, &mut decisions).await?;
    Ok(decisions)
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
    // Its token was looked at before this transaction: it may have been switched off since.
    if !rules.gateway(connection, request.gateway.uid).await? {
        return Ok(Ok(Err(Refusal::new(DenyReason::GatewayDisabled))));
    }
    let method = match rules.method(connection, &request.access_id).await? {
        Ok(Some(method)) => method,
        Ok(None) => return Ok(Ok(Err(Refusal::new(DenyReason::MethodUnknown)))),
        Err(fault) => return Ok(Err(fault)),
    };
    let claims = match exchange::verify(request, &method) {
        Ok(claims) => claims,
        Err(reason) => return Ok(Ok(Err(Refusal::new(reason).of_method(&method)))),
    };
    let row = rules.config(connection, claims.config_uid).await?;
    let config = match exchange::own_config(request, &method, &claims, row) {
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

    async fn gateway(
        &mut self,
        connection: &mut Connection,
        uid: Uuid,
    ) -> Result<bool, StoreError> {
        let entry = match self.gateways.entry(uid) {
            Entry::Occupied(known) => return Ok(*known.get()),
            Entry::Vacant(unknown) => unknown,
        };
        let disabled: Option<bool> =
            sqlx::query_scalar("SELECT disabled FROM gateways WHERE uid = $1")
                .bind(uid.to_string())
                .fetch_optional(connection)
                .await?;
        Ok(*entry.insert(disabled == Some(false)))
    }

    async fn config(
        &mut self,
        connection: &mut Connection,
        uid: Uuid,
    ) -> Result<Option<&ConfigFacts>, StoreError> {
        let entry = match self.configs.entry(uid) {
            Entry::Occupied(known) => return Ok(known.into_mut().as_ref()),
            Entry::Vacant(unknown) => unknown,
        };
        let read = sqlx::query_as(
            "SELECT id, gateway_uid, method_uid, generation, disabled FROM k8s_auth_configs WHERE uid = $1",
        )
        .bind(uid.to_string())
        .fetch_optional(connection)
        .await?;
        Ok(entry.insert(read).as_ref())
    }
}
