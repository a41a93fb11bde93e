//! What a login costs, measured against what it is made of, in one run.
#![forbid(unsafe_code)]

mod assertions;
mod client;
mod database;
mod deployment;
mod http2;
mod isolation;
mod kubernetes;
mod live;
mod login;
mod measured;
mod process;
mod report;
mod rounds;
mod serve;
mod tokens;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Measures Postern against its parts, in the same run
#[derive(Parser)]
#[command(name = "postern-bench", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Login(login::LoginArgs),
    Isolation(isolation::IsolationArgs),
    Tokens(live::TokensArgs),
    /// One of the servers that are measured
    #[command(subcommand, hide = true)]
    Serve(serve::Role),
}

fn main() -> ExitCode {
    postern_rpc::tls::install_crypto_provider();
    match start(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            // There is nobody to tell if standard error is gone.
            let _ = writeln!(std::io::stderr(), "postern-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(cli: Cli) -> anyhow::Result<ExitCode> {
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")),
        )
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let runtime = match cli.command {
        Command::Serve(_) => postern_rpc::runtime::for_server()?,
        Command::Login(_) | Command::Isolation(_) | Command::Tokens(_) => {
            tokio::runtime::Runtime::new()?
        }
    };
    match cli.command {
        Command::Login(args) => runtime.block_on(Box::pin(login::run(args))),
        Command::Isolation(args) => runtime.block_on(Box::pin(isolation::run(args))),
        Command::Tokens(args) => runtime.block_on(Box::pin(live::run(args))),
        Command::Serve(role) => {
            runtime.block_on(Box::pin(serve::run(role)))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
