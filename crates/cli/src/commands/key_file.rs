//! Key files, of gateways and of the control plane: lines of `id:base64`, the first one seals.

use std::path::Path;

use clap::Args;
use postern_core::seal::{Keyring, KeyringError, SealKeyId};
use serde_json::json;
use zeroize::Zeroizing;

use crate::failure::{Exit, Failure};
use crate::flags::{OutputFlags, present};
use crate::{output, profile};

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// The key file; made if it doesn't exist
    #[arg(long, value_name = "FILE")]
    file: String,
    /// The new key's ID [default: `k` and the time]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
}

// === impl GenerateArgs ===

impl GenerateArgs {
    /// `check` reads a file as the server does; `done` says, of the key's ID and the file, what
    /// to do next with a key beside others.
    pub(crate) fn run(
        &self,
        flags: &OutputFlags,
        check: impl Fn(&str) -> Result<(), KeyringError>,
        done: impl Fn(&SealKeyId, &str) -> String,
    ) -> Result<(), Failure> {
        let file = present("--file", &self.file)?;
        let path = Path::new(&file);
        let before = match std::fs::read_to_string(path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Default::default(),
            Err(error) => return Err(Failure::file(path, &error)),
        };
        let id = self.id()?;
        let line = Keyring::generate_line(&id)
            .map_err(|error| Failure::new(Exit::Unavailable, error.to_string()))?;
        let mut after = Zeroizing::new(before.trim_end().to_owned());
        if !after.is_empty() {
            after.push('\n');
        }
        after.push_str(line.trim_end());
        // The whole file is checked, so that a key that can't be read is found now.
        check(&after).map_err(|error| Failure::usage(format!("{file}: {error}")))?;
        profile::write_private(path, after.as_bytes())
            .map_err(|error| Failure::file(path, &error))?;
        output::print(
            flags.format(),
            &json!({ "id": id.to_string(), "file": file }),
            &match before.trim().is_empty() {
                true => format!(
                    "Key {id} made in {file}. It is the only one there: it seals and opens."
                ),
                false => done(&id, &file),
            },
        )
    }

    fn id(&self) -> Result<SealKeyId, Failure> {
        let id = match &self.id {
            Some(id) => present("--id", id)?,
            None => format!("k{}", jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S")),
        };
        id.parse()
            .map_err(|error| Failure::usage(format!("--id: `{id}` {error}")))
    }
}
