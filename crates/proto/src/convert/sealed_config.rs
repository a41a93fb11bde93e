//! `SealedK8sAuthConfig`, as gateways write it and as the control plane keeps it.

use postern_core::invalid::{Invalid, Violations};
use postern_core::k8s_auth_config::{
    Issuers, K8sHost, K8sHostError, ReviewerView, Timeouts, TokenExp,
};
use postern_core::sealed_config::{ConfigView, SealedConfig};

use super::k8s_auth_config::Kind;
use super::{audit, time};
use crate::pb;

/// The longest box, in bytes.
const MAX_SEALED: usize = 256 * 1024;
/// The longest JWK set, in bytes.
const MAX_JWKS: usize = 64 * 1024;

/// What a gateway asks to store.
///
/// # Errors
/// Every fault at once, by field.
pub fn from_pb(wire: &pb::SealedK8sAuthConfig) -> Result<SealedConfig, Invalid> {
    let mut faults = Violations::default();
    let view = faults.absorb(
        wire.view
            .as_ref()
            .ok_or_else(|| Invalid::field("view", "is missing"))
            .and_then(|view| view_from_pb(view).map_err(|e| e.within("view"))),
    );
    if wire.sealed.is_empty() {
        faults.add("sealed", "is empty");
    }
    if wire.sealed.len() > MAX_SEALED {
        faults.add("sealed", format!("is longer than {MAX_SEALED} bytes"));
    }
    let Some(view) = view else {
        return Err(faults.into_invalid());
    };
    faults.finish()?;
    Ok(SealedConfig {
        view,
        sealed: wire.sealed.clone(),
    })
}

/// The clear copy, from a gateway or the control plane.
///
/// # Errors
/// Every fault at once, by field.
pub fn view_from_pb(wire: &pb::K8sAuthConfig) -> Result<ConfigView, Invalid> {
    let mut faults = Violations::default();
    let uid = wire
        .meta
        .as_ref()
        .map(|meta| meta.uid.as_str())
        .unwrap_or_default();
    let uid = faults.check("meta.uid", uid.parse());
    let name = faults.check("name", wire.name.parse());
    let access_id = faults.check("access_id", wire.access_id().parse());
    let reviewer = faults.absorb(reviewer(wire));
    let k8s_host = faults.absorb(k8s_host(wire));
    let tls_server_name = match wire.tls_server_name() {
        "" => None,
        name => faults.check("tls_server_name", name.parse()),
    };
    let issuers = faults.absorb(issuers(wire));
    let token_exp = faults.check("token_exp", token_exp(wire));
    let timeouts = faults.absorb(timeouts(wire));
    let mode = faults.check("mode", audit::mode_from_pb(wire.mode.unwrap_or_default()));
    if wire.jwks().len() > MAX_JWKS {
        faults.add("jwks", format!("is longer than {MAX_JWKS} bytes"));
    }
    if wire.generation < 1 {
        faults.add("generation", "must be 1 or more");
    }
    for (field, id) in [
        ("signing_key_id", &wire.signing_key_id),
        ("seal_key_id", &wire.seal_key_id),
    ] {
        if id.is_empty() || id.len() > 128 {
            faults.add(field, "must have 1 to 128 characters");
        }
    }
    let expires = wire.reviewer_credential_expire_time.as_ref();
    let expires = expires
        .and_then(|t| faults.check("reviewer_credential_expire_time", time::from_timestamp(t)));
    let (Some(uid), Some(name), Some(access_id), Some(k8s_host), Some(issuers), Some(token_exp)) =
        (uid, name, access_id, k8s_host, issuers, token_exp)
    else {
        return Err(faults.into_invalid());
    };
    let (Some(reviewer), Some(timeouts), Some(mode)) = (reviewer, timeouts, mode) else {
        return Err(faults.into_invalid());
    };
    faults.finish()?;
    Ok(ConfigView {
        name,
        uid,
        generation: wire.generation,
        access_id,
        k8s_host,
        k8s_ca_cert: wire.k8s_ca_cert().to_owned(),
        tls_server_name,
        reviewer,
        timeouts,
        mode,
        jwks: wire.jwks().to_owned(),
        issuers,
        disabled: wire.disabled.unwrap_or_default(),
        token_exp,
        signing_key_id: wire.signing_key_id.clone(),
        seal_key_id: wire.seal_key_id.clone(),
        reviewer_credential_expire_time: expires,
    })
}

/// `None` is the gateway's own cluster, and only that names none.
fn k8s_host(wire: &pb::K8sAuthConfig) -> Result<Option<K8sHost>, Invalid> {
    if Kind::of(wire).is_ok_and(|kind| kind == Kind::GatewayServiceAccount)
        && wire.k8s_host().is_empty()
    {
        return Ok(None);
    }
    let host = wire.k8s_host().parse();
    host.map(Some)
        .map_err(|fault: K8sHostError| Invalid::field("k8s_host", fault.to_string()))
}

