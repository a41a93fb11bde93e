//! `postern apply -f FILE`: what a file says becomes so, and nothing that it doesn't say changes.

mod association;
mod auth_method;
mod document;
mod k8s_auth_config;
mod reader;
mod role;

use std::collections::BTreeSet;

use clap::Args;
use postern_proto::convert;
use prost::Message;
use prost_types::FieldMask;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};
use similar::TextDiff;

use self::document::{Document, Kind};
use crate::failure::{Exit, Failure};
use crate::flags::{Connection, OutputFlags};
use crate::output::{self, Format};
use crate::session::{Administrator, Session};

/// Make auth methods, roles, associations and K8s auth configs what a file says; fields that it doesn't name stay
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// YAML or JSON, one or several documents; `-` is standard input
    #[arg(long = "file", short = 'f', value_name = "FILE")]
    file: String,
    /// Check everything, show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Send the secrets of K8s auth configs that exist already again
    #[arg(long)]
    replace_secrets: bool,
}

/// What applies a file.
struct Run<'a> {
    args: &'a ApplyArgs,
    session: Session,
    administrator: Administrator,
    /// All that the file names, of which a dry run makes nothing.
    coming: BTreeSet<String>,
}

/// What became of a document.
struct Outcome {
    name: String,
    done: Done,
    /// What changed, as a unified diff; empty when nothing did.
    diff: String,
    /// Of a method whose keys were made here: shown this once.
    made: Option<Made>,
}

struct Made {
    access_id: String,
    private_key: SecretString,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Created,
    Changed,
    Unchanged,
    /// A dry run couldn't ask: it hangs on something that isn't there yet.
    NotChecked,
}

pub(crate) async fn run(
    args: &ApplyArgs,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let mut documents = reader::read(&args.file)?;
    // Who names another comes after it.
    documents.sort_by_key(|document| document.kind);
    let session = Session::open(connection)?;
    let run = Run {
        args,
        administrator: session.administrator().await?,
        session,
        coming: documents.iter().map(Document::full_name).collect(),
    };
    let mut outcomes = Vec::with_capacity(documents.len());
    for document in &documents {
        let outcome = run.apply(document).await;
        note_outcome(args, flags, outcome, document, &mut outcomes)?;
    }
    print(flags, &outcomes)
}

/// What was made is told at once: a private key mustn't be lost to a later document's fault.
fn note_outcome(
    args: &ApplyArgs,
    flags: &OutputFlags,
    outcome: Result<Outcome, Failure>,
    document: &Document,
    outcomes: &mut Vec<Outcome>,
) -> Result<(), Failure> {
    match outcome {
        Ok(outcome) => {
            outcomes.push(outcome);
            Ok(())
        }
        Err(failure) => {
            if !args.dry_run {
                print(flags, outcomes)?;
            }
            Err(failure.at(&document.place))
        }
    }
}

fn print(flags: &OutputFlags, outcomes: &[Outcome]) -> Result<(), Failure> {
    if outcomes.is_empty() {
        return Ok(());
    }
    let documents: Vec<Value> = outcomes.iter().map(Outcome::document).collect();
    let lines: Vec<String> = outcomes.iter().map(Outcome::text).collect();
    let text = match flags.format() {
        Format::Table => lines.join("\n"),
        Format::Json | Format::Yaml => String::new(),
    };
    output::print(flags.format(), &json!({ "results": documents }), &text)
}

/// The fields that a document names, as a mask: so that one that is named and empty is emptied.
fn mask(body: &Map<String, Value>) -> FieldMask {
    let mut paths = Vec::new();
    for (name, value) in body {
        match value {
            Value::Object(inner) if name == "kubernetes" => {
                paths.extend(inner.keys().map(|inner| format!("{name}.{inner}")));
            }
            _ => paths.push(name.clone()),
        }
    }
    FieldMask { paths }
}

/// What differs between two states of a resource, as people read it.
fn difference(
    name: &str,
    before: Option<&Value>,
    after: &Value,
    hidden: &[&str],
) -> Result<String, Failure> {
    let before = before.map(|value| shown(value, hidden)).transpose()?;
    let after = shown(after, hidden)?;
    let diff = TextDiff::from_lines(before.as_deref().unwrap_or_default(), &after);
    let header = (format!("{name} (now)"), format!("{name} (then)"));
    Ok(diff.unified_diff().header(&header.0, &header.1).to_string())
}

