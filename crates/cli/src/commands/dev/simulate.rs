//! `postern dev cluster`: the simulated cluster alone, for other containers.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use kube_sim::KubeSim;
use postern_dev::stack::cluster_state;
use postern_dev::state::State;

use super::failed;
use crate::commands::serve;
use crate::failure::{Exit, Failure};
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct ClusterArgs {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
    /// Name by which others reach it, for its certificate; the first stands in its URL
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    host: Vec<String>,
    /// File to write the cluster's URL, CA and administrator's token to; name it in
    /// POSTERN_DEV_STATE for `postern dev host` and its kin
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
}

pub(super) async fn run(args: &ClusterArgs) -> Result<(), Failure> {
    let shutdown = serve::shutdown()?;
    let cluster = KubeSim::start(kube_sim::Options {
        listen: args.listen,
        extra_san_hosts: args.host.clone(),
        ..kube_sim::Options::default()
    })
    .await
    .map_err(|error| failed(Exit::Unavailable, &error))?;
    let state = State {
        cluster: cluster_state(&cluster),
        servers: None,
    };
    state
        .write(&args.state)
        .map_err(|error| Failure::file(&args.state, &error))?;
    output::line(&format!("Simulated cluster at {}", cluster.host()))?;
    shutdown.cancelled().await;
    // Whoever reads it next must not find a cluster that is gone.
    let _ = fs::remove_file(&args.state);
    cluster.shutdown().await;
    Ok(())
}
