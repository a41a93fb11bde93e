//! `postern manifest …`: what to apply with kubectl.

use clap::{Args, Subcommand, ValueEnum};
use postern_core::pattern::NameKind;
use serde_json::{Value, json};

use crate::failure::{Exit, Failure};
use crate::flags::OutputFlags;
use crate::kube::{Reviewer, WatchesPods, kubernetes_name};
use crate::output::{self, Format};

/// Kubernetes objects, to be applied with kubectl
#[derive(Debug, Subcommand)]
pub(crate) enum ManifestCommand {
    /// A service account that may create TokenReviews, and nothing else
    Reviewer(ReviewerArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ReviewerArgs {
    /// Namespace of the service account
    #[arg(long, value_name = "NAME", default_value = "default")]
    namespace: String,
    /// Name of the service account
    #[arg(
        long,
        short = 'n',
        value_name = "NAME",
        default_value = "postern-reviewer"
    )]
    name: String,
    /// Let it read namespaces and service accounts, as namespace selectors need
    #[arg(long)]
    with_namespaces: bool,
    /// Let it watch the pods of all namespaces, as --revoke-with-pod needs
    #[arg(long)]
    with_pods: bool,
    /// Let it watch the pods of this namespace, where the method's rules name all of theirs; repeat it for several
    #[arg(
        long,
        value_name = "NAMESPACE",
        value_delimiter = ',',
        conflicts_with = "with_pods"
    )]
    pods_of: Vec<String>,
    /// Let it read the cluster's issuer and keys, where not every service account may
    #[arg(long)]
    with_discovery: bool,
    /// Where its token comes from: a Secret, without an expiry, or `kubectl create token`
    #[arg(long, value_enum, default_value_t = TokenSource::Secret)]
    token: TokenSource,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TokenSource {
    Secret,
    TokenRequest,
}

pub(crate) fn run(command: &ManifestCommand, flags: &OutputFlags) -> Result<(), Failure> {
    let ManifestCommand::Reviewer(args) = command;
    let reviewer = Reviewer {
        reads_namespaces: args.with_namespaces,
        reads_keys: args.with_discovery,
        watches_pods: args.watches_pods()?,
        ..Reviewer::named(("--namespace", &args.namespace), ("--name", &args.name))?
    };
    let with_secret = args.token == TokenSource::Secret;
    print(
        flags,
        &reviewer,
        with_secret,
        &how_to_go_on(&reviewer, with_secret),
    )
}

impl ReviewerArgs {
    fn watches_pods(&self) -> Result<WatchesPods, Failure> {
        if self.with_pods {
            return Ok(WatchesPods::All);
        }
        let namespaces = self.pods_of.iter();
        let namespaces = namespaces.map(|name| kubernetes_name("--pods-of", name, NameKind::Label));
        Ok(WatchesPods::Of(namespaces.collect::<Result<_, _>>()?))
    }
}

/// The reviewer's objects as YAML under comments, or as one JSON `List`; kubectl takes either.
pub(crate) fn print(
    flags: &OutputFlags,
    reviewer: &Reviewer,
    with_secret: bool,
    comments: &str,
) -> Result<(), Failure> {
    let manifests = manifests(reviewer, with_secret);
    if flags.format() == Format::Json {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": manifests });
        return output::print(Format::Json, &list, "");
    }
    let comments: String = comments.lines().map(|line| format!("# {line}\n")).collect();
    let documents = manifests.iter().map(serde_norway::to_string);
    let documents: Vec<String> = documents
        .collect::<Result<_, _>>()
        .map_err(|error| Failure::new(Exit::Unavailable, error.to_string()))?;
    output::line(&format!("{comments}{}", documents.join("---\n").trim_end()))
}

pub(crate) fn manifests(reviewer: &Reviewer, with_secret: bool) -> Vec<Value> {
    let secret = with_secret.then(|| reviewer.secret());
    let objects = reviewer.objects().into_iter().chain(secret);
    objects.map(|object| object.manifest).collect()
}

fn how_to_go_on(reviewer: &Reviewer, with_secret: bool) -> String {
    let Reviewer {
        namespace, name, ..
    } = reviewer;
    let token = if with_secret {
        format!(
            "Its token doesn't expire; delete the Secret to revoke it:\n  kubectl get secret {} -n {namespace} -o 'go-template={{{{.data.token | base64decode}}}}'",
            reviewer.secret_name()
        )
    } else {
        format!(
            "Its token expires, and has to be replaced before it does (--token-reviewer-jwt):\n  kubectl create token {name} -n {namespace} --duration 8760h"
        )
    };
    format!("Apply with: kubectl apply -f -\n{token}")
}
