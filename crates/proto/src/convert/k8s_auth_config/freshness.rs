//! Whether a reviewer's credential is one that still works, when it is written.

use jiff::{SignedDuration, Timestamp};
use postern_core::invalid::Invalid;
use postern_core::k8s_auth_config::{ClusterAccess, K8sAuthConfig, Reviewer};

use super::Accepted;
use crate::pb;

/// From when on an administrator should replace it.
const SOON: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Refuses a client certificate that comes anew and isn't valid now. One that was stored already
/// stays whatever its time, so that other fields can still be changed.
pub(super) fn check(
    mut accepted: Accepted,
    before: Option<&K8sAuthConfig>,
    now: Timestamp,
) -> Result<Accepted, Invalid> {
    const FIELD: &str = "k8s_auth_config.k8s_client_certificate";
    let config = &accepted.config;
    let stored = before.is_some_and(|before| {
        before.access.reviewer_view() == config.access.reviewer_view()
            && before.access.same_credential(&config.access)
    });
    let certificate = match &config.access {
        ClusterAccess::Direct {
            reviewer: Reviewer::Certificate(pair),
            ..
        } => Some(pair),
        _ => None,
    };
    if let (Some(pair), false) = (certificate, stored) {
        if pair.not_after() < now {
            let fault = format!("expired at {}", pair.not_after());
            return Err(Invalid::field(FIELD, fault));
        }
        if pair.starts_after(now) {
            return Err(Invalid::field(FIELD, "is not valid yet"));
        }
    }
    let Some(expires) = config.access.credential_expire_time() else {
        return Ok(accepted);
    };
    let (reason, verb) = match expires {
        expires if expires < now => ("REVIEWER_CREDENTIAL_EXPIRED", "expired"),
        expires if expires < now + SOON => ("REVIEWER_CREDENTIAL_EXPIRES_SOON", "expires"),
        _ => return Ok(accepted),
    };
    let field = certificate.map_or("secrets.token_reviewer_jwt", |_| FIELD);
    accepted.warnings.push(pb::Warning {
        reason: reason.to_owned(),
        field: field.to_owned(),
        message: format!(
            "the reviewer's credential {verb} at {expires}; every login fails from then on, until it is replaced"
        ),
    });
    Ok(accepted)
}
