use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use kube_sim::{Fault as Misbehaviour, KubeSim, TokenOptions};
use postern_core::auth_method::Audiences;
use serde_json::json;

use super::*;
use crate::cluster::tests::unmeasured;
use crate::cluster::{Ask, Cluster, Shared, Standing};
use crate::fixtures::{self, jwt, parse, strings};
use crate::presented_token::PresentedToken;

type Answer = Result<Result<Facts, DenyReason>, Arc<ReviewFault>>;

/// A simulated cluster, and the gateway's clock.
struct Bed {
    sim: KubeSim,
    offset: Arc<AtomicI64>,
    shared: Shared,
}

impl Bed {
    async fn new(limits: Limits) -> Self {
        let offset = Arc::new(AtomicI64::new(0));
        let shift = Arc::clone(&offset);
        let clock = Clock::new(move || {
            Timestamp::now() + SignedDuration::from_secs(shift.load(Ordering::Relaxed))
        });
        Self {
            sim: fixtures::sim().await,
            offset,
            shared: Shared {
                limits,
                clock,
                ..Shared::default()
            },
        }
    }

    fn cluster(&self) -> Arc<Cluster> {
        Arc::new(Cluster::new(fixtures::config(&self.sim), &self.shared).unwrap())
    }

    fn token(&self) -> Arc<PresentedToken> {
        let token = self.sim.pod_token("my-namespace-a", "mypod1").unwrap();
        parsed(&token)
    }

    fn later(&self, seconds: i64) {
        self.offset.fetch_add(seconds, Ordering::Relaxed);
    }
}

fn parsed(token: &str) -> Arc<PresentedToken> {
    Arc::new(parse(token).unwrap_or_else(|_| panic!("a readable token")))
}

fn garbage(i: usize) -> Arc<PresentedToken> {
    parsed(&jwt(
        &json!({ "alg": "RS256" }),
        &json!({ "sub": i.to_string() }),
    ))
}

fn uncached() -> Limits {
    Limits {
        verdict_cache_ttl_seconds: 0,
        refusal_cache_ttl_seconds: 0,
        ..Limits::default()
    }
}

async fn ask(cluster: &Arc<Cluster>, token: &Arc<PresentedToken>) -> Answer {
    ask_as(cluster, token, Standing::Unknown, Duration::from_secs(10)).await
}

async fn ask_as(
    cluster: &Arc<Cluster>,
    token: &Arc<PresentedToken>,
    standing: Standing,
    patience: Duration,
) -> Answer {
    let ask = Ask {
        audiences: &Audiences::ApiServer,
        label_keys: BTreeSet::new(),
        standing,
        client_ip: None,
        deadline: Deadline::after(patience),
    };
    cluster.verify(token, ask).await.map(unmeasured)
}

#[tokio::test]
async fn fifty_parallel_logins_of_one_token_are_one_review() {
    for limits in [Limits::default(), uncached()] {
        let bed = Bed::new(limits).await;
        let (cluster, token) = (bed.cluster(), bed.token());
        let answers = join_all((0..50).map(|_| ask(&cluster, &token))).await;
        assert!(answers.iter().all(|answer| matches!(answer, Ok(Ok(_)))));
        assert_eq!(bed.sim.reviews(), 1);
    }
}

#[tokio::test]
async fn those_who_share_a_review_share_its_fault_and_the_next_one_asks_anew() {
    let bed = Bed::new(Limits::default()).await;
    let (cluster, token) = (bed.cluster(), bed.token());
    bed.sim.set_fault(Misbehaviour::Status(503));
    let answers = join_all((0..5).map(|_| ask(&cluster, &token))).await;
    assert!(answers.iter().all(Result::is_err));
    assert_eq!(bed.sim.reviews(), 1);
    bed.sim.set_fault(Misbehaviour::None);
    assert!(ask(&cluster, &token).await.unwrap().is_ok());
}

