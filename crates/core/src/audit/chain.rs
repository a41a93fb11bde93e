//! The chain of audit records: what makes one that was removed, changed or cut off be missed.
//!
//! Records are sealed in batches. A seal lists its records, each with its SHA-256, and its own digest covers that list and
//! the digest of the seal before it; the digest is MACed under a key that the database doesn't hold. Whoever can
//! write to the database can take the end of the chain away with everything that speaks of it, so that heads
//! are also written to a log that others keep.

mod verify;

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use jiff::Timestamp;
use uuid::Uuid;

use crate::own_keys::OwnKeys;

pub use verify::{Fault, Finding, Found, Verifier};

/// Of what a record's digest covers, and how.
pub const FORMAT: i64 = 1;
/// The most records of one seal.
pub const MAX_RECORDS: usize = 1000;

const RECORD: &[u8] = b"postern audit record v1\0";
const SEAL: &[u8] = b"postern audit seal v1\0";
const GENESIS: &[u8] = b"postern audit chain v1\0";
/// What a MAC says must not be taken for what another one says.
const SEAL_MAC: &[u8] = b"postern audit seal mac v1\0";
const ANCHOR_MAC: &[u8] = b"postern audit anchor mac v1\0";

/// A SHA-256. The default is nothing's.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

/// A text that is no digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no digest: 64 hexadecimal digits")]
pub struct DigestError;

/// A column of a record, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field<'a> {
    /// Null.
    Null,
    /// Text, JSON included.
    Text(&'a str),
    /// A number.
    Number(i64),
}

/// A record's place in a seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// The record's ID.
    pub id: Uuid,
    /// Of all of the record's columns.
    pub digest: Digest,
}

/// How far a chain has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Of the last seal; 0 before the first.
    pub sequence: i64,
    /// That seal's.
    pub digest: Digest,
}

/// A text that is no head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no head: SEQUENCE:DIGEST, a number and 64 hexadecimal digits")]
pub struct HeadError;

/// A batch of records, sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// Counts from 1, without gaps.
    pub sequence: i64,
    /// The digest of the seal before.
    pub previous: Digest,
    /// When it was made, in microseconds since 1970 UTC.
    pub time: i64,
    /// Its records, [`MAX_RECORDS`] at most.
    pub leaves: Vec<Leaf>,
    /// Of all of the above.
    pub digest: Digest,
    /// Whose MAC it is.
    pub key_id: String,
    /// Of the digest.
    pub mac: Digest,
}

/// Where a chain begins whose older part was removed on purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// The last seal that was removed.
    pub head: Head,
    /// Whose MAC it is.
    pub key_id: String,
    /// Of the head.
    pub mac: Digest,
}

/// Which chain: a deployment's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain(pub Uuid);

// === impl Digest ===

impl Digest {
    /// As stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn of(context: digest::Context) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Self(bytes)
    }
}

impl TryFrom<&[u8]> for Digest {
    type Error = DigestError;

    fn try_from(bytes: &[u8]) -> Result<Self, DigestError> {
        bytes.try_into().map(Self).map_err(|_| DigestError)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let digits = text.chars().map(|c| c.to_digit(16));
        let digits: Vec<u32> = digits.collect::<Option<_>>().ok_or(DigestError)?;
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() {
            return Err(DigestError);
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            let value = pair.iter().fold(0, |value, digit| value << 4 | digit);
            *byte = u8::try_from(value).map_err(|_| DigestError)?;
        }
        Ok(Self(bytes))
    }
}

// === impl Head ===

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sequence, self.digest)
    }
}

impl FromStr for Head {
    type Err = HeadError;

    fn from_str(text: &str) -> Result<Self, HeadError> {
        let (sequence, digest) = text.split_once(':').ok_or(HeadError)?;
        let sequence = sequence.parse().map_err(|_| HeadError)?;
        let digest = digest.parse().map_err(|_| HeadError)?;
        (sequence >= 0)
            .then_some(Self { sequence, digest })
            .ok_or(HeadError)
    }
}

