//! Whatever an API server answers: a yes is a yes by a second reading of the answer.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// The members of an answer, some of which say yes.
fn any_json() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        Just("status"),
        Just("authenticated"),
        Just("user"),
        Just("username"),
        Just("uid"),
        Just("extra"),
        Just("audiences"),
        Just("error"),
        Just("kind"),
        Just("apiVersion"),
        Just("Authenticated"),
        Just("authentication.kubernetes.io/pod-name"),
        Just("authentication.kubernetes.io/pod-uid"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        Just(Value::Bool(true)),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        "system:serviceaccount:[a-z*:]{0,4}:[a-z./]{0,4}".prop_map(Value::from),
        Just(json!(["a"])),
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..6).prop_map(|members| {
                Value::Object(
                    members
                        .into_iter()
                        .map(|(k, v)| (k.to_owned(), v))
                        .collect(),
                )
            }),
        ]
    })
}

fn good() -> Value {
    json!({
        "kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1",
        "status": {
            "authenticated": true,
            "user": {
                "username": "system:serviceaccount:my-namespace-a:default", "uid": "u1",
                "extra": {
                    "authentication.kubernetes.io/pod-name": ["mypod1"],
                    "authentication.kubernetes.io/pod-uid": ["u2"],
                    "authentication.kubernetes.io/node-name": ["n1"],
                },
            },
            "audiences": ["a", "b"],
        },
    })
}

/// All places in a document.
fn pointers(value: &Value, at: String, all: &mut Vec<String>) {
    all.push(at.clone());
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            let name = name.replace('~', "~0").replace('/', "~1");
            pointers(value, format!("{at}/{name}"), all);
        }),
        Value::Array(values) => values
            .iter()
            .enumerate()
            .for_each(|(i, value)| pointers(value, format!("{at}/{i}"), all)),
        _ => {}
    }
}

/// Panics if a yes isn't one in the answer as anybody reads it.
fn check(answer: &[u8], asked: &[String]) {
    let Ok(Verdict::Yes(reviewed)) = verdict(answer, asked) else {
        return;
    };
    // A bad escape in a part that isn't read isn't looked at.
    let Ok(answer) = serde_json::from_slice::<Value>(answer) else {
        return;
    };
    let status = &answer["status"];
    assert_eq!(status["authenticated"], true);
    assert!(matches!(status["error"].as_str(), None | Some("")));
    let user = &status["user"];
    let (namespace, name) = (&reviewed.namespace, &reviewed.service_account_name);
    assert_eq!(
        user["username"],
        format!("system:serviceaccount:{namespace}:{name}")
    );
    for part in [namespace, name] {
        assert!(
            !part.is_empty() && !part.contains(['*', '?', '/', ':', ' ']),
            "{part}"
        );
        assert!(
            part != ".." && !part.bytes().any(|b| b.is_ascii_uppercase()),
            "{part}"
        );
    }
    assert_eq!(user["uid"], reviewed.service_account_uid.as_str());
    assert!(!reviewed.service_account_uid.is_empty());
    if let Some((name, uid)) = &reviewed.pod {
        let extra = &user["extra"];
        assert_eq!(
            extra["authentication.kubernetes.io/pod-name"],
            json!([name])
        );
        assert_eq!(extra["authentication.kubernetes.io/pod-uid"], json!([uid]));
    }
    let came_back = status["audiences"].as_array().cloned().unwrap_or_default();
    assert!(
        reviewed
            .audiences
            .iter()
            .all(|aud| came_back.contains(&json!(aud)))
    );
    if !asked.is_empty() {
        assert!(!reviewed.audiences.is_empty());
        assert!(reviewed.audiences.iter().all(|aud| asked.contains(aud)));
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_never_a_yes(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        prop_assert!(!matches!(verdict(&bytes, &[]), Ok(Verdict::Yes(_))));
    }

    #[test]
    fn any_answer_is_read_as_it_stands(answer in any_json(), asked in prop::collection::vec("[ab]", 0..2)) {
        check(answer.to_string().as_bytes(), &asked);
        let status = json!({ "status": answer });
        check(status.to_string().as_bytes(), &asked);
    }

    #[test]
    fn a_yes_with_any_part_replaced_is_read_as_it_stands(
        edits in prop::collection::vec((any::<prop::sample::Index>(), prop::option::of(any_json())), 1..4),
        asked in prop::collection::vec("[abc]", 0..3),
    ) {
        let mut answer = good();
        for (at, by) in edits {
            let mut places = Vec::new();
            pointers(&answer, String::new(), &mut places);
            let place = &places[at.index(places.len())];
            match (by, place.rsplit_once('/')) {
                (None, Some((parent, name))) => {
                    if let Some(Value::Object(members)) = answer.pointer_mut(parent) {
                        members.remove(&name.replace("~1", "/").replace("~0", "~"));
                    }
                }
                (by, _) => *answer.pointer_mut(place).unwrap() = by.unwrap_or_default(),
            }
        }
        check(answer.to_string().as_bytes(), &asked);
    }

    #[test]
    fn a_yes_with_changed_bytes_is_read_as_it_stands(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let mut answer = good().to_string().into_bytes();
        for (at, by) in edits {
            let at = at.index(answer.len());
            answer[at] = by;
        }
        check(&answer, &[]);
    }

    #[test]
    fn without_a_yes_there_is_none(missing in prop_oneof![
        Just("/status"), Just("/status/authenticated"), Just("/status/user"),
        Just("/status/user/username"), Just("/status/user/uid"),
    ], by in any_json()) {
        let mut answer = good();
        *answer.pointer_mut(missing).unwrap() = by;
        let said = answer.pointer("/status/authenticated") == Some(&json!(true));
        let named = answer.pointer("/status/user/uid").is_some_and(Value::is_string);
        if !said || !named {
            prop_assert!(!matches!(verdict(answer.to_string().as_bytes(), &[]), Ok(Verdict::Yes(_))));
        }
    }
}
