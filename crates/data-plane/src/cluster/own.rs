//! The cluster that the gateway runs in, by what is mounted into its pod.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use futures::future::join_all;
use jiff::Timestamp;
use postern_core::ca_bundle::CaBundle;
use postern_core::clock::Clock;
use postern_core::k8s_auth_config::{
    AllowedApiServers, K8sHost, PinnedCluster, ReviewerToken, Timeouts,
};
use postern_rpc::deadline::Deadline;
use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::client::Way;
use super::connection::{Credential, Link};
use super::fault::ReviewFault;

/// Where Kubernetes mounts a pod's service account.
pub(crate) const SERVICE_ACCOUNT_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How often the files are read again: what changes is in use after this time and that of a read.
const REREAD: Duration = Duration::from_secs(2);
/// How long connecting anew may hold up the next reading.
const CONNECTING: Duration = Duration::from_secs(2);
const KUBE_SYSTEM: &str = "/api/v1/namespaces/kube-system";

/// What a gateway knows of the cluster that it runs in.
pub(crate) struct OwnCluster {
    dir: PathBuf,
    /// `None`: it runs in none.
    api_server: Option<K8sHost>,
    allowed: Arc<AllowedApiServers>,
    clock: Clock,
    files: ArcSwap<Files>,
    links: Mutex<Vec<Weak<OwnLink>>>,
}

/// The mounted files as they were last read.
enum Files {
    Unread,
    Mounted(Arc<Mounted>),
    Unreadable(OwnFault),
}

/// A CA and a token that were read together.
#[derive(PartialEq, Eq)]
struct Mounted {
    ca: CaBundle,
    token: String,
    token_expire_time: Option<Timestamp>,
}

/// Why the gateway's own service account can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OwnFault {
    #[error(
        "this gateway doesn't run in a cluster: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT aren't set, nor own_cluster.url in its gateway.json"
    )]
    NoCluster,
    #[error("{0} isn't among this gateway's api_servers")]
    NotAllowed(K8sHost),
    #[error("the mounted {file} can't be used: {fault}")]
    File { file: &'static str, fault: String },
    #[error("it isn't the cluster that the config is pinned to")]
    OtherCluster,
    #[error("the namespace kube-system, whose UID the config is pinned to, can't be read")]
    PinUnreadable,
}

/// What is known of a config's pin at this replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pin {
    Unknown(String),
    Holds,
    Other,
}

/// One config's connections to the gateway's own cluster.
pub(super) struct OwnLink {
    own: Arc<OwnCluster>,
    pinned: PinnedCluster,
    timeouts: Timeouts,
    /// Made with these files, in the cluster that the config is pinned to.
    live: ArcSwapOption<(Arc<Mounted>, Arc<Link>)>,
    pin: ArcSwap<(Pin, Timestamp)>,
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Deserialize)]
struct Namespace {
    metadata: NamespaceMeta,
}

#[derive(Deserialize)]
struct NamespaceMeta {
    uid: String,
}

// === impl OwnCluster ===

impl OwnCluster {
    pub(crate) fn new(
        dir: PathBuf,
        api_server: Option<K8sHost>,
        allowed: Arc<AllowedApiServers>,
        clock: Clock,
    ) -> Self {
        Self {
            dir,
            api_server,
            allowed,
            clock,
            files: ArcSwap::from_pointee(Files::Unread),
            links: Mutex::default(),
        }
    }

