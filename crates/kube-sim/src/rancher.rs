//! The face of Rancher: the API of one of its clusters, below a path and behind an API key.

use http::Uri;
use http::header;
use http::request::Parts;

use crate::authn::bearer;

/// What Rancher asks for.
#[derive(Clone)]
pub struct Rancher {
    /// The cluster's ID, which stands in its path.
    pub cluster_id: String,
    /// The bearer of the API key is an administrator of the cluster.
    pub api_key: String,
}

impl Rancher {
    /// Takes the cluster's path off, and says whether it was there, and the API key with it.
    pub(crate) fn enter(&self, head: &mut Parts) -> bool {
        let key = head.headers.get(header::AUTHORIZATION);
        let key = key.and_then(|header| bearer(header.to_str().ok()?));
        if key != Some(&self.api_key) {
            return false;
        }
        let path = head.uri.path_and_query().map_or("", |path| path.as_str());
        let below = path
            .strip_prefix("/k8s/clusters/")
            .and_then(|path| path.strip_prefix(self.cluster_id.as_str()))
            .filter(|path| path.starts_with('/'));
        match below.and_then(|path| path.parse::<Uri>().ok()) {
            Some(uri) => {
                head.uri = uri;
                true
            }
            None => false,
        }
    }
}
