//! Tokens that were altered, made by others, or are too old.

use aws_lc_rs::rsa::{KeyPair, KeySize};
use serde_json::json;

use crate::server::{Server, assert_refused};
use crate::token;

const WRONG_SIGNATURE: &str =
    "[invalid bearer token, go-jose/go-jose: error in cryptographic primitive]";

async fn a_token(server: &Server) -> String {
    let namespace = server.namespace().await;
    server.token(&namespace, "default", json!({})).await
}

pub(crate) async fn an_altered_token_is_refused(server: &Server) {
    let good = a_token(server).await;
    assert_refused(
        &server
            .review(&token::with_wrong_signature(&good), &[])
            .await,
        WRONG_SIGNATURE,
    );

    let (header, mut claims) = token::decode(&good);
    claims["sub"] = json!("system:serviceaccount:kube-system:default");
    let (_, signature) = good.rsplit_once('.').unwrap();
    assert_refused(
        &server
            .review(&token::encode(&header, &claims, signature), &[])
            .await,
        WRONG_SIGNATURE,
    );
    assert_refused(
        &server
            .review(&token::encode(&header, &claims, ""), &[])
            .await,
        WRONG_SIGNATURE,
    );
    assert_eq!(
        server.review(&good, &[]).await["authenticated"],
        true,
        "the unaltered one is good"
    );
}

pub(crate) async fn an_unknown_key_is_refused(server: &Server) {
    let (mut header, claims) = token::decode(&a_token(server).await);
    let stranger = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let same_id = token::sign(&header, &claims, &stranger);
    assert_refused(&server.review(&same_id, &[]).await, WRONG_SIGNATURE);
    header.as_object_mut().unwrap().remove("kid");
    let no_id = token::sign(&header, &claims, &stranger);
    assert_refused(&server.review(&no_id, &[]).await, WRONG_SIGNATURE);
    header["kid"] = json!("another");
    let other_id = token::sign(&header, &claims, &stranger);
    let error = "[invalid bearer token, invalid signature, no keys found]";
    assert_refused(&server.review(&other_id, &[]).await, error);
}

pub(crate) async fn weak_algorithms_are_refused(server: &Server) {
    let good = a_token(server).await;
    let (header, claims) = token::decode(&good);
    for algorithm in ["none", "HS256", "ES256", "unheard-of"] {
        let mut header = header.clone();
        header["alg"] = json!(algorithm);
        for signature in ["", good.rsplit_once('.').unwrap().1] {
            let status = server
                .review(&token::encode(&header, &claims, signature), &[])
                .await;
            assert_refused(&status, WRONG_SIGNATURE);
        }
    }
}

pub(crate) async fn a_token_of_another_issuer_is_refused(server: &Server) {
    let (header, mut claims) = token::decode(&a_token(server).await);
    claims["iss"] = json!("https://another.example");
    let token = token::sign(
        &header,
        &claims,
        &KeyPair::generate(KeySize::Rsa2048).unwrap(),
    );
    assert_refused(&server.review(&token, &[]).await, "invalid bearer token");
}

pub(crate) async fn an_expired_token_is_refused(server: &Server) {
    let good = a_token(server).await;
    let Some(expired) = server.expired(&good, 90).await else {
        return;
    };
    let error = "[invalid bearer token, service account token has expired]";
    assert_refused(&server.review(&expired, &[]).await, error);
}

/// A caller that must refuse such a token has to look at `exp` itself.
pub(crate) async fn a_token_lives_a_minute_longer_than_it_says(server: &Server) {
    let good = a_token(server).await;
    let Some(expired) = server.expired(&good, 20).await else {
        return;
    };
    assert_eq!(server.review(&expired, &[]).await["authenticated"], true);
}
