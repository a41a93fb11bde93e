//! Audit records: the closed list of events, and what a record says.

pub mod chain;
pub mod flood;

use std::net::IpAddr;

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::facts::{Facts, SubClaims};

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident = $text:literal $severity:ident,)*) => {
        /// What happened: the closed list of events.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum EventKind { $($(#[$doc])* $name,)* }

        impl EventKind {
            /// All events.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// As stored.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// How much it should worry an operator.
            pub const fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)* }
            }

            /// The event of that text.
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|kind| kind.as_str() == text)
            }
        }
    };
}

events! {
    /// A workload got a token.
    LoginGranted = "login.granted" Info,
    /// A workload was refused.
    LoginDenied = "login.denied" Warning,
    /// More refusals than the gateway could keep: `count` of them have no record.
    LoginDeniedOverflow = "login.denied_overflow" Warning,
    /// An administrator had a login explained; nothing was issued.
    LoginExplained = "login.explained" Info,
    /// An administrator had a login simulated; nothing was issued.
    LoginSimulated = "login.simulated" Info,
    /// A token lives longer than it would have.
    TokenRenewed = "token.renewed" Info,
    /// A token was ended before its time.
    TokenRevoked = "token.revoked" Info,
    /// A pod was deleted, and with it its tokens: so many as `count` says.
    TokensRevokedWithPod = "tokens.revoked_with_pod" Info,
    /// An administrator or a gateway got a token.
    AccessKeyGranted = "access_key.granted" Info,
    /// An access key was refused.
    AccessKeyDenied = "access_key.denied" Warning,
    /// An access-key method got another key.
    AccessKeyRotated = "access_key.rotated" Info,
    /// An access key was revoked, or given an end.
    AccessKeyRevoked = "access_key.revoked" Warning,
    /// Whoever has the database made an administrator, or let one in again.
    AdminRecovered = "admin.recovered" Warning,
    /// Refusals from more addresses than the control plane could tell apart: `count` of them have no record.
    RefusalsOverflow = "refusals.overflow" Warning,
    /// A limit turned a call away, or slowed it down; the reason names the limit.
    CallLimited = "call.limited" Warning,
    /// An administrator's call that changed nothing was answered: a read, or a write that only asked whether it would do.
    AdminCalled = "admin.called" Info,
    /// An administrator's call was refused, or a call by somebody who isn't one.
    AdminRefused = "admin.refused" Warning,
    /// First start.
    DeploymentBootstrapped = "deployment.bootstrapped" Info,
    /// An auth method was created.
    AuthMethodCreated = "auth_method.created" Info,
    /// An auth method was changed.
    AuthMethodUpdated = "auth_method.updated" Info,
    /// An auth method got another name.
    AuthMethodRenamed = "auth_method.renamed" Info,
    /// An auth method was deleted.
    AuthMethodDeleted = "auth_method.deleted" Info,
    /// A K8s auth config was created.
    ConfigCreated = "k8s_auth_config.created" Info,
    /// A K8s auth config was changed or sealed again.
    ConfigUpdated = "k8s_auth_config.updated" Info,
    /// A K8s auth config was deleted.
    ConfigDeleted = "k8s_auth_config.deleted" Info,
    /// A gateway was created.
    GatewayCreated = "gateway.created" Info,
    /// A gateway was changed, switched off or on.
    GatewayUpdated = "gateway.updated" Info,
    /// A gateway's credential got another key.
    GatewayCredentialRotated = "gateway.credential_rotated" Info,
    /// A gateway was deleted.
    GatewayDeleted = "gateway.deleted" Info,
    /// A role was created.
    RoleCreated = "role.created" Info,
    /// A role was changed.
    RoleUpdated = "role.updated" Info,
    /// A role was deleted.
    RoleDeleted = "role.deleted" Info,
    /// A role was given to an auth method's tokens.
    AssociationCreated = "association.created" Info,
    /// It was changed which of an auth method's tokens have a role.
    AssociationUpdated = "association.updated" Info,
    /// A role was taken from an auth method's tokens.
    AssociationDeleted = "association.deleted" Info,
    /// A signing key was made and published.
    SigningKeyPrepared = "signing_key.prepared" Info,
    /// A signing key began to sign; the one before it was retired.
    SigningKeyActivated = "signing_key.activated" Info,
    /// A signing key was taken out of the key set.
    SigningKeyRetired = "signing_key.retired" Warning,
    /// Tokens were taken away, all that match.
    TokensRevoked = "tokens.revoked" Info,
    /// A subject was blocked, and its tokens taken away.
    SubjectBlocked = "subject.blocked" Info,
    /// A block was lifted.
    SubjectUnblocked = "subject.unblocked" Info,
}

/// How much an event should worry an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// All is well.
    Info,
    /// Somebody was refused.
    Warning,
}

/// Which server wrote a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// The control plane.
    ControlPlane,
    /// A gateway.
    Gateway,
}

/// One audit record. Empty or absent means unknown or not concerned.
#[derive(Debug, Clone)]
pub struct Event {
    /// UUIDv7, drawn where the event happened: sorts by time, and makes a repeated report harmless.
    pub id: Uuid,
    /// When it happened.
    pub time: Timestamp,
    /// What happened.
    pub kind: EventKind,
    /// Which server wrote it.
    pub component: Component,
    /// The request that caused it.
    pub request_id: String,
    /// The gateway that it happened at or through.
    pub gateway: String,
    /// The K8s auth config's full name; `unknown` for one that doesn't exist.
    pub k8s_auth_config: String,
    /// The auth method's access ID; `unknown` for one that doesn't exist.
    pub access_id: String,
    /// Who called.
    pub caller_ip: Option<IpAddr>,
    /// What the caller says it is, cut and cleaned.
    pub user_agent: String,
    /// Of the token that was issued or used.
    pub accessor: String,
    /// When the token that was issued ends.
    pub token_expire_time: Option<Timestamp>,
    /// What it was done to.
    pub resource: String,
    /// What was verified.
    pub facts: Option<Facts>,
    /// Of a login, those that the method's `audit_logs_claims` names.
    pub sub_claims: SubClaims,
    /// A deny reason's text, or the like.
    pub reason: String,
    /// The rule that held or came nearest.
    pub rule: Option<usize>,
    /// How many alike it stands for.
    pub count: u32,
    /// The configuration revision that a write made.
    pub revision: Option<i64>,
    /// Of a write, as JSON, secrets left out.
    pub before: Option<String>,
    /// Of a write, as JSON, secrets left out.
    pub after: Option<String>,
    /// The seal that holds the record; `None`: none yet.
    pub seal: Option<i64>,
}

// === impl Event ===

impl Event {
    /// A record of `kind` with everything else empty.
    pub fn new(kind: EventKind, component: Component, time: Timestamp) -> Self {
        Self {
            id: Uuid::now_v7(),
            time,
            kind,
            component,
            request_id: String::new(),
            gateway: String::new(),
            k8s_auth_config: String::new(),
            access_id: String::new(),
            caller_ip: None,
            user_agent: String::new(),
            accessor: String::new(),
            token_expire_time: None,
            resource: String::new(),
            facts: None,
            sub_claims: SubClaims::new(),
            reason: String::new(),
            rule: None,
            count: 1,
            revision: None,
            before: None,
            after: None,
            seal: None,
        }
    }
}

// === impl Component ===

impl Component {
    /// As stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ControlPlane => "control-plane",
            Self::Gateway => "gateway",
        }
    }
}

// === impl Severity ===

impl Severity {
    /// As stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
        }
    }
}
