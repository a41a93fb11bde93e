use postern_core::access_token::{AccessKey, AccessKeyId, AccessToken};
use postern_core::audit::EventKind;
use postern_core::auth_method::AuthMethod;
use postern_core::permission::Permissions;
use postern_core::reason::DenyReason;

use super::bed::Bed;
use super::fixtures::{self, Login, cause, gateway, identity, later, noon};
use super::revocations::list;
use super::tokens::{administrator, log_in, session};
use crate::store::{
    AssociationFilter, Cause, Etag, Exchanged, Intent, KeyDenial, KeyOverlap, LogIn, LoggedIn,
    MethodRef, NewKey, Session, WriteError,
};

super::on_both_engines! {
    an_old_key_is_good_for_the_overlap_and_no_longer,
    with_its_key_a_token_ends,
    a_third_key_is_refused_while_two_are_good,
    without_an_overlap_every_older_key_ends_at_once,
    a_revoked_key_takes_its_tokens_along_and_no_others,
    only_keys_of_the_method_itself_can_be_revoked,
    the_last_administrators_last_key_can_be_replaced_and_not_ended,
    a_method_is_made_with_roles_that_whoever_asks_holds,
    nobody_gets_a_key_to_more_than_they_hold,
    a_rotation_that_is_only_tried_changes_nothing,
    a_login_notes_that_its_key_is_in_use,
    a_gateways_credential_is_rotated_the_same_way,
    a_disabled_gateway_gets_no_token_and_its_token_is_worth_nothing,
    no_login_comes_through_a_gateway_that_was_disabled_meanwhile,
}

pub(super) fn overlap(seconds: i64) -> Option<KeyOverlap> {
    KeyOverlap::parse(seconds, 0).unwrap()
}

fn at(seconds: i64, request_id: &str) -> Cause {
    Cause {
        now: later(seconds),
        ..cause(request_id)
    }
}

/// Another key for the method, drawn at that second.
async fn rotate(
    bed: &Bed,
    method: &AuthMethod,
    seconds: i64,
    overlap: Option<KeyOverlap>,
) -> Result<AccessKey, WriteError> {
    let key = AccessKey::generate().unwrap();
    let new = NewKey {
        hash: key.hash(),
        overlap,
    };
    let (name, cause) = (
        MethodRef::Id(method.id.clone()),
        at(seconds, &format!("rotated-{seconds}")),
    );
    let rotated = bed
        .store
        .rotate_access_key(&name, Etag::Any, &new, Intent::Write, &cause);
    rotated.await.map(|_| key)
}

async fn revoke(
    bed: &Bed,
    method: &AuthMethod,
    id: &AccessKeyId,
    overlap: Option<KeyOverlap>,
) -> Result<(), WriteError> {
    let name = MethodRef::Id(method.id.clone());
    let cause = cause("revoked");
    let revoked =
        bed.store
            .revoke_access_key(&name, Etag::Any, (id, overlap), Intent::Write, &cause);
    revoked.await.map(drop)
}

/// A token by that key, drawn at that second.
async fn token(
    bed: &Bed,
    method: &AuthMethod,
    key: &AccessKey,
    seconds: i64,
) -> Result<AccessToken, KeyDenial> {
    let token = AccessToken::generate().unwrap();
    let login = LogIn {
        now: later(seconds),
        ..log_in(&method.access_id, key, &token)
    };
    match bed.store.log_in(&login).await.unwrap() {
        LoggedIn::Granted { .. } => Ok(token),
        LoggedIn::Refused(denial) => Err(denial),
    }
}

async fn is_good(bed: &Bed, token: &AccessToken, seconds: i64) -> bool {
    session(bed, &token.hash(), later(seconds)).await.is_some()
}

