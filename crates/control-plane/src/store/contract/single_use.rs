//! Methods that take each presented token once.

use postern_core::auth_method::{AuthMethod, TokenBounds};
use postern_core::key::SigningKey;
use postern_core::reason::DenyReason;
use postern_core::sealed_config::SealedConfig;

use super::bed::Bed;
use super::fixtures::{self, Login, cause, kubernetes, later};
use crate::store::{Exchange, Exchanged, Gateway, Intent};

super::on_both_engines! {
    fifty_parallel_logins_with_one_token_are_one,
    a_retry_of_the_login_that_used_a_token_up_gets_the_first_answer,
    the_same_token_through_another_config_is_another,
    a_token_without_a_credential_id_is_not_taken_once,
    a_used_token_is_forgotten_after_its_end,
}

struct Once {
    bed: Bed,
    method: AuthMethod,
    key: SigningKey,
    gateway: Gateway,
    config: SealedConfig,
}

impl Once {
    async fn new(bed: Bed) -> Self {
        let (mut method, key) = fixtures::method("m");
        kubernetes(&mut method.settings).tokens = TokenBounds {
            single_use: true,
            ..TokenBounds::default()
        };
        bed.store
            .create_auth_method(&method, None, Intent::Write, &cause("setup"))
            .await
            .unwrap();
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

    /// Another login with the same presented token.
    fn login(&self) -> Login<'_> {
        Login::new(&self.method, &self.key, &self.gateway, &self.config)
    }

    async fn exchange(&self, request: &Exchange) -> Exchanged {
        self.bed.store.exchange(request).await.unwrap()
    }
}

async fn fifty_parallel_logins_with_one_token_are_one(bed: Bed) {
    let once = Once::new(bed).await;
    let logins = (0..50).map(|i| {
        let (store, request) = (
            once.bed.store.clone(),
            once.login().request(&format!("r{i}")),
        );
        tokio::spawn(async move { store.exchange(&request).await.unwrap() })
    });
    let mut granted = 0;
    for login in futures::future::join_all(logins).await {
        match login.unwrap() {
            Exchanged::Granted(_) => granted += 1,
            Exchanged::Refused(reason) => assert_eq!(reason, DenyReason::TokenUsedBefore),
            Exchanged::Limited(limited) => panic!("{limited:?}"),
        }
    }
    assert_eq!(granted, 1);
    assert_eq!(once.bed.count("SELECT COUNT(*) FROM tokens").await, 1);
    let denied = "SELECT COUNT(*) FROM audit_events WHERE reason = 'TOKEN_USED_BEFORE'";
    assert_eq!(once.bed.count(denied).await, 49);
}

async fn a_retry_of_the_login_that_used_a_token_up_gets_the_first_answer(bed: Bed) {
    let once = Once::new(bed).await;
    let request = once.login().request("r1");
    let first = once.exchange(&request).await;
    assert!(matches!(first, Exchanged::Granted(_)));
    assert_eq!(once.exchange(&request).await, first);
    let another = once.login().request("r2");
    let refused = Exchanged::Refused(DenyReason::TokenUsedBefore);
    assert_eq!(once.exchange(&another).await, refused);
    assert_eq!(once.exchange(&request).await, first);
}

async fn the_same_token_through_another_config_is_another(bed: Bed) {
    let once = Once::new(bed).await;
    let other = once.bed.config(&once.gateway, "other", &once.method).await;
    for config in [&once.config, &other.value] {
        let login = Login::new(&once.method, &once.key, &once.gateway, config);
        let answer = once.exchange(&login.request("r")).await;
        assert!(matches!(answer, Exchanged::Granted(_)));
    }
}

async fn a_token_without_a_credential_id_is_not_taken_once(bed: Bed) {
    let once = Once::new(bed).await;
    // A gateway that doesn't keep the bound: the control plane decides for itself.
    let mut lax = once.method.clone();
    kubernetes(&mut lax.settings).tokens = TokenBounds::default();
    let mut login = Login::new(&lax, &once.key, &once.gateway, &once.config);
    login.facts.credential_id = None;
    let refused = Exchanged::Refused(DenyReason::CredentialIdMissing);
    assert_eq!(once.exchange(&login.request("r1")).await, refused);
}

async fn a_used_token_is_forgotten_after_its_end(bed: Bed) {
    let once = Once::new(bed).await;
    once.exchange(&once.login().request("r1")).await;
    let known = "SELECT COUNT(*) FROM presented_tokens";
    // The presented token ends after an hour; clocks may differ.
    once.bed.store.sweep(later(3600 + 599)).await.unwrap();
    assert_eq!(once.bed.count(known).await, 1);
    once.bed.store.sweep(later(3600 + 600)).await.unwrap();
    assert_eq!(once.bed.count(known).await, 0);
}
