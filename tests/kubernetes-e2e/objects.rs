//! What people make in a cluster.

use serde_json::{Value, json};

use crate::bed::{Bed, block_on};
use crate::server::{self, Server, bound_to};

/// A namespace of one test, removed with its bed.
pub(crate) struct Namespace(String);

impl Namespace {
    pub(crate) fn create(server: &Server) -> Self {
        Self(block_on(server.namespace()))
    }

    pub(crate) fn name(&self) -> &str {
        &self.0
    }
}

impl Bed {
    pub(crate) fn namespace(&self) -> Namespace {
        Namespace::create(&self.server)
    }

    pub(crate) fn service_account(&self, namespace: &Namespace, name: &str) -> String {
        block_on(self.server.service_account(namespace.name(), name))
    }

    /// A pod of the default service account, and the token that a kubelet would have put into it.
    pub(crate) fn pod(&self, namespace: &Namespace, name: &str) -> String {
        self.pod_of(namespace, name, "default")
    }

    pub(crate) fn pod_of(&self, namespace: &Namespace, name: &str, account: &str) -> String {
        block_on(self.server.pod(namespace.name(), name, account));
        self.pod_token(namespace, account, name)
    }

    /// One more token of a pod that is there.
    pub(crate) fn pod_token(&self, namespace: &Namespace, account: &str, pod: &str) -> String {
        self.token(namespace, account, bound_to("Pod", pod))
    }

    /// A node, without a kubelet.
    pub(crate) fn node(&self) -> String {
        let name = self.server.name();
        let node = json!({ "metadata": { "name": name } });
        block_on(self.server.make("/api/v1/nodes", node));
        self.server.remember(format!("/api/v1/nodes/{name}"));
        name
    }

    /// The token of a pod that was scheduled onto a node.
    pub(crate) fn pod_on(&self, namespace: &Namespace, name: &str, node: &str) -> String {
        let mut pod = server::pod(name, "default");
        pod["spec"]["nodeName"] = json!(node);
        let pods = format!("/api/v1/namespaces/{}/pods", namespace.name());
        block_on(self.server.make(&pods, pod));
        self.pod_token(namespace, "default", name)
    }

    /// A token by TokenRequest with this `spec`.
    pub(crate) fn token(&self, namespace: &Namespace, account: &str, spec: Value) -> String {
        block_on(self.server.token(namespace.name(), account, spec))
    }

    /// A token for a pod with other audiences or another life.
    pub(crate) fn pod_token_with(&self, namespace: &Namespace, pod: &str, spec: Value) -> String {
        let mut all = bound_to("Pod", pod);
        all.as_object_mut()
            .unwrap()
            .extend(spec.as_object().unwrap().clone());
        self.token(namespace, "default", all)
    }

    pub(crate) fn delete(&self, namespace: &Namespace, kind: &str, name: &str) {
        let path = format!("/api/v1/namespaces/{}/{kind}/{name}", namespace.name());
        block_on(self.server.delete(&path));
    }

    /// Waits until the API server itself refuses a token that it sees for the first time.
    pub(crate) fn until_refused(&self, tokens: Vec<String>) {
        block_on(self.server.first_refusal(tokens));
    }
}
