//! `postern configure`: stores a profile.

use std::io::IsTerminal as _;

use clap::Args;
use dialoguer::{Input, Password};
use postern_core::access_id::{AccessId, AccessType};
use postern_core::access_token::AccessKey;
use postern_dev::deployment::AdminFile;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use crate::failure::Failure;
use crate::flags::{Connection, OutputFlags, present};
use crate::profile::{self, Profile};
use crate::session::{DEFAULT_CONTROL_PLANE_URL, DEFAULT_GATEWAY_URL};
use crate::{output, values};

/// Store a profile: addresses, trust and an administrator's credential
#[derive(Debug, Args)]
pub(crate) struct ConfigureArgs {
    /// The administrator's access ID, p-…
    #[arg(long, short = 'i', value_name = "ID")]
    access_id: Option<String>,
    /// File with the access key, or the admin.json that `postern init` made; `-` is standard input
    #[arg(long, value_name = "FILE")]
    access_key_file: Option<String>,
}

struct Credential {
    access_id: String,
    access_key: SecretString,
    from: Option<AdminFile>,
}

pub(crate) fn run(
    args: &ConfigureArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let name = connection
        .profile
        .clone()
        .unwrap_or_else(|| profile::DEFAULT.to_owned());
    let credential = credential(args)?;
    let admin_file = credential.from.as_ref();
    let given =
        |flag: &str, value: &Option<String>| value.as_deref().map(|v| present(flag, v)).transpose();
    let control_plane = given("--control-plane-url", &connection.control_plane_url)?;
    let gateway = given("--gateway-url", &connection.gateway_url)?;
    let profile = Profile {
        control_plane_url: Some(url(
            control_plane,
            admin_file.map(|f| &f.control_plane_url),
            "Control plane URL",
            DEFAULT_CONTROL_PLANE_URL,
        )?),
        gateway_url: Some(url(
            gateway,
            admin_file.map(|f| &f.gateway_url),
            "Gateway URL",
            DEFAULT_GATEWAY_URL,
        )?),
        gateway_name: given("--gateway-name", &connection.gateway_name)?,
        ca_cert: ca(connection, admin_file)?,
        access_id: Some(credential.access_id),
        access_key: Some(credential.access_key.expose_secret().to_owned()),
    };
    let path = profile::store(&name, &profile)?;
    let text = format!("Profile `{name}` stored in {}", path.display());
    let document = json!({ "profile": name, "path": path.display().to_string() });
    output::print(flags.format(), &document, &text)
}

fn credential(args: &ConfigureArgs) -> Result<Credential, Failure> {
    let text = match &args.access_key_file {
        Some(path) => values::read("--access-key-file", path)?,
        None => prompt_key()?,
    };
    let given = args
        .access_id
        .as_deref()
        .map(|id| present("--access-id", id))
        .transpose()?;
    let text = text.expose_secret();
    let (access_id, access_key, from) = if text.starts_with('{') {
        let file: AdminFile = serde_json::from_str(text).map_err(|error| {
            Failure::usage(format!("--access-key-file: not an admin.json: {error}"))
        })?;
        if given.as_ref().is_some_and(|id| *id != file.access_id) {
            return Err(Failure::usage(format!(
                "--access-id: the file's access ID is {}, not the one given",
                file.access_id
            )));
        }
        (
            file.access_id.clone(),
            file.access_key.expose_secret().to_owned(),
            Some(file),
        )
    } else {
        let id = match given {
            Some(id) => id,
            None => prompt("Access ID", "--access-id", None)?,
        };
        (id, text.to_owned(), None)
    };
    let id: AccessId = access_id
        .parse()
        .map_err(|error| Failure::usage(format!("--access-id: `{access_id}` {error}")))?;
    if id.access_type() != AccessType::AccessKey {
        return Err(Failure::usage(format!(
            "--access-id: {id} is of a Kubernetes auth method; an administrator's has `a` as its second-to-last character"
        )));
    }
    let _: AccessKey = access_key
        .parse()
        .map_err(|error| Failure::usage(format!("--access-key-file: {error}")))?;
    Ok(Credential {
        access_id,
        access_key: SecretString::from(access_key),
        from,
    })
}

fn url(
    given: Option<String>,
    from_file: Option<&String>,
    what: &str,
    default: &str,
) -> Result<String, Failure> {
    match (given, from_file) {
        (Some(url), _) => Ok(url),
        (None, Some(url)) => Ok(url.clone()),
        (None, None) if !std::io::stdin().is_terminal() => Ok(default.to_owned()),
        (None, None) => prompt(what, "its flag", Some(default)),
    }
}

fn ca(connection: &Connection, admin_file: Option<&AdminFile>) -> Result<Option<String>, Failure> {
    let Some(path) = &connection.ca_cert else {
        return Ok(admin_file.map(|file| file.ca_cert.clone()));
    };
    let pem = values::read("--ca-cert", path)?;
    let now = jiff::Timestamp::now();
    let parsed = postern_core::ca_bundle::CaBundle::parse(pem.expose_secret(), now);
    let (bundle, warnings) =
        parsed.map_err(|error| Failure::usage(format!("--ca-cert: {path}: {error}")))?;
    for warning in warnings {
        output::note(&format!("warning: --ca-cert: {warning}"));
    }
    Ok(Some(bundle.pem().to_owned()))
}

fn prompt(what: &str, flag: &str, default: Option<&str>) -> Result<String, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!("{flag} is missing")));
    }
    let mut input = Input::<String>::new().with_prompt(what);
    if let Some(default) = default {
        input = input.default(default.to_owned());
    }
    input
        .interact_text()
        .map_err(|error| Failure::usage(format!("{what}: {error}")))
}

fn prompt_key() -> Result<SecretString, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("--access-key-file is missing")
            .hint("`postern init` left the administrator's key in admin.json"));
    }
    let key = Password::new()
        .with_prompt("Access key")
        .interact()
        .map_err(|error| Failure::usage(format!("access key: {error}")))?;
    Ok(SecretString::from(key))
}
