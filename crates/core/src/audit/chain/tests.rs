use base64::Engine as _;
use proptest::prelude::*;

use super::*;
use crate::pem::BASE64;

const CHAIN: Chain = Chain(Uuid::from_u128(7));

/// The first one seals.
fn file(keys: &[(&str, u8)]) -> OwnKeys {
    let line = |(id, byte): &(&str, u8)| format!("{id}:{}", BASE64.encode([*byte; 32]));
    let lines: Vec<String> = keys.iter().map(line).collect();
    OwnKeys::parse(&lines.join("\n")).unwrap()
}

fn keys() -> OwnKeys {
    file(&[("k2", 2), ("k1", 1)])
}

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

fn leaf(id: u128, text: &str) -> Leaf {
    Leaf::of(
        Uuid::from_u128(id),
        [Field::Text(text), Field::Null, Field::Number(3)],
    )
}

/// Seals of three records each, as they would be found when nothing happened to them.
fn chain(seals: u128) -> Vec<Found> {
    let mut head = CHAIN.genesis();
    let mut chain = Vec::new();
    for n in 0..seals {
        let records: Vec<Leaf> = (0..3).map(|i| leaf(n * 10 + i, "a")).collect();
        let seal = CHAIN.seal(head, records.clone(), now(), &keys());
        head = seal.head();
        chain.push(Found { seal, records });
    }
    chain
}

fn verify(chain: &[Found], anchor: Option<&Anchor>, known: &[Head]) -> Vec<Finding> {
    let stored = chain
        .last()
        .map_or(CHAIN.genesis(), |found| found.seal.head());
    verify_to(chain, anchor, known, stored)
}

fn verify_to(
    chain: &[Found],
    anchor: Option<&Anchor>,
    known: &[Head],
    stored: Head,
) -> Vec<Finding> {
    let keys = keys();
    let mut verifier = Verifier::new(CHAIN, &keys, known.iter().copied());
    let mut findings: Vec<Finding> = anchor
        .map(|anchor| verifier.anchor(anchor))
        .unwrap_or_default();
    for found in chain {
        findings.extend(verifier.seal(found));
    }
    findings.extend(verifier.finish(stored));
    findings
}

fn faults(findings: &[Finding]) -> Vec<(Fault, i64)> {
    findings.iter().map(|f| (f.fault, f.sequence)).collect()
}

#[test]
fn a_chain_that_nobody_touched_is_whole() {
    let chain = chain(4);
    let heads: Vec<Head> = chain.iter().map(|found| found.seal.head()).collect();
    assert_eq!(verify(&chain, None, &heads), []);
    assert_eq!(verify(&[], None, &[]), []);
    assert_eq!(
        verify_to(&[], None, &[CHAIN.genesis()], CHAIN.genesis()),
        []
    );
}

#[test]
fn a_record_that_was_removed_altered_or_inserted_is_named() {
    let mut chain = chain(3);
    chain[0].records.remove(1);
    chain[1].records[0] = leaf(10, "b");
    chain[2].records.push(leaf(99, "a"));
    let finding = |fault, sequence, id| Finding::of_record(fault, sequence, Uuid::from_u128(id));
    assert_eq!(
        verify(&chain, None, &[]),
        [
            finding(Fault::RecordRemoved, 1, 1),
            finding(Fault::RecordAltered, 2, 10),
            finding(Fault::RecordInserted, 3, 99),
        ]
    );
}

#[test]
fn a_seal_that_was_removed_changed_or_moved_is_found() {
    let mut gap = chain(4);
    gap.remove(1);
    assert_eq!(faults(&verify(&gap, None, &[])), [(Fault::SealRemoved, 2)]);

    // A record is taken out of the list too, and the digest made anew: the MAC can't be.
    let mut changed = chain(3);
    changed[1].records.remove(0);
    changed[1].seal.leaves.remove(0);
    changed[1].seal.digest = CHAIN.digest(&changed[1].seal);
    let head = changed[1].seal.head();
    changed[2].seal.previous = head.digest;
    changed[2].seal.digest = CHAIN.digest(&changed[2].seal);
    assert_eq!(
        faults(&verify(&changed, None, &[])),
        [(Fault::SealAltered, 2), (Fault::SealAltered, 3)]
    );

    let mut swapped = chain(3);
    swapped.swap(0, 1);
    (swapped[0].seal.sequence, swapped[1].seal.sequence) = (1, 2);
    let found = faults(&verify(&swapped, None, &[]));
    assert_eq!(
        found[..2],
        [(Fault::SealAltered, 1), (Fault::SealAltered, 2)]
    );

    let mut later = chain(2);
    later[1].seal.time += 1;
    assert_eq!(
        faults(&verify(&later, None, &[])),
        [(Fault::SealAltered, 2)]
    );
}

#[test]
fn a_key_that_is_gone_is_named_and_an_older_one_still_verifies() {
    let old = file(&[("k1", 1)]);
    let other = file(&[("k0", 0)]);
    let mut head = CHAIN.genesis();
    let mut chain = Vec::new();
    for keys in [&old, &keys(), &other] {
        let seal = CHAIN.seal(head, Vec::new(), now(), keys);
        head = seal.head();
        chain.push(Found {
            seal,
            records: Vec::new(),
        });
    }
    assert_eq!(faults(&verify(&chain, None, &[])), [(Fault::KeyUnknown, 3)]);
}

