//! What this replica observes about a config, for administrators.

pub(crate) mod probed;

use jiff::Timestamp;
use postern_core::k8s_auth_config::K8sHost;
use postern_core::seal::OpenError;
use postern_proto::convert::time;
use postern_proto::pb::{Condition, ConditionStatus, ConditionType};

use crate::cluster::{ClusterError, Pin};
use crate::pods::PodsState;
use crate::sealing::Broken;

/// Why a config can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error("the API server {} isn't among this gateway's api_servers", .0)]
    NotAllowed(K8sHost),
    #[error("no client for the API server can be made")]
    Cluster(#[source] ClusterError),
}

/// One condition before it is known who observed it and since when it holds.
pub(crate) struct Finding {
    status: ConditionStatus,
    reason: &'static str,
    message: String,
    fix: &'static str,
}

const RESTORE: &str = "delete the config and create it again, and find out who can write to the control plane's database";

/// Conditions of a config that is live (`None`), or isn't because of a fault. A condition that
/// has the same status as in `before` keeps its time.
pub(crate) fn of(
    fault: Option<&Fault>,
    before: &[Condition],
    instance: &str,
    now: Timestamp,
) -> Vec<Condition> {
    let findings = vec![
        (ConditionType::SealIntact, seal_intact(fault)),
        (ConditionType::ApiServerAllowed, api_server_allowed(fault)),
    ];
    dated(findings, before, instance, None, now)
}

/// Findings as this replica's, at `now`. `checked` is when they were looked for.
pub(crate) fn dated(
    findings: Vec<(ConditionType, Finding)>,
    before: &[Condition],
    instance: &str,
    checked: Option<Timestamp>,
    now: Timestamp,
) -> Vec<Condition> {
    let condition = |(kind, finding): (ConditionType, Finding)| {
        let same = before
            .iter()
            .find(|c| c.r#type() == kind && c.status() == finding.status);
        Condition {
            r#type: kind.into(),
            status: finding.status.into(),
            reason: finding.reason.to_owned(),
            message: finding.message,
            fix: finding.fix.to_owned(),
            instance: instance.to_owned(),
            change_time: same
                .and_then(|c| c.change_time)
                .or_else(|| Some(time::timestamp(now))),
            check_time: checked.map(time::timestamp),
        }
    };
    findings.into_iter().map(condition).collect()
}

fn seal_intact(fault: Option<&Fault>) -> Finding {
    let Some(Fault::Broken(broken)) = fault else {
        return holds("SEALED", "the box opens and says what its row says");
    };
    let (reason, fix) = match broken {
        Broken::Row(_) => ("ROW_DAMAGED", RESTORE),
        Broken::OtherGateway => ("OTHER_GATEWAY", RESTORE),
        Broken::Closed(OpenError::UnknownKey(_)) => (
            "SEAL_KEY_UNKNOWN",
            "put that key's line back into this gateway's seal key file and restart the gateway, or delete the config and create it again",
        ),
        Broken::Closed(OpenError::UnknownVersion) => (
            "BOX_VERSION_UNKNOWN",
            "run the version of the gateway that sealed it, or a newer one",
        ),
        Broken::Closed(OpenError::Truncated | OpenError::NotAuthentic) => {
            ("BOX_NOT_AUTHENTIC", RESTORE)
        }
        Broken::Inside => (
            "BOX_NOT_READABLE",
            "run the version of the gateway that sealed it, or a newer one",
        ),
        Broken::Differs(_) => ("ROW_DIFFERS", RESTORE),
        Broken::RolledBack { .. } => ("ROLLED_BACK", RESTORE),
    };
    Finding {
        status: ConditionStatus::False,
        reason,
        message: broken.to_string(),
        fix,
    }
}

fn api_server_allowed(fault: Option<&Fault>) -> Finding {
    match fault {
        None => holds("ALLOWED", "this gateway may talk to the API server"),
        Some(Fault::NotAllowed(_)) => Finding {
            status: ConditionStatus::False,
            reason: "NOT_IN_LIST",
            message: fault.map(ToString::to_string).unwrap_or_default(),
            fix: "add it to api_servers in gateway.json and restart the gateway, or change the config's k8s_host",
        },
        Some(Fault::Broken(_)) => Finding {
            status: ConditionStatus::Unknown,
            reason: "SEAL_BROKEN",
            message: "which API server is meant can't be known while the seal isn't intact"
                .to_owned(),
            fix: "see the other condition",
        },
        Some(Fault::Cluster(error)) => Finding {
            status: ConditionStatus::Unknown,
            reason: "NO_CLIENT",
            message: error.to_string(),
            fix: "check the config's k8s_ca_cert, or the system's root certificates when it has none",
        },
    }
}

/// Of a config that is pinned to the gateway's own cluster.
pub(crate) fn cluster_pinned(pin: &Pin, since: Timestamp, instance: &str) -> Condition {
    let finding = match pin {
        Pin::Holds => holds(
            "PINNED",
            "this replica runs in the cluster that the config is pinned to",
        ),
        Pin::Other => Finding {
            status: ConditionStatus::False,
            reason: "OTHER_CLUSTER",
            message: "this replica runs in another cluster than the config is pinned to, and doesn't use it".to_owned(),
            fix: "run all replicas of a gateway in one cluster; if its CA was replaced, pin the config anew (--clear pinned_cluster)",
        },
        Pin::Unknown(fault) => Finding {
            status: ConditionStatus::Unknown,
            reason: "NOT_KNOWN",
            message: format!("which cluster this replica runs in can't be told: {fault}"),
            fix: "mount the service account's token and CA into the gateway's pod, and let it reach its API server",
        },
    };
    since_then(ConditionType::ClusterPinned, finding, since, instance)
}

/// Of a config whose method's tokens end with their pods.
pub(crate) fn pods_watched(state: &PodsState, since: Timestamp, instance: &str) -> Condition {
    let finding = match state {
        PodsState::Watched => holds("WATCHED", "tokens are revoked when their pods are deleted"),
        PodsState::Starting => Finding {
            status: ConditionStatus::Unknown,
            reason: "STARTING",
            message: "the pods that hold tokens are being compared with those that there are"
                .to_owned(),
            fix: "look again in a moment",
        },
        PodsState::Failed(why) => Finding {
            status: ConditionStatus::False,
            reason: why.reason,
            message: why.message.clone(),
            fix: why.fix,
        },
    };
    since_then(ConditionType::PodsWatched, finding, since, instance)
}

/// A finding that knows by itself since when it holds.
fn since_then(
    kind: ConditionType,
    finding: Finding,
    since: Timestamp,
    instance: &str,
) -> Condition {
    Condition {
        r#type: kind.into(),
        status: finding.status.into(),
        reason: finding.reason.to_owned(),
        message: finding.message,
        fix: finding.fix.to_owned(),
        instance: instance.to_owned(),
        change_time: Some(time::timestamp(since)),
        check_time: None,
    }
}

fn holds(reason: &'static str, message: &str) -> Finding {
    Finding {
        status: ConditionStatus::True,
        reason,
        message: message.to_owned(),
        fix: "",
    }
}
