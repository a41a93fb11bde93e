//! The `postern` command: both servers and everything that people do with them.
#![forbid(unsafe_code)]

mod commands;
mod failure;
mod flags;
mod kube;
mod output;
mod paging;
mod profile;
mod session;
mod values;

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::Shell;
use tracing_subscriber::EnvFilter;

use commands::{
    apply, association, audit, auth, auth_method, authorization, block, configure, dev, explain,
    gateway, health, init, k8s_auth_config, logout, manifest, recover_admin, role, serve,
    signing_key, simulate, token, tour,
};
use failure::{Exit, Failure};
use flags::{Connection, OutputFlags};

/// Turns a pod's Kubernetes service-account token into a short-lived access token
#[derive(Debug, Parser)]
#[command(name = "postern", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: OutputFlags,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Auth(auth::AuthArgs),
    Configure(configure::ConfigureArgs),
    Logout(logout::LogoutArgs),
    #[command(subcommand)]
    AuthMethod(auth_method::AuthMethodCommand),
    #[command(subcommand)]
    K8sAuthConfig(k8s_auth_config::ConfigCommand),
    Doctor(k8s_auth_config::doctor::DoctorArgs),
    Explain(explain::ExplainArgs),
    Simulate(simulate::SimulateArgs),
    Apply(apply::ApplyArgs),
    #[command(subcommand)]
    Role(role::RoleCommand),
    #[command(subcommand)]
    Association(association::AssociationCommand),
    WhoCan(authorization::WhoCanArgs),
    /// List permissions, who holds them and what they are needed for
    DescribePermissions,
    /// List the sub-claims that tokens carry
    DescribeSubClaims,
    #[command(subcommand)]
    Block(block::BlockCommand),
    #[command(subcommand)]
    Unblock(block::UnblockCommand),
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    #[command(subcommand)]
    Gateway(gateway::GatewayCommand),
    #[command(subcommand)]
    SigningKey(signing_key::SigningKeyCommand),
    #[command(subcommand)]
    ControlPlane(serve::ControlPlaneCommand),
    #[command(subcommand)]
    Manifest(manifest::ManifestCommand),
    #[command(subcommand)]
    Token(token::TokenCommand),
    RecoverAdmin(recover_admin::RecoverAdminArgs),
    Health(health::HealthArgs),
    Init(init::InitArgs),
    Dev(dev::DevArgs),
    Tour(tour::TourArgs),
    /// The same as `auth-method create k8s`
    #[command(name = "create-auth-method-k8s", next_help_heading = "Tutorial")]
    CreateAuthMethodK8s(auth_method::CreateArgs),
    /// The same as `auth-method update k8s`
    #[command(name = "update-auth-method-k8s")]
    UpdateAuthMethodK8s(auth_method::UpdateArgs),
    /// The same as `auth-method create access-key`
    #[command(name = "create-auth-method-api-key", alias = "create-auth-method")]
    CreateAuthMethodApiKey(auth_method::access_key::CreateArgs),
    /// The same as `auth-method update access-key`
    #[command(name = "update-auth-method-api-key", alias = "update-auth-method")]
    UpdateAuthMethodApiKey(auth_method::access_key::UpdateArgs),
    /// The same as `auth-method rotate-access-key`
    ResetAccessKey(auth_method::access_key::RotateArgs),
    /// The same as `auth-method get`
    GetAuthMethod(auth_method::NameArgs),
    /// The same as `auth-method list`
    ListAuthMethods(auth_method::ListArgs),
    /// The same as `auth-method delete`
    DeleteAuthMethod(auth_method::DeleteArgs),
    /// The same as `k8s-auth-config create`
    #[command(name = "gateway-create-k8s-auth-config")]
    GatewayCreateK8sAuthConfig(k8s_auth_config::CreateArgs),
    /// The same as `k8s-auth-config update`
    #[command(name = "gateway-update-k8s-auth-config")]
    GatewayUpdateK8sAuthConfig(k8s_auth_config::UpdateArgs),
    /// The same as `k8s-auth-config get`
    #[command(name = "gateway-get-k8s-auth-config")]
    GatewayGetK8sAuthConfig(k8s_auth_config::NameArgs),
    /// The same as `k8s-auth-config list`
    #[command(
        name = "gateway-list-k8s-auth-config",
        alias = "gateway-list-k8s-auth-configs"
    )]
    GatewayListK8sAuthConfig(k8s_auth_config::ListArgs),
    /// The same as `k8s-auth-config delete`
    #[command(name = "gateway-delete-k8s-auth-config")]
    GatewayDeleteK8sAuthConfig(k8s_auth_config::NameArgs),
    /// The same as `role create`
    CreateRole(role::CreateArgs),
    /// The same as `role set-rule`
    SetRoleRule(role::SetRuleArgs),
    /// The same as `role delete-rule`
    DeleteRoleRule(role::DeleteRuleArgs),
    /// The same as `role get`
    GetRole(role::NameArgs),
    /// The same as `role list`
    ListRoles(role::ListArgs),
    /// The same as `role update`
    UpdateRole(role::UpdateArgs),
    /// The same as `role delete`
    DeleteRole(role::DeleteArgs),
    /// The same as `association create`
    #[command(name = "assoc-role-am", alias = "assoc-role-auth-method")]
    AssocRoleAm(association::CreateArgs),
    /// The same as `association update`
    UpdateAssoc(association::UpdateArgs),
    /// The same as `association delete`
    DeleteAssoc(association::IdArgs),
    ValidateToken(token::check::ValidateArgs),
    /// The same as `who-can`
    #[command(name = "reverse-rbac")]
    ReverseRbac(authorization::WhoCanArgs),
    /// Print a completion script for a shell
    Completion {
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Write the man pages into a folder
    Man {
        #[arg(value_name = "DIR")]
        dir: std::path::PathBuf,
    },
}

