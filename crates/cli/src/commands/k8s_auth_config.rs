//! K8s auth configs: `postern k8s-auth-config …` and the tutorial's
//! `gateway-create-k8s-auth-config` and its kin.

use clap::{Args, Subcommand};
use postern_proto::pb;
use postern_proto::pb::k8s_auth_config_service_client::K8sAuthConfigServiceClient as Client;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::flags::{Connection, OutputFlags, present};
use crate::session::{Administrator, Session};
use crate::values::{self, Unit};
use crate::{output, paging};

use super::auth_method::warn;

const MESSAGE: &str = "postern.v1.K8sAuthConfig";

/// K8s auth configs: how a gateway reaches and trusts one cluster
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Create a K8s auth config
    Create(CreateArgs),
    /// Show a K8s auth config, its secrets left out
    Get(NameArgs),
    /// List K8s auth configs
    List(ListArgs),
    /// Change a K8s auth config; secrets that aren't given stay
    Update(UpdateArgs),
    /// Delete a K8s auth config
    Delete(NameArgs),
}

/// What a config says about its cluster.
#[derive(Debug, Args)]
pub(crate) struct ConfigFlags {
    /// The access ID of the auth method that it serves, p-…
    #[arg(long, short = 'i', value_name = "ID")]
    access_id: Option<String>,
    /// The API server, https://…
    #[arg(long, value_name = "URL")]
    k8s_host: Option<String>,
    /// The cluster's CA: PEM, or base64 of it [default: the system's roots]
    #[arg(long, value_name = "PEM")]
    k8s_ca_cert: Option<String>,
    /// File of the cluster's CA
    #[arg(long, value_name = "FILE")]
    k8s_ca_cert_file: Option<String>,
    /// Issuer that tokens may come from; repeat it for several
    #[arg(long, value_name = "ISSUER", value_delimiter = ',')]
    k8s_issuer: Vec<String>,
    /// Say on purpose that any issuer is fine
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    disable_issuer_validation: Option<bool>,
    /// Life of an assertion, in seconds or such as 5m [default and most: 300]
    #[arg(long, value_name = "SECONDS")]
    token_exp: Option<String>,
    /// Refuse every login
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    disabled: Option<bool>,
    #[command(flatten)]
    secrets: SecretFlags,
}

/// What goes in and never comes out.
#[derive(Debug, Args)]
pub(crate) struct SecretFlags {
    /// The auth method's private key: PEM, or base64 of it
    #[arg(long, value_name = "KEY")]
    signing_key: Option<String>,
    /// File of the private key; `-` is standard input
    #[arg(long, value_name = "FILE")]
    signing_key_file: Option<String>,
    /// Bearer token that may create TokenReviews
    #[arg(long, value_name = "TOKEN")]
    token_reviewer_jwt: Option<String>,
    /// File of the reviewer's token; `-` is standard input
    #[arg(long, value_name = "FILE")]
    token_reviewer_jwt_file: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The config's name at the gateway
    #[arg(long, short = 'n', value_name = "NAME")]
    name: String,
    #[command(flatten)]
    config: ConfigFlags,
    /// Check everything and store nothing
    #[arg(long)]
    validate_only: bool,
}

#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// The config's name at the gateway
    #[arg(long, short = 'n', value_name = "NAME")]
    name: String,
    #[command(flatten)]
    config: ConfigFlags,
    /// Empty a field: k8s_ca_cert, k8s_issuers
    #[arg(long, value_name = "FIELD", value_delimiter = ',')]
    clear: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    /// The config's name at the gateway
    #[arg(long, short = 'n', value_name = "NAME")]
    name: String,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// At most so many [default: all]
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
}

pub(crate) async fn run(
    command: &ConfigCommand,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    match command {
        ConfigCommand::Create(args) => create(args, connection, flags).await,
        ConfigCommand::Get(args) => get(args, connection, flags).await,
        ConfigCommand::List(args) => list(args, connection, flags).await,
        ConfigCommand::Update(args) => update(args, connection, flags).await,
        ConfigCommand::Delete(args) => delete(args, connection, flags).await,
    }
}

