//! `postern gateway …`: gateways as the control plane knows them, and running one.

mod change;
mod file;

use std::path::Path;

use clap::{Args, Subcommand};
use postern_proto::pb;
use postern_proto::pb::gateway_service_client::GatewayServiceClient as Client;
use serde_json::{Value, json};

use crate::commands::auth_method::warn;
use crate::failure::Failure;
use crate::flags::{Connection, OutputFlags, present};
use crate::session::{Administrator, Session, list_gateways};
use crate::{output, values};

use super::seal_key::SealKeyCommand;
use super::serve::GatewayServeArgs;
use file::NewGateway;

const MESSAGE: &str = "postern.v1.Gateway";
pub(crate) const NO_API_SERVERS: &str = "warning: the gateway has no list of API servers that it may talk to (--api-server; `api_servers` in gateway.json)";

/// Gateways: run one, and what the control plane knows of them
#[derive(Debug, Subcommand)]
pub(crate) enum GatewayCommand {
    /// Run a gateway
    Serve(GatewayServeArgs),
    /// Make a gateway known and print its credential, this once
    Create(CreateArgs),
    /// Show a gateway
    Get(NameArgs),
    /// List gateways
    List,
    /// Change a gateway, switch it off or on
    Update(change::UpdateArgs),
    /// Give a gateway's credential another key, while the old one stays good for a while
    RotateCredential(change::RotateArgs),
    /// Delete a gateway
    Delete(DeleteArgs),
    /// The keys that seal K8s auth configs
    #[command(subcommand)]
    SealKey(SealKeyCommand),
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The gateway's name
    #[arg(long, short = 'n', value_name = "NAME")]
    name: String,
    /// Write its gateway.json there, with seal keys and the CA beside it, and don't print the key
    #[arg(long, value_name = "FILE")]
    config: Option<String>,
    /// An API server that it may talk to, for its gateway.json; repeat it for several. Without any, an
    /// administrator of the control plane can point the gateway anywhere
    #[arg(long, value_name = "URL", value_delimiter = ',', requires = "config")]
    api_server: Vec<String>,
    /// Where clients will reach it
    #[arg(long, value_name = "URL")]
    url: String,
    /// For people
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
}

#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    /// The gateway's name
    #[arg(long, short = 'n', value_name = "NAME")]
    name: String,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The gateway's name
    #[arg(long, short = 'n', value_name = "NAME")]
    name: String,
    /// Delete its K8s auth configs too
    #[arg(long)]
    force: bool,
}

pub(crate) async fn run(
    command: &GatewayCommand,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    match command {
        GatewayCommand::Serve(args) => super::serve::gateway(args).await,
        GatewayCommand::Create(args) => create(args, connection, flags).await,
        GatewayCommand::Get(args) => get(args, connection, flags).await,
        GatewayCommand::List => list(connection, flags).await,
        GatewayCommand::Update(args) => change::update(args, connection, flags).await,
        GatewayCommand::RotateCredential(args) => change::rotate(args, connection, flags).await,
        GatewayCommand::Delete(args) => delete(args, connection, flags).await,
        GatewayCommand::SealKey(command) => super::seal_key::run(command, connection, flags).await,
    }
}

async fn create(
    args: &CreateArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let name = present("--name", &args.name)?;
    let request = pb::CreateGatewayRequest {
        gateway_id: name.clone(),
        gateway: Some(pb::Gateway {
            url: Some(present("--url", &args.url)?),
            description: Some(args.description.clone()),
            ..pb::Gateway::default()
        }),
    };
    let config = args.config.as_deref();
    let config = config.map(|path| present("--config", path)).transpose()?;
    // Before there is a key that could get lost.
    if let Some(path) = &config {
        file::check_absent(Path::new(path))?;
    }
    let session = Session::open(connection)?;
    let administrator = session.administrator().await?;
    let response = administrator
        .change(&request, |channel, request| async move {
            Client::new(channel).create_gateway(request).await
        })
        .await?;
    warn(&response.warnings);
    let gateway = response.gateway.clone().unwrap_or_default();
    let document = output::message(MESSAGE, &gateway)?;
    match config {
        None => print_new(&name, &response, document, flags),
        Some(path) => {
            let new = NewGateway {
                name: &name,
                access_id: &gateway.access_id,
                access_key: &response.access_key,
                deployment_id: &response.deployment_id,
                control_plane_url: &administrator.server.url,
                ca_pem: session.ca_pem(),
                api_servers: &args.api_server,
            };
            write_new(&path, &new, document, flags)
        }
    }
}

