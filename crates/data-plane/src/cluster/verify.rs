//! One verification, in the way that the config's mode says.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use postern_core::clock::Clock;
use postern_core::facts::{Facts, VerificationMode};
use postern_core::k8s_auth_config::K8sAuthConfig;
use postern_core::reason::DenyReason;
use postern_rpc::deadline::Deadline;
use tokio::time::Instant;

use super::connection::Connection;
use super::fault::ReviewFault;
use super::jwks::{Keys, KeysFault};
use super::objects::Reader;
use super::review::{Reviewed, Verdict};
use super::{Cluster, offline};
use crate::metrics::ClusterMetrics;
use crate::presented_token::PresentedToken;

/// What a mode verifies with.
pub(super) enum Means {
    Review,
    Offline(Keys),
    JwksThenReview(Keys),
}

/// Why there are no facts.
enum Stop {
    No(DenyReason),
    Fault(ReviewFault),
}

// === impl Means ===

impl Means {
    /// Begins to ask the cluster for its keys, where the mode needs them and none were given.
    pub(super) fn of(
        config: &K8sAuthConfig,
        connection: &Arc<Connection>,
        metrics: &ClusterMetrics,
        clock: &Clock,
    ) -> Self {
        let keys = || match &config.jwks {
            Some(given) => Keys::Given(Arc::clone(given)),
            None => {
                let connection = Arc::clone(connection);
                Keys::discovered(connection, config, metrics.clone(), clock.clone())
            }
        };
        match config.mode {
            VerificationMode::Review => Self::Review,
            VerificationMode::Offline => Self::Offline(keys()),
            VerificationMode::JwksThenReview => Self::JwksThenReview(keys()),
        }
    }

    fn mode(&self) -> VerificationMode {
        match self {
            Self::Review => VerificationMode::Review,
            Self::Offline(_) => VerificationMode::Offline,
            Self::JwksThenReview(_) => VerificationMode::JwksThenReview,
        }
    }

    /// The keys, where there are any.
    pub(super) fn keys(&self) -> Option<&Keys> {
        match self {
            Self::Review => None,
            Self::Offline(keys) | Self::JwksThenReview(keys) => Some(keys),
        }
    }
}

impl Cluster {
    /// Verifies a token and gathers what was confirmed, without the client's address. What it depends on beside the
    /// config stands in its arguments, since the verdict serves all who ask with the same. The inner error is a no.
    ///
    /// # Errors
    /// There was no verdict.
    pub(super) async fn verify_once(
        &self,
        token: &PresentedToken,
        asked: &[String],
        label_keys: &BTreeSet<String>,
        now: Timestamp,
        deadline: Deadline,
    ) -> Result<Result<Facts, DenyReason>, ReviewFault> {
        let begun = Instant::now();
        match self.verified(token, asked, label_keys, now, deadline).await {
            Ok(facts) => Ok(Ok(Facts {
                review_ms: u32::try_from(begun.elapsed().as_millis()).ok(),
                ..facts
            })),
            Err(Stop::No(reason)) => Ok(Err(reason)),
            Err(Stop::Fault(fault)) => Err(fault),
        }
    }

    async fn verified(
        &self,
        token: &PresentedToken,
        asked: &[String],
        label_keys: &BTreeSet<String>,
        now: Timestamp,
        deadline: Deadline,
    ) -> Result<Facts, Stop> {
        // A forged token costs no review.
        if let Some(keys) = self.means.keys() {
            keys.check(token, deadline).await??;
        }
        let reviewed = match &self.means {
            Means::Offline(_) => {
                token.claims().check_times(now)?;
                offline::vouched(token, asked, &self.config.issuers)?
            }
            Means::Review | Means::JwksThenReview(_) => {
                match self.review(token, asked, deadline).await? {
                    Verdict::Yes(reviewed) => *reviewed,
                    Verdict::No(reason) => return Err(reason.into()),
                }
            }
        };
        let mut facts = facts(reviewed, self.means.mode(), token, asked);
        if !token.claims().agree_with(&facts) {
            return Err(DenyReason::TokenClaimsDiffer.into());
        }
        // Nothing is looked up before, so that nobody else can cause it.
        if !label_keys.is_empty() {
            let reader = Reader {
                connection: &self.connection,
                presented: token.text(),
                deadline,
            };
            facts.namespace_labels = Some(reader.labels(&facts, label_keys).await??);
        }
        Ok(facts)
    }
}

fn facts(
    reviewed: Reviewed,
    mode: VerificationMode,
    token: &PresentedToken,
    asked: &[String],
) -> Facts {
    let claims = token.claims();
    let (pod_name, pod_uid) = reviewed.pod.unzip();
    Facts {
        namespace: reviewed.namespace,
        service_account_name: reviewed.service_account_name,
        service_account_uid: reviewed.service_account_uid,
        pod_name,
        pod_uid,
        node_name: reviewed.node_name,
        credential_id: reviewed.credential_id,
        client_ip: None,
        aud: reviewed.audiences,
        for_api_server: asked.is_empty(),
        legacy: claims.expire_time.is_none(),
        issue_time: claims.issue_time,
        expire_time: claims.expire_time,
        mode,
        namespace_labels: None,
        cached: false,
        review_ms: None,
    }
}

// === impl Stop ===

impl From<DenyReason> for Stop {
    fn from(reason: DenyReason) -> Self {
        Self::No(reason)
    }
}

impl From<ReviewFault> for Stop {
    fn from(fault: ReviewFault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Arc<KeysFault>> for Stop {
    fn from(fault: Arc<KeysFault>) -> Self {
        Self::Fault(ReviewFault::Keys(fault))
    }
}