impl ConfigFlags {
    /// Writes what was given over `config`, and leaves the rest.
    fn apply(&self, config: &mut pb::K8sAuthConfig) -> Result<(), Failure> {
        let given = |flag: &str, value: &Option<String>| {
            value.as_deref().map(|v| present(flag, v)).transpose()
        };
        config.access_id = given("--access-id", &self.access_id)?.or(config.access_id.take());
        config.k8s_host = given("--k8s-host", &self.k8s_host)?.or(config.k8s_host.take());
        let ca = values::text(
            "--k8s-ca-cert",
            self.k8s_ca_cert.as_deref(),
            self.k8s_ca_cert_file.as_deref(),
        )?;
        config.k8s_ca_cert = ca.or(config.k8s_ca_cert.take());
        for issuer in &self.k8s_issuer {
            present("--k8s-issuer", issuer)?;
        }
        if !self.k8s_issuer.is_empty() {
            config.k8s_issuers.clone_from(&self.k8s_issuer);
            config.disable_issuer_validation = None;
        }
        if let Some(disable) = self.disable_issuer_validation {
            config.disable_issuer_validation = Some(disable);
            if disable && self.k8s_issuer.is_empty() {
                config.k8s_issuers.clear();
            }
        }
        if let Some(text) = &self.token_exp {
            config.token_exp = Some(values::duration("--token-exp", text, Unit::Seconds)?);
        }
        config.disabled = self.disabled.or(config.disabled);
        Ok(())
    }
}

impl SecretFlags {
    fn read(&self) -> Result<pb::K8sAuthConfigSecrets, Failure> {
        let secret = |flag, value: &Option<String>, file: &Option<String>| {
            values::secret(flag, value.as_deref(), file.as_deref())
                .map(|secret| secret.map(|s| s.expose_secret().to_owned()))
        };
        Ok(pb::K8sAuthConfigSecrets {
            signing_key: secret("--signing-key", &self.signing_key, &self.signing_key_file)?,
            token_reviewer_jwt: secret(
                "--token-reviewer-jwt",
                &self.token_reviewer_jwt,
                &self.token_reviewer_jwt_file,
            )?,
        })
    }
}

pub(crate) async fn create(
    args: &CreateArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let name = present("--name", &args.name)?;
    let mut config = pb::K8sAuthConfig::default();
    args.config.apply(&mut config)?;
    let secrets = args.config.secrets.read()?;
    if config.k8s_issuers.is_empty() && config.disable_issuer_validation != Some(true) {
        return Err(Failure::usage(
            "neither --k8s-issuer nor --disable-issuer-validation is given: name the cluster's issuer, or say that any is fine",
        ));
    }
    let request = pb::CreateK8sAuthConfigRequest {
        parent: String::new(),
        k8s_auth_config_id: name.clone(),
        k8s_auth_config: Some(config),
        secrets: Some(secrets),
        validate_only: args.validate_only,
    };
    let administrator = Session::open(connection)?.gateway_administrator().await?;
    let response = administrator
        .change(&request, |channel, request| async move {
            Client::new(channel).create_k8s_auth_config(request).await
        })
        .await?;
    warn(&response.warnings);
    let config = response.k8s_auth_config.unwrap_or_default();
    let document = output::message(MESSAGE, &config)?;
    let document = output::with_first(&[("access_id", config.access_id())], document);
    let text = if args.validate_only {
        format!("K8s auth config {name} is valid; nothing was stored.")
    } else {
        format!(
            "K8s auth config {name} created at {}.",
            administrator.server.url
        )
    };
    output::print(flags.format(), &document, &text)
}

async fn read(administrator: &Administrator, name: &str) -> Result<pb::K8sAuthConfig, Failure> {
    let request = pb::GetK8sAuthConfigRequest {
        name: full_name(name)?,
    };
    let response = administrator
        .call(&request, |channel, request| async move {
            Client::new(channel).get_k8s_auth_config(request).await
        })
        .await?;
    Ok(response.k8s_auth_config.unwrap_or_default())
}

fn full_name(name: &str) -> Result<String, Failure> {
    let name = present("--name", name)?;
    Ok(format!("k8sAuthConfigs/{}", name.trim_start_matches('/')))
}

pub(crate) async fn get(
    args: &NameArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let administrator = Session::open(connection)?.gateway_administrator().await?;
    show(flags, &read(&administrator, &args.name).await?)
}

