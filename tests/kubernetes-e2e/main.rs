//! Postern against a real kube-apiserver: what only such a one can show.
//!
//! `POSTERN_TEST_KUBECONFIG` names the kubeconfig of the cluster's administrator, as for the contract suite; objects that
//! the tests make are named `contract-…` and removed. Tests that restart the API server with other keys or issuers also
//! need a cluster that `tests/kubernetes/cluster run` started. With `POSTERN_TEST_REQUIRE_KUBERNETES` nothing is left out.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[expect(dead_code, unused_imports, reason = "shared with the end-to-end tests")]
#[path = "../e2e/support/mod.rs"]
mod support;

#[path = "../contract/real.rs"]
mod real;
#[expect(dead_code, reason = "shared with the contract suite")]
#[path = "../contract/server.rs"]
mod server;
#[path = "../contract/token.rs"]
mod token;

mod apply;
mod audiences;
mod bed;
mod bounds;
mod diagnostics;
mod doctor;
mod import;
mod in_cluster;
mod issuers;
mod keys;
mod lifecycle;
mod modes;
mod objects;
mod pods;
mod presented;
mod reviewers;
mod rotation;
mod storage;
