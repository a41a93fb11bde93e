//! What a running stack leaves in a file, so that other processes find it.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

/// Who runs. Holds the simulated cluster's administrator's token: no `Debug`, mode 0600.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    pub cluster: ClusterState,
    /// `None`: only the cluster runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub servers: Option<Servers>,
}

/// How to reach the simulated cluster as its administrator.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterState {
    /// `https://host:port`
    pub host: String,
    /// PEM.
    pub ca_cert: String,
    pub issuer: String,
    #[serde(serialize_with = "expose", deserialize_with = "conceal")]
    pub admin_token: SecretString,
}

/// Where the servers are.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Servers {
    pub control_plane_url: String,
    pub gateway_url: String,
    /// PEM file.
    pub ca_cert: PathBuf,
    /// Of the command line, with an administrator's credential.
    pub profile: String,
}

fn expose<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

fn conceal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    String::deserialize(deserializer).map(SecretString::from)
}

impl State {
    /// `None` when there is no such file.
    ///
    /// # Errors
    /// It can't be read, or isn't such a file.
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(serde_json::from_str(&text)?))
    }

    /// Replaces the file as a whole.
    ///
    /// # Errors
    /// It can't be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let json = Zeroizing::new(serde_json::to_string_pretty(self)?);
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut file = NamedTempFile::new_in(folder)?;
        file.write_all(json.as_bytes())?;
        file.write_all(b"\n")?;
        file.persist(path)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_written_is_read_again_by_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        assert!(State::read(&path).unwrap().is_none());
        let state = State {
            cluster: ClusterState {
                host: "https://127.0.0.1:1".to_owned(),
                ca_cert: "PEM".to_owned(),
                issuer: "https://issuer".to_owned(),
                admin_token: "token".into(),
            },
            servers: None,
        };
        state.write(&path).unwrap();
        state.write(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let read = State::read(&path).unwrap().unwrap();
        assert_eq!(read.cluster.admin_token.expose_secret(), "token");
        assert!(read.servers.is_none());
    }
}