#[tokio::test]
async fn facts_are_used_again_for_their_time_and_each_login_has_its_own_address() {
    let bed = Bed::new(Limits::default()).await;
    let (cluster, token) = (bed.cluster(), bed.token());
    let from = async |ip: [u8; 4]| {
        let ask = Ask {
            audiences: &Audiences::ApiServer,
            label_keys: BTreeSet::new(),
            standing: Standing::Unknown,
            client_ip: Some(ip.into()),
            deadline: Deadline::after(Duration::from_secs(10)),
        };
        cluster
            .verify(&token, ask)
            .await
            .unwrap()
            .verdict
            .unwrap()
            .client_ip
    };
    assert_eq!(from([10, 0, 0, 1]).await, Some([10, 0, 0, 1].into()));
    bed.later(9);
    assert_eq!(from([10, 0, 0, 2]).await, Some([10, 0, 0, 2].into()));
    assert_eq!(bed.sim.reviews(), 1);
    bed.later(1);
    from([10, 0, 0, 1]).await;
    assert_eq!(bed.sim.reviews(), 2);
    bed.later(-100);
    from([10, 0, 0, 1]).await;
    assert_eq!(
        bed.sim.reviews(),
        3,
        "a clock that was set back keeps nothing alive"
    );
}

#[tokio::test]
async fn facts_are_not_used_after_the_tokens_exp() {
    let bed = Bed::new(Limits {
        verdict_cache_ttl_seconds: 300,
        ..Limits::default()
    })
    .await;
    let (cluster, token) = (bed.cluster(), bed.token());
    let left = token
        .claims()
        .expire_time
        .unwrap()
        .duration_since(Timestamp::now());
    bed.later(left.as_secs() - 100);
    assert!(ask(&cluster, &token).await.unwrap().is_ok());
    bed.later(95);
    assert!(ask(&cluster, &token).await.unwrap().is_ok());
    assert_eq!(bed.sim.reviews(), 1);
    bed.later(10);
    let _ = ask(&cluster, &token).await;
    assert_eq!(bed.sim.reviews(), 2);
}

#[tokio::test]
async fn with_the_cache_off_every_login_is_reviewed() {
    let bed = Bed::new(uncached()).await;
    let (cluster, token) = (bed.cluster(), bed.token());
    for reviews in 1..4 {
        assert!(ask(&cluster, &token).await.unwrap().is_ok());
        assert_eq!(bed.sim.reviews(), reviews);
    }
}

#[tokio::test]
async fn a_refusal_is_repeated_for_two_seconds_at_most() {
    let bed = Bed::new(Limits::default()).await;
    let (cluster, token) = (bed.cluster(), bed.token());
    bed.sim.delete_pod("my-namespace-a", "mypod1").unwrap();
    let refused = Ok(DenyReason::TokenNotAuthenticated);
    for (pause, reviews) in [(0, 1), (1, 1), (1, 2)] {
        bed.later(pause);
        let answer = ask(&cluster, &token).await.map(Result::unwrap_err);
        assert_eq!(answer.map_err(drop), refused);
        assert_eq!(bed.sim.reviews(), reviews);
    }
}

#[tokio::test]
async fn a_refused_token_is_no_longer_known() {
    let bed = Bed::new(uncached()).await;
    let (cluster, token) = (bed.cluster(), bed.token());
    let question = Question::new(token.text(), &[], std::iter::empty());
    assert!(!cluster.verdicts.knows(&question));
    ask(&cluster, &token).await.unwrap().unwrap();
    assert!(cluster.verdicts.knows(&question));
    bed.sim.delete_pod("my-namespace-a", "mypod1").unwrap();
    ask(&cluster, &token).await.unwrap().unwrap_err();
    assert!(!cluster.verdicts.knows(&question));
}

#[test]
fn a_question_holds_the_whole_token_the_audiences_and_the_labels() {
    let of = |token: &str, audiences: &[&str], labels: &[&'static str]| {
        Question::new(&token.into(), &strings(audiences), labels.iter().copied()).0
    };
    let all = [
        of("a.b.c", &[], &[]),
        of("a.b.d", &[], &[]),
        of("a.b.c", &["x"], &[]),
        of("a.b.c", &["x", "y"], &[]),
        of("a.b.c", &["xy"], &[]),
        of("a.b.c", &[], &["x"]),
        of("a.b.c", &["x"], &["y"]),
        of("a.b.cx", &[], &[]),
    ];
    let distinct: BTreeSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len());
    assert_eq!(of("a.b.c", &["x"], &["y"]), of("a.b.c", &["x"], &["y"]));
}

