//! What flags and their values look like, for every command alike.

use clap::{ArgMatches, Args, Command};
use postern_core::key::KeyId;
use uuid::Uuid;

use crate::failure::Failure;

/// Where the servers are and whom to trust for them.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// The control plane [env: POSTERN_CONTROL_PLANE_URL; default: https://localhost:8100]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) control_plane_url: Option<String>,
    /// The gateway [env: POSTERN_GATEWAY_URL; default: https://localhost:8000]
    #[arg(long, short = 'u', global = true, value_name = "URL")]
    pub(crate) gateway_url: Option<String>,
    /// The gateway's name, where its URL isn't the one that the control plane knows
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) gateway_name: Option<String>,
    /// PEM file of a CA to trust beside the system's [env: POSTERN_CA_CERT]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) ca_cert: Option<String>,
    /// Which profile to read [env: POSTERN_PROFILE; default: default]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// How long to keep trying, such as 30s [default: 10s]
    #[arg(long, global = true, value_name = "DURATION")]
    pub(crate) timeout: Option<String>,
    /// Say on standard error which address is used and where it came from
    #[arg(long, short = 'v', global = true)]
    pub(crate) verbose: bool,
}

/// How to print the result.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputFlags {
    /// One JSON document on standard output, and nothing else
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) json: Option<bool>,
    /// table, json or yaml
    #[arg(long, short = 'o', global = true, value_name = "FORMAT", value_enum)]
    pub(crate) output: Option<crate::output::Format>,
}

/// Lets every flag swallow what stands behind it, so that [`check_values`] can say whose value
/// is missing.
pub(crate) fn take_hyphens(command: Command) -> Command {
    command
        .mut_args(|arg| {
            let takes_value = arg.get_num_args().is_none_or(|n| n.min_values() > 0);
            let is_value = matches!(
                arg.get_action(),
                clap::ArgAction::Set | clap::ArgAction::Append
            );
            if is_value && takes_value && !arg.is_positional() {
                arg.allow_hyphen_values(true)
            } else {
                arg
            }
        })
        .mut_subcommands(take_hyphens)
}

/// The flag that lost its value to the next one, in arguments that make no sense because of it.
pub(crate) fn find_swallowed(root: &Command, arguments: &[String]) -> Option<Failure> {
    let mut path = vec![root];
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let flag = path.iter().flat_map(|command| command.get_arguments());
        if let Some(flag) = flag.into_iter().find(|flag| takes_next(flag, argument)) {
            let value = rest.next()?;
            let name = flag.get_long().map(|long| format!("--{long}"));
            let name = name.as_deref().unwrap_or(argument);
            if is_no_value(name, value) {
                return Some(swallowed(&path, name, value));
            }
        } else if let Some(command) = path.last()?.find_subcommand(argument) {
            path.push(command);
        }
    }
    None
}

fn is_named(flag: &clap::Arg, argument: &str) -> bool {
    match argument.strip_prefix("--") {
        Some(long) => flag.get_long() == Some(long),
        None => {
            argument.len() == 2
                && argument.starts_with('-')
                && flag.get_short() == argument.chars().nth(1)
        }
    }
}

fn takes_next(flag: &clap::Arg, argument: &str) -> bool {
    let named = is_named(flag, argument);
    let valued = matches!(
        flag.get_action(),
        clap::ArgAction::Set | clap::ArgAction::Append
    );
    named && valued && flag.get_num_args().is_none_or(|n| n.min_values() > 0)
}

/// `-` is standard input, for flags that name a file; a key's ID may begin with one.
fn is_no_value(flag: &str, value: &str) -> bool {
    let input = value == "-" && flag.ends_with("-file");
    let key = value.parse::<KeyId>().is_ok();
    value.starts_with('-') && !input && !key && !value.starts_with("-----BEGIN ")
}

/// Refuses values that are really the next flag, as an empty shell variable leaves them.
pub(crate) fn check_values(command: &Command, matches: &ArgMatches) -> Result<(), Failure> {
    check_below(&[command], matches)
}

fn check_below(path: &[&Command], matches: &ArgMatches) -> Result<(), Failure> {
    let Some(command) = path.last() else {
        return Ok(());
    };
    for id in matches.ids() {
        if matches.value_source(id.as_str()) != Some(clap::parser::ValueSource::CommandLine) {
            continue;
        }
        let Ok(Some(values)) = matches.try_get_raw(id.as_str()) else {
            continue;
        };
        for value in values {
            let value = value.to_string_lossy();
            let flag = flag_name(command, id.as_str());
            if is_no_value(&flag, &value) {
                return Err(swallowed(path, &flag, &value));
            }
        }
    }
    match matches.subcommand() {
        Some((name, matches)) => match command.find_subcommand(name) {
            Some(command) => check_below(&[path, &[command]].concat(), matches),
            None => Ok(()),
        },
        None => Ok(()),
    }
}

fn flag_name(command: &Command, id: &str) -> String {
    let arg = command.get_arguments().find(|arg| arg.get_id() == id);
    match arg.and_then(clap::Arg::get_long) {
        Some(long) => format!("--{long}"),
        None => id.to_owned(),
    }
}

/// A value may be a secret: only what is a flag's name, or a small number, is repeated.
fn swallowed(path: &[&Command], flag: &str, value: &str) -> Failure {
    let number = |c: char| c.is_ascii_digit() || matches!(c, '.' | 's' | 'm' | 'h' | 'd');
    if value.len() <= 8 && value[1..].starts_with(|c: char| c.is_ascii_digit()) {
        let shown = if value[1..].chars().all(number) {
            value
        } else {
            "it"
        };
        return Failure::usage(format!("{flag}: `{shown}` is negative"));
    }
    let name = value.split('=').next().unwrap_or_default();
    let mut flags = path.iter().flat_map(|command| command.get_arguments());
    let known = flags.any(|known| is_named(known, name));
    let follows = if known {
        format!("`{name}` follows it")
    } else {
        "what follows it begins with `-`".to_owned()
    };
    Failure::usage(format!(
        "{flag} has no value: {follows}. The variable behind {flag} was probably empty"
    ))
}

