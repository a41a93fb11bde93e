//! `postern gateway …`: gateways as the control plane knows them, and running one.

use clap::{Args, Subcommand};
use postern_proto::pb;
use postern_proto::pb::gateway_service_client::GatewayServiceClient as Client;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::flags::{Connection, OutputFlags, present};
use crate::output;
use crate::session::{Administrator, Session, list_gateways};

use super::seal_key::SealKeyCommand;
use super::serve::GatewayServeArgs;

const MESSAGE: &str = "postern.v1.Gateway";

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
            url: present("--url", &args.url)?,
            description: args.description.clone(),
            ..pb::Gateway::default()
        }),
    };
    let administrator = Session::open(connection)?.administrator().await?;
    let response = administrator
        .change(&request, |channel, request| async move {
            Client::new(channel).create_gateway(request).await
        })
        .await?;
    let gateway = response.gateway.unwrap_or_default();
    let document = output::with_first(
        &[
            ("access_id", &gateway.access_id),
            ("access_key", &response.access_key),
            ("deployment_id", &response.deployment_id),
        ],
        output::message(MESSAGE, &gateway)?,
    );
    let text = format!(
        "Gateway {name} created.\n- Access ID: {}\n- Access key (shown this once): {}\n- Deployment ID: {}",
        gateway.access_id, response.access_key, response.deployment_id
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
                g.url.clone(),
                g.description.clone(),
            ]
        })
        .collect();
    let table = output::table(&["NAME", "ACCESS ID", "URL", "DESCRIPTION"], rows);
    output::print(flags.format(), &json!({ "gateways": documents }), &table)
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
