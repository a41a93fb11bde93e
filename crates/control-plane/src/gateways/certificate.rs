//! Which connections a gateway's credential may come over.

use postern_core::resource_id::GatewayName;
use postern_rpc::caller::Caller;
use postern_rpc::error::Error;
use prometheus_client::metrics::counter::Counter;

use crate::store::SpeaksFor;

/// What is asked of a gateway's connection, and how often it wasn't so. Clones share the count.
#[derive(Debug, Clone)]
pub(crate) struct GatewayCertificates {
    required: bool,
    refused: Counter,
}

// === impl GatewayCertificates ===

impl GatewayCertificates {
    pub(crate) fn new(required: bool, refused: Counter) -> Self {
        Self { required, refused }
    }

    /// A certificate of one gateway speaks for no other, required or not.
    pub(crate) fn speaks_for(&self, caller: &Caller) -> SpeaksFor {
        let certificate = caller.certificate.as_ref();
        match certificate.and_then(|it| it.gateway()) {
            Some(gateway) => SpeaksFor::Only(gateway.clone()),
            None if self.required => SpeaksFor::Nobody,
            None => SpeaksFor::Any,
        }
    }

    /// Whether a gateway's token may be used by the caller. To a gateway the answer is an outage of
    /// its own, and nothing about the pods that log in through it.
    pub(crate) fn check(&self, caller: &Caller, gateway: &GatewayName) -> Result<(), Error> {
        if self.speaks_for(caller).admits(gateway.as_str()) {
            return Ok(());
        }
        self.refused(gateway.as_str(), caller);
        Err(Error::Unauthenticated)
    }

    /// Somebody has a gateway's credential, and not its certificate.
    pub(crate) fn refused(&self, credential: &str, caller: &Caller) {
        self.refused.inc();
        tracing::warn!(
            credential,
            ip = caller.ip.map(tracing::field::display),
            request_id = %caller.request_id,
            "a gateway's credential came over a connection without that gateway's certificate"
        );
    }
}
