//! A login, step by step.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use postern_core::access_id::AccessId;
use postern_core::access_token::{AccessToken, TokenHash};
use postern_core::assertion::{self, Terms};
use postern_core::auth_method::AuthMethod;
use postern_core::clock::Clock;
use postern_core::facts::{Facts, VerificationMode};
use postern_core::jwt::Unverified;
use postern_core::k8s_auth_config::{K8sAuthConfig, TokenExp};
use postern_core::policy::{self, Admission, Denial};
use postern_core::reason::DenyReason;
use postern_core::resource_id::{GatewayName, ResourceId};
use postern_proto::pb;
use postern_rpc::caller::Caller;
use postern_rpc::deadline::Deadline;
use postern_rpc::error::{Failure, Reason};
use postern_rpc::metrics::Scope;
use postern_rpc::peer::{Peer, RefusalBudget};
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use self::measure::{Step, Stopwatch};
pub(crate) use self::stop::Stage;
use self::stop::{Denied, Fault, Limited, Stop};
use crate::cluster::{Ask, Cluster, Standing, Verified};
use crate::control_plane::ControlPlane;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::presented_token::{PresentedToken, Rejection};
use crate::reports::Reports;
use crate::snapshot::{ConfigEntry, Snapshot};

pub(crate) mod explain;
mod measure;
mod record;
pub(crate) mod stop;

/// When to try again a login that its workload's limits turned away, where the control plane
/// doesn't say.
const LIMITED_FOR: Duration = Duration::from_secs(1);

/// What one gateway replica logs in with and for.
pub(crate) struct Login {
    settings: Settings,
    snapshot: Arc<Snapshot>,
    control_plane: Arc<ControlPlane>,
    reports: Arc<Reports>,
    health: Arc<Health>,
    refusals: RefusalBudget,
    metrics: Metrics,
}

/// Who the gateway is.
pub(crate) struct Settings {
    /// Its name.
    pub(crate) gateway: GatewayName,
    /// Which replica of it.
    pub(crate) instance: String,
    /// What assertions are for.
    pub(crate) deployment: Uuid,
    /// Tells the time.
    pub(crate) clock: Clock,
}

/// One request to log in, its names parsed and its token as it came.
pub(crate) struct Attempt {
    pub(crate) access_id: AccessId,
    /// The K8s auth config's name at this gateway.
    pub(crate) config: ResourceId,
    pub(crate) token: SecretString,
    /// For whom a JWT is asked to be; empty: for all that the method lists.
    pub(crate) token_audiences: Vec<String>,
    pub(crate) caller: Caller,
    pub(crate) deadline: Deadline,
}

/// What a login is for: a token that was drawn for it, or one that is to live longer.
#[derive(Clone, Copy)]
enum Purpose<'t> {
    Issue(TokenHash),
    Renew(&'t Renewable),
}

/// A token that is to live longer. Whether it is good is the control plane's to say.
pub(crate) struct Renewable {
    token: TokenHash,
    /// Where it is a JWT: only the control plane knows whether it signed it.
    jwt: Option<SecretString>,
}

/// A text that is no access token. Never holds the text.
#[derive(Debug, thiserror::Error)]
#[error("is no access token: `t-` and 43 letters or digits, or a JWT that was given here")]
pub(crate) struct NotRenewable;

/// A login that succeeded.
pub(crate) struct Granted {
    /// What was drawn for it: the token, unless the control plane has made another one.
    pub(crate) access_token: AccessToken,
    /// What the control plane says of the token, or the token itself where it is a JWT.
    pub(crate) answer: pb::ExchangeAssertionResponse,
}

/// The config and the method that an attempt names; they name each other.
struct Route {
    cluster: Arc<Cluster>,
    method: Arc<AuthMethod>,
}

impl Login {
    pub(crate) fn new(
        settings: Settings,
        snapshot: Arc<Snapshot>,
        control_plane: Arc<ControlPlane>,
        reports: Arc<Reports>,
        health: Arc<Health>,
        metrics: Metrics,
    ) -> Self {
        Self {
            settings,
            snapshot,
            control_plane,
            reports,
            health,
            refusals: RefusalBudget::default(),
            metrics,
        }
    }

    pub(crate) async fn login(&self, attempt: &Attempt) -> Result<Granted, Stop> {
        let access_token = AccessToken::generate().map_err(Fault::internal)?;
        let purpose = Purpose::Issue(access_token.hash());
        let answer = self.run(attempt, purpose).await?;
        Ok(Granted {
            access_token,
            answer,
        })
    }

    /// Shows who has the token again, as at a login, so that it lives longer.
    pub(crate) async fn renew(
        &self,
        attempt: &Attempt,
        renewable: &Renewable,
    ) -> Result<pb::ExchangeAssertionResponse, Stop> {
        self.run(attempt, Purpose::Renew(renewable)).await
    }

