//! `audit_events`.

use postern_core::audit::{Component, Event, EventKind};

use super::{Inconsistent, RowOf};

#[derive(sqlx::FromRow)]
pub(in crate::store) struct EventRow {
    id: String,
    time: i64,
    event: String,
    component: String,
    request_id: String,
    gateway: String,
    k8s_auth_config: String,
    access_id: String,
    caller_ip: Option<String>,
    user_agent: String,
    accessor: String,
    resource: String,
    facts: Option<String>,
    reason: String,
    rule: Option<i64>,
    count: i64,
    revision: Option<i64>,
    before_json: Option<String>,
    after_json: Option<String>,
    sub_claims: Option<String>,
}

impl EventRow {
    /// What it weighs on a page.
    pub(in crate::store) fn weight(&self) -> usize {
        let texts = [
            &self.facts,
            &self.before_json,
            &self.after_json,
            &self.sub_claims,
        ];
        texts.into_iter().flatten().map(String::len).sum::<usize>() + 2048
    }
}

impl TryFrom<EventRow> for Event {
    type Error = Inconsistent;

    fn try_from(row: EventRow) -> Result<Self, Self::Error> {
        let at = RowOf {
            table: "audit_events",
            key: &row.id,
        };
        let component = match row.component.as_str() {
            "control-plane" => Component::ControlPlane,
            "gateway" => Component::Gateway,
            _ => return Err(at.fault("component")),
        };
        let caller_ip = row.caller_ip.as_deref();
        Ok(Self {
            id: at.parsed("id", &row.id)?,
            time: at.time("time", row.time)?,
            kind: at.some("event", EventKind::parse(&row.event))?,
            component,
            caller_ip: caller_ip.map(|ip| at.parsed("caller_ip", ip)).transpose()?,
            facts: row
                .facts
                .as_deref()
                .map(|facts| at.json("facts", facts))
                .transpose()?,
            sub_claims: row
                .sub_claims
                .as_deref()
                .map(|claims| at.json("sub_claims", claims))
                .transpose()?
                .unwrap_or_default(),
            rule: row
                .rule
                .map(|rule| at.some("rule", rule.try_into().ok()))
                .transpose()?,
            count: at.some("count", row.count.try_into().ok())?,
            request_id: row.request_id,
            gateway: row.gateway,
            k8s_auth_config: row.k8s_auth_config,
            access_id: row.access_id,
            user_agent: row.user_agent,
            accessor: row.accessor,
            resource: row.resource,
            reason: row.reason,
            revision: row.revision,
            before: row.before_json,
            after: row.after_json,
        })
    }
}
