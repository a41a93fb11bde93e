//! What a gateway reports, as far as it is believed.

use postern_core::access_id::AccessId;
use postern_core::access_token::Accessor;
use postern_core::audit::{Event, EventKind};
use postern_core::invalid::{Invalid, Violations};
use postern_core::reason::DenyReason;
use postern_core::resource_id::{ConfigName, GatewayName, ResourceId};
use postern_proto::convert::audit;
use postern_proto::{pb, permissions};
use postern_rpc::error::Reason;
use postern_rpc::http::introspection;
use postern_rpc::metrics::Scope;
use postern_rpc::request_id::RequestId;

const MAX_EVENTS: usize = 500;
/// Stands for a name that matches no object: whatever else a caller sent could be a secret.
const UNKNOWN: &str = "unknown";

/// Records of this gateway, whatever they say.
pub(super) fn events(
    gateway: &GatewayName,
    request: &pb::ReportEventsRequest,
) -> Result<Vec<Event>, Invalid> {
    if request.events.len() > MAX_EVENTS {
        return Err(Invalid::field(
            "events",
            format!("has more than {MAX_EVENTS} entries"),
        ));
    }
    let mut faults = Violations::default();
    let mut events = Vec::with_capacity(request.events.len());
    for (i, wire) in request.events.iter().enumerate() {
        let parsed = event(gateway, wire).map_err(|e| e.within(&format!("events[{i}]")));
        events.extend(faults.absorb(parsed));
    }
    faults.finish()?;
    Ok(events)
}

fn event(gateway: &GatewayName, wire: &pb::AuditEvent) -> Result<Event, Invalid> {
    let mut event = audit::reported(wire)?;
    let (of_call, known) = match event.kind {
        EventKind::AdminCalled | EventKind::AdminRefused => {
            (true, Reason::parse(&event.reason).is_some())
        }
        EventKind::CallLimited => (true, Scope::is_reason(&event.reason)),
        _ => (false, event.reason.parse::<DenyReason>().is_ok()),
    };
    if !event.reason.is_empty() && !known {
        return Err(Invalid::field("reason", "is none of the reasons"));
    }
    if !event.request_id.is_empty() && RequestId::parse(&event.request_id).is_none() {
        return Err(Invalid::field("request_id", "is no request ID"));
    }
    event.gateway = gateway.to_string();
    let own = |name: &ConfigName| name.gateway == *gateway;
    keep_if(&mut event.k8s_auth_config, |name| {
        name.parse().is_ok_and(|name| own(&name))
    });
    keep_if(&mut event.access_id, |id| id.parse::<AccessId>().is_ok());
    keep_if(&mut event.accessor, |text| text.parse::<Accessor>().is_ok());
    keep_if(&mut event.resource, |name| match of_call {
        true => permissions::need(name).is_some() || name == introspection::PATH,
        false => ResourceId::of_auth_method(name).is_ok(),
    });
    Ok(event)
}

fn keep_if(text: &mut String, known: impl Fn(&str) -> bool) {
    if !text.is_empty() && !known(text) {
        UNKNOWN.clone_into(text);
    }
}
