//! `postern-bench login`: reviews (R), logins, exchanges and echoes (G), in turn.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use postern_dev::state::State;
use postern_proto::pb::auth_service_client::AuthServiceClient;
use postern_proto::pb::gateway_sync_service_client::GatewaySyncServiceClient;

use crate::assertions::Assertions;
use crate::client::{Client, Logins, channel};
use crate::database::Postgres;
use crate::deployment::{NAME, Postern};
use crate::http2::Endpoint;
use crate::kubernetes::ApiServer;
use crate::measured::{Measured, Ratio, Series};
use crate::process::{self, Group, Server};
use crate::report::{Report, Share};
use crate::rounds::{Limits, Round, count, round};
use crate::tokens::{REST, Tokens};

const NO_LIMIT: usize = usize::MAX;
/// How many calls of one client say what it takes alone, in each round.
const ALONE: usize = 150;

/// Logins, against raw TokenReviews (R) and a bare echo (G)
#[derive(Args)]
pub(crate) struct LoginArgs {
    /// Clients at once, each with a connection of its own
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// How often each kind of call has its turn
    #[arg(long, default_value_t = 6)]
    rounds: usize,
    /// How long a turn is
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
    /// How many service-account tokens there are; each rests for 11 s after it was presented
    #[arg(long, default_value_t = 24_000)]
    tokens: usize,
    /// An empty PostgreSQL database; without it a SQLite file is made
    #[arg(long, env = "POSTERN_TUTORIAL_DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// Of a throw-away cluster, one cluster and one user with all data inline; without it an API
    /// server is simulated
    #[arg(long, env = "POSTERN_TEST_KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Keep the servers' logs, in this folder
    #[arg(long)]
    keep: Option<PathBuf>,
}

