//! Audit records and facts.

use jiff::Timestamp;
use postern_core::audit::{Component, Event, EventKind, Severity};
use postern_core::facts::{Facts, NamespaceLabels, SubClaims, VerificationMode};
use postern_core::invalid::{Invalid, Violations};
use postern_core::sub_claim::SubClaimName;
use std::collections::{BTreeMap, HashMap};

use super::time;
use crate::pb;

/// The longest text that a reported record may hold in one field, in bytes.
const MAX_TEXT: usize = 1024;
/// The most that the values of a sub-claim may have, in bytes: `aud` holds as much as a token does.
const MAX_CLAIM: usize = 16 * 1024;
/// The most that a namespace's labels may have, in bytes: as much as Kubernetes allows for a whole object's
/// annotations.
const MAX_LABELS: usize = 256 * 1024;

/// A number that is no verification mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no verification mode")]
pub struct UnknownMode(i32);

/// A record on the wire.
pub fn to_pb(event: &Event) -> pb::AuditEvent {
    let text = |ip: Option<std::net::IpAddr>| ip.map(|ip| ip.to_string()).unwrap_or_default();
    pb::AuditEvent {
        id: event.id.to_string(),
        time: Some(time::timestamp(event.time)),
        event: event.kind.as_str().to_owned(),
        severity: match event.kind.severity() {
            Severity::Info => pb::Severity::Info,
            Severity::Warning => pb::Severity::Warning,
        }
        .into(),
        request_id: event.request_id.clone(),
        component: event.component.as_str().to_owned(),
        gateway: event.gateway.clone(),
        k8s_auth_config: event.k8s_auth_config.clone(),
        access_id: event.access_id.clone(),
        caller_ip: text(event.caller_ip),
        user_agent: event.user_agent.clone(),
        accessor: event.accessor.clone(),
        resource: event.resource.clone(),
        facts: event.facts.as_ref().map(facts_to_pb),
        reason: event.reason.clone(),
        rule: event.rule.and_then(|rule| i32::try_from(rule).ok()),
        count: i32::try_from(event.count).unwrap_or(i32::MAX),
        revision: event.revision.map(|r| r.to_string()).unwrap_or_default(),
        before_json: event.before.clone().unwrap_or_default(),
        after_json: event.after.clone().unwrap_or_default(),
        sub_claims: sub_claims(&event.sub_claims),
        token_expire_time: event.token_expire_time.map(time::timestamp),
        seal: event.seal.unwrap_or(0),
    }
}

/// What a gateway reports: a refused login, what a limit turned away, how many found no room in its queue, or that an
/// administrator asked about one.
///
/// Component, gateway and time of receipt are the control plane's to say.
///
/// # Errors
/// An event that isn't a gateway's to report, over-long texts, malformed IDs or addresses.
pub fn reported(wire: &pb::AuditEvent) -> Result<Event, Invalid> {
    let mut faults = Violations::default();
    let id = faults.check("id", wire.id.parse());
    let kind = EventKind::parse(&wire.event).filter(|kind| {
        matches!(
            kind,
            EventKind::LoginDenied
                | EventKind::LoginDeniedOverflow
                | EventKind::CallLimited
                | EventKind::LoginExplained
                | EventKind::LoginSimulated
                | EventKind::AdminCalled
                | EventKind::AdminRefused
        )
    });
    if kind.is_none() {
        faults.add("event", "is none that a gateway reports");
    }
    let event_time = wire.time.as_ref().map(time::from_timestamp);
    let event_time = faults.check("time", event_time.unwrap_or(Err(time::BadTimestamp)));
    let caller_ip = optional(&mut faults, "caller_ip", &wire.caller_ip);
    for (field, text) in [
        ("request_id", &wire.request_id),
        ("k8s_auth_config", &wire.k8s_auth_config),
        ("access_id", &wire.access_id),
        ("user_agent", &wire.user_agent),
        ("reason", &wire.reason),
        ("accessor", &wire.accessor),
        ("resource", &wire.resource),
    ] {
        if text.len() > MAX_TEXT {
            faults.add(field, format!("is longer than {MAX_TEXT} bytes"));
        }
    }
    let facts = wire
        .facts
        .as_ref()
        .map(|f| facts_from_pb(&cut(f)).map_err(|e| e.within("facts")));
    let facts = facts.and_then(|facts| faults.absorb(facts));
    let sub_claims = sub_claims_from_pb(&mut faults, &wire.sub_claims);
    let (Some(id), Some(kind), Some(event_time)) = (id, kind, event_time) else {
        return Err(faults.into_invalid());
    };
    faults.finish()?;
    let mut event = Event::new(kind, Component::Gateway, event_time);
    event.id = id;
    event.request_id.clone_from(&wire.request_id);
    event.k8s_auth_config.clone_from(&wire.k8s_auth_config);
    event.access_id.clone_from(&wire.access_id);
    event.caller_ip = caller_ip;
    event.user_agent.clone_from(&wire.user_agent);
    event.accessor.clone_from(&wire.accessor);
    event.resource.clone_from(&wire.resource);
    event.facts = facts;
    event.sub_claims = sub_claims;
    event.reason.clone_from(&wire.reason);
    event.rule = wire.rule.and_then(|rule| usize::try_from(rule).ok());
    event.count = u32::try_from(wire.count).unwrap_or(1).max(1);
    Ok(event)
}