    /// Reports a refusal unless the control plane has recorded it already.
    async fn run(
        &self,
        attempt: &Attempt,
        purpose: Purpose<'_>,
    ) -> Result<pb::ExchangeAssertionResponse, Stop> {
        let mut stopwatch = Stopwatch::start();
        let result = self.steps(attempt, purpose, &mut stopwatch).await;
        self.measure(attempt, &result, stopwatch);
        match &result {
            Err(Stop::Denied(denied)) => self
                .reports
                .denied(denied.stage(), self.record(attempt, denied)),
            Err(Stop::Limited(limited)) => self
                .reports
                .denied(Stage::Limited, self.record(attempt, &limited.denied())),
            Err(Stop::Fault(fault)) if fault.is_full_queue() => self.reports.denied(
                Stage::Unverified,
                self.record_of_limit(attempt, Scope::ClusterQueue),
            ),
            _ => {}
        }
        result
    }

    async fn steps(
        &self,
        attempt: &Attempt,
        purpose: Purpose<'_>,
        stopwatch: &mut Stopwatch,
    ) -> Result<pb::ExchangeAssertionResponse, Stop> {
        let token = Arc::new(PresentedToken::parse(attempt.token.clone())?);
        let mut route = self.route(attempt).await?;
        loop {
            let through = self.through(&route, &token, attempt, purpose, stopwatch);
            match through.await {
                // The control plane decides on what it knows now; a config that has changed
                // since (another signing key, say) deserves another look.
                Err(Stop::RefusedByControlPlane) => {
                    let current = self.caught_up_route(attempt).await?;
                    if Arc::ptr_eq(&route.cluster, &current.cluster) {
                        return Err(Stop::RefusedByControlPlane);
                    }
                    route = current;
                }
                result => return result,
            }
        }
    }

    async fn through(
        &self,
        route: &Route,
        token: &Arc<PresentedToken>,
        attempt: &Attempt,
        purpose: Purpose<'_>,
        stopwatch: &mut Stopwatch,
    ) -> Result<pb::ExchangeAssertionResponse, Stop> {
        let config = route.cluster.config();
        if config.disabled {
            return Err(DenyReason::ConfigDisabled.into());
        }
        let admission = policy::admit(&route.method, attempt.caller.ip, self.now())?;
        check_early(token, config, admission, self.now())?;
        stopwatch.enter(Step::Verify);
        let facts = self.verify(route, token, admission, attempt).await?;
        stopwatch.enter(Step::Policy);
        let grant = policy::decide(admission, facts.clone(), self.now())
            .map_err(|denial| Denied::verified(denial, facts.clone()))?;
        let terms = self.terms(&route.cluster, purpose);
        let assertion =
            assertion::sign(grant, &terms, &config.signing_key).map_err(Fault::internal)?;
        stopwatch.enter(Step::Exchange);
        let exchange = self.exchange(assertion, attempt, purpose, config.token_exp);
        match exchange.await {
            // One that is older than this gateway lengthens it, and signs nothing.
            Ok(answer) if purpose.jwt().is_some() && answer.access_token.is_empty() => {
                Err(Fault::NotSigned.into())
            }
            answer => answer.map_err(|failure| not_exchanged(failure, facts)),
        }
    }

    /// From memory; before it says that something is unknown, the control plane is asked whether
    /// there is anything new, so that who creates can log in at once.
    async fn route(&self, attempt: &Attempt) -> Result<Route, Stop> {
        match self.look_up(attempt) {
            Err(Stop::Denied(_)) => self.caught_up_route(attempt).await,
            route => route,
        }
    }

    async fn caught_up_route(&self, attempt: &Attempt) -> Result<Route, Stop> {
        self.snapshot
            .catch_up(attempt.deadline)
            .await
            .map_err(Fault::behind)?;
        self.look_up(attempt)
    }

    fn look_up(&self, attempt: &Attempt) -> Result<Route, Stop> {
        let cluster = match self.snapshot.config(&attempt.config) {
            Some(ConfigEntry::Live(cluster)) => cluster,
            Some(ConfigEntry::Unusable) => {
                return Err(Fault::ConfigUnusable(attempt.config.clone()).into());
            }
            None => return Err(DenyReason::ConfigUnknown.into()),
        };
        if cluster.config().access_id != attempt.access_id {
            return Err(DenyReason::AccessIdMismatch.into());
        }
        let method = self
            .snapshot
            .method(&attempt.access_id)
            .ok_or(DenyReason::MethodUnknown)?;
        let kubernetes = method.kubernetes().ok_or(DenyReason::MethodUnknown)?;
        let key = cluster.config().signing_key.public().id();
        kubernetes.key(key.as_str(), self.now())?;
        Ok(Route { cluster, method })
    }

    async fn verify(
        &self,
        route: &Route,
        token: &Arc<PresentedToken>,
        admission: Admission<'_>,
        attempt: &Attempt,
    ) -> Result<Facts, Stop> {
        let verified = self.ask_cluster(route, token, admission, attempt).await?;
        Ok(verified.verdict?)
    }