    /// Reads the files again and again, until `stop`.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        let mut ticks = interval(REREAD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        stop.run_until_cancelled(async {
            loop {
                ticks.tick().await;
                self.refresh().await;
            }
        })
        .await;
    }

    /// Reads the files of those who use them. Where they changed, connections that were made with
    /// them are closed; where a config isn't connected, it is tried, so that its pin is known
    /// before anybody logs in.
    pub(crate) async fn refresh(&self) {
        let links = self.links();
        if links.is_empty() {
            return;
        }
        self.reread().await;
        for link in &links {
            link.forget_old();
        }
        // A server that is slow delays no reading of the files; the pins keep what went wrong.
        let tries = links
            .iter()
            .map(|link| link.link(Deadline::after(CONNECTING)));
        join_all(tries).await;
    }

    /// Runs in no cluster.
    #[cfg(test)]
    pub(crate) fn none() -> Arc<Self> {
        let allowed = Arc::new(AllowedApiServers::any());
        Arc::new(Self::new(PathBuf::new(), None, allowed, Clock::system()))
    }

    /// The pin of a config that is written now.
    pub(crate) async fn pin(&self, deadline: Deadline) -> Result<PinnedCluster, String> {
        let pin = async {
            self.reread().await;
            let mounted = self.mounted().await.map_err(|fault| fault.to_string())?;
            let link = self
                .connect(&mounted, Timeouts::default())
                .map_err(|fault| fault.to_string())?;
            match kube_system(&link).await {
                Ok(uid) => format!("kube-system:{uid}")
                    .parse()
                    .map_err(|_| "the UID of its namespace kube-system is none".to_owned()),
                // It may not read that namespace.
                Err(ReviewFault::ReviewerForbidden) => {
                    let key = mounted.ca.key_hashes().first().copied();
                    key.map(PinnedCluster::CaKey)
                        .ok_or_else(|| "its CA has no key".to_owned())
                }
                Err(fault) => Err(fault.to_string()),
            }
        };
        let pinned = deadline.run(pin).await;
        pinned
            .unwrap_or_else(|_| Err("its API server didn't answer in time".to_owned()))
            .map_err(|fault| format!("the gateway's own cluster can't be used: {fault}"))
    }

    fn links(&self) -> Vec<Arc<OwnLink>> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|link| link.strong_count() > 0);
        links.iter().filter_map(Weak::upgrade).collect()
    }

    async fn mounted(&self) -> Result<Arc<Mounted>, OwnFault> {
        if matches!(**self.files.load(), Files::Unread) {
            self.reread().await;
        }
        match &**self.files.load() {
            Files::Mounted(mounted) => Ok(Arc::clone(mounted)),
            Files::Unreadable(fault) => Err(fault.clone()),
            Files::Unread => Err(OwnFault::NoCluster),
        }
    }

    async fn reread(&self) {
        let files = match self.read().await {
            Err(fault) => {
                tracing::warn!(%fault, "the gateway's own service account can't be used");
                Files::Unreadable(fault)
            }
            Ok(read) => match &**self.files.load() {
                Files::Mounted(before) if **before == read => return,
                _ => Files::Mounted(Arc::new(read)),
            },
        };
        self.files.store(Arc::new(files));
    }

    async fn read(&self) -> Result<Mounted, OwnFault> {
        self.api_server()?;
        let ca = self.file("ca.crt").await?;
        let (ca, _) = CaBundle::parse(&ca, self.clock.now()).map_err(|fault| OwnFault::File {
            file: "ca.crt",
            fault: fault.to_string(),
        })?;
        let token = self.file("token").await?.parse::<ReviewerToken>();
        let token = token.map_err(|fault| OwnFault::File {
            file: "token",
            fault: fault.to_string(),
        })?;
        Ok(Mounted {
            ca,
            token: token.expose().to_owned(),
            token_expire_time: token.expire_time(),
        })
    }

    async fn file(&self, file: &'static str) -> Result<String, OwnFault> {
        let text = tokio::fs::read_to_string(self.dir.join(file)).await;
        text.map_err(|error: io::Error| OwnFault::File {
            file,
            fault: error.to_string(),
        })
    }

    fn api_server(&self) -> Result<&K8sHost, OwnFault> {
        let server = self.api_server.as_ref().ok_or(OwnFault::NoCluster)?;
        if self.allowed.allows(server) {
            Ok(server)
        } else {
            Err(OwnFault::NotAllowed(server.clone()))
        }
    }

    fn connect(&self, mounted: &Mounted, timeouts: Timeouts) -> Result<Link, ReviewFault> {
        let way = Way {
            host: self.api_server()?,
            ca: Some(&mounted.ca),
            tls_server_name: None,
            certificate: None,
            timeouts,
        };
        Link::new(&way, Credential::bearer(&mounted.token))
            .map_err(|error| ReviewFault::Request(error.into()))
    }
}

/// The UID of the namespace that every cluster has and that none shares.
async fn kube_system(link: &Link) -> Result<String, ReviewFault> {
    let answer = link.get(KUBE_SYSTEM).await?;
    let namespace: Namespace =
        serde_json::from_slice(&answer).map_err(|_| OwnFault::PinUnreadable)?;
    Ok(namespace.metadata.uid)
}