// === impl Leaf ===

impl Leaf {
    /// Bytes of one in a stored list.
    const LEN: usize = 16 + 32;

    /// Of the record with that ID and these columns, in the order that [`FORMAT`] stands for.
    pub fn of<'a>(id: Uuid, fields: impl IntoIterator<Item = Field<'a>>) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(RECORD);
        context.update(id.as_bytes());
        for field in fields {
            match field {
                Field::Null => context.update(b"0"),
                Field::Text(text) => {
                    context.update(b"t");
                    context.update(&(text.len() as u64).to_be_bytes());
                    context.update(text.as_bytes());
                }
                Field::Number(number) => {
                    context.update(b"n");
                    context.update(&number.to_be_bytes());
                }
            }
        }
        let digest = Digest::of(context);
        Self { id, digest }
    }

    /// A list of them, as stored.
    pub fn to_bytes(leaves: &[Self]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(leaves.len() * Self::LEN);
        for leaf in leaves {
            bytes.extend_from_slice(leaf.id.as_bytes());
            bytes.extend_from_slice(leaf.digest.as_bytes());
        }
        bytes
    }

    /// The list as it was stored; `None` when it can't be one.
    pub fn from_bytes(bytes: &[u8]) -> Option<Vec<Self>> {
        let (leaves, rest) = bytes.as_chunks::<{ Leaf::LEN }>();
        let leaf = |bytes: &[u8; Self::LEN]| {
            let (id, digest) = bytes.split_at(16);
            Some(Self {
                id: Uuid::from_slice(id).ok()?,
                digest: digest.try_into().ok()?,
            })
        };
        rest.is_empty().then(|| leaves.iter().map(leaf).collect())?
    }
}

// === impl Chain ===

impl Chain {
    /// Before the first seal. Another deployment's chain begins elsewhere.
    pub fn genesis(self) -> Head {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(GENESIS);
        context.update(self.0.as_bytes());
        Head {
            sequence: 0,
            digest: Digest::of(context),
        }
    }

    /// The next seal after `head`.
    pub fn seal(self, head: Head, leaves: Vec<Leaf>, now: Timestamp, keys: &OwnKeys) -> Seal {
        let mut seal = Seal {
            sequence: head.sequence + 1,
            previous: head.digest,
            time: now.as_microsecond(),
            leaves,
            digest: Digest::default(),
            key_id: String::new(),
            mac: Digest::default(),
        };
        seal.digest = self.digest(&seal);
        let mac = keys.audit_mac(&self.statement(SEAL_MAC, seal.head()));
        (seal.key_id, seal.mac) = (mac.key_id.to_string(), Digest(mac.tag));
        seal
    }

    /// That everything up to `head` may be gone.
    pub fn anchor(self, head: Head, keys: &OwnKeys) -> Anchor {
        let mac = keys.audit_mac(&self.statement(ANCHOR_MAC, head));
        Anchor {
            head,
            key_id: mac.key_id.to_string(),
            mac: Digest(mac.tag),
        }
    }

    /// What a seal's digest has to be.
    fn digest(self, seal: &Seal) -> Digest {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(SEAL);
        context.update(self.0.as_bytes());
        context.update(&FORMAT.to_be_bytes());
        context.update(&seal.sequence.to_be_bytes());
        context.update(seal.previous.as_bytes());
        context.update(&seal.time.to_be_bytes());
        context.update(&Leaf::to_bytes(&seal.leaves));
        Digest::of(context)
    }

    fn statement(self, label: &[u8], head: Head) -> Vec<u8> {
        let sequence = head.sequence.to_be_bytes();
        let parts = [
            label,
            self.0.as_bytes(),
            sequence.as_slice(),
            head.digest.as_bytes(),
        ];
        parts.concat()
    }
}

// === impl Seal ===

impl Seal {
    /// How far the chain has got with it.
    pub fn head(&self) -> Head {
        Head {
            sequence: self.sequence,
            digest: self.digest,
        }
    }
}

#[cfg(test)]
mod tests;
