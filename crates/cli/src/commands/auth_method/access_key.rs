//! Access-key methods: `postern auth-method create access-key` and its kin.

use clap::Args;
use jiff::Timestamp;
use postern_proto::pb;
use postern_proto::pb::auth_method::Type;
use postern_proto::pb::auth_method_service_client::AuthMethodServiceClient as Client;
use serde_json::json;

use super::keys::etag;
use super::{MESSAGE, NameArgs, document, read, show, warn};
use crate::failure::Failure;
use crate::flags::{Connection, OutputFlags, present};
use crate::output;
use crate::session::Session;
use crate::values::{self, Unit};

/// What an access-key method is like.
#[derive(Debug, Args)]
pub(crate) struct AccessKeyFlags {
    /// For people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// When access ends: Unix seconds (0: never), an RFC 3339 time, or a duration from now
    #[arg(long, value_name = "TIME")]
    access_expires: Option<String>,
    /// Life of a token, in minutes or such as 15m [default: 15m; at most 24h]
    #[arg(long, value_name = "MINUTES")]
    jwt_ttl: Option<String>,
    /// Longest life of a token in all, renewals included, in minutes or such as 8h [default: --jwt-ttl; at most 7 days]
    #[arg(long, value_name = "MINUTES")]
    token_max_ttl: Option<String>,
    /// Addresses or CIDR blocks that the key and its tokens are good from
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    bound_ips: Vec<String>,
    /// How often a token can be used [default: as often as it likes]
    #[arg(long, value_name = "COUNT")]
    token_num_uses: Option<i32>,
    /// Refuse to delete the method until this is switched off
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    delete_protection: Option<bool>,
    /// Refuse every login, and every token that there is
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    disabled: Option<bool>,
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The auth method's name
    #[arg(long, short = 'n', value_name = "NAME")]
    name: String,
    #[command(flatten)]
    settings: AccessKeyFlags,
    /// A role that its tokens have; repeat it for several [default: none, so that they may do nothing]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    role: Vec<String>,
    /// Check everything and store nothing
    #[arg(long)]
    validate_only: bool,
}

#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// The auth method's name or access ID
    #[arg(long, short = 'n', value_name = "NAME")]
    name: String,
    #[command(flatten)]
    settings: AccessKeyFlags,
    /// Empty a field: description, access_expires, token_max_ttl, token_num_uses, bound_ips
    #[arg(long, value_name = "FIELD", value_delimiter = ',')]
    clear: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RotateArgs {
    /// The auth method's name or access ID
    #[arg(long, short = 'n', value_name = "NAME")]
    name: String,
    /// How long the old key stays good, in minutes or such as 1h; 0 ends every older key at once [default: 24h]
    #[arg(long, value_name = "MINUTES")]
    overlap: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    /// The auth method's name or access ID
    #[arg(long, short = 'n', value_name = "NAME")]
    name: String,
    /// The key's ID, as `auth-method get` shows it
    #[arg(long, value_name = "ID")]
    key_id: String,
    /// How long it stays good, in minutes or such as 1h [default: not at all]
    #[arg(long, value_name = "MINUTES")]
    overlap: Option<String>,
}

// === impl AccessKeyFlags ===

impl AccessKeyFlags {
    /// Writes what was given over `method`, and leaves the rest.
    fn apply(&self, method: &mut pb::AuthMethod) -> Result<(), Failure> {
        if let Some(description) = &self.description {
            method.description = Some(description.clone());
        }
        if let Some(text) = &self.access_expires {
            method.access_expire_time = values::time("--access-expires", text, Timestamp::now())?;
        }
        if let Some(text) = &self.jwt_ttl {
            method.token_ttl = Some(values::duration("--jwt-ttl", text, Unit::Minutes)?);
        }
        if let Some(text) = &self.token_max_ttl {
            method.token_max_ttl = Some(values::duration("--token-max-ttl", text, Unit::Minutes)?);
        }
        if !self.bound_ips.is_empty() {
            method.bound_ips.clone_from(&self.bound_ips);
        }
        method.token_num_uses = self.token_num_uses.or(method.token_num_uses);
        method.delete_protection = self.delete_protection.or(method.delete_protection);
        method.disabled = self.disabled.or(method.disabled);
        Ok(())
    }

    /// Empties a field that isn't set at once.
    fn clear(&self, method: &mut pb::AuthMethod, field: &str) -> Result<(), Failure> {
        let given = match field {
            "description" => {
                method.description = None;
                self.description.is_some()
            }
            "access_expires" => {
                method.access_expire_time = None;
                self.access_expires.is_some()
            }
            "token_max_ttl" => {
                method.token_max_ttl = None;
                self.token_max_ttl.is_some()
            }
            "token_num_uses" => {
                method.token_num_uses = None;
                self.token_num_uses.is_some()
            }
            "bound_ips" => {
                method.bound_ips.clear();
                !self.bound_ips.is_empty()
            }
            _ => {
                let unknown = format!("--clear: `{field}` is no field that can be emptied");
                return Err(Failure::usage(unknown));
            }
        };
        if given {
            let flag = field.replace('_', "-");
            let both = format!("--{flag} and --clear {field} exclude each other");
            return Err(Failure::usage(both));
        }
        Ok(())
    }
}

