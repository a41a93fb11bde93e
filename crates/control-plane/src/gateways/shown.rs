//! Gateways as administrators see them: with their credential's keys and their replicas.

use postern_core::meta::Stored;
use postern_core::resource_id::GatewayName;
use postern_proto::convert::time;
use postern_proto::pb;
use postern_rpc::error::Error;

use crate::context::Context;
use crate::keys;
use crate::meta;
use crate::store::{Gateway, Instance, Instances, StoredKeys};

/// In their order, which is by name.
pub(super) async fn all(
    context: &Context,
    gateways: &[Stored<Gateway>],
) -> Result<Vec<pb::Gateway>, Error> {
    let (Some(first), Some(last)) = (gateways.first(), gateways.last()) else {
        return Ok(Vec::new());
    };
    let (first, last) = (&first.value.name, &last.value.name);
    let keys = context.store.keys_of_gateways(first, last).await?;
    let instances = context.store.instances(first, last, context.now()).await?;
    let shown = gateways
        .iter()
        .map(|gateway| to_pb(gateway, &keys, &instances));
    Ok(shown.collect())
}

pub(super) async fn one(context: &Context, stored: &Stored<Gateway>) -> Result<pb::Gateway, Error> {
    let mut shown = all(context, std::slice::from_ref(stored)).await?;
    Ok(shown.pop().unwrap_or_default())
}

/// Where another gateway is at the same URL, its clients can't be told from this one's.
pub(super) async fn warnings(
    context: &Context,
    gateway: &Gateway,
) -> Result<Vec<pb::Warning>, Error> {
    let others = context.store.gateways_at(&gateway.url).await?;
    let others: Vec<String> = others
        .iter()
        .filter(|name| **name != gateway.name)
        .map(GatewayName::full)
        .collect();
    if others.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![pb::Warning {
        reason: "URL_SHARED".to_owned(),
        field: "gateway.url".to_owned(),
        message: format!(
            "{} is at {} too: whoever calls that URL must say which one is meant, with --gateway-name",
            others.join(", "),
            gateway.url
        ),
    }])
}

fn to_pb(stored: &Stored<Gateway>, keys: &StoredKeys, instances: &Instances) -> pb::Gateway {
    let gateway = &stored.value;
    pb::Gateway {
        name: gateway.name.full(),
        access_id: gateway.access_id.to_string(),
        meta: Some(meta::to_pb(gateway.uid, stored)),
        url: Some(gateway.url.clone()),
        description: Some(gateway.description.clone()),
        disabled: Some(gateway.disabled),
        keys: keys::to_pb(keys.of(gateway.uid)),
        instances: instances.of(gateway.uid).iter().map(instance).collect(),
    }
}

fn instance(instance: &Instance) -> pb::GatewayInstance {
    pb::GatewayInstance {
        instance: instance.id.to_string(),
        version: instance.version.clone(),
        address: instance
            .address
            .map(|ip| ip.to_string())
            .unwrap_or_default(),
        revision: instance.revision.map(|r| r.to_string()).unwrap_or_default(),
        seal_key_ids: instance
            .seal_key_ids
            .iter()
            .map(ToString::to_string)
            .collect(),
        start_time: Some(time::timestamp(instance.start_time)),
        last_contact_time: Some(time::timestamp(instance.last_contact_time)),
    }
}
