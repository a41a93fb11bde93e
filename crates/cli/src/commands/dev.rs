//! `postern dev`: everything on one machine, and what stands for `kubectl` there.

mod ask;
mod simulate;
mod start;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use postern_dev::state::State;

use super::serve;
use crate::failure::{Exit, Failure};
use crate::flags::{Connection, OutputFlags};
use crate::profile;

/// The profile that is written while everything runs.
const PROFILE: &str = "dev";
/// Names the state file where it isn't beside the profile.
const STATE: &str = "POSTERN_DEV_STATE";

/// Run control plane, gateway and a simulated cluster on this machine, until Ctrl-C
#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    #[command(subcommand)]
    command: Option<DevCommand>,
    #[command(flatten)]
    start: start::StartArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DevCommand {
    /// Print what joins another terminal: eval "$(postern dev env)"
    Env,
    /// Print the token that a pod finds in its file; stands for `kubectl run` and `kubectl exec`
    PodToken(ask::PodTokenArgs),
    /// Print the token of a service account that may review tokens
    ReviewerToken,
    /// Print the simulated cluster's CA as base64 of PEM, as a kubeconfig has it
    Ca,
    /// Print the simulated cluster's issuer
    Issuer,
    /// Print the simulated cluster's URL
    Host,
    /// Run a simulated cluster alone
    Cluster(simulate::ClusterArgs),
}

pub(crate) async fn run(
    args: &DevArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let Some(command) = &args.command else {
        return Box::pin(start::run(&args.start, connection, flags)).await;
    };
    match command {
        DevCommand::Cluster(args) => simulate::run(args).await,
        _ => ask::run(command, connection, flags).await,
    }
}

/// The profile's name and the state file beside it.
fn places(connection: &Connection) -> Result<(String, PathBuf), Failure> {
    let name = connection
        .profile
        .clone()
        .unwrap_or_else(|| PROFILE.to_owned());
    let elsewhere = std::env::var_os(STATE).filter(|path| !path.is_empty());
    let path = match (&connection.profile, elsewhere) {
        (None, Some(path)) => PathBuf::from(path),
        _ => profile::path(&name)?.with_extension("state"),
    };
    Ok((name, path))
}

fn read_state(path: &std::path::Path) -> Result<Option<State>, Failure> {
    State::read(path).map_err(|error| Failure::file(path, &error))
}

fn failed(exit: Exit, error: &dyn std::error::Error) -> Failure {
    Failure::new(exit, serve::chain(error))
}
