//! `postern-bench isolation`: logins at one cluster, alone and while another cluster is slow, hangs
//! or is dead under a flood, in turn.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use kube_sim::{Fault, KubeSim};
use postern_control_plane::SubjectLimits;
use postern_core::key::{SigningAlgorithm, SigningKey};
use postern_dev::stack::cluster_state;
use postern_dev::{Stack, StackOptions};
use postern_proto::pb::auth_service_client::AuthServiceClient;
use postern_rpc::error::Failure;
use serde::Serialize;
use tokio::task::JoinSet;
use tonic::Request;

use crate::client::{Client, Logins, channel};
use crate::deployment::{NAME, Setup};
use crate::kubernetes::ApiServer;
use crate::measured::{Series, table};
use crate::rounds::{Limits, Round, round};
use crate::tokens::{REST, Tokens};

/// How long a pod of the flood waits for its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// What the flood presents; each is rested before it is presented again, or the flood pauses.
const FLOOD_TOKENS: usize = 2_000;
/// How long a slow cluster takes for an answer.
const SLOW: Duration = Duration::from_secs(1);
/// A flood stands by then.
const SETTLING: Duration = Duration::from_millis(500);

/// Logins at one cluster, alone and while another one is slow, hangs or is dead, in one process
#[derive(Args)]
pub(crate) struct IsolationArgs {
    /// Clients at once at the cluster that works
    #[arg(long, default_value_t = 4)]
    clients: usize,
    /// Clients at once at the one that doesn't; each comes back after a second, as it is told
    #[arg(long, default_value_t = 200)]
    flood: usize,
    /// How often each kind has its turn
    #[arg(long, default_value_t = 6)]
    rounds: usize,
    /// How long a turn is
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
    /// How many service-account tokens the working cluster has given
    #[arg(long, default_value_t = 12_000)]
    tokens: usize,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// What is wrong with the other cluster.
#[derive(Clone, Copy)]
enum Other {
    Idle,
    /// It answers, after a second.
    Slow,
    Hangs,
    Dead,
}

#[derive(Serialize)]
struct Report {
    processors: usize,
    rounds: usize,
    flood: usize,
    series: Vec<Series>,
    ratios: Vec<Compared>,
}

/// Against the working cluster alone.
#[derive(Serialize)]
struct Compared {
    name: &'static str,
    p50: f64,
    p99: f64,
}

impl Other {
    const ALL: [Self; 4] = [Self::Idle, Self::Slow, Self::Hangs, Self::Dead];

    const fn name(self) -> &'static str {
        match self {
            Self::Idle => "alone",
            Self::Slow => "another is slow",
            Self::Hangs => "another hangs",
            Self::Dead => "another is dead",
        }
    }

    /// How the cluster behaves that answers at all.
    fn fault(self) -> Option<Fault> {
        match self {
            Self::Slow => Some(Fault::Delay(SLOW)),
            Self::Hangs => Some(Fault::Hang),
            Self::Idle | Self::Dead => None,
        }
    }

    const fn config(self) -> &'static str {
        match self {
            Self::Idle => NAME,
            // The same cluster, which hangs only in its own turns.
            Self::Slow | Self::Hangs => "hangs",
            Self::Dead => "dead",
        }
    }
}

