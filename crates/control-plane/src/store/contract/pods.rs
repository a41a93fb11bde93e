//! Tokens that end with their pods.

use postern_core::auth_method::AuthMethod;
use postern_core::key::SigningKey;
use postern_core::reason::DenyReason;
use postern_core::sealed_config::SealedConfig;
use uuid::Uuid;

use super::bed::Bed;
use super::fixtures::{Login, facts, identity, kubernetes, later, noon};
use crate::store::{Exchanged, Gateway, Intent, RevokePods, TokenPod};

super::on_both_engines! {
    a_deleted_pods_tokens_go_at_once_and_it_gets_no_more,
    a_deleted_pods_renewal_is_refused_for_that,
    no_login_that_was_under_way_leaves_a_deleted_pod_a_token,
    a_gateway_ends_no_token_of_another_gateways_config,
    pods_that_hold_tokens_are_told_by_pages,
    a_method_that_doesnt_ask_for_it_gives_tokens_all_the_same,
}

const TOKENS: &str = "SELECT COUNT(*) FROM tokens";

struct Ending {
    bed: Bed,
    method: AuthMethod,
    key: SigningKey,
    gateway: Gateway,
    config: SealedConfig,
}

impl Ending {
    async fn new(bed: Bed) -> Self {
        let (method, key) = bed.method("m").await;
        let gateway = bed.gateway("g").await;
        let config = bed.config(&gateway, "c", &method).await.value;
        Self {
            bed,
            method,
            key,
            gateway,
            config,
        }
    }

    fn login(&self, pod_uid: &str) -> Login<'_> {
        let mut login = Login::new(&self.method, &self.key, &self.gateway, &self.config);
        login.facts.pod_uid = Some(pod_uid.to_owned());
        login
    }

    async fn log_in(&self, pod_uid: &str) -> Exchanged {
        let request = self.login(pod_uid).request("r");
        self.bed.store.exchange(&request).await.unwrap()
    }

    fn deleted(&self, gateway: &Gateway, pods: &[&str]) -> RevokePods {
        RevokePods {
            gateway: identity(gateway),
            config_uid: self.config.view.uid,
            pod_uids: pods.iter().map(|uid| (*uid).to_owned()).collect(),
            request_id: "deleted".to_owned(),
            now: noon(),
        }
    }

    async fn delete(&self, pods: &[&str]) -> Option<u64> {
        let revoke = self.deleted(&self.gateway, pods);
        self.bed.store.revoke_pods(&revoke).await.unwrap()
    }
}

async fn a_deleted_pods_tokens_go_at_once_and_it_gets_no_more(bed: Bed) {
    let ending = Ending::new(bed).await;
    for pod in ["one", "one", "two"] {
        assert!(matches!(ending.log_in(pod).await, Exchanged::Granted(_)));
    }
    assert_eq!(ending.delete(&["one", "unheard-of"]).await, Some(2));
    assert_eq!(ending.bed.count(TOKENS).await, 1);
    let record = ending.bed.record("deleted").await;
    assert_eq!(record.kind.as_str(), "tokens.revoked_with_pod");
    assert_eq!((record.resource.as_str(), record.count), ("pods/one", 2));
    assert_eq!(record.access_id, ending.method.access_id.as_str());
    let refused = Exchanged::Refused(DenyReason::PodDeleted);
    for pod in ["one", "unheard-of"] {
        assert_eq!(ending.log_in(pod).await, refused, "{pod}");
    }
    assert!(matches!(ending.log_in("two").await, Exchanged::Granted(_)));
    assert_eq!(ending.delete(&["one"]).await, Some(0), "again is no fault");
    ending.bed.store.sweep(later(3599)).await.unwrap();
    let remembered = "SELECT COUNT(*) FROM deleted_pods";
    assert_eq!(ending.bed.count(remembered).await, 2);
    ending.bed.store.sweep(later(3601)).await.unwrap();
    assert_eq!(ending.bed.count(remembered).await, 0);
}

