//! Logins without end, each tried once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use postern_proto::pb;
use postern_proto::pb::auth_service_client::AuthServiceClient;
use postern_rpc::client::Channel;
use postern_rpc::error::Failure;
use tonic::Code;

use super::{Method, World, request};

/// What a pod's login may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pods that log in over and over.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    /// Panics at [`Self::stop`] if a login ended in anything but a token or UNAVAILABLE.
    pub(crate) fn start(world: &World, method: &Method, pods: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |_| {
            let (stop, handle) = (Arc::clone(&stop), world.handle());
            let (channel, message) = (world.gateway().channel(), login(world, method));
            std::thread::spawn(move || {
                let mut tokens = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match handle.block_on(Box::pin(log_in(&channel, &message, PATIENCE))) {
                        Ok(token) => tokens.push(token),
                        Err(failure) => {
                            assert_eq!(failure.code, Code::Unavailable, "{failure}");
                            std::thread::sleep(Duration::from_millis(50));
                        }
                    }
                }
                tokens
            })
        };
        let threads = (0..pods).map(start).collect();
        Self { stop, threads }
    }

    /// The tokens that were answered.
    pub(crate) fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    }
}

pub(crate) fn login(world: &World, method: &Method) -> pb::AuthenticateRequest {
    let token = world.pod_token("mypod1");
    pb::AuthenticateRequest {
        token_audiences: Vec::new(),
        access_id: method.access_id.clone(),
        k8s_auth_config: method.name.clone(),
        credential: Some(pb::authenticate_request::Credential::ServiceAccountToken(
            token,
        )),
    }
}

pub(crate) async fn log_in(
    channel: &Channel,
    message: &pb::AuthenticateRequest,
    patience: Duration,
) -> Result<String, Failure> {
    let mut client = AuthServiceClient::new(channel.clone());
    let mut request = request(message.clone());
    request.set_timeout(patience);
    let answer = client.authenticate(request).await?;
    Ok(answer.into_inner().access_token)
}
