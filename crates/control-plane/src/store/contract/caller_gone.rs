//! A write asks about its caller once more when its turn has come.

use postern_core::access_token::{AccessKey, AccessToken};
use postern_core::association::Association;
use postern_core::auth_method::{AuthMethod, Settings, TokenUses};
use postern_core::meta::Stored;
use postern_core::permission::Permission;
use sqlx::{Connection as _, PgConnection};

use super::bed::Bed;
use super::fixtures::{cause, noon};
use super::revoked_meanwhile::waiting;
use super::roles::{administrator, associate, role};
use super::tokens::log_in;
use crate::store::{
    Cause, Etag, EventFilter, Intent, MethodRef, Revocation, WhichToken, WriteError,
};

super::on_both_engines! {
    a_write_whose_callers_token_was_revoked_meanwhile_is_refused_and_leaves_nothing,
    a_write_is_judged_by_what_its_caller_holds_when_its_turn_comes,
    a_call_that_was_the_last_use_of_its_token_writes,
}

/// A call of somebody with the role, who was let in.
struct Caller {
    given: Stored<Association>,
    token: AccessToken,
    cause: Cause,
}

impl Caller {
    async fn new(bed: &Bed, id: &str, role: &str) -> Self {
        let (method, key) = administrator(bed, id).await;
        let given = associate(bed, &method, role).await;
        Self::with(bed, &method, &key, given).await
    }

    async fn with(
        bed: &Bed,
        method: &AuthMethod,
        key: &AccessKey,
        given: Stored<Association>,
    ) -> Self {
        let token = AccessToken::generate().unwrap();
        let login = log_in(&method.access_id, key, &token);
        bed.store.log_in(&login).await.unwrap();
        let cause = Cause {
            accessor: login.accessor.to_string(),
            ..cause("write")
        };
        Self {
            given,
            token,
            cause,
        }
    }

    fn revocation(&self) -> Revocation {
        Revocation {
            which: WhichToken::Hash(self.token.hash()),
            own: true,
            cause: cause("revoke"),
        }
    }
}

async fn nothing_was_left(bed: &Bed) {
    assert_eq!(
        bed.count("SELECT COUNT(*) FROM roles WHERE id = 'new'")
            .await,
        0
    );
    let records = bed
        .store
        .list_events(&EventFilter::request("write"), None, 10)
        .await;
    assert!(records.unwrap().items.is_empty());
}

async fn a_write_whose_callers_token_was_revoked_meanwhile_is_refused_and_leaves_nothing(bed: Bed) {
    let caller = Caller::new(&bed, "clerk", "admin").await;
    let write = || {
        bed.store
            .create_role(&NEW, Intent::ValidateOnly, &caller.cause)
    };
    write().await.unwrap();
    assert!(bed.store.revoke(&caller.revocation()).await.unwrap());
    let before = bed.store.current_revision().await.unwrap();
    for relayed in [false, true] {
        let mut cause = caller.cause.clone();
        if relayed {
            cause.gateway = "default".to_owned();
        }
        let refused = bed.store.create_role(&NEW, Intent::Write, &cause).await;
        assert!(
            matches!(&refused, Err(WriteError::CallerGone { relayed: by }) if *by == relayed),
            "{refused:?}"
        );
    }
    assert_eq!(bed.store.current_revision().await.unwrap(), before);
    nothing_was_left(&bed).await;
}

static NEW: std::sync::LazyLock<postern_core::role::Role> =
    std::sync::LazyLock::new(|| role("new", &[Permission::AuditRead]));

/// The write waits for another one when its caller's token ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_waited_while_its_callers_token_was_revoked_is_refused_and_leaves_nothing() {
    let Some(bed) = Bed::postgres().await else {
        return;
    };
    let caller = Caller::new(&bed, "clerk", "admin").await;
    let mut barrier = PgConnection::connect(&bed.url).await.unwrap();
    let mut barrier = barrier.begin().await.unwrap();
    sqlx::query("UPDATE revision SET value = value + 1")
        .execute(&mut *barrier)
        .await
        .unwrap();
    let (other, cause) = (bed.another().await, caller.cause.clone());
    let under_way =
        tokio::spawn(async move { other.create_role(&NEW, Intent::Write, &cause).await });
    waiting(&bed, 1).await;
    assert!(bed.store.revoke(&caller.revocation()).await.unwrap());
    barrier.rollback().await.unwrap();
    let refused = under_way.await.unwrap();
    assert!(
        matches!(refused, Err(WriteError::CallerGone { relayed: false })),
        "{refused:?}"
    );
    nothing_was_left(&bed).await;
}

