//! What is asked for, and what is shown.

use jiff::Timestamp;
use postern_core::access_token::Accessor;
use postern_core::invalid::{Invalid, Violations};
use postern_core::subject::Subject;
use postern_proto::convert::{audit, time};
use postern_proto::pb;
use uuid::Uuid;

use crate::auth_methods;
use crate::store::{Block, Blocked, LiveToken, TokenFilter};

/// Of a block's reason, in characters.
const MAX_REASON: usize = 1024;

/// # Errors
/// Every field that isn't what it should be.
pub(super) fn filter(wire: &pb::TokenFilter) -> Result<TokenFilter, Invalid> {
    let mut faults = Violations::default();
    let method = optional(&wire.auth_method)
        .and_then(|name| faults.absorb(auth_methods::reference("filter.auth_method", name)));
    if !wire.namespace.is_empty() && !wire.service_account.is_empty() {
        faults.add(
            "filter.namespace",
            "stands in filter.service_account already",
        );
    }
    if !wire.service_account.is_empty() && !wire.service_account_uid.is_empty() {
        faults.add(
            "filter.service_account_uid",
            "excludes filter.service_account: a service account goes by its names or by its UID",
        );
    }
    let filter = TokenFilter {
        method,
        namespace: given(&mut faults, "filter.namespace", &wire.namespace),
        service_account: given(&mut faults, "filter.service_account", &wire.service_account),
        service_account_uid: given(
            &mut faults,
            "filter.service_account_uid",
            &wire.service_account_uid,
        ),
        pod_uid: given(&mut faults, "filter.pod_uid", &wire.pod_uid),
    };
    for (field, uid) in [
        ("filter.service_account_uid", &filter.service_account_uid),
        ("filter.pod_uid", &filter.pod_uid),
    ] {
        if let Some(uid) = uid {
            uuid(&mut faults, field, &uid.to_string());
        }
    }
    faults.finish()?;
    Ok(filter)
}

/// `tokens/{accessor}`.
///
/// # Errors
/// Another form.
pub(super) fn accessor(name: &str) -> Result<Accessor, Invalid> {
    let accessor = name
        .strip_prefix("tokens/")
        .and_then(|text| text.parse().ok());
    accessor.ok_or_else(|| Invalid::field("name", "must be of the form `tokens/{accessor}`"))
}

/// # Errors
/// Every field that isn't what it should be.
pub(super) fn block(wire: &pb::Block, access_id: &str, now: Timestamp) -> Result<Block, Invalid> {
    let mut faults = Violations::default();
    let subject = wire.subject.clone().unwrap_or_default();
    let blocked = blocked(&subject).map_err(|fault| fault.within("block.subject"));
    let blocked = faults.absorb(blocked);
    match blocked.as_ref().map(|blocked| &blocked.subject) {
        Some(Subject::ServiceAccountUid(uid)) => {
            uuid(
                &mut faults,
                "block.subject.service_account_uid",
                &uid.to_string(),
            );
        }
        Some(Subject::Pod(uid)) => uuid(&mut faults, "block.subject.pod_uid", &uid.to_string()),
        Some(Subject::ServiceAccount(_)) | None => {}
    }
    if wire.reason.chars().count() > MAX_REASON {
        faults.add(
            "block.reason",
            format!("is longer than {MAX_REASON} characters"),
        );
    }
    if wire.reason.contains('\0') {
        faults.add("block.reason", "has a character that is none");
    }
    let end = wire.end_time.as_ref().map(time::from_timestamp).transpose();
    let end_time = faults.check("block.end_time", end).flatten();
    if end_time.is_some_and(|end| end <= now) {
        faults.add("block.end_time", "is past");
    }
    let Some(blocked) = blocked else {
        return Err(faults.into_invalid());
    };
    faults.finish()?;
    Ok(Block {
        blocked,
        reason: wire.reason.clone(),
        end_time,
        create_time: now,
        access_id: access_id.to_owned(),
    })
}

/// Kubernetes' UIDs are UUIDs, in small letters. A name in the place of one would match nobody, and
/// look as if it had.
fn uuid(faults: &mut Violations, field: &str, text: &str) {
    let uuid = Uuid::try_parse(text).is_ok_and(|uuid| uuid.hyphenated().to_string() == text);
    if !uuid {
        faults.add(
            field,
            "is no UID: Kubernetes' are UUIDs, such as 5b7b1a3e-0000-4000-8000-000000000002",
        );
    }
}

/// # Errors
/// Every field that isn't what it should be.
pub(super) fn blocked(wire: &pb::BlockedSubject) -> Result<Blocked, Invalid> {
    use pb::blocked_subject::Subject as Wire;
    let mut faults = Violations::default();
    let subject = match &wire.subject {
        None => {
            faults.add(
                "subject",
                "is missing: say a service account, its UID or a pod's UID",
            );
            None
        }
        Some(Wire::ServiceAccount(text)) => faults
            .check("service_account", text.parse())
            .map(Subject::ServiceAccount),
        Some(Wire::ServiceAccountUid(text)) => faults
            .check("service_account_uid", text.parse())
            .map(Subject::ServiceAccountUid),
        Some(Wire::PodUid(text)) => faults.check("pod_uid", text.parse()).map(Subject::Pod),
    };
    let config = given(&mut faults, "k8s_auth_config", &wire.k8s_auth_config);
    let Some(subject) = subject else {
        return Err(faults.into_invalid());
    };
    faults.finish()?;
    Ok(Blocked { subject, config })
}

/// Of a text that may be left out.
fn given<T>(faults: &mut Violations, field: &str, text: &str) -> Option<T>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    optional(text).and_then(|text| faults.check(field, text.parse()))
}

fn optional(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

pub(super) fn shown(block: &Block) -> pb::Block {
    use pb::blocked_subject::Subject as Wire;
    let subject = match &block.blocked.subject {
        Subject::ServiceAccount(account) => Wire::ServiceAccount(account.to_string()),
        Subject::ServiceAccountUid(uid) => Wire::ServiceAccountUid(uid.to_string()),
        Subject::Pod(uid) => Wire::PodUid(uid.to_string()),
    };
    let config = block.blocked.config.as_ref();
    pb::Block {
        subject: Some(pb::BlockedSubject {
            subject: Some(subject),
            k8s_auth_config: config.map(ToString::to_string).unwrap_or_default(),
        }),
        reason: block.reason.clone(),
        end_time: block.end_time.map(time::timestamp),
        create_time: Some(time::timestamp(block.create_time)),
        access_id: block.access_id.clone(),
    }
}

pub(super) fn token(token: &LiveToken) -> pb::Token {
    let full = |config: &postern_core::resource_id::ConfigName| config.to_string();
    pb::Token {
        name: format!("tokens/{}", token.accessor),
        kind: token.kind.clone(),
        access_id: token.access_id.clone(),
        k8s_auth_config: token.config.as_ref().map(full).unwrap_or_default(),
        gateway: token
            .gateway
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        namespace: token.namespace.clone(),
        service_account_name: token.service_account_name.clone(),
        service_account_uid: token.service_account_uid.clone(),
        pod_uid: token.pod_uid.clone(),
        sub_claims: audit::sub_claims(&token.sub_claims),
        issue_time: Some(time::timestamp(token.issue_time)),
        expire_time: Some(time::timestamp(token.expire_time)),
        max_expire_time: token.max_expire_time.map(time::timestamp),
    }
}
