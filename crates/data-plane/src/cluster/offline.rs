//! A token that its signature vouches for, and what it then says.

use postern_core::k8s_auth_config::Issuers;
use postern_core::pattern::NameKind;
use postern_core::reason::DenyReason;

use super::review::{self, Reviewed};
use crate::presented_token::PresentedToken;

/// Reads who a token is for and from, once one of the cluster's keys was found to have signed it. No API server was
/// asked: what a review would refuse must be refused here. Times are the caller's part.
///
/// # Errors
/// The reason. Absent means no.
pub(super) fn vouched(
    token: &PresentedToken,
    asked: &[String],
    issuers: &Issuers,
) -> Result<Reviewed, DenyReason> {
    let claims = token.claims();
    let issuer = claims.issuer.as_ref();
    // Legacy tokens of every cluster have one issuer, and no times: a listed one is always asked for.
    if !issuer.is_some_and(|issuer| issuers.listed().contains(issuer)) {
        return Err(DenyReason::TokenIssuerNotTrusted);
    }
    if claims.issue_time.is_none() || claims.expire_time.is_none() {
        return Err(DenyReason::TokenWithoutExpiry);
    }
    let audiences: Vec<_> = asked
        .iter()
        .filter(|audience| claims.audiences.contains(audience))
        .cloned()
        .collect();
    if audiences.is_empty() {
        return Err(DenyReason::TokenAudienceNotAccepted);
    }
    let subject = claims.subject.as_deref().unwrap_or_default();
    let (namespace, name) =
        review::service_account(subject).ok_or(DenyReason::NotAServiceAccount)?;
    let same = claims.namespace.as_deref() == Some(namespace)
        && claims.service_account_name.as_deref() == Some(name);
    if !same {
        return Err(DenyReason::TokenClaimsDiffer);
    }
    let id = |id: &Option<String>| id.clone().filter(|id| review::is_id(id));
    let name_of = |name: &Option<String>| {
        name.clone()
            .filter(|name| review::is_name(name, NameKind::Subdomain))
    };
    let service_account_uid =
        id(&claims.service_account_uid).ok_or(DenyReason::NotAServiceAccount)?;
    let pod = name_of(&claims.pod_name).zip(id(&claims.pod_uid));
    Ok(Reviewed {
        namespace: namespace.to_owned(),
        service_account_name: name.to_owned(),
        service_account_uid,
        // Nobody would know when anything else that a token can be bound to is gone; a pod's end is its token's soon.
        pod: Some(pod.ok_or(DenyReason::PodRequired)?),
        node_name: name_of(&claims.node_name),
        credential_id: id(&claims.id).map(|id| format!("JTI={id}")),
        audiences,
    })
}

#[cfg(test)]
mod tests;
