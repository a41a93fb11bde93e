//! What is accepted and should still be looked at.

use postern_core::auth_method::{Audiences, AuthMethod, Kubernetes, TokenMaxima};
use postern_core::pod_scope::PodScope;
use postern_proto::pb;

use crate::store::KeyUses;

pub(super) fn of(method: &AuthMethod, uses: &KeyUses, maxima: TokenMaxima) -> Vec<pb::Warning> {
    let capped = capped(method, maxima);
    let Some(kubernetes) = method.kubernetes() else {
        return capped.into_iter().collect();
    };
    let audience = audience(kubernetes);
    let legacy = legacy(kubernetes);
    let pods = pods(kubernetes);
    let keys = expiring_in_use(method, kubernetes, uses);
    let once = audience.into_iter().chain(legacy).chain(pods);
    once.chain(capped).chain(keys).collect()
}

fn capped(method: &AuthMethod, maxima: TokenMaxima) -> Option<pb::Warning> {
    let TokenMaxima { ttl, life } = maxima;
    (!method.keeps(maxima)).then(|| {
        let message = format!(
            "this control plane gives no token more than {} s, and {} s in all \
             (--max-token-ttl, --max-token-life)",
            ttl.min(life).as_secs(),
            life.as_secs()
        );
        warning("TOKEN_LIFE_CAPPED", "token_ttl", &message)
    })
}

fn audience(kubernetes: &Kubernetes) -> Option<pb::Warning> {
    match kubernetes.audiences {
        Audiences::ApiServer => Some(warning(
            "API_SERVER_AUDIENCE",
            "kubernetes.audiences",
            "no audience is listed, so tokens for the API server itself are taken, which every pod has; \
             project a token for an audience of its own into the pods and list that audience here",
        )),
        Audiences::Any => Some(warning(
            "ANY_AUDIENCE",
            "kubernetes.allow_any_audience",
            "tokens for any audience are taken, so whoever gets a token that a pod shows to another \
             service can log in with it; list an audience of its own instead",
        )),
        Audiences::Listed(_) => None,
    }
}

fn legacy(kubernetes: &Kubernetes) -> Option<pb::Warning> {
    kubernetes.tokens.allow_legacy.then(|| {
        warning(
            "LEGACY_TOKENS",
            "kubernetes.allow_legacy_tokens",
            "tokens from Secrets are taken, which never expire and belong to no pod; \
             project tokens into the pods and switch this off",
        )
    })
}

fn pods(kubernetes: &Kubernetes) -> Option<pb::Warning> {
    (PodScope::of(kubernetes) == Some(PodScope::All)).then(|| {
        warning(
            "WATCHES_ALL_PODS",
            "kubernetes.revoke_with_pod",
            "a rule names its namespaces by wildcards or labels, or there are more than 50, so that the gateway \
             watches the pods of all namespaces and its reviewer must be let (postern manifest reviewer --with-pods)",
        )
    })
}

fn expiring_in_use(
    method: &AuthMethod,
    kubernetes: &Kubernetes,
    uses: &KeyUses,
) -> impl Iterator<Item = pb::Warning> {
    kubernetes.public_keys.iter().filter_map(|key| {
        let end = key.expire_time?;
        let users = &uses.of(method.uid, key.key.id())?.used_by;
        let first = users.first()?;
        let others = match users.len() {
            1 => String::new(),
            n => format!(" and {} more", n - 1),
        };
        let message = format!(
            "key {} ends at {end}, and {first}{others} still signs with it: \
             give it the private half of another key before",
            key.key.id()
        );
        Some(warning(
            "KEY_EXPIRES_IN_USE",
            "kubernetes.public_keys",
            &message,
        ))
    })
}

fn warning(reason: &str, field: &str, message: &str) -> pb::Warning {
    pb::Warning {
        reason: reason.to_owned(),
        field: format!("auth_method.{field}"),
        message: message.to_owned(),
    }
}
