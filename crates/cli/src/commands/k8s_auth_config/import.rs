//! `postern k8s-auth-config import`: the reviewer and the config of a kubeconfig's cluster, in one
//! step that can be run again.
//!
//! The kubeconfig's credential is used here, against its own API server; what goes to the gateway
//! is the reviewer's.

use clap::Args;
use jiff::Timestamp;
use postern_proto::pb;
use postern_proto::pb::k8s_auth_config_service_client::K8sAuthConfigServiceClient as Client;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::{MESSAGE, full_name, read};
use crate::commands::auth_method::warn;
use crate::commands::manifest;
use crate::failure::{Exit, Failure};
use crate::flags::{Connection, OutputFlags, present};
use crate::kube::{Access, ApiServer, Applied, Reviewer, WatchesPods};
use crate::output::{self, note};
use crate::session::{Administrator, Session};
use crate::values::{self, Unit};

/// What an import changes of a config that exists.
const CHANGED: [&str; 8] = [
    "k8s_host",
    "k8s_ca_cert",
    "tls_server_name",
    "reviewer",
    "cluster_api_type",
    "k8s_issuers",
    "disable_issuer_validation",
    "access_id",
];

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The kubeconfig of an administrator of the cluster; `-` is standard input
    #[arg(long, value_name = "FILE")]
    kubeconfig: String,
    /// Which context of it [default: its current one]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// The config's name at the gateway; one that exists is updated
    #[arg(long, short = 'n', value_name = "NAME")]
    name: String,
    /// The access ID of the auth method that it serves, p-…
    #[arg(long, short = 'i', value_name = "ID")]
    access_id: Option<String>,
    /// The auth method's private key: PEM, or base64 of it
    #[arg(long, value_name = "KEY")]
    signing_key: Option<String>,
    /// File of the private key; `-` is standard input
    #[arg(long, value_name = "FILE")]
    signing_key_file: Option<String>,
    /// The API server as the gateway reaches it [default: the kubeconfig's]
    #[arg(long, value_name = "URL")]
    k8s_host: Option<String>,
    /// Issuer that tokens may come from [default: what the cluster says]
    #[arg(long, value_name = "ISSUER", value_delimiter = ',')]
    k8s_issuer: Vec<String>,
    /// Namespace of the reviewer's service account
    #[arg(long, value_name = "NAME", default_value = "default")]
    reviewer_namespace: String,
    /// Name of the reviewer's service account
    #[arg(long, value_name = "NAME", default_value = "postern-reviewer")]
    reviewer_name: String,
    /// Let the reviewer read namespaces and service accounts, as namespace selectors need
    #[arg(long)]
    with_namespaces: bool,
    /// Let the reviewer watch the pods of all namespaces, as --revoke-with-pod needs
    #[arg(long)]
    with_pods: bool,
    /// Take a reviewer's token that expires, such as 8760h [default: one of a Secret, without an expiry]
    #[arg(long, value_name = "DURATION")]
    token_duration: Option<String>,
    /// Print what would be applied and created, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// What is known of the cluster.
struct Cluster {
    host: String,
    ca: Option<String>,
    tls_server_name: Option<String>,
    issuers: Vec<String>,
}

/// A reviewer's token, and when it ends.
struct Credential {
    token: SecretString,
    expire_time: Option<Timestamp>,
}

