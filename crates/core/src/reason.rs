//! Why a login was refused: a closed list, written to audit records and never to callers.

use std::fmt;
use std::str::FromStr;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a login was refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum DenyReason { $($(#[$doc])* $name,)* }

        impl DenyReason {
            /// All reasons.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// UPPER_SNAKE_CASE, as stored.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

reasons! {
    /// No K8s auth config of that name at this gateway.
    ConfigUnknown = "CONFIG_UNKNOWN",
    /// The config is disabled.
    ConfigDisabled = "CONFIG_DISABLED",
    /// The request's access ID isn't the config's.
    AccessIdMismatch = "ACCESS_ID_MISMATCH",
    /// The auth method doesn't exist, or isn't a Kubernetes one.
    MethodUnknown = "METHOD_UNKNOWN",
    /// The auth method is disabled.
    MethodDisabled = "METHOD_DISABLED",
    /// The auth method's access has expired.
    AccessExpired = "ACCESS_EXPIRED",
    /// The client's address is outside `bound_ips`, or unknown.
    ClientIpNotBound = "CLIENT_IP_NOT_BOUND",
    /// A claim stands twice in the presented token.
    TokenDuplicateClaim = "TOKEN_DUPLICATE_CLAIM",
    /// The presented token's `alg` isn't one that clusters sign with.
    TokenAlgorithmNotAllowed = "TOKEN_ALGORITHM_NOT_ALLOWED",
    /// The presented token's header has `crit`, `jku`, `jwk`, `x5u` or `x5c`.
    TokenHeaderNotAllowed = "TOKEN_HEADER_NOT_ALLOWED",
    /// The presented token isn't signed.
    TokenSignatureEmpty = "TOKEN_SIGNATURE_EMPTY",
    /// The presented token's `iss` is missing or none of the config's.
    TokenIssuerNotTrusted = "TOKEN_ISSUER_NOT_TRUSTED",
    /// The presented token has expired.
    TokenExpired = "TOKEN_EXPIRED",
    /// The presented token isn't valid yet.
    TokenNotYetValid = "TOKEN_NOT_YET_VALID",
    /// The presented token has no expiry and the method doesn't allow that.
    TokenWithoutExpiry = "TOKEN_WITHOUT_EXPIRY",
    /// The presented token doesn't say when it was issued, and the method limits its age or lifetime.
    TokenWithoutIssueTime = "TOKEN_WITHOUT_ISSUE_TIME",
    /// The presented token was issued longer ago than the method's `max_presented_age`.
    TokenTooOld = "TOKEN_TOO_OLD",
    /// The presented token lives longer than the method's `max_presented_lifetime`.
    TokenLifetimeTooLong = "TOKEN_LIFETIME_TOO_LONG",
    /// The method takes each token once, and this one logged in before.
    TokenUsedBefore = "TOKEN_USED_BEFORE",
    /// The method takes each token once, and the API server doesn't say which one this is.
    CredentialIdMissing = "CREDENTIAL_ID_MISSING",
    /// The method takes tokens that are bound to a pod, and this one isn't.
    PodRequired = "POD_REQUIRED",
    /// None of the method's audiences is the presented token's.
    TokenAudienceNotAccepted = "TOKEN_AUDIENCE_NOT_ACCEPTED",
    /// A claim that is read has the wrong type.
    TokenClaimMalformed = "TOKEN_CLAIM_MALFORMED",
    /// The API server says that the token isn't good.
    TokenNotAuthenticated = "TOKEN_NOT_AUTHENTICATED",
    /// The presented token names no key, or none of the cluster's.
    TokenKeyUnknown = "TOKEN_KEY_UNKNOWN",
    /// The key that the presented token names didn't sign it.
    TokenSignatureInvalid = "TOKEN_SIGNATURE_INVALID",
    /// The config verifies offline, and the method lists no audiences.
    OfflineWithoutAudiences = "OFFLINE_WITHOUT_AUDIENCES",
    /// The verified service account's namespace doesn't exist.
    NamespaceGone = "NAMESPACE_GONE",
    /// The verified service account doesn't exist, or another one has its name by now.
    ServiceAccountGone = "SERVICE_ACCOUNT_GONE",
    /// The API server confirmed none of the audiences that were asked for.
    AudienceNotConfirmed = "AUDIENCE_NOT_CONFIRMED",
    /// The reviewed user isn't a service account, or its name or UID is missing.
    NotAServiceAccount = "NOT_A_SERVICE_ACCOUNT",
    /// The token's claims name another subject than the API server does.
    TokenClaimsDiffer = "TOKEN_CLAIMS_DIFFER",
    /// No rule holds: the namespace is not bound.
    NamespaceNotBound = "NAMESPACE_NOT_BOUND",
    /// No rule holds: the service account is not bound.
    ServiceAccountNotBound = "SERVICE_ACCOUNT_NOT_BOUND",
    /// No rule holds: the pair of namespace and service account is not bound.
    NamespacedServiceAccountNotBound = "NAMESPACED_SERVICE_ACCOUNT_NOT_BOUND",
    /// No rule holds: the pod's name is not bound.
    PodNameNotBound = "POD_NAME_NOT_BOUND",
    /// No rule holds: a rule binds pods and the token isn't bound to one.
    PodMissing = "POD_MISSING",
    /// No rule holds: the node's name is not bound.
    NodeNameNotBound = "NODE_NAME_NOT_BOUND",
    /// No rule holds: a rule binds nodes and it isn't known on which one the pod runs.
    NodeMissing = "NODE_MISSING",
    /// No rule holds: the namespace's labels aren't those that a rule selects.
    NamespaceLabelsNotBound = "NAMESPACE_LABELS_NOT_BOUND",
    /// No rule holds: a rule selects by labels of the namespace that weren't read.
    NamespaceLabelsNotRead = "NAMESPACE_LABELS_NOT_READ",
    /// No rule holds: a rule's condition is false.
    ConditionNotMet = "CONDITION_NOT_MET",
    /// No rule holds: a rule's condition asks for a fact that isn't there, or can't be evaluated.
    ConditionFailed = "CONDITION_FAILED",
    /// The method has no rules.
    NoRules = "NO_RULES",
    /// An audience was asked for that the method's `token_audiences` don't list.
    TokenAudienceNotAllowed = "TOKEN_AUDIENCE_NOT_ALLOWED",
    /// With the roles and audiences that it would name, the JWT would be longer than any that is read.
    JwtTooLong = "JWT_TOO_LONG",
    /// The assertion isn't a well-formed JWS of its type.
    AssertionMalformed = "ASSERTION_MALFORMED",
    /// The assertion's `kid` is no key of the method.
    AssertionKeyUnknown = "ASSERTION_KEY_UNKNOWN",
    /// The assertion's `kid` is a key of the method that has expired.
    AssertionKeyExpired = "ASSERTION_KEY_EXPIRED",
    /// The assertion's signature is wrong.
    AssertionSignatureInvalid = "ASSERTION_SIGNATURE_INVALID",
    /// The assertion's `iss` isn't the access ID.
    AssertionIssuerMismatch = "ASSERTION_ISSUER_MISMATCH",
    /// The assertion is for another deployment.
    AssertionAudienceMismatch = "ASSERTION_AUDIENCE_MISMATCH",
    /// `iat` is more than 60 s off, or the assertion has expired or lives too long.
    AssertionStale = "ASSERTION_STALE",
    /// The assertion names another gateway than the one that presents it.
    AssertionGatewayMismatch = "ASSERTION_GATEWAY_MISMATCH",
    /// The assertion's config doesn't exist, belongs elsewhere or names another method.
    AssertionConfigMismatch = "ASSERTION_CONFIG_MISMATCH",
    /// The gateway that presents the assertion is disabled, or gone.
    GatewayDisabled = "GATEWAY_DISABLED",
    /// The gateway's address is outside `gw_bound_ips`, or unknown.
    GatewayIpNotBound = "GATEWAY_IP_NOT_BOUND",
    /// The token to renew doesn't exist, or is no good any more.
    RenewedTokenUnknown = "RENEWED_TOKEN_UNKNOWN",
    /// The token to renew is another method's, config's, service account's or pod's.
    RenewedTokenOfAnother = "RENEWED_TOKEN_OF_ANOTHER",
    /// Its pod was deleted, and the method's tokens end with their pods.
    PodDeleted = "POD_DELETED",
    /// The `jti` was used before, by other bytes or another gateway.
    AssertionReplayed = "ASSERTION_REPLAYED",
    /// The service account or the pod is blocked.
    SubjectBlocked = "SUBJECT_BLOCKED",
    /// The subject has logged in too often lately.
    SubjectLoginLimit = "SUBJECT_LOGIN_LIMIT",
    /// The subject has as many live tokens as it may.
    SubjectTokenLimit = "SUBJECT_TOKEN_LIMIT",
}

/// A text that names no reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no deny reason")]
pub struct UnknownReason(String);

impl fmt::Display for DenyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DenyReason {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.as_str() == text)
            .ok_or_else(|| UnknownReason(text.chars().take(64).collect()))
    }
}
