//! A deployment as `postern init` makes it: the gateway's credential is bound to its certificate.

use postern_dev::StackOptions;
use postern_proto::pb;
use postern_proto::pb::access_key_auth_service_client::AccessKeyAuthServiceClient;
use postern_rpc::client::{self, Target};
use postern_rpc::error::Failure;
use tonic::Code;

use crate::support::{Cli, World, request};

fn secured() -> World {
    World::with(StackOptions {
        require_gateway_certificate: true,
        ..StackOptions::default()
    })
}

#[test]
fn with_required_certificates_pods_log_in_and_a_stolen_gateway_credential_is_of_no_use() {
    let world = secured();
    let method = world.route("secured");
    let token = world.pod_token("mypod1");
    world.log_in(&method.access_id, "secured", &token).success();

    let file = world.gateway_file();
    let field = |name: &str| file[name].as_str().unwrap().to_owned();
    let target = Target {
        url: world.stack().control_plane_url().to_owned(),
        ca_pem: Some(world.stack().admin().ca_cert.clone().into_bytes()),
    };
    let stolen = pb::AuthenticateAccessKeyRequest {
        access_id: field("access_id"),
        access_key: field("access_key"),
        gateway: String::new(),
    };
    let answer = world.block_on(async {
        let channel = client::connect(&target).unwrap();
        let mut client = AccessKeyAuthServiceClient::new(channel);
        client.authenticate_access_key(request(stolen)).await
    });
    let refused = Failure::from(answer.unwrap_err());
    assert_eq!(refused.code, Code::PermissionDenied);
    let record = world.audited(&refused.request_id.unwrap());
    assert_eq!(record["reason"], "GATEWAY_CERTIFICATE", "{record}");
}

#[test]
fn what_init_makes_and_prints_is_mutual_tls() {
    let cli = Cli::new();
    let printed = cli.ok(&["init", "d", "--api-server=https://10.0.0.1:6443"]);
    assert!(printed.contains("made d/gateway/client.pem"), "{printed}");
    let flags = "--client-ca-file d/control-plane/ca.pem --require-gateway-certificate";
    assert!(printed.contains(flags), "{printed}");
    let serve = [
        "control-plane",
        "serve",
        "--database-url=sqlite:x.db",
        "--key-file=d/control-plane/keys",
    ];
    let alone = [&serve[..], &["--require-gateway-certificate"]].concat();
    cli.run(&alone).fails(2, &["--client-ca-file"]);
}

#[test]
fn the_pages_recipe_makes_a_certificate_for_another_gateway() {
    let cli = Cli::new();
    cli.ok(&["init", "deployment", "--api-server=https://10.0.0.1:6443"]);
    let page = crate::documents::read("docs/tls.md");
    let recipe = page
        .split("```sh\n")
        .find(|block| block.starts_with("openssl"));
    let recipe = recipe.unwrap().split("```").next().unwrap();
    let check = "openssl verify -CAfile deployment/ca.pem -purpose sslclient client.pem && openssl x509 -in client.pem -noout -ext subjectAltName";
    let output = std::process::Command::new("sh")
        .args(["-ec", &format!("{recipe}\n{check}")])
        .current_dir(cli.home())
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(stdout.contains("URI:postern://gateway/east"), "{stdout}");
}
