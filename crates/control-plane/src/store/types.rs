//! What goes into the store and what comes out, beside the domain's own types.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use postern_core::access_id::AccessId;
use postern_core::access_token::{Accessor, TokenHash};
use postern_core::association::RequiredSubClaims;
use postern_core::audit::{Component, Event, EventKind};
use postern_core::auth_method::{AuthMethod, TokenMaxima};
use postern_core::facts::SubClaims;
use postern_core::ip::IpBlock;
use postern_core::jwt;
use postern_core::meta::Stored;
use postern_core::permission::Permissions;
use postern_core::reason::DenyReason;
use postern_core::resource_id::{GatewayName, ResourceId};
use postern_core::seal::SealKeyId;
use postern_core::sealed_config::SealedConfig;
use postern_core::subject::SubjectLimit;
use uuid::Uuid;

use super::signing::Signer;
use crate::limits::SubjectLimits;
pub(crate) type AuditSink = Arc<dyn Fn(&Event) + Send + Sync>;

/// Who caused a write, and when: what its audit record says.
#[derive(Debug, Clone)]
pub(crate) struct Cause {
    pub(crate) now: Timestamp,
    pub(crate) request_id: String,
    /// Of the administrator's auth method.
    pub(crate) access_id: String,
    /// Of the administrator's token.
    pub(crate) accessor: String,
    /// The gateway that relayed the call; empty: none.
    pub(crate) gateway: String,
    pub(crate) caller_ip: Option<IpAddr>,
    pub(crate) user_agent: String,
    /// What the administrator may do here: nobody gives away more.
    pub(crate) permissions: Permissions,
}

/// Whether a write is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intent {
    Write,
    /// Everything is checked as for a write, and nothing is kept.
    ValidateOnly,
}

/// Which version of a row a writer has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Etag {
    /// `*`: whichever is there.
    Any,
    /// The one that this revision wrote.
    Revision(i64),
}

/// Why a text is no etag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EtagError {
    #[error("is empty: send the etag that was read, or `*` to overwrite whatever is there")]
    Empty,
    #[error("is no etag: send the one that was read, or `*` to overwrite whatever is there")]
    Unknown,
}

/// What an empty database starts with.
pub(crate) struct FirstStart {
    pub(crate) deployment_id: Uuid,
    /// Of kind [`postern_core::auth_method::Kind::AccessKey`].
    pub(crate) admin: AuthMethod,
    pub(crate) admin_key: TokenHash,
    pub(crate) gateway: Gateway,
    pub(crate) gateway_key: TokenHash,
}

/// An auth method by one of its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MethodRef {
    Id(ResourceId),
    AccessId(AccessId),
}

/// An association that is to be.
pub(crate) struct NewAssociation {
    /// Drawn by the caller.
    pub(crate) uid: Uuid,
    pub(crate) auth_method: MethodRef,
    pub(crate) role: ResourceId,
    pub(crate) sub_claims: RequiredSubClaims,
}

/// Which associations are listed. Absent: any.
#[derive(Debug, Clone, Default)]
pub(crate) struct AssociationFilter {
    pub(crate) auth_method: Option<MethodRef>,
    pub(crate) role: Option<ResourceId>,
}

/// Where a page of associations ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AssociationCursor {
    pub(crate) create_time: Timestamp,
    pub(crate) uid: Uuid,
}

/// An administrator who is to get in again, or at all.
pub(crate) struct Recovery {
    /// Made where there is none of that name; one that is named by its access ID must be there.
    pub(crate) method: MethodRef,
    /// Of one that is made.
    pub(crate) new: (Uuid, AccessId),
    /// The only key from now on.
    pub(crate) key: TokenHash,
}

/// All data-plane replicas that share one name and one credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gateway {
    pub(crate) name: GatewayName,
    /// Drawn once, never reused.
    pub(crate) uid: Uuid,
    /// Where clients reach it.
    pub(crate) url: String,
    pub(crate) description: String,
    /// Its credential is refused.
    pub(crate) disabled: bool,
    /// Of its credential.
    pub(crate) access_id: AccessId,
}

/// Which gateway a credential belongs to; never taken from a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GatewayIdentity {
    pub(crate) name: GatewayName,
    pub(crate) uid: Uuid,
}

