use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;

use kube_sim::KubeSim;
use postern_core::facts::Facts;
use postern_core::k8s_auth_config::{ClusterAccess, K8sAuthConfig};
use postern_core::reason::DenyReason;
use postern_rpc::error::Outage;
use tempfile::TempDir;
use tokio::time::timeout;

use super::super::{Cluster, Shared};
use super::*;
use crate::fixtures::{self, parse, sim};

/// The folder of a pod's service account, as the kubelet makes it.
struct Pod {
    dir: TempDir,
}

impl Pod {
    fn new(sim: &KubeSim, token: &str) -> Self {
        let pod = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        pod.mount(sim, token);
        for file in ["ca.crt", "token"] {
            symlink(format!("..data/{file}"), pod.dir.path().join(file)).unwrap();
        }
        pod
    }

    /// Writes a new folder beside the old one, and swaps the link to it.
    fn mount(&self, sim: &KubeSim, token: &str) {
        let dir = tempfile::Builder::new().prefix("..v").tempdir_in(&self.dir);
        let dir = dir.unwrap().keep();
        fs::write(dir.join("ca.crt"), sim.ca_pem()).unwrap();
        fs::write(dir.join("token"), token).unwrap();
        let next = self.dir.path().join("..data_tmp");
        symlink(&dir, &next).unwrap();
        fs::rename(next, self.dir.path().join("..data")).unwrap();
    }

    fn own(&self, sim: &KubeSim) -> Arc<OwnCluster> {
        self.own_within(sim, AllowedApiServers::any())
    }

    fn own_within(&self, sim: &KubeSim, allowed: AllowedApiServers) -> Arc<OwnCluster> {
        Arc::new(OwnCluster::new(
            self.dir.path().to_owned(),
            Some(sim.host().parse().unwrap()),
            Arc::new(allowed),
            Clock::system(),
        ))
    }
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(5))
}

fn config(sim: &KubeSim, pinned: &PinnedCluster) -> K8sAuthConfig {
    K8sAuthConfig {
        access: ClusterAccess::Own(pinned.clone()),
        ..fixtures::config(sim)
    }
}

async fn verify(cluster: &Cluster, token: &str) -> Result<Result<Facts, DenyReason>, ReviewFault> {
    let token = parse(token).unwrap_or_else(|_| panic!("a readable token"));
    cluster
        .verify_once(&token, &[], &BTreeSet::new(), Timestamp::now(), soon())
        .await
}

/// A gateway's service account that may review, and read kube-system if that is said.
fn account(sim: &KubeSim, name: &str, reads: bool) -> String {
    let token = sim.reviewer_token("default", name).unwrap();
    if reads {
        sim.allow_reading_subjects("default", name).unwrap();
    }
    token
}

