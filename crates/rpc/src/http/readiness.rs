//! What must work before a server takes requests.

use std::collections::BTreeMap;
use std::sync::Arc;

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
