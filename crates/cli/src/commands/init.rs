//! `postern init`: everything that a first start needs, made where it is missing.

use std::path::Path;

use clap::Args;
use postern_dev::deployment::{Deployment, InitOptions};
use serde_json::json;

use super::gateway::NO_API_SERVERS;
use crate::failure::Failure;
use crate::flags::{Connection, OutputFlags, present};
use crate::output;
use crate::session::{DEFAULT_CONTROL_PLANE_URL, DEFAULT_GATEWAY_URL};

/// Make what a first start needs: CA, certificates, keys, credentials. Changes nothing that exists
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The folder to make it in
    #[arg(value_name = "DIR")]
    dir: String,
    /// An API server that the gateway may talk to, https://…; repeat it for several.
    /// Without any, an administrator of the control plane can point the gateway anywhere
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    api_server: Vec<String>,
}

pub(crate) fn run(
    args: &InitArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let dir = present("DIR", &args.dir)?;
    let or = |flag: &str, value: &Option<String>, default: &str| match value {
        Some(value) => present(flag, value),
        None => Ok(default.to_owned()),
    };
    let options = InitOptions {
        control_plane_url: or(
            "--control-plane-url",
            &connection.control_plane_url,
            DEFAULT_CONTROL_PLANE_URL,
        )?,
        gateway_url: or(
            "--gateway-url",
            &connection.gateway_url,
            DEFAULT_GATEWAY_URL,
        )?,
        gateway_name: or("--gateway-name", &connection.gateway_name, "default")?,
        api_servers: args.api_server.clone(),
    };
    let deployment = Deployment::init(Path::new(&dir), &options)
        .map_err(|error| Failure::usage(error.to_string()))?;
    if args.api_server.is_empty() {
        output::note(NO_API_SERVERS);
    }
    let mut text = String::new();
    for path in deployment.created() {
        text.push_str(&format!("made {}\n", path.display()));
    }
    if text.is_empty() {
        text.push_str("Everything was there already; nothing was changed.\n");
    }
    text.push_str(&format!(
        "Next:\n  \
         postern control-plane serve --database-url sqlite:postern.db --bootstrap {dir}/control-plane/bootstrap.json --key-file {dir}/control-plane/keys --tls-cert {dir}/control-plane/server.pem --tls-key {dir}/control-plane/server-key.pem{}{}\n  \
         postern gateway serve --config {dir}/gateway/gateway.json{}\n  \
         postern configure --access-key-file {dir}/admin.json",
        if deployment.mutual_tls() {
            format!(" --client-ca-file {dir}/control-plane/ca.pem --require-gateway-certificate")
        } else {
            String::new()
        },
        listen(&options.control_plane_url, 8100),
        listen(&options.gateway_url, 8000),
    ));
    let made: Vec<String> = deployment
        .created()
        .iter()
        .map(|p| p.display().to_string())
        .collect();
    output::print(flags.format(), &json!({ "dir": dir, "made": made }), &text)
}

/// The flag that makes a server listen where its URL says, when that isn't where it does anyway.
fn listen(url: &str, default: u16) -> String {
    match url::Url::parse(url)
        .ok()
        .and_then(|url| url.port_or_known_default())
    {
        Some(port) if port != default => format!(" --listen 0.0.0.0:{port}"),
        _ => String::new(),
    }
}
