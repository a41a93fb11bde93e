//! What is taken away and from whom, on its way into the store and out.

use jiff::Timestamp;
use postern_core::access_token::Accessor;
use postern_core::facts::SubClaims;
use postern_core::resource_id::{ConfigName, GatewayName};
use postern_core::subject::{Namespace, ObjectUid, ServiceAccount, Subject};

use super::MethodRef;

/// Which tokens: those that are all of what is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TokenFilter {
    pub(crate) method: Option<MethodRef>,
    pub(crate) namespace: Option<Namespace>,
    pub(crate) service_account: Option<ServiceAccount>,
    pub(crate) service_account_uid: Option<ObjectUid>,
    pub(crate) pod_uid: Option<ObjectUid>,
}

/// Whom a block holds against, and through which K8s auth config; `None`: through any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blocked {
    pub(crate) subject: Subject,
    pub(crate) config: Option<ConfigName>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) blocked: Blocked,
    /// For people.
    pub(crate) reason: String,
    pub(crate) end_time: Option<Timestamp>,
    pub(crate) create_time: Timestamp,
    /// Of who blocked.
    pub(crate) access_id: String,
}

/// Where a page of blocks ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BlockCursor {
    pub(crate) key: String,
    pub(crate) config_uid: String,
}

/// A token that is good, as administrators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LiveToken {
    pub(crate) accessor: Accessor,
    pub(crate) kind: String,
    pub(crate) access_id: String,
    pub(crate) config: Option<ConfigName>,
    pub(crate) gateway: Option<GatewayName>,
    pub(crate) namespace: String,
    pub(crate) service_account_name: String,
    pub(crate) service_account_uid: String,
    pub(crate) pod_uid: String,
    pub(crate) sub_claims: SubClaims,
    pub(crate) issue_time: Timestamp,
    pub(crate) expire_time: Timestamp,
    pub(crate) max_expire_time: Option<Timestamp>,
}

// === impl TokenFilter ===

impl TokenFilter {
    /// Whether it is that of every token.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
