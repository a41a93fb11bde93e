//! What a caller wants of the audit records.

use jiff::Timestamp;
use postern_core::audit::EventKind;
use postern_core::invalid::{Invalid, Violations};
use postern_proto::convert::time;
use postern_proto::pb;
use prost_types::Timestamp as Wire;

use crate::store::EventFilter;

pub(super) fn parse(
    request_id: &str,
    filter: Option<&pb::AuditFilter>,
) -> Result<EventFilter, Invalid> {
    let mut faults = Violations::default();
    let none = pb::AuditFilter::default();
    let filter = filter.unwrap_or(&none);
    let kind = text(&filter.event).and_then(|event| {
        let kind = EventKind::parse(&event).ok_or("is none of the events");
        faults.check("filter.event", kind)
    });
    let start = instant(&mut faults, "filter.start_time", filter.start_time.as_ref());
    let end = instant(&mut faults, "filter.end_time", filter.end_time.as_ref());
    faults.finish()?;
    Ok(EventFilter {
        request_id: text(request_id),
        kind,
        access_id: text(&filter.access_id),
        namespace: text(&filter.namespace),
        service_account: text(&filter.service_account),
        pod: text(&filter.pod),
        reason: text(&filter.reason),
        gateway: text(&filter.gateway),
        k8s_auth_config: text(&filter.k8s_auth_config),
        start,
        end,
    })
}

pub(super) fn text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

pub(super) fn instant(
    faults: &mut Violations,
    field: &str,
    wire: Option<&Wire>,
) -> Option<Timestamp> {
    faults.check(field, time::from_timestamp(wire?))
}
