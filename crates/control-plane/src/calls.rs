//! Records of administrators' calls that leave no other one: reads, what only asked whether it would do, and
//! what was refused, or what a limit turned away.

use std::time::Duration;

use jiff::Timestamp;
use postern_core::audit::{Component, Event, EventKind};
use postern_rpc::error::Reason;
use postern_rpc::layers::{Answered, LimitedCall, Refused};

use crate::identity::Identity;
use crate::metrics::AuditCounts;
use crate::store::{Store, StoreError};

/// What an answer waits for its record.
const PATIENCE: Duration = Duration::from_secs(2);
/// Stands for a method that doesn't exist.
const UNKNOWN: &str = "unknown";
/// A gateway asks here about each call of an administrator; the call itself is what is recorded.
const ASKING: &str = "/postern.v1.GatewaySyncService/AuthorizeAdministrator";

/// By whoever has no right to it: anybody can cause these.
pub(crate) async fn refused(store: &Store, now: Timestamp, counts: &AuditCounts, refused: Refused) {
    let event = Event {
        request_id: refused.caller.request_id.to_string(),
        caller_ip: refused.caller.ip,
        user_agent: refused.caller.user_agent.unwrap_or_default(),
        resource: refused.method.unwrap_or_else(|| UNKNOWN.to_owned()),
        reason: refused.reason.to_string(),
        ..Event::new(EventKind::AdminRefused, Component::ControlPlane, now)
    };
    kept(store.record_refusal(event), counts).await;
}

/// By a limit. The record is written with others a moment later, so that a flood costs no write each and waits for
/// nothing.
pub(crate) fn limited(store: &Store, now: Timestamp, counts: &AuditCounts, limited: LimitedCall) {
    let event = Event {
        request_id: limited.caller.request_id.to_string(),
        caller_ip: limited.caller.ip,
        user_agent: limited.caller.user_agent.unwrap_or_default(),
        resource: limited.method.unwrap_or_else(|| UNKNOWN.to_owned()),
        reason: limited.scope.reason().to_owned(),
        ..Event::new(EventKind::CallLimited, Component::ControlPlane, now)
    };
    if store.record_later(event).is_err() {
        counts.lost();
    }
}

/// By an administrator. Who writes has a record already.
pub(crate) async fn answered(
    store: &Store,
    now: Timestamp,
    counts: &AuditCounts,
    identity: &Identity,
    answered: Answered,
) {
    if let Identity::Asker(_) = identity {
        return asked(store, now, counts, answered).await;
    }
    let Some(administrator) = identity.administrator() else {
        return;
    };
    if answered.method == ASKING && answered.failure.is_none() {
        return;
    }
    let kind = match answered.failure {
        None => EventKind::AdminCalled,
        Some(_) => EventKind::AdminRefused,
    };
    let gateway = identity.relaying();
    // Believed from gateways only.
    let relayed = answered.relayed_request_id.filter(|_| gateway.is_some());
    let request_id = relayed.unwrap_or(answered.caller.request_id);
    let event = Event {
        request_id: request_id.to_string(),
        access_id: administrator.access_id.to_string(),
        accessor: administrator.accessor.to_string(),
        gateway: gateway
            .map(|gateway| gateway.to_string())
            .unwrap_or_default(),
        caller_ip: answered.caller.ip,
        user_agent: answered.caller.user_agent.unwrap_or_default(),
        resource: answered.method,
        reason: answered
            .failure
            .map(|reason| reason.to_string())
            .unwrap_or_default(),
        ..Event::new(kind, Component::ControlPlane, now)
    };
    kept(store.record_call(&event), counts).await;
}

/// About a token. Services ask about others' at each of their own requests: only who may not is on record.
async fn asked(store: &Store, now: Timestamp, counts: &AuditCounts, answered: Answered) {
    let Some(reason @ Reason::PermissionDenied) = answered.failure else {
        return;
    };
    let refusal = Refused {
        caller: answered.caller,
        method: Some(answered.method),
        reason,
    };
    refused(store, now, counts, refusal).await;
}

/// What can't be kept is counted: what was done stays done.
async fn kept(record: impl Future<Output = Result<(), StoreError>>, counts: &AuditCounts) {
    let kept = tokio::time::timeout(PATIENCE, record).await;
    if let Ok(Ok(())) = kept {
        return;
    }
    counts.lost();
    tracing::error!(?kept, "an administrator's call has no audit record");
}
