//! What the flags of create and update say about an auth method.

use clap::Args;
use jiff::Timestamp;
use postern_core::selector::SelectorSpec;
use postern_proto::{convert, pb};

use crate::failure::Failure;
use crate::flags::present;
use crate::values::{self, Unit};

/// Who may log in.
#[derive(Debug, Args)]
pub(crate) struct BoundFlags {
    /// Namespaces; `*` and `?` are wildcards
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(super) bound_namespaces: Vec<String>,
    /// Pods
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(super) bound_pod_names: Vec<String>,
    /// Service accounts
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(super) bound_sa_names: Vec<String>,
    /// `namespace/service-account` pairs
    #[arg(long, value_name = "PAIR", value_delimiter = ',')]
    pub(super) bound_namespaced_sa_names: Vec<String>,
    /// Nodes
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(super) bound_node_names: Vec<String>,
    /// Labels that the namespace must have, as kubectl's -l takes them: `team in (a,b),!legacy,env=prod`
    #[arg(long, value_name = "SELECTOR")]
    pub(super) bound_namespace_selector: Option<String>,
    /// CEL expression over the verified facts that must be true too: `facts.node_name.startsWith("gpu-")`
    #[arg(long, value_name = "CEL")]
    pub(super) condition: Option<String>,
    /// Say on purpose that every namespace is fine
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    any_namespace: Option<bool>,
    /// Say on purpose that every workload is fine (with --any-namespace)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    allow_any: Option<bool>,
}

/// What a method is like beside its rules.
#[derive(Debug, Args)]
pub(crate) struct SettingFlags {
    /// For people
    #[arg(long, value_name = "TEXT")]
    pub(super) description: Option<String>,
    /// When access ends: Unix seconds (0: never), an RFC 3339 time, or a duration from now
    #[arg(long, value_name = "TIME")]
    pub(super) access_expires: Option<String>,
    /// Life of a token, in minutes or such as 15m [default: 15m; at most 24h]
    #[arg(long, value_name = "MINUTES")]
    jwt_ttl: Option<String>,
    /// Addresses or CIDR blocks that clients must log in from
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub(super) bound_ips: Vec<String>,
    /// Addresses or CIDR blocks that the gateway must call from
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub(super) gw_bound_ips: Vec<String>,
    /// Audience that a presented token must have [default: the API server's own]
    #[arg(long, value_name = "AUDIENCE", value_delimiter = ',')]
    pub(super) audience: Vec<String>,
    /// Take tokens for any audience
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    allow_any_audience: Option<bool>,
    /// Longest life of a token in all, renewals included, in minutes or such as 8h [default: --jwt-ttl; at most 7 days]
    #[arg(long, value_name = "MINUTES")]
    pub(super) token_max_ttl: Option<String>,
    /// How often a token can be used [default: as often as one likes]
    #[arg(long, value_name = "NUMBER")]
    pub(super) token_num_uses: Option<i32>,
    /// End a token with the service-account token that it was given for, if that is earlier
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    cap_to_presented_expiry: Option<bool>,
    /// What access tokens look like: opaque, or jwt, which others verify without asking [default: opaque]
    #[arg(long, value_name = "FORMAT", value_parser = ["opaque", "jwt"])]
    token_format: Option<String>,
    /// Audience that a JWT can be for; with --token-format jwt
    #[arg(long, value_name = "AUDIENCE", value_delimiter = ',')]
    token_audience: Vec<String>,
    /// Take tokens without expiry, as Secrets hold them [default: refused]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    allow_legacy_tokens: Option<bool>,
    /// Refuse a token that isn't bound to a pod
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    require_pod: Option<bool>,
    /// Take each service-account token for one login only
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    single_use: Option<bool>,
    /// Revoke a pod's tokens when it is deleted; the gateway's reviewer must be let watch pods
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    revoke_with_pod: Option<bool>,
    /// How long ago a service-account token may have been issued, in minutes or such as 1h
    #[arg(long, value_name = "MINUTES")]
    pub(super) max_presented_age: Option<String>,
    /// How long a service-account token may be good for in all, in minutes or such as 1h
    #[arg(long, value_name = "MINUTES")]
    pub(super) max_presented_lifetime: Option<String>,
    /// Let roles count only by associations that name sub-claims
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    force_sub_claims: Option<bool>,
    /// Sub-claims to put into the audit records of logins, such as namespace,pod_name
    #[arg(long, value_name = "CLAIM", value_delimiter = ',')]
    pub(super) audit_logs_claims: Vec<String>,
    /// Refuse to delete the method until this is switched off
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    delete_protection: Option<bool>,
    /// Refuse every login
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    disabled: Option<bool>,
}

impl BoundFlags {
    pub(super) fn rule(&self) -> Result<pb::Rule, Failure> {
        let mut rule = pb::Rule::default();
        self.change(&mut rule)?;
        Ok(rule)
    }

    pub(super) fn given(&self) -> bool {
        let lists = [
            &self.bound_namespaces,
            &self.bound_sa_names,
            &self.bound_pod_names,
            &self.bound_namespaced_sa_names,
            &self.bound_node_names,
        ];
        lists.iter().any(|list| !list.is_empty())
            || self.bound_namespace_selector.is_some()
            || self.condition.is_some()
            || self.any_namespace.is_some()
            || self.allow_any.is_some()
    }