fn main() -> ExitCode {
    postern_rpc::tls::install_crypto_provider();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    match parse(&arguments).and_then(start) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::note(&failure.to_string());
            failure.exit().into()
        }
    }
}

fn parse(arguments: &[OsString]) -> Result<Cli, Failure> {
    let command = flags::take_hyphens(Cli::command());
    let matches = match command.clone().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return Err(misread(&command, arguments, &error)),
    };
    flags::check_values(&command, &matches)?;
    Cli::from_arg_matches(&matches).map_err(|error| usage(&error))
}

fn misread(command: &clap::Command, arguments: &[OsString], error: &clap::Error) -> Failure {
    if error.kind() != ErrorKind::UnknownArgument {
        return usage(error);
    }
    let arguments: Vec<String> = arguments
        .iter()
        .skip(1)
        .map(|a| a.to_string_lossy().into_owned())
        .collect();
    if let Some(failure) = flags::find_swallowed(command, &arguments) {
        return failure;
    }
    match error.get(ContextKind::InvalidArg) {
        // It may be a secret whose flag went missing.
        Some(ContextValue::String(argument)) if !argument.starts_with('-') => {
            Failure::usage("an argument belongs to no flag: put values that hold spaces in quotes")
        }
        _ => usage(error),
    }
}

/// Help and version are printed as they are; what was wrong gets our own last line.
fn usage(error: &clap::Error) -> Failure {
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => error.exit(),
        ErrorKind::InvalidValue if error.to_string().contains("none was supplied") => {
            Failure::usage(strip(error)).hint("the variable behind the flag was probably empty")
        }
        _ => Failure::usage(strip(error)),
    }
}

fn strip(error: &clap::Error) -> String {
    let text = error.to_string();
    // A token in the wrong place isn't repeated.
    let secret = |word: &&str| word.contains("eyJ") || word.contains("t-") && word.len() > 40;
    let words: Vec<&str> = text.split_whitespace().filter(secret).collect();
    let text = words
        .iter()
        .fold(text.clone(), |text, word| text.replace(word, "…"));
    text.trim_start_matches("error: ").trim_end().to_owned()
}

