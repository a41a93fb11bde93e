//! Names in requests: the asked gateway's own, in full or short.

use postern_core::invalid::Invalid;
use postern_core::resource_id::{ConfigName, GatewayName, ResourceId, ResourceIdError};

/// Empty, or the gateway's own name.
pub(super) fn parent(gateway: &GatewayName, parent: &str) -> Result<(), Invalid> {
    if parent.is_empty() {
        return Ok(());
    }
    match GatewayName::of_full(parent) {
        Ok(named) if named == *gateway => Ok(()),
        Ok(named) => Err(elsewhere("parent", gateway, &named)),
        Err(error) => Err(Invalid::field("parent", error.to_string())),
    }
}

/// `gateways/{gateway}/k8sAuthConfigs/{id}` with the gateway's own name, or `k8sAuthConfigs/{id}`.
pub(super) fn config(
    gateway: &GatewayName,
    name: &str,
    field: &str,
) -> Result<ConfigName, Invalid> {
    let invalid = |error: ResourceIdError| Invalid::field(field, error.to_string());
    if let Some(id) = name.strip_prefix("k8sAuthConfigs/") {
        return Ok(ConfigName {
            gateway: gateway.clone(),
            id: id.parse::<ResourceId>().map_err(invalid)?,
        });
    }
    let name: ConfigName = name.parse().map_err(invalid)?;
    if name.gateway != *gateway {
        return Err(elsewhere(field, gateway, &name.gateway));
    }
    Ok(name)
}

fn elsewhere(field: &str, gateway: &GatewayName, named: &GatewayName) -> Invalid {
    Invalid::field(
        field,
        format!("this is the gateway {gateway}; ask the gateway {named} for what is its own"),
    )
}

pub(super) fn no_etag(field: &str) -> Invalid {
    Invalid::field(
        field,
        "is missing: give the etag of the config as it was read, or \"*\" to overwrite whatever is there",
    )
}
