//! Whether a chain is whole: a seal at a time, in bounded memory.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{ANCHOR_MAC, Anchor, Chain, Digest, Head, Leaf, SEAL_MAC, Seal};
use crate::own_keys::{AuditMacError, OwnKeys};

/// What is wrong, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub fault: Fault,
    /// The seal's sequence that it was found at.
    pub sequence: i64,
    /// Of one record.
    pub record: Option<Uuid>,
}

/// What can be wrong with a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A sealed record isn't there.
    RecordRemoved,
    /// A sealed record isn't what was sealed.
    RecordAltered,
    /// A record claims a seal that doesn't list it.
    RecordInserted,
    /// Seals are missing before this one.
    SealRemoved,
    /// The seal's content, its place in the chain or its MAC isn't what was sealed.
    SealAltered,
    /// The key that the seal names isn't in the key file.
    KeyUnknown,
    /// The mark that retention left isn't one that the control plane made.
    AnchorAltered,
    /// The chain is known to have been longer.
    CutOff,
    /// At this place the chain is known to have been another.
    HeadDiffers,
}

/// A seal and what the database holds for it.
#[derive(Debug)]
pub struct Found {
    /// As stored.
    pub seal: Seal,
    /// The records that say that they are the seal's, digests of what they are now.
    pub records: Vec<Leaf>,
}

/// Walks a chain from its beginning, or from its anchor, to its end.
pub struct Verifier<'k> {
    chain: Chain,
    keys: &'k OwnKeys,
    at: Head,
    /// Heads that somebody kept, and that are still ahead.
    known: BTreeMap<i64, Head>,
}

// === impl Fault ===

impl Fault {
    /// UPPER_SNAKE_CASE.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RecordRemoved => "RECORD_REMOVED",
            Self::RecordAltered => "RECORD_ALTERED",
            Self::RecordInserted => "RECORD_INSERTED",
            Self::SealRemoved => "SEAL_REMOVED",
            Self::SealAltered => "SEAL_ALTERED",
            Self::KeyUnknown => "KEY_UNKNOWN",
            Self::AnchorAltered => "ANCHOR_ALTERED",
            Self::CutOff => "CUT_OFF",
            Self::HeadDiffers => "HEAD_DIFFERS",
        }
    }
}

// === impl Finding ===

impl Finding {
    /// Of a seal or a place in the chain.
    pub const fn new(fault: Fault, sequence: i64) -> Self {
        Self {
            fault,
            sequence,
            record: None,
        }
    }

    /// Of one record.
    pub const fn of_record(fault: Fault, sequence: i64, record: Uuid) -> Self {
        Self {
            fault,
            sequence,
            record: Some(record),
        }
    }
}

// === impl Verifier ===

impl<'k> Verifier<'k> {
    /// `known`: heads that were kept elsewhere.
    pub fn new(chain: Chain, keys: &'k OwnKeys, known: impl IntoIterator<Item = Head>) -> Self {
        Self {
            chain,
            keys,
            at: chain.genesis(),
            known: known
                .into_iter()
                .map(|head| (head.sequence, head))
                .collect(),
        }
    }

    /// How far it has got.
    pub fn at(&self) -> Head {
        self.at
    }

    /// Goes on from where retention has got to, unless it is there already. What was known of the
    /// part that is gone can't be looked at any more.
    pub fn anchor(&mut self, anchor: &Anchor) -> Vec<Finding> {
        if anchor.head.sequence <= self.at.sequence {
            return Vec::new();
        }
        let sequence = anchor.head.sequence;
        let made = self.made(ANCHOR_MAC, anchor.head, &anchor.key_id, &anchor.mac);
        let fault = match made {
            Err(AuditMacError::UnknownKey(_)) => Some(Fault::KeyUnknown),
            Err(AuditMacError::NotAuthentic) => Some(Fault::AnchorAltered),
            Ok(()) => None,
        };
        let mut findings: Vec<_> = fault
            .map(|fault| Finding::new(fault, sequence))
            .into_iter()
            .collect();
        self.at = anchor.head;
        self.known = self.known.split_off(&sequence);
        findings.extend(self.compare());
        findings
    }

    /// The next seal.
    pub fn seal(&mut self, found: &Found) -> Vec<Finding> {
        let seal = &found.seal;
        let mut findings = Vec::new();
        let next = self.at.sequence + 1;
        if seal.sequence != next {
            findings.push(Finding::new(Fault::SealRemoved, next));
        }
        findings.extend(self.own_fault(seal).map(|f| Finding::new(f, seal.sequence)));
        findings.extend(records(found));
        // What is known of places that nothing is at is known of the next one.
        let passed = self.known.split_off(&seal.sequence);
        let missing = std::mem::replace(&mut self.known, passed);
        findings.extend(
            missing
                .into_keys()
                .map(|at| Finding::new(Fault::HeadDiffers, at)),
        );
        self.at = seal.head();
        findings.extend(self.compare());
        findings
    }

    /// After the last seal. `stored` is how far the database itself says that the chain has got.
    pub fn finish(self, stored: Head) -> Vec<Finding> {
        let longest = self.known.into_keys().next_back().unwrap_or(0);
        let longest = longest.max(stored.sequence);
        if longest > self.at.sequence {
            return vec![Finding::new(Fault::CutOff, self.at.sequence + 1)];
        }
        if stored != self.at {
            return vec![Finding::new(Fault::HeadDiffers, stored.sequence)];
        }
        Vec::new()
    }

    fn own_fault(&self, seal: &Seal) -> Option<Fault> {
        match self.made(SEAL_MAC, seal.head(), &seal.key_id, &seal.mac) {
            Err(AuditMacError::UnknownKey(_)) => return Some(Fault::KeyUnknown),
            Err(AuditMacError::NotAuthentic) => return Some(Fault::SealAltered),
            Ok(()) => {}
        }
        let follows = seal.sequence != self.at.sequence + 1 || seal.previous == self.at.digest;
        let whole = self.chain.digest(seal) == seal.digest;
        (!follows || !whole).then_some(Fault::SealAltered)
    }

    fn made(
        &self,
        label: &[u8],
        head: Head,
        key_id: &str,
        mac: &Digest,
    ) -> Result<(), AuditMacError> {
        let statement = self.chain.statement(label, head);
        self.keys
            .verify_audit_mac(key_id, &statement, mac.as_bytes())
    }

    fn compare(&mut self) -> Option<Finding> {
        let known = self.known.remove(&self.at.sequence)?;
        (known != self.at).then_some(Finding::new(Fault::HeadDiffers, self.at.sequence))
    }
}

fn records(found: &Found) -> Vec<Finding> {
    let sequence = found.seal.sequence;
    let mut there: BTreeMap<Uuid, Leaf> =
        found.records.iter().map(|leaf| (leaf.id, *leaf)).collect();
    let mut findings = Vec::new();
    for sealed in &found.seal.leaves {
        match there.remove(&sealed.id) {
            None => findings.push(Finding::of_record(
                Fault::RecordRemoved,
                sequence,
                sealed.id,
            )),
            Some(now) if now != *sealed => {
                findings.push(Finding::of_record(
                    Fault::RecordAltered,
                    sequence,
                    sealed.id,
                ));
            }
            Some(_) => {}
        }
    }
    let inserted = there.into_keys();
    findings.extend(inserted.map(|id| Finding::of_record(Fault::RecordInserted, sequence, id)));
    findings
}
