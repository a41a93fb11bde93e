//! What is asked about a token that is there, and what is said.

use std::net::IpAddr;

use jiff::Timestamp;
use postern_core::access_id::AccessId;
use postern_core::access_token::{Accessor, TokenHash};
use postern_core::auth_method::TokenMaxima;
use postern_core::facts::SubClaims;
use postern_core::resource_id::GatewayName;
use postern_core::role::{Capability, ResourcePath};

use super::Cause;

/// Where a token was shown.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shown {
    /// From where. Unknown: no list of addresses holds it.
    pub(crate) client_ip: Option<IpAddr>,
    /// The gateway that it came through, by its own credential.
    pub(crate) through: Option<GatewayName>,
}

/// A question about a token.
#[derive(Debug, Clone)]
pub(crate) struct Inspection {
    pub(crate) token: TokenHash,
    pub(crate) shown: Shown,
    pub(crate) now: Timestamp,
}

/// Whether a token may do something at a path.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) inspection: Inspection,
    pub(crate) path: ResourcePath,
    pub(crate) capability: Capability,
}

/// What a token that is good says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Introspected {
    pub(crate) accessor: Accessor,
    pub(crate) access_id: AccessId,
    pub(crate) subject: Subject,
    pub(crate) issue_time: Timestamp,
    pub(crate) expire_time: Timestamp,
    pub(crate) sub_claims: SubClaims,
    /// Their IDs.
    pub(crate) roles: Vec<String>,
}

/// Whom a token stands for, by what is never given to anybody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    Workload {
        config_uid: String,
        service_account_uid: String,
        pod_uid: Option<String>,
    },
    /// Who has the access key of the token's access ID.
    AccessKey,
}

impl Subject {
    /// As it is written, of a token of that method.
    pub(crate) fn of(&self, access_id: &AccessId) -> String {
        match self {
            Self::AccessKey => access_id.to_string(),
            Self::Workload {
                config_uid,
                service_account_uid,
                pod_uid,
            } => {
                let account = format!("k8s:{config_uid}:{service_account_uid}");
                match pod_uid {
                    Some(pod_uid) => format!("{account}:{pod_uid}"),
                    None => account,
                }
            }
        }
    }
}

/// A token by what is known of it.
#[derive(Debug, Clone)]
pub(crate) enum WhichToken {
    Hash(TokenHash),
    Accessor(Accessor),
}

/// A token that is to end now.
#[derive(Debug, Clone)]
pub(crate) struct Revocation {
    pub(crate) which: WhichToken,
    /// By its own holder, whom the cause needn't name.
    pub(crate) own: bool,
    pub(crate) cause: Cause,
}

/// A token that is to live longer, by its own holder, whom the cause needn't name.
#[derive(Debug, Clone)]
pub(crate) struct Renewal {
    pub(crate) token: TokenHash,
    pub(crate) shown: Shown,
    pub(crate) cause: Cause,
    pub(crate) maxima: TokenMaxima,
}

/// A token and its new end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prolonged {
    pub(crate) accessor: Accessor,
    pub(crate) expire_time: Timestamp,
    /// No renewal goes beyond.
    pub(crate) max_expire_time: Timestamp,
}

/// What became of a [`Renewal`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Renewed {
    Until(Prolonged),
    /// It is good, and of a kind that isn't renewed like this.
    NotRenewable,
    /// It is no good.
    Dead,
}
