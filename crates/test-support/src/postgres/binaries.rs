//! Where PostgreSQL's server programs are, and as whom they can run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder that holds both `initdb` and `postgres`.
pub(super) struct Binaries(PathBuf);

impl Binaries {
    /// Searched in this order: the PATH, what `pg_config` names, Debian's versioned folders with
    /// the newest first.
    pub(super) fn find() -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .filter_map(|folder| {
                Some(
                    fs::canonicalize(folder.join("initdb"))
                        .ok()?
                        .parent()?
                        .to_owned(),
                )
            })
            .chain(pg_config())
            .chain(debian("/usr/lib/postgresql"))
            .find(|folder| {
                ["initdb", "postgres"]
                    .iter()
                    .all(|name| folder.join(name).is_file())
            })
            .map(Self)
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

fn pg_config() -> Option<PathBuf> {
    Some(stdout(Command::new("pg_config").arg("--bindir"))?.into())
}

fn debian(root: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort_by(|a, b| b.cmp(a));
    versions.into_iter().map(|(_, folder)| folder).collect()
}

/// A user and a group by number.
#[derive(Clone, Copy)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Owner {
    /// As whom the server must run where the owner of `folder`, this process's user, is root, which
    /// `initdb` and `postgres` refuse.
    pub(super) fn instead_of_root(folder: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let metadata = fs::metadata(folder).expect("a folder that was just made");
        if metadata.uid() != 0 {
            return None;
        }
        let owner = ["postgres", "nobody"].into_iter().find_map(Self::named);
        Some(owner.expect("a user named postgres or nobody, since root can't run PostgreSQL"))
    }

    fn named(user: &str) -> Option<Self> {
        let id = |flag| stdout(Command::new("id").args([flag, user]))?.parse().ok();
        Some(Self {
            uid: id("-u")?,
            gid: id("-g")?,
        })
    }
}

fn stdout(command: &mut Command) -> Option<String> {
    let output = command
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
