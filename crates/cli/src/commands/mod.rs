//! Every command, a file a noun.

pub(crate) mod apply;
pub(crate) mod association;
pub(crate) mod audit;
pub(crate) mod auth;
pub(crate) mod auth_method;
pub(crate) mod authorization;
pub(crate) mod block;
pub(crate) mod configure;
pub(crate) mod dev;
pub(crate) mod explain;
pub(crate) mod gateway;
pub(crate) mod health;
pub(crate) mod init;
pub(crate) mod k8s_auth_config;
pub(crate) mod key_file;
pub(crate) mod logout;
pub(crate) mod manifest;
pub(crate) mod recover_admin;
pub(crate) mod role;
pub(crate) mod seal_key;
pub(crate) mod serve;
pub(crate) mod signing_key;
pub(crate) mod simulate;
pub(crate) mod token;
mod token_admin;
pub(crate) mod tour;
