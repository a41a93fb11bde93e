//! `POST /v1/introspect`.

use reqwest::header::{CACHE_CONTROL, WWW_AUTHENTICATE};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use super::route;
use crate::support::World;

pub(crate) struct Page<'w> {
    world: &'w World,
    client: Client,
    url: String,
}

impl<'w> Page<'w> {
    pub(crate) fn at(world: &'w World, url: &str) -> Self {
        postern_rpc::tls::install_crypto_provider();
        let ca = world.stack().admin().ca_cert.clone();
        let ca = reqwest::Certificate::from_pem(ca.as_bytes()).unwrap();
        let client = Client::builder().tls_certs_only([ca]);
        Self {
            world,
            client: client.build().unwrap(),
            url: format!("{url}/v1/introspect"),
        }
    }

    pub(crate) fn post(&self, asker: Option<&str>, form: String) -> (StatusCode, Value) {
        let mut request = self.client.post(&self.url);
        if let Some(asker) = asker {
            request = request.bearer_auth(asker);
        }
        let request = request
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        let (status, headers, body) = self.world.block_on(async {
            let response = request.send().await.unwrap();
            let (status, headers) = (response.status(), response.headers().clone());
            (status, headers, response.bytes().await.unwrap())
        });
        assert_eq!(headers[CACHE_CONTROL], "no-store");
        assert_eq!(
            headers.contains_key(WWW_AUTHENTICATE),
            status == StatusCode::UNAUTHORIZED
        );
        assert!(headers.contains_key("x-request-id"));
        (status, serde_json::from_slice(&body).unwrap())
    }
}

#[test]
fn a_service_without_grpc_checks_tokens_by_rfc_7662() {
    let world = World::start();
    let method = route(&world, "m", &[]);
    let token = world.token(&method);
    let admin = world.administrator_token("");
    let control_plane = Page::at(&world, world.stack().control_plane_url());
    let gateway = Page::at(&world, world.stack().gateway_url());
    for (page, asker) in [
        (&control_plane, &admin),
        (&control_plane, &token),
        (&gateway, &token),
    ] {
        let (status, said) = page.post(
            Some(asker),
            format!("token={token}&token_type_hint=access_token"),
        );
        assert_eq!(status, StatusCode::OK, "{said}");
        assert_eq!(said["active"], true);
        assert_eq!(said["client_id"], method.access_id.as_str());
        assert_eq!(said["token_type"], "Bearer");
        assert!(said["jti"].as_str().unwrap().starts_with("a-"));
        assert!(said["sub"].as_str().unwrap().starts_with("k8s:"));
        assert!(said["iss"].as_str().unwrap().starts_with("urn:postern:"));
        let (from, to) = (said["iat"].as_i64().unwrap(), said["exp"].as_i64().unwrap());
        assert!((899..=900).contains(&(to - from)), "{from} to {to}");
        assert_eq!(said["roles"], json!([]));
        assert_eq!(said["sub_claims"]["namespace"], json!(["my-namespace-a"]));
    }
    let inactive = json!({ "active": false });
    for dead in ["t-nothing", &world.pod_token("mypod1")] {
        let (status, said) = control_plane.post(Some(&admin), format!("token={dead}"));
        assert_eq!((status, said), (StatusCode::OK, inactive.clone()));
        let (status, said) = gateway.post(Some(dead), format!("token={dead}"));
        assert_eq!((status, said), (StatusCode::OK, inactive.clone()));
    }
}

#[test]
fn what_is_wrong_with_a_question_is_said_in_oauths_words() {
    let mut world = World::start();
    let method = route(&world, "m", &[]);
    let (token, other) = (world.token(&method), world.token(&method));
    let admin = world.administrator_token("");
    for url in [
        world.stack().control_plane_url().to_owned(),
        world.stack().gateway_url().to_owned(),
    ] {
        let page = Page::at(&world, &url);
        let error = |asker: Option<&str>, form: String| {
            let (status, said) = page.post(asker, form);
            (status.as_u16(), said["error"].as_str().unwrap().to_owned())
        };
        let is = |status: u16, error: &str| (status, error.to_owned());
        let about = |token: &str| format!("token={token}");
        assert_eq!(error(None, about(&token)), is(401, "invalid_token"));
        let stranger = error(Some("t-nobody"), about(&token));
        assert_eq!(stranger, is(401, "invalid_token"));
        let denied = error(Some(&other), about(&token));
        assert_eq!(denied, is(403, "insufficient_scope"));
        for wrong in [
            String::new(),
            "token=".to_owned(),
            format!("token={token}&token={token}"),
            format!("token={token}&client_address=127.0.0.1"),
            about(&"a".repeat(17_000)),
            about(&"a".repeat(70_000)),
        ] {
            assert_eq!(error(Some(&token), wrong), is(400, "invalid_request"));
        }
    }
    let page = Page::at(&world, world.stack().control_plane_url());
    let form = format!("token={token}&client_address=nowhere");
    assert_eq!(page.post(Some(&admin), form).0, StatusCode::BAD_REQUEST);
    let gateway = world.stack().gateway_url().to_owned();
    world.stop_control_plane();
    let (status, said) = Page::at(&world, &gateway).post(Some(&token), format!("token={token}"));
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(said["error"], "temporarily_unavailable");
}
