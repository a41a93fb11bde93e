//! Which records: flags.

use clap::Args;
use clap::builder::PossibleValuesParser;
use jiff::{SignedDuration, Timestamp};
use postern_core::audit::EventKind;
use postern_proto::pb;

use crate::failure::Failure;
use crate::flags::present;
use crate::values;

#[derive(Debug, Args)]
pub(super) struct FilterFlags {
    /// Such as login.denied
    #[arg(long, value_name = "EVENT", hide_possible_values = true,
        value_parser = PossibleValuesParser::new(EventKind::ALL.iter().map(|kind| kind.as_str())))]
    event: Option<String>,
    /// Of an auth method
    #[arg(long, value_name = "ACCESS_ID")]
    access_id: Option<String>,
    /// Of a verified workload
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Of a verified workload
    #[arg(long, value_name = "NAME")]
    service_account: Option<String>,
    /// Of a verified workload
    #[arg(long, value_name = "NAME")]
    pod: Option<String>,
    /// Such as POD_NAME_NOT_BOUND
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// A gateway's name
    #[arg(long, value_name = "NAME")]
    gateway: Option<String>,
    /// A K8s auth config's full name, gateways/GATEWAY/k8sAuthConfigs/ID
    #[arg(long, value_name = "CONFIG")]
    config: Option<String>,
    #[command(flatten)]
    time: TimeFlags,
}

#[derive(Debug, Args)]
pub(super) struct TimeFlags {
    /// From then on: Unix seconds, 2027-01-31T12:00:00Z, or how long ago, such as 1h
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

// === impl FilterFlags ===

impl FilterFlags {
    pub(super) fn parse(&self) -> Result<pb::AuditFilter, Failure> {
        let text = |flag: &str, value: &Option<String>| match value {
            Some(value) => present(flag, value),
            None => Ok(String::new()),
        };
        let (start_time, end_time) = self.time.parse()?;
        Ok(pb::AuditFilter {
            event: text("--event", &self.event)?,
            access_id: text("--access-id", &self.access_id)?,
            namespace: text("--namespace", &self.namespace)?,
            service_account: text("--service-account", &self.service_account)?,
            pod: text("--pod", &self.pod)?,
            reason: text("--reason", &self.reason)?,
            gateway: text("--gateway", &self.gateway)?,
            k8s_auth_config: text("--config", &self.config)?,
            start_time,
            end_time,
        })
    }
}

// === impl TimeFlags ===

type Time = Option<prost_types::Timestamp>;

impl TimeFlags {
    pub(super) fn parse(&self) -> Result<(Time, Time), Failure> {
        let now = Timestamp::now();
        let time = |flag: &str, value: &Option<String>| match value {
            Some(value) => before(flag, value, now),
            None => Ok(None),
        };
        Ok((time("--since", &self.since)?, time("--until", &self.until)?))
    }
}

/// A duration counts back from now.
fn before(flag: &str, text: &str, now: Timestamp) -> Result<Time, Failure> {
    let ago: Option<SignedDuration> = text.trim().parse().ok();
    match ago.and_then(|ago| now.checked_sub(ago).ok()) {
        Some(time) => Ok(Some(postern_proto::convert::time::timestamp(time))),
        None => values::time(flag, text, now),
    }
}
