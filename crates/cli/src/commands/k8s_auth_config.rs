//! K8s auth configs: `postern k8s-auth-config …` and the tutorial's
//! `gateway-create-k8s-auth-config` and its kin.

pub(crate) mod doctor;
mod import;

use clap::{Args, Subcommand};
use postern_proto::pb;
use postern_proto::pb::k8s_auth_config_service_client::K8sAuthConfigServiceClient as Client;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::flags::{Connection, OutputFlags, present};
use crate::session::{Administrator, Session};
use crate::{output, paging};

use self::flags::ConfigFlags;
use super::auth_method::warn;

mod flags;

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
    /// Make a reviewer in the cluster of a kubeconfig, and a K8s auth config for that cluster
    Import(import::ImportArgs),
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
    /// Empty a field: k8s_ca_cert, k8s_issuers, tls_server_name, jwks, connect_timeout, total_timeout; pinned_cluster
    /// pins the gateway's own cluster anew
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
        ConfigCommand::Import(args) => import::import(args, connection, flags).await,
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
    if args.validate_only {
        let text = format!("K8s auth config {name} is valid; nothing was stored.");
        return output::print(flags.format(), &output::valid(&response.warnings)?, &text);
    }
    let document = output::message(MESSAGE, &config)?;
    let document = output::with_first(&[("access_id", config.access_id())], document);
    let text = format!(
        "K8s auth config {name} created at {}.",
        administrator.server.url
    );
    output::print(flags.format(), &document, &text)
}

pub(crate) async fn read(
    administrator: &Administrator,
    name: &str,
) -> Result<pb::K8sAuthConfig, Failure> {
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
        api_server(config),
        config.seal_key_id.clone(),
        usable,
    ]
}

fn api_server(config: &pb::K8sAuthConfig) -> String {
    match (config.k8s_host(), config.rancher_cluster_id()) {
        ("", _) => "the gateway's own".to_owned(),
        (host, "") => host.to_owned(),
        (host, cluster) => format!("{host} ({cluster})"),
    }
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
    args.config.clear(&args.clear, &mut config)?;
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
