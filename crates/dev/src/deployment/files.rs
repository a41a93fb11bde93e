//! Writing what is missing, for the owner's eyes only.

use std::fs::{self, DirBuilder};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::InitError;

/// Writes below one folder, and remembers what it wrote.
pub(super) struct Writer {
    dir: PathBuf,
    created: Vec<PathBuf>,
}

impl Writer {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            created: Vec::new(),
        }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn into_created(self) -> Vec<PathBuf> {
        self.created
    }

    /// Makes a subfolder with mode 0700; one that exists keeps its own.
    pub(super) fn folder(&self, name: &str) -> Result<(), InitError> {
        let path = self.dir.join(name);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(|source| InitError::File { path, source })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.dir.join(name).exists()
    }

    /// Writes the file unless it exists.
    pub(super) fn missing(
        &mut self,
        name: &str,
        content: impl FnOnce() -> Result<String, InitError>,
    ) -> Result<(), InitError> {
        if self.has(name) {
            return Ok(());
        }
        self.write(name, &content()?)
    }

    /// Writes a file whole or not at all; it must not exist.
    pub(super) fn write(&mut self, name: &str, content: &str) -> Result<(), InitError> {
        let path = self.dir.join(name);
        match write_new(&path, content) {
            Ok(()) => {
                self.created.push(path);
                Ok(())
            }
            Err(source) => Err(InitError::File { path, source }),
        }
    }

    /// Removes a file that is of no use without another one.
    pub(super) fn remove(&self, name: &str) -> Result<(), InitError> {
        let path = self.dir.join(name);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(InitError::File { path, source })
            }
            _ => Ok(()),
        }
    }
}

/// `None` when there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<String>, InitError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(InitError::File {
            path: path.to_owned(),
            source,
        }),
    }
}

fn write_new(path: &Path, content: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // Temporary files have mode 0600 from the start.
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(content.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    Ok(())
}
