//! `postern-bench tokens`: exchanges and introspections on a database full of live tokens and on an
//! empty one, in turn, and then while expired tokens are swept; in the end all are revoked at once.

mod filled;
mod report;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use postern_dev::state::State;
use postern_proto::pb::gateway_sync_service_client::GatewaySyncServiceClient;
use postern_proto::pb::token_service_client::TokenServiceClient;

use self::filled::Filled;
use self::report::{Report, Revocation, Turns};
use crate::assertions::Assertions;
use crate::client::{Client, LiveTokens, channel};
use crate::deployment::{Postern, Setup};
use crate::kubernetes::ApiServer;
use crate::process::Server;
use crate::rounds::{Limits, Round, round};

/// What an empty database's introspections are about: there must be something.
const FEW: u64 = 1_000;
/// The control plane sweeps once a minute.
const SWEEP_COMES: Duration = Duration::from_secs(90);

/// Exchanges and introspections among many live tokens, against an empty table
#[derive(Args)]
pub(crate) struct TokensArgs {
    /// Live tokens in the full table
    #[arg(long, default_value_t = 10_000_000)]
    live: u64,
    /// Expired tokens that are swept while others log in
    #[arg(long, default_value_t = 1_000_000)]
    expired: u64,
    /// Clients at once, each with a connection of its own
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// How often each kind of call has its turn
    #[arg(long, default_value_t = 6)]
    rounds: usize,
    /// How long a turn is
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
    /// An empty PostgreSQL database, whose server gets a second one for the while
    #[arg(long, env = "POSTERN_TUTORIAL_DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: TokensArgs) -> Result<ExitCode> {
    let scratch = tempfile::Builder::new()
        .prefix("postern-bench-")
        .tempdir()?;
    let state = scratch.path().join("simulator.json");
    let path = state.to_str().context("the folder's name isn't text")?;
    let _simulator = Server::start("simulator", scratch.path(), &[path])?;
    let state = State::read(&state)?.context("no simulator")?;
    let mut api_server = ApiServer::of_simulator(state.cluster).await?;
    let second = filled::create(&args.database_url).await?;
    let measured = Box::pin(measure(&args, scratch.path(), &mut api_server, &second)).await;
    filled::drop(&args.database_url).await?;
    let report = measured?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        writeln!(out, "{}", report.text())?;
    }
    Ok(if report.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn measure(
    args: &TokensArgs,
    dir: &Path,
    api_server: &mut ApiServer,
    second: &str,
) -> Result<Report> {
    let mut empty = Side::start(dir, "empty", &args.database_url, api_server, args).await?;
    let mut full = Side::start(dir, "full", second, api_server, args).await?;
    empty.filled.add(FEW).await?;
    note(&format!("filling a table with {} live tokens", args.live));
    let begun = std::time::Instant::now();
    full.filled.add(args.live).await?;
    let fill_seconds = begun.elapsed().as_secs_f64();
    empty.connect(args, api_server, FEW).await?;
    full.connect(args, api_server, args.live).await?;
    note("warming up");
    turn(args, &mut empty, &mut full).await?;
    note("measuring");
    let mut turns = Turns::default();
    for _ in 0..args.rounds {
        turns.add(turn(args, &mut empty, &mut full).await?);
    }
    note(&format!("measuring while {} are swept", args.expired));
    full.filled.add_expired(args.live, args.expired).await?;
    let mut swept = Turns::default();
    let mut sweeps = None;
    if args.expired > 0 {
        let begun = full.filled.sweep_begins(SWEEP_COMES).await?;
        while full.filled.expired().await? > 0 {
            swept.add(turn(args, &mut empty, &mut full).await?);
        }
        sweeps = Some(begun.elapsed().as_secs_f64());
    }
    let size = full.filled.size().await?;
    note("revoking them all");
    let administrator = Setup::log_in(&full.postern.admin).await?;
    let begun = std::time::Instant::now();
    let revocation = Revocation {
        counted: administrator.revoke_all().await?,
        seconds: begun.elapsed().as_secs_f64(),
    };
    Ok(Report::new(
        args,
        size,
        fill_seconds,
        &turns,
        &swept,
        sweeps,
        revocation,
    ))
}

/// Postern on one of the databases, and who asks it.
struct Side {
    postern: Postern,
    filled: Filled,
    exchange: Vec<Client>,
    introspect: Vec<Client>,
}

impl Side {
    async fn start(
        dir: &Path,
        name: &str,
        database_url: &str,
        api_server: &mut ApiServer,
        args: &TokensArgs,
    ) -> Result<Self> {
        let dir = dir.join(name);
        std::fs::create_dir_all(&dir)?;
        let reviewer = api_server.reviewer().await?;
        Ok(Self {
            postern: Box::pin(Postern::start(&dir, database_url, api_server, &reviewer)).await?,
            filled: Filled::open(database_url).await?,
            exchange: Vec::with_capacity(args.clients),
            introspect: Vec::with_capacity(args.clients),
        })
    }

    async fn connect(
        &mut self,
        args: &TokensArgs,
        api_server: &ApiServer,
        tokens: u64,
    ) -> Result<()> {
        let assertions = Arc::new(Assertions::new(&self.postern, &api_server.namespace)?);
        let tokens = Arc::new(LiveTokens::new(tokens));
        let admin = &self.postern.admin;
        for _ in 0..args.clients {
            let to = channel(&admin.control_plane_url, &admin.ca_cert).await?;
            let client = GatewaySyncServiceClient::new(to);
            self.exchange
                .push(Client::Exchange(client, Arc::clone(&assertions)));
            let to = channel(&admin.control_plane_url, &admin.ca_cert).await?;
            let client = TokenServiceClient::new(to);
            self.introspect
                .push(Client::Introspect(client, Arc::clone(&tokens)));
        }
        Ok(())
    }
}

/// Of exchanges on the empty and the full database, then of introspections.
async fn turn(args: &TokensArgs, empty: &mut Side, full: &mut Side) -> Result<[Round; 4]> {
    let limits = Limits {
        length: Duration::from_secs_f64(args.seconds),
        calls: usize::MAX,
    };
    Ok([
        round(&mut empty.exchange, limits).await?,
        round(&mut full.exchange, limits).await?,
        round(&mut empty.introspect, limits).await?,
        round(&mut full.introspect, limits).await?,
    ])
}

fn note(text: &str) {
    // There is nobody to tell if standard error is gone.
    let _ = writeln!(std::io::stderr(), "postern-bench: {text}");
}
