//! `postern health`: asks a server whether it is ready, for containers without an HTTP client.

use std::time::Duration;

use clap::Args;
use reqwest::{Client, StatusCode, redirect};
use secrecy::ExposeSecret as _;
use serde_json::Value;

use super::serve::chain;
use crate::failure::{Exit, Failure};
use crate::flags::{Connection, OutputFlags, present};
use crate::{output, values};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// Ask a server whether it is ready; exit code 3 if it isn't
#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// The server, control plane or gateway, https://…
    #[arg(long, value_name = "URL")]
    url: String,
}

pub(crate) async fn run(
    args: &HealthArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let url = present("--url", &args.url)?;
    let page = format!("{}/readyz", url.trim_end_matches('/'));
    let unreachable = |error: reqwest::Error| {
        Failure::new(Exit::Unavailable, format!("{url}: {}", chain(&error)))
    };
    let response = client(connection)?
        .get(page)
        .send()
        .await
        .map_err(unreachable)?;
    let status = response.status();
    let report: Value = response.json().await.map_err(unreachable)?;
    output::print(flags.format(), &report, &lines(&report))?;
    match status {
        StatusCode::OK => Ok(()),
        _ => Err(Failure::new(
            Exit::Unavailable,
            format!("{url} is not ready"),
        )),
    }
}

fn client(connection: &Connection) -> Result<Client, Failure> {
    let path = connection
        .ca_cert
        .clone()
        .or_else(|| std::env::var("POSTERN_CA_CERT").ok());
    let ca = path
        .map(|path| values::read("--ca-cert", &path))
        .transpose()?;
    let ca = ca.as_ref().map(|pem| pem.expose_secret().as_bytes());
    let tls = postern_rpc::tls::client_config(ca)
        .map_err(|error| Failure::usage(format!("--ca-cert: {error}")))?;
    Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(redirect::Policy::none())
        .timeout(DEFAULT_TIMEOUT)
        .build()
        .map_err(|error| Failure::new(Exit::Unavailable, error.to_string()))
}

/// A component a line, with the reason of those that aren't ready.
fn lines(report: &Value) -> String {
    let components = report["components"].as_object().into_iter().flatten();
    let lines = components.map(|(name, component)| match component["reason"].as_str() {
        Some(reason) => format!("{name}: {reason}"),
        None => format!("{name}: ready"),
    });
    lines.collect::<Vec<_>>().join("\n")
}
