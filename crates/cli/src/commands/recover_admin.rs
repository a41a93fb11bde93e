//! `postern recover-admin`: for whoever has the database, and no administrator's key.

use std::path::Path;

use clap::Args;
use postern_control_plane::recover::{self, Administrator, RecoverError, Recovered};
use postern_core::clock::Clock;
use serde_json::{Value, json};

use super::serve::chain;
use crate::failure::{Exit, Failure};
use crate::flags::{OutputFlags, present};
use crate::{output, profile};

/// Let an administrator in again, by the database alone: a new key, and no other
///
/// Makes the administrator where there is none of that name. One that is there is enabled, and loses
/// its end, its bound addresses and its other keys. Control planes may run meanwhile. The audit records are
/// printed too: a line each, as a control plane prints them, or in the JSON as audit_events.
#[derive(Debug, Args)]
pub(crate) struct RecoverAdminArgs {
    /// The control plane's database: postgres://… or sqlite:FILE
    #[arg(
        long,
        env = "POSTERN_DATABASE_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    database_url: String,
    /// The administrator's auth method, made if it isn't there
    #[arg(long, short = 'n', value_name = "NAME", default_value = "admin")]
    name: String,
    /// The same by its access ID, p-…
    #[arg(long, short = 'i', value_name = "ID", conflicts_with = "name")]
    access_id: Option<String>,
    /// Write the access key there instead of printing it
    #[arg(long, value_name = "FILE")]
    access_key_file: Option<String>,
}

pub(crate) async fn run(args: &RecoverAdminArgs, flags: &OutputFlags) -> Result<(), Failure> {
    let url = present("--database-url", &args.database_url)?;
    let url = url
        .parse()
        .map_err(|error| Failure::usage(format!("--database-url: {error}")))?;
    let administrator = administrator(args)?;
    let file = args.access_key_file.as_deref();
    let file = file
        .map(|file| present("--access-key-file", file))
        .transpose()?;
    // Before there is a key that could get lost.
    if let Some(file) = &file
        && Path::new(file).exists()
    {
        return Err(Failure::usage(format!("--access-key-file: {file} exists")));
    }
    let recovered = recover::recover(&url, &administrator, &Clock::system()).await;
    let recovered = recovered.map_err(|error| failure(&error))?;
    report(&recovered, file.as_deref(), flags)
}

fn administrator(args: &RecoverAdminArgs) -> Result<Administrator, Failure> {
    match &args.access_id {
        Some(id) => {
            let id = present("--access-id", id)?;
            let id = id
                .parse()
                .map_err(|error| Failure::usage(format!("--access-id: `{id}` {error}")))?;
            Ok(Administrator::WithAccessId(id))
        }
        None => {
            let name = present("--name", &args.name)?;
            let name = name
                .parse()
                .map_err(|error| Failure::usage(format!("--name: `{name}` {error}")))?;
            Ok(Administrator::Named(name))
        }
    }
}

fn report(recovered: &Recovered, file: Option<&str>, flags: &OutputFlags) -> Result<(), Failure> {
    let key = recovered.access_key.expose();
    let (name, access_id) = (recovered.name.as_str(), recovered.access_id.as_str());
    let mut document = json!({
        "name": recovered.name.auth_method_name(),
        "access_id": access_id,
        "created": recovered.created,
        "request_id": recovered.request_id,
        "audit_events": records(recovered)?,
    });
    let what = if recovered.created {
        "made"
    } else {
        "let in again"
    };
    let mut text = format!("Administrator {name} {what}.\n- Access ID: {access_id}");
    match file {
        Some(file) => {
            let written = profile::write_private(Path::new(file), key.as_bytes());
            written.map_err(|error| {
                let lost = format!("the administrator's new access key is {key}");
                Failure::file(Path::new(file), &error).hint(lost)
            })?;
            document["access_key_file"] = Value::from(file);
            text = format!(
                "{text}\nNext: postern configure --access-id {access_id} --access-key-file {file}"
            );
        }
        None => {
            document = output::with_first(&[("access_key", key)], document);
            text = format!("{text}\n- Access key (shown this once): {key}");
        }
    }
    let text = format!(
        "{}\n{text}\n- Audit record: postern audit get {}",
        recovered.records.join("\n"),
        recovered.request_id
    );
    output::print(flags.format(), &document, &text)
}

fn records(recovered: &Recovered) -> Result<Vec<Value>, Failure> {
    let records = recovered.records.iter();
    let records: Result<_, _> = records.map(|line| serde_json::from_str(line)).collect();
    records.map_err(|error| Failure::new(Exit::Refused, format!("an audit record is odd: {error}")))
}

fn failure(error: &RecoverError) -> Failure {
    match error {
        RecoverError::NotFound => Failure::new(Exit::NotFound, error.to_string()),
        RecoverError::Refused(_) => Failure::usage(error.to_string()),
        RecoverError::Database(..) | RecoverError::Randomness(_) => {
            Failure::new(Exit::Unavailable, chain(error))
        }
    }
}
