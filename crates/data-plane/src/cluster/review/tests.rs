use serde_json::{Value, json};

use super::*;

/// What kube-apiserver answers for a pod's token.
fn answer() -> Value {
    json!({
        "kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1",
        "metadata": { "managedFields": [] },
        "spec": { "token": "t", "audiences": ["a"] },
        "status": {
            "authenticated": true,
            "user": {
                "username": "system:serviceaccount:my-namespace-a:default",
                "uid": "u1",
                "groups": ["system:serviceaccounts", "system:authenticated"],
                "extra": {
                    "authentication.kubernetes.io/credential-id": ["JTI=1"],
                    "authentication.kubernetes.io/node-name": ["n1"],
                    "authentication.kubernetes.io/node-uid": ["u3"],
                    "authentication.kubernetes.io/pod-name": ["mypod1"],
                    "authentication.kubernetes.io/pod-uid": ["u2"],
                },
            },
            "audiences": ["a"],
        },
    })
}

fn with(path: &str, value: Value) -> Value {
    let mut answer = answer();
    let (parent, name) = path.rsplit_once('/').unwrap();
    answer.pointer_mut(parent).unwrap()[name.replace("~1", "/")] = value;
    answer
}

fn without(path: &str) -> Value {
    let mut answer = answer();
    let (parent, name) = path.rsplit_once('/').unwrap();
    answer
        .pointer_mut(parent)
        .unwrap()
        .as_object_mut()
        .unwrap()
        .remove(name);
    answer
}

fn asked(answer: &Value, audiences: &[&str]) -> Result<Reviewed, DenyReason> {
    let audiences: Vec<_> = audiences.iter().map(|aud| (*aud).to_owned()).collect();
    match verdict(answer.to_string().as_bytes(), &audiences) {
        Ok(Verdict::Yes(reviewed)) => Ok(*reviewed),
        Ok(Verdict::No(reason)) => Err(reason),
        Err(fault) => panic!("{fault}"),
    }
}

fn denied(answer: &Value) -> Option<DenyReason> {
    asked(answer, &[]).err()
}

fn is_no_review(answer: &str) -> bool {
    matches!(
        verdict(answer.as_bytes(), &[]),
        Err(ReviewFault::NotATokenReview)
    )
}

#[test]
fn a_pods_review_is_read_whole() {
    let Ok(reviewed) = asked(&answer(), &[]) else {
        panic!("a yes")
    };
    assert_eq!(reviewed.namespace, "my-namespace-a");
    assert_eq!(reviewed.service_account_name, "default");
    assert_eq!(reviewed.service_account_uid, "u1");
    assert_eq!(reviewed.pod, Some(("mypod1".to_owned(), "u2".to_owned())));
    assert_eq!(reviewed.node_name.as_deref(), Some("n1"));
    assert_eq!(reviewed.credential_id.as_deref(), Some("JTI=1"));
    assert_eq!(reviewed.audiences, ["a"]);
}

#[test]
fn absent_means_no() {
    for answer in [
        json!({}),
        without("/status"),
        with("/status", json!(null)),
        with("/status", json!({})),
        without("/status/authenticated"),
        with("/status/authenticated", json!(null)),
        with("/status/authenticated", json!(false)),
        with("/status/error", json!("x")),
    ] {
        assert_eq!(
            denied(&answer),
            Some(DenyReason::TokenNotAuthenticated),
            "{answer}"
        );
    }
    assert!(asked(&with("/status/error", json!("")), &[]).is_ok());
}

#[test]
fn only_a_service_account_with_a_uid_is_one() {
    for answer in [
        without("/status/user"),
        without("/status/user/username"),
        without("/status/user/uid"),
    ] {
        assert_eq!(
            denied(&answer),
            Some(DenyReason::NotAServiceAccount),
            "{answer}"
        );
    }
    for username in [
        "",
        "admin",
        "system:anonymous",
        "system:serviceaccount",
        "system:serviceaccount:a",
        "system:serviceaccount::",
        "system:serviceaccount::b",
        "system:serviceaccount:a:",
        "system:serviceaccount:a:b:c",
        "x:system:serviceaccount:a:b",
        "SYSTEM:serviceaccount:a:b",
        "system:serviceaccounts:a:b",
        "system:node:a:b",
        "system:serviceaccount:A:b",
        "system:serviceaccount:a.b:c",
        "system:serviceaccount:a b:c",
        "system:serviceaccount:*:b",
        "system:serviceaccount:a:b?",
        "system:serviceaccount:a/b:c",
        "system:serviceaccount:..:c",
        " system:serviceaccount:a:b",
    ] {
        let answer = with("/status/user/username", json!(username));
        assert_eq!(
            denied(&answer),
            Some(DenyReason::NotAServiceAccount),
            "{username}"
        );
    }
    for uid in ["", " ", "a b", "a\n", &"a".repeat(129)] {
        let answer = with("/status/user/uid", json!(uid));
        assert_eq!(
            denied(&answer),
            Some(DenyReason::NotAServiceAccount),
            "{uid}"
        );
    }
}

