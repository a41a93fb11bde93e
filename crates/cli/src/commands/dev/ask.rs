//! Questions to the simulated cluster that runs.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use postern_dev::cluster::{Cluster, ClusterError};
use postern_dev::state::{Servers, State};
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::{DevCommand, STATE, failed, places, read_state};
use crate::failure::{Exit, Failure};
use crate::flags::{Connection, OutputFlags, present};
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct PodTokenArgs {
    /// The pod's namespace; made if it doesn't exist
    #[arg(long, short = 'n', value_name = "NAME", default_value = "default")]
    namespace: String,
    /// The pod; made if it doesn't exist
    #[arg(long, value_name = "NAME")]
    pod: String,
}

pub(super) async fn run(
    command: &DevCommand,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let (_, path) = places(connection)?;
    let (state, cluster) = running(&path).await?;
    let (name, value) = match command {
        DevCommand::Env => return env(&path, state.servers, flags),
        DevCommand::PodToken(args) => {
            let namespace = present("--namespace", &args.namespace)?;
            let pod = present("--pod", &args.pod)?;
            let token = cluster.pod_token(&namespace, &pod).await.map_err(refused)?;
            ("token", token.expose_secret().to_owned())
        }
        DevCommand::ReviewerToken => {
            let token = cluster.reviewer_token().await.map_err(refused)?;
            ("token", token.expose_secret().to_owned())
        }
        DevCommand::Ca => ("ca_cert", STANDARD.encode(&state.cluster.ca_cert)),
        DevCommand::Issuer => ("issuer", state.cluster.issuer),
        DevCommand::Host | DevCommand::Cluster(_) => ("host", state.cluster.host),
    };
    output::print(flags.format(), &json!({ name: value }), &value)
}

/// What runs, once it has answered.
async fn running(path: &Path) -> Result<(State, Cluster), Failure> {
    let none = |why: String| {
        Failure::new(Exit::Unavailable, why).hint("start it in another terminal with: postern dev")
    };
    let Some(state) = read_state(path)? else {
        return Err(none(format!(
            "no `postern dev` runs: there is no {}",
            path.display()
        )));
    };
    let cluster = Cluster::new(&state.cluster).map_err(|error| failed(Exit::Usage, &error))?;
    cluster.check().await.map_err(|error| {
        none(format!(
            "no `postern dev` runs: {} is left of an earlier one, and {error}",
            path.display()
        ))
    })?;
    Ok((state, cluster))
}

fn refused(error: ClusterError) -> Failure {
    let exit = match error {
        ClusterError::Refused { status, .. } if status.is_client_error() => Exit::Usage,
        _ => Exit::Unavailable,
    };
    failed(exit, &error)
}

fn env(path: &Path, servers: Option<Servers>, flags: &OutputFlags) -> Result<(), Failure> {
    let servers = servers.ok_or_else(|| {
        Failure::usage("only a simulated cluster runs here: there is no control plane to join")
    })?;
    let ca_cert = servers.ca_cert.display().to_string();
    let state = path.display().to_string();
    let mut variables = vec![
        ("POSTERN_PROFILE", servers.profile),
        ("POSTERN_CONTROL_PLANE_URL", servers.control_plane_url),
        ("POSTERN_GATEWAY_URL", servers.gateway_url),
        ("POSTERN_CA_CERT", ca_cert),
        (STATE, state),
    ];
    variables.extend(search_path().map(|value| ("PATH", value)));
    let lines: Vec<String> = variables
        .iter()
        .map(|(name, value)| format!("export {name}={}", quoted(value)))
        .collect();
    let document: serde_json::Map<_, _> = variables
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    output::print(flags.format(), &document.into(), &lines.join("\n"))
}

/// `PATH` with this program's folder in front, if a shell wouldn't find it otherwise.
fn search_path() -> Option<String> {
    let program = std::env::current_exe().ok()?;
    let before = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&before).collect();
    if folders.iter().any(|folder| folder.join("postern").exists()) {
        return None;
    }
    folders.insert(0, program.parent()?.to_owned());
    std::env::join_paths(folders).ok()?.into_string().ok()
}

/// One word to a shell, whatever is in it.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_shell_takes_it_as_one_word() {
        assert_eq!(quoted("/a b/$c"), "'/a b/$c'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
