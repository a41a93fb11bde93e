//! What a gateway's replica says of itself.

use std::net::IpAddr;

use jiff::Timestamp;
use postern_core::invalid::{Invalid, Violations};
use postern_core::seal::SealKeyId;
use postern_proto::convert::time;
use postern_proto::pb;

use crate::store::Instance;

const MAX_VERSION: usize = 64;
const MAX_SEAL_KEYS: usize = 100;

/// The replica, called from `address` at `now`.
pub(super) fn instance(
    wire: &pb::ReportStatusRequest,
    address: Option<IpAddr>,
    now: Timestamp,
) -> Result<Instance, Invalid> {
    let mut faults = Violations::default();
    let id = faults.check("instance", wire.instance.parse().map_err(|_| "is no UUID"));
    let start = wire.start_time.as_ref();
    let start = start.map_or(Err("is missing".to_owned()), |start| {
        time::from_timestamp(start).map_err(|fault| fault.to_string())
    });
    let start_time = faults.check("start_time", start);
    let printable = wire
        .version
        .chars()
        .all(|c| c == ' ' || c.is_ascii_graphic());
    if wire.version.len() > MAX_VERSION || !printable {
        faults.add("version", "must be at most 64 printable characters");
    }
    let revision = match wire.revision.as_str() {
        "" => None,
        text => faults.check(
            "revision",
            text.parse::<i64>().map_err(|_| "is none of ours"),
        ),
    };
    if wire.seal_key_ids.len() > MAX_SEAL_KEYS {
        faults.add(
            "seal_key_ids",
            format!("has more than {MAX_SEAL_KEYS} entries"),
        );
    }
    let mut seal_key_ids: Vec<SealKeyId> = Vec::with_capacity(wire.seal_key_ids.len());
    for (i, id) in wire.seal_key_ids.iter().enumerate() {
        seal_key_ids.extend(faults.check(format!("seal_key_ids[{i}]"), id.parse()));
    }
    let (Some(id), Some(start_time)) = (id, start_time) else {
        return Err(faults.into_invalid());
    };
    faults.finish()?;
    Ok(Instance {
        id,
        version: wire.version.clone(),
        address: address.map(|ip| ip.to_canonical()),
        revision,
        seal_key_ids,
        start_time,
        last_contact_time: now,
    })
}
