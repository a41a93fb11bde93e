//! `postern gateway seal-key …`: rotating the keys that seal K8s auth configs.

use std::collections::BTreeMap;

use clap::Subcommand;
use postern_core::seal::Keyring;
use postern_proto::pb;
use postern_proto::pb::k8s_auth_config_service_client::K8sAuthConfigServiceClient;
use serde_json::json;

use crate::failure::Failure;
use crate::flags::{Connection, OutputFlags};
use crate::output;
use crate::session::{Administrator, Session};

use super::k8s_auth_config::list_all;
use super::key_file::GenerateArgs;

/// The keys that seal K8s auth configs
#[derive(Debug, Subcommand)]
pub(crate) enum SealKeyCommand {
    /// Add a new key at the end of a key file: it opens only, until its line is moved to the top
    Generate(GenerateArgs),
    /// How many K8s auth configs each key seals
    Status,
    /// Seal every K8s auth config again with the gateway's first key; safe to run again
    Reseal,
}

pub(crate) async fn run(
    command: &SealKeyCommand,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    match command {
        SealKeyCommand::Generate(args) => generate(args, flags),
        SealKeyCommand::Status => status(connection, flags).await,
        SealKeyCommand::Reseal => reseal(connection, flags).await,
    }
}

fn generate(args: &GenerateArgs, flags: &OutputFlags) -> Result<(), Failure> {
    args.run(flags, |text| Keyring::parse(text).map(drop), |id, file| {
        format!(
            "Key {id} added to {file}. It opens only. To seal with it: restart every replica of the gateway with this file, move the key's line to the top, restart again, then run `postern gateway seal-key reseal`."
        )
    })
}

async fn status(connection: &Connection, flags: &OutputFlags) -> Result<(), Failure> {
    let administrator = Session::open(connection)?.gateway_administrator().await?;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for config in list_all(&administrator, usize::MAX).await? {
        *counts.entry(config.seal_key_id).or_default() += 1;
    }
    let rows = counts
        .iter()
        .map(|(id, count)| vec![id.clone(), count.to_string()])
        .collect();
    let table = output::table(&["SEAL KEY", "CONFIGS"], rows);
    let keys: Vec<_> = counts
        .iter()
        .map(|(id, count)| json!({ "id": id, "k8s_auth_configs": count }))
        .collect();
    output::print(flags.format(), &json!({ "seal_keys": keys }), &table)
}

async fn reseal(connection: &Connection, flags: &OutputFlags) -> Result<(), Failure> {
    let administrator = Session::open(connection)?.gateway_administrator().await?;
    let all = list_all(&administrator, usize::MAX).await?;
    let mut changed = 0;
    let mut failed = Vec::new();
    for before in &all {
        match reseal_one(&administrator, before).await {
            Ok(after) => changed += usize::from(after.generation != before.generation),
            Err(failure) => failed.push((before.name.as_str(), failure)),
        }
    }
    if let Some((_, first)) = failed.first() {
        let (some, all) = (failed.len(), all.len());
        let message = format!("{some} of {all} K8s auth configs couldn't be sealed again");
        let mut failure = Failure::new(first.exit(), message);
        for (name, fault) in &failed {
            failure = failure.hint(format!("{name}: {fault}"));
        }
        return Err(failure);
    }
    let text = format!("{changed} of {} K8s auth configs sealed again.", all.len());
    output::print(
        flags.format(),
        &json!({ "resealed": changed, "k8s_auth_configs": all.len() }),
        &text,
    )
}

async fn reseal_one(
    administrator: &Administrator,
    before: &pb::K8sAuthConfig,
) -> Result<pb::K8sAuthConfig, Failure> {
    let request = pb::UpdateK8sAuthConfigRequest {
        k8s_auth_config: Some(pb::K8sAuthConfig {
            name: before.name.clone(),
            meta: before.meta.clone(),
            ..pb::K8sAuthConfig::default()
        }),
        ..pb::UpdateK8sAuthConfigRequest::default()
    };
    let response = administrator
        .change(&request, |channel, request| async move {
            K8sAuthConfigServiceClient::new(channel)
                .update_k8s_auth_config(request)
                .await
        })
        .await?;
    Ok(response.k8s_auth_config.unwrap_or_default())
}