    /// Replaces the lists that were named, and leaves the others.
    pub(super) fn change(&self, rule: &mut pb::Rule) -> Result<(), Failure> {
        let lists = [
            (&self.bound_namespaces, &mut rule.namespaces),
            (&self.bound_sa_names, &mut rule.service_accounts),
            (&self.bound_pod_names, &mut rule.pods),
            (
                &self.bound_namespaced_sa_names,
                &mut rule.namespaced_service_accounts,
            ),
            (&self.bound_node_names, &mut rule.nodes),
        ];
        for (given, list) in lists {
            if !given.is_empty() {
                list.clone_from(given);
            }
        }
        if let Some(text) = &self.bound_namespace_selector {
            rule.namespace_selector = Some(selector("--bound-namespace-selector", text)?);
        }
        if let Some(text) = &self.condition {
            rule.condition = present("--condition", text)?;
        }
        rule.any_namespace = self.any_namespace.unwrap_or(rule.any_namespace);
        rule.allow_any = self.allow_any.unwrap_or(rule.allow_any);
        Ok(())
    }
}

fn selector(flag: &str, text: &str) -> Result<pb::LabelSelector, Failure> {
    let text = present(flag, text)?;
    let spec = SelectorSpec::parse_text(&text)
        .map_err(|error| Failure::usage(format!("{flag}: {error}")))?;
    Ok(convert::rule::selector_to_pb(&spec))
}

impl SettingFlags {
    /// Writes what was given over `method`, and leaves the rest.
    pub(super) fn apply(&self, method: &mut pb::AuthMethod) -> Result<(), Failure> {
        if let Some(description) = &self.description {
            method.description = Some(description.clone());
        }
        if let Some(text) = &self.access_expires {
            method.access_expire_time = values::time("--access-expires", text, Timestamp::now())?;
        }
        if let Some(text) = &self.jwt_ttl {
            method.token_ttl = Some(values::duration("--jwt-ttl", text, Unit::Minutes)?);
        }
        if !self.bound_ips.is_empty() {
            method.bound_ips.clone_from(&self.bound_ips);
        }
        if !self.gw_bound_ips.is_empty() {
            method.gw_bound_ips.clone_from(&self.gw_bound_ips);
        }
        if let Some(text) = &self.token_max_ttl {
            method.token_max_ttl = Some(values::duration("--token-max-ttl", text, Unit::Minutes)?);
        }
        if !self.audit_logs_claims.is_empty() {
            method.audit_logs_claims.clone_from(&self.audit_logs_claims);
        }
        method.token_num_uses = self.token_num_uses.or(method.token_num_uses);
        method.cap_to_presented_expiry = self
            .cap_to_presented_expiry
            .or(method.cap_to_presented_expiry);
        self.apply_format(method);
        method.disabled = self.disabled.or(method.disabled);
        method.force_sub_claims = self.force_sub_claims.or(method.force_sub_claims);
        method.delete_protection = self.delete_protection.or(method.delete_protection);
        self.apply_to_tokens(kubernetes_of(method)?)
    }

    /// Opaque tokens are for nobody in particular.
    fn apply_format(&self, method: &mut pb::AuthMethod) {
        match self.token_format.as_deref() {
            Some("jwt") => method.set_token_format(pb::TokenFormat::Jwt),
            Some(_) => {
                method.set_token_format(pb::TokenFormat::Opaque);
                method.token_audiences.clear();
            }
            None => {}
        }
        if !self.token_audience.is_empty() {
            method.token_audiences.clone_from(&self.token_audience);
        }
    }

    /// What a presented token must be like.
    fn apply_to_tokens(&self, kubernetes: &mut pb::KubernetesAuthMethod) -> Result<(), Failure> {
        if !self.audience.is_empty() {
            kubernetes.audiences.clone_from(&self.audience);
        }
        for (given, field) in [
            (self.allow_any_audience, &mut kubernetes.allow_any_audience),
            (
                self.allow_legacy_tokens,
                &mut kubernetes.allow_legacy_tokens,
            ),
            (self.require_pod, &mut kubernetes.require_pod),
            (self.single_use, &mut kubernetes.single_use),
            (self.revoke_with_pod, &mut kubernetes.revoke_with_pod),
        ] {
            *field = given.or(*field);
        }
        for (flag, given, field) in [
            (
                "--max-presented-age",
                &self.max_presented_age,
                &mut kubernetes.max_presented_age,
            ),
            (
                "--max-presented-lifetime",
                &self.max_presented_lifetime,
                &mut kubernetes.max_presented_lifetime,
            ),
        ] {
            if let Some(text) = given {
                *field = Some(values::duration(flag, text, Unit::Minutes)?);
            }
        }
        Ok(())
    }
}

/// The method's Kubernetes half, made if the method has no type yet.
pub(super) fn kubernetes_of(
    method: &mut pb::AuthMethod,
) -> Result<&mut pb::KubernetesAuthMethod, Failure> {
    use pb::auth_method::Type;
    let name = method.name.clone();
    let kind = method
        .r#type
        .get_or_insert_with(|| Type::Kubernetes(pb::KubernetesAuthMethod::default()));
    match kind {
        Type::Kubernetes(kubernetes) => Ok(kubernetes),
        Type::AccessKey(_) => Err(Failure::usage(format!(
            "{name} is no Kubernetes auth method"
        ))),
    }
}
