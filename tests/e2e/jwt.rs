//! Tokens that others verify without asking: by discovery and the key set, as any program would.

mod gateway;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use postern_dev::StackOptions;
use serde_json::{Value, json};
use test_support::postgres::Postgres;
use tokio::runtime::Runtime;

use crate::support::{Method, World};
use crate::tokens::{ask, route};

const AUDIENCES: [&str; 4] = [
    "--token-format",
    "jwt",
    "--token-audience",
    "orders,billing",
];
const UPDATE: [&str; 4] = ["auth-method", "update", "k8s", "-n"];

/// A service that knows nothing but the issuer's URL and the CA.
struct Service<'w> {
    world: &'w World,
    client: reqwest::Client,
    issuer: String,
}

impl<'w> Service<'w> {
    fn trusting(world: &'w World) -> Self {
        postern_rpc::tls::install_crypto_provider();
        let ca = world.stack().admin().ca_cert.clone();
        let ca = reqwest::Certificate::from_pem(ca.as_bytes()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([ca]);
        Self {
            world,
            client: client.build().unwrap(),
            issuer: world.stack().control_plane_url().to_owned(),
        }
    }

    fn page(&self, url: &str) -> Value {
        let (status, cached, body) = self.world.block_on(async {
            let answer = self.client.get(url).send().await.unwrap();
            let cached = answer.headers().get("cache-control").cloned();
            (answer.status(), cached, answer.bytes().await.unwrap())
        });
        assert_eq!(status, 200, "{url}");
        assert_eq!(cached.unwrap(), "public, max-age=300");
        serde_json::from_slice(&body).unwrap()
    }

    fn key_set(&self) -> JwkSet {
        let discovery = format!("{}/.well-known/openid-configuration", self.issuer);
        let document = self.page(&discovery);
        assert_eq!(document["issuer"], self.issuer.as_str());
        let set = self.page(document["jwks_uri"].as_str().unwrap());
        serde_json::from_value(set).unwrap()
    }

    /// What the token says, if it is good for that audience.
    fn verify(&self, token: &str, audience: &str) -> Option<Value> {
        let header = jsonwebtoken::decode_header(token).ok()?;
        let set = self.key_set();
        let key = DecodingKey::from_jwk(set.find(header.kid.as_deref()?)?).ok()?;
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_audience(&[audience]);
        validation.set_issuer(&[&self.issuer]);
        // The stack's clock is moved; this program's isn't.
        validation.validate_exp = false;
        let verified = jsonwebtoken::decode::<Value>(token, &key, &validation);
        verified.ok().map(|data| data.claims)
    }
}

fn log_in(world: &World, method: &Method, more: &[&str]) -> Value {
    let file = world.pod.file("sa-token", &world.pod_token("mypod1"));
    let args = [
        "auth",
        "--access-id",
        &method.access_id,
        "--k8s-auth-config-name",
        &method.name,
        "--k8s-service-account-token-file",
        &file,
    ];
    world.pod.json(&[&args[..], more].concat())
}

fn token(world: &World, method: &Method) -> String {
    let document = log_in(world, method, &[]);
    document["token"].as_str().unwrap().to_owned()
}

fn keys(world: &World) -> Vec<(String, String)> {
    let listed = world.admin.json(&["signing-key", "list"]);
    let keys = listed["signing_keys"].as_array().unwrap().iter();
    keys.map(|key| {
        let text = |field: &str| key[field].as_str().unwrap().to_owned();
        (text("key_id"), text("state"))
    })
    .collect()
}

/// Runs on SQLite, and on PostgreSQL where there is one.
fn on_both_engines(test: fn(&World)) {
    test(&World::start());
    let runtime = Runtime::new().unwrap();
    let Some(postgres) = runtime.block_on(Postgres::shared()) else {
        return;
    };
    let database = runtime.block_on(postgres.database());
    test(&World::with(StackOptions {
        database_url: Some(database.url().to_owned()),
        ..StackOptions::default()
    }));
}

#[test]
fn a_service_verifies_a_token_by_discovery_and_the_key_set_without_asking_about_it() {
    on_both_engines(|world| {
        let method = route(world, "m", &AUDIENCES);
        world.admin.ok(&["role", "create", "-n", "reader"]);
        let assoc = ["assoc-role-am", "--role-name", "reader", "--am-name", "m"];
        world
            .admin
            .ok(&[&assoc[..], &["--sub-claims", "namespace=my-namespace-a"]].concat());
        let document = log_in(world, &method, &[]);
        let token = document["token"].as_str().unwrap();
        let service = Service::trusting(world);
        let said = service.verify(token, "orders").unwrap();
        assert_eq!(said["aud"], json!(["orders", "billing"]));
        assert_eq!(said["access_id"], method.access_id.as_str());
        assert_eq!(said["sub_claims"]["namespace"], json!(["my-namespace-a"]));
        assert_eq!(said["sub_claims"]["pod_name"], json!(["mypod1"]));
        assert_eq!(said["roles"], json!(["reader"]));
        assert_eq!(said["nbf"], said["iat"]);
        let life = said["exp"].as_i64().unwrap() - said["iat"].as_i64().unwrap();
        assert_eq!(life, 900);
        // As introspection has it.
        let admin = world.control_plane().with(&world.administrator_token(""));
        let asked = ask(world, &admin, token, "").unwrap();
        assert!(asked.active);
        assert_eq!(said["jti"], asked.accessor.as_str());
        assert_eq!(said["sub"], asked.sub.as_str());
        assert_eq!(said["iss"], asked.iss.as_str());
        assert_eq!(said["aud"], json!(asked.aud));
        assert!(service.verify(token, "elsewhere").is_none());
    });
}

#[test]
fn a_jwt_is_for_some_of_the_methods_audiences_and_for_no_other() {
    let world = World::start();
    let method = route(&world, "m", &AUDIENCES);
    let service = Service::trusting(&world);
    let document = log_in(&world, &method, &["--token-audience", "billing"]);
    let token = document["token"].as_str().unwrap();
    assert!(service.verify(token, "orders").is_none());
    assert_eq!(
        service.verify(token, "billing").unwrap()["aud"],
        json!(["billing"])
    );
    let opaque = route(&world, "opaque", &[]);
    for (method, audience) in [(&method, "payroll"), (&opaque, "orders")] {
        let args = [
            "auth",
            "--access-id",
            &method.access_id,
            "--k8s-auth-config-name",
            &method.name,
            "--k8s-service-account-token-file",
            "-",
            "--token-audience",
            audience,
        ];
        let output = world.pod.run_with_stdin(&args, &world.pod_token("mypod1"));
        // Like any other refusal: who may not log in learns nothing of the list.
        let record = world.audited(&output.refused());
        assert_eq!(record["reason"], "TOKEN_AUDIENCE_NOT_ALLOWED");
    }
    assert!(self::token(&world, &opaque).starts_with("t-"));
}

#[test]
fn a_key_is_rotated_and_what_the_old_one_signed_stays_good_until_it_is_taken_out() {
    on_both_engines(|world| {
        let method = route(world, "m", &AUDIENCES);
        let service = Service::trusting(world);
        let admin = || world.control_plane().with(&world.administrator_token(""));
        let old = token(world, &method);
        let first = keys(world)[0].0.clone();
        let next = world.admin.json(&["signing-key", "prepare"]);
        let next = next["key_id"].as_str().unwrap();
        assert!(service.key_set().find(next).is_some(), "before it signs");
        world
            .admin
            .run(&["signing-key", "activate", next])
            .fails(1, &["less than 5 minutes", "force"]);
        world.advance(301);
        world.admin.ok(&["signing-key", "activate", next]);
        let new = token(world, &method);
        let kid = |token: &str| jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
        assert_eq!((kid(&old), kid(&new)), (first.clone(), next.to_owned()));
        for token in [&old, &new] {
            assert!(service.verify(token, "orders").is_some());
            assert!(ask(world, &admin(), token, "").unwrap().active);
        }
        world
            .admin
            .run(&["signing-key", "retire", &first])
            .fails(1, &["retired already", "force"]);
        world
            .admin
            .ok(&["signing-key", "retire", &first, "--force"]);
        assert!(
            service.verify(&old, "orders").is_none(),
            "out of the key set"
        );
        assert!(!ask(world, &admin(), &old, "").unwrap().active);
        assert!(service.verify(&new, "orders").is_some());
        assert_eq!(keys(world).len(), 1);
    });
}

#[test]
fn a_key_that_is_out_in_the_world_is_replaced_and_taken_out_at_once() {
    let world = World::start();
    let method = route(&world, "m", &AUDIENCES);
    let stolen = token(&world, &method);
    let old = keys(&world)[0].0.clone();
    let step = |args: &[&str]| world.admin.run(&[&["signing-key"], args].concat());
    step(&["retire", &old, "--force"]).fails(1, &["is the one that signs"]);
    let new = world.admin.json(&["signing-key", "prepare"]);
    let new = new["key_id"].as_str().unwrap();
    step(&["activate", new, "--force"]).success();
    step(&["retire", &old, "--force"]).success();
    let admin = world.control_plane().with(&world.administrator_token(""));
    assert!(!ask(&world, &admin, &stolen, "").unwrap().active);
    let good = token(&world, &method);
    assert!(ask(&world, &admin, &good, "").unwrap().active);
    assert_eq!(keys(&world).len(), 1);
}

#[test]
fn a_key_whose_id_begins_with_a_dash_is_no_flag() {
    let world = World::shared();
    for dashes in ["-", "--"] {
        let id = format!("{dashes}{}", "f".repeat(43 - dashes.len()));
        for args in [&["activate", &id, "--force"], &["retire", "--force", &id]] {
            let output = world.admin.run(&[&["signing-key"], &args[..]].concat());
            output.fails(4, &[&id, "not found"]);
        }
    }
}

#[test]
fn a_revoked_jwt_is_inactive_to_whoever_asks_and_good_to_whoever_verifies_offline() {
    let world = World::start();
    let method = route(&world, "m", &AUDIENCES);
    let token = token(&world, &method);
    let caller = world.control_plane().with(&token);
    assert!(ask(&world, &caller, "", "").unwrap().active, "about itself");
    let file = world.admin.file("token", &token);
    let revoke = ["token", "revoke", "--token-file", &file];
    world.admin.ok(&revoke);
    assert!(!ask(&world, &caller, "", "").unwrap().active);
    assert!(Service::trusting(&world).verify(&token, "orders").is_some());
}

#[test]
fn what_a_forger_makes_of_a_jwt_is_inactive() {
    let world = World::start();
    let method = route(&world, "m", &AUDIENCES);
    let token = token(&world, &method);
    let admin = world.control_plane().with(&world.administrator_token(""));
    let set = Service::trusting(&world).page(&format!(
        "{}/.well-known/jwks.json",
        world.stack().control_plane_url()
    ));
    let mut header = jsonwebtoken::decode_header(&token).unwrap();
    let claims = token.split('.').nth(1).unwrap();
    // The public key as the secret of an HMAC.
    header.alg = Algorithm::HS256;
    let secret = jsonwebtoken::EncodingKey::from_secret(set["keys"][0].to_string().as_bytes());
    let decoded = jsonwebtoken::dangerous::insecure_decode::<Value>(&token).unwrap();
    let confused = jsonwebtoken::encode(&header, &decoded.claims, &secret).unwrap();
    let mut cut = token.clone();
    cut.truncate(token.len() - 4);
    let none = format!("eyJ0eXAiOiJKV1QiLCJhbGciOiJub25lIn0.{claims}.");
    assert!(ask(&world, &admin, &token, "").unwrap().active);
    for forged in [confused, cut, none] {
        assert!(
            !ask(&world, &admin, &forged, "").unwrap().active,
            "{forged}"
        );
    }
    world.advance(901);
    let admin = world.control_plane().with(&world.administrator_token(""));
    assert!(
        !ask(&world, &admin, &token, "").unwrap().active,
        "it has ended"
    );
}

#[test]
fn what_can_only_be_kept_by_asking_is_refused_for_jwts() {
    let world = World::shared();
    let create = |name: &str, flags: &[&str]| {
        let create = [
            "create-auth-method-k8s",
            "-n",
            name,
            "--bound-namespaces",
            "a",
        ];
        world.admin.run(&[&create[..], flags].concat())
    };
    let with = |more: &[&'static str]| [&AUDIENCES[..], more].concat();
    create("a", &with(&["--token-num-uses", "3"])).fails(2, &["--token-num-uses"]);
    create("a", &with(&["--bound-ips", "10.0.0.0/8"])).fails(2, &["--bound-ips"]);
    create("a", &["--token-format", "jwt"]).fails(2, &["--token-audience", "is empty"]);
    create("a", &["--token-audience", "x"]).fails(2, &["--token-audience", "is for JWTs"]);
    create("jwt-kept", &AUDIENCES).success();
    let update = |flags: &[&str]| {
        world
            .admin
            .run(&[&UPDATE[..], &["jwt-kept"], flags].concat())
    };
    update(&["--token-num-uses", "3"]).fails(2, &["--token-num-uses"]);
    update(&["--description", "new"]).success();
    let shown = world.admin.json(&["get-auth-method", "-n", "jwt-kept"]);
    assert_eq!(shown["token_format"], "TOKEN_FORMAT_JWT");
    assert_eq!(shown["token_audiences"], json!(["orders", "billing"]));
    update(&["--token-format", "opaque", "--token-num-uses", "3"]).success();
    let shown = world.admin.json(&["get-auth-method", "-n", "jwt-kept"]);
    assert_eq!(shown["token_format"], "TOKEN_FORMAT_OPAQUE");
    assert_eq!(shown["token_audiences"], json!([]));
}
