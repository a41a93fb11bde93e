use jiff::Timestamp;
use postern_core::access_id::AccessId;
use postern_core::access_token::{AccessKey, AccessToken, Accessor, TokenHash};
use postern_core::audit::EventKind;
use postern_core::auth_method::{AuthMethod, Settings, TokenMaxima};

use super::bed::Bed;
use super::fixtures::{self, cause, gateway, identity, later, noon};
use crate::store::{Etag, Intent, KeyDenial, LogIn, LoggedIn, MethodRef, Session, SpeaksFor};

super::on_both_engines! {
    an_administrators_key_gives_a_session,
    a_narrowed_token_says_where_it_is_good,
    a_gateways_key_gives_its_own_session,
    what_is_no_key_is_refused_and_on_record,
    a_token_ends_with_what_it_stands_on,
    a_gateway_made_anew_inherits_no_session,
}

pub(super) async fn administrator(bed: &Bed) -> (AuthMethod, AccessKey) {
    let (method, key) = (
        fixtures::administrator("admin"),
        AccessKey::generate().unwrap(),
    );
    bed.store
        .create_auth_method(&method, Some(&key.hash()), Intent::Write, &cause("setup"))
        .await
        .unwrap();
    (method, key)
}

pub(super) fn log_in(access_id: &AccessId, key: &AccessKey, token: &AccessToken) -> LogIn {
    LogIn {
        access_id: access_id.clone(),
        key: key.hash(),
        narrow_to: None,
        token: token.hash(),
        accessor: Accessor::generate().unwrap(),
        caller_ip: Some("10.1.1.1".parse().unwrap()),
        user_agent: "test".to_owned(),
        speaks_for: SpeaksFor::Any,
        request_id: "login".to_owned(),
        now: noon(),
        maxima: TokenMaxima::default(),
    }
}

pub(super) async fn session(bed: &Bed, token: &TokenHash, now: Timestamp) -> Option<Session> {
    bed.store.session(token, now).await.unwrap()
}

async fn an_administrators_key_gives_a_session(bed: Bed) {
    let (method, key) = administrator(&bed).await;
    let token = AccessToken::generate().unwrap();
    let login = log_in(&method.access_id, &key, &token);
    let granted = bed.store.log_in(&login).await.unwrap();
    assert_eq!(
        granted,
        LoggedIn::Granted {
            expire_time: later(600),
            gateway: None,
        }
    );
    let Some(Session::Holder {
        access_id,
        accessor,
        permissions,
        narrowed_to,
        bound_ips,
    }) = session(&bed, &token.hash(), noon()).await
    else {
        panic!("an administrator's session");
    };
    assert_eq!(
        (access_id, accessor),
        (method.access_id.clone(), login.accessor.clone())
    );
    assert_eq!(narrowed_to, None);
    assert!(permissions.is_empty(), "a key alone may do nothing");
    assert_eq!(bound_ips, method.settings.bound_ips);
    let record = bed.record("login").await;
    assert_eq!(record.kind, EventKind::AccessKeyGranted);
    assert_eq!(record.accessor, login.accessor.as_str());

    let other = AccessToken::generate().unwrap();
    assert!(session(&bed, &other.hash(), noon()).await.is_none());
    assert!(session(&bed, &token.hash(), later(599)).await.is_some());
    assert!(session(&bed, &token.hash(), later(600)).await.is_none());
}

async fn a_narrowed_token_says_where_it_is_good(bed: Bed) {
    let (method, key) = administrator(&bed).await;
    let gateway = bed.gateway("g").await;
    let token = AccessToken::generate().unwrap();
    let mut login = log_in(&method.access_id, &key, &token);
    login.narrow_to = Some(gateway.name.clone());
    let granted = bed.store.log_in(&login).await.unwrap();
    assert_eq!(
        granted,
        LoggedIn::Granted {
            expire_time: later(300),
            gateway: None,
        }
    );
    let found = session(&bed, &token.hash(), noon()).await;
    assert!(
        matches!(found, Some(Session::Holder { narrowed_to: Some(name), .. }) if name == gateway.name)
    );

    bed.store
        .delete_gateway(&gateway.name, Etag::Any, false, &cause("r1"))
        .await
        .unwrap();
    assert!(session(&bed, &token.hash(), noon()).await.is_none());
    bed.gateway("g").await;
    assert!(session(&bed, &token.hash(), noon()).await.is_none());
}

async fn a_gateways_key_gives_its_own_session(bed: Bed) {
    let (gateway, key) = (gateway("g"), AccessKey::generate().unwrap());
    bed.store
        .create_gateway(&gateway, &key.hash(), &cause("setup"))
        .await
        .unwrap();
    let token = AccessToken::generate().unwrap();
    let login = log_in(&gateway.access_id, &key, &token);
    let granted = bed.store.log_in(&login).await.unwrap();
    assert_eq!(
        granted,
        LoggedIn::Granted {
            expire_time: later(3600),
            gateway: Some(gateway.name.clone()),
        }
    );
    let found = session(&bed, &token.hash(), noon()).await;
    assert!(
        matches!(found, Some(Session::Gateway { identity: it, .. }) if it == identity(&gateway))
    );
}

