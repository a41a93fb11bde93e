//! `postern token …`: what an access token is worth, its end, and more time for it.

pub(crate) mod check;

use clap::{Args, Subcommand};
use postern_proto::pb;
use postern_proto::pb::auth_service_client::AuthServiceClient;
use postern_proto::pb::token_service_client::TokenServiceClient as Client;
use postern_rpc::caller::BearerToken;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::token_admin;
use crate::failure::{Exit, Failure};
use crate::flags::{Connection, OutputFlags, present};
use crate::session::{Administrator, Server, Session};
use crate::{output, values};

const VARIABLE: &str = "POSTERN_TOKEN";

/// Access tokens
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Say whether a token is good, and what it says; fails when it isn't
    Introspect(IntrospectArgs),
    /// Say whether a token may do something at a path; fails when it may not
    Authorize(check::AuthorizeArgs),
    /// List tokens that are good now
    List(token_admin::ListArgs),
    /// Show a token by its accessor
    Get(token_admin::GetArgs),
    /// End a token, or all tokens that match, at once and everywhere
    Revoke(RevokeArgs),
    /// Give a token more time, up to the most that it may live; of a JWT, print the new one
    Renew(RenewArgs),
}

/// Which token.
#[derive(Debug, Args)]
struct TokenArgs {
    /// The access token, t-… [env: POSTERN_TOKEN]
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// File of the access token; `-` is standard input
    #[arg(long, value_name = "FILE")]
    token_file: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct IntrospectArgs {
    #[command(flatten)]
    token: TokenArgs,
    /// Let the token ask about itself, at its gateway, or at the URL that is said
    #[arg(long = "self")]
    own: bool,
    /// Where the token was shown, for a method with bound IPs
    #[arg(long, value_name = "ADDRESS", conflicts_with = "own")]
    client_address: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    #[command(flatten)]
    token: TokenArgs,
    /// The token's accessor, a-…, instead of the token
    #[arg(long, value_name = "ACCESSOR")]
    accessor: Option<String>,
    /// Let the token end itself, at its gateway, or at the URL that is said
    #[arg(long = "self", conflicts_with = "accessor")]
    own: bool,
    #[command(flatten)]
    all: token_admin::AllFlags,
}

#[derive(Debug, Args)]
pub(crate) struct RenewArgs {
    #[command(flatten)]
    token: TokenArgs,
    /// Of a workload's token: the auth method's access ID, p-…
    #[arg(
        long,
        short = 'i',
        value_name = "ID",
        requires = "k8s_auth_config_name"
    )]
    access_id: Option<String>,
    /// Of a workload's token: the K8s auth config's name at the gateway
    #[arg(long, value_name = "NAME", requires = "access_id")]
    k8s_auth_config_name: Option<String>,
    /// A current service-account token, as it is or in base64
    #[arg(long, value_name = "TOKEN", requires = "k8s_auth_config_name")]
    k8s_service_account_token: Option<String>,
    /// File of a current service-account token [default: the pod's mounted token]
    #[arg(long, value_name = "FILE", requires = "k8s_auth_config_name")]
    k8s_service_account_token_file: Option<String>,
}

pub(crate) async fn run(
    command: &TokenCommand,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    match command {
        TokenCommand::Introspect(args) => introspect(args, connection, flags).await,
        TokenCommand::Authorize(args) => check::authorize(args, connection, flags).await,
        TokenCommand::List(args) => token_admin::list(args, connection, flags).await,
        TokenCommand::Get(args) => token_admin::get(args, connection, flags).await,
        TokenCommand::Revoke(args) if args.all.are_given() => {
            revoke_all(args, connection, flags).await
        }
        TokenCommand::Revoke(args) => revoke(args, connection, flags).await,
        TokenCommand::Renew(args) => renew(args, connection, flags).await,
    }
}

async fn introspect(
    args: &IntrospectArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let token = args.token.read()?;
    let session = Session::open(connection)?;
    let (asker, request) = if args.own {
        let request = pb::IntrospectRequest::default();
        (by_itself(&session, connection, &token).await?, request)
    } else {
        let address = args.client_address.as_deref();
        let address = address.map(|address| present("--client-address", address));
        let request = pb::IntrospectRequest {
            token: token.expose_secret().to_owned(),
            client_address: address.transpose()?.unwrap_or_default(),
            caller_address: String::new(),
        };
        (session.administrator().await?, request)
    };
    // Not sent twice: each answer is a use.
    let answer = asker
        .change(&request, |channel, request| async move {
            Client::new(channel).introspect(request).await
        })
        .await?;
    let document = output::message("postern.v1.IntrospectResponse", &answer)?;
    output::print(flags.format(), &document, &output::describe(&document))?;
    if answer.active {
        return Ok(());
    }
    Err(Failure::new(Exit::Refused, "the token isn't good"))
}

async fn revoke_all(
    args: &RevokeArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    if args.token.is_given() || args.accessor.is_some() || args.own {
        return Err(Failure::usage(
            "one token, or all that match: say the one or the other",
        ));
    }
    token_admin::revoke(&args.all, connection, flags).await
}

