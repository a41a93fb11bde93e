//! The search for secrets where none may be.
//!
//! A leak is any run of 16 characters of a secret, in the secret's own form or in base64,
//! hexadecimal or percent-encoding, at any offset. Runs that aren't secret are left out: a JWT's
//! header, PEM's armour and the fixed start of a key, what [`LeakSearch::public`] names, and runs of
//! fewer than five different characters.

mod forms;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs;
use std::path::Path;

use forms::{forms, public_forms};

/// The bytes in a run. Shorter ones are found by chance in a large database.
const RUN: usize = 16;

type Run = [u8; RUN];

/// A place where a part of a secret was found. It says which secret, and nothing of its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leak {
    pub secret: String,
    /// What was searched, or the file's path.
    pub label: String,
    /// In bytes from the start.
    pub offset: usize,
    /// In bytes of the text searched, at least 16.
    pub length: usize,
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            secret,
            label,
            offset,
            length,
        } = self;
        write!(
            f,
            "{length} bytes of {secret} in {label} at offset {offset}"
        )
    }
}

/// Register secrets, then search texts and folders.
#[derive(Default)]
pub struct LeakSearch {
    names: Vec<String>,
    runs: HashMap<Run, usize>,
    public: HashSet<Run>,
    prefixes: Prefixes,
}

impl LeakSearch {
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a secret under the name that leaks are reported by: a JWT, a PEM key (also base64
    /// of one), or any other text. Panics if fewer than 16 characters of it are secret.
    pub fn secret(&mut self, name: impl Into<String>, value: &str) -> &mut Self {
        let (name, index) = (name.into(), self.names.len());
        let forms = forms(value);
        assert!(
            forms[0].len() >= RUN,
            "{name} is too short to be told from chance"
        );
        for run in forms.iter().flat_map(|form| runs(form)) {
            if distinct(run) >= 5 && !self.public.contains(run) {
                self.prefixes.insert(run);
                self.runs.entry(*run).or_insert(index);
            }
        }
        self.names.push(name);
        self
    }

    /// A text that may be seen: what secrets have in common with it is not searched for. Name the
    /// public key of each private key, since the private key's file holds it too.
    pub fn public(&mut self, value: &str) -> &mut Self {
        for run in public_forms(value).iter().flat_map(|form| runs(form)) {
            self.runs.remove(run);
            self.public.insert(*run);
        }
        self
    }

    /// Every leak in `text`, in order; adjoining runs of one secret are one leak.
    pub fn search(&self, label: &str, text: impl AsRef<[u8]>) -> Vec<Leak> {
        let mut leaks: Vec<Leak> = Vec::new();
        let text = text.as_ref();
        let mut prefix = 0;
        for (last, &byte) in text.iter().enumerate() {
            prefix = prefix >> 8 | u64::from(byte) << 56;
            if !self.prefixes.may_contain(prefix) {
                continue;
            }
            let offset = (last + 1).saturating_sub(8);
            let Some(run) = text[offset..].first_chunk::<RUN>() else {
                continue;
            };
            let Some(secret) = self.runs.get(run).map(|&index| &self.names[index]) else {
                continue;
            };
            match leaks.last_mut() {
                Some(last) if last.secret == *secret && offset <= last.offset + last.length => {
                    last.length = offset + RUN - last.offset;
                }
                _ => leaks.push(Leak {
                    secret: secret.clone(),
                    label: label.to_owned(),
                    offset,
                    length: RUN,
                }),
            }
        }
        leaks
    }

    /// Searches every file below `folder`, the names of files and folders included. Links aren't
    /// followed; files that vanish meanwhile are passed over, as a running database has such.
    pub fn search_dir(&self, folder: impl AsRef<Path>) -> Vec<Leak> {
        let folder = folder.as_ref();
        let mut leaks = Vec::new();
        let entries = fs::read_dir(folder).expect("a folder to search");
        for entry in entries {
            let path = entry.expect("list the folder").path();
            let label = path.to_string_lossy();
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            leaks.extend(self.search(&format!("the name of {label}"), name));
            let kind = fs::symlink_metadata(&path).map(|metadata| metadata.file_type());
            match kind {
                Ok(kind) if kind.is_dir() => leaks.extend(self.search_dir(&path)),
                Ok(kind) if kind.is_file() => leaks.extend(self.search_file(&path, &label)),
                _ => {}
            }
        }
        leaks
    }

    fn search_file(&self, path: &Path, label: &str) -> Vec<Leak> {
        match fs::read(path) {
            Ok(bytes) => self.search(label, bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => panic!("can't search {label}: {error}"),
        }
    }

    /// Panics if there is a leak in `text`, and says where.
    pub fn assert_clean(&self, label: &str, text: impl AsRef<[u8]>) {
        assert_none(&self.search(label, text));
    }

    /// Panics if there is a leak below `folder`, and says where.
    pub fn assert_dir_clean(&self, folder: impl AsRef<Path>) {
        assert_none(&self.search_dir(folder));
    }
}

fn assert_none(leaks: &[Leak]) {
    let places: Vec<String> = leaks.iter().map(Leak::to_string).collect();
    assert!(
        leaks.is_empty(),
        "{} leaks:\n{}",
        leaks.len(),
        places.join("\n")
    );
}

fn runs(text: &[u8]) -> impl Iterator<Item = &Run> {
    text.windows(RUN)
        .map(|run| run.try_into().expect("windows of this length"))
}

fn distinct(run: &Run) -> u32 {
    let mut seen = [0_u64; 4];
    for byte in run {
        seen[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }
    seen.iter().map(|bits| bits.count_ones()).sum()
}

/// Which eight bytes some run starts with, with false positives: nearly every place of a text is
/// ruled out without hashing it properly. The last byte is the highest.
struct Prefixes(Vec<u64>);

impl Default for Prefixes {
    fn default() -> Self {
        Self(vec![0; 1 << (Self::BITS - 6)])
    }
}

impl Prefixes {
    /// 2 MiB of bits: a token has some ten thousand runs in all its forms, and a test many tokens.
    const BITS: u32 = 24;

    fn insert(&mut self, run: &Run) {
        let [a, b, c, d, e, f, g, h, ..] = *run;
        let bit = Self::bit(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
        self.0[bit >> 6] |= 1 << (bit & 63);
    }

    fn may_contain(&self, prefix: u64) -> bool {
        let bit = Self::bit(prefix);
        self.0[bit >> 6] & (1 << (bit & 63)) != 0
    }

    fn bit(prefix: u64) -> usize {
        (prefix.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - Self::BITS)) as usize
    }
}
