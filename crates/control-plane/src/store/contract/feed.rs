use postern_core::auth_method::{AuthMethod, Settings};

use super::bed::Bed;
use super::fixtures::{self, cause, identity};
use crate::store::{Change, Changes, Etag, Gateway, Intent, MethodRef};

super::on_both_engines! {
    a_gateway_gets_its_own_and_nothing_else,
    a_gateway_hears_of_what_concerns_it,
    what_is_forgotten_or_unknown_needs_a_snapshot,
    a_row_that_cant_be_read_is_left_out,
}

async fn snapshot(bed: &Bed, gateway: &Gateway) -> (i64, Vec<String>) {
    let snapshot = bed.store.snapshot(&identity(gateway)).await.unwrap();
    let methods = snapshot
        .methods
        .iter()
        .map(|m| m.value.id.auth_method_name());
    let configs = snapshot
        .configs
        .iter()
        .map(|c| c.value.view.name.to_string());
    (snapshot.revision, methods.chain(configs).collect())
}

/// What happened since, as texts, and the revision that is known then.
async fn news(bed: &Bed, gateway: &Gateway, known: &mut i64) -> Vec<String> {
    let changes = bed
        .store
        .changes_since(&identity(gateway), *known)
        .await
        .unwrap();
    let Changes::Since { revision, changes } = changes else {
        panic!("nothing was forgotten");
    };
    assert_eq!(revision, bed.store.current_revision().await.unwrap());
    *known = revision;
    let text = |change| match change {
        Change::AuthMethod(method) => method.value.id.auth_method_name(),
        Change::Config(config) => config.value.view.name.to_string(),
        Change::Deleted(name) => format!("-{name}"),
    };
    changes.into_iter().map(text).collect()
}

async fn a_gateway_gets_its_own_and_nothing_else(bed: Bed) {
    let (mine, _) = bed.method("mine").await;
    let (theirs, _) = bed.method("theirs").await;
    bed.method("nobodys").await;
    let (g, h) = (bed.gateway("g").await, bed.gateway("h").await);
    bed.config(&g, "c", &mine).await;
    bed.config(&h, "c", &theirs).await;
    let (revision, names) = snapshot(&bed, &g).await;
    assert_eq!(revision, bed.store.current_revision().await.unwrap());
    assert_eq!(names, ["authMethods/mine", "gateways/g/k8sAuthConfigs/c"]);
}

async fn a_gateway_hears_of_what_concerns_it(bed: Bed) {
    let (g, h) = (bed.gateway("g").await, bed.gateway("h").await);
    let (mut known, _) = snapshot(&bed, &g).await;
    let mut known_to_h = known;
    let (method, _) = bed.method("m").await;
    let (second, _) = bed.method("second").await;
    assert!(
        news(&bed, &g, &mut known).await.is_empty(),
        "no config names the methods"
    );
    let config = bed.config(&g, "c", &method).await.value;
    let (m, c) = ("authMethods/m", "gateways/g/k8sAuthConfigs/c");
    assert_eq!(
        news(&bed, &g, &mut known).await,
        [m, c],
        "the method stands before its config"
    );

    let describe = |current: &AuthMethod| {
        Ok(Settings {
            description: "new".to_owned(),
            ..current.settings.clone()
        })
    };
    let name = MethodRef::Id(method.id.clone());
    bed.store
        .update_auth_method(&name, Etag::Any, describe, Intent::Write, &cause("r"))
        .await
        .unwrap();
    assert_eq!(news(&bed, &g, &mut known).await, [m]);

    let mut moved = config.clone();
    moved.view = fixtures::config(&g, "c", &second).view;
    (moved.view.uid, moved.view.generation) = (config.view.uid, 2);
    bed.store
        .update_config(&moved, Etag::Any, Intent::Write, &cause("r"))
        .await
        .unwrap();
    assert_eq!(
        news(&bed, &g, &mut known).await,
        ["authMethods/second", c, "-authMethods/m"]
    );

    bed.store
        .delete_config(&moved.view.name, Etag::Any, &cause("r"))
        .await
        .unwrap();
    let mut gone = news(&bed, &g, &mut known).await;
    gone.sort();
    assert_eq!(
        gone,
        ["-authMethods/second", "-gateways/g/k8sAuthConfigs/c"]
    );
    bed.config(&g, "c", &method).await;
    bed.store
        .delete_auth_method(&name, Etag::Any, true, &cause("r"))
        .await
        .unwrap();
    let mut gone = news(&bed, &g, &mut known).await;
    gone.sort();
    assert_eq!(gone, ["-authMethods/m", "-gateways/g/k8sAuthConfigs/c"]);
    assert!(
        news(&bed, &h, &mut known_to_h).await.is_empty(),
        "another gateway heard nothing of it"
    );
}

async fn what_is_forgotten_or_unknown_needs_a_snapshot(bed: Bed) {
    let gateway = bed.gateway("g").await;
    let (method, _) = bed.method("m").await;
    for id in ["a", "b", "c"] {
        bed.config(&gateway, id, &method).await;
    }
    let now = bed.store.current_revision().await.unwrap();
    assert_eq!(bed.store.prune_changes(2).await.unwrap(), 3);
    let ask = async |after| {
        bed.store
            .changes_since(&identity(&gateway), after)
            .await
            .unwrap()
    };
    assert!(matches!(ask(now - 3).await, Changes::TooOld));
    assert!(
        matches!(ask(now + 1).await, Changes::TooOld),
        "of another history"
    );
    assert!(
        matches!(ask(now - 2).await, Changes::Since { revision, changes } if revision == now && changes.len() == 3)
    );
    assert!(
        matches!(ask(now).await, Changes::Since { revision, changes } if revision == now && changes.is_empty())
    );
    bed.store.prune_changes(0).await.unwrap();
    assert!(matches!(ask(now).await, Changes::Since { .. }));
}

async fn a_row_that_cant_be_read_is_left_out(bed: Bed) {
    let gateway = bed.gateway("g").await;
    let (good, _) = bed.method("good").await;
    let (bad, _) = bed.method("bad").await;
    bed.config(&gateway, "a", &good).await;
    bed.config(&gateway, "b", &bad).await;
    bed.config(&gateway, "c", &good).await;
    bed.store
        .raw("UPDATE auth_methods SET rules = '[{}]' WHERE id = 'bad'")
        .await;
    bed.store
        .raw("UPDATE k8s_auth_configs SET k8s_host = 'http://x' WHERE id = 'c'")
        .await;
    let (_, names) = snapshot(&bed, &gateway).await;
    let c = |id: &str| format!("gateways/g/k8sAuthConfigs/{id}");
    assert_eq!(names, ["authMethods/good".to_owned(), c("a"), c("b")]);
}
