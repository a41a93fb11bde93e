//! What must work before a server takes requests.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::sync::watch;

/// One server's components and whether each is ready. Cheap to clone; nothing is global.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<watch::Sender<State>>);

/// The handle of whoever knows whether one component is ready.
#[derive(Debug, Clone)]
pub struct Component {
    name: &'static str,
    registry: Readiness,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// By name; the reason of those that aren't ready.
    components: BTreeMap<&'static str, Option<String>>,
    shutting_down: bool,
}

/// Whether each component is ready, for `/metrics`: asked when it is read.
pub(crate) struct Gauge(pub(crate) Readiness);

// === impl Readiness ===

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Readiness {
    /// Ready until a component is added.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::default()))
    }

    /// Adds a component, which is not ready until it says so.
    pub fn component(&self, name: &'static str) -> Component {
        let component = Component {
            name,
            registry: self.clone(),
        };
        component.not_ready("starting");
        component
    }

    pub fn is_ready(&self) -> bool {
        self.0.borrow().is_ready()
    }

    /// Waits until everything is ready.
    pub async fn ready(&self) {
        // The sender is `self`, so it can't be gone.
        let _ = self.0.subscribe().wait_for(State::is_ready).await;
    }

    pub(crate) fn components(&self) -> BTreeMap<&'static str, Option<String>> {
        self.0.borrow().components.clone()
    }

    /// From now on not ready, whatever the components say.
    pub(crate) fn shut_down(&self) {
        self.0.send_modify(|state| state.shutting_down = true);
    }

    /// Wakes at every change.
    pub(crate) fn changes(&self) -> watch::Receiver<State> {
        self.0.subscribe()
    }
}

impl State {
    fn is_ready(&self) -> bool {
        !self.shutting_down && self.components.values().all(Option::is_none)
    }
}

// === impl Component ===

impl Component {
    pub fn ready(&self) {
        self.set(None);
    }

    /// `reason` is for operators; it is served to anybody who asks, so it names no secret.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.set(Some(reason.into()));
    }

    fn set(&self, reason: Option<String>) {
        self.registry.0.send_if_modified(|state| {
            let changed = state.components.get(self.name) != Some(&reason);
            state.components.insert(self.name, reason);
            changed
        });
    }
}

// === impl Gauge ===

impl Collector for Gauge {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Whether a part that the server needs is ready";
        let mut metric =
            encoder.encode_descriptor("component_ready", help, None, MetricType::Gauge)?;
        for (name, reason) in self.0.components() {
            let labels = [("component", name)];
            let metric = metric.encode_family(&labels)?;
            ConstGauge::new(i64::from(reason.is_none())).encode(metric)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gauge")
    }
}