fn show(flags: &OutputFlags, config: &pb::K8sAuthConfig) -> Result<(), Failure> {
    let document = output::message(MESSAGE, config)?;
    output::print(flags.format(), &document, &output::describe(&document))
}

/// All configs of the gateway, or the first `limit`.
pub(crate) async fn list_all(
    administrator: &Administrator,
    limit: usize,
) -> Result<Vec<pb::K8sAuthConfig>, Failure> {
    paging::collect(limit, async |page| {
        let request = pb::ListK8sAuthConfigsRequest {
            parent: String::new(),
            page_size: page.size,
            page_token: page.token,
        };
        let page = administrator
            .call(&request, |channel, request| async move {
                Client::new(channel).list_k8s_auth_configs(request).await
            })
            .await?;
        Ok((page.k8s_auth_configs, page.next_page_token))
    })
    .await
}

pub(crate) async fn list(
    args: &ListArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let administrator = Session::open(connection)?.gateway_administrator().await?;
    let all = list_all(&administrator, args.limit.unwrap_or(usize::MAX)).await?;
    let documents: Vec<Value> = all
        .iter()
        .map(|c| output::message(MESSAGE, c))
        .collect::<Result<_, _>>()?;
    let rows = all.iter().map(row).collect();
    let table = output::table(
        &["NAME", "ACCESS ID", "API SERVER", "SEAL KEY", "USABLE"],
        rows,
    );
    output::print(
        flags.format(),
        &json!({ "k8s_auth_configs": documents }),
        &table,
    )
}

fn row(config: &pb::K8sAuthConfig) -> Vec<String> {
    let broken = config
        .conditions
        .iter()
        .find(|c| c.status() == pb::ConditionStatus::False)
        .map(|c| format!("no: {}", c.reason));
    let usable = match (config.disabled(), broken) {
        (_, Some(broken)) => broken,
        (true, None) => "disabled".to_owned(),
        (false, None) => "yes".to_owned(),
    };
    let id = config
        .name
        .split_once("/k8sAuthConfigs/")
        .map_or("", |(_, id)| id);
    vec![
        id.to_owned(),
        config.access_id().to_owned(),
        config.k8s_host().to_owned(),
        config.seal_key_id.clone(),
        usable,
    ]
}

pub(crate) async fn update(
    args: &UpdateArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let secrets = args.config.secrets.read()?;
    let administrator = Session::open(connection)?.gateway_administrator().await?;
    let mut config = read(&administrator, &args.name).await?;
    args.config.apply(&mut config)?;
    for field in &args.clear {
        let set = &args.config;
        let given = match field.as_str() {
            "k8s_ca_cert" => set.k8s_ca_cert.is_some() || set.k8s_ca_cert_file.is_some(),
            "k8s_issuers" => !set.k8s_issuer.is_empty(),
            _ => false,
        };
        if given {
            let fault = format!("--clear {field} and the flag that sets it exclude each other");
            return Err(Failure::usage(fault));
        }
        match field.as_str() {
            "k8s_ca_cert" => config.k8s_ca_cert = None,
            "k8s_issuers" => config.k8s_issuers.clear(),
            _ => {
                return Err(Failure::usage(format!(
                    "--clear: `{field}` is no field that can be emptied"
                )));
            }
        }
    }
    let request = pb::UpdateK8sAuthConfigRequest {
        k8s_auth_config: Some(config),
        secrets: Some(secrets),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["*".to_owned()],
        }),
        validate_only: false,
    };
    let response = administrator
        .change(&request, |channel, request| async move {
            Client::new(channel).update_k8s_auth_config(request).await
        })
        .await?;
    warn(&response.warnings);
    show(flags, &response.k8s_auth_config.unwrap_or_default())
}

pub(crate) async fn delete(
    args: &NameArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let administrator = Session::open(connection)?.gateway_administrator().await?;
    let config = read(&administrator, &args.name).await?;
    let request = pb::DeleteK8sAuthConfigRequest {
        name: config.name.clone(),
        etag: config.meta.map(|meta| meta.etag).unwrap_or_default(),
    };
    administrator
        .change(&request, |channel, request| async move {
            Client::new(channel).delete_k8s_auth_config(request).await
        })
        .await?;
    let text = format!("K8s auth config {} deleted.", args.name);
    output::print(flags.format(), &json!({ "deleted": config.name }), &text)
}