pub(crate) async fn import(
    args: &ImportArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    present("--kubeconfig", &args.kubeconfig)?;
    let name = full_name(&args.name)?;
    let reviewer = Reviewer {
        reads_namespaces: args.with_namespaces,
        watches_pods: if args.with_pods {
            WatchesPods::All
        } else {
            WatchesPods::Nobodys
        },
        ..Reviewer::named(
            ("--reviewer-namespace", &args.reviewer_namespace),
            ("--reviewer-name", &args.reviewer_name),
        )?
    };
    let seconds = args.token_seconds()?;
    let signing_key = values::secret(
        "--signing-key",
        args.signing_key.as_deref(),
        args.signing_key_file.as_deref(),
    )?;
    let access = Access::read(&args.kubeconfig, args.context.as_deref())?;
    warn_of_loopback(args, &access);
    let api_server = ApiServer::new(&access).await?;
    if args.dry_run {
        let cluster = args.cluster(&access, &api_server).await?;
        return dry_run(args, flags, &access, &cluster, &reviewer);
    }
    // Before anything is made in the cluster: may we write here, and is all there that is needed?
    let administrator = Session::open(connection)?.gateway_administrator().await?;
    let existing = existing(&administrator, &args.name).await?;
    if existing.is_none() && (args.access_id.is_none() || signing_key.is_none()) {
        return Err(Failure::usage(format!(
            "there is no K8s auth config {} yet: give its auth method's --access-id and --signing-key",
            args.name
        )));
    }
    let cluster = args.cluster(&access, &api_server).await?;
    let applied = apply(&api_server, &reviewer, seconds.is_none()).await?;
    let credential = credential(&api_server, &reviewer, seconds).await?;
    warn_of_expiry(&credential);
    // The cluster may have taken its time, and the first session's is over.
    let administrator = Session::open(connection)?.gateway_administrator().await?;
    let secrets = pb::K8sAuthConfigSecrets {
        signing_key: signing_key.map(|key| key.expose_secret().to_owned()),
        token_reviewer_jwt: Some(credential.token.expose_secret().to_owned()),
        ..pb::K8sAuthConfigSecrets::default()
    };
    let wanted = args.config(&cluster)?;
    let (config, done) = match existing {
        None => (
            create(&administrator, args, wanted, secrets).await?,
            "created",
        ),
        Some(existing) => {
            let wanted = pb::K8sAuthConfig {
                name,
                meta: existing.meta,
                ..wanted
            };
            (
                update(&administrator, args, wanted, secrets).await?,
                "updated",
            )
        }
    };
    let document = document(&config, &applied, &credential)?;
    let url = &administrator.server.url;
    let mut lines: Vec<String> = applied
        .iter()
        .map(|(what, how)| format!("{what} {}.", how.as_str()))
        .collect();
    lines.push(format!("K8s auth config {} {done} at {url}.", args.name));
    lines.push(format!("Look at it with: postern doctor {}", args.name));
    output::print(flags.format(), &document, &lines.join("\n"))
}

impl ImportArgs {
    fn token_seconds(&self) -> Result<Option<i64>, Failure> {
        const FLAG: &str = "--token-duration";
        let Some(text) = &self.token_duration else {
            return Ok(None);
        };
        let seconds = values::duration(FLAG, text, Unit::Seconds)?.seconds;
        if seconds < 600 {
            return Err(Failure::usage(format!(
                "{FLAG}: `{text}` is less than 10 minutes, which no cluster issues"
            )));
        }
        Ok(Some(seconds))
    }

    async fn cluster(&self, access: &Access, api_server: &ApiServer) -> Result<Cluster, Failure> {
        let host = match &self.k8s_host {
            Some(host) => present("--k8s-host", host)?,
            None => access.server.to_string(),
        };
        let issuers = match self.k8s_issuer.as_slice() {
            [] => vec![api_server.issuer().await?],
            given => given
                .iter()
                .map(|issuer| present("--k8s-issuer", issuer))
                .collect::<Result<_, _>>()?,
        };
        Ok(Cluster {
            host,
            ca: access.ca.clone(),
            tls_server_name: access.tls_server_name.clone(),
            issuers,
        })
    }

    fn config(&self, cluster: &Cluster) -> Result<pb::K8sAuthConfig, Failure> {
        let access_id = self.access_id.as_deref();
        Ok(pb::K8sAuthConfig {
            access_id: access_id.map(|id| present("--access-id", id)).transpose()?,
            k8s_host: Some(cluster.host.clone()),
            k8s_ca_cert: cluster.ca.clone(),
            tls_server_name: cluster.tls_server_name.clone(),
            k8s_issuers: cluster.issuers.clone(),
            reviewer: Some(pb::ReviewerType::Token.into()),
            cluster_api_type: Some(pb::ClusterApiType::NativeK8s.into()),
            ..pb::K8sAuthConfig::default()
        })
    }
}

fn warn_of_loopback(args: &ImportArgs, access: &Access) {
    if args.k8s_host.is_none() && access.is_loopback() {
        note(&format!(
            "warning: the kubeconfig's API server is {}, which is this machine: a gateway elsewhere needs the address that it reaches the cluster at (--k8s-host)",
            access.server
        ));
    }
}

fn warn_of_expiry(credential: &Credential) {
    if let Some(end) = credential.expire_time {
        note(&format!(
            "warning: the reviewer's token expires at {end}; run this command again before that. `postern doctor` warns a week ahead"
        ));
    }
}

