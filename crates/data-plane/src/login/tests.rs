use std::time::Duration;

use kube_sim::{Fault as Misbehaviour, KubeSim, TokenOptions};
use postern_core::auth_method::Audiences;
use postern_core::k8s_auth_config::{AllowedApiServers, K8sAuthConfig};
use postern_proto::convert::auth_method;
use postern_proto::pb::watch_response::Change;
use postern_rpc::client::{self, Target};
use postern_rpc::error::{Error, Outage};
use postern_rpc::request_id::RequestId;
use serde_json::json;

use super::*;
use crate::cluster::Shared;
use crate::fixtures::{self, jwt, strings};
use crate::metrics::AuditCounts;
use crate::sample;
use crate::snapshot::Opener;

mod load;

/// A gateway that has heard nothing from its control plane, which is away.
fn login(clock: Clock) -> Login {
    login_with(Snapshot::new(&crate::limits::Limits::default()), clock)
}

fn login_with(snapshot: Snapshot, clock: Clock) -> Login {
    let target = Target {
        url: "http://127.0.0.1:1".to_owned(),
        ca_pem: None,
    };
    let settings = Settings {
        gateway: "default".parse().unwrap(),
        instance: "replica".to_owned(),
        deployment: Uuid::from_u128(3),
        clock: clock.clone(),
    };
    let snapshot = Arc::new(snapshot);
    Login::new(
        settings,
        Arc::clone(&snapshot),
        Arc::new(ControlPlane::new(
            client::connect(&target).unwrap(),
            crate::fixtures::own(),
        )),
        Arc::new(Reports::new(
            "default".to_owned(),
            clock.clone(),
            AuditCounts::default(),
        )),
        Arc::new(Health::new(snapshot, clock, "replica".to_owned())),
        Metrics::default(),
    )
}

fn attempt(token: &str) -> Attempt {
    Attempt {
        access_id: "p-abcdefghijkl".parse().unwrap(),
        config: "k8s-conf".parse().unwrap(),
        token: SecretString::from(token),
        token_audiences: Vec::new(),
        caller: Caller {
            ip: Some([10, 2, 3, 4].into()),
            user_agent: Some("test".to_owned()),
            request_id: RequestId::generate(),
            certificate: None,
        },
        deadline: Deadline::after(Duration::from_secs(5)),
    }
}

/// The tutorial's cluster, method and config, as a gateway that has caught up has them.
struct Tutorial {
    sim: KubeSim,
    config: K8sAuthConfig,
    method: AuthMethod,
}

impl Tutorial {
    async fn new() -> Self {
        let sim = fixtures::sim().await;
        let config = fixtures::config(&sim);
        let method = fixtures::method(fixtures::kubernetes(&config.signing_key));
        Self {
            sim,
            config,
            method,
        }
    }

    fn kubernetes(&mut self) -> &mut postern_core::auth_method::Kubernetes {
        match &mut self.method.settings.kind {
            postern_core::auth_method::Kind::Kubernetes(kubernetes) => kubernetes,
            postern_core::auth_method::Kind::AccessKey => panic!("a Kubernetes method"),
        }
    }

    fn pod(&self, namespace: &str, pod: &str) -> String {
        self.sim.pod_token(namespace, pod).unwrap()
    }

    /// From admission on. An allowed login ends at the control plane, which is away.
    async fn through(self, token: &str) -> (Stop, KubeSim) {
        self.through_at(token, Clock::system()).await
    }

    async fn through_at(self, token: &str, clock: Clock) -> (Stop, KubeSim) {
        let login = login(clock);
        let route = Route {
            cluster: Arc::new(Cluster::new(self.config, &Shared::default()).unwrap()),
            method: Arc::new(self.method),
        };
        let token = fixtures::parse(token).unwrap_or_else(|_| panic!("a readable token"));
        let attempt = Attempt {
            deadline: Deadline::after(Duration::from_secs(2)),
            ..attempt("")
        };
        let purpose = Purpose::Issue(AccessToken::generate().unwrap().hash());
        let stop = login
            .through(
                &route,
                &Arc::new(token),
                &attempt,
                purpose,
                &mut Stopwatch::start(),
            )
            .await
            .err();
        (
            stop.unwrap_or_else(|| panic!("no control plane, no token")),
            self.sim,
        )
    }
}

