//! `postern simulate`: what the policy would say about a pod that is only described.

use clap::{ArgGroup, Args};
use jiff::Timestamp;
use postern_proto::pb;
use postern_proto::pb::diagnostics_service_client::DiagnosticsServiceClient as Client;
use postern_proto::pb::simulate_authentication_request::Policy;
use prost_reflect::{DescriptorPool, DynamicMessage};
use secrecy::ExposeSecret as _;
use serde_norway::Value;

use super::explain::show;
use crate::failure::Failure;
use crate::flags::{Connection, OutputFlags, present};
use crate::session::Session;
use crate::values;

/// Say what an auth method would say about a pod that is described; issues nothing
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("policy").required(true).args(["config", "access_id", "draft_file"]))]
pub(crate) struct SimulateArgs {
    /// The policy of the auth method that this K8s auth config names
    #[arg(long, visible_alias = "k8s-auth-config-name", value_name = "NAME")]
    config: Option<String>,
    /// The policy of this auth method, which one of the gateway's configs must name
    #[arg(long, short = 'i', value_name = "ID")]
    access_id: Option<String>,
    /// An auth method that isn't stored, in YAML or JSON as `auth-method get` prints it; `-` is standard input
    #[arg(long, value_name = "FILE")]
    draft_file: Option<String>,
    /// The pod's namespace
    #[arg(long, value_name = "NAME")]
    namespace: String,
    /// Its service account
    #[arg(long, value_name = "NAME", default_value = "default")]
    service_account: String,
    /// Its name [default: a token without a pod]
    #[arg(long, value_name = "NAME")]
    pod: Option<String>,
    /// The node that it runs on
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// A label that its namespace has; repeat it for several
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',')]
    namespace_label: Vec<String>,
    /// Audience of its token [default: the API server's own]
    #[arg(long, value_name = "AUDIENCE", value_delimiter = ',')]
    audience: Vec<String>,
    /// Issuer of its token, held against the config's issuers [default: not asked]
    #[arg(long, value_name = "ISSUER")]
    issuer: Option<String>,
    /// The address that it logs in from
    #[arg(long, value_name = "ADDRESS")]
    client_ip: Option<String>,
    /// Its token is a Secret's, without an expiry
    #[arg(long)]
    legacy: bool,
    /// When its token was issued: Unix seconds, an RFC 3339 time, or a duration from now [default: now]
    #[arg(long, value_name = "TIME")]
    issued: Option<String>,
    /// When its token expires, in the same forms [default: in an hour]
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
}

pub(crate) async fn run(
    args: &SimulateArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let request = pb::SimulateAuthenticationRequest {
        policy: Some(args.policy()?),
        workload: Some(args.workload()?),
        issuer: args.issuer()?,
    };
    let administrator = Session::open(connection)?.gateway_administrator().await?;
    let response = administrator
        .call(&request, |channel, request| async move {
            Client::new(channel).simulate_authentication(request).await
        })
        .await?;
    show(flags, &response.explanation.unwrap_or_default())
}

impl SimulateArgs {
    fn policy(&self) -> Result<Policy, Failure> {
        match (&self.config, &self.access_id, &self.draft_file) {
            (Some(config), _, _) => present("--config", config).map(Policy::K8sAuthConfig),
            (_, Some(id), _) => present("--access-id", id).map(Policy::AccessId),
            (_, _, Some(file)) => draft(file).map(Policy::Draft),
            (None, None, None) => Err(Failure::usage(
                "say whose policy: --config, --access-id or --draft-file",
            )),
        }
    }

    fn issuer(&self) -> Result<String, Failure> {
        let issuer = self.issuer.as_deref();
        let issuer = issuer.map(|issuer| present("--issuer", issuer));
        issuer.transpose().map(Option::unwrap_or_default)
    }

    fn workload(&self) -> Result<pb::Facts, Failure> {
        let optional = |flag: &str, value: &Option<String>| {
            let value = value.as_deref().map(|value| present(flag, value));
            value.transpose().map(Option::unwrap_or_default)
        };
        let now = Timestamp::now();
        let time = |flag: &str, text: &Option<String>| match text {
            Some(text) => values::time(flag, text, now),
            None => Ok(None),
        };
        let labels = self.namespace_label.iter().map(|label| {
            let pair = label.split_once('=');
            pair.map(|(key, value)| (key.to_owned(), value.to_owned()))
                .ok_or_else(|| {
                    Failure::usage(format!("--namespace-label: `{label}` isn't KEY=VALUE"))
                })
        });
        Ok(pb::Facts {
            namespace: present("--namespace", &self.namespace)?,
            service_account_name: present("--service-account", &self.service_account)?,
            pod_name: optional("--pod", &self.pod)?,
            node_name: optional("--node", &self.node)?,
            client_ip: optional("--client-ip", &self.client_ip)?,
            aud: self.audience.clone(),
            legacy: self.legacy,
            issue_time: time("--issued", &self.issued)?,
            expire_time: time("--expires", &self.expires)?,
            namespace_labels: labels.collect::<Result<_, _>>()?,
            ..pb::Facts::default()
        })
    }
}

/// JSON is YAML as well.
fn draft(path: &str) -> Result<pb::AuthMethod, Failure> {
    let text = values::read("--draft-file", path)?;
    let wrong = |error: String| Failure::usage(format!("--draft-file: {error}"));
    let value: Value =
        serde_norway::from_str(text.expose_secret()).map_err(|error| wrong(error.to_string()))?;
    let json = serde_json::to_value(value).map_err(|error| wrong(error.to_string()))?;
    let pool = DescriptorPool::decode(pb::FILE_DESCRIPTOR_SET).map_err(|e| wrong(e.to_string()))?;
    let descriptor = pool
        .get_message_by_name("postern.v1.AuthMethod")
        .ok_or_else(|| wrong("unknown message".to_owned()))?;
    let message = DynamicMessage::deserialize(descriptor, json);
    let message = message.map_err(|error| wrong(error.to_string()))?;
    message
        .transcode_to()
        .map_err(|error| wrong(error.to_string()))
}
