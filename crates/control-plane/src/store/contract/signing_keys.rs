use jiff::{SignedDuration, Timestamp};
use postern_core::audit::EventKind;
use postern_core::seal::Sealed;
use postern_core::signing_key::{MAX_KEYS, PublishedKey, Stage, State, StepRefused};

use super::bed::Bed;
use super::fixtures::{cause, key, noon};
use crate::store::{BoxedKey, Cause, Store, WriteError};

super::on_both_engines! {
    a_key_is_read_as_it_was_written,
    replicas_that_start_together_make_one_first_key,
    of_two_keys_that_are_activated_together_one_signs,
    a_key_that_was_replaced_is_swept_when_its_last_token_has_ended,
    a_key_that_signs_stays,
    there_is_an_end_to_keys,
}

fn boxed(stage: Stage) -> BoxedKey {
    let mut published = PublishedKey::prepared(key().public().clone(), noon());
    published.stage = stage;
    BoxedKey {
        published,
        sealed: Sealed {
            key_id: "k1".parse().unwrap(),
            bytes: vec![1, 2, 3],
        },
    }
}

fn active() -> BoxedKey {
    boxed(Stage::Active { since: noon() })
}

fn at(request_id: &str, seconds: i64) -> Cause {
    Cause {
        now: noon() + SignedDuration::from_secs(seconds),
        ..cause(request_id)
    }
}

async fn prepared(store: &Store) -> BoxedKey {
    let key = boxed(Stage::Prepared);
    let prepared = store.prepare_signing_key(&key, &cause("prepare")).await;
    prepared.unwrap().unwrap();
    key
}

async fn states(store: &Store, now: Timestamp) -> Vec<State> {
    let keys = store.signing_keys(now).await.unwrap();
    keys.iter().map(|key| key.published.stage.state()).collect()
}

async fn a_key_is_read_as_it_was_written(bed: Bed) {
    let key = boxed(Stage::Prepared);
    let prepared = bed.store.prepare_signing_key(&key, &cause("r1")).await;
    prepared.unwrap().unwrap();
    let stored = bed.store.signing_keys(noon()).await.unwrap();
    assert_eq!(stored.as_slice(), std::slice::from_ref(&key));
    let record = bed.record("r1").await;
    assert_eq!(record.kind, EventKind::SigningKeyPrepared);
    let id = key.published.key.id();
    assert_eq!(record.resource, format!("signingKeys/{id}"));
    assert!(!record.after.unwrap().contains("PRIVATE"));
}

async fn replicas_that_start_together_make_one_first_key(bed: Bed) {
    let (store, other) = (bed.store.clone(), bed.another().await);
    let (one, two) = (active(), active());
    let (a, b) = (cause("a"), cause("b"));
    let (first, second) = tokio::join!(
        store.first_signing_key(&one, &a),
        other.first_signing_key(&two, &b)
    );
    first.unwrap();
    second.unwrap();
    let keys = bed.store.signing_keys(noon()).await.unwrap();
    assert_eq!(keys.len(), 1);
    assert!(keys[0] == one || keys[0] == two);
}

async fn of_two_keys_that_are_activated_together_one_signs(bed: Bed) {
    let first = active();
    bed.store
        .first_signing_key(&first, &cause("s"))
        .await
        .unwrap();
    let (one, two) = (prepared(&bed.store).await, prepared(&bed.store).await);
    let early = bed
        .store
        .activate_signing_key(one.published.key.id(), false, &at("early", 299))
        .await;
    assert!(matches!(early.unwrap(), Err(StepRefused::TooYoung(_))));
    let (a, b) = (at("a", 300), at("b", 300));
    let (left, right) = tokio::join!(
        bed.store
            .activate_signing_key(one.published.key.id(), false, &a),
        bed.store
            .activate_signing_key(two.published.key.id(), false, &b)
    );
    left.unwrap().unwrap();
    right.unwrap().unwrap();
    let states = states(&bed.store, at("", 300).now).await;
    assert_eq!(states, [State::Active, State::Retired, State::Retired]);
    let again = bed
        .store
        .activate_signing_key(first.published.key.id(), true, &at("again", 400))
        .await;
    assert!(matches!(again.unwrap(), Err(StepRefused::Retired)));
    let unknown = key().public().id().clone();
    let unknown = bed.store.activate_signing_key(&unknown, true, &a).await;
    assert!(matches!(unknown, Err(WriteError::NotFound)));
}

async fn a_key_that_was_replaced_is_swept_when_its_last_token_has_ended(bed: Bed) {
    bed.store
        .first_signing_key(&active(), &cause("s"))
        .await
        .unwrap();
    let next = prepared(&bed.store).await;
    let activated = bed
        .store
        .activate_signing_key(next.published.key.id(), true, &cause("a"))
        .await;
    activated.unwrap().unwrap();
    let last = at("", 24 * 60 * 60 + 599).now;
    bed.store.sweep(last).await.unwrap();
    assert_eq!(
        states(&bed.store, last).await,
        [State::Active, State::Retired]
    );
    let over = at("", 24 * 60 * 60 + 600).now;
    assert_eq!(
        states(&bed.store, over).await,
        [State::Active],
        "before it is swept"
    );
    bed.store.sweep(over).await.unwrap();
    assert_eq!(bed.count("SELECT COUNT(*) FROM signing_keys").await, 1);
}

async fn a_key_that_signs_stays(bed: Bed) {
    let first = active();
    bed.store
        .first_signing_key(&first, &cause("s"))
        .await
        .unwrap();
    let id = first.published.key.id();
    let retired = bed.store.retire_signing_key(id, true, &cause("r1")).await;
    assert_eq!(retired.unwrap(), Err(StepRefused::Active));
    let next = prepared(&bed.store).await;
    let next = next.published.key.id();
    let activated = bed
        .store
        .activate_signing_key(next, true, &cause("a"))
        .await;
    activated.unwrap().unwrap();
    let retired = bed.store.retire_signing_key(id, false, &cause("r2")).await;
    assert!(matches!(retired.unwrap(), Err(StepRefused::Going(_))));
    let retired = bed.store.retire_signing_key(id, true, &cause("r3")).await;
    retired.unwrap().unwrap();
    assert_eq!(states(&bed.store, noon()).await, [State::Active]);
    let record = bed.record("r3").await;
    assert_eq!(record.kind, EventKind::SigningKeyRetired);
    assert!(record.before.unwrap().contains("retired"));
}

async fn there_is_an_end_to_keys(bed: Bed) {
    for _ in 0..MAX_KEYS {
        prepared(&bed.store).await;
    }
    let one_more = boxed(Stage::Prepared);
    let refused = bed.store.prepare_signing_key(&one_more, &cause("r")).await;
    assert_eq!(refused.unwrap(), Err(StepRefused::TooMany));
}