async fn revoke(
    args: &RevokeArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let session = Session::open(connection)?;
    let (asker, request) = match &args.accessor {
        Some(_) if args.token.is_given() => {
            return Err(Failure::usage("--accessor and a token exclude each other"));
        }
        Some(accessor) => {
            let request = pb::RevokeRequest {
                accessor: present("--accessor", accessor)?,
                ..pb::RevokeRequest::default()
            };
            (session.administrator().await?, request)
        }
        None if args.own => {
            let token = args.token.read()?;
            let asker = by_itself(&session, connection, &token).await?;
            (asker, pb::RevokeRequest::default())
        }
        None => {
            let request = pb::RevokeRequest {
                token: args.token.read()?.expose_secret().to_owned(),
                ..pb::RevokeRequest::default()
            };
            (session.administrator().await?, request)
        }
    };
    asker
        .call(&request, |channel, request| async move {
            Client::new(channel).revoke(request).await
        })
        .await?;
    let text = "The token is worth nothing now, if it was one.";
    output::print(flags.format(), &json!({}), text)
}

async fn renew(
    args: &RenewArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let token = args.token.read()?;
    let session = Session::open(connection)?;
    let (accessor, expire_time, signed) = match &args.k8s_auth_config_name {
        Some(config) => {
            let gateway = session.gateway().await?;
            let renewed = renew_workloads(args, &gateway, config, &token).await?;
            (renewed.accessor, renewed.expire_time, renewed.access_token)
        }
        None => {
            let server = own_server(&session, connection, Home::ControlPlane).await?;
            let asker = Administrator::with(server, bearer(&token));
            let request = pb::TokenServiceRenewRequest::default();
            let renewed = asker
                .change(&request, |channel, request| async move {
                    Client::new(channel).renew(request).await
                })
                .await?;
            (renewed.accessor, renewed.expire_time, String::new())
        }
    };
    let expiration = expire_time.as_ref().and_then(values::timestamp);
    let expiration = expiration
        .ok_or_else(|| Failure::new(Exit::Unavailable, "the server's answer has no expiry"))?;
    let mut document = json!({ "accessor": accessor, "expiration": expiration.to_string() });
    let mut text = format!("The token ends at {expiration}.");
    if !signed.is_empty() {
        // As `auth` prints it. The old one ends when it says so itself.
        document["token"] = json!(signed);
        text = format!("The new token ends at {expiration}.\nToken: {signed}");
    }
    output::print(flags.format(), &document, &text)
}

async fn renew_workloads(
    args: &RenewArgs,
    gateway: &Server,
    config: &str,
    token: &SecretString,
) -> Result<pb::AuthServiceRenewResponse, Failure> {
    use pb::auth_service_renew_request::Credential;
    let access_id = args.access_id.as_deref().unwrap_or_default();
    let presented = values::pods_token(
        args.k8s_service_account_token.as_deref(),
        args.k8s_service_account_token_file.as_deref(),
    )?;
    let request = pb::AuthServiceRenewRequest {
        access_id: present("--access-id", access_id)?,
        k8s_auth_config: present("--k8s-auth-config-name", config)?,
        credential: Some(Credential::ServiceAccountToken(
            presented.expose_secret().to_owned(),
        )),
        access_token: token.expose_secret().to_owned(),
    };
    gateway
        .call(&request, |channel, request| async move {
            AuthServiceClient::new(channel).renew(request).await
        })
        .await
}

/// Which server a token is asked about at, where no address was given for it.
#[derive(Clone, Copy)]
enum Home {
    ControlPlane,
    Gateway,
}

/// The token as its own asker. A pod needs to reach its gateway only.
async fn by_itself(
    session: &Session,
    connection: &Connection,
    token: &SecretString,
) -> Result<Administrator, Failure> {
    let server = own_server(session, connection, Home::Gateway).await?;
    Ok(Administrator::with(server, bearer(token)))
}

async fn own_server(
    session: &Session,
    connection: &Connection,
    home: Home,
) -> Result<Server, Failure> {
    let urls = (&connection.control_plane_url, &connection.gateway_url);
    match (urls, home) {
        ((None, Some(_)), _)
        | ((None, None), Home::Gateway)
        | ((Some(_), Some(_)), Home::Gateway) => session.gateway().await,
        _ => session.control_plane().await,
    }
}

fn bearer(token: &SecretString) -> BearerToken {
    BearerToken::new(token.expose_secret())
}

// === impl TokenArgs ===

impl TokenArgs {
    fn is_given(&self) -> bool {
        self.token.is_some() || self.token_file.is_some()
    }

    fn read(&self) -> Result<SecretString, Failure> {
        let given = values::secret("--token", self.token.as_deref(), self.token_file.as_deref())?;
        if let Some(token) = given {
            return Ok(token);
        }
        match std::env::var(VARIABLE) {
            Ok(token) if !token.trim().is_empty() => Ok(SecretString::from(token.trim())),
            _ => Err(Failure::usage("there is no token to ask about")
                .hint(format!("give one with --token-file, or in {VARIABLE}"))),
        }
    }
}
