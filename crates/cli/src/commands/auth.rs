//! `postern auth`: a workload trades its service-account token for an access token.

use clap::Args;
use postern_proto::pb;
use postern_proto::pb::auth_service_client::AuthServiceClient;
use postern_rpc::error::{Failure as RpcFailure, Reason};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use crate::failure::{Exit, Failure};
use crate::flags::{Connection, OutputFlags, present};
use crate::session::{Server, Session};
use crate::{output, values};

/// Log in with a service-account token and print an access token
#[derive(Debug, Args)]
pub(crate) struct AuthArgs {
    /// The auth method's access ID, p-…
    #[arg(long, short = 'i', value_name = "ID")]
    access_id: String,
    /// How to prove who one is
    #[arg(long, value_name = "TYPE", default_value = "k8s")]
    access_type: String,
    /// The K8s auth config's name at the gateway
    #[arg(long, value_name = "NAME")]
    k8s_auth_config_name: String,
    /// The service-account token, as it is or in base64
    #[arg(long, value_name = "TOKEN")]
    k8s_service_account_token: Option<String>,
    /// File of the service-account token; `-` is standard input [default: the pod's mounted token]
    #[arg(long, value_name = "FILE")]
    k8s_service_account_token_file: Option<String>,
    /// Audience that a JWT is to be for [default: all that the auth method lists]
    #[arg(long, value_name = "AUDIENCE", value_delimiter = ',')]
    token_audience: Vec<String>,
}

pub(crate) async fn run(
    args: &AuthArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let access_type = present("--access-type", &args.access_type)?;
    if access_type != "k8s" {
        return Err(Failure::usage(format!(
            "--access-type: `{access_type}` is not a type that gateways take; use k8s"
        )));
    }
    let access_id = present("--access-id", &args.access_id)?;
    let config = present("--k8s-auth-config-name", &args.k8s_auth_config_name)?;
    let token = args.token()?;
    let gateway = Session::open(connection)?.gateway().await?;
    let mut result = args.log_in(&gateway, &access_id, &config, &token).await;
    if args.is_projected() && is_refusal(&result) {
        // The kubelet replaces the file while we run: an old token is worth one second look.
        let again = args.token()?;
        if again.expose_secret() != token.expose_secret() {
            result = args.log_in(&gateway, &access_id, &config, &again).await;
        }
    }
    let response = result.map_err(|failure| Failure::of_call(&gateway.label, failure))?;
    print(flags, response)
}

impl AuthArgs {
    fn token(&self) -> Result<SecretString, Failure> {
        values::pods_token(
            self.k8s_service_account_token.as_deref(),
            self.k8s_service_account_token_file.as_deref(),
        )
    }

    fn is_projected(&self) -> bool {
        let from_stdin = self.k8s_service_account_token_file.as_deref() == Some("-");
        self.k8s_service_account_token.is_none() && !from_stdin
    }

    async fn log_in(
        &self,
        gateway: &Server,
        access_id: &str,
        config: &str,
        token: &SecretString,
    ) -> Result<pb::AuthenticateResponse, RpcFailure> {
        use pb::authenticate_request::Credential;
        let request = pb::AuthenticateRequest {
            access_id: access_id.to_owned(),
            k8s_auth_config: config.to_owned(),
            credential: Some(Credential::ServiceAccountToken(
                token.expose_secret().to_owned(),
            )),
            token_audiences: self.token_audience.clone(),
        };
        gateway
            .call_as(&request, |channel, request| async move {
                AuthServiceClient::new(channel).authenticate(request).await
            })
            .await
    }
}

fn is_refusal(result: &Result<pb::AuthenticateResponse, RpcFailure>) -> bool {
    result
        .as_ref()
        .is_err_and(|failure| failure.reason == Some(Reason::LoginRefused))
}

fn print(flags: &OutputFlags, response: pb::AuthenticateResponse) -> Result<(), Failure> {
    let expiration = response
        .expire_time
        .as_ref()
        .and_then(|time| postern_proto::convert::time::from_timestamp(time).ok())
        .ok_or_else(|| Failure::new(Exit::Unavailable, "the gateway's answer has no expiry"))?;
    let document = json!({
        "token": response.access_token,
        "expiration": expiration.to_string(),
    });
    let text = format!(
        "Authentication succeeded.\nToken: {}",
        response.access_token
    );
    output::print(flags.format(), &document, &text)
}
