//! Whether a config's pods are watched, for conditions and metrics.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;

use super::Ended;
use crate::cluster::PodsFault;

/// What can be said of a config's pods.
#[derive(Debug)]
pub(crate) enum PodsState {
    /// They are being compared for the first time.
    Starting,
    Watched,
    Failed(NotWatched),
}

/// Why not, and what to do.
#[derive(Debug)]
pub(crate) struct NotWatched {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) fix: &'static str,
}

/// One config's; nothing where nobody asked for it.
#[derive(Default)]
pub(crate) struct WatchedPods(ArcSwapOption<(PodsState, Timestamp)>);

impl WatchedPods {
    /// What is known, and since when.
    pub(crate) fn get(&self) -> Option<Arc<(PodsState, Timestamp)>> {
        self.0.load_full()
    }

    /// 1 while they are watched, 0 while they aren't.
    pub(crate) fn gauge(&self) -> Option<i64> {
        match self.get()?.0 {
            PodsState::Starting => None,
            PodsState::Watched => Some(1),
            PodsState::Failed(_) => Some(0),
        }
    }

    pub(super) fn are(&self, state: PodsState, now: Timestamp) {
        let before = self.get();
        let same = |before: &PodsState| {
            matches!(
                (before, &state),
                (PodsState::Watched, PodsState::Watched)
                    | (PodsState::Failed(_), PodsState::Failed(_))
            )
        };
        let since = before
            .filter(|before| same(&before.0))
            .map(|before| before.1);
        self.0.store(Some(Arc::new((state, since.unwrap_or(now)))));
    }

    pub(super) fn forget(&self) {
        self.0.store(None);
    }
}

impl From<Ended> for NotWatched {
    fn from(ended: Ended) -> Self {
        let (reason, fix) = match &ended {
            Ended::ControlPlane(_) => (
                "CONTROL_PLANE",
                "see whether the gateway reaches the control plane (readyz/control-plane), and whether both are of the same version",
            ),
            Ended::Pods(PodsFault::Forbidden) => (
                "PODS_FORBIDDEN",
                "let it: postern manifest reviewer --with-pods | kubectl apply -f -",
            ),
            Ended::Pods(PodsFault::NoCredential) => (
                "NO_CREDENTIAL",
                "give the config a reviewer (--token-reviewer-jwt), or switch revoke_with_pod off",
            ),
            Ended::Pods(PodsFault::Expired | PodsFault::NotPods | PodsFault::Call(_)) => (
                "WATCH_FAILED",
                "see the other conditions: the API server must answer a watch of pods, proxies before it included",
            ),
        };
        Self {
            reason,
            message: format!(
                "{ended}; until pods are watched, tokens outlive their pods until they expire"
            ),
            fix,
        }
    }
}