#[tokio::test]
async fn two_tokens_that_differ_in_the_signature_are_two() {
    let (bed, other) = (Bed::new(Limits::default()).await, fixtures::sim().await);
    let token = bed.sim.pod_token("my-namespace-a", "mypod1").unwrap();
    let foreign = other.pod_token("my-namespace-a", "mypod1").unwrap();
    let (signed, _) = token.rsplit_once('.').unwrap();
    let (_, signature) = foreign.rsplit_once('.').unwrap();
    let forged = parsed(&format!("{signed}.{signature}"));
    let cluster = bed.cluster();
    ask(&cluster, &parsed(&token)).await.unwrap().unwrap();
    assert!(ask(&cluster, &forged).await.unwrap().is_err());
    assert!(ask(&cluster, &parsed(&token)).await.unwrap().is_ok());
    assert_eq!(bed.sim.reviews(), 2);
}

#[tokio::test]
async fn what_was_confirmed_under_one_audience_says_nothing_about_another() {
    let bed = Bed::new(Limits::default()).await;
    bed.token();
    let options = TokenOptions {
        pod: Some("mypod1".to_owned()),
        audiences: strings(&["vault"]),
        ..TokenOptions::default()
    };
    let token = bed.sim.create_token("my-namespace-a", "default", &options);
    let (cluster, token) = (bed.cluster(), parsed(&token.unwrap()));
    for (audience, confirmed) in [("vault", true), ("other", false), ("vault", true)] {
        let ask = Ask {
            audiences: &Audiences::Listed(strings(&[audience])),
            label_keys: BTreeSet::new(),
            standing: Standing::Unknown,
            client_ip: None,
            deadline: Deadline::after(Duration::from_secs(10)),
        };
        let verdict = cluster.verify(&token, ask).await.unwrap();
        assert_eq!(verdict.verdict.is_ok(), confirmed, "{audience}");
    }
    assert_eq!(bed.sim.reviews(), 2);
}

#[tokio::test]
async fn a_config_made_anew_uses_nothing_that_the_old_one_confirmed() {
    let bed = Bed::new(Limits::default()).await;
    let token = bed.token();
    ask(&bed.cluster(), &token).await.unwrap().unwrap();
    ask(&bed.cluster(), &token).await.unwrap().unwrap();
    assert_eq!(bed.sim.reviews(), 2);
}

#[tokio::test]
async fn unique_garbage_evicts_no_good_entry_and_its_own_cache_is_bounded() {
    let limits = Limits {
        verdict_cache_entries: 16,
        refusal_cache_entries: 16,
        ..Limits::default()
    };
    let bed = Bed::new(limits).await;
    let (cluster, token) = (bed.cluster(), bed.token());
    ask(&cluster, &token).await.unwrap().unwrap();
    for i in 0..100 {
        ask(&cluster, &garbage(i)).await.unwrap().unwrap_err();
    }
    let (confirmed, refused) = cluster.cached_verdicts();
    assert_eq!(confirmed, 1);
    assert!(refused <= 16, "{refused}");
    let reviews = bed.sim.reviews();
    ask(&cluster, &token).await.unwrap().unwrap();
    assert_eq!(bed.sim.reviews(), reviews, "still known");
}

/// Eight verifications at once, of which four may be of unknown tokens and one of a suspect's.
fn narrow() -> Limits {
    Limits {
        reviews_per_cluster: 8,
        logins_per_cluster: 8,
        ..uncached()
    }
}

