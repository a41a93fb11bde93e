//! `postern dev` itself: start everything, say where it is, and clean up at the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use postern_dev::cluster::Cluster;
use postern_dev::state::{Servers, State};
use postern_dev::{Port, Stack, StackOptions, StartError};
use secrecy::ExposeSecret as _;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{failed, places, read_state};
use crate::commands::serve;
use crate::failure::{Exit, Failure};
use crate::flags::{Connection, OutputFlags, present};
use crate::output;
use crate::profile::{self, Profile};

const CONTROL_PLANE_PORT: u16 = 8100;
const GATEWAY_PORT: u16 = 8000;
const CLUSTER_PORT: u16 = 8443;
const READY_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// Keep certificates, credentials and the database here; the simulated cluster starts
    /// afresh each time [default: a temporary folder]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// The control plane's port; 0 takes any [default: 8100 or the next free one]
    #[arg(long, value_name = "PORT")]
    control_plane_port: Option<u16>,
    /// The gateway's port; 0 takes any [default: 8000 or the next free one]
    #[arg(long, value_name = "PORT")]
    gateway_port: Option<u16>,
    /// The simulated cluster's port; 0 takes any [default: 8443 or the next free one]
    #[arg(long, value_name = "PORT")]
    cluster_port: Option<u16>,
    /// Stop when standard input ends, for programs that start this one
    #[arg(long, hide = true)]
    stop_at_end_of_input: bool,
}

/// What is in the profile's folder while the stack runs.
struct Traces {
    profile: PathBuf,
    state: PathBuf,
}

pub(super) async fn run(
    args: &StartArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let shutdown = serve::shutdown()?;
    if args.stop_at_end_of_input {
        stop_at_end_of_input(shutdown.clone());
    }
    let (name, state) = places(connection)?;
    let profile = profile::path(&name)?;
    refuse_second(&profile, &state).await?;
    let mut stack = Stack::start(args.options()?)
        .await
        .map_err(|error| cant_start(&error))?;
    let traces = Traces { profile, state };
    let result = serve_until(&mut stack, &traces, &name, flags, shutdown).await;
    traces.remove();
    let stopped = stack.shutdown().await;
    result.and(stopped.map_err(|error| failed(Exit::Unavailable, &error)))
}

async fn serve_until(
    stack: &mut Stack,
    traces: &Traces,
    profile_name: &str,
    flags: &OutputFlags,
    shutdown: CancellationToken,
) -> Result<(), Failure> {
    if tokio::time::timeout(READY_WITHIN, stack.ready())
        .await
        .is_err()
    {
        return Err(Failure::new(
            Exit::Unavailable,
            "the servers didn't get ready in 30 seconds",
        ));
    }
    traces.write(stack, profile_name)?;
    announce(stack, traces, profile_name, flags)?;
    tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        stopped = stack.stopped() => Err(failed(Exit::Unavailable, &stopped)),
    }
}

impl StartArgs {
    fn options(&self) -> Result<StackOptions, Failure> {
        let data_dir = self
            .data_dir
            .as_deref()
            .map(|dir| present("--data-dir", dir))
            .transpose()?;
        let port = |given: Option<u16>, default| given.map_or(Port::From(default), Port::Exactly);
        Ok(StackOptions {
            data_dir: data_dir.map(PathBuf::from),
            control_plane: port(self.control_plane_port, CONTROL_PLANE_PORT),
            gateway: port(self.gateway_port, GATEWAY_PORT),
            cluster: port(self.cluster_port, CLUSTER_PORT),
            ..StackOptions::default()
        })
    }
}

/// On a thread of its own: a read of standard input can't be taken back.
fn stop_at_end_of_input(shutdown: CancellationToken) {
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        shutdown.cancel();
    });
}

fn cant_start(error: &StartError) -> Failure {
    let hint = match error {
        StartError::Port { .. } => {
            "what a data folder holds is for its own ports: free them, or take another folder"
        }
        _ => return failed(Exit::Unavailable, error),
    };
    failed(Exit::Unavailable, error).hint(hint)
}

