//! How tokens are verified, and whether what else the config says lets them be verified so.

use postern_core::facts::VerificationMode;
use postern_core::invalid::Violations;
use postern_core::jwks::Jwks;
use postern_core::k8s_auth_config::{ClusterAccess, Issuers, Reviewer};

use crate::convert::audit::mode_from_pb;
use crate::pb;

const MODE: &str = "k8s_auth_config.mode";
const JWKS: &str = "k8s_auth_config.jwks";

/// The mode, and the keys when they are given.
pub(super) fn parse(
    faults: &mut Violations,
    wire: &pb::K8sAuthConfig,
) -> Option<(VerificationMode, Option<Jwks>)> {
    let mode = faults.check(MODE, mode_from_pb(wire.mode.unwrap_or_default()));
    let given = Some(wire.jwks()).filter(|text| !text.is_empty());
    let jwks = match given {
        Some(text) => Some(faults.check(JWKS, Jwks::given(text))?),
        None => None,
    };
    Some((mode?, jwks))
}

/// What one field alone can't show.
pub(super) fn check(
    faults: &mut Violations,
    mode: VerificationMode,
    jwks: Option<&Jwks>,
    access: &ClusterAccess,
    issuers: &Issuers,
) {
    match (mode, jwks) {
        (VerificationMode::Review, Some(_)) => faults.add(
            JWKS,
            "is not used when tokens are reviewed only: leave it out, or choose another mode (--mode)",
        ),
        (VerificationMode::Offline | VerificationMode::JwksThenReview, None) if no_credential(access) => faults.add(
            JWKS,
            "is empty, and with the presented token as reviewer there is no credential to ask the cluster for its keys with: give them (--jwks-file), or another reviewer",
        ),
        _ => {}
    }
    if mode == VerificationMode::Offline && *issuers == Issuers::NotValidated {
        faults.add(
            "k8s_auth_config.disable_issuer_validation",
            "can't be combined with mode offline, in which nobody but the gateway looks at a token's issuer: name the cluster's issuer (--k8s-issuer)",
        );
    }
}

/// Whether the gateway itself has nothing that lets it in.
fn no_credential(access: &ClusterAccess) -> bool {
    match access {
        ClusterAccess::Direct { reviewer, .. } => matches!(reviewer, Reviewer::PresentedToken),
        ClusterAccess::Own(_) | ClusterAccess::Rancher { .. } => false,
    }
}
