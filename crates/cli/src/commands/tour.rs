//! `postern tour`: the tutorial, step by step, against a Postern of its own.

mod guide;

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::failure::{Exit, Failure};
use crate::flags::{Connection, OutputFlags};
use crate::output::{self, Format};
use guide::{Answer, Guide};

/// A refusal's record is there within two seconds.
const RECORD_WITHIN: Duration = Duration::from_secs(5);
const RECORD_POLL: Duration = Duration::from_millis(100);

/// Walk through the tutorial: every command and its real result, on a Postern of its own
#[derive(Debug, Args)]
pub(crate) struct TourArgs {}

/// Fails unless everything happens as it should.
pub(crate) async fn run(_: &TourArgs, _: &Connection, flags: &OutputFlags) -> Result<(), Failure> {
    let started = Instant::now();
    let mut guide = Guide::start(flags.format() == Format::Table).await?;
    let result = walk(&mut guide).await;
    guide.stop().await?;
    let (token, reason) = result?;
    let seconds = started.elapsed().as_secs_f32();
    let text = format!(
        "\nThat was the whole tutorial, in {seconds:.1} seconds. Nothing of it is left.\nTo play with it yourself: postern dev"
    );
    output::print(
        flags.format(),
        &json!({ "token": token, "refusal": reason }),
        &text,
    )
}

/// The token of the pod that may log in, and why the other one was refused.
async fn walk(guide: &mut Guide) -> Result<(String, String), Failure> {
    guide.say("Control plane, gateway and a simulated cluster run on this machine.")?;
    guide.say("\n0. The administrator stores a profile.")?;
    let configure = "configure --control-plane-url $CONTROL_PLANE --gateway-url $GATEWAY --ca-cert ca.pem --access-key-file admin.json";
    guide.succeeds(configure).await?;

    guide.say(
        "\n1. What the gateway needs to know of the cluster. (On a real one, kubectl tells.)",
    )?;
    guide.sets("SA_JWT_TOKEN", "dev reviewer-token").await?;
    guide.sets("CA_CERT", "dev ca").await?;
    guide.sets("K8S_ISSUER", "dev issuer").await?;
    guide.sets("K8S_HOST", "dev host").await?;

    guide.say("\n2. Who may log in: two pods of one namespace.")?;
    let method = guide
        .succeeds_with(CREATE_METHOD, &["access_id", "prv_key"])
        .await?;
    let method: Value = serde_json::from_str(&method.stdout)
        .map_err(|error| unexpected(&format!("that is no JSON: {error}")))?;
    for (name, field) in [("ACCESS_ID", "access_id"), ("PRV_KEY", "prv_key")] {
        let value = method[field]
            .as_str()
            .ok_or_else(|| unexpected(&format!("{field} is missing")))?;
        guide.set(name, value);
    }

    guide
        .say("\n3. How the gateway reaches the cluster; it seals all of it before it is stored.")?;
    guide.succeeds(CREATE_CONFIG).await?;

    guide.say("\n4. The pod mypod1 logs in. (On a real cluster, the token is in its file.)")?;
    guide
        .sets("POD_TOKEN", "dev pod-token -n my-namespace-a --pod mypod1")
        .await?;
    let answer = guide.pod(LOGIN).await?;
    let token = answer
        .stdout
        .strip_prefix("Authentication succeeded.\nToken: ")
        .map(str::trim);
    let token = token.filter(|token| answer.code == Some(0) && token.starts_with("t-"));
    let token = token
        .ok_or_else(|| unexpected("mypod1 should have got a token"))?
        .to_owned();

    guide.say(
        "\n5. The pod mypod3 isn't on the list. It learns that it was refused, and no more.",
    )?;
    guide
        .sets("POD_TOKEN", "dev pod-token -n my-namespace-a --pod mypod3")
        .await?;
    let answer = guide.pod(LOGIN).await?;
    let request_id =
        request_id(&answer.stderr).filter(|_| answer.code == Some(Exit::Refused as i32));
    let request_id = request_id.ok_or_else(|| unexpected("mypod3 should have been refused"))?;

    guide.say("\n6. The administrator learns why.")?;
    let command = format!("audit get {request_id}");
    let record = await_record(guide, &command).await?;
    guide.show(&command, &record)?;
    let reason = "POD_NAME_NOT_BOUND";
    if record.code != Some(0) || !record.stdout.contains(reason) {
        return Err(unexpected(&format!("the record should have said {reason}")));
    }
    Ok((token, reason.to_owned()))
}

const CREATE_METHOD: &str = "create-auth-method-k8s -n my-k8s-auth-method --bound-pod-names mypod1 --bound-pod-names mypod2 --bound-namespaces my-namespace-a --json";
const CREATE_CONFIG: &str = "gateway-create-k8s-auth-config --name k8s-conf --gateway-url $GATEWAY --access-id $ACCESS_ID --signing-key $PRV_KEY --k8s-host=$K8S_HOST --token-reviewer-jwt $SA_JWT_TOKEN --k8s-ca-cert $CA_CERT --k8s-issuer $K8S_ISSUER";
const LOGIN: &str = "auth --access-id $ACCESS_ID --access-type k8s --gateway-url $GATEWAY --k8s-auth-config-name k8s-conf --k8s-service-account-token $POD_TOKEN";

/// Asks until the gateway's report has arrived.
async fn await_record(guide: &Guide, command: &str) -> Result<Answer, Failure> {
    let deadline = Instant::now() + RECORD_WITHIN;
    loop {
        let answer = guide.run(command).await?;
        if answer.code != Some(Exit::NotFound as i32) || Instant::now() > deadline {
            return Ok(answer);
        }
        tokio::time::sleep(RECORD_POLL).await;
    }
}

/// From `… (request ID 01J…)`.
fn request_id(stderr: &str) -> Option<String> {
    let (_, rest) = stderr.split_once("request ID ")?;
    rest.split_once(')').map(|(id, _)| id.to_owned())
}

fn unexpected(text: &str) -> Failure {
    Failure::new(Exit::Refused, format!("the tour went wrong: {text}"))
}

#[cfg(test)]
mod tests {
    use super::request_id;

    #[test]
    fn the_request_id_is_found_in_the_refusal() {
        let text = "error: login refused (request ID 01JABC)\nhint: postern audit get 01JABC";
        assert_eq!(request_id(text).as_deref(), Some("01JABC"));
        assert_eq!(request_id("error: no"), None);
    }
}