async fn an_old_key_is_good_for_the_overlap_and_no_longer(bed: Bed) {
    let (method, old) = administrator(&bed).await;
    let new = rotate(&bed, &method, 0, overlap(60)).await.unwrap();
    assert!(token(&bed, &method, &old, 59).await.is_ok());
    let refused = token(&bed, &method, &old, 60).await.err();
    assert_eq!(refused, Some(KeyDenial::AccessKeyWrong));
    assert!(token(&bed, &method, &new, 60).await.is_ok());

    let keys = bed.store.keys_of_methods(&method.id, &method.id).await;
    let keys = keys.unwrap();
    let mut keys = keys.of(method.uid).to_vec();
    keys.sort_by_key(|key| key.expire_time.is_some());
    let shown: Vec<_> = keys.iter().map(|key| (&key.id, key.expire_time)).collect();
    let (new, old) = (AccessKeyId::of(&new.hash()), AccessKeyId::of(&old.hash()));
    assert_eq!(shown, [(&new, None), (&old, Some(later(60)))]);
    let record = bed.record("rotated-0").await;
    assert_eq!(record.kind, EventKind::AccessKeyRotated);
    let says = format!(r#"{{"key_id":"{new}","overlap_seconds":60}}"#);
    assert_eq!(record.after, Some(says));
}

async fn with_its_key_a_token_ends(bed: Bed) {
    let (method, old) = administrator(&bed).await;
    let before = token(&bed, &method, &old, 0).await.unwrap();
    rotate(&bed, &method, 0, overlap(60)).await.unwrap();
    let late = AccessToken::generate().unwrap();
    let login = LogIn {
        now: later(30),
        ..log_in(&method.access_id, &old, &late)
    };
    // It says so itself, so that whoever holds it asks for another one in time.
    assert_eq!(
        bed.store.log_in(&login).await.unwrap(),
        LoggedIn::Granted {
            expire_time: later(60),
            gateway: None
        }
    );
    for token in [&before, &late] {
        assert!(is_good(&bed, token, 59).await);
        assert!(!is_good(&bed, token, 60).await);
    }
    // Nor does it come to life again where the row of its key was swept.
    bed.store.sweep(later(61)).await.unwrap();
    assert!(!is_good(&bed, &before, 30).await);
}

async fn a_third_key_is_refused_while_two_are_good(bed: Bed) {
    let (method, first) = administrator(&bed).await;
    let second = rotate(&bed, &method, 0, overlap(60)).await.unwrap();
    let third = rotate(&bed, &method, 30, overlap(60)).await;
    assert!(
        matches!(third, Err(WriteError::KeyLimit)),
        "{:?}",
        third.err()
    );
    assert!(token(&bed, &method, &first, 30).await.is_ok());
    let third = rotate(&bed, &method, 60, overlap(60)).await.unwrap();
    assert!(token(&bed, &method, &first, 60).await.is_err());
    assert!(token(&bed, &method, &second, 60).await.is_ok());
    assert!(token(&bed, &method, &third, 60).await.is_ok());
    assert_eq!(bed.count("SELECT COUNT(*) FROM access_keys").await, 2);
}

async fn without_an_overlap_every_older_key_ends_at_once(bed: Bed) {
    let (method, first) = administrator(&bed).await;
    let second = rotate(&bed, &method, 0, overlap(60)).await.unwrap();
    let tokens = [
        token(&bed, &method, &first, 1).await.unwrap(),
        token(&bed, &method, &second, 1).await.unwrap(),
    ];
    let third = rotate(&bed, &method, 1, None).await.unwrap();
    for (key, token_of) in [&first, &second].iter().zip(&tokens) {
        assert!(!is_good(&bed, token_of, 1).await);
        assert!(token(&bed, &method, key, 1).await.is_err());
    }
    assert!(token(&bed, &method, &third, 1).await.is_ok());
}

async fn a_revoked_key_takes_its_tokens_along_and_no_others(bed: Bed) {
    bed.root().await;
    let (method, old) = administrator(&bed).await;
    let new = rotate(&bed, &method, 0, overlap(600)).await.unwrap();
    let (of_old, of_new) = (
        token(&bed, &method, &old, 1).await.unwrap(),
        token(&bed, &method, &new, 1).await.unwrap(),
    );
    let id = AccessKeyId::of(&old.hash());
    assert_eq!(list(&bed, &[]).await.len(), 2);
    revoke(&bed, &method, &id, None).await.unwrap();
    assert_eq!(list(&bed, &[]).await.len(), 1, "lists hold what is good");
    assert!(!is_good(&bed, &of_old, 1).await);
    assert!(is_good(&bed, &of_new, 1).await);
    assert!(token(&bed, &method, &old, 1).await.is_err());
    let record = bed.record("revoked").await;
    assert_eq!(record.kind, EventKind::AccessKeyRevoked);
    assert!(record.after.unwrap().contains(id.as_str()));
}

async fn only_keys_of_the_method_itself_can_be_revoked(bed: Bed) {
    let (method, _) = administrator(&bed).await;
    let (pods, _) = bed.method("pods").await;
    let (other, key) = (gateway("g"), AccessKey::generate().unwrap());
    bed.store
        .create_gateway(&other, &key.hash(), &cause("setup"))
        .await
        .unwrap();
    let id = AccessKeyId::of(&key.hash());
    let refused = revoke(&bed, &method, &id, None).await;
    assert!(
        matches!(refused, Err(WriteError::Invalid(_))),
        "{refused:?}"
    );
    let refused = revoke(&bed, &pods, &id, None).await;
    assert!(
        matches!(refused, Err(WriteError::Invalid(_))),
        "{refused:?}"
    );
    let hash = key.hash();
    let knows = bed.store.knows_key(&other.access_id, &hash, noon()).await;
    assert!(knows.unwrap());
    let knows = bed.store.knows_key(&method.access_id, &hash, noon()).await;
    assert!(!knows.unwrap(), "another's");
}

async fn the_last_administrators_last_key_can_be_replaced_and_not_ended(bed: Bed) {
    bed.root().await;
    let root = fixtures::root();
    let stored = bed
        .store
        .get_auth_method(&MethodRef::Id(root.id))
        .await
        .unwrap();
    let root = stored.unwrap().value;
    let keys = bed.store.keys_of_methods(&root.id, &root.id).await.unwrap();
    let id = keys.of(root.uid)[0].id.clone();
    for end in [None, overlap(60)] {
        let refused = revoke(&bed, &root, &id, end).await;
        assert!(
            matches!(refused, Err(WriteError::NoAdministratorLeft)),
            "{refused:?}"
        );
    }
    rotate(&bed, &root, 0, overlap(60)).await.unwrap();
    revoke(&bed, &root, &id, None).await.unwrap();
}

async fn a_method_is_made_with_roles_that_whoever_asks_holds(bed: Bed) {
    let make = async |id: &str, role: &str, cause: &Cause| {
        let mut method = fixtures::administrator(id);
        method.settings.access_expires = None;
        let hash = AccessKey::generate().unwrap().hash();
        let roles = [role.parse().unwrap()];
        let made =
            bed.store
                .create_auth_method_with(&method, Some(&hash), &roles, Intent::Write, cause);
        made.await
    };
    make("auditor", "auditor", &cause("r1")).await.unwrap();
    let filter = AssociationFilter {
        auth_method: Some(MethodRef::Id("auditor".parse().unwrap())),
        role: None,
    };
    let given = bed
        .store
        .list_associations(&filter, None, 10)
        .await
        .unwrap();
    assert_eq!(given.items[0].value.role.as_str(), "auditor");
    let absent = make("nobody", "nope", &cause("r2")).await;
    assert!(matches!(absent, Err(WriteError::Invalid(_))), "{absent:?}");
    let nothing = Cause {
        permissions: Permissions::default(),
        ..cause("r3")
    };
    let beyond = make("beyond", "auditor", &nothing).await;
    assert!(
        matches!(beyond, Err(WriteError::BeyondOwn(_))),
        "{beyond:?}"
    );
    assert_eq!(bed.count("SELECT COUNT(*) FROM auth_methods").await, 1);
}

async fn nobody_gets_a_key_to_more_than_they_hold(bed: Bed) {
    bed.root().await;
    let root = MethodRef::Id(fixtures::root().id);
    let new = NewKey {
        hash: AccessKey::generate().unwrap().hash(),
        overlap: overlap(60),
    };
    let nothing = Cause {
        permissions: Permissions::default(),
        ..cause("r1")
    };
    let rotated = bed
        .store
        .rotate_access_key(&root, Etag::Any, &new, Intent::Write, &nothing);
    let refused = rotated.await;
    assert!(
        matches!(refused, Err(WriteError::BeyondOwn(_))),
        "{refused:?}"
    );
    assert_eq!(bed.count("SELECT COUNT(*) FROM access_keys").await, 1);
}

async fn a_rotation_that_is_only_tried_changes_nothing(bed: Bed) {
    let (method, old) = administrator(&bed).await;
    let key = AccessKey::generate().unwrap();
    let new = NewKey {
        hash: key.hash(),
        overlap: None,
    };
    let name = MethodRef::Id(method.id.clone());
    let (intent, cause) = (Intent::ValidateOnly, cause("tried"));
    let tried = bed
        .store
        .rotate_access_key(&name, Etag::Any, &new, intent, &cause);
    tried.await.unwrap();
    assert!(token(&bed, &method, &old, 0).await.is_ok());
    assert!(token(&bed, &method, &key, 0).await.is_err());
    let stale = bed
        .store
        .rotate_access_key(&name, Etag::Revision(0), &new, intent, &cause);
    assert!(matches!(stale.await, Err(WriteError::Stale { .. })));
}

async fn a_login_notes_that_its_key_is_in_use(bed: Bed) {
    let (method, key) = administrator(&bed).await;
    let used = async || {
        let keys = bed.store.keys_of_methods(&method.id, &method.id).await;
        keys.unwrap().of(method.uid)[0].last_used_time
    };
    assert_eq!(used().await, None);
    for (seconds, noted) in [(10, 10), (69, 10), (70, 70)] {
        token(&bed, &method, &key, seconds).await.unwrap();
        assert_eq!(used().await, Some(later(noted)));
    }
}

async fn a_gateways_credential_is_rotated_the_same_way(bed: Bed) {
    let (gateway, old) = (gateway("g"), AccessKey::generate().unwrap());
    bed.store
        .create_gateway(&gateway, &old.hash(), &cause("setup"))
        .await
        .unwrap();
    let new = AccessKey::generate().unwrap();
    let new_key = NewKey {
        hash: new.hash(),
        overlap: overlap(60),
    };
    let (intent, rotation) = (Intent::Write, cause("rotated"));
    let rotated =
        bed.store
            .rotate_gateway_key(&gateway.name, Etag::Any, &new_key, intent, &rotation);
    let rotated = rotated.await.unwrap();
    assert_eq!(rotated.value, gateway);
    let granted = async |key: &AccessKey, seconds| {
        let login = LogIn {
            now: later(seconds),
            ..log_in(&gateway.access_id, key, &AccessToken::generate().unwrap())
        };
        bed.store.log_in(&login).await.unwrap()
    };
    let name = Some(gateway.name.clone());
    assert_eq!(
        granted(&old, 30).await,
        LoggedIn::Granted {
            expire_time: later(60),
            gateway: name.clone()
        }
    );
    assert_eq!(
        granted(&new, 30).await,
        LoggedIn::Granted {
            expire_time: later(3630),
            gateway: name
        }
    );
    assert_eq!(
        granted(&old, 60).await,
        LoggedIn::Refused(KeyDenial::AccessKeyWrong)
    );
    let record = bed.record("rotated").await;
    assert_eq!(record.kind, EventKind::GatewayCredentialRotated);
}

async fn a_disabled_gateway_gets_no_token_and_its_token_is_worth_nothing(bed: Bed) {
    let (gateway, key) = (gateway("g"), AccessKey::generate().unwrap());
    bed.store
        .create_gateway(&gateway, &key.hash(), &cause("setup"))
        .await
        .unwrap();
    let token = AccessToken::generate().unwrap();
    let login = log_in(&gateway.access_id, &key, &token);
    bed.store.log_in(&login).await.unwrap();
    assert_eq!(list(&bed, &[]).await.len(), 1);
    assert!(bed.switch(&gateway, true, "off").await.disabled);
    assert!(list(&bed, &[]).await.is_empty());
    assert!(session(&bed, &token.hash(), noon()).await.is_none());
    let refused = LogIn {
        token: AccessToken::generate().unwrap().hash(),
        ..log_in(&gateway.access_id, &key, &token)
    };
    assert_eq!(
        bed.store.log_in(&refused).await.unwrap(),
        LoggedIn::Refused(KeyDenial::GatewayDisabled)
    );
    let record = bed.record("off").await;
    assert_eq!(record.kind, EventKind::GatewayUpdated);
    assert!(record.before.unwrap().contains(r#""disabled":false"#));
    assert!(record.after.unwrap().contains(r#""disabled":true"#));
    bed.switch(&gateway, false, "on").await;
    let back = session(&bed, &token.hash(), noon()).await;
    assert!(back.is_none(), "it logs in anew");
    let anew = AccessToken::generate().unwrap();
    let again = log_in(&gateway.access_id, &key, &anew);
    bed.store.log_in(&again).await.unwrap();
    let back = session(&bed, &anew.hash(), noon()).await;
    assert!(matches!(back, Some(Session::Gateway { identity: it }) if it == identity(&gateway)));
}

async fn no_login_comes_through_a_gateway_that_was_disabled_meanwhile(bed: Bed) {
    let (method, key) = bed.method("m").await;
    let gateway = bed.gateway("g").await;
    let config = bed.config(&gateway, "c", &method).await;
    let login = Login::new(&method, &key, &gateway, &config.value);
    // Its token was looked at before.
    let request = login.request("r1");
    bed.switch(&gateway, true, "off").await;
    let refused = bed.store.exchange(&request).await.unwrap();
    assert_eq!(refused, Exchanged::Refused(DenyReason::GatewayDisabled));
    assert_eq!(bed.record("r1").await.reason, "GATEWAY_DISABLED");
    assert_eq!(bed.count("SELECT COUNT(*) FROM tokens").await, 0);
}
