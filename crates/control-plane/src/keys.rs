//! Access keys, of methods and of gateways alike: how they are asked for, and what is shown of them.

use postern_core::access_token::AccessKey;
use postern_core::invalid::Violations;
use postern_core::seconds::Seconds;
use postern_proto::convert::time;
use postern_proto::pb;

use crate::store::{KeyOverlap, NewKey, StoredKey};

/// How long an old key stays good beside a new one, where nothing is said.
const DEFAULT_OVERLAP_SECONDS: i64 = 24 * 60 * 60;

/// `overlap` of a rotation: unset is a day, and 0 not at all.
pub(crate) fn rotation(
    faults: &mut Violations,
    wire: Option<prost_types::Duration>,
    key: &AccessKey,
) -> Option<NewKey> {
    let wire = wire.unwrap_or(prost_types::Duration {
        seconds: DEFAULT_OVERLAP_SECONDS,
        nanos: 0,
    });
    let overlap = overlap(faults, wire)?;
    Some(NewKey {
        hash: key.hash(),
        overlap,
    })
}

/// 0 is not at all.
pub(crate) fn overlap(
    faults: &mut Violations,
    wire: prost_types::Duration,
) -> Option<Option<KeyOverlap>> {
    faults.check("overlap", Seconds::parse(wire.seconds, wire.nanos))
}

pub(crate) fn to_pb(keys: &[StoredKey]) -> Vec<pb::AccessKeyInfo> {
    let info = |key: &StoredKey| pb::AccessKeyInfo {
        key_id: key.id.to_string(),
        create_time: Some(time::timestamp(key.create_time)),
        expire_time: key.expire_time.map(time::timestamp),
        last_used_time: key.last_used_time.map(time::timestamp),
    };
    keys.iter().map(info).collect()
}

/// The key for the one who may have it; none where nothing was stored.
pub(crate) fn shown(key: &AccessKey, validate_only: bool) -> String {
    if validate_only {
        String::new()
    } else {
        key.expose().to_owned()
    }
}