/// Facts that are no longer than the rest of a record: what is beyond is cut, so that a cluster
/// with odd names costs no other record of the report its place.
fn cut(facts: &pb::Facts) -> pb::Facts {
    let mut facts = facts.clone();
    for text in [
        &mut facts.namespace,
        &mut facts.service_account_name,
        &mut facts.service_account_uid,
        &mut facts.pod_name,
        &mut facts.pod_uid,
        &mut facts.node_name,
        &mut facts.credential_id,
    ] {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
    }
    let mut room = MAX_CLAIM;
    facts.aud.retain(|aud| take(&mut room, aud.len() + 1));
    let mut room = MAX_LABELS;
    facts
        .namespace_labels
        .retain(|key, value| take(&mut room, key.len() + value.len()));
    facts
}

fn take(room: &mut usize, weight: usize) -> bool {
    match room.checked_sub(weight) {
        Some(left) => *room = left,
        None => return false,
    }
    true
}

fn optional<T>(faults: &mut Violations, field: &str, text: &str) -> Option<T>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    (!text.is_empty())
        .then(|| faults.check(field, text.parse()))
        .flatten()
}

/// Facts on the wire.
pub fn facts_to_pb(facts: &Facts) -> pb::Facts {
    pb::Facts {
        namespace: facts.namespace.clone(),
        service_account_name: facts.service_account_name.clone(),
        service_account_uid: facts.service_account_uid.clone(),
        pod_name: facts.pod_name.clone().unwrap_or_default(),
        pod_uid: facts.pod_uid.clone().unwrap_or_default(),
        node_name: facts.node_name.clone().unwrap_or_default(),
        credential_id: facts.credential_id.clone().unwrap_or_default(),
        client_ip: facts.client_ip.map(|ip| ip.to_string()).unwrap_or_default(),
        aud: facts.aud.clone(),
        legacy: facts.legacy,
        issue_time: facts.issue_time.map(time::timestamp),
        expire_time: facts.expire_time.map(time::timestamp),
        mode: mode_to_pb(facts.mode).into(),
        namespace_labels: facts
            .namespace_labels
            .iter()
            .flat_map(NamespaceLabels::present)
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        cached: facts.cached,
        review_ms: facts.review_ms,
    }
}

/// A verification mode on the wire.
pub fn mode_to_pb(mode: VerificationMode) -> pb::VerificationMode {
    match mode {
        VerificationMode::Review => pb::VerificationMode::Review,
        VerificationMode::Offline => pb::VerificationMode::Offline,
        VerificationMode::JwksThenReview => pb::VerificationMode::JwksThenReview,
    }
}

/// A verification mode from the wire; unset is the default, a review.
///
/// # Errors
/// A value that isn't known.
pub fn mode_from_pb(wire: i32) -> Result<VerificationMode, UnknownMode> {
    match pb::VerificationMode::try_from(wire) {
        Ok(pb::VerificationMode::Unspecified | pb::VerificationMode::Review) => {
            Ok(VerificationMode::Review)
        }
        Ok(pb::VerificationMode::Offline) => Ok(VerificationMode::Offline),
        Ok(pb::VerificationMode::JwksThenReview) => Ok(VerificationMode::JwksThenReview),
        Err(_) => Err(UnknownMode(wire)),
    }
}