#[test]
fn a_chain_that_was_cut_off_is_found_by_a_head_that_was_kept() {
    let whole = chain(5);
    let last = whole[4].seal.head();
    // Everything that speaks of the end is gone, or only the seals.
    assert_eq!(
        faults(&verify(&whole[..3], None, &[last])),
        [(Fault::CutOff, 4)]
    );
    assert_eq!(
        faults(&verify_to(&whole[..3], None, &[], last)),
        [(Fault::CutOff, 4)]
    );
    assert_eq!(verify(&whole[..3], None, &[]), [], "nothing else can tell");
    // It grew again, under the right key, from a shorter end.
    let mut head = whole[2].seal.head();
    let mut regrown = chain(3);
    for id in [70, 80] {
        let records = vec![leaf(id, "a")];
        let seal = CHAIN.seal(head, records.clone(), now(), &keys());
        head = seal.head();
        regrown.push(Found { seal, records });
    }
    let known = [whole[3].seal.head(), last];
    assert_eq!(
        faults(&verify(&regrown, None, &known)),
        [(Fault::HeadDiffers, 4), (Fault::HeadDiffers, 5)]
    );
}

#[test]
fn a_chain_goes_on_from_the_anchor_that_retention_left() {
    let whole = chain(5);
    let heads: Vec<Head> = whole.iter().map(|found| found.seal.head()).collect();
    let anchor = CHAIN.anchor(heads[2], &keys());
    assert_eq!(verify(&whole[3..], Some(&anchor), &heads), []);
    assert_eq!(
        faults(&verify(&whole[3..], None, &[])),
        [(Fault::SealRemoved, 1)]
    );
    // More was removed than the anchor says.
    assert_eq!(
        faults(&verify(&whole[4..], Some(&anchor), &[])),
        [(Fault::SealRemoved, 4)]
    );
    // A seal's MAC is no anchor's.
    let forged = Anchor {
        head: heads[3],
        key_id: "k2".to_owned(),
        mac: whole[3].seal.mac,
    };
    assert_eq!(
        faults(&verify(&whole[4..], Some(&forged), &[])),
        [(Fault::AnchorAltered, 4)]
    );
    // All of it may be gone.
    let all = CHAIN.anchor(heads[4], &keys());
    assert_eq!(verify_to(&[], Some(&all), &heads, heads[4]), []);
}

#[test]
fn another_deployments_chain_is_no_chain_of_this_one() {
    let other = Chain(Uuid::from_u128(8));
    let seal = other.seal(other.genesis(), Vec::new(), now(), &keys());
    let found = [Found {
        seal,
        records: Vec::new(),
    }];
    assert_eq!(
        faults(&verify(&found, None, &[])),
        [(Fault::SealAltered, 1)]
    );
}

#[test]
fn fields_dont_run_into_each_other() {
    let id = Uuid::from_u128(1);
    let of = |fields: &[Field<'_>]| Leaf::of(id, fields.iter().copied());
    let (a, b) = (Field::Text("a"), Field::Text("b"));
    assert_ne!(of(&[a, b]), of(&[b, a]));
    assert_ne!(of(&[Field::Text("ab"), Field::Text("")]), of(&[a, b]));
    assert_ne!(of(&[Field::Null]), of(&[Field::Text("")]));
    assert_ne!(of(&[Field::Null, a]), of(&[a, Field::Null]));
    assert_ne!(of(&[Field::Number(0)]), of(&[Field::Null]));
    assert_ne!(of(&[a]), Leaf::of(Uuid::from_u128(2), [a]));
}

#[test]
fn heads_and_lists_are_read_as_they_were_written() {
    let head = CHAIN.genesis();
    assert_eq!(head.to_string().parse(), Ok(head));
    for wrong in ["", "1", ":", "-1:00", "1:00", "x:00", &format!("{head}0")] {
        assert_eq!(wrong.parse::<Head>(), Err(HeadError), "{wrong}");
    }
    let leaves = vec![leaf(1, "a"), leaf(2, "b")];
    let bytes = Leaf::to_bytes(&leaves);
    assert_eq!(Leaf::from_bytes(&bytes), Some(leaves));
    assert_eq!(Leaf::from_bytes(&bytes[1..]), None);
    assert_eq!(Leaf::from_bytes(&[]), Some(Vec::new()));
}

proptest! {
    #[test]
    fn whatever_is_changed_in_a_chain_is_found(
        at in 0_usize..4, what in 0_u8..8, byte in any::<prop::sample::Index>(), by in 1_u8..,
    ) {
        let mut chain = chain(4);
        let last = chain[3].seal.head();
        let found = &mut chain[at];
        let flip = |digest: &mut Digest| digest.0[byte.index(32)] ^= by;
        match what {
            0 => flip(&mut found.records[byte.index(3)].digest),
            1 => flip(&mut found.seal.leaves[byte.index(3)].digest),
            2 => flip(&mut found.seal.previous),
            3 => flip(&mut found.seal.digest),
            4 => flip(&mut found.seal.mac),
            5 => found.seal.time ^= i64::from(by),
            6 => drop(found.records.remove(byte.index(3))),
            _ => drop(chain.remove(at)),
        }
        prop_assert!(!verify_to(&chain, None, &[last], last).is_empty());
    }
}
