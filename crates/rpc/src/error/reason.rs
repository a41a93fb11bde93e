//! `ErrorInfo.reason`: what programs decide by.

use std::fmt;

use postern_core::subject::SubjectLimit;
use tonic::Code;

/// `ErrorInfo.domain` of every error.
pub const DOMAIN: &str = "postern";

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// The closed list of reasons. They are part of the API: add, never rename.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// All of them, in the order of the list.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// As on the wire, in upper snake case.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// `None` for a reason of a newer server.
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|reason| reason.as_str() == text)
            }
        }
    };
}

reasons! {
    /// The request is wrong; `BadRequest` lists every field.
    InvalidArgument = "INVALID_ARGUMENT",
    /// A login was refused; why stands in the audit record of the request ID.
    LoginRefused = "LOGIN_REFUSED",
    /// The call's own credential is missing, wrong or expired.
    Unauthenticated = "UNAUTHENTICATED",
    /// The token in `postern-on-behalf-of` is missing, wrong, expired or not narrowed.
    OnBehalfUnauthenticated = "ON_BEHALF_UNAUTHENTICATED",
    PermissionDenied = "PERMISSION_DENIED",
    NotFound = "NOT_FOUND",
    AlreadyExists = "ALREADY_EXISTS",
    /// Somebody else changed the resource since it was read.
    EtagMismatch = "ETAG_MISMATCH",
    /// Other resources name it.
    InUse = "IN_USE",
    /// The resource must not be deleted: its `delete_protection` is switched off first.
    DeleteProtected = "DELETE_PROTECTED",
    /// The signing key can't take the step now.
    SigningKeyState = "SIGNING_KEY_STATE",
    /// Two access keys are good already: one has to end before there is another.
    KeyLimit = "KEY_LIMIT",
    /// The stored config can't be opened by this gateway.
    SealBroken = "SEAL_BROKEN",
    /// A built-in role isn't changed.
    BuiltIn = "BUILT_IN",
    /// Nobody would be left who can administer.
    LastAdministrator = "LAST_ADMINISTRATOR",
    RateLimited = "RATE_LIMITED",
    /// This workload has logged in too often lately.
    SubjectLoginLimit = "SUBJECT_LOGIN_LIMIT",
    /// This workload has as many live tokens as it may.
    SubjectTokenLimit = "SUBJECT_TOKEN_LIMIT",
    MessageTooLarge = "MESSAGE_TOO_LARGE",
    /// The database doesn't answer.
    Database = "DATABASE",
    /// The gateway can't reach its control plane, or isn't accepted there.
    ControlPlane = "CONTROL_PLANE",
    /// The cluster's API server can't be reached.
    ClusterUnreachable = "CLUSTER_UNREACHABLE",
    /// The cluster's API server answered something that is no verdict.
    ClusterError = "CLUSTER_ERROR",
    /// The cluster's API server refused the reviewer's own credential.
    ReviewerRefused = "REVIEWER_REFUSED",
    /// The gateway's own service account can't be read, or belongs to another cluster than the config.
    GatewayServiceAccount = "GATEWAY_SERVICE_ACCOUNT",
    /// The keys that the cluster signs tokens with can't be fetched, or the last ones are too old.
    ClusterKeysUnknown = "CLUSTER_KEYS_UNKNOWN",
    /// The K8s auth config is there, and this gateway can't use it: its conditions say why.
    ConfigUnusable = "CONFIG_UNUSABLE",
    /// The gateway doesn't hold its configuration yet.
    Snapshot = "SNAPSHOT",
    Overloaded = "OVERLOADED",
    ShuttingDown = "SHUTTING_DOWN",
    Cancelled = "CANCELLED",
    DeadlineExceeded = "DEADLINE_EXCEEDED",
    Unimplemented = "UNIMPLEMENTED",
    Internal = "INTERNAL",
}

impl Reason {
    pub(crate) const fn of_limit(limit: SubjectLimit) -> Self {
        match limit {
            SubjectLimit::Logins => Self::SubjectLoginLimit,
            SubjectLimit::Tokens => Self::SubjectTokenLimit,
        }
    }

    /// The limit of one workload that it says was met.
    pub fn subject_limit(self) -> Option<SubjectLimit> {
        [SubjectLimit::Logins, SubjectLimit::Tokens]
            .into_iter()
            .find(|limit| Self::of_limit(*limit) == self)
    }

    /// For statuses that come from below our code, such as an undecodable message.
    pub(crate) fn of_code(code: Code) -> Self {
        match code {
            Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => Self::Internal,
            Code::Cancelled => Self::Cancelled,
            Code::InvalidArgument | Code::FailedPrecondition => Self::InvalidArgument,
            Code::DeadlineExceeded => Self::DeadlineExceeded,
            Code::NotFound => Self::NotFound,
            Code::AlreadyExists => Self::AlreadyExists,
            Code::PermissionDenied => Self::PermissionDenied,
            Code::ResourceExhausted => Self::RateLimited,
            Code::Aborted => Self::EtagMismatch,
            Code::OutOfRange => Self::MessageTooLarge,
            Code::Unimplemented => Self::Unimplemented,
            Code::Unavailable => Self::Overloaded,
            Code::Unauthenticated => Self::Unauthenticated,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