pub(crate) async fn create(
    args: &CreateArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let name = present("--name", &args.name)?;
    let mut method = pb::AuthMethod {
        r#type: Some(Type::AccessKey(pb::AccessKeyAuthMethod::default())),
        ..pb::AuthMethod::default()
    };
    args.settings.apply(&mut method)?;
    let request = pb::CreateAuthMethodRequest {
        auth_method_id: name.clone(),
        auth_method: Some(method),
        validate_only: args.validate_only,
        roles: roles(&args.role)?,
    };
    let administrator = Session::open(connection)?.administrator().await?;
    let response = administrator
        .change(&request, |channel, request| async move {
            Client::new(channel).create_auth_method(request).await
        })
        .await?;
    warn(&response.warnings);
    let method = response.auth_method.clone().unwrap_or_default();
    if args.validate_only {
        return show(flags, &method, &response.warnings);
    }
    let key = &response.access_key;
    let first = [
        ("access_id", method.access_id.as_str()),
        ("access_key", key),
    ];
    let document = output::with_first(&first, document(&method, &response.warnings)?);
    let text = format!(
        "Auth method {name} created.\n- Access ID: {}\n- Access key (shown this once): {key}",
        method.access_id
    );
    output::print(flags.format(), &document, &text)
}

pub(crate) async fn update(
    args: &UpdateArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let administrator = Session::open(connection)?.administrator().await?;
    let mut method = read(&administrator, &args.name).await?;
    if !matches!(method.r#type, Some(Type::AccessKey(_))) {
        return Err(Failure::usage(format!(
            "{} is no access-key auth method",
            method.name
        )));
    }
    args.settings.apply(&mut method)?;
    for field in &args.clear {
        args.settings.clear(&mut method, field)?;
    }
    let request = pb::UpdateAuthMethodRequest {
        auth_method: Some(method),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["*".to_owned()],
        }),
        validate_only: false,
    };
    let response = administrator
        .change(&request, |channel, request| async move {
            Client::new(channel).update_auth_method(request).await
        })
        .await?;
    warn(&response.warnings);
    let method = response.auth_method.unwrap_or_default();
    show(flags, &method, &response.warnings)
}

pub(crate) async fn rotate(
    args: &RotateArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let overlap = overlap(args.overlap.as_deref())?;
    let administrator = Session::open(connection)?.administrator().await?;
    let method = read(&administrator, &args.name).await?;
    let request = pb::RotateAccessKeyRequest {
        name: method.name.clone(),
        etag: etag(&method),
        overlap,
        validate_only: false,
    };
    let response = administrator
        .change(&request, |channel, request| async move {
            Client::new(channel).rotate_access_key(request).await
        })
        .await?;
    let method = response.auth_method.clone().unwrap_or_default();
    let key = &response.access_key;
    let document = output::with_first(&[("access_key", key)], output::message(MESSAGE, &method)?);
    let mut text = format!(
        "Access key of auth method {} rotated.\n- Access key (shown this once): {key}",
        args.name
    );
    for key in keys_of(&method) {
        if let Some(end) = key.expire_time.as_ref().and_then(values::timestamp) {
            text = format!("{text}\n- Old key {}: good until {end}", key.key_id);
        }
    }
    output::print(flags.format(), &document, &text)
}

pub(crate) async fn revoke(
    args: &RevokeArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let key_id = present("--key-id", &args.key_id)?;
    let overlap = overlap(args.overlap.as_deref())?;
    let administrator = Session::open(connection)?.administrator().await?;
    let method = read(&administrator, &args.name).await?;
    let request = pb::RevokeAccessKeyRequest {
        name: method.name.clone(),
        etag: etag(&method),
        key_id: key_id.clone(),
        overlap,
        validate_only: false,
    };
    let response = administrator
        .change(&request, |channel, request| async move {
            Client::new(channel).revoke_access_key(request).await
        })
        .await?;
    let what = if overlap.is_some() {
        "will end"
    } else {
        "revoked"
    };
    let text = format!("Access key {key_id} of auth method {} {what}.", args.name);
    let method = response.auth_method.unwrap_or_default();
    output::print(flags.format(), &output::message(MESSAGE, &method)?, &text)
}

/// Which keys there are, and when somebody last logged in by each.
pub(crate) async fn list(
    args: &NameArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let administrator = Session::open(connection)?.administrator().await?;
    let method = read(&administrator, &args.name).await?;
    let shown = output::message(MESSAGE, &method)?;
    let time = |time: &Option<prost_types::Timestamp>| {
        let time = time.as_ref().and_then(values::timestamp);
        time.map(|time| time.to_string()).unwrap_or_default()
    };
    let row = |key: &pb::AccessKeyInfo| {
        vec![
            key.key_id.clone(),
            time(&key.create_time),
            time(&key.expire_time),
            time(&key.last_used_time),
        ]
    };
    let rows = keys_of(&method).iter().map(row).collect();
    let table = output::table(&["KEY ID", "CREATED", "ENDS", "LAST USED"], rows);
    let keys = shown["access_key"]["keys"].clone();
    let keys = if keys.is_null() { json!([]) } else { keys };
    output::print(flags.format(), &json!({ "keys": keys }), &table)
}

/// Bare names or full ones.
fn roles(names: &[String]) -> Result<Vec<String>, Failure> {
    let full = |name: &String| {
        let name = present("--role", name)?;
        Ok(format!(
            "roles/{}",
            name.strip_prefix("roles/").unwrap_or(&name)
        ))
    };
    names.iter().map(full).collect()
}

fn keys_of(method: &pb::AuthMethod) -> &[pb::AccessKeyInfo] {
    match &method.r#type {
        Some(Type::AccessKey(access_key)) => &access_key.keys,
        Some(Type::Kubernetes(_)) | None => &[],
    }
}

fn overlap(text: Option<&str>) -> Result<Option<prost_types::Duration>, Failure> {
    text.map(|text| values::duration("--overlap", text, Unit::Minutes))
        .transpose()
}
