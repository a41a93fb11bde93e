//! `postern health`: asks a server whether it is ready, for containers without an HTTP client.

use std::time::Duration;

use clap::Args;
use postern_proto::pb;
use postern_proto::pb::server_info_service_client::ServerInfoServiceClient;
use postern_rpc::client::{self as rpc, Target};
use postern_rpc::deadline::Deadline;
use postern_rpc::error::Failure as RpcFailure;
use reqwest::{Client, StatusCode, redirect};
use serde_json::Value;

use super::serve::chain;
use crate::failure::{Exit, Failure};
use crate::flags::{Connection, OutputFlags, present};
use crate::output;
use crate::session::Session;

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
    let session = Session::open(connection)?;
    let page = format!("{}/readyz", url.trim_end_matches('/'));
    let response = match client(&session)?.get(page).send().await {
        Ok(response) => response,
        Err(error) => return Err(unreachable(&session, &url, &error).await),
    };
    let status = response.status();
    let Ok(report) = response.json::<Value>().await else {
        let what = format!("{url}: this isn't a Postern server; check the URL");
        return Err(Failure::new(Exit::Unavailable, what));
    };
    output::print(flags.format(), &report, &lines(&report))?;
    match status {
        StatusCode::OK => Ok(()),
        _ => Err(Failure::new(
            Exit::Unavailable,
            format!("{url} is not ready"),
        )),
    }
}

/// In the words of every other command: asks once more, the way that they do.
async fn unreachable(session: &Session, url: &str, error: &reqwest::Error) -> Failure {
    let target = Target {
        url: url.to_owned(),
        ca_pem: session.ca_pem().map(<[u8]>::to_vec),
    };
    let channel = match rpc::connect(&target) {
        Ok(channel) => channel,
        Err(error) => return Failure::usage(format!("--url: {error}")),
    };
    let request = rpc::request(
        pb::GetServerInfoRequest {},
        Deadline::after(DEFAULT_TIMEOUT),
    );
    let answer = ServerInfoServiceClient::new(channel)
        .get_server_info(request)
        .await;
    let fault = answer
        .err()
        .and_then(|status| RpcFailure::from(status).connect);
    let fault = fault.map_or_else(|| chain(error), |fault| fault.to_string());
    Failure::new(Exit::Unavailable, format!("{url}: {fault}"))
}

fn client(session: &Session) -> Result<Client, Failure> {
    let tls = postern_rpc::tls::client_config(session.ca_pem())
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
