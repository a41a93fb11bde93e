//! Profiles: what `postern configure` stores, so that commands needn't repeat it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// Used when neither `--profile` nor `POSTERN_PROFILE` names one.
pub(crate) const DEFAULT: &str = "default";

/// Addresses, trust and an administrator's credential. Holds the key itself, so that the file
/// it came from can go away; the profile's own file has mode 0600.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) control_plane_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gateway_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gateway_name: Option<String>,
    /// PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca_cert: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) access_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) access_key: Option<String>,
}

/// Where a profile's file is: in `POSTERN_CONFIG_DIR`, `$XDG_CONFIG_HOME/postern` or
/// `~/.config/postern`.
pub(crate) fn path(name: &str) -> Result<PathBuf, Failure> {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.starts_with('.') || !name.chars().all(safe) {
        return Err(Failure::usage(format!(
            "--profile: `{name}` must be of letters, digits, `-`, `_` and `.`"
        )));
    }
    Ok(folder()?.join(format!("{name}.json")))
}

fn folder() -> Result<PathBuf, Failure> {
    let from = |variable: &str| {
        std::env::var_os(variable)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    from("POSTERN_CONFIG_DIR")
        .or_else(|| from("XDG_CONFIG_HOME").map(|dir| dir.join("postern")))
        .or_else(|| from("HOME").map(|dir| dir.join(".config/postern")))
        .ok_or_else(|| Failure::usage("no HOME: say where profiles are with POSTERN_CONFIG_DIR"))
}

/// The profile, or `None` when it was never stored.
pub(crate) fn load(name: &str) -> Result<Option<Profile>, Failure> {
    let path = match path(name) {
        Ok(path) => path,
        // Without a home there are no profiles, which is no fault unless one is asked for.
        Err(_) if name == DEFAULT => return Ok(None),
        Err(failure) => return Err(failure),
    };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::file(&path, &error)),
    };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

/// Stores the profile and says where.
pub(crate) fn store(name: &str, profile: &Profile) -> Result<PathBuf, Failure> {
    let path = path(name)?;
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| Failure::file(folder, &error))?;
    }
    let json = serde_json::to_string_pretty(profile)
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    write_private(&path, json.as_bytes()).map_err(|error| Failure::file(&path, &error))?;
    Ok(path)
}

/// Writes a file that only its owner can read, whole or not at all.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| {
            file.write_all(content)?;
            file.write_all(b"\n")?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}