/// A flag whose text must not be empty.
pub(crate) fn present(flag: &str, value: &str) -> Result<String, Failure> {
    let value = value.trim();
    if value.is_empty() {
        return Err(Failure::usage(format!(
            "{flag} is empty. The variable behind {flag} was probably empty"
        )));
    }
    Ok(value.to_owned())
}

/// A flag that takes a UID of Kubernetes: a UUID in small letters.
pub(crate) fn uid(flag: &str, value: &str) -> Result<String, Failure> {
    let text = present(flag, value)?;
    let uuid = Uuid::try_parse(&text).is_ok_and(|uuid| uuid.hyphenated().to_string() == text);
    if uuid {
        return Ok(text);
    }
    Err(Failure::usage(format!(
        "{flag} is no UID: Kubernetes' are UUIDs, such as 5b7b1a3e-0000-4000-8000-000000000002"
    )))
}

/// The flag that fills a field of the API, for errors that the servers find.
pub(crate) fn of_field(field: &str) -> Option<&'static str> {
    let field = field
        .trim_start_matches("auth_method.")
        .trim_start_matches("k8s_auth_config.");
    let bare: String = {
        // `kubernetes.rules[0].pods[1]` → `kubernetes.rules.pods`
        let mut bare = String::new();
        let mut depth = 0;
        for c in field.chars() {
            match c {
                '[' => depth += 1,
                ']' => depth -= 1,
                c if depth == 0 => bare.push(c),
                _ => {}
            }
        }
        bare
    };
    Some(match bare.as_str() {
        "auth_method_id" | "k8s_auth_config_id" | "gateway_id" | "role_id" | "name" => "--name",
        "association.auth_method" => "--am-name",
        "association.role" => "--role-name",
        "association.sub_claims" => "--sub-claims",
        "role.permissions" => "--permission",
        "gateway.url" => "--url",
        "gateway.description" => "--description",
        "description" => "--description",
        "access_expire_time" => "--access-expires",
        "token_ttl" => "--jwt-ttl",
        "bound_ips" => "--bound-ips",
        "gw_bound_ips" => "--gw-bound-ips",
        "kubernetes.audiences" => "--audience",
        "kubernetes.allow_any_audience" => "--allow-any-audience",
        "token_max_ttl" => "--token-max-ttl",
        "token_num_uses" => "--token-num-uses",
        "cap_to_presented_expiry" => "--cap-to-presented-expiry",
        "token_format" => "--token-format",
        "token_audiences" => "--token-audience",
        "force_sub_claims" => "--force-sub-claims",
        "audit_logs_claims" => "--audit-logs-claims",
        "delete_protection" => "--delete-protection",
        "kubernetes.allow_legacy_tokens" => "--allow-legacy-tokens",
        "kubernetes.require_pod" => "--require-pod",
        "new_auth_method_id" => "--new-name",
        "kubernetes.single_use" => "--single-use",
        "kubernetes.revoke_with_pod" => "--revoke-with-pod",
        "kubernetes.max_presented_age" => "--max-presented-age",
        "kubernetes.max_presented_lifetime" => "--max-presented-lifetime",
        "public_key.public_key" => "--public-key",
        "public_key.expire_time" => "--expires",
        "overlap" => "--overlap",
        "key_id" => "--key-id",
        "kubernetes.rules" | "kubernetes.rules.namespaces" => "--bound-namespaces",
        "kubernetes.rules.service_accounts" => "--bound-sa-names",
        "kubernetes.rules.pods" => "--bound-pod-names",
        "kubernetes.rules.namespaced_service_accounts" => "--bound-namespaced-sa-names",
        "kubernetes.rules.nodes" => "--bound-node-names",
        "kubernetes.rules.condition" => "--condition",
        bare if bare.starts_with("kubernetes.rules.namespace_selector") => {
            "--bound-namespace-selector"
        }
        "kubernetes.rules.any_namespace" => "--any-namespace",
        "kubernetes.rules.allow_any" => "--allow-any",
        "kubernetes.public_keys.public_key" | "kubernetes.public_keys" => "--public-key",
        "access_id" => "--access-id",
        "access_key" => "--access-key-file",
        "k8s_host" => "--k8s-host",
        "k8s_ca_cert" => "--k8s-ca-cert",
        "k8s_issuers" => "--k8s-issuer",
        "disable_issuer_validation" => "--disable-issuer-validation",
        "token_exp" => "--token-exp",
        "secrets.signing_key" => "--signing-key",
        "secrets.token_reviewer_jwt" => "--token-reviewer-jwt",
        "secrets.k8s_client_key" => "--k8s-client-key",
        "secrets.rancher_api_key" => "--rancher-api-key",
        "tls_server_name" => "--tls-server-name",
        "reviewer" => "--k8s-auth-type",
        "k8s_client_certificate" => "--k8s-client-certificate",
        "cluster_api_type" => "--cluster-api-type",
        "rancher_cluster_id" => "--rancher-cluster-id",
        "mode" => "--mode",
        "jwks" => "--jwks",
        "connect_timeout" => "--connect-timeout",
        "total_timeout" => "--total-timeout",
        "pinned_cluster" => "--clear",
        "access_token" => "--token",
        "accessor" => "--accessor",
        "client_address" => "--client-address",
        "service_account_token" => "--k8s-service-account-token",
        "k8s_auth_config" => "--k8s-auth-config-name",
        _ => return None,
    })
}
