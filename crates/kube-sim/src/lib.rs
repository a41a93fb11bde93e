//! A stand-in for the parts of a Kubernetes API server that a token verifier meets: TokenReview, TokenRequest,
//! OIDC discovery and JWKS, RBAC for the reviewer, and the few objects that tokens refer to.
//!
//! [`KubeSim::start`] serves them over TLS with real RS256 tokens. It answers with the status codes, bodies and
//! `extra` keys of kube-apiserver 1.36; where the two differ, this crate is wrong. The same checks run against both
//! (`tests/contract`). Two differences are on purpose: nothing is cached (a real server keeps a positive review for
//! ten seconds), and controllers act at once instead of a moment later.
//!
//! Nothing here is shared with the code under test: the Kubernetes types are written a second time, so that one
//! misreading can't hide in both.
#![forbid(unsafe_code)]

mod authn;
mod cluster;
mod error;
mod fault;
mod http;
mod keyring;
mod keys;
mod objects;
mod peer;
mod pods;
mod rancher;
mod rbac;
mod record;
mod review;
mod route;
mod server;
mod sim;
mod tls;
mod tokens;

pub use error::{ApiError, Error};
pub use fault::Fault;
pub use rancher::Rancher;
pub use record::Recorded;
pub use sim::{Clock, KubeSim, Options};
pub use tokens::TokenOptions;