// === impl OwnLink ===

impl OwnLink {
    pub(super) fn new(
        own: &Arc<OwnCluster>,
        pinned: PinnedCluster,
        timeouts: Timeouts,
    ) -> Arc<Self> {
        let not_yet = Pin::Unknown("it hasn't been looked at yet".to_owned());
        let link = Arc::new(Self {
            own: Arc::clone(own),
            pinned,
            timeouts,
            live: ArcSwapOption::empty(),
            pin: ArcSwap::from_pointee((not_yet, own.clock.now())),
            connecting: tokio::sync::Mutex::default(),
        });
        let mut links = own.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.push(Arc::downgrade(&link));
        link
    }

    pub(super) fn pin(&self) -> (Pin, Timestamp) {
        (**self.pin.load()).clone()
    }

    /// Whether these are its connections.
    pub(super) fn goes_by(&self, link: &Arc<Link>) -> bool {
        let live = self.live.load();
        live.as_ref().is_some_and(|live| Arc::ptr_eq(&live.1, link))
    }

    pub(super) fn token_expire_time(&self) -> Option<Timestamp> {
        match &**self.own.files.load() {
            Files::Mounted(mounted) => mounted.token_expire_time,
            Files::Unread | Files::Unreadable(_) => None,
        }
    }

    fn found(&self, pin: Pin) {
        if self.pin.load().0 != pin {
            self.pin.store(Arc::new((pin, self.own.clock.now())));
        }
    }

    /// The connections of the files as they are now, once they are known to lead to the pinned
    /// cluster.
    pub(super) async fn link(&self, deadline: Deadline) -> Result<Arc<Link>, ReviewFault> {
        let mounted = match self.own.mounted().await {
            Ok(mounted) => mounted,
            Err(fault) => {
                self.live.store(None);
                self.found(Pin::Unknown(fault.to_string()));
                return Err(fault.into());
            }
        };
        if let Some(link) = self.of(&mounted) {
            return Ok(link);
        }
        let _connecting = deadline.run(self.connecting.lock()).await?;
        if let Some(link) = self.of(&mounted) {
            return Ok(link);
        }
        let link = self.own.connect(&mounted, self.timeouts)?;
        let checked = match deadline.run(self.check_pin(&mounted, &link)).await {
            Ok(checked) => checked,
            Err(late) => Err(late.into()),
        };
        self.found(match &checked {
            Ok(()) => Pin::Holds,
            Err(ReviewFault::OwnCluster(OwnFault::OtherCluster)) => Pin::Other,
            Err(fault) => Pin::Unknown(fault.to_string()),
        });
        checked?;
        let link = Arc::new(link);
        self.live
            .store(Some(Arc::new((mounted, Arc::clone(&link)))));
        Ok(link)
    }

    fn of(&self, mounted: &Arc<Mounted>) -> Option<Arc<Link>> {
        let live = self.live.load();
        let (with, link) = &**live.as_ref()?;
        Arc::ptr_eq(with, mounted).then(|| Arc::clone(link))
    }

    /// Closes connections that were made with other files than those that are there.
    fn forget_old(&self) {
        let current = match &**self.own.files.load() {
            Files::Mounted(mounted) => self.of(mounted).is_some(),
            Files::Unread | Files::Unreadable(_) => false,
        };
        if !current {
            self.live.store(None);
        }
    }

    async fn check_pin(&self, mounted: &Mounted, link: &Link) -> Result<(), ReviewFault> {
        let same = match &self.pinned {
            PinnedCluster::CaKey(key) => mounted.ca.key_hashes().contains(key),
            PinnedCluster::KubeSystem(pinned) => match kube_system(link).await {
                Ok(uid) => uid == *pinned,
                Err(ReviewFault::ReviewerForbidden) => return Err(OwnFault::PinUnreadable.into()),
                Err(fault) => return Err(fault),
            },
        };
        if same {
            Ok(())
        } else {
            Err(OwnFault::OtherCluster.into())
        }
    }
}

// === impl Mounted ===

impl Drop for Mounted {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.token);
    }
}

impl From<OwnFault> for ReviewFault {
    fn from(fault: OwnFault) -> Self {
        Self::OwnCluster(fault)
    }
}

#[cfg(test)]
mod tests;
