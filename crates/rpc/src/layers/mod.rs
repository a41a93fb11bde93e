//! What every request passes on its way to a handler, outside in: `observe`, `contain`,
//! `shed`, and, for gRPC methods, `deadline` and `authorize`.
//!
//! The request ID is drawn outside of everything, so that the answer to a panic has one too.
//! `authorize` comes last and still before the body is read: whoever may not call a method
//! learns nothing about its messages.

mod authorize;
mod contain;
mod deadline;
mod observe;
mod shed;

pub use authorize::{Answered, Authorizer, Call, LimitedCall, Refused};
pub(crate) use authorize::{authorize, no_administrators};
pub(crate) use contain::contain;
pub(crate) use deadline::deadline;
pub(crate) use observe::observe;
pub(crate) use shed::{CallLimits, shed};