fn dry_run(
    args: &ImportArgs,
    flags: &OutputFlags,
    access: &Access,
    cluster: &Cluster,
    reviewer: &Reviewer,
) -> Result<(), Failure> {
    let with_secret = args.token_duration.is_none();
    let token = match &args.token_duration {
        None => format!(
            "of the Secret {}, without an expiry",
            reviewer.secret_name()
        ),
        Some(duration) => format!("asked for with a life of {duration}"),
    };
    let comments = format!(
        "Nothing was changed. In the cluster of context {}, this would be applied, and then\n\
         the K8s auth config {} created or updated with\n\
         \x20 k8s_host: {}\n  k8s_issuers: {}\n  k8s_ca_cert: {}\n  token_reviewer_jwt: {token}",
        access.context,
        args.name,
        cluster.host,
        cluster.issuers.join(", "),
        match cluster.ca {
            Some(_) => "the kubeconfig's",
            None => "none: the system's roots",
        },
    );
    manifest::print(flags, reviewer, with_secret, &comments)
}

async fn existing(
    administrator: &Administrator,
    name: &str,
) -> Result<Option<pb::K8sAuthConfig>, Failure> {
    match read(administrator, name).await {
        Ok(config) => Ok(Some(config)),
        Err(failure) if failure.exit() == Exit::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

async fn apply(
    api_server: &ApiServer,
    reviewer: &Reviewer,
    with_secret: bool,
) -> Result<Vec<(String, Applied)>, Failure> {
    let secret = with_secret.then(|| reviewer.secret());
    let mut applied = Vec::new();
    for object in reviewer.objects().into_iter().chain(secret) {
        let text = |pointer| object.manifest.pointer(pointer).and_then(Value::as_str);
        let (kind, name) = (text("/kind"), text("/metadata/name"));
        let what = format!("{} {}", kind.unwrap_or_default(), name.unwrap_or_default());
        applied.push((what, api_server.apply(&object).await?));
    }
    Ok(applied)
}

async fn credential(
    api_server: &ApiServer,
    reviewer: &Reviewer,
    seconds: Option<i64>,
) -> Result<Credential, Failure> {
    let (token, expire_time) = match seconds {
        None => (api_server.secret_token(reviewer).await?, None),
        Some(seconds) => {
            let (token, end) = api_server.request_token(reviewer, seconds).await?;
            (token, Some(end))
        }
    };
    Ok(Credential { token, expire_time })
}

async fn create(
    administrator: &Administrator,
    args: &ImportArgs,
    config: pb::K8sAuthConfig,
    secrets: pb::K8sAuthConfigSecrets,
) -> Result<pb::K8sAuthConfig, Failure> {
    let request = pb::CreateK8sAuthConfigRequest {
        parent: String::new(),
        k8s_auth_config_id: present("--name", &args.name)?,
        k8s_auth_config: Some(config),
        secrets: Some(secrets),
        validate_only: false,
    };
    let response = administrator
        .change(&request, |channel, request| async move {
            Client::new(channel).create_k8s_auth_config(request).await
        })
        .await
        .map_err(again)?;
    warn(&response.warnings);
    Ok(response.k8s_auth_config.unwrap_or_default())
}

async fn update(
    administrator: &Administrator,
    args: &ImportArgs,
    config: pb::K8sAuthConfig,
    secrets: pb::K8sAuthConfigSecrets,
) -> Result<pb::K8sAuthConfig, Failure> {
    let named = |field: &&str| *field != "access_id" || args.access_id.is_some();
    let request = pb::UpdateK8sAuthConfigRequest {
        k8s_auth_config: Some(config),
        secrets: Some(secrets),
        update_mask: Some(prost_types::FieldMask {
            paths: CHANGED
                .iter()
                .filter(|field| named(field))
                .map(|&f| f.to_owned())
                .collect(),
        }),
        validate_only: false,
    };
    let response = administrator
        .change(&request, |channel, request| async move {
            Client::new(channel).update_k8s_auth_config(request).await
        })
        .await
        .map_err(again)?;
    warn(&response.warnings);
    Ok(response.k8s_auth_config.unwrap_or_default())
}

/// The cluster's half is done by then, and harmless.
fn again(failure: Failure) -> Failure {
    failure.hint("the reviewer is there already; once this is mended, run the command again")
}

fn document(
    config: &pb::K8sAuthConfig,
    applied: &[(String, Applied)],
    credential: &Credential,
) -> Result<Value, Failure> {
    let objects: Vec<Value> = applied
        .iter()
        .map(|(what, how)| json!({ "object": what, "result": how.as_str() }))
        .collect();
    Ok(json!({
        "k8s_auth_config": output::message(MESSAGE, config)?,
        "applied": objects,
        "reviewer_expire_time": credential.expire_time.map(|end| end.to_string()),
    }))
}
