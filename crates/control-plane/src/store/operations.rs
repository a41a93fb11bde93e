//! Every operation, a line each: one is one transaction on whichever engine it is.

mod audit;
mod auth_methods;
mod gateways;
mod roles;
mod signing_keys;
mod tokens;
