//! Pods that are gone, as a gateway reports them.

use postern_core::invalid::{Invalid, Violations};
use postern_proto::pb;
use postern_rpc::error::Error;
use postern_rpc::request::RequestExt as _;
use tonic::Request;
use uuid::Uuid;

use super::GatewaySync;
use crate::identity::CallingGateway;
use crate::store::RevokePods;

const MAX_PODS: usize = 500;
/// Kubernetes' own UIDs have 36 characters.
const MAX_UID: usize = 128;
const PAGE: u32 = 2000;

impl GatewaySync {
    pub(super) async fn revoke(
        &self,
        request: Request<pb::RevokePodsRequest>,
    ) -> Result<pb::RevokePodsResponse, Error> {
        let gateway = CallingGateway::of(&request)?.identity;
        let request_id = request.caller()?.request_id.to_string();
        let pb::RevokePodsRequest {
            config_uid,
            pod_uids,
        } = request.into_inner();
        let mut faults = Violations::default();
        let uid = faults.check("config_uid", config_uid.parse::<Uuid>());
        if !(1..=MAX_PODS).contains(&pod_uids.len()) {
            faults.add("pod_uids", format!("must have 1 to {MAX_PODS} entries"));
        }
        for (i, uid) in pod_uids.iter().enumerate() {
            if !is_uid(uid) {
                faults.add(format!("pod_uids[{i}]"), "is no UID");
            }
        }
        let Some(config_uid) = uid else {
            return Err(faults.into_invalid().into());
        };
        faults.finish()?;
        let revoke = RevokePods {
            gateway,
            config_uid,
            // In this order no two of them wait for each other.
            pod_uids: pod_uids.into_iter().collect(),
            request_id,
            now: self.context.now(),
        };
        let revoked = self.context.store.revoke_pods(&revoke).await?;
        let revoked = revoked.ok_or_else(|| not_its_own(config_uid))?;
        self.context.metrics.tokens_revoked(revoked);
        Ok(pb::RevokePodsResponse {
            revoked_tokens: i64::try_from(revoked).unwrap_or(i64::MAX),
        })
    }

    pub(super) async fn token_pods(
        &self,
        request: Request<pb::ListTokenPodsRequest>,
    ) -> Result<pb::ListTokenPodsResponse, Error> {
        let gateway = CallingGateway::of(&request)?.identity;
        let pb::ListTokenPodsRequest {
            config_uid,
            page_token: after,
        } = request.into_inner();
        let uid = config_uid.parse::<Uuid>();
        let uid = uid.map_err(|error| Invalid::field("config_uid", error.to_string()))?;
        if !(after.is_empty() || is_uid(&after)) {
            return Err(Invalid::field("page_token", "is none that was given out").into());
        }
        let store = &self.context.store;
        let pods = store.token_pods(&gateway, uid, &after, PAGE, self.context.now());
        let pods = pods.await?.ok_or_else(|| not_its_own(uid))?;
        let more = pods.len() == PAGE as usize;
        let last = pods.last().filter(|_| more);
        Ok(pb::ListTokenPodsResponse {
            next_page_token: last.map(|pod| pod.uid.clone()).unwrap_or_default(),
            pods: pods
                .into_iter()
                .map(|pod| pb::TokenPod {
                    uid: pod.uid,
                    namespace: pod.namespace,
                })
                .collect(),
        })
    }
}

fn is_uid(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    (1..=MAX_UID).contains(&text.len()) && text.bytes().all(plain)
}

fn not_its_own(config_uid: Uuid) -> Error {
    Error::NotFound {
        resource: format!("the gateway's own K8s auth config of UID {config_uid}"),
    }
}
