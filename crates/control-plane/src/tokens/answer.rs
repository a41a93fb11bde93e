//! What is said about a token.

use jiff::Timestamp;
use postern_core::jwt::Verified;
use postern_core::role::{Authorization, Decider};
use postern_proto::convert::{audit, time};
use postern_proto::pb;
use uuid::Uuid;

use crate::store::{Introspected, Prolonged};

/// For whatever isn't a good token, and the same whatever it is.
pub(super) fn inactive() -> pb::IntrospectResponse {
    pb::IntrospectResponse::default()
}

/// `jwt` is what a JWT says itself.
pub(super) fn active(
    token: Introspected,
    jwt: Option<Verified>,
    deployment: Uuid,
    now: Timestamp,
) -> pb::IntrospectResponse {
    let (iss, aud, expire_time) = match jwt {
        Some(jwt) => (jwt.iss, jwt.aud, jwt.expire_time),
        None => (
            format!("urn:postern:{deployment}"),
            token.sub_claims.get("aud").cloned().unwrap_or_default(),
            token.expire_time,
        ),
    };
    pb::IntrospectResponse {
        active: true,
        sub: token.subject.of(&token.access_id),
        accessor: token.accessor.to_string(),
        access_id: token.access_id.to_string(),
        iss,
        aud,
        roles: token.roles,
        issue_time: Some(time::timestamp(token.issue_time)),
        expire_time: Some(time::timestamp(expire_time)),
        sub_claims: audit::sub_claims(&token.sub_claims),
        expires_in: Some(time::duration(expire_time.duration_since(now))),
    }
}

pub(super) fn renewed(token: &Prolonged, now: Timestamp) -> pb::TokenServiceRenewResponse {
    pb::TokenServiceRenewResponse {
        accessor: token.accessor.to_string(),
        expire_time: Some(time::timestamp(token.expire_time)),
        expires_in: Some(time::duration(token.expire_time.duration_since(now))),
        max_expire_time: Some(time::timestamp(token.max_expire_time)),
    }
}

pub(super) fn decided(decided: Authorization) -> pb::AuthorizeResponse {
    let by = |decider: Decider, allowed| pb::AuthorizeResponse {
        allowed,
        role: decider.role.role_name(),
        rule_path: decider.rule_path,
        denied_by_rule: !allowed,
    };
    match decided {
        Authorization::Allowed(decider) => by(decider, true),
        Authorization::Denied(decider) => by(decider, false),
        Authorization::NotAllowed => pb::AuthorizeResponse::default(),
    }
}
