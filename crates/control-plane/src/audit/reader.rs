//! Whether the caller of an open stream of records may still read them.

use std::net::IpAddr;

use postern_core::access_token::TokenHash;
use postern_core::permission::Permission;
use postern_rpc::error::Error;
use postern_rpc::request::RequestExt as _;
use tonic::Request;

use crate::authorizer;
use crate::context::Context;
use crate::identity::Administrator;
use crate::standing::Standing;

pub(super) struct Reader {
    standing: Standing,
    token: TokenHash,
    /// Where the stream goes.
    ip: Option<IpAddr>,
}

// === impl Reader ===

impl Reader {
    pub(super) fn of<T>(context: &Context, request: &Request<T>) -> Result<Self, Error> {
        let token = Administrator::of(request)?.token;
        Ok(Self {
            standing: Standing::new(context.clone(), token),
            token,
            ip: request.caller()?.ip,
        })
    }

    /// Whenever it is time to [check](Self::check). May be dropped and asked for again.
    pub(super) async fn due(&mut self) {
        self.standing.due().await;
    }

    /// Until the caller may have the stream no longer: why.
    pub(super) async fn lost(&mut self) -> Error {
        loop {
            self.due().await;
            if let Err(error) = self.check().await {
                return error;
            }
        }
    }

    /// As the call that opened the stream was judged.
    pub(super) async fn check(&self) -> Result<(), Error> {
        let session = self.standing.check().await?;
        authorizer::holder(self.token, session, Permission::AuditRead, self.ip).map(drop)
    }
}