#[test]
fn of_the_audiences_asked_for_one_must_come_back() {
    let aud = |came: &[&str], wanted: &[&str]| {
        asked(&with("/status/audiences", json!(came)), wanted).map(|reviewed| reviewed.audiences)
    };
    assert_eq!(aud(&["a"], &["a", "b"]).unwrap(), ["a"]);
    assert_eq!(
        aud(&["x", "b", "a"], &["a", "b"]).unwrap(),
        ["a", "b"],
        "what wasn't asked for doesn't count"
    );
    assert_eq!(aud(&["x"], &["a"]), Err(DenyReason::AudienceNotConfirmed));
    assert_eq!(aud(&[], &["a"]), Err(DenyReason::AudienceNotConfirmed));
    let silent = asked(&without("/status/audiences"), &["a"]).map(|reviewed| reviewed.audiences);
    assert_eq!(silent, Err(DenyReason::AudienceNotConfirmed));
    assert_eq!(
        aud(&["x"], &[]).unwrap(),
        ["x"],
        "nothing asked: the API server's own"
    );
}

#[test]
fn of_several_values_none_is_chosen() {
    let extra = "/status/user/extra/authentication.kubernetes.io~1";
    for (key, value) in [
        ("pod-name", json!(["mypod1", "mypod2"])),
        ("pod-name", json!([])),
        ("pod-name", json!(null)),
        ("pod-name", json!([""])),
        ("pod-name", json!(["*"])),
        ("pod-uid", json!([""])),
        ("pod-uid", json!([])),
    ] {
        let Ok(reviewed) = asked(&with(&format!("{extra}{key}"), value.clone()), &[]) else {
            panic!("a yes")
        };
        assert_eq!(reviewed.pod, None, "{key} {value}");
    }
    let Ok(reviewed) = asked(&with(&format!("{extra}node-name"), json!(["a", "b"])), &[]) else {
        panic!("a yes")
    };
    assert_eq!(reviewed.node_name, None);
}

#[test]
fn what_is_no_token_review_is_a_fault_and_no_verdict() {
    for answer in [
        "",
        " ",
        "null",
        "true",
        "[]",
        "<!doctype html>",
        "{",
        "{}x",
        r#"["authentication.k8s.io/v1","TokenReview",{"authenticated":true}]"#,
        r#"{"status":[true,{"username":"system:serviceaccount:a:b","uid":"u"}]}"#,
        r#"{"status":{"authenticated":true},"status":{"authenticated":true}}"#,
        r#"{"status":{"authenticated":"true"}}"#,
        r#"{"status":{"authenticated":1}}"#,
        r#"{"status":{"user":"system:serviceaccount:a:b"}}"#,
        r#"{"status":{"user":{"extra":[]}}}"#,
    ] {
        assert!(is_no_review(answer), "{answer}");
    }
    assert!(is_no_review(&with("/kind", json!("Status")).to_string()));
    assert!(is_no_review(
        &with("/apiVersion", json!("authentication.k8s.io/v1beta1")).to_string()
    ));
    let no_text = verdict(b"{\"metadata\":\"\x80\",\"status\":{}}", &[]);
    assert!(matches!(no_text, Err(ReviewFault::NotATokenReview)));
    let nested = format!("{{\"metadata\":{}", "[".repeat(100_000));
    assert!(is_no_review(&nested));
}

#[test]
fn a_request_says_what_is_asked_and_nothing_else() {
    let written = |audiences: &[String]| {
        let mut body = Vec::new();
        write(&mut body, "t\"", audiences).unwrap();
        serde_json::from_slice::<Value>(&body).unwrap()
    };
    let mut expected = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview" });
    expected["spec"] = json!({ "token": "t\"" });
    assert_eq!(written(&[]), expected);
    expected["spec"]["audiences"] = json!(["a"]);
    assert_eq!(written(&["a".to_owned()]), expected);
}
