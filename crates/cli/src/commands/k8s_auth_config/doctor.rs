//! `postern doctor`: what holds of a K8s auth config, and what to do about the rest.

use clap::Args;
use postern_proto::pb;
use postern_proto::pb::check_k8s_auth_config_request::Target;
use postern_proto::pb::k8s_auth_config_service_client::K8sAuthConfigServiceClient as Client;
use serde_json::{Value, json};

use super::flags::ConfigFlags;
use super::full_name;
use crate::failure::{Exit, Failure};
use crate::flags::{Connection, OutputFlags};
use crate::output;
use crate::session::Session;

/// A check may take 15 s, and logging in comes before it.
const TIMEOUT: &str = "25s";
/// Unknown because the config is one of which only a login can tell.
const BY_NATURE: [&str; 3] = ["NOT_TRIED", "PRESENTED_TOKEN", "METHOD_UNKNOWN"];

/// Try a K8s auth config, saved or given by flags, and say what to do about what doesn't hold
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// A saved config's name; without it, the flags describe one that isn't stored
    #[arg(value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    config: ConfigFlags,
}

pub(crate) async fn run(
    args: &DoctorArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let request = pb::CheckK8sAuthConfigRequest {
        target: Some(args.target()?),
    };
    let timeout = connection.timeout.clone();
    let connection = Connection {
        timeout: timeout.or_else(|| Some(TIMEOUT.to_owned())),
        ..connection.clone()
    };
    let administrator = Session::open(&connection)?.gateway_administrator().await?;
    let response = administrator
        .call(&request, |channel, request| async move {
            Client::new(channel).check_k8s_auth_config(request).await
        })
        .await?;
    let conditions = response.conditions;
    let documents: Vec<Value> = conditions
        .iter()
        .map(|condition| output::message("postern.v1.Condition", condition))
        .collect::<Result<_, _>>()?;
    output::print(
        flags.format(),
        &json!({ "conditions": documents }),
        &table(&conditions),
    )?;
    match conditions.iter().filter(|c| !is_fine(c)).count() {
        0 => Ok(()),
        1 => Err(Failure::new(Exit::Refused, "one condition doesn't hold")),
        n => Err(Failure::new(
            Exit::Refused,
            format!("{n} conditions don't hold"),
        )),
    }
}

impl DoctorArgs {
    fn target(&self) -> Result<Target, Failure> {
        let mut config = pb::K8sAuthConfig::default();
        self.config.apply(&mut config)?;
        let secrets = self.config.secrets.read()?;
        let described = config != pb::K8sAuthConfig::default()
            || secrets != pb::K8sAuthConfigSecrets::default();
        match &self.name {
            Some(_) if described => Err(Failure::usage(
                "a saved config's name and flags that describe another exclude each other",
            )),
            Some(name) => Ok(Target::Name(full_name(name)?)),
            None if described => Ok(Target::Draft(pb::DraftK8sAuthConfig {
                k8s_auth_config: Some(config),
                secrets: Some(secrets),
            })),
            None => Err(Failure::usage(
                "name a K8s auth config, or describe one by the flags of `k8s-auth-config create`",
            )),
        }
    }
}

fn is_fine(condition: &pb::Condition) -> bool {
    match condition.status() {
        pb::ConditionStatus::True => true,
        pb::ConditionStatus::Unknown => BY_NATURE.contains(&condition.reason.as_str()),
        pb::ConditionStatus::False | pb::ConditionStatus::Unspecified => false,
    }
}

/// A condition a line, and under what fails, what to do.
fn table(conditions: &[pb::Condition]) -> String {
    let names: Vec<String> = conditions.iter().map(name).collect();
    let width = names.iter().map(String::len).max().unwrap_or_default();
    let mut lines = Vec::new();
    for (condition, name) in conditions.iter().zip(names) {
        let mark = match condition.status() {
            pb::ConditionStatus::True => "✓",
            pb::ConditionStatus::False => "✗",
            pb::ConditionStatus::Unknown | pb::ConditionStatus::Unspecified => "?",
        };
        let pb::Condition {
            reason, message, ..
        } = condition;
        lines.push(format!("{mark} {name:width$}  {reason}: {message}"));
        if condition.status() != pb::ConditionStatus::True && !condition.fix.is_empty() {
            lines.push(format!("  {:width$}  fix: {}", "", condition.fix));
        }
    }
    lines.join("\n")
}

/// `CONDITION_TYPE_SEAL_INTACT` as `SealIntact`.
fn name(condition: &pb::Condition) -> String {
    let text = condition.r#type().as_str_name();
    let words = text.trim_start_matches("CONDITION_TYPE_").split('_');
    let capitalised = words.map(|word| match word {
        "CA" | "API" => word.to_owned(),
        word => {
            let (first, rest) = word.split_at(word.len().min(1));
            format!("{first}{}", rest.to_ascii_lowercase())
        }
    });
    let name: String = capitalised.collect();
    // As Kubernetes' own conditions are spelt.
    name.replace("APIServer", "ApiServer")
}
