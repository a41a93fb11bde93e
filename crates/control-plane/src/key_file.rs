//! The file of the control plane's own keys.

use std::path::{Path, PathBuf};
use std::{fs, io};

use postern_core::own_keys::OwnKeys;
use postern_core::seal::KeyringError;
use zeroize::Zeroizing;

/// More than a thousand keys.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// Why a key file can't be used. Holds nothing of what is in it.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("can't read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: {fault}", path.display())]
    Malformed { path: PathBuf, fault: KeyringError },
}

/// Reads a file of lines `id:base64(32 bytes)`, such as `postern init` makes.
///
/// # Errors
/// It can't be read, holds no key, or a line that isn't one.
pub fn read(path: &Path) -> Result<OwnKeys, KeyFileError> {
    let failed = |source| KeyFileError::Read {
        path: path.to_owned(),
        source,
    };
    if fs::metadata(path).map_err(failed)?.len() > MAX_FILE_BYTES {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    let text = fs::read_to_string(path).map(Zeroizing::new);
    OwnKeys::parse(&text.map_err(failed)?).map_err(|fault| KeyFileError::Malformed {
        path: path.to_owned(),
        fault,
    })
}
