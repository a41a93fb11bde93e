//! `postern block …` and `postern unblock …`: who gets no token.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use postern_proto::pb;
use postern_proto::pb::blocked_subject::Subject;
use postern_proto::pb::token_admin_service_client::TokenAdminServiceClient as Client;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::flags::{self, Connection, OutputFlags, present};
use crate::session::Session;
use crate::{output, paging, values};

const MESSAGE: &str = "postern.v1.Block";

/// Refuse a service account or a pod at login, renewal and every use of its tokens
#[derive(Debug, Subcommand)]
pub(crate) enum BlockCommand {
    /// Block whoever runs under a service account
    ServiceAccount(BlockServiceAccountArgs),
    /// Block a pod
    Pod(BlockPodArgs),
    /// List blocks that haven't ended
    List,
}

/// Lift a block; tokens that it took away don't come back
#[derive(Debug, Subcommand)]
pub(crate) enum UnblockCommand {
    /// Lift the block of a service account
    ServiceAccount(ServiceAccountArgs),
    /// Lift the block of a pod
    Pod(PodArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ServiceAccountArgs {
    /// Whoever has these names, in any cluster unless a K8s auth config is said
    #[arg(value_name = "NAMESPACE/NAME", required_unless_present = "uid")]
    service_account: Option<String>,
    /// This service account, and none that is made anew under its name
    #[arg(long, value_name = "UID", conflicts_with = "service_account")]
    uid: Option<String>,
    #[command(flatten)]
    through: ThroughFlags,
}

#[derive(Debug, Args)]
pub(crate) struct PodArgs {
    /// The pod's UID, not its name
    #[arg(value_name = "UID")]
    uid: String,
    #[command(flatten)]
    through: ThroughFlags,
}

#[derive(Debug, Args)]
struct ThroughFlags {
    /// Only through this K8s auth config, gateways/GATEWAY/k8sAuthConfigs/NAME
    #[arg(long, value_name = "NAME")]
    k8s_auth_config: Option<String>,
}

#[derive(Debug, Args)]
struct TermsFlags {
    /// When it ends: a time, or a duration from now such as 24h; without it, when it is lifted
    #[arg(long, value_name = "TIME")]
    end: Option<String>,
    /// For people
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct BlockServiceAccountArgs {
    #[command(flatten)]
    subject: ServiceAccountArgs,
    #[command(flatten)]
    terms: TermsFlags,
}

#[derive(Debug, Args)]
pub(crate) struct BlockPodArgs {
    #[command(flatten)]
    subject: PodArgs,
    #[command(flatten)]
    terms: TermsFlags,
}

pub(crate) async fn run(
    command: &BlockCommand,
    connection: &Connection,
    output: &OutputFlags,
) -> Result<(), Failure> {
    match command {
        BlockCommand::ServiceAccount(args) => {
            if let Some(uid) = &args.subject.uid {
                flags::uid("--uid", uid)?;
            }
            block(args.subject.subject()?, &args.terms, connection, output).await
        }
        BlockCommand::Pod(args) => {
            flags::uid("UID", &args.subject.uid)?;
            block(args.subject.subject()?, &args.terms, connection, output).await
        }
        BlockCommand::List => list(connection, output).await,
    }
}

pub(crate) async fn lift(
    command: &UnblockCommand,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let subject = match command {
        UnblockCommand::ServiceAccount(args) => args.subject()?,
        UnblockCommand::Pod(args) => args.subject()?,
    };
    let name = named(&subject);
    let request = pb::UnblockRequest {
        subject: Some(subject),
    };
    let administrator = Session::open(connection)?.administrator().await?;
    administrator
        .change(&request, |channel, request| async move {
            Client::new(channel).unblock(request).await
        })
        .await?;
    let text = format!("{name} may log in again.");
    output::print(flags.format(), &json!({ "unblocked": name }), &text)
}

async fn block(
    subject: pb::BlockedSubject,
    terms: &TermsFlags,
    connection: &Connection,
    flags: &OutputFlags,
) -> Result<(), Failure> {
    let end = terms.end.as_deref();
    let end = end.map(|text| values::time("--end", text, Timestamp::now()));
    let name = named(&subject);
    let request = pb::BlockRequest {
        block: Some(pb::Block {
            subject: Some(subject),
            reason: terms.reason.clone(),
            end_time: end.transpose()?.flatten(),
            ..pb::Block::default()
        }),
    };
    let administrator = Session::open(connection)?.administrator().await?;
    let response = administrator
        .change(&request, |channel, request| async move {
            Client::new(channel).block(request).await
        })
        .await?;
    let count = response.revoked_tokens;
    let mut document = output::message(MESSAGE, &response.block.unwrap_or_default())?;
    document["revoked_tokens"] = count.into();
    let text = format!("{name} is blocked.\n- Tokens revoked: {count}");
    output::print(flags.format(), &document, &text)
}

async fn list(connection: &Connection, flags: &OutputFlags) -> Result<(), Failure> {
    let administrator = Session::open(connection)?.administrator().await?;
    let blocks = paging::collect(usize::MAX, async |page| {
        let request = pb::ListBlocksRequest {
            page_size: page.size,
            page_token: page.token,
        };
        let page = administrator
            .call(&request, |channel, request| async move {
                Client::new(channel).list_blocks(request).await
            })
            .await?;
        Ok((page.blocks, page.next_page_token))
    })
    .await?;
    let documents: Vec<Value> = blocks
        .iter()
        .map(|block| output::message(MESSAGE, block))
        .collect::<Result<_, _>>()?;
    let rows = blocks.iter().zip(&documents).map(row).collect();
    let headers = ["SUBJECT", "K8S AUTH CONFIG", "END", "BY", "REASON"];
    let table = output::table(&headers, rows);
    output::print(flags.format(), &json!({ "blocks": documents }), &table)
}

fn row((block, document): (&pb::Block, &Value)) -> Vec<String> {
    let subject = block.subject.clone().unwrap_or_default();
    vec![
        named(&subject),
        subject.k8s_auth_config,
        document["end_time"].as_str().unwrap_or("never").to_owned(),
        block.access_id.clone(),
        block.reason.clone(),
    ]
}

fn named(subject: &pb::BlockedSubject) -> String {
    match &subject.subject {
        Some(Subject::ServiceAccount(names)) => format!("Service account {names}"),
        Some(Subject::ServiceAccountUid(uid)) => format!("Service account with UID {uid}"),
        Some(Subject::PodUid(uid)) => format!("Pod {uid}"),
        None => "Nobody".to_owned(),
    }
}

// === impl ServiceAccountArgs ===

impl ServiceAccountArgs {
    fn subject(&self) -> Result<pb::BlockedSubject, Failure> {
        let subject = match (&self.service_account, &self.uid) {
            (_, Some(uid)) => Subject::ServiceAccountUid(present("--uid", uid)?),
            (names, None) => {
                let names = names.as_deref().unwrap_or_default();
                Subject::ServiceAccount(present("NAMESPACE/NAME", names)?)
            }
        };
        self.through.of(subject)
    }
}

// === impl PodArgs ===

impl PodArgs {
    fn subject(&self) -> Result<pb::BlockedSubject, Failure> {
        self.through.of(Subject::PodUid(present("UID", &self.uid)?))
    }
}

// === impl ThroughFlags ===

impl ThroughFlags {
    fn of(&self, subject: Subject) -> Result<pb::BlockedSubject, Failure> {
        let config = self.k8s_auth_config.as_deref();
        let config = config.map(|name| present("--k8s-auth-config", name));
        Ok(pb::BlockedSubject {
            subject: Some(subject),
            k8s_auth_config: config.transpose()?.unwrap_or_default(),
        })
    }
}
