//! A gateway's `gateway.json`, as the command line writes it for an administrator.

use std::fs;
use std::path::Path;

use postern_core::seal::{Keyring, SealKeyId};
use postern_data_plane::config::GatewayFile;
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::failure::{Exit, Failure};
use crate::profile;

const CA: &str = "ca.pem";
const CERTIFICATE: &str = "server.pem";
const KEY: &str = "server-key.pem";
const SEAL_KEYS: &str = "seal-keys";

/// What the control plane said of a new gateway, and where it is.
pub(super) struct NewGateway<'n> {
    pub(super) name: &'n str,
    pub(super) access_id: &'n str,
    pub(super) access_key: &'n str,
    pub(super) deployment_id: &'n str,
    pub(super) control_plane_url: &'n str,
    /// Whom to trust for the control plane, beside the system's roots.
    pub(super) ca_pem: Option<&'n [u8]>,
    /// The only API servers that it may talk to; none: any.
    pub(super) api_servers: &'n [String],
}

/// A new gateway's file mustn't replace another one's, nor a folder be missing once the key is made.
pub(super) fn check_absent(path: &Path) -> Result<(), Failure> {
    if path.exists() {
        let exists = format!("{} exists: it would be another gateway's", path.display());
        return Err(Failure::usage(exists));
    }
    match folder(path).is_dir() {
        true => Ok(()),
        false => Err(Failure::usage(format!(
            "{} is no folder",
            folder(path).display()
        ))),
    }
}

/// Writes what the gateway needs and whoever made it has: the file, seal keys and the CA. What there
/// is already stays. Returns the files that are still missing.
pub(super) fn write_new(path: &Path, new: &NewGateway<'_>) -> Result<Vec<String>, Failure> {
    let beside = |name: &str| folder(path).join(name);
    if !beside(SEAL_KEYS).exists() {
        let id: Result<SealKeyId, _> = "k1".parse();
        let id = id.map_err(|error| Failure::usage(error.to_string()))?;
        let line = Keyring::generate_line(&id)
            .map_err(|error| Failure::new(Exit::Unavailable, error.to_string()))?;
        write(&beside(SEAL_KEYS), line.trim_end())?;
    }
    if let Some(pem) = new.ca_pem
        && !beside(CA).exists()
    {
        write(&beside(CA), String::from_utf8_lossy(pem).trim_end())?;
    }
    let file = GatewayFile {
        gateway: new.name.to_owned(),
        access_id: new.access_id.to_owned(),
        access_key: new.access_key.into(),
        deployment_id: new.deployment_id.to_owned(),
        control_plane_url: new.control_plane_url.to_owned(),
        ca_cert: new.ca_pem.map(|_| CA.into()),
        tls_cert: CERTIFICATE.into(),
        tls_key: KEY.into(),
        seal_keys: SEAL_KEYS.into(),
        api_servers: (!new.api_servers.is_empty()).then(|| new.api_servers.to_vec()),
        ..GatewayFile::default()
    };
    store(path, &file)?;
    let missing = [CERTIFICATE, KEY]
        .into_iter()
        .filter(|name| !beside(name).exists());
    Ok(missing.map(str::to_owned).collect())
}

/// Reads a gateway's file, which must be of that gateway.
pub(super) fn read(path: &Path, name: &str) -> Result<GatewayFile, Failure> {
    let text = fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
    let text = Zeroizing::new(text);
    let file: GatewayFile = serde_json::from_str(&text)
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    if file.gateway != name {
        let (path, other) = (path.display(), &file.gateway);
        let message = format!("{path} is of the gateway `{other}`, not of `{name}`");
        return Err(Failure::usage(message));
    }
    Ok(file)
}

/// The same file with another key. The gateway reads it within seconds.
pub(super) fn replace_key(path: &Path, file: &GatewayFile, key: &str) -> Result<(), Failure> {
    let file = GatewayFile {
        access_key: SecretString::from(key),
        ..file.clone()
    };
    store(path, &file)
}

fn store(path: &Path, file: &GatewayFile) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(file)
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    write(path, &Zeroizing::new(json))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    profile::write_private(path, text.as_bytes()).map_err(|error| Failure::file(path, &error))
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
