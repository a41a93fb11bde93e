//! `postern signing-key …`: the keys that JWTs are signed with.

use clap::{Args, Subcommand};
use postern_proto::pb;
use postern_proto::pb::signing_key_service_client::SigningKeyServiceClient as Client;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::flags::{Connection, OutputFlags, present};
use crate::output;
use crate::session::Session;

const MESSAGE: &str = "postern.v1.SigningKey";

/// The keys that JWTs are signed with
#[derive(Debug, Subcommand)]
pub(crate) enum SigningKeyCommand {
    /// List them: the one that signs first, then the newest
    List,
    /// Make a key and publish it; it signs nothing until it is activated
    Prepare,
    /// Let a prepared key sign, and retire the one that does; 5 minutes after it was prepared
    Activate(KeyArgs),
    /// Take a key out of the key set for good: a prepared one, or with --force a retired one
    Retire(KeyArgs),
}

#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    /// The key's ID
    #[arg(value_name = "KEY_ID", allow_hyphen_values = true)]
    key_id: String,
    /// Activate a key that not everybody knows yet, or retire one whose tokens may still live
    #[arg(long)]
    force: bool,
}

pub(crate) async fn run(
    command: &SigningKeyCommand,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    match command {
        SigningKeyCommand::List => list(connection, flags).await,
        SigningKeyCommand::Prepare => prepare(connection, flags).await,
        SigningKeyCommand::Activate(args) => activate(args, connection, flags).await,
        SigningKeyCommand::Retire(args) => retire(args, connection, flags).await,
    }
}

async fn list(connection: &Connection, flags: &OutputFlags) -> Result<(), Failure> {
    let administrator = Session::open(connection)?.administrator().await?;
    let request = pb::ListSigningKeysRequest {};
    let response = administrator
        .call(&request, |channel, request| async move {
            Client::new(channel).list_signing_keys(request).await
        })
        .await?;
    let documents: Vec<Value> = response
        .signing_keys
        .iter()
        .map(|key| output::message(MESSAGE, key))
        .collect::<Result<_, _>>()?;
    let rows = documents.iter().map(row).collect();
    let headers = ["KEY ID", "STATE", "PUBLISHED", "SIGNS FROM", "TO", "GOES"];
    let table = output::table(&headers, rows);
    output::print(
        flags.format(),
        &json!({ "signing_keys": documents }),
        &table,
    )
}

fn row(key: &Value) -> Vec<String> {
    let text = |field: &str| key[field].as_str().unwrap_or_default().to_owned();
    let state = text("state").replace("SIGNING_KEY_STATE_", "");
    vec![
        text("key_id"),
        state.to_lowercase(),
        text("create_time"),
        text("activate_time"),
        text("retire_time"),
        text("remove_time"),
    ]
}

async fn prepare(connection: &Connection, flags: &OutputFlags) -> Result<(), Failure> {
    let administrator = Session::open(connection)?.administrator().await?;
    let request = pb::PrepareSigningKeyRequest {};
    let response = administrator
        .change(&request, |channel, request| async move {
            Client::new(channel).prepare_signing_key(request).await
        })
        .await?;
    let document = output::message(MESSAGE, &response.signing_key.unwrap_or_default())?;
    let text = |field: &str| document[field].as_str().unwrap_or_default();
    let text = format!(
        "Signing key {id} is published, and signs nothing yet. From {} on:\n  postern signing-key activate {id}",
        text("activatable_time"),
        id = text("key_id"),
    );
    output::print(flags.format(), &document, &text)
}

async fn activate(
    args: &KeyArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let administrator = Session::open(connection)?.administrator().await?;
    let request = pb::ActivateSigningKeyRequest {
        name: name(args)?,
        force: args.force,
    };
    let response = administrator
        .change(&request, |channel, request| async move {
            Client::new(channel).activate_signing_key(request).await
        })
        .await?;
    let document = output::message(MESSAGE, &response.signing_key.unwrap_or_default())?;
    let text = format!(
        "Signing key {} signs. What the one before it signed is good until its own end.",
        args.key_id
    );
    output::print(flags.format(), &document, &text)
}

async fn retire(
    args: &KeyArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let administrator = Session::open(connection)?.administrator().await?;
    let request = pb::RetireSigningKeyRequest {
        name: name(args)?,
        force: args.force,
    };
    administrator
        .change(&request, |channel, request| async move {
            Client::new(channel).retire_signing_key(request).await
        })
        .await?;
    let text = format!("Signing key {} is out of the key set.", args.key_id);
    output::print(flags.format(), &json!({ "retired": request.name }), &text)
}

fn name(args: &KeyArgs) -> Result<String, Failure> {
    let id = present("KEY_ID", &args.key_id)?;
    Ok(format!(
        "signingKeys/{}",
        id.trim_start_matches("signingKeys/")
    ))
}