/// The write has asked about its caller already when the caller's token ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_callers_token_is_revoked_in_its_middle_is_refused_and_leaves_nothing() {
    let Some(bed) = Bed::postgres().await else {
        return;
    };
    let caller = Caller::new(&bed, "clerk", "admin").await;
    let mut barrier = PgConnection::connect(&bed.url).await.unwrap();
    let mut barrier = barrier.begin().await.unwrap();
    sqlx::query("LOCK TABLE changes IN SHARE MODE")
        .execute(&mut *barrier)
        .await
        .unwrap();
    let (other, cause) = (bed.another().await, caller.cause.clone());
    let under_way =
        tokio::spawn(async move { other.create_role(&NEW, Intent::Write, &cause).await });
    waiting(&bed, 1).await;
    assert!(bed.store.revoke(&caller.revocation()).await.unwrap());
    barrier.rollback().await.unwrap();
    let refused = under_way.await.unwrap();
    assert!(
        matches!(refused, Err(WriteError::CallerGone { relayed: false })),
        "{refused:?}"
    );
    nothing_was_left(&bed).await;
}

/// The write has asked for the last time, and waits for a login that is open.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_not_acknowledged_before_a_write_that_its_token_began_is_over() {
    let Some(bed) = Bed::postgres().await else {
        return;
    };
    let caller = Caller::new(&bed, "clerk", "admin").await;
    let mut login = PgConnection::connect(&bed.url).await.unwrap();
    let mut login = login.begin().await.unwrap();
    sqlx::query("SELECT pg_advisory_xact_lock_shared(7306086897)")
        .execute(&mut *login)
        .await
        .unwrap();
    let (other, cause) = (bed.another().await, caller.cause.clone());
    let under_way =
        tokio::spawn(async move { other.create_role(&NEW, Intent::Write, &cause).await });
    waiting(&bed, 1).await;
    let revocation = caller.revocation();
    let revoke = bed.store.revoke(&revocation);
    tokio::pin!(revoke);
    tokio::select! {
        revoked = &mut revoke => panic!("{revoked:?} while the write may still be committed"),
        () = waiting(&bed, 2) => {}
    }
    login.rollback().await.unwrap();
    under_way.await.unwrap().unwrap();
    assert!(revoke.await.unwrap());
}

async fn a_write_is_judged_by_what_its_caller_holds_when_its_turn_comes(bed: Bed) {
    bed.root().await;
    let caller = Caller::new(&bed, "clerk", "admin").await;
    bed.store
        .delete_association(caller.given.value.uid, Etag::Any, &cause("setup"))
        .await
        .unwrap();
    let refused = bed
        .store
        .create_role(&NEW, Intent::Write, &caller.cause)
        .await;
    assert!(
        matches!(&refused, Err(WriteError::BeyondOwn(missing)) if missing == &[Permission::AuditRead]),
        "{refused:?}"
    );
    nothing_was_left(&bed).await;
}

async fn a_call_that_was_the_last_use_of_its_token_writes(bed: Bed) {
    let (method, key) = administrator(&bed, "once").await;
    let given = associate(&bed, &method, "auditor").await;
    let by_id = MethodRef::Id(method.id.clone());
    let once = |current: &AuthMethod| {
        Ok(Settings {
            token_num_uses: TokenUses::parse(1).unwrap(),
            ..current.settings.clone()
        })
    };
    bed.root().await;
    let setup = cause("setup");
    let limited = bed
        .store
        .update_auth_method(&by_id, Etag::Any, once, Intent::Write, &setup);
    let method = limited.await.unwrap().value;
    let caller = Caller::with(&bed, &method, &key, given).await;
    let hash = caller.token.hash();
    assert!(bed.store.session(&hash, noon()).await.unwrap().is_some());
    assert!(bed.store.session(&hash, noon()).await.unwrap().is_none());
    bed.store
        .create_role(&NEW, Intent::Write, &caller.cause)
        .await
        .unwrap();
}
