//! A connection whose trust and certificate follow their files.

use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic::transport;

use super::channel::{Channel, Origin, TargetError};
use crate::metrics::{Side, TlsState};
use crate::tls::{self, Files, Follow, Made, PairFiles};

const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Which server, whom to believe that it is it, and what to show it.
#[derive(Debug, Clone)]
pub struct FileTarget {
    /// As [`super::Target::url`].
    pub url: String,
    /// PEM file of roots beside the system's.
    pub ca: Option<PathBuf>,
    /// The client's own certificate.
    pub certificate: Option<PairFiles>,
}

/// Looks after the files of a channel.
#[derive(Debug)]
pub struct FollowTarget(Follow<transport::Channel>);

/// As [`super::connect()`], from files: once they have changed, new calls go over a new connection,
/// and open ones end on the old one. Nothing changes unless [`FollowTarget::run`] runs.
///
/// # Errors
/// The URL or a file can't be used. Must be called inside a tokio runtime.
pub fn connect_by_files(target: FileTarget) -> Result<(Channel, FollowTarget), TargetError> {
    let FileTarget {
        url,
        ca,
        certificate,
    } = target;
    let origin = Origin::parse(&url)?;
    if let Some(pair) = &certificate {
        if !origin.is_tls() {
            return Err(origin.wrong("a client certificate needs https://"));
        }
        tls::check_pair(pair).map_err(TargetError::Certificate)?;
    }
    let is_tls = origin.is_tls();
    let (has_certificate, has_ca) = (certificate.is_some(), ca.is_some());
    let pair = certificate
        .into_iter()
        .flat_map(|it| [it.certificate, it.key]);
    let paths = pair.chain(ca).collect();
    let refusal = super::connect::Refusal::default();
    let noted = refusal.clone();
    let make = move |files: &Files| {
        let pair = has_certificate
            .then(|| tls::certified_key(files.at(0), files.at(1)))
            .transpose()?;
        let expires = pair.as_ref().and_then(tls::expiry);
        let ca = has_ca.then(|| files.at(if has_certificate { 2 } else { 0 }));
        let config = is_tls
            .then(|| tls::client_config_with(ca, pair))
            .transpose()?;
        Ok(Made {
            value: origin.channel(config, noted.clone()),
            expires,
        })
    };
    let (follow, current) = Follow::load(paths, make).map_err(TargetError::Ca)?;
    Ok((Channel::following(current, refusal), FollowTarget(follow)))
}

// === impl FollowTarget ===

impl FollowTarget {
    /// Until `stop`.
    pub async fn run(self, metrics: TlsState, stop: CancellationToken) {
        self.run_every(LOOK_EVERY, metrics, stop).await;
    }

    pub(crate) async fn run_every(
        self,
        every: Duration,
        metrics: TlsState,
        stop: CancellationToken,
    ) {
        self.0.run(Side::Client, every, metrics, stop).await;
    }
}
