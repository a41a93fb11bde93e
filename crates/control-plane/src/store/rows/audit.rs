//! `audit_events`.

use postern_core::audit::chain::{Field, Leaf};
use postern_core::audit::{Component, Event, EventKind};

use super::{Inconsistent, RowOf};

/// In microseconds.
const MINUTE: i64 = 60_000_000;

/// Logins of a minute that ended alike.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::store) struct LoginBucket {
    pub(in crate::store) minute: i64,
    pub(in crate::store) k8s_auth_config: String,
    pub(in crate::store) result: &'static str,
    pub(in crate::store) reason: String,
}

/// How many a record adds.
pub(in crate::store) type LoginCount = (LoginBucket, i64);

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
    seal: Option<i64>,
    namespace: Option<String>,
    service_account: Option<String>,
    pod: Option<String>,
    token_expire_time: Option<i64>,
}

impl EventRow {
    /// As stored.
    pub(in crate::store) fn id(&self) -> &str {
        &self.id
    }

    /// As a seal lists it: all columns but the seal itself, whatever they hold. The order is that of
    /// [`postern_core::audit::chain::FORMAT`].
    pub(in crate::store) fn leaf(&self) -> Leaf {
        fn maybe(text: &Option<String>) -> Field<'_> {
            text.as_deref().map_or(Field::Null, Field::Text)
        }
        fn number(number: Option<i64>) -> Field<'static> {
            number.map_or(Field::Null, Field::Number)
        }
        let fields = [
            Field::Text(&self.id),
            Field::Number(self.time),
            Field::Text(&self.event),
            Field::Text(&self.component),
            Field::Text(&self.request_id),
            Field::Text(&self.gateway),
            Field::Text(&self.k8s_auth_config),
            Field::Text(&self.access_id),
            maybe(&self.caller_ip),
            Field::Text(&self.user_agent),
            Field::Text(&self.accessor),
            Field::Text(&self.resource),
            maybe(&self.facts),
            Field::Text(&self.reason),
            number(self.rule),
            Field::Number(self.count),
            number(self.revision),
            maybe(&self.before_json),
            maybe(&self.after_json),
            maybe(&self.sub_claims),
            maybe(&self.namespace),
            maybe(&self.service_account),
            maybe(&self.pod),
            number(self.token_expire_time),
        ];
        // What isn't an ID was written by somebody else, and is sealed as it stands.
        Leaf::of(self.id.parse().unwrap_or_default(), fields)
    }

    /// What a login counts as.
    pub(in crate::store) fn login(&self) -> Option<LoginCount> {
        let result = match EventKind::parse(&self.event)? {
            EventKind::LoginGranted => "granted",
            EventKind::LoginDenied | EventKind::LoginDeniedOverflow => "denied",
            _ => return None,
        };
        let minute = self.time - self.time.rem_euclid(MINUTE);
        let bucket = LoginBucket {
            minute,
            k8s_auth_config: self.k8s_auth_config.clone(),
            result,
            reason: self.reason.clone(),
        };
        Some((bucket, self.count))
    }

    pub(in crate::store) fn seal(&self) -> Option<i64> {
        self.seal
    }

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
            token_expire_time: at.time_or_none("token_expire_time", row.token_expire_time)?,
            seal: row.seal,
        })
    }
}