fn last_bearer(sim: &KubeSim) -> String {
    let request = sim.recent_requests().pop().unwrap();
    request.headers["authorization"]
        .to_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn a_config_is_pinned_by_kube_systems_uid_or_by_the_ca_where_that_cant_be_read() {
    let sim = sim().await;
    let reader = Pod::new(&sim, &account(&sim, "reader", true));
    let by_uid = reader.own(&sim).pin(soon()).await.unwrap();
    assert!(matches!(by_uid, PinnedCluster::KubeSystem(_)), "{by_uid}");
    let other = Pod::new(&sim, &account(&sim, "reviewer", false));
    let by_ca = other.own(&sim).pin(soon()).await.unwrap();
    assert!(matches!(by_ca, PinnedCluster::CaKey(_)), "{by_ca}");

    let pod = sim.pod_token("my-namespace-a", "mypod1").unwrap();
    for (gateway, pinned) in [(&reader, &by_uid), (&other, &by_ca), (&reader, &by_ca)] {
        let own = gateway.own(&sim);
        let cluster =
            Cluster::new(config(&sim, pinned), &Shared::uncounted(Arc::clone(&own))).unwrap();
        let facts = verify(&cluster, &pod).await.unwrap().unwrap();
        assert_eq!(facts.pod_name.as_deref(), Some("mypod1"));
        assert_eq!(cluster.pin().unwrap().0, Pin::Holds);
    }
    let own = other.own(&sim);
    let cluster =
        Cluster::new(config(&sim, &by_uid), &Shared::uncounted(Arc::clone(&own))).unwrap();
    let fault = verify(&cluster, &pod).await.unwrap_err();
    assert!(
        matches!(fault, ReviewFault::OwnCluster(OwnFault::PinUnreadable)),
        "{fault:?}"
    );
}

#[tokio::test]
async fn the_same_config_on_gateways_in_two_clusters_never_means_two_clusters() {
    let (here, there) = (sim().await, sim().await);
    for reads in [true, false] {
        let name = format!("gateway-{reads}");
        let at_home = Pod::new(&here, &account(&here, &name, reads));
        let abroad = Pod::new(&there, &account(&there, &name, reads));
        let pinned = at_home.own(&here).pin(soon()).await.unwrap();

        let own = at_home.own(&here);
        let cluster =
            Cluster::new(config(&here, &pinned), &Shared::uncounted(Arc::clone(&own))).unwrap();
        let pod = here.pod_token("my-namespace-a", "mypod1").unwrap();
        assert!(verify(&cluster, &pod).await.unwrap().is_ok());

        let own = abroad.own(&there);
        let cluster = Cluster::new(
            config(&there, &pinned),
            &Shared::uncounted(Arc::clone(&own)),
        )
        .unwrap();
        let pod = there.pod_token("my-namespace-a", "mypod1").unwrap();
        let fault = verify(&cluster, &pod).await.unwrap_err();
        assert!(
            matches!(fault, ReviewFault::OwnCluster(OwnFault::OtherCluster)),
            "{fault:?}"
        );
        assert_eq!(fault.outage(), Outage::GatewayServiceAccount);
        assert_eq!(cluster.pin().unwrap().0, Pin::Other);
    }
    assert_eq!(
        there.reviews(),
        0,
        "no pod's token went to the other cluster"
    );
}

#[tokio::test]
async fn a_mounted_token_that_changes_is_used_and_old_connections_close() {
    let sim = sim().await;
    let (first, second) = (account(&sim, "one", true), account(&sim, "two", true));
    let mounted = Pod::new(&sim, &first);
    let own = mounted.own(&sim);
    let pinned = own.pin(soon()).await.unwrap();
    let cluster =
        Cluster::new(config(&sim, &pinned), &Shared::uncounted(Arc::clone(&own))).unwrap();
    let pod = sim.pod_token("my-namespace-a", "mypod1").unwrap();
    verify(&cluster, &pod).await.unwrap().unwrap();
    assert_eq!(last_bearer(&sim), format!("Bearer {first}"));
    timeout(Duration::from_secs(5), sim.until_open(1))
        .await
        .unwrap();

    let made = sim.connections_made();
    own.refresh().await;
    verify(&cluster, &pod).await.unwrap().unwrap();
    assert_eq!(
        sim.connections_made(),
        made,
        "nothing changed, nothing closes"
    );

    mounted.mount(&sim, &second);
    own.refresh().await;
    verify(&cluster, &pod).await.unwrap().unwrap();
    assert_eq!(last_bearer(&sim), format!("Bearer {second}"));
    assert_eq!(sim.connections_made(), made + 1);
    let closed = timeout(Duration::from_secs(5), sim.until_open(1)).await;
    assert!(closed.is_ok(), "the old connection stayed open");
}

#[tokio::test]
async fn old_connections_close_even_if_the_new_files_lead_nowhere() {
    let (sim, other) = (sim().await, sim().await);
    let token = account(&sim, "gateway", false);
    let mounted = Pod::new(&sim, &token);
    let own = mounted.own(&sim);
    let pinned = own.pin(soon()).await.unwrap();
    let cluster =
        Cluster::new(config(&sim, &pinned), &Shared::uncounted(Arc::clone(&own))).unwrap();
    let pod = sim.pod_token("my-namespace-a", "mypod1").unwrap();
    verify(&cluster, &pod).await.unwrap().unwrap();
    timeout(Duration::from_secs(5), sim.until_open(1))
        .await
        .unwrap();
    mounted.mount(&other, &token);
    own.refresh().await;
    let closed = timeout(Duration::from_secs(5), sim.until_open(0)).await;
    assert!(closed.is_ok(), "the old connection stayed open");
}

#[tokio::test]
async fn an_unreadable_token_is_a_fault_of_its_own_and_the_pods_token_never_takes_its_place() {
    let sim = sim().await;
    let mounted = Pod::new(&sim, &account(&sim, "gateway", true));
    let own = mounted.own(&sim);
    let pinned = own.pin(soon()).await.unwrap();
    let cluster =
        Cluster::new(config(&sim, &pinned), &Shared::uncounted(Arc::clone(&own))).unwrap();
    let pod = sim.pod_token("my-namespace-a", "mypod1").unwrap();
    let before = sim.reviews();
    for break_it in [
        |file: &std::path::Path| fs::remove_file(file).unwrap(),
        |file: &std::path::Path| fs::write(file, "").unwrap(),
        |file: &std::path::Path| fs::write(file, "not a token").unwrap(),
    ] {
        break_it(&mounted.dir.path().join("token"));
        own.refresh().await;
        let fault = verify(&cluster, &pod).await.unwrap_err();
        assert_eq!(fault.outage(), Outage::GatewayServiceAccount);
        let text = fault.to_string();
        assert!(text.contains("the mounted token"), "{text}");
        assert!(!text.contains("not a token"), "{text}");
        assert!(matches!(cluster.pin().unwrap().0, Pin::Unknown(_)));
    }
    assert_eq!(sim.reviews(), before);
    fs::write(
        mounted.dir.path().join("token"),
        account(&sim, "gateway", true),
    )
    .unwrap();
    own.refresh().await;
    assert!(verify(&cluster, &pod).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_gateways_list_holds_for_its_own_cluster_too() {
    let sim = sim().await;
    let mounted = Pod::new(&sim, &account(&sim, "gateway", true));
    let listed = AllowedApiServers::only(vec![sim.host().parse().unwrap()]);
    let pinned = mounted.own_within(&sim, listed).pin(soon()).await.unwrap();
    let others = AllowedApiServers::only(vec!["https://other".parse().unwrap()]);
    let own = mounted.own_within(&sim, others);
    let fault = own.pin(soon()).await.unwrap_err();
    assert!(
        fault.contains(sim.host()) && fault.contains("api_servers"),
        "{fault}"
    );
    let cluster =
        Cluster::new(config(&sim, &pinned), &Shared::uncounted(Arc::clone(&own))).unwrap();
    let pod = sim.pod_token("my-namespace-a", "mypod1").unwrap();
    let fault = verify(&cluster, &pod).await.unwrap_err();
    assert_eq!(fault.outage(), Outage::GatewayServiceAccount);
    assert_eq!(sim.reviews(), 0);
}

#[tokio::test]
async fn a_gateway_outside_any_cluster_says_so() {
    let fault = OwnCluster::none().pin(soon()).await.unwrap_err();
    assert!(fault.contains("doesn't run in a cluster"), "{fault}");
}

#[tokio::test(start_paused = true)]
async fn files_that_change_are_in_use_within_five_seconds() {
    let dir = tempfile::tempdir().unwrap();
    // Nobody listens there: what is waited for is what the replica makes of its files.
    let own = Arc::new(OwnCluster::new(
        dir.path().to_owned(),
        Some("https://127.0.0.1:1".parse().unwrap()),
        Arc::new(AllowedApiServers::any()),
        Clock::system(),
    ));
    let link = OwnLink::new(&own, PinnedCluster::CaKey([0; 32]), Timeouts::default());
    let stop = CancellationToken::new();
    let (running, stopped) = (Arc::clone(&own), stop.clone());
    let task = tokio::spawn(async move { running.run(stopped).await });
    let until = async |found: fn(&Pin) -> bool| {
        while !found(&link.pin().0) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    until(|pin| matches!(pin, Pin::Unknown(fault) if fault.contains("ca.crt"))).await;

    let sim = sim().await;
    fs::write(dir.path().join("token"), "aaa.bbb.ccc").unwrap();
    fs::write(dir.path().join("ca.crt"), sim.ca_pem()).unwrap();
    let other = until(|pin| *pin == Pin::Other);
    assert!(timeout(Duration::from_secs(5), other).await.is_ok());
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn a_mounted_token_alarms_only_once_it_should_have_been_replaced() {
    let sim = sim().await;
    account(&sim, "gateway", false);
    let an_hour = kube_sim::TokenOptions {
        expiration: Some(Duration::from_secs(3600)),
        ..kube_sim::TokenOptions::default()
    };
    let token = sim.create_token("default", "gateway", &an_hour).unwrap();
    let pod = Pod::new(&sim, &token);
    let own = pod.own(&sim);
    let pinned = own.pin(soon()).await.unwrap();
    let cluster = Cluster::new(config(&sim, &pinned), &Shared::uncounted(own)).unwrap();
    let end = cluster.credential_expire_time().unwrap();
    let before = |minutes| end - jiff::SignedDuration::from_mins(minutes);
    assert_eq!(cluster.alarming_expire_time(before(6)), None);
    assert_eq!(cluster.alarming_expire_time(before(4)), Some(end));
    let probe = cluster.probe(&[], &Clock::system(), soon()).await;
    assert_eq!(probe.credential_end, Some(end));
}