fn print_new(
    name: &str,
    response: &pb::CreateGatewayResponse,
    gateway: Value,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let access_id = gateway["access_id"].as_str().unwrap_or_default().to_owned();
    let (key, deployment) = (&response.access_key, &response.deployment_id);
    let first = [
        ("access_id", access_id.as_str()),
        ("access_key", key),
        ("deployment_id", deployment),
    ];
    let document = output::with_first(&first, gateway);
    let text = format!(
        "Gateway {name} created.\n- Access ID: {access_id}\n- Access key (shown this once): {key}\n- Deployment ID: {deployment}",
    );
    output::print(flags.format(), &document, &text)
}

fn write_new(
    path: &str,
    new: &NewGateway<'_>,
    gateway: Value,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let missing = file::write_new(Path::new(path), new).map_err(|failure| {
        let lost = format!(
            "the gateway exists, and its access key is {}",
            new.access_key
        );
        failure.hint(lost)
    })?;
    if new.api_servers.is_empty() {
        output::note(NO_API_SERVERS);
    }
    let mut document = output::with_first(&[("deployment_id", new.deployment_id)], gateway);
    document["config"] = Value::from(path);
    document["missing"] = json!(missing);
    let before = match missing.as_slice() {
        [] => String::new(),
        missing => format!(
            "\nPut its certificate and key beside it, as {}, then start it:",
            missing.join(" and ")
        ),
    };
    let name = new.name;
    let text = format!(
        "Gateway {name} created; what it needs is in {path}.{before}\n  postern gateway serve --config {path}"
    );
    output::print(flags.format(), &document, &text)
}

async fn read(administrator: &Administrator, name: &str) -> Result<pb::Gateway, Failure> {
    let request = pb::GetGatewayRequest {
        name: format!("gateways/{}", present("--name", name)?),
    };
    let response = administrator
        .call(&request, |channel, request| async move {
            Client::new(channel).get_gateway(request).await
        })
        .await?;
    Ok(response.gateway.unwrap_or_default())
}

async fn get(args: &NameArgs, connection: &Connection, flags: &OutputFlags) -> Result<(), Failure> {
    let administrator = Session::open(connection)?.administrator().await?;
    let document = output::message(MESSAGE, &read(&administrator, &args.name).await?)?;
    output::print(flags.format(), &document, &output::describe(&document))
}

async fn list(connection: &Connection, flags: &OutputFlags) -> Result<(), Failure> {
    let administrator = Session::open(connection)?.administrator().await?;
    let all = list_gateways(&administrator).await?;
    let documents: Vec<Value> = all
        .iter()
        .map(|g| output::message(MESSAGE, g))
        .collect::<Result<_, _>>()?;
    let rows = all
        .iter()
        .map(|g| {
            let name = g.name.trim_start_matches("gateways/").to_owned();
            vec![
                name,
                g.access_id.clone(),
                g.url().to_owned(),
                if g.disabled() { "disabled" } else { "" }.to_owned(),
                g.instances.len().to_string(),
                last_contact(g),
                g.description().to_owned(),
            ]
        })
        .collect();
    let headers = [
        "NAME",
        "ACCESS ID",
        "URL",
        "STATE",
        "REPLICAS",
        "LAST CONTACT",
        "DESCRIPTION",
    ];
    let table = output::table(&headers, rows);
    output::print(flags.format(), &json!({ "gateways": documents }), &table)
}

/// Of the replica that was heard of last.
fn last_contact(gateway: &pb::Gateway) -> String {
    let latest = gateway.instances.first();
    let time = latest.and_then(|instance| instance.last_contact_time.as_ref());
    let time = time.and_then(values::timestamp);
    time.map(|time| time.to_string()).unwrap_or_default()
}

async fn delete(
    args: &DeleteArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let administrator = Session::open(connection)?.administrator().await?;
    let gateway = read(&administrator, &args.name).await?;
    let request = pb::DeleteGatewayRequest {
        name: gateway.name.clone(),
        etag: gateway.meta.map(|meta| meta.etag).unwrap_or_default(),
        force: args.force,
    };
    administrator
        .change(&request, |channel, request| async move {
            Client::new(channel).delete_gateway(request).await
        })
        .await?;
    let text = format!("Gateway {} deleted.", args.name);
    output::print(flags.format(), &json!({ "deleted": gateway.name }), &text)
}