fn reviewer(wire: &pb::K8sAuthConfig) -> Result<ReviewerView, Invalid> {
    let mut faults = Violations::default();
    let view = match Kind::of(wire)? {
        Kind::Token => Some(ReviewerView::Token),
        Kind::PresentedToken => Some(ReviewerView::PresentedToken),
        Kind::Certificate => match wire.k8s_client_certificate() {
            "" => {
                faults.add("k8s_client_certificate", "is empty");
                None
            }
            pem => Some(ReviewerView::Certificate(pem.to_owned())),
        },
        Kind::GatewayServiceAccount => faults
            .check("pinned_cluster", wire.pinned_cluster.parse())
            .map(ReviewerView::GatewayServiceAccount),
        Kind::Rancher => faults
            .check("rancher_cluster_id", wire.rancher_cluster_id().parse())
            .map(ReviewerView::RancherApiKey),
    };
    view.ok_or_else(|| faults.into_invalid())
}

pub(super) fn timeouts(wire: &pb::K8sAuthConfig) -> Result<Timeouts, Invalid> {
    let mut faults = Violations::default();
    let mut parsed = [None, None];
    for (parsed, (field, wire)) in parsed.iter_mut().zip([
        ("connect_timeout", wire.connect_timeout),
        ("total_timeout", wire.total_timeout),
    ]) {
        let wire = wire.unwrap_or_default();
        *parsed = faults
            .check(field, Timeouts::parse(wire.seconds, wire.nanos))
            .flatten();
    }
    let [connect, total] = parsed;
    faults.finish()?;
    Timeouts::new(connect, total)
        .map_err(|fault| Invalid::field("connect_timeout", fault.to_string()))
}

pub(super) fn issuers(wire: &pb::K8sAuthConfig) -> Result<Issuers, Invalid> {
    Issuers::parse(
        wire.k8s_issuers.clone(),
        wire.disable_issuer_validation.unwrap_or_default(),
    )
}

pub(super) fn token_exp(
    wire: &pb::K8sAuthConfig,
) -> Result<TokenExp, postern_core::k8s_auth_config::TokenExpError> {
    let exp = wire.token_exp.unwrap_or_default();
    TokenExp::parse(exp.seconds, exp.nanos)
}

/// The clear copy, with `meta.uid` alone of its `meta`.
pub fn view_to_pb(view: &ConfigView) -> pb::K8sAuthConfig {
    let host = view.k8s_host.as_ref();
    let name = view.tls_server_name.as_ref();
    let mut shown = pb::K8sAuthConfig {
        name: view.name.to_string(),
        meta: Some(pb::ResourceMeta {
            uid: view.uid.to_string(),
            ..pb::ResourceMeta::default()
        }),
        access_id: Some(view.access_id.to_string()),
        k8s_host: host.map(ToString::to_string),
        k8s_ca_cert: host.map(|_| view.k8s_ca_cert.clone()),
        k8s_issuers: view.issuers.listed().to_vec(),
        disable_issuer_validation: Some(view.issuers == Issuers::NotValidated),
        disabled: Some(view.disabled),
        token_exp: Some(time::from_std(view.token_exp.get())),
        tls_server_name: name.map(|name| name.as_str().to_owned()),
        cluster_api_type: Some(pb::ClusterApiType::NativeK8s.into()),
        mode: Some(audit::mode_to_pb(view.mode).into()),
        jwks: (!view.jwks.is_empty()).then(|| view.jwks.clone()),
        connect_timeout: Some(time::from_std(view.timeouts.connect())),
        total_timeout: Some(time::from_std(view.timeouts.total())),
        signing_key_set: true,
        signing_key_id: view.signing_key_id.clone(),
        seal_key_id: view.seal_key_id.clone(),
        generation: view.generation,
        reviewer_credential_expire_time: view.reviewer_credential_expire_time.map(time::timestamp),
        ..pb::K8sAuthConfig::default()
    };
    reviewer_to_pb(&view.reviewer, &mut shown);
    shown
}

fn reviewer_to_pb(reviewer: &ReviewerView, shown: &mut pb::K8sAuthConfig) {
    let kind = match reviewer {
        ReviewerView::Token => {
            shown.token_reviewer_jwt_set = true;
            pb::ReviewerType::Token
        }
        ReviewerView::Certificate(pem) => {
            shown.k8s_client_certificate = Some(pem.clone());
            shown.k8s_client_key_set = true;
            pb::ReviewerType::Certificate
        }
        ReviewerView::GatewayServiceAccount(cluster) => {
            shown.pinned_cluster = cluster.to_string();
            pb::ReviewerType::GatewayServiceAccount
        }
        ReviewerView::PresentedToken => pb::ReviewerType::PresentedToken,
        ReviewerView::RancherApiKey(cluster) => {
            shown.cluster_api_type = Some(pb::ClusterApiType::Rancher.into());
            shown.rancher_cluster_id = Some(cluster.to_string());
            shown.rancher_api_key_set = true;
            return;
        }
    };
    shown.reviewer = Some(kind.into());
}
