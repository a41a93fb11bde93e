//! How somebody sees that a pod is deleted.

use reqwest::Method;
use serde_json::{Value, json};

use crate::server::{BINDINGS, ROLES, Reply, Server};

const LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const OBJECT: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// A namespace, and the token of a service account that may list and watch all pods.
async fn a_watcher(server: &Server) -> (String, String) {
    let namespace = server.namespace().await;
    server.service_account(&namespace, "watcher").await;
    let name = server.name();
    let rules = json!([{ "apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"] }]);
    let role = json!({ "metadata": { "name": name }, "rules": rules });
    server.make(ROLES, role).await;
    server.remember(format!("{ROLES}/{name}"));
    let binding = json!({
        "metadata": { "name": name },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
        "subjects": [{ "kind": "ServiceAccount", "name": "watcher", "namespace": namespace }],
    });
    server.make(BINDINGS, binding).await;
    server.remember(format!("{BINDINGS}/{name}"));
    let token = server.token(&namespace, "watcher", json!({})).await;
    let pods = format!("/api/v1/namespaces/{namespace}/pods");
    let allowed = async || server.accepting(&token, LIST, &pods).await.code == 200;
    server.until("the permission", allowed).await;
    (namespace, token)
}

fn events(watch: &Reply) -> Vec<Value> {
    let lines = watch.text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

pub(crate) async fn a_list_tells_uids_by_pages(server: &Server) {
    let (namespace, token) = a_watcher(server).await;
    let pods = format!("/api/v1/namespaces/{namespace}/pods");
    let none = server.accepting(&token, LIST, &pods).await;
    assert!(none.body["items"].is_null(), "{}", none.text);
    let mut made = Vec::new();
    for name in ["a", "b", "c"] {
        made.push(json!(server.pod(&namespace, name, "default").await));
    }
    let mut found = Vec::new();
    let mut next = String::new();
    for size in [2, 1] {
        let path = format!("{pods}?limit=2&continue={next}");
        let page = server.accepting(&token, LIST, &path).await;
        assert_eq!(page.code, 200, "{}", page.text);
        assert_eq!(page.body["kind"], "PartialObjectMetadataList");
        assert!(page.body["metadata"]["resourceVersion"].is_string());
        let items = page.body["items"].as_array().unwrap();
        assert_eq!(items.len(), size);
        assert!(
            items.iter().all(|item| item["spec"].is_null()),
            "metadata alone"
        );
        found.extend(items.iter().map(|item| item["metadata"]["uid"].clone()));
        let token = page.body["metadata"]["continue"].as_str();
        next = token.unwrap_or_default().to_owned();
    }
    assert_eq!((found, next.as_str()), (made, ""));
    let all = server.accepting(&token, LIST, "/api/v1/pods").await;
    assert_eq!(all.code, 200, "{}", all.text);
}

pub(crate) async fn a_watch_tells_who_was_deleted(server: &Server) {
    let (namespace, token) = a_watcher(server).await;
    let uid = server.pod(&namespace, "goes", "default").await;
    let pods = format!("/api/v1/namespaces/{namespace}/pods");
    let list = server.accepting(&token, LIST, &pods).await.body;
    let version = list["metadata"]["resourceVersion"].as_str().unwrap();
    server.pod(&namespace, "stays", "default").await;
    server.delete(&format!("{pods}/goes")).await;
    for base in [pods.as_str(), "/api/v1/pods"] {
        let query = "watch=true&allowWatchBookmarks=true&timeoutSeconds=2";
        let path = format!("{base}?{query}&resourceVersion={version}");
        let watch = server.accepting(&token, OBJECT, &path).await;
        assert_eq!(watch.code, 200, "{}", watch.text);
        let events = events(&watch);
        let deleted = events.iter().find(|event| event["type"] == "DELETED");
        let deleted = deleted.unwrap_or_else(|| panic!("{}", watch.text));
        assert_eq!(deleted["object"]["kind"], "PartialObjectMetadata");
        assert_eq!(deleted["object"]["metadata"]["uid"], uid);
        assert_eq!(deleted["object"]["metadata"]["namespace"], namespace);
        let later = deleted["object"]["metadata"]["resourceVersion"].as_str();
        assert_ne!(later.unwrap(), version);
        assert!(events.iter().any(|event| event["type"] == "ADDED"));
    }
}

pub(crate) async fn who_may_not_watch_pods_is_forbidden(server: &Server) {
    let namespace = server.namespace().await;
    let token = server.token(&namespace, "default", json!({})).await;
    let pods = format!("/api/v1/namespaces/{namespace}/pods");
    let who = format!("system:serviceaccount:{namespace}:default");
    for (verb, query) in [("list", ""), ("watch", "?watch=true&timeoutSeconds=1")] {
        let path = format!("{pods}{query}");
        let reply = server
            .as_bearer(Some(&token), Method::GET, &path, Value::Null)
            .await;
        let message = format!(
            "pods is forbidden: User \"{who}\" cannot {verb} resource \"pods\" in API group \"\" in the namespace \
             \"{namespace}\""
        );
        reply.assert_refusal(403, "Forbidden", &message, json!({ "kind": "pods" }));
    }
}