pub(crate) async fn run(args: LoginArgs) -> Result<ExitCode> {
    let scratch = tempfile::Builder::new()
        .prefix("postern-bench-")
        .tempdir()?;
    let dir = args
        .keep
        .clone()
        .unwrap_or_else(|| scratch.path().to_owned());
    std::fs::create_dir_all(&dir)?;
    let (mut api_server, simulator) = match &args.kubeconfig {
        Some(path) => (ApiServer::of_kubeconfig(path).await?, None),
        None => {
            let state = dir.join("simulator.json");
            let path = state.to_str().context("the folder's name isn't text")?;
            let server = Server::start("simulator", &dir, &[path])?;
            let state = State::read(&state)?.context("no simulator")?;
            (ApiServer::of_simulator(state.cluster).await?, Some(server))
        }
    };
    let measured = Box::pin(measure(&args, &dir, &mut api_server, simulator)).await;
    api_server.clean_up().await;
    let report = measured?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        writeln!(out, "{}", report.text())?;
    }
    Ok(if report.measured.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn measure(
    args: &LoginArgs,
    dir: &std::path::Path,
    api_server: &mut ApiServer,
    simulator: Option<Server>,
) -> Result<Report> {
    note("making tokens");
    let reviewer = api_server.reviewer().await?;
    // A simulated API server remembers nothing.
    let rest = simulator.as_ref().map_or(REST, |_| Duration::ZERO);
    let tokens = Arc::new(Tokens::new(api_server.mint(args.tokens).await?, rest));
    let postgres = match &args.database_url {
        Some(url) => Some(Postgres::open(url, u32::try_from(args.clients)?).await?),
        None => None,
    };
    let sqlite = || format!("sqlite:{}", dir.join("postern.db").display());
    let database_url = args.database_url.clone().unwrap_or_else(sqlite);
    let postern = Box::pin(Postern::start(dir, &database_url, api_server, &reviewer)).await?;
    let reviews = Endpoint {
        identity: None,
        bearer: Some(reviewer),
        ..api_server.endpoint.clone()
    };
    let assertions = Arc::new(Assertions::new(&postern, &api_server.namespace)?);
    let mut bench = Bench {
        review: Vec::new(),
        login: Vec::new(),
        exchange: Vec::new(),
        echo: Vec::new(),
        groups: groups(&postern, api_server, postgres.as_ref(), simulator.as_ref()),
    };
    bench
        .connect(args, &postern, &tokens, &assertions, reviews)
        .await?;
    note("warming up");
    bench.turns(args).await?;
    note("measuring");
    let mut turns = Vec::new();
    let mut commits = Vec::new();
    for _ in 0..args.rounds {
        turns.push(bench.turns(args).await?);
        if let Some(postgres) = &postgres {
            let length = Duration::from_secs_f64(args.seconds / 3.0);
            commits.push((
                commit_round(postgres, args.clients, length).await?,
                commit_round(postgres, 1, length).await?,
            ));
        }
    }
    if let Some(postgres) = &postgres {
        postgres.clean_up().await?;
    }
    let (sign_us, verify_us) = assertions.parts()?;
    let database = postgres.map_or("SQLite, synchronous FULL".to_owned(), |p| p.name);
    let mut report = summary(args, turns, commits);
    (report.sign_us, report.verify_us) = (sign_us, verify_us);
    (report.api_server, report.database) = (api_server.name.clone(), database);
    (report.tokens, report.rest_seconds) = (tokens.len(), tokens.rest.as_secs());
    Ok(report)
}

async fn commit_round(postgres: &Postgres, clients: usize, length: Duration) -> Result<Round> {
    let commits = postgres.commits(clients, length).await?;
    Ok(Round {
        length: commits.length,
        latencies: commits.latencies,
        ..Round::default()
    })
}

/// Whose processor time is counted.
fn groups(
    postern: &Postern,
    api_server: &ApiServer,
    postgres: Option<&Postgres>,
    simulator: Option<&Server>,
) -> Vec<Group> {
    let mut groups: Vec<Group> = postern
        .servers
        .iter()
        .chain(simulator)
        .map(|server| Group {
            name: server.name().to_owned(),
            pids: vec![server.pid()],
        })
        .collect();
    if simulator.is_none()
        && let Some((_, port)) = api_server.endpoint.url.rsplit_once(':')
    {
        groups.push(Group {
            name: "kube-apiserver".to_owned(),
            pids: process::running(&["kube-apiserver", "--secure-port", port]),
        });
    }
    if let Some(postmaster) = postgres.and_then(|postgres| postgres.postmaster) {
        let mut pids = process::children(postmaster);
        pids.push(postmaster);
        groups.push(Group {
            name: "postgres".to_owned(),
            pids,
        });
    }
    groups.push(Group {
        name: "the clients".to_owned(),
        pids: vec![std::process::id()],
    });
    groups
}

/// The clients of each kind, while they rest.
struct Bench {
    review: Vec<Client>,
    login: Vec<Client>,
    exchange: Vec<Client>,
    echo: Vec<Client>,
    groups: Vec<Group>,
}

/// What each kind of call did in its turn.
struct Turns {
    review: Round,
    login: Round,
    exchange: Round,
    echo: Round,
    review_alone: Round,
    login_alone: Round,
    echo_alone: Round,
    /// Processor time of each group, in a login and in a review.
    shares: Vec<(String, Duration, Duration)>,
}

impl Bench {
    async fn connect(
        &mut self,
        args: &LoginArgs,
        postern: &Postern,
        tokens: &Arc<Tokens>,
        assertions: &Arc<Assertions>,
        reviews: Endpoint,
    ) -> Result<()> {
        let admin = &postern.admin;
        let reviews = reviews.connect().await?;
        let logins = Arc::new(Logins {
            access_id: postern.method.access_id.clone(),
            config: NAME.to_owned(),
            tokens: Arc::clone(tokens),
        });
        let echoed = Arc::new(logins.message().context("no tokens")?);
        for _ in 0..args.clients {
            let (reviews, tokens) = (reviews.clone(), Arc::clone(tokens));
            self.review.push(Client::Review(reviews, tokens));
            let gateway = channel(&admin.gateway_url, &admin.ca_cert).await?;
            let login = AuthServiceClient::new(gateway);
            self.login.push(Client::Login(login, Arc::clone(&logins)));
            let control_plane = channel(&admin.control_plane_url, &admin.ca_cert).await?;
            let exchange = GatewaySyncServiceClient::new(control_plane);
            self.exchange
                .push(Client::Exchange(exchange, Arc::clone(assertions)));
            let echo = channel(&postern.echo_url, &admin.ca_cert).await?;
            let echo = AuthServiceClient::new(echo);
            self.echo.push(Client::Echo(echo, Arc::clone(&echoed)));
        }
        Ok(())
    }

    async fn turns(&mut self, args: &LoginArgs) -> Result<Turns> {
        let limits = Limits {
            length: Duration::from_secs_f64(args.seconds),
            calls: NO_LIMIT,
        };
        let before = self.times();
        let review = round(&mut self.review, limits).await?;
        let between = self.times();
        let login = round(&mut self.login, limits).await?;
        let after = self.times();
        let names = self.groups.iter().map(|group| group.name.clone());
        let spent = |from: &[Duration], to: &[Duration], i: usize| {
            to.get(i)
                .zip(from.get(i))
                .map_or(Duration::ZERO, |(to, from)| to.saturating_sub(*from))
        };
        let shares = names.enumerate().map(|(i, name)| {
            (
                name,
                spent(&between, &after, i),
                spent(&before, &between, i),
            )
        });
        Ok(Turns {
            review,
            login,
            shares: shares.collect(),
            echo: round(&mut self.echo, limits).await?,
            exchange: round(&mut self.exchange, limits).await?,
            review_alone: alone(&mut self.review, limits).await?,
            login_alone: alone(&mut self.login, limits).await?,
            echo_alone: alone(&mut self.echo, limits).await?,
        })
    }

    fn times(&self) -> Vec<Duration> {
        self.groups.iter().map(Group::time).collect()
    }
}

/// One of the clients, and nobody else.
async fn alone(clients: &mut Vec<Client>, limits: Limits) -> Result<Round> {
    let mut one: Vec<Client> = clients.pop().into_iter().collect();
    let limits = Limits {
        calls: ALONE,
        ..limits
    };
    let round = round(&mut one, limits).await?;
    clients.append(&mut one);
    Ok(round)
}

fn summary(args: &LoginArgs, turns: Vec<Turns>, commits: Vec<(Round, Round)>) -> Report {
    let processor_time = shares(&turns);
    let mut kinds: [Vec<Round>; 7] = Default::default();
    for turn in turns {
        let rounds = [
            turn.review,
            turn.login,
            turn.exchange,
            turn.echo,
            turn.review_alone,
            turn.login_alone,
            turn.echo_alone,
        ];
        for (kind, round) in kinds.iter_mut().zip(rounds) {
            kind.push(round);
        }
    }
    let names = [
        ("review (R)", args.clients),
        ("login", args.clients),
        ("exchange alone", args.clients),
        ("echo (G)", args.clients),
        ("review (R)", 1),
        ("login", 1),
        ("echo (G)", 1),
    ];
    let mut series: Vec<Series> = names
        .iter()
        .zip(&kinds)
        .map(|((name, clients), rounds)| Series::new(name, *clients, rounds))
        .collect();
    let mut ratios = Vec::new();
    let mut added_alone_ms = None;
    if let [review, login, exchange, echo, review_alone, login_alone, _] = series.as_slice() {
        ratios.extend(Ratio::of("login / R", login, review));
        ratios.extend(Ratio::of("login / G", login, echo));
        ratios.extend(Ratio::of("exchange / G", exchange, echo));
        let medians = login_alone
            .figures
            .as_ref()
            .zip(review_alone.figures.as_ref());
        added_alone_ms = medians.map(|(login, review)| login.p50_ms - review.p50_ms);
    }
    let (many, one): (Vec<Round>, Vec<Round>) = commits.into_iter().unzip();
    if !many.is_empty() {
        series.push(Series::new("one-row commit", args.clients, &many));
        series.push(Series::new("one-row commit", 1, &one));
    }
    Report {
        api_server: String::new(),
        database: String::new(),
        processors: std::thread::available_parallelism().map_or(0, usize::from),
        rounds: args.rounds,
        round_seconds: args.seconds,
        tokens: 0,
        rest_seconds: 0,
        measured: Measured { series, ratios },
        added_alone_ms,
        sign_us: 0.0,
        verify_us: 0.0,
        processor_time,
    }
}

fn shares(turns: &[Turns]) -> Vec<Share> {
    let calls = |of: fn(&Turns) -> &Round| -> f64 {
        let calls: usize = turns.iter().map(|turn| of(turn).latencies.len()).sum();
        count(calls).max(1.0)
    };
    let (logins, reviews) = (calls(|turn| &turn.login), calls(|turn| &turn.review));
    let names = turns.first().map_or(&[][..], |turn| &turn.shares);
    let share = |i: usize, name: &String| {
        let spent = turns.iter().filter_map(|turn| turn.shares.get(i));
        let (login, review) = spent.fold((0.0, 0.0), |(login, review), (_, l, r)| {
            (login + l.as_secs_f64(), review + r.as_secs_f64())
        });
        Share {
            of: name.clone(),
            ms_per_login: login * 1000.0 / logins,
            ms_per_review: review * 1000.0 / reviews,
        }
    };
    let shares = names.iter().enumerate();
    shares.map(|(i, (name, _, _))| share(i, name)).collect()
}

fn note(text: &str) {
    // There is nobody to tell if standard error is gone.
    let _ = writeln!(std::io::stderr(), "postern-bench: {text}");
}
