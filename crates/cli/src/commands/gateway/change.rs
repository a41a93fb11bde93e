//! Changing a gateway that is known: `postern gateway update` and `rotate-credential`.

use std::path::Path;

use clap::Args;
use postern_proto::pb;
use postern_proto::pb::gateway_service_client::GatewayServiceClient as Client;
use prost_types::FieldMask;
use serde_json::Value;

use super::{MESSAGE, file, read, warn};
use crate::failure::Failure;
use crate::flags::{Connection, OutputFlags, present};
use crate::output;
use crate::session::Session;
use crate::values::{self, Unit};

#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// The gateway's name
    #[arg(long, short = 'n', value_name = "NAME")]
    name: String,
    /// Where clients reach it
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// For people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Refuse its credential, and end what it has open
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    disabled: Option<bool>,
    /// Empty a field: description
    #[arg(long, value_name = "FIELD", value_delimiter = ',')]
    clear: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RotateArgs {
    /// The gateway's name
    #[arg(long, short = 'n', value_name = "NAME")]
    name: String,
    /// How long the old key stays good, in minutes or such as 1h; 0 ends every older key at once [default: 24h]
    #[arg(long, value_name = "MINUTES")]
    overlap: Option<String>,
    /// The gateway's own gateway.json: the new key is written into it, and not printed
    #[arg(long, value_name = "FILE")]
    config: Option<String>,
}

pub(super) async fn update(
    args: &UpdateArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let mut paths = Vec::new();
    let mut named = |path: &str, given: bool| {
        if given {
            paths.push(path.to_owned());
        }
    };
    for field in &args.clear {
        if field != "description" {
            return Err(Failure::usage(format!(
                "--clear: `{field}` is no field that can be emptied"
            )));
        }
        if args.description.is_some() {
            return Err(Failure::usage(
                "--description and --clear description exclude each other",
            ));
        }
    }
    named("url", args.url.is_some());
    named(
        "description",
        args.description.is_some() || !args.clear.is_empty(),
    );
    named("disabled", args.disabled.is_some());
    if paths.is_empty() {
        return Err(Failure::usage("nothing to change was given"));
    }
    let url = args
        .url
        .as_deref()
        .map(|url| present("--url", url))
        .transpose()?;
    let administrator = Session::open(connection)?.administrator().await?;
    let current = read(&administrator, &args.name).await?;
    let request = pb::UpdateGatewayRequest {
        gateway: Some(pb::Gateway {
            name: current.name,
            meta: current.meta,
            url,
            description: args.description.clone(),
            disabled: args.disabled,
            ..pb::Gateway::default()
        }),
        update_mask: Some(FieldMask { paths }),
        validate_only: false,
    };
    let response = administrator
        .change(&request, |channel, request| async move {
            Client::new(channel).update_gateway(request).await
        })
        .await?;
    warn(&response.warnings);
    let document = output::message(MESSAGE, &response.gateway.unwrap_or_default())?;
    output::print(flags.format(), &document, &output::describe(&document))
}

pub(super) async fn rotate(
    args: &RotateArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let overlap = args.overlap.as_deref();
    let overlap = overlap.map(|text| values::duration("--overlap", text, Unit::Minutes));
    let overlap = overlap.transpose()?;
    let path = args.config.as_deref();
    let path = path.map(|path| present("--config", path)).transpose()?;
    // Before there is a key that could get lost.
    let file = path
        .as_deref()
        .map(|path| file::read(Path::new(path), &args.name));
    let file = file.transpose()?;
    let administrator = Session::open(connection)?.administrator().await?;
    let current = read(&administrator, &args.name).await?;
    let request = pb::RotateCredentialRequest {
        name: current.name,
        etag: current.meta.map(|meta| meta.etag).unwrap_or_default(),
        overlap,
        validate_only: false,
    };
    let response = administrator
        .change(&request, |channel, request| async move {
            Client::new(channel).rotate_credential(request).await
        })
        .await?;
    let gateway = response.gateway.unwrap_or_default();
    let key = response.access_key;
    let name = &args.name;
    let mut document = output::message(MESSAGE, &gateway)?;
    let text = match (path, file) {
        (Some(path), Some(content)) => {
            file::replace_key(Path::new(&path), &content, &key).map_err(|failure| {
                failure.hint(format!("the new access key of gateway {name} is {key}"))
            })?;
            document["config"] = Value::from(path.as_str());
            format!(
                "Credential of gateway {name} rotated.\nThe new key is in {path}, which the gateway reads within seconds."
            )
        }
        _ => {
            document = output::with_first(&[("access_key", &key)], document);
            format!(
                "Credential of gateway {name} rotated.\n- Access key (shown this once): {key}\nPut it into `access_key` of gateway.json at every replica: they read it within seconds."
            )
        }
    };
    let text = format!("{text}{}", ends(&gateway.keys));
    output::print(flags.format(), &document, &text)
}

/// When the older keys end.
fn ends(keys: &[pb::AccessKeyInfo]) -> String {
    let ends = keys.iter().filter_map(|key| {
        let end = key.expire_time.as_ref().and_then(values::timestamp)?;
        Some(format!("\n- Old key {}: good until {end}", key.key_id))
    });
    ends.collect()
}
