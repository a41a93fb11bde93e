//! `ResourceMeta` of what is stored.

use postern_core::meta::Stored;
use postern_proto::convert::time;
use postern_proto::pb;
use uuid::Uuid;

use crate::store::Etag;

pub(crate) fn to_pb<T>(uid: Uuid, stored: &Stored<T>) -> pb::ResourceMeta {
    pb::ResourceMeta {
        uid: uid.to_string(),
        etag: Etag::of(stored.revision),
        create_time: Some(time::timestamp(stored.create_time)),
        update_time: Some(time::timestamp(stored.update_time)),
    }
}