async fn a_deleted_pods_renewal_is_refused_for_that(bed: Bed) {
    let ending = Ending::new(bed).await;
    let mut login = ending.login("one");
    let first = ending.bed.store.exchange(&login.request("login")).await;
    assert!(matches!(first.unwrap(), Exchanged::Granted(_)));
    assert_eq!(ending.delete(&["one"]).await, Some(1));
    (login.renews, login.jti) = (true, Uuid::now_v7());
    let renewal = ending.bed.store.exchange(&login.request("renewal")).await;
    let refused = Exchanged::Refused(DenyReason::PodDeleted);
    assert_eq!(renewal.unwrap(), refused);
}

async fn no_login_that_was_under_way_leaves_a_deleted_pod_a_token(bed: Bed) {
    let ending = Ending::new(bed).await;
    for round in 0..5 {
        let pod = format!("pod-{round}");
        let logins = (0..20).map(|i| {
            let store = ending.bed.store.clone();
            let request = ending.login(&pod).request(&format!("r{round}-{i}"));
            tokio::spawn(async move { store.exchange(&request).await.unwrap() })
        });
        let logins = futures::future::join_all(logins);
        let ((), logins) = tokio::join!(
            async {
                ending.delete(&[&pod]).await.unwrap();
            },
            logins
        );
        for login in logins {
            login.unwrap();
        }
        assert_eq!(ending.bed.count(TOKENS).await, 0, "round {round}");
    }
}

async fn a_gateway_ends_no_token_of_another_gateways_config(bed: Bed) {
    let ending = Ending::new(bed).await;
    ending.log_in("one").await;
    let other = ending.bed.gateway("other").await;
    let revoke = ending.deleted(&other, &["one"]);
    assert_eq!(ending.bed.store.revoke_pods(&revoke).await.unwrap(), None);
    assert_eq!(ending.bed.count(TOKENS).await, 1);
    assert!(matches!(ending.log_in("one").await, Exchanged::Granted(_)));
    let (gateway, uid) = (identity(&other), ending.config.view.uid);
    let asked = ending.bed.store.token_pods(&gateway, uid, "", 10, noon());
    assert_eq!(asked.await.unwrap(), None);
}

async fn pods_that_hold_tokens_are_told_by_pages(bed: Bed) {
    let ending = Ending::new(bed).await;
    for pod in ["a", "b", "b", "c"] {
        ending.log_in(pod).await;
    }
    let page = async |after: &str, limit, now| {
        let gateway = identity(&ending.gateway);
        let uid = ending.config.view.uid;
        let store = &ending.bed.store;
        let pods = store.token_pods(&gateway, uid, after, limit, now).await;
        pods.unwrap().unwrap()
    };
    let pod = |uid: &str| TokenPod {
        uid: uid.to_owned(),
        namespace: facts().namespace,
    };
    assert_eq!(page("", 2, noon()).await, [pod("a"), pod("b")]);
    assert_eq!(page("b", 2, noon()).await, [pod("c")]);
    assert_eq!(
        page("", 9, later(86_400)).await,
        [],
        "expired ones hold none"
    );
}

async fn a_method_that_doesnt_ask_for_it_gives_tokens_all_the_same(bed: Bed) {
    let ending = Ending::new(bed).await;
    ending.delete(&["one"]).await;
    let method = postern_core::resource_id::ResourceId::clone(&ending.method.id);
    let off = |method: &AuthMethod| {
        let mut settings = method.settings.clone();
        kubernetes(&mut settings).revoke_with_pod = false;
        Ok(settings)
    };
    let store = &ending.bed.store;
    let method = crate::store::MethodRef::Id(method);
    let cause = super::fixtures::cause("off");
    store
        .update_auth_method(&method, crate::store::Etag::Any, off, Intent::Write, &cause)
        .await
        .unwrap();
    assert!(matches!(ending.log_in("one").await, Exchanged::Granted(_)));
}
