//! What is far too big or far too deep: refused, and hardly looked at.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postern_proto::pb;
use postern_proto::pb::access_key_auth_service_client::AccessKeyAuthServiceClient;
use postern_proto::pb::auth_service_client::AuthServiceClient;
use postern_rpc::client::{self, Channel, Target};
use serde_json::Value;
use tokio::runtime::Runtime;
use tonic::Code;

use crate::support::{Cli, Process, encoded, request};

const MIB: usize = 1024 * 1024;
/// What a server may take above what it took for its first answers, in KiB. One body alone is twice as much.
const MORE: u64 = 16 * 1024;

/// Both servers in a process of their own, whose memory is nobody else's.
struct Servers {
    process: Process,
    runtime: Runtime,
    gateway: Channel,
    control_plane: Channel,
    _logs: tempfile::TempDir,
    _cli: Cli,
}

impl Servers {
    fn start() -> Self {
        let (cli, logs) = (Cli::new(), tempfile::tempdir().unwrap());
        let mut process = Process::start(&cli, logs.path(), "dev", &["dev", "--json"]);
        process.wait_for("\n}\n");
        let env = cli.json(&["dev", "env"]);
        let runtime = Runtime::new().unwrap();
        let connect = |url: &Value| {
            let target = Target {
                url: url.as_str().unwrap().to_owned(),
                ca_pem: Some(std::fs::read(env["POSTERN_CA_CERT"].as_str().unwrap()).unwrap()),
            };
            runtime.block_on(async { client::connect(&target).unwrap() })
        };
        Self {
            gateway: connect(&env["POSTERN_GATEWAY_URL"]),
            control_plane: connect(&env["POSTERN_CONTROL_PLANE_URL"]),
            process,
            runtime,
            _logs: logs,
            _cli: cli,
        }
    }

    fn log_in(&self, token: String) -> Code {
        let message = pb::AuthenticateRequest {
            token_audiences: Vec::new(),
            access_id: "p-AAAAAAAAAAkA".to_owned(),
            k8s_auth_config: "k8s-conf".to_owned(),
            credential: Some(pb::authenticate_request::Credential::ServiceAccountToken(
                token,
            )),
        };
        let mut client = AuthServiceClient::new(self.gateway.clone());
        let answer = self.runtime.block_on(client.authenticate(request(message)));
        answer.unwrap_err().code()
    }

    fn log_in_with_key(&self, access_key: String) -> Code {
        let message = pb::AuthenticateAccessKeyRequest {
            access_id: "p-AAAAAAAAAAaA".to_owned(),
            access_key,
            gateway: String::new(),
        };
        let mut client = AccessKeyAuthServiceClient::new(self.control_plane.clone());
        let answer = self
            .runtime
            .block_on(client.authenticate_access_key(request(message)));
        answer.unwrap_err().code()
    }
}

#[test]
fn a_megabyte_of_dots_json_nested_deep_and_a_body_of_32_mib_are_refused_in_flat_memory() {
    let servers = Servers::start();
    let header = encoded(&serde_json::json!({ "alg": "RS256" }));
    let deep = |depth: usize| format!("{header}.{}.e30", URL_SAFE_NO_PAD.encode("[".repeat(depth)));
    assert_eq!(servers.log_in(deep(12_000)), Code::InvalidArgument);
    assert_eq!(servers.log_in(".".repeat(15_000)), Code::InvalidArgument);
    servers.log_in_with_key("x".repeat(1000));
    let before = servers.process.peak_memory();
    for _ in 0..8 {
        assert_eq!(servers.log_in(".".repeat(MIB)), Code::OutOfRange);
        assert_eq!(servers.log_in(deep(100_000)), Code::OutOfRange);
        assert_eq!(servers.log_in(deep(12_000)), Code::InvalidArgument);
    }
    for _ in 0..3 {
        assert_eq!(servers.log_in("A".repeat(32 * MIB)), Code::OutOfRange);
        assert_eq!(
            servers.log_in_with_key("A".repeat(32 * MIB)),
            Code::OutOfRange
        );
    }
    let more = servers.process.peak_memory() - before;
    assert!(more < MORE, "{more} KiB more");
}