/// Which gateways' credentials are good over a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SpeaksFor {
    Any,
    Nobody,
    Only(GatewayName),
}

/// An access key presented for a token.
pub(crate) struct LogIn {
    pub(crate) access_id: AccessId,
    pub(crate) key: TokenHash,
    /// The gateway that the token is to be good at, and nowhere else.
    pub(crate) narrow_to: Option<GatewayName>,
    /// Of the token that the caller drew.
    pub(crate) token: TokenHash,
    /// Its public name, drawn by the caller too.
    pub(crate) accessor: Accessor,
    pub(crate) caller_ip: Option<IpAddr>,
    /// The gateways whose keys the caller may present.
    pub(crate) speaks_for: SpeaksFor,
    pub(crate) user_agent: String,
    pub(crate) request_id: String,
    pub(crate) now: Timestamp,
    pub(crate) maxima: TokenMaxima,
}

/// What became of a [`LogIn`]. Both are on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LoggedIn {
    Granted {
        expire_time: Timestamp,
        /// Whose credential it is; `None`: an administrator's.
        gateway: Option<GatewayName>,
    },
    Refused(KeyDenial),
}

/// Why an access key got no token: for the audit record, never for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyDenial {
    AccessIdUnknown,
    AccessKeyWrong,
    GatewayDisabled,
    MethodDisabled,
    AccessExpired,
    ClientIpNotBound,
    /// The gateway to narrow to doesn't exist.
    GatewayUnknown,
    /// Only an administrator's token can be narrowed.
    NarrowingNotAllowed,
    /// The connection's certificate isn't this gateway's.
    GatewayCertificate,
}

/// Whom a token stands for. What it stands on (method or gateway) still exists, is enabled and
/// hasn't expired.
#[derive(Debug, Clone)]
pub(crate) enum Session {
    /// Whoever came by an auth method: an administrator, or a workload. Most of those may do
    /// nothing here.
    Holder {
        access_id: AccessId,
        accessor: Accessor,
        /// What its roles let it do here.
        permissions: Permissions,
        /// Then it is good in a call that this gateway relays, and nowhere else.
        narrowed_to: Option<GatewayName>,
        /// Where a direct caller must come from.
        bound_ips: Vec<IpBlock>,
    },
    Gateway {
        identity: GatewayIdentity,
    },
}

/// An assertion presented by a gateway.
#[derive(Clone)]
pub(crate) struct Exchange {
    pub(crate) access_id: AccessId,
    /// Compact JWS.
    pub(crate) assertion: String,
    /// The caller.
    pub(crate) gateway: GatewayIdentity,
    pub(crate) gateway_ip: Option<IpAddr>,
    pub(crate) deployment: Uuid,
    /// For whom a JWT is asked to be; empty: for all that the method lists.
    pub(crate) token_audiences: Vec<String>,
    /// Of a renewal: what the JWT is stored under that its holder showed, if this control plane signed it.
    pub(crate) renewed_jwt: Option<TokenHash>,
    /// Drawn by the caller; the token's public name unless it has one already.
    pub(crate) accessor: Accessor,
    pub(crate) request_id: String,
    pub(crate) now: Timestamp,
    pub(crate) limits: SubjectLimits,
    pub(crate) maxima: TokenMaxima,
    pub(crate) signs: Signs,
}

/// What a server signs JWTs with, if it does: the keys of its own that it opens signing keys by.
pub(crate) type Signs = Option<Arc<[SealKeyId]>>;

/// What became of an [`Exchange`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Exchanged {
    /// On record.
    Granted(Granted),
    /// On record.
    Refused(DenyReason),
    /// On nobody's record: nothing was kept.
    Limited(Limited),
}

/// A login whose workload has had what it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limited {
    pub(crate) limit: SubjectLimit,
    pub(crate) retry_after: Duration,
}

/// A token that is in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) accessor: Accessor,
    pub(crate) expire_time: Timestamp,
    pub(crate) sub_claims: SubClaims,
    /// It was there before, and lives longer now.
    pub(crate) renewed: bool,
    /// `None`: it is opaque.
    pub(crate) jwt: Option<Box<Unsigned>>,
}

