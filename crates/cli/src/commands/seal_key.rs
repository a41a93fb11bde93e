//! `postern gateway seal-key …`: rotating the keys that seal K8s auth configs.

use std::collections::BTreeMap;
use std::path::Path;

use clap::{Args, Subcommand};
use postern_core::seal::{Keyring, SealKeyId};
use postern_proto::pb;
use postern_proto::pb::k8s_auth_config_service_client::K8sAuthConfigServiceClient;
use serde_json::json;

use crate::failure::{Exit, Failure};
use crate::flags::{Connection, OutputFlags, present};
use crate::session::{Administrator, Session};
use crate::{output, profile};

use super::k8s_auth_config::list_all;

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

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// The gateway's key file; made if it doesn't exist
    #[arg(long, value_name = "FILE")]
    file: String,
    /// The new key's ID [default: `k` and the time]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
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
    let file = present("--file", &args.file)?;
    let path = Path::new(&file);
    let before = match std::fs::read_to_string(path) {
        Ok(text) => zeroize::Zeroizing::new(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Default::default(),
        Err(error) => return Err(Failure::file(path, &error)),
    };
    let id = match &args.id {
        Some(id) => present("--id", id)?,
        None => format!("k{}", jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S")),
    };
    let id: SealKeyId = id
        .parse()
        .map_err(|error| Failure::usage(format!("--id: `{id}` {error}")))?;
    let line = Keyring::generate_line(&id)
        .map_err(|error| Failure::new(Exit::Unavailable, error.to_string()))?;
    let mut after = zeroize::Zeroizing::new(before.trim_end().to_owned());
    if !after.is_empty() {
        after.push('\n');
    }
    after.push_str(line.trim_end());
    // The whole file is checked, so that a key that can't be read is found now.
    Keyring::parse(&after).map_err(|error| Failure::usage(format!("{file}: {error}")))?;
    profile::write_private(path, after.as_bytes()).map_err(|error| Failure::file(path, &error))?;
    let text = format!(
        "Key {id} added to {file}. It opens only. To seal with it: restart every replica of the gateway with this file, move the key's line to the top, restart again, then run `postern gateway seal-key reseal`."
    );
    output::print(
        flags.format(),
        &json!({ "id": id.to_string(), "file": file }),
        &text,
    )
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
