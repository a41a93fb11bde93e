//! A method's key, replaced in one step: `postern auth-method rotate-key`.
//!
//! First the method gets a new key, then every K8s auth config changes over to it, then the old keys
//! get an end: at each moment what gateways sign with is a key that the control plane takes.

use std::collections::BTreeMap;

use clap::Args;
use jiff::Timestamp;
use postern_proto::pb;
use postern_proto::pb::k8s_auth_config_service_client::K8sAuthConfigServiceClient;
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::keys::{self, KeyAlgorithm, KeyPair};
use super::{document, read, warn};
use crate::failure::Failure;
use crate::flags::{Connection, OutputFlags};
use crate::session::{Administrator, Session, list_gateways};
use crate::values::{self, Unit};
use crate::{commands::k8s_auth_config, output};

/// Longer than an assertion lives, and than a gateway takes to hear of a change.
const OVERLAP: &str = "10m";

#[derive(Debug, Args)]
pub(crate) struct RotateArgs {
    /// The auth method's name or access ID
    #[arg(long, short = 'n', value_name = "NAME")]
    name: String,
    /// What the new key is [default: es256]
    #[arg(long, value_name = "ALGORITHM")]
    key_algorithm: Option<KeyAlgorithm>,
    /// How long the old key stays good, in minutes or such as 1h [default: 10m]
    #[arg(long, value_name = "MINUTES")]
    overlap: Option<String>,
}

/// The configs that sign with a key of the method, by gateway.
type Users = BTreeMap<String, Vec<String>>;

pub(super) async fn run(
    args: &RotateArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let overlap = args.overlap.as_deref().unwrap_or(OVERLAP);
    let overlap = values::duration("--overlap", overlap, Unit::Minutes)?;
    let session = Session::open(connection)?;
    let administrator = session.administrator().await?;
    let mut method = read(&administrator, &args.name).await?;
    let old = keys::keys_of(&mut method)?.clone();
    let users = users(&old);
    if users.is_empty() {
        return Err(
            Failure::usage(format!("no K8s auth config signs for {}", args.name))
                .hint("add a key and keep its private half with: postern auth-method key add"),
        );
    }
    let gateways = Gateways::find(&session, connection, &administrator, &users).await?;
    let pair = keys::generate(args.key_algorithm)?;
    let added = keys::add_key(&administrator, &method, &pair.public, None).await?;
    let mut method = added.auth_method.unwrap_or_default();
    let mut changed = Vec::new();
    for (administrator, configs) in &gateways.0 {
        for config in configs {
            if let Err(failure) = change_over(administrator, config, &pair).await {
                return Err(interrupted(failure, config, &changed));
            }
            changed.push(config.clone());
        }
    }
    let mut warnings = Vec::new();
    for key in &old {
        let overlap = match end_of(key) {
            End::Kept => continue,
            End::Past => None,
            End::Now => Some(overlap),
        };
        let removed = keys::remove_key(&administrator, &method, &key.key_id, overlap).await?;
        method = removed.auth_method.unwrap_or_default();
        warnings = removed.warnings;
    }
    warn(&warnings);
    report(&pair, &changed, &method, &warnings, flags)
}

enum End {
    /// It signed until now.
    Now,
    /// It ended a while ago.
    Past,
    /// Nobody signs with it, and it may be meant for later.
    Kept,
}

fn end_of(key: &pb::PublicKey) -> End {
    let end = key.expire_time.as_ref().and_then(values::timestamp);
    match (end, key.used_by.is_empty()) {
        (Some(end), true) if end <= Timestamp::now() => End::Past,
        (_, true) => End::Kept,
        (_, false) => End::Now,
    }
}

fn users(keys: &[pb::PublicKey]) -> Users {
    let mut users = Users::new();
    for name in keys.iter().flat_map(|key| &key.used_by) {
        if let Some((gateway, _)) = name.split_once("/k8sAuthConfigs/") {
            let configs = users.entry(gateway.to_owned()).or_default();
            configs.push(name.clone());
        }
    }
    users
}

/// An administrator at each gateway, and its configs. All are found before anything is changed.
struct Gateways(Vec<(Administrator, Vec<String>)>);

impl Gateways {
    async fn find(
        session: &Session,
        connection: &Connection,
        administrator: &Administrator,
        users: &Users,
    ) -> Result<Self, Failure> {
        let known = list_gateways(administrator).await?;
        let own = session.own_gateway(&known)?;
        let mut found = Vec::new();
        for (name, configs) in users {
            let url = match known.iter().find(|gateway| gateway.name == *name) {
                // As whoever asks reaches it, which the control plane needn't know.
                _ if own.as_deref() == Some(name) => connection.gateway_url.clone(),
                Some(gateway) => gateway.url.clone(),
                None => None,
            };
            let connection = Connection {
                gateway_url: url,
                gateway_name: name.strip_prefix("gateways/").map(str::to_owned),
                ..connection.clone()
            };
            let administrator = Session::open(&connection)?.gateway_administrator().await;
            let administrator = administrator.map_err(|failure| failure.of(name))?;
            found.push((administrator, configs.clone()));
        }
        Ok(Self(found))
    }
}

async fn change_over(
    administrator: &Administrator,
    config: &str,
    pair: &KeyPair,
) -> Result<(), Failure> {
    let id = config
        .split_once("/k8sAuthConfigs/")
        .map_or("", |(_, id)| id);
    let current = k8s_auth_config::read(administrator, id).await?;
    let private = pair.private.as_ref();
    let request = pb::UpdateK8sAuthConfigRequest {
        // Nothing but the key.
        k8s_auth_config: Some(pb::K8sAuthConfig {
            name: current.name,
            meta: current.meta,
            ..pb::K8sAuthConfig::default()
        }),
        secrets: Some(pb::K8sAuthConfigSecrets {
            signing_key: private.map(|key| key.expose_secret().to_owned()),
            ..pb::K8sAuthConfigSecrets::default()
        }),
        update_mask: None,
        validate_only: false,
    };
    administrator
        .change(&request, |channel, request| async move {
            K8sAuthConfigServiceClient::new(channel)
                .update_k8s_auth_config(request)
                .await
        })
        .await
        .map(drop)
}

/// Nothing is broken: both keys are good.
fn interrupted(failure: Failure, config: &str, changed: &[String]) -> Failure {
    let done = match changed {
        [] => "no config has changed over".to_owned(),
        changed => format!("{} changed over", changed.join(", ")),
    };
    failure.of(config).hint(format!(
        "logins go on, with the old key where the new one isn't in place ({done}); mend this and run it again"
    ))
}

fn report(
    pair: &KeyPair,
    changed: &[String],
    method: &pb::AuthMethod,
    warnings: &[pb::Warning],
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let id = pair.public.id().as_str();
    let mut text = format!(
        "Key rotated.\n- New key: {id}\n- Signing with it: {}",
        changed.join(", ")
    );
    let mut keys = method.clone();
    for key in keys::keys_of(&mut keys)?.iter() {
        if let Some(end) = key.expire_time.as_ref().and_then(values::timestamp) {
            text = format!("{text}\n- Old key {}: good until {end}", key.key_id);
        }
    }
    let mut document = document(method, warnings)?;
    document["key_id"] = json!(id);
    document["changed_over"] = json!(changed);
    output::print(flags.format(), &document, &text)
}