/// A JWT before its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unsigned {
    pub(crate) claims: jwt::Claims,
    /// The key that signs as of the exchange; `None`: there is none.
    pub(crate) signer: Option<Signer>,
}

impl Unsigned {
    /// Before the key was read.
    pub(super) fn of(claims: jwt::Claims) -> Box<Self> {
        Box::new(Self {
            claims,
            signer: None,
        })
    }
}

/// All that one gateway needs, as of one revision.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) revision: i64,
    pub(crate) methods: Vec<Stored<AuthMethod>>,
    pub(crate) configs: Vec<Stored<SealedConfig>>,
}

/// What happened after a revision.
#[derive(Debug)]
pub(crate) enum Changes {
    /// That revision is forgotten or unknown: a snapshot is needed.
    TooOld,
    Since {
        /// What is known with these changes. May be below the current one: ask again.
        revision: i64,
        changes: Vec<Change>,
    },
}

/// One row as it is now; methods stand before the configs that name them.
#[derive(Debug)]
pub(crate) enum Change {
    AuthMethod(Box<Stored<AuthMethod>>),
    Config(Box<Stored<SealedConfig>>),
    /// Full name of what is gone, or doesn't concern the gateway any more.
    Deleted(String),
}

/// Pods that a gateway found deleted.
#[derive(Debug, Clone)]
pub(crate) struct RevokePods {
    pub(crate) gateway: GatewayIdentity,
    pub(crate) config_uid: Uuid,
    pub(crate) pod_uids: BTreeSet<String>,
    pub(crate) request_id: String,
    pub(crate) now: Timestamp,
}

/// A pod that holds a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenPod {
    pub(crate) uid: String,
    pub(crate) namespace: String,
}

// === impl Cause ===

impl Cause {
    pub(super) fn caller_gone(&self) -> super::WriteError {
        super::WriteError::CallerGone {
            relayed: !self.gateway.is_empty(),
        }
    }

    pub(super) fn event(&self, kind: EventKind, resource: String) -> Event {
        Event {
            request_id: self.request_id.clone(),
            access_id: self.access_id.clone(),
            accessor: self.accessor.clone(),
            gateway: self.gateway.clone(),
            caller_ip: self.caller_ip,
            user_agent: self.user_agent.clone(),
            resource,
            ..Event::new(kind, Component::ControlPlane, self.now)
        }
    }
}

// === impl Etag ===

impl Etag {
    /// The etag of a row that this revision wrote.
    pub(crate) fn of(revision: i64) -> String {
        revision.to_string()
    }

    pub(super) fn check(self, current: i64) -> Result<(), super::WriteError> {
        match self {
            Self::Any => Ok(()),
            Self::Revision(seen) if seen == current => Ok(()),
            Self::Revision(_) => Err(super::WriteError::Stale { current }),
        }
    }
}

impl FromStr for Etag {
    type Err = EtagError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" => Err(EtagError::Empty),
            "*" => Ok(Self::Any),
            _ => text
                .parse()
                .map(Self::Revision)
                .map_err(|_| EtagError::Unknown),
        }
    }
}

// === impl SpeaksFor ===

impl SpeaksFor {
    pub(crate) fn admits(&self, gateway: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Nobody => false,
            Self::Only(name) => name.as_str() == gateway,
        }
    }
}

// === impl KeyDenial ===

impl KeyDenial {
    /// UPPER_SNAKE_CASE, as stored.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::AccessIdUnknown => "ACCESS_ID_UNKNOWN",
            Self::AccessKeyWrong => "ACCESS_KEY_WRONG",
            Self::GatewayDisabled => DenyReason::GatewayDisabled.as_str(),
            Self::MethodDisabled => DenyReason::MethodDisabled.as_str(),
            Self::AccessExpired => DenyReason::AccessExpired.as_str(),
            Self::ClientIpNotBound => DenyReason::ClientIpNotBound.as_str(),
            Self::GatewayUnknown => "GATEWAY_UNKNOWN",
            Self::NarrowingNotAllowed => "NARROWING_NOT_ALLOWED",
            Self::GatewayCertificate => "GATEWAY_CERTIFICATE",
        }
    }
}
