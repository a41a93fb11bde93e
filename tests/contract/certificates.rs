//! Clients that are known by a certificate.

use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose};
use reqwest::Client;
use serde_json::{Value, json};

use crate::real::client;
use crate::server::{BINDINGS, REVIEWS, Reply, Server};
use crate::token;

/// A client of that name and group, known by a certificate that the CA with that key issued.
fn certified(server: &Server, ca_key: &str, names: (&str, &str), not_after: Timestamp) -> Client {
    let ca_key = KeyPair::from_pem(ca_key).unwrap();
    let ca = Issuer::from_ca_cert_pem(&server.ca.certificate, ca_key).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let (name, group) = names;
    params
        .distinguished_name
        .push(DnType::OrganizationName, group);
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = (std::time::SystemTime::UNIX_EPOCH
        + std::time::Duration::from_secs(not_after.as_second().unsigned_abs()))
    .into();
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &ca).unwrap();
    let identity = (
        certificate.pem().into_bytes(),
        key.serialize_pem().into_bytes(),
    );
    client(server.ca.certificate.as_bytes(), Some(identity))
}

fn of_the_ca(server: &Server, name: &str, group: &str) -> Client {
    let in_an_hour = Timestamp::now() + SignedDuration::from_hours(1);
    certified(server, ca_key(server), (name, group), in_an_hour)
}

fn ca_key(server: &Server) -> &str {
    let key = server.ca.key.as_deref();
    key.expect(
        "POSTERN_TEST_CLIENT_CA_KEY, the CA's key, for a cluster that takes client certificates",
    )
}

async fn review(server: &Server, client: &Client, bearer: Option<&str>, token: &str) -> Reply {
    let body = json!({ "spec": { "token": token } });
    server.as_certified(client, bearer, REVIEWS, body).await
}

async fn bind(server: &Server, kind: &str, name: &str) {
    let binding = server.name();
    let rbac = "rbac.authorization.k8s.io";
    let body = json!({
        "metadata": { "name": binding },
        "roleRef": { "apiGroup": rbac, "kind": "ClusterRole", "name": "system:auth-delegator" },
        "subjects": [{ "apiGroup": rbac, "kind": kind, "name": name }],
    });
    server.remember(format!("{BINDINGS}/{binding}"));
    server.make(BINDINGS, body).await;
}

pub(crate) async fn a_certificates_user_reviews_by_its_name_or_its_group(server: &Server) {
    let namespace = server.namespace().await;
    let token = server.token(&namespace, "default", json!({})).await;
    let (name, group) = (server.name(), server.name());
    let (by_name, by_group) = (
        of_the_ca(server, &name, "nobodys"),
        of_the_ca(server, "somebody", &group),
    );
    let message = format!(
        "tokenreviews.authentication.k8s.io is forbidden: User \"{name}\" cannot create resource \"tokenreviews\" in \
         API group \"authentication.k8s.io\" at the cluster scope"
    );
    let details = json!({ "group": "authentication.k8s.io", "kind": "tokenreviews" });
    review(server, &by_name, None, &token).await.assert_refusal(
        403,
        "Forbidden",
        &message,
        details,
    );
    for (kind, subject, client) in [("User", &name, &by_name), ("Group", &group, &by_group)] {
        bind(server, kind, subject).await;
        let allowed = async || review(server, client, None, &token).await.code == 201;
        server.until("the permission", allowed).await;
        let reply = review(server, client, None, &token).await;
        assert_eq!(
            reply.body["status"]["authenticated"], true,
            "{}",
            reply.text
        );
    }
}

pub(crate) async fn a_certificate_that_isnt_the_cas_or_has_expired_is_unauthorized(
    server: &Server,
) {
    let namespace = server.namespace().await;
    let token = server.token(&namespace, "default", json!({})).await;
    let (now, hour) = (Timestamp::now(), SignedDuration::from_hours(1));
    let foreign = KeyPair::generate().unwrap().serialize_pem();
    let masters = ("admin", "system:masters");
    for client in [
        certified(server, &foreign, masters, now + hour),
        certified(server, ca_key(server), masters, now - hour),
    ] {
        let reply = review(server, &client, None, &token).await;
        reply.assert_refusal(401, "Unauthorized", "Unauthorized", Value::Null);
    }
}

pub(crate) async fn a_certificate_speaks_before_a_token_and_a_bad_one_leaves_the_word_to_it(
    server: &Server,
) {
    let namespace = server.namespace().await;
    let token = server.token(&namespace, "default", json!({})).await;
    let masters = ("contract", "system:masters");
    let good = of_the_ca(server, masters.0, masters.1);
    let bad_token = token::with_wrong_signature(&token);
    let reply = review(server, &good, Some(&bad_token), &token).await;
    assert_eq!(reply.code, 201, "{}", reply.text);

    let foreign = KeyPair::generate().unwrap().serialize_pem();
    let in_an_hour = Timestamp::now() + SignedDuration::from_hours(1);
    let bad = certified(server, &foreign, masters, in_an_hour);
    let reply = review(server, &bad, Some(&token), &token).await;
    assert_eq!(reply.code, 403, "{}", reply.text);
    let reply = review(server, &bad, Some(&bad_token), &token).await;
    reply.assert_refusal(401, "Unauthorized", "Unauthorized", Value::Null);
}
