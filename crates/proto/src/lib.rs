//! The wire: generated messages and services, what each call needs, and the one place
//! where wire messages and domain types meet.
#![forbid(unsafe_code)]

pub mod convert;
pub mod pb;
pub mod permissions;
mod redact;
pub mod sealed;