#[tokio::test]
async fn garbage_that_hangs_leaves_half_of_the_budget_to_known_tokens() {
    let bed = Bed::new(narrow()).await;
    let (cluster, token) = (bed.cluster(), bed.token());
    ask(&cluster, &token).await.unwrap().unwrap();
    bed.sim.set_fault(Misbehaviour::Hang);
    let mut flood = Vec::new();
    for i in 0..4 {
        let (cluster, garbage) = (Arc::clone(&cluster), garbage(i));
        flood.push(tokio::spawn(async move { ask(&cluster, &garbage).await }));
    }
    while bed.sim.reviews() < 5 {
        tokio::task::yield_now().await;
    }
    bed.sim.set_fault(Misbehaviour::None);
    assert!(ask(&cluster, &token).await.unwrap().is_ok());
    let begun = std::time::Instant::now();
    let full = ask(&cluster, &garbage(9)).await.unwrap_err();
    assert!(matches!(*full, ReviewFault::QueueFull), "{full}");
    assert!(begun.elapsed() < Duration::from_secs(5), "at once");
    flood.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_review_goes_on_when_its_starter_leaves_and_is_called_off_when_all_have() {
    let bed = Bed::new(narrow()).await;
    let (cluster, token) = (bed.cluster(), bed.token());
    let (hasty, patient) = (Duration::from_millis(20), Duration::from_secs(10));
    let asked = |patience| ask_as(&cluster, &token, Standing::Unknown, patience);

    // Nobody gets a turn.
    let mut turns = Vec::new();
    for _ in 0..4 {
        turns.push(cluster.queue.turn(Standing::Unknown).await);
    }
    let alone = asked(hasty).await.unwrap_err();
    assert!(matches!(*alone, ReviewFault::Timeout));
    while !cluster.verdicts.flights().is_empty() {
        tokio::task::yield_now().await;
    }

    // Both ask before anything else can run; a clock would let the starter leave before the other came.
    let (mut starter, mut joined) = (Box::pin(asked(patient)), Box::pin(asked(patient)));
    assert!(futures::poll!(&mut starter).is_pending());
    assert!(futures::poll!(&mut joined).is_pending());
    drop(starter);
    turns.clear();
    assert!(joined.await.unwrap().is_ok());
    assert_eq!(bed.sim.reviews(), 1, "the abandoned one was never sent");

    bed.sim.set_fault(Misbehaviour::Hang);
    assert!(asked(hasty).await.is_err());
    bed.sim.set_fault(Misbehaviour::None);
    let again = asked(patient).await.unwrap();
    assert!(again.is_ok(), "it doesn't join what hung");
}

#[tokio::test]
async fn a_cluster_that_hangs_with_a_full_queue_delays_no_other_cluster() {
    let (slow, quick) = (Bed::new(narrow()).await, Bed::new(narrow()).await);
    slow.sim.set_fault(Misbehaviour::Hang);
    let (hung, healthy) = (slow.cluster(), quick.cluster());
    let flood = join_all((0..20).map(|i| {
        let (hung, garbage) = (Arc::clone(&hung), garbage(i));
        async move { ask_as(&hung, &garbage, Standing::Unknown, Duration::from_secs(2)).await }
    }));
    let good = async {
        let begun = std::time::Instant::now();
        let token = quick.token();
        for _ in 0..20 {
            ask(&healthy, &token).await.unwrap().unwrap();
        }
        begun.elapsed()
    };
    let (faults, took) = tokio::join!(flood, good);
    let full = |fault: &Answer| matches!(fault, Err(it) if matches!(**it, ReviewFault::QueueFull));
    assert_eq!(faults.iter().filter(|fault| full(fault)).count(), 16);
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn no_hidden_throttle_holds_reviews_back_before_the_limit_that_is_set() {
    let bed = Bed::new(Limits::default()).await;
    bed.sim.set_fault(Misbehaviour::Hang);
    let cluster = bed.cluster();
    let all = join_all((0..40).map(|i| {
        let (cluster, garbage) = (Arc::clone(&cluster), garbage(i));
        async move { ask(&cluster, &garbage).await }
    }));
    let at_once = async {
        while bed.sim.reviews() < 32 {
            tokio::task::yield_now().await;
        }
    };
    let begun = std::time::Instant::now();
    tokio::select! {
        _ = all => panic!("none of them is answered"),
        () = at_once => {}
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(
        bed.sim.reviews(),
        32,
        "half of 64, for tokens that aren't known"
    );
}

#[tokio::test]
async fn a_flight_that_ends_without_landing_keeps_nobody_waiting() {
    let metrics = VerdictCacheMetrics::default();
    let verdicts = Arc::new(Verdicts::new(&Limits::default(), Clock::system(), metrics));
    let question = Question([0; 32]);
    let waiting = verdicts.wait(question, drop);
    let outcome = waiting
        .outcome(Deadline::after(Duration::from_secs(10)))
        .await;
    assert!(matches!(*outcome.unwrap_err(), ReviewFault::Lost));
    assert!(verdicts.flights().is_empty());
}