/// Facts from the wire.
///
/// # Errors
/// Malformed addresses, times or modes.
pub fn facts_from_pb(wire: &pb::Facts) -> Result<Facts, Invalid> {
    let mut faults = Violations::default();
    let present = |text: &String| (!text.is_empty()).then(|| text.clone());
    let client_ip = optional(&mut faults, "client_ip", &wire.client_ip);
    let mut at = |field: &str, t: &Option<prost_types::Timestamp>| -> Option<Timestamp> {
        let time = t.as_ref()?;
        faults.check(field, time::from_timestamp(time))
    };
    let issue_time = at("issue_time", &wire.issue_time);
    let expire_time = at("expire_time", &wire.expire_time);
    let mode = faults.check("mode", mode_from_pb(wire.mode));
    faults.finish()?;
    Ok(Facts {
        namespace: wire.namespace.clone(),
        service_account_name: wire.service_account_name.clone(),
        service_account_uid: wire.service_account_uid.clone(),
        pod_name: present(&wire.pod_name),
        pod_uid: present(&wire.pod_uid),
        node_name: present(&wire.node_name),
        credential_id: present(&wire.credential_id),
        client_ip,
        aud: wire.aud.clone(),
        for_api_server: false,
        legacy: wire.legacy,
        issue_time,
        expire_time,
        mode: mode.unwrap_or_default(),
        namespace_labels: labels_from_pb(&wire.namespace_labels),
        cached: wire.cached,
        review_ms: wire.review_ms,
    })
}

/// The wire has the labels that were found. All others count as not read, which denies.
fn labels_from_pb(wire: &HashMap<String, String>) -> Option<NamespaceLabels> {
    let labels: BTreeMap<String, String> = wire.clone().into_iter().collect();
    let keys = labels.keys().map(String::as_str);
    (!wire.is_empty()).then(|| NamespaceLabels::read(keys, &labels))
}

/// By their closed list of names, and no longer than other texts of a record.
fn sub_claims_from_pb(
    faults: &mut Violations,
    wire: &HashMap<String, pb::StringList>,
) -> SubClaims {
    let mut claims = SubClaims::new();
    for (name, list) in wire {
        let name = faults.check("sub_claims", name.parse::<SubClaimName>());
        if list.values.iter().map(String::len).sum::<usize>() > MAX_CLAIM {
            faults.add(
                "sub_claims",
                format!("has values of more than {MAX_CLAIM} bytes"),
            );
        } else if let Some(name) = name {
            claims.insert(name.to_string(), list.values.clone());
        }
    }
    claims
}

/// Sub-claims on the wire.
pub fn sub_claims(claims: &SubClaims) -> HashMap<String, pb::StringList> {
    claims
        .iter()
        .map(|(name, values)| {
            let values = values.clone();
            (name.clone(), pb::StringList { values })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_gateway_reports_of_a_cluster_with_endless_names_is_cut() {
        let long = "é".repeat(MAX_CLAIM);
        let labels = (0..40).map(|n| (format!("l{n}"), long.clone()));
        let event = Event {
            facts: Some(
                facts_from_pb(&pb::Facts {
                    namespace: long.clone(),
                    pod_uid: long.clone(),
                    aud: vec![long.clone(), "short".to_owned()],
                    namespace_labels: labels.collect(),
                    ..pb::Facts::default()
                })
                .unwrap(),
            ),
            ..Event::new(
                EventKind::LoginDenied,
                Component::Gateway,
                Timestamp::UNIX_EPOCH,
            )
        };
        let facts = reported(&to_pb(&event)).unwrap().facts.unwrap();
        assert!(facts.namespace.len() <= MAX_TEXT && !facts.namespace.is_empty());
        assert!(facts.pod_uid.unwrap().len() <= MAX_TEXT);
        assert_eq!(facts.aud, ["short"]);
        let labels = facts.namespace_labels.unwrap();
        let labels: usize = labels
            .present()
            .map(|(key, value)| key.len() + value.len())
            .sum();
        assert!((1..=MAX_LABELS).contains(&labels), "{labels}");
    }
}
