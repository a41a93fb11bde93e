//! The gateway's own service account, from a folder as a kubelet mounts it.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bed::{Bed, block_on};
use crate::server::BINDINGS;
use crate::support::{Method, World};

const CONFIG: &str = "in-cluster";

/// `token` and `ca.crt` lead through `..data`, which is swapped whole.
struct Mounted(TempDir);

impl Mounted {
    fn new(token: &str, ca: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for file in ["token", "ca.crt"] {
            symlink(Path::new("..data").join(file), folder.path().join(file)).unwrap();
        }
        let mounted = Self(folder);
        mounted.swap(token, ca);
        mounted
    }

    fn swap(&self, token: &str, ca: &str) {
        let version = tempfile::Builder::new()
            .prefix("..")
            .tempdir_in(self.0.path());
        let version = version.unwrap().keep();
        std::fs::write(version.join("token"), token).unwrap();
        std::fs::write(version.join("ca.crt"), ca).unwrap();
        let next = self.0.path().join("..data_tmp");
        symlink(version, &next).unwrap();
        std::fs::rename(next, self.0.path().join("..data")).unwrap();
    }

    fn take_away(&self) {
        std::fs::remove_file(self.0.path().join("..data")).unwrap();
    }
}

/// Restarts the gateway in the cluster at `url`, where it has these files.
fn move_gateway(bed: &mut Bed, mounted: &Mounted, url: &str) {
    let world = Arc::get_mut(&mut bed.world).expect("a world of one's own");
    let mut file = world.gateway_file();
    file["own_cluster"] = json!({ "service_account_dir": mounted.0.path(), "url": url });
    let path = world.stack().deployment().gateway_config();
    std::fs::write(path, file.to_string()).unwrap();
    world.restart_gateway();
}

fn create(bed: &Bed, method: &Method) -> Value {
    let create = [
        "gateway-create-k8s-auth-config",
        "--name",
        CONFIG,
        "--use-gw-service-account",
    ];
    let key = [
        "--access-id",
        &method.access_id,
        "--signing-key",
        &method.prv_key,
    ];
    let issuer = ["--k8s-issuer", &bed.server.issuer];
    let all = [&create[..], &key, &issuer].concat();
    bed.world.admin.json(&all)
}

fn pinned(world: &World) -> Option<(String, String)> {
    let config = world.admin.json(&["k8s-auth-config", "get", "-n", CONFIG]);
    let conditions = config["conditions"].as_array()?;
    let pinned = conditions
        .iter()
        .find(|c| c["type"] == "CONDITION_TYPE_CLUSTER_PINNED")?;
    let text = |field: &str| pinned[field].as_str().unwrap().to_owned();
    Some((text("status"), text("reason")))
}

/// Lets a service account read namespaces.
fn may_read_namespaces(bed: &Bed, account: &str, namespace: &str) {
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let name = bed.server.name();
    let role = json!({
        "metadata": { "name": name },
        "rules": [{ "apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"] }],
    });
    block_on(bed.server.make(roles, role));
    bed.server.remember(format!("{roles}/{name}"));
    let binding = json!({
        "metadata": { "name": name },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
        "subjects": [{ "kind": "ServiceAccount", "name": account, "namespace": namespace }],
    });
    block_on(bed.server.make(BINDINGS, binding));
    bed.server.remember(format!("{BINDINGS}/{name}"));
}

#[test]
fn the_gateways_own_files_are_read_again_and_count_in_their_own_cluster_only() {
    let Some(mut bed) = Bed::private(|_| ()) else {
        return;
    };
    let (namespace, gateways) = (bed.namespace(), bed.namespace());
    let pod = bed.pod(&namespace, "mypod1");
    bed.service_account(&gateways, "gateway");
    bed.delegate(
        json!({ "kind": "ServiceAccount", "name": "gateway", "namespace": gateways.name() }),
    );
    may_read_namespaces(&bed, "gateway", gateways.name());
    let own = |bed: &Bed| bed.token(&gateways, "gateway", json!({}));
    let mounted = Mounted::new(&own(&bed), &bed.ca);
    let host = bed.host.clone();
    move_gateway(&mut bed, &mounted, &host);

    let method = bed
        .world
        .method_with(CONFIG, &["--bound-namespaces", namespace.name()]);
    let created = create(&bed, &method);
    let kube_system = block_on(bed.server.get("/api/v1/namespaces/kube-system")).body;
    let uid = kube_system["metadata"]["uid"].as_str().unwrap();
    assert!(
        created["pinned_cluster"].as_str().unwrap().contains(uid),
        "{created}"
    );
    bed.eventually_admits(&method, &pod);

    // A token that may not review comes by a swap of the folder's link, and a good one after it.
    let powerless = bed.token(&gateways, "default", json!({}));
    mounted.swap(&powerless, &bed.ca);
    bed.eventually_is_at_fault(&method, &pod);
    mounted.swap(&own(&bed), &bed.ca);
    bed.eventually_admits(&method, &pod);

    // Files that are gone are a fault: the pod's token never stands in for them.
    mounted.take_away();
    bed.eventually_is_at_fault(&method, &pod);
    mounted.swap(&own(&bed), &bed.ca);
    bed.eventually_admits(&method, &pod);

    // A replica in another cluster may do everything there, and doesn't use the config.
    let other = bed.world.cluster();
    let there = Mounted::new(other.admin_token(), other.ca_pem());
    let host = other.host().to_owned();
    move_gateway(&mut bed, &there, &host);
    bed.log_in_briefly(&method, &pod).fails(3, &[]);
    let (status, reason) = pinned(&bed.world).expect("a condition");
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("CONDITION_STATUS_FALSE", "OTHER_CLUSTER")
    );
}