fn shown(value: &Value, hidden: &[&str]) -> Result<String, Failure> {
    let mut value = value.clone();
    if let Value::Object(map) = &mut value {
        map.retain(|name, _| !hidden.contains(&name.as_str()));
    }
    serde_norway::to_string(&value)
        .map_err(|error| Failure::new(Exit::Unavailable, error.to_string()))
}

// === impl Run ===

impl Run<'_> {
    async fn apply(&self, document: &Document) -> Result<Outcome, Failure> {
        match document.kind {
            Kind::AuthMethod => auth_method::apply(self, document).await,
            Kind::Role => role::apply(self, document).await,
            Kind::Association => association::apply(self, document).await,
            Kind::K8sAuthConfig => {
                let gateway = self.session.gateway_administrator().await?;
                k8s_auth_config::apply(self, &gateway, document).await
            }
        }
    }

    /// Asks what an update would change, and has it done where that is anything. `send` is told whether
    /// to validate only.
    async fn update<M: Message>(
        &self,
        document: &Document,
        current: &M,
        mut send: impl AsyncFnMut(bool) -> Result<M, Failure>,
    ) -> Result<Outcome, Failure> {
        if document.body.is_empty() {
            return Outcome::new(document, Done::Unchanged, Some(current), current);
        }
        let would = Outcome::new(document, Done::Changed, Some(current), &send(true).await?)?;
        if would.diff.is_empty() {
            let done = Done::Unchanged;
            return Ok(Outcome { done, ..would });
        }
        if !self.args.dry_run {
            send(false).await?;
        }
        Ok(would)
    }

    /// What is there; `None`: nothing yet, in a dry run of a file that makes it.
    fn found<T>(&self, found: Result<T, Failure>, full_name: &str) -> Result<Option<T>, Failure> {
        let comes = || self.args.dry_run && self.coming.contains(full_name);
        match found {
            Ok(found) => Ok(Some(found)),
            Err(failure) if failure.exit() == Exit::NotFound && comes() => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}

// === impl Done ===

impl Done {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::NotChecked => "not checked",
        }
    }
}

// === impl Outcome ===

impl Outcome {
    /// What differs between two states of what the document is about.
    fn new<M: Message>(
        document: &Document,
        done: Done,
        before: Option<&M>,
        after: &M,
    ) -> Result<Self, Failure> {
        let kind = document.kind;
        let state = |state: &M| output::message(&kind.message(), state);
        let before = before.map(state).transpose()?;
        let name = document.full_name();
        Ok(Self {
            diff: difference(&name, before.as_ref(), &state(after)?, kind.output_only())?,
            name,
            done,
            made: None,
        })
    }

    fn not_checked(document: &Document) -> Self {
        Self {
            name: document.full_name(),
            done: Done::NotChecked,
            diff: String::new(),
            made: None,
        }
    }

    fn document(&self) -> Value {
        let mut document = json!({
            "name": self.name,
            "result": self.done.as_str().replace(' ', "_"),
            "diff": self.diff,
        });
        if let Some(made) = &self.made {
            document["access_id"] = Value::from(made.access_id.as_str());
            document["prv_key"] = Value::from(made.private_key.expose_secret());
        }
        document
    }

    fn text(&self) -> String {
        let mut text = format!("{} {}", self.name, self.done.as_str());
        if !self.diff.is_empty() {
            text = format!("{text}\n{}", self.diff.trim_end());
        }
        if let Some(made) = &self.made {
            text = format!(
                "{text}\n- Access ID: {}\n- Private key (shown this once): {}",
                made.access_id,
                made.private_key.expose_secret()
            );
        }
        text
    }
}

/// A duration as the API's JSON has it, from that or from such as `15m`.
fn duration(text: &str) -> Option<String> {
    let duration: jiff::SignedDuration = text.parse().ok()?;
    let wire = convert::time::duration(duration);
    let fraction = format!(".{:09}", wire.nanos.unsigned_abs());
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    Some(format!("{}{fraction}s", wire.seconds))
}