async fn what_is_no_key_is_refused_and_on_record(bed: Bed) {
    let (method, key) = administrator(&bed).await;
    let (pods, _) = bed.method("pods").await;
    let (gateway, gateway_key) = (gateway("g"), AccessKey::generate().unwrap());
    bed.store
        .create_gateway(&gateway, &gateway_key.hash(), &cause("setup"))
        .await
        .unwrap();
    let (wrong, token) = (
        AccessKey::generate().unwrap(),
        AccessToken::generate().unwrap(),
    );
    let unknown: AccessId = "p-abcdefghijkk".parse().unwrap();
    let ask = |access_id: &AccessId, key: &AccessKey| log_in(access_id, key, &token);
    let elsewhere = LogIn {
        caller_ip: Some("11.1.1.1".parse().unwrap()),
        ..ask(&method.access_id, &key)
    };
    let nowhere = LogIn {
        narrow_to: Some("other".parse().unwrap()),
        ..ask(&method.access_id, &key)
    };
    let narrowed = LogIn {
        narrow_to: Some(gateway.name.clone()),
        ..ask(&gateway.access_id, &gateway_key)
    };
    let late = LogIn {
        now: later(86_400),
        ..ask(&method.access_id, &key)
    };
    let cases = [
        (ask(&unknown, &key), KeyDenial::AccessIdUnknown, "unknown"),
        (
            ask(&method.access_id, &wrong),
            KeyDenial::AccessKeyWrong,
            method.access_id.as_str(),
        ),
        (
            ask(&method.access_id, &gateway_key),
            KeyDenial::AccessKeyWrong,
            method.access_id.as_str(),
        ),
        (
            ask(&gateway.access_id, &key),
            KeyDenial::AccessKeyWrong,
            gateway.access_id.as_str(),
        ),
        (
            ask(&pods.access_id, &key),
            KeyDenial::AccessKeyWrong,
            pods.access_id.as_str(),
        ),
        (
            elsewhere,
            KeyDenial::ClientIpNotBound,
            method.access_id.as_str(),
        ),
        (late, KeyDenial::AccessExpired, method.access_id.as_str()),
        (
            nowhere,
            KeyDenial::GatewayUnknown,
            method.access_id.as_str(),
        ),
        (
            narrowed,
            KeyDenial::NarrowingNotAllowed,
            gateway.access_id.as_str(),
        ),
    ];
    for (i, (mut login, denial, access_id)) in cases.into_iter().enumerate() {
        login.request_id = format!("r{i}");
        assert_eq!(
            bed.store.log_in(&login).await.unwrap(),
            LoggedIn::Refused(denial)
        );
        let record = bed.record(&login.request_id).await;
        assert_eq!(record.kind, EventKind::AccessKeyDenied);
        assert_eq!(
            (record.reason.as_str(), record.access_id.as_str()),
            (denial.as_str(), access_id)
        );
    }
    assert_eq!(bed.count("SELECT COUNT(*) FROM tokens").await, 0);
}

async fn a_token_ends_with_what_it_stands_on(bed: Bed) {
    bed.root().await;
    let (method, key) = administrator(&bed).await;
    let token = AccessToken::generate().unwrap();
    let login = log_in(&method.access_id, &key, &token);
    bed.store.log_in(&login).await.unwrap();
    let name = MethodRef::Id(method.id.clone());
    let set = |disabled, access_expires| {
        let (store, name) = (bed.store.clone(), name.clone());
        let edit = move |current: &AuthMethod| {
            Ok(Settings {
                disabled,
                access_expires,
                ..current.settings.clone()
            })
        };
        async move {
            store
                .update_auth_method(&name, Etag::Any, edit, Intent::Write, &cause("r"))
                .await
                .unwrap()
        }
    };
    set(true, None).await;
    assert!(session(&bed, &token.hash(), noon()).await.is_none());
    let refused = bed
        .store
        .log_in(&LogIn {
            token: AccessToken::generate().unwrap().hash(),
            ..login
        })
        .await
        .unwrap();
    assert_eq!(refused, LoggedIn::Refused(KeyDenial::MethodDisabled));
    set(false, Some(later(10))).await;
    let before = session(&bed, &token.hash(), noon()).await;
    assert!(
        before.is_none(),
        "what ended doesn't come back with the method"
    );
    let token = AccessToken::generate().unwrap();
    let again = log_in(&method.access_id, &key, &token);
    bed.store.log_in(&again).await.unwrap();
    assert!(session(&bed, &token.hash(), later(9)).await.is_some());
    assert!(session(&bed, &token.hash(), later(10)).await.is_none());
    bed.store
        .delete_auth_method(&name, Etag::Any, false, &cause("r"))
        .await
        .unwrap();
    assert!(session(&bed, &token.hash(), noon()).await.is_none());
    assert_eq!(bed.count("SELECT COUNT(*) FROM access_keys").await, 1);
}

async fn a_gateway_made_anew_inherits_no_session(bed: Bed) {
    let (old, key) = (gateway("g"), AccessKey::generate().unwrap());
    bed.store
        .create_gateway(&old, &key.hash(), &cause("setup"))
        .await
        .unwrap();
    let token = AccessToken::generate().unwrap();
    bed.store
        .log_in(&log_in(&old.access_id, &key, &token))
        .await
        .unwrap();
    bed.store
        .delete_gateway(&old.name, Etag::Any, false, &cause("r1"))
        .await
        .unwrap();
    bed.gateway("g").await;
    assert!(session(&bed, &token.hash(), noon()).await.is_none());
}
