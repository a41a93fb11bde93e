//! What a server's handshakes are done with.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use tokio::sync::watch;

use super::follow::{Files, Follow, Made};
use super::{ClientCaFiles, Error, PairFiles};

/// Is replaced as a whole, and with it the sessions that could be resumed.
#[derive(Clone)]
pub(crate) struct Material {
    pub(crate) config: Arc<ServerConfig>,
    /// Who judges client certificates; `None`: none is asked for.
    pub(crate) clients: Option<Arc<dyn ClientCertVerifier>>,
}

/// Which file has which place.
#[derive(Clone, Copy)]
struct Places {
    client_ca: bool,
    revoked: bool,
}

pub(crate) fn follow(
    pair: PairFiles,
    client_ca: Option<ClientCaFiles>,
) -> Result<(Follow<Material>, watch::Receiver<Material>), Error> {
    let places = Places {
        client_ca: client_ca.is_some(),
        revoked: client_ca.as_ref().is_some_and(|it| it.revoked.is_some()),
    };
    let mut paths: Vec<PathBuf> = vec![pair.certificate, pair.key];
    if let Some(client_ca) = client_ca {
        paths.push(client_ca.ca);
        paths.extend(client_ca.revoked);
    }
    Follow::load(paths, move |files| make(files, places))
}

fn make(files: &Files, places: Places) -> Result<Made<Material>, Error> {
    let pair = super::certified_key(files.at(0), files.at(1))?;
    let revoked = places.revoked.then(|| files.at(3));
    let clients = places
        .client_ca
        .then(|| super::client_verifier(files.at(2), revoked))
        .transpose()?;
    Ok(Made {
        expires: super::expiry(&pair),
        value: Material {
            config: Arc::new(super::server_config(pair, clients.clone())?),
            clients,
        },
    })
}