pub(crate) async fn run(args: IsolationArgs) -> Result<ExitCode> {
    let sick = KubeSim::start(kube_sim::Options::default()).await?;
    sick.set_fault(Fault::Hang);
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let nobody = format!("https://{nobody}");
    let stack = Box::pin(Stack::start(StackOptions {
        api_servers: vec![sick.host().to_owned(), nobody.clone()],
        // There are few subjects here, and each logs in all the time.
        subject_limits: SubjectLimits::OFF,
        ..StackOptions::default()
    }))
    .await?;
    tokio::time::timeout(Duration::from_secs(30), stack.ready()).await?;
    let report = Box::pin(measure(&args, &stack, &sick, &nobody)).await?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        writeln!(out, "{}", report.text())?;
    }
    stack.shutdown().await?;
    Ok(if report.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn measure(
    args: &IsolationArgs,
    stack: &Stack,
    sick: &KubeSim,
    nobody: &str,
) -> Result<Report> {
    let admin = stack.admin();
    let mut works = ApiServer::of_simulator(stack.cluster_state()).await?;
    let mut hangs = ApiServer::of_simulator(cluster_state(sick)).await?;
    let (reviewer, tokens) = (works.reviewer().await?, works.mint(args.tokens).await?);
    let (sick_reviewer, flood) = (hangs.reviewer().await?, hangs.mint(FLOOD_TOKENS).await?);
    let (tokens, flood) = (
        Arc::new(Tokens::new(tokens, REST)),
        Arc::new(Tokens::new(flood, REST)),
    );
    let setup = Setup::log_in(admin).await?;
    let key = SigningKey::generate(SigningAlgorithm::Es256)?;
    let method = setup.method(&works, &key).await?;
    let config = async |other: Other, at: &ApiServer, reviewer| {
        let made = setup.config(other.config(), at, &method, &key, reviewer);
        made.await.map(drop)
    };
    config(Other::Idle, &works, &reviewer).await?;
    config(Other::Hangs, &hangs, &sick_reviewer).await?;
    nobody.clone_into(&mut hangs.endpoint.url);
    config(Other::Dead, &hangs, &sick_reviewer).await?;

    let logins = |other: Other, tokens: &Arc<Tokens>| {
        Arc::new(Logins {
            access_id: method.access_id.clone(),
            config: other.config().to_owned(),
            tokens: Arc::clone(tokens),
        })
    };
    let mut clients = Vec::with_capacity(args.clients);
    for _ in 0..args.clients {
        let channel = channel(&admin.gateway_url, &admin.ca_cert).await?;
        let works = logins(Other::Idle, &tokens);
        clients.push(Client::Login(AuthServiceClient::new(channel), works));
    }
    let limits = Limits {
        length: Duration::from_secs_f64(args.seconds),
        calls: usize::MAX,
    };
    let flooded = channel(&admin.gateway_url, &admin.ca_cert).await?;
    let mut turns: [Vec<Round>; 4] = Default::default();
    // The first turn of each warms up.
    for turn in 0..=args.rounds {
        for (other, rounds) in Other::ALL.into_iter().zip(&mut turns) {
            let mut floods = JoinSet::new();
            if let Some(fault) = other.fault() {
                sick.set_fault(fault);
            }
            if !matches!(other, Other::Idle) {
                for _ in 0..args.flood {
                    let client = AuthServiceClient::new(flooded.clone());
                    floods.spawn(pour(client, logins(other, &flood)));
                }
                tokio::time::sleep(SETTLING).await;
            }
            let done = round(&mut clients, limits).await?;
            floods.shutdown().await;
            if turn > 0 {
                rounds.push(done);
            }
        }
    }
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    Report::new(args, processors, &turns)
}

/// One pod that logs in over and over at a cluster that gives no verdict, or a late one.
async fn pour(mut client: AuthServiceClient<tonic::transport::Channel>, logins: Arc<Logins>) {
    loop {
        let mut pause = Duration::from_secs(1);
        if let Some(message) = logins.message() {
            let mut request = Request::new(message);
            request.set_timeout(PATIENCE);
            if let Err(status) = client.authenticate(request).await {
                pause = pause.max(Failure::from(status).retry_after.unwrap_or_default());
            }
        }
        tokio::time::sleep(pause).await;
    }
}

impl Report {
    fn new(args: &IsolationArgs, processors: usize, turns: &[Vec<Round>; 4]) -> Result<Self> {
        let series: Vec<Series> = Other::ALL
            .into_iter()
            .zip(turns)
            .map(|(other, rounds)| Series::new(other.name(), args.clients, rounds))
            .collect();
        let figures = |series: &Series| {
            let figures = series.figures.as_ref();
            let figures = figures.map(|figures| (figures.p50_ms, figures.p99_ms));
            let errors = series.first_error.clone().unwrap_or_default();
            figures.with_context(|| format!("{}: {errors}", series.name))
        };
        let [alone, others @ ..] = &series[..] else {
            return Err(anyhow::anyhow!("nothing was measured"));
        };
        let (p50, p99) = figures(alone)?;
        let mut ratios = Vec::new();
        for other in others {
            let (other_p50, other_p99) = figures(other)?;
            ratios.push(Compared {
                name: other.name,
                p50: other_p50 / p50,
                p99: other_p99 / p99,
            });
        }
        Ok(Self {
            processors,
            rounds: args.rounds,
            flood: args.flood,
            series,
            ratios,
        })
    }

    fn is_clean(&self) -> bool {
        self.series.iter().all(|series| series.errors == 0)
    }

    fn text(&self) -> String {
        let mut table = table(&[
            "logins at one cluster",
            "a second",
            "p50 ms",
            "p99 ms",
            "p50 / alone",
            "p99 / alone",
        ]);
        for series in &self.series {
            let Some(figures) = &series.figures else {
                continue;
            };
            let ratio = self.ratios.iter().find(|ratio| ratio.name == series.name);
            let ratio = |value: fn(&Compared) -> f64| {
                ratio.map_or(String::new(), |it| format!("{:.2}", value(it)))
            };
            table.add_row([
                series.name.to_owned(),
                format!("{:.0}", figures.per_second),
                format!("{:.2}", figures.p50_ms),
                format!("{:.2}", figures.p99_ms),
                ratio(|it| it.p50),
                ratio(|it| it.p99),
            ]);
        }
        format!(
            "{} rounds in turn, {} processors for everything, {} clients of the other cluster\n\n{table}",
            self.rounds, self.processors, self.flood
        )
    }
}