    async fn ask_cluster(
        &self,
        route: &Route,
        token: &Arc<PresentedToken>,
        admission: Admission<'_>,
        attempt: &Attempt,
    ) -> Result<Verified, Stop> {
        let method = admission.kubernetes();
        let peer = Peer::from(attempt.caller.ip);
        let ask = Ask {
            audiences: &method.audiences,
            label_keys: method.namespace_label_keys(),
            standing: self.standing(peer),
            client_ip: attempt.caller.ip,
            deadline: attempt.deadline,
        };
        let verified = route.cluster.verify(token, ask).await;
        let verified = verified.map_err(|fault| {
            self.health.saw(&route.cluster, &fault);
            Fault::Review(attempt.config.clone(), fault)
        })?;
        if verified.verdict.is_err() {
            self.refusals.refused(peer, self.now());
        }
        Ok(verified)
    }

    /// A peer that has been refused too often isn't refused for that: its unknown tokens get the
    /// smallest share of the cluster's time.
    fn standing(&self, peer: Peer) -> Standing {
        if self.refusals.is_spent(peer, self.now()) {
            self.metrics.limited.count(Scope::PeerRefusals);
            Standing::Suspect
        } else {
            Standing::Unknown
        }
    }

    fn terms(&self, cluster: &Cluster, purpose: Purpose<'_>) -> Terms {
        let (token, renews) = match purpose {
            Purpose::Issue(token) => (token, false),
            Purpose::Renew(renewable) => (renewable.token, true),
        };
        Terms {
            token,
            renews,
            config_uid: cluster.config().uid,
            generation: cluster.config().generation,
            gateway: self.settings.gateway.clone(),
            instance: self.settings.instance.clone(),
            deployment: self.settings.deployment,
            now: self.now(),
            life: cluster.config().token_exp,
            jti: Uuid::new_v4(),
        }
    }

    async fn exchange(
        &self,
        assertion: String,
        attempt: &Attempt,
        purpose: Purpose<'_>,
        life: TokenExp,
    ) -> Result<pb::ExchangeAssertionResponse, Failure> {
        let request = pb::ExchangeAssertionRequest {
            renewed_jwt: purpose.jwt().unwrap_or_default().to_owned(),
            access_id: attempt.access_id.to_string(),
            assertion,
            request_id: attempt.caller.request_id.to_string(),
            token_audiences: attempt.token_audiences.clone(),
        };
        // Sent later than it lives, it would be refused for what is an outage.
        let deadline = attempt.deadline.within(life.get());
        self.control_plane.exchange(&request, deadline).await
    }

    fn now(&self) -> jiff::Timestamp {
        self.settings.clock.now()
    }
}

// === impl Purpose ===

impl<'t> Purpose<'t> {
    fn jwt(self) -> Option<&'t str> {
        match self {
            Self::Renew(Renewable { jwt: Some(jwt), .. }) => Some(jwt.expose_secret()),
            Self::Renew(_) | Self::Issue(_) => None,
        }
    }
}

// === impl Renewable ===

impl FromStr for Renewable {
    type Err = NotRenewable;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(token) = text.parse::<AccessToken>() {
            return Ok(Self {
                token: token.hash(),
                jwt: None,
            });
        }
        let jwt = Unverified::parse(text).and_then(|jwt| jwt.accessor());
        let accessor = jwt.ok_or(NotRenewable)?;
        Ok(Self {
            token: TokenHash::of_jwt(&accessor),
            jwt: Some(text.into()),
        })
    }
}

fn not_exchanged(failure: Failure, facts: Facts) -> Stop {
    match failure.reason {
        Some(Reason::LoginRefused) => Stop::RefusedByControlPlane,
        reason => match reason.and_then(Reason::subject_limit) {
            Some(limit) => Stop::Limited(Limited {
                limit,
                retry_after: failure.retry_after.unwrap_or(LIMITED_FOR),
                facts: Box::new(facts),
            }),
            None => Fault::Exchange(Box::new(failure)).into(),
        },
    }
}

/// What needs no cluster to be refused.
fn check_early(
    token: &PresentedToken,
    config: &K8sAuthConfig,
    admission: Admission<'_>,
    now: Timestamp,
) -> Result<(), DenyReason> {
    let method = admission.kubernetes();
    if config.mode == VerificationMode::Offline && method.audiences.listed().is_empty() {
        return Err(DenyReason::OfflineWithoutAudiences);
    }
    token.check_early(&config.issuers, method, now)
}

impl From<Rejection> for Stop {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Shape(fault) => Self::Shape(fault),
            Rejection::Denied(reason) => reason.into(),
        }
    }
}

impl Denied {
    fn verified(Denial { reason, rule }: Denial, facts: Facts) -> Self {
        Self {
            reason,
            rule,
            facts: Some(Box::new(facts)),
        }
    }
}

#[cfg(test)]
mod tests;
