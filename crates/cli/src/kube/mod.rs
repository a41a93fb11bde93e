//! Clusters as an administrator sees them: for `manifest` and `import`, which run here and nowhere else.

mod api_server;
mod kubeconfig;
mod reviewer;

pub(crate) use api_server::{ApiServer, Applied};
pub(crate) use kubeconfig::Access;
pub(crate) use reviewer::{Reviewer, WatchesPods, kubernetes_name};