fn start(cli: Cli) -> Result<(), Failure> {
    log_to_stderr();
    let runtime = postern_rpc::runtime::for_server()
        .map_err(|error| Failure::new(Exit::Unavailable, format!("runtime: {error}")))?;
    runtime.block_on(Box::pin(run(cli)))
}

/// Standard output is for data and, in a control plane, for audit records.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("POSTERN_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let (c, o) = (&cli.connection, &cli.output);
    match &cli.command {
        Command::Auth(args) => auth::run(args, c, o).await,
        Command::Configure(args) => configure::run(args, c, o),
        Command::Logout(_) => logout::run(c, o),
        Command::AuthMethod(command) => auth_method::run(command, c, o).await,
        Command::K8sAuthConfig(command) => k8s_auth_config::run(command, c, o).await,
        Command::Doctor(args) => k8s_auth_config::doctor::run(args, c, o).await,
        Command::Explain(args) => explain::run(args, c, o).await,
        Command::Simulate(args) => simulate::run(args, c, o).await,
        Command::Apply(args) => apply::run(args, c, o).await,
        Command::ValidateToken(args) => token::check::validate(args, c, o).await,
        Command::Token(command) => token::run(command, c, o).await,
        Command::Block(command) => block::run(command, c, o).await,
        Command::Unblock(command) => block::lift(command, c, o).await,
        Command::Audit(command) => audit::run(command, c, o).await,
        Command::Role(command) => role::run(command, c, o).await,
        Command::Association(command) => association::run(command, c, o).await,
        Command::WhoCan(args) | Command::ReverseRbac(args) => {
            authorization::who_can(args, c, o).await
        }
        Command::DescribePermissions => authorization::describe_permissions(c, o).await,
        Command::DescribeSubClaims => authorization::describe_sub_claims(c, o).await,
        Command::CreateRole(args) => role::create(args, c, o).await,
        Command::SetRoleRule(args) => role::set_rule(args, c, o).await,
        Command::DeleteRoleRule(args) => role::delete_rule(args, c, o).await,
        Command::GetRole(args) => role::get(args, c, o).await,
        Command::ListRoles(args) => role::list(args, c, o).await,
        Command::UpdateRole(args) => role::update(args, c, o).await,
        Command::DeleteRole(args) => role::delete(args, c, o).await,
        Command::AssocRoleAm(args) => association::create(args, c, o).await,
        Command::UpdateAssoc(args) => association::update(args, c, o).await,
        Command::DeleteAssoc(args) => association::delete(args, c, o).await,
        Command::Gateway(command) => gateway::run(command, c, o).await,
        Command::SigningKey(command) => signing_key::run(command, c, o).await,
        Command::ControlPlane(command) => serve::control_plane(command, o).await,
        Command::Manifest(command) => manifest::run(command, o),
        Command::RecoverAdmin(args) => recover_admin::run(args, o).await,
        Command::Health(args) => health::run(args, c, o).await,
        Command::Init(args) => init::run(args, c, o),
        Command::Dev(args) => dev::run(args, c, o).await,
        Command::Tour(args) => tour::run(args, c, o).await,
        Command::CreateAuthMethodK8s(args) => auth_method::create(args, c, o).await,
        Command::UpdateAuthMethodK8s(args) => auth_method::update(args, c, o).await,
        Command::CreateAuthMethodApiKey(args) => auth_method::access_key::create(args, c, o).await,
        Command::UpdateAuthMethodApiKey(args) => auth_method::access_key::update(args, c, o).await,
        Command::ResetAccessKey(args) => auth_method::access_key::rotate(args, c, o).await,
        Command::GetAuthMethod(args) => auth_method::get(args, c, o).await,
        Command::ListAuthMethods(args) => auth_method::list(args, c, o).await,
        Command::DeleteAuthMethod(args) => auth_method::delete(args, c, o).await,
        Command::GatewayCreateK8sAuthConfig(args) => k8s_auth_config::create(args, c, o).await,
        Command::GatewayUpdateK8sAuthConfig(args) => k8s_auth_config::update(args, c, o).await,
        Command::GatewayGetK8sAuthConfig(args) => k8s_auth_config::get(args, c, o).await,
        Command::GatewayListK8sAuthConfig(args) => k8s_auth_config::list(args, c, o).await,
        Command::GatewayDeleteK8sAuthConfig(args) => k8s_auth_config::delete(args, c, o).await,
        Command::Completion { shell } => {
            clap_complete::generate(
                *shell,
                &mut Cli::command(),
                "postern",
                &mut std::io::stdout(),
            );
            Ok(())
        }
        Command::Man { dir } => clap_mangen::generate_to(Cli::command(), dir)
            .map_err(|error| Failure::file(dir, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        flags::take_hyphens(Cli::command()).debug_assert();
    }

    fn refused(line: &[&str]) -> String {
        let arguments: Vec<OsString> = line.iter().map(OsString::from).collect();
        parse(&arguments).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_variable_is_named_by_the_flag_that_lost_its_value() {
        let line = [
            "postern",
            "auth",
            "--access-id",
            "--k8s-auth-config-name",
            "k8s-conf",
        ];
        let error = refused(&line);
        assert!(error.contains("--access-id has no value"), "{error}");
        assert!(error.contains("probably empty"), "{error}");
        let last = refused(&[
            "postern",
            "auth",
            "--k8s-auth-config-name",
            "c",
            "--access-id",
        ]);
        assert!(
            last.contains("--access-id") && last.contains("probably empty"),
            "{last}"
        );
    }

    #[test]
    fn a_dash_is_standard_input_for_files_and_no_value_of_anything_else() {
        let line = [
            "postern",
            "k8s-auth-config",
            "update",
            "-n",
            "c",
            "--token-reviewer-jwt",
            "-",
        ];
        let error = refused(&line);
        assert!(
            error.contains("--token-reviewer-jwt has no value"),
            "{error}"
        );
        let negative = refused(&[
            "postern",
            "create-auth-method-k8s",
            "-n",
            "m",
            "--jwt-ttl=-5",
        ]);
        assert!(
            negative.contains("--jwt-ttl: `-5` is negative"),
            "{negative}"
        );
        let file = [
            "postern",
            "k8s-auth-config",
            "update",
            "-n",
            "c",
            "--token-reviewer-jwt-file",
            "-",
        ];
        let arguments: Vec<OsString> = file.iter().map(OsString::from).collect();
        assert!(parse(&arguments).is_ok());
    }

    #[test]
    fn of_what_stands_in_a_values_place_only_a_flags_name_is_repeated() {
        let line = |value| {
            [
                "postern",
                "auth",
                "--access-id",
                value,
                "--k8s-auth-config-name=c",
            ]
        };
        let known = refused(&line("--timeout"));
        assert!(known.contains("`--timeout` follows it"), "{known}");
        for secret in ["-eyJhbGciOiJSUzI1NiJ9", "--my-secret=x", "-0secret-of-mine"] {
            let error = refused(&line(secret));
            assert!(error.contains("--access-id has no value"), "{error}");
            assert!(
                !error.contains("eyJ") && !error.contains("secret"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_key_in_pem_is_a_value() {
        let pem = "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----";
        let line = [
            "postern",
            "gateway-create-k8s-auth-config",
            "--name",
            "c",
            "--signing-key",
            pem,
            "--disable-issuer-validation",
        ];
        let command = flags::take_hyphens(Cli::command());
        let matches = command.clone().try_get_matches_from(line).unwrap();
        assert!(flags::check_values(&command, &matches).is_ok());
    }

    #[test]
    fn booleans_are_bare_or_said() {
        for (flag, expected) in [
            ("--any-namespace", Some(true)),
            ("--any-namespace=true", Some(true)),
            ("--any-namespace=false", Some(false)),
        ] {
            let line = ["postern", "create-auth-method-k8s", "-n", "m", flag];
            let matches = flags::take_hyphens(Cli::command())
                .try_get_matches_from(line)
                .unwrap();
            let (_, matches) = matches.subcommand().unwrap();
            assert_eq!(matches.get_one::<bool>("any_namespace").copied(), expected);
        }
    }
}