/// Two would take each other's profile away, and a profile of somebody's own isn't ours to
/// overwrite.
async fn refuse_second(profile: &Path, state: &Path) -> Result<(), Failure> {
    let other = "choose another with: postern dev --profile NAME";
    let Some(before) = read_state(state)? else {
        if profile.exists() {
            let text = format!(
                "{} is a profile that `postern dev` didn't make",
                profile.display()
            );
            return Err(Failure::usage(text).hint(other));
        }
        return Ok(());
    };
    let cluster = Cluster::new(&before.cluster).map_err(|error| failed(Exit::Usage, &error))?;
    if cluster.check().await.is_ok() {
        let text = format!("`postern dev` runs already (see {})", state.display());
        return Err(Failure::usage(text).hint(other));
    }
    Ok(())
}

// === impl Traces ===

impl Traces {
    fn write(&self, stack: &Stack, profile_name: &str) -> Result<(), Failure> {
        let admin = stack.admin();
        let profile = Profile {
            control_plane_url: Some(admin.control_plane_url.clone()),
            gateway_url: Some(admin.gateway_url.clone()),
            gateway_name: None,
            ca_cert: Some(admin.ca_cert.clone()),
            access_id: Some(admin.access_id.clone()),
            access_key: Some(admin.access_key.expose_secret().to_owned()),
        };
        // The profile first: it makes the folder.
        profile::store(profile_name, &profile)?;
        let state = State {
            cluster: stack.cluster_state(),
            servers: Some(Servers {
                control_plane_url: admin.control_plane_url.clone(),
                gateway_url: admin.gateway_url.clone(),
                ca_cert: stack.deployment().ca_cert(),
                profile: profile_name.to_owned(),
            }),
        };
        state
            .write(&self.state)
            .map_err(|error| Failure::file(&self.state, &error))
    }

    /// What isn't there needs no removing.
    fn remove(&self) {
        let _ = fs::remove_file(&self.profile);
        let _ = fs::remove_file(&self.state);
    }
}

fn announce(
    stack: &Stack,
    traces: &Traces,
    profile_name: &str,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let (control_plane, gateway) = (stack.control_plane_url(), stack.gateway_url());
    let (cluster, dir) = (stack.cluster().host(), stack.deployment().dir().display());
    let ca = stack.deployment().ca_cert();
    let profile = traces.profile.display();
    let document = json!({
        "control_plane_url": control_plane, "gateway_url": gateway, "cluster_url": cluster,
        "ca_cert": ca, "profile": profile_name, "data_dir": stack.deployment().dir(),
    });
    let program = program();
    let text = format!(
        r#"Postern runs on this machine, beside a simulated cluster. Ctrl-C stops it.

  Control plane   {control_plane}
  Gateway         {gateway}
  Cluster         {cluster}
  Profile         {profile_name}, in {profile}
  CA              {ca}
  Data            {dir}

In another terminal:

  eval "$({program} dev env)"
{NEXT}"#,
        ca = ca.display(),
    );
    output::print(flags.format(), &document, &text)
}

const NEXT: &str = r#"  METHOD=$(postern create-auth-method-k8s -n my-k8s-auth-method --bound-pod-names mypod1 --bound-pod-names mypod2 --bound-namespaces my-namespace-a --json)
  ACCESS_ID=$(printf %s "$METHOD" | jq -r .access_id) PRV_KEY=$(printf %s "$METHOD" | jq -r .prv_key)
  postern gateway-create-k8s-auth-config --name k8s-conf --access-id $ACCESS_ID --signing-key $PRV_KEY --k8s-host $(postern dev host) --token-reviewer-jwt $(postern dev reviewer-token) --k8s-ca-cert $(postern dev ca) --k8s-issuer $(postern dev issuer)
  postern auth --access-id $ACCESS_ID --access-type k8s --k8s-auth-config-name k8s-conf --k8s-service-account-token $(postern dev pod-token -n my-namespace-a --pod mypod1)
  postern audit list
"#;

/// As the reader's shell finds it.
fn program() -> String {
    let typed = std::env::args().next().unwrap_or_default();
    match std::env::current_exe() {
        Ok(path) if typed.contains('/') => path.display().to_string(),
        _ => "postern".to_owned(),
    }
}
