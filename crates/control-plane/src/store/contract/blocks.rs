//! Who gets no token and may use none.

use postern_core::audit::EventKind;
use postern_core::reason::DenyReason;
use postern_core::subject::Subject;

use super::batches::Route;
use super::bed::Bed;
use super::fixtures::{cause, later, noon};
use super::revocations::{counts, token};
use crate::store::{Block, Blocked, Exchange, Exchanged, WriteError};

super::on_both_engines! {
    who_is_blocked_gets_no_token_and_may_use_none,
    a_block_that_ends_or_is_lifted_revives_nothing,
    a_block_through_one_config_holds_there_alone,
    blocks_are_listed_page_by_page_until_they_end,
}

fn pod(uid: &str) -> Subject {
    Subject::Pod(uid.parse().unwrap())
}

fn account(names: &str) -> Subject {
    Subject::ServiceAccount(names.parse().unwrap())
}

fn blocked(subject: Subject) -> Blocked {
    Blocked {
        subject,
        config: None,
    }
}

pub(super) fn block(subject: Subject) -> Block {
    Block {
        blocked: blocked(subject),
        reason: "stolen".to_owned(),
        end_time: None,
        create_time: noon(),
        access_id: "p-abcdefghijal".to_owned(),
    }
}

async fn exchange(bed: &Bed, route: &Route, seconds: i64) -> Exchanged {
    let request = Exchange {
        now: later(seconds),
        ..route.login().request("login")
    };
    bed.store.exchange(&request).await.unwrap()
}

const REFUSED: Exchanged = Exchanged::Refused(DenyReason::SubjectBlocked);

async fn who_is_blocked_gets_no_token_and_may_use_none(bed: Bed) {
    let route = Route::new(&bed, "m").await;
    let facts = route.login().facts;
    let subjects = [
        pod(facts.pod_uid.as_ref().unwrap()),
        account("my-namespace-a/default"),
        Subject::ServiceAccountUid(facts.service_account_uid.parse().unwrap()),
    ];
    for subject in subjects {
        let mine = token(&bed, &route, &[]).await;
        let others = token(
            &bed,
            &route,
            &[
                ("pod_uid", "other"),
                ("service_account", "other"),
                ("service_account_uid", "other"),
            ],
        )
        .await;
        let block = block(subject.clone());
        assert_eq!(bed.store.block(&block, &cause("block")).await.unwrap(), 1);
        assert!(
            !counts(&bed, &mine).await && counts(&bed, &others).await,
            "{subject}"
        );
        let mut login = route.login().request("refused");
        login.request_id = format!("refused {subject}");
        assert_eq!(bed.store.exchange(&login).await.unwrap(), REFUSED);
        let record = bed.record(&login.request_id).await;
        assert_eq!(record.kind, EventKind::LoginDenied);
        assert_eq!(record.reason, "SUBJECT_BLOCKED");
        assert_eq!(record.facts.unwrap(), facts);
        // Not by its revocation alone: as one that a version without blocks might have made.
        bed.store
            .raw("UPDATE tokens SET rules_revision = 1000000")
            .await;
        assert!(!counts(&bed, &mine).await, "{subject}");
        bed.store
            .unblock(&block.blocked, &cause("unblock"))
            .await
            .unwrap();
        bed.store.raw("DELETE FROM tokens").await;
        let again = bed.store.unblock(&block.blocked, &cause("unblock")).await;
        assert!(matches!(again, Err(WriteError::NotFound)), "{again:?}");
    }
    let kinds: Vec<_> = bed.lines().iter().map(|line| line.kind).collect();
    let of = |kind| kinds.iter().filter(|it| **it == kind).count();
    assert_eq!(
        (
            of(EventKind::SubjectBlocked),
            of(EventKind::SubjectUnblocked)
        ),
        (3, 3)
    );
}

async fn a_block_that_ends_or_is_lifted_revives_nothing(bed: Bed) {
    let route = Route::new(&bed, "m").await;
    let before = token(&bed, &route, &[]).await;
    let lifted = block(account("my-namespace-a/default"));
    bed.store.block(&lifted, &cause("r")).await.unwrap();
    bed.store
        .unblock(&lifted.blocked, &cause("r"))
        .await
        .unwrap();
    assert!(!counts(&bed, &before).await);
    let between = token(&bed, &route, &[]).await;
    let mut ending = block(account("my-namespace-a/default"));
    ending.end_time = Some(later(30));
    bed.store.block(&ending, &cause("r")).await.unwrap();
    assert_eq!(exchange(&bed, &route, 29).await, REFUSED);
    assert!(matches!(
        exchange(&bed, &route, 30).await,
        Exchanged::Granted(_)
    ));
    let session = bed.store.session(&between, later(30)).await.unwrap();
    assert!(session.is_none(), "its end revives nothing");
    for (seconds, left) in [(30 + 599, 1), (30 + 600, 0)] {
        bed.store.sweep(later(seconds)).await.unwrap();
        assert_eq!(bed.count("SELECT COUNT(*) FROM blocks").await, left);
    }
}

async fn a_block_through_one_config_holds_there_alone(bed: Bed) {
    let route = Route::new(&bed, "m").await;
    let elsewhere = bed
        .config(&route.gateway, "elsewhere", &route.method)
        .await
        .value;
    let (here, mut there) = (token(&bed, &route, &[]).await, route.login());
    there.config_uid = elsewhere.view.uid;
    bed.store.exchange(&there.request("there")).await.unwrap();
    let mut block = block(account("my-namespace-a/default"));
    block.blocked.config = Some(route.config.view.name.clone());
    assert_eq!(bed.store.block(&block, &cause("r")).await.unwrap(), 1);
    assert!(!counts(&bed, &here).await && counts(&bed, &there.token.hash()).await);
    assert_eq!(exchange(&bed, &route, 0).await, REFUSED);
    let mut again = route.login();
    again.config_uid = elsewhere.view.uid;
    let answer = bed.store.exchange(&again.request("again")).await.unwrap();
    assert!(matches!(answer, Exchanged::Granted(_)), "{answer:?}");

    let any = blocked(block.blocked.subject.clone());
    let lifted = bed.store.unblock(&any, &cause("r")).await;
    assert!(
        matches!(lifted, Err(WriteError::NotFound)),
        "another block: {lifted:?}"
    );
    block.blocked.config = Some("gateways/g/k8sAuthConfigs/nope".parse().unwrap());
    let refused = bed.store.block(&block, &cause("r")).await;
    assert!(matches!(refused, Err(WriteError::NotFound)), "{refused:?}");
}

async fn blocks_are_listed_page_by_page_until_they_end(bed: Bed) {
    let mut first = block(pod("pod-1"));
    first.end_time = Some(later(10));
    let others = [account("pay/api"), account("pay/web"), pod("pod-2")].map(block);
    for block in others.iter().chain([&first]) {
        bed.store.block(block, &cause("r")).await.unwrap();
    }
    let mut again = others[0].clone();
    again.reason = "still stolen".to_owned();
    bed.store.block(&again, &cause("r")).await.unwrap();
    let mut shown = Vec::new();
    let mut after = None;
    loop {
        let page = bed
            .store
            .list_blocks(after.as_ref(), 2, noon())
            .await
            .unwrap();
        after = page.items.last().map(|(cursor, _)| cursor.clone());
        shown.extend(page.items.into_iter().map(|(_, block)| block));
        if !page.more {
            break;
        }
    }
    assert_eq!(shown, [first, others[2].clone(), again, others[1].clone()]);
    let later = bed.store.list_blocks(None, 9, later(10)).await.unwrap();
    assert_eq!(later.items.len(), 3);
}
