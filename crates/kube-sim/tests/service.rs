//! The simulator as a service: its protocols, its faults, what it records, and its end.
#![expect(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::time::Duration;

use kube_sim::{Fault, KubeSim, Options, TokenOptions};
use reqwest::{Client, ClientBuilder, Response, StatusCode, Version};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};

fn client(sim: &KubeSim, protocol: &str) -> ClientBuilder {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(sim.ca_pem().as_bytes()).unwrap())
        .unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let mut config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let redirects = reqwest::redirect::Policy::none();
    Client::builder()
        .tls_backend_preconfigured(config)
        .no_proxy()
        .redirect(redirects)
}

struct World {
    sim: KubeSim,
    client: Client,
    reviewer: String,
    token: String,
}

impl World {
    async fn new() -> Self {
        let sim = KubeSim::start(Options::default()).await.unwrap();
        let client = client(&sim, "h2").build().unwrap();
        let reviewer = sim
            .reviewer_token("default", "gateway-token-reviewer")
            .unwrap();
        let token = sim.pod_token("my-namespace-a", "mypod1").unwrap();
        Self {
            sim,
            client,
            reviewer,
            token,
        }
    }

    async fn review(&self, token: &str) -> reqwest::Result<Response> {
        let url = format!(
            "{}/apis/authentication.k8s.io/v1/tokenreviews",
            self.sim.host()
        );
        let body = json!({ "spec": { "token": token } });
        self.client
            .post(url)
            .bearer_auth(&self.reviewer)
            .json(&body)
            .send()
            .await
    }

    /// The answer to a good review under a fault.
    async fn under(&self, fault: Fault) -> Response {
        self.sim.set_fault(fault);
        self.review(&self.token).await.unwrap()
    }

    async fn status_under(&self, fault: Fault) -> Value {
        let answer = self.under(fault).await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        answer.json::<Value>().await.unwrap()["status"].clone()
    }
}

#[tokio::test]
async fn both_versions_of_http_are_served() {
    let world = World::new().await;
    for (protocol, version) in [("h2", Version::HTTP_2), ("http/1.1", Version::HTTP_11)] {
        let client = client(&world.sim, protocol).build().unwrap();
        let answer = client
            .get(format!("{}/livez", world.sim.host()))
            .send()
            .await
            .unwrap();
        assert_eq!(
            (answer.status(), answer.version()),
            (StatusCode::OK, version)
        );
    }
}

#[tokio::test]
async fn a_pod_token_is_good_until_its_pod_goes() {
    let world = World::new().await;
    let status = world.status_under(Fault::None).await;
    assert_eq!(status["authenticated"], true);
    assert_eq!(
        status["user"]["username"],
        "system:serviceaccount:my-namespace-a:default"
    );
    assert_eq!(
        status["user"]["extra"]["authentication.kubernetes.io/pod-name"],
        json!(["mypod1"])
    );
    assert_eq!(
        world.token.len(),
        world
            .sim
            .pod_token("my-namespace-a", "mypod1")
            .unwrap()
            .len()
    );

    world.sim.delete_pod("my-namespace-a", "mypod1").unwrap();
    assert_eq!(
        world.status_under(Fault::None).await["authenticated"],
        Value::Null
    );
    assert_eq!(world.sim.reviews(), 2);
}

#[tokio::test]
async fn requests_are_recorded_as_they_came() {
    let world = World::new().await;
    let url = format!(
        "{}/apis/authentication.k8s.io/v1/tokenreviews?pretty",
        world.sim.host()
    );
    let body = json!({ "spec": { "token": "x", "audiences": ["a"] } });
    let request = world.client.post(url).header("x-secret", "1").json(&body);
    assert_eq!(
        request.send().await.unwrap().status(),
        StatusCode::FORBIDDEN
    );
    world
        .client
        .get(format!("{}/version", world.sim.host()))
        .send()
        .await
        .unwrap();

    let recent = world.sim.recent_requests();
    assert_eq!(world.sim.reviews(), 1, "refused ones count too");
    assert_eq!(recent.len(), 2);
    assert!(recent[0].is_review() && !recent[1].is_review());
    assert_eq!(
        recent[0].path,
        "/apis/authentication.k8s.io/v1/tokenreviews?pretty"
    );
    assert_eq!(recent[0].headers["x-secret"], "1");
    assert_eq!(recent[0].body["spec"]["audiences"], json!(["a"]));
    assert_eq!(
        (recent[1].method.as_str(), recent[1].path.as_str()),
        ("GET", "/version")
    );
}

