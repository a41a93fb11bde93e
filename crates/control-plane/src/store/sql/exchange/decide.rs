//! Each login on its own, on the rules of the batch's transaction.

use std::sync::Arc;

use postern_core::assertion::Claims;
use postern_core::auth_method::{AuthMethod, TokenMaxima};
use postern_core::reason::DenyReason;
use uuid::Uuid;

use super::super::Connection;
use super::super::blocks::Blocks;
use super::grounds::{Grounds, Rules};
use super::{Allowed, Decision};
use crate::store::exchange::{self, Refusal};
use crate::store::{Exchange, StoreError};

/// An assertion that was verified by what its method was last.
pub(super) struct Foreseen {
    method: Arc<AuthMethod>,
    verified: Result<Claims, DenyReason>,
}

/// In the requests' order; `None` for a method that isn't known yet.
pub(super) fn foresee(grounds: &Grounds, requests: &[Exchange]) -> Vec<Option<Foreseen>> {
    let foresee = |request: &Exchange| {
        let method = grounds.last_method(&request.access_id)?;
        let verified = exchange::verify(request, &method);
        Some(Foreseen { method, verified })
    };
    requests.iter().map(foresee).collect()
}

/// In the requests' order.
pub(super) async fn all(
    connection: &mut Connection,
    mut rules: Rules<'_>,
    requests: &[Exchange],
    foreseen: Vec<Option<Foreseen>>,
) -> Result<Vec<Decision>, StoreError> {
    let mut decisions = Vec::with_capacity(requests.len());
    for (request, foreseen) in requests.iter().zip(foreseen) {
        decisions.push(decide(connection, &mut rules, request, foreseen).await?);
    }
    if rules.blocks() {
        refuse_blocked(connection, requests, &mut decisions).await?;
    }
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