fn denied(stop: Stop) -> Denied {
    match stop {
        Stop::Denied(denied) => denied,
        stop => panic!("{stop:?}"),
    }
}

#[tokio::test]
async fn a_bound_pod_gets_as_far_as_the_control_plane_and_its_outage_is_no_refusal() {
    let tutorial = Tutorial::new().await;
    let token = tutorial.pod("my-namespace-a", "mypod1");
    let (stop, sim) = tutorial.through(&token).await;
    assert!(matches!(stop, Stop::Fault(Fault::Exchange(_))), "{stop:?}");
    let error = Error::from(stop);
    assert!(
        matches!(
            error,
            Error::Unavailable {
                reason: Outage::ControlPlane,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(sim.reviews(), 1);
}

#[tokio::test]
async fn who_isnt_bound_is_refused_with_what_was_verified() {
    for (namespace, pod, reason) in [
        ("my-namespace-a", "mypod3", DenyReason::PodNameNotBound),
        ("my-namespace-b", "mypod1", DenyReason::NamespaceNotBound),
    ] {
        let tutorial = Tutorial::new().await;
        let token = tutorial.pod(namespace, pod);
        let denied = denied(tutorial.through(&token).await.0);
        assert_eq!((denied.reason, denied.rule), (reason, Some(0)));
        assert_eq!(denied.stage(), Stage::Verified);
        assert_eq!(denied.facts.unwrap().pod_name.as_deref(), Some(pod));
    }
    let tutorial = Tutorial::new().await;
    tutorial.sim.create_namespace("my-namespace-a").unwrap();
    let podless = tutorial
        .sim
        .create_token("my-namespace-a", "default", &TokenOptions::default());
    let denied = denied(tutorial.through(&podless.unwrap()).await.0);
    assert_eq!(denied.reason, DenyReason::PodMissing);
}

#[tokio::test]
async fn what_can_be_refused_early_never_reaches_the_cluster() {
    type Change = fn(&mut Tutorial);
    let changes: [(Change, DenyReason); 7] = [
        (|t| t.config.disabled = true, DenyReason::ConfigDisabled),
        (
            |t| t.method.settings.disabled = true,
            DenyReason::MethodDisabled,
        ),
        (
            |t| t.method.settings.access_expires = Some(jiff::Timestamp::UNIX_EPOCH),
            DenyReason::AccessExpired,
        ),
        (
            |t| t.method.settings.bound_ips = vec!["10.9.0.0/16".parse().unwrap()],
            DenyReason::ClientIpNotBound,
        ),
        (
            |t| t.config.mode = postern_core::facts::VerificationMode::Offline,
            DenyReason::OfflineWithoutAudiences,
        ),
        (
            |t| t.kubernetes().audiences = Audiences::Listed(strings(&["x"])),
            DenyReason::TokenAudienceNotAccepted,
        ),
        (
            |t| {
                t.config.issuers =
                    postern_core::k8s_auth_config::Issuers::Listed(strings(&["https://other"]))
            },
            DenyReason::TokenIssuerNotTrusted,
        ),
    ];
    for (change, reason) in changes {
        let mut tutorial = Tutorial::new().await;
        change(&mut tutorial);
        let token = tutorial.pod("my-namespace-a", "mypod1");
        let (stop, sim) = tutorial.through(&token).await;
        let denied = denied(stop);
        assert_eq!((denied.reason, denied.stage()), (reason, Stage::Unverified));
        assert_eq!(sim.reviews(), 0, "{reason}");
    }
}

#[tokio::test]
async fn a_token_from_a_secret_is_refused_before_the_cluster_is_asked() {
    let tutorial = Tutorial::new().await;
    let legacy = tutorial
        .sim
        .legacy_token("default", "default", "old")
        .unwrap();
    let (stop, sim) = tutorial.through(&legacy).await;
    assert_eq!(denied(stop).reason, DenyReason::TokenWithoutExpiry);
    assert_eq!(sim.reviews(), 0);
}

#[tokio::test]
async fn the_gateways_clock_decides_what_has_expired() {
    let tutorial = Tutorial::new().await;
    let token = tutorial.pod("my-namespace-a", "mypod1");
    let later = Clock::new(|| jiff::Timestamp::now() + jiff::SignedDuration::from_hours(10_000));
    let (stop, _) = tutorial.through_at(&token, later).await;
    assert_eq!(denied(stop).reason, DenyReason::TokenExpired);
}

#[tokio::test]
async fn a_cluster_that_gives_no_verdict_is_an_outage_and_no_refusal() {
    for (behaviour, outage) in [
        (Misbehaviour::Status(403), Outage::ReviewerRefused),
        (Misbehaviour::Status(503), Outage::ClusterError),
        (Misbehaviour::Hang, Outage::ClusterUnreachable),
    ] {
        let tutorial = Tutorial::new().await;
        let token = tutorial.pod("my-namespace-a", "mypod1");
        tutorial.sim.set_fault(behaviour);
        let error = Error::from(tutorial.through(&token).await.0);
        let Error::Unavailable {
            reason, message, ..
        } = error
        else {
            panic!("{error}")
        };
        assert_eq!(reason, outage);
        assert!(
            !message.contains("127.0.0.1") && !message.contains("eyJ"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn who_cant_look_for_changes_doesnt_say_that_something_is_unknown() {
    let attempt = Attempt {
        deadline: Deadline::after(Duration::from_millis(200)),
        ..attempt(&jwt(&json!({ "alg": "RS256" }), &json!({})))
    };
    let stop = login(Clock::system()).login(&attempt).await.err().unwrap();
    assert!(matches!(stop, Stop::Fault(Fault::Behind(_))), "{stop:?}");
    let error = Error::from(stop);
    assert!(
        matches!(
            error,
            Error::Unavailable {
                reason: Outage::Snapshot,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_text_that_is_no_token_is_the_callers_mistake_and_a_forged_one_a_refusal() {
    let login = login(Clock::system());
    let stop = login.login(&attempt("x")).await.err().unwrap();
    let Error::Invalid(violations) = Error::from(stop) else {
        panic!("a mistake")
    };
    assert_eq!(violations[0].field, "service_account_token");

    let forged = jwt(&json!({ "alg": "none" }), &json!({}));
    let stop = login.login(&attempt(&forged)).await.err().unwrap();
    assert!(matches!(Error::from(stop), Error::LoginRefused));
}

#[tokio::test]
async fn every_refusal_looks_the_same() {
    let texts = DenyReason::ALL
        .iter()
        .map(|reason| Error::from(Stop::from(*reason)));
    let texts = texts.chain([Error::from(Stop::RefusedByControlPlane)]);
    for error in texts {
        assert!(matches!(error, Error::LoginRefused), "{error}");
    }
}

#[tokio::test]
async fn a_record_says_why_and_masks_names_that_nothing_has() {
    let login = login(Clock::system());
    let attempt = attempt("eyJ");
    let denied = Denied {
        reason: DenyReason::ConfigUnknown,
        rule: None,
        facts: None,
    };
    let event = login.record(&attempt, &denied);
    assert_eq!(event.reason, "CONFIG_UNKNOWN");
    assert_eq!(
        (event.k8s_auth_config.as_str(), event.access_id.as_str()),
        ("unknown", "unknown")
    );
    assert_eq!(event.request_id, attempt.caller.request_id.to_string());
    assert_eq!(event.caller_ip, attempt.caller.ip);
    assert_eq!(
        (event.gateway.as_str(), event.user_agent.as_str()),
        ("default", "test")
    );
    assert!(!format!("{event:?}").contains("eyJ"));
}

/// A gateway that holds this config and this method, and may talk to these API servers.
fn knowing(config: &K8sAuthConfig, method: &AuthMethod, api_servers: AllowedApiServers) -> Login {
    let sealer = sample::sealer("default", &[&sample::key_line("k1")]);
    let meta = pb::ResourceMeta {
        uid: method.uid.to_string(),
        ..pb::ResourceMeta::default()
    };
    let method = pb::AuthMethod {
        meta: Some(meta),
        ..auth_method::to_pb(method)
    };
    let changes = [
        Change::AuthMethod(method),
        Change::Config(sealer.seal(config).unwrap()),
    ];
    let opener = Opener {
        shared: Arc::default(),
        sealer: Arc::new(sealer),
        api_servers: Arc::new(api_servers),
        instance: "replica".to_owned(),
    };
    login_with(Snapshot::of(opener, changes), Clock::system())
}

fn named(access_id: &str, config: &str) -> Attempt {
    Attempt {
        access_id: access_id.parse().unwrap(),
        config: config.parse().unwrap(),
        ..attempt("")
    }
}

#[tokio::test]
async fn a_config_is_found_by_its_name_with_its_own_access_id_only() {
    let Tutorial { config, method, .. } = Tutorial::new().await;
    let login = knowing(&config, &method, AllowedApiServers::any());
    let found = |access_id, config| login.look_up(&named(access_id, config));
    assert!(found("p-abcdefghijkl", "k8s-conf").is_ok());
    for (access_id, config, reason) in [
        ("p-abcdefghijkl", "other", DenyReason::ConfigUnknown),
        ("p-bbcdefghijkl", "k8s-conf", DenyReason::AccessIdMismatch),
    ] {
        let denied = denied(found(access_id, config).err().unwrap());
        assert_eq!((denied.reason, denied.stage()), (reason, Stage::Unverified));
    }
}

#[tokio::test]
async fn a_method_that_isnt_there_or_has_another_key_is_noticed() {
    let Tutorial { config, method, .. } = Tutorial::new().await;
    let reason = |method: &AuthMethod| {
        let login = knowing(&config, method, AllowedApiServers::any());
        denied(login.look_up(&attempt("")).err().unwrap()).reason
    };
    let mut elsewhere = method;
    elsewhere.access_id = "p-bbcdefghijkl".parse().unwrap();
    assert_eq!(reason(&elsewhere), DenyReason::MethodUnknown);
    let rekeyed = fixtures::method(fixtures::kubernetes(&fixtures::signing_key()));
    assert_eq!(reason(&rekeyed), DenyReason::AssertionKeyUnknown);
}

#[tokio::test]
async fn a_config_that_cant_be_used_is_an_outage_and_no_refusal() {
    let Tutorial { config, method, .. } = Tutorial::new().await;
    let login = knowing(&config, &method, AllowedApiServers::only(vec![]));
    let stop = login.look_up(&attempt("")).err().unwrap();
    let error = Error::from(stop);
    assert!(
        matches!(
            error,
            Error::Unavailable {
                reason: Outage::ConfigUnusable,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_record_names_what_is_there() {
    let Tutorial { config, method, .. } = Tutorial::new().await;
    let login = knowing(&config, &method, AllowedApiServers::any());
    let denied = Denied {
        reason: DenyReason::TokenExpired,
        rule: None,
        facts: None,
    };
    let event = login.record(&attempt(""), &denied);
    assert_eq!(
        event.k8s_auth_config,
        "gateways/default/k8sAuthConfigs/k8s-conf"
    );
    assert_eq!(event.access_id, "p-abcdefghijkl");
}

#[tokio::test]
async fn a_whole_login_asks_its_cluster_and_then_the_control_plane() {
    let tutorial = Tutorial::new().await;
    let login = knowing(&tutorial.config, &tutorial.method, AllowedApiServers::any());
    let run = async |token: &str| {
        let deadline = Deadline::after(Duration::from_secs(1));
        let attempt = Attempt {
            deadline,
            ..attempt(token)
        };
        Error::from(login.login(&attempt).await.err().unwrap())
    };
    let error = run(&tutorial.pod("my-namespace-a", "mypod1")).await;
    assert!(
        matches!(
            error,
            Error::Unavailable {
                reason: Outage::ControlPlane,
                ..
            }
        ),
        "{error}"
    );
    let error = run(&tutorial.pod("my-namespace-a", "mypod3")).await;
    assert!(matches!(error, Error::LoginRefused), "{error}");
    assert_eq!(tutorial.sim.reviews(), 2);
}