#[tokio::test]
async fn faults_spoil_the_answer() {
    let world = World::new().await;
    for code in [401, 403, 429, 500, 503] {
        let answer = world.under(Fault::Status(code)).await;
        assert_eq!(answer.status(), code);
        assert_eq!(answer.headers().contains_key("retry-after"), code == 429);
        assert_eq!(answer.json::<Value>().await.unwrap()["code"], code);
    }
    let answer = world
        .under(Fault::Redirect("https://other.example/".to_owned()))
        .await;
    assert_eq!(answer.status(), StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(answer.headers()["location"], "https://other.example/");
    let answer = world.under(Fault::Html).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.text().await.unwrap().starts_with("<!doctype html>"));

    let spoilt = world
        .status_under(Fault::Patch(json!({ "authenticated": null })))
        .await;
    assert_eq!(
        (&spoilt["authenticated"], &spoilt["user"]["uid"].is_string()),
        (&Value::Null, &true)
    );
    let spoilt = world
        .status_under(Fault::Patch(json!({ "user": { "username": "a:b" } })))
        .await;
    assert_eq!(
        (&spoilt["authenticated"], &spoilt["user"]["username"]),
        (&json!(true), &json!("a:b"))
    );
    let spoilt = world
        .status_under(Fault::Patch(json!({ "error": "oops" })))
        .await;
    assert_eq!(
        (&spoilt["authenticated"], &spoilt["error"]),
        (&json!(true), &json!("oops"))
    );
    assert_eq!(
        world.status_under(Fault::Patch(Value::Null)).await,
        Value::Null
    );
    let answer = world.under(Fault::Body("{\"kind\":".to_owned())).await;
    assert_eq!(answer.text().await.unwrap(), "{\"kind\":");

    assert_eq!(
        world.status_under(Fault::None).await["authenticated"],
        true,
        "and it is well again"
    );
}

#[tokio::test]
async fn an_endless_answer_goes_on_and_a_stalled_one_never_does() {
    let world = World::new().await;
    let mut answer = world.under(Fault::EndlessBody).await;
    let mut read = 0;
    while read < 4 << 20 {
        read += answer.chunk().await.unwrap().unwrap().len();
    }
    let mut answer = world.under(Fault::StallBody).await;
    let waited = tokio::time::timeout(Duration::from_millis(200), answer.chunk()).await;
    assert!(waited.is_err(), "not a byte, and no end");
}

#[tokio::test]
async fn a_hanging_server_still_stops() {
    let world = World::new().await;
    world.sim.set_fault(Fault::Hang);
    let pending = world.review("x");
    let World { client, .. } = &world;
    let asked = tokio::time::timeout(Duration::from_millis(200), pending).await;
    assert!(asked.is_err(), "no answer");
    let other = client
        .get(format!("{}/readyz", world.sim.host()))
        .send()
        .await
        .unwrap();
    assert_eq!(
        other.status(),
        StatusCode::OK,
        "other requests are answered"
    );
    let address = world.sim.address();
    tokio::time::timeout(Duration::from_secs(5), world.sim.shutdown())
        .await
        .unwrap();
    assert!(
        tokio::net::TcpStream::connect(address).await.is_err(),
        "nobody listens any more"
    );
}

#[tokio::test]
async fn calls_from_within_fail_as_requests_do() {
    let sim = KubeSim::start(Options::default()).await.unwrap();
    let refusal = sim.create_pod("nowhere", "a", "default").unwrap_err();
    assert_eq!(
        (refusal.code, refusal.to_string().as_str()),
        (404, "namespaces \"nowhere\" not found")
    );
    sim.create_namespace("ns").unwrap();
    assert_eq!(
        sim.create_namespace("ns").unwrap_err().reason,
        "AlreadyExists"
    );
    let options = TokenOptions {
        pod: Some("a".to_owned()),
        ..TokenOptions::default()
    };
    assert_eq!(
        sim.create_token("ns", "default", &options)
            .unwrap_err()
            .code,
        404
    );
    sim.create_pod("ns", "a", "default").unwrap();
    sim.create_token("ns", "default", &options).unwrap();
    sim.delete_namespace("ns").unwrap();
    assert_eq!(
        sim.create_token("ns", "default", &options)
            .unwrap_err()
            .code,
        404
    );
    assert_eq!(sim.delete_pod("ns", "a").unwrap_err().code, 404);
}

#[tokio::test]
async fn a_taken_address_is_an_error_that_names_it() {
    let first = KubeSim::start(Options::default()).await.unwrap();
    let again = Options {
        listen: first.address(),
        ..Options::default()
    };
    let error = KubeSim::start(again).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        format!("cannot listen on {}", first.address())
    );
}
