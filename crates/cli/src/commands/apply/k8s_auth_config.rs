//! K8s auth configs. Their secrets come from files and variables, and can't be compared with what
//! is stored: they go in when a config is created, and again only when that is asked for.

use postern_proto::pb;
use postern_proto::pb::k8s_auth_config_service_client::K8sAuthConfigServiceClient as Client;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::document::Document;
use super::{Done, Outcome, Run, mask};
use crate::commands::auth_method::{self, warn};
use crate::commands::k8s_auth_config::read;
use crate::failure::{Exit, Failure};
use crate::session::Administrator;
use crate::values;

struct Apply<'a> {
    run: &'a Run<'a>,
    gateway: &'a Administrator,
}

pub(super) async fn apply(
    run: &Run<'_>,
    gateway: &Administrator,
    document: &Document,
) -> Result<Outcome, Failure> {
    Apply { run, gateway }.run(document).await
}

impl Apply<'_> {
    async fn run(&self, document: &Document) -> Result<Outcome, Failure> {
        let secrets = secrets(document)?;
        let mut config: pb::K8sAuthConfig = document.message()?;
        let mut mask = mask(&document.body);
        if let Some(method) = &document.auth_method {
            if config.access_id.is_some() {
                return Err(Failure::usage(
                    "auth_method and access_id exclude each other",
                ));
            }
            let Some(access_id) = self.access_id(method).await? else {
                return Ok(Outcome::not_checked(document));
            };
            config.access_id = Some(access_id);
            mask.paths.push("access_id".to_owned());
        }
        match read(self.gateway, &document.name).await {
            Ok(current) => self.update(document, config, mask, secrets, &current).await,
            Err(failure) if failure.exit() == Exit::NotFound => {
                self.create(document, config, secrets).await
            }
            Err(failure) => Err(failure),
        }
    }

    /// `None`: the method is one that this run would have made first.
    async fn access_id(&self, method: &str) -> Result<Option<String>, Failure> {
        let found = auth_method::read(&self.run.administrator, method).await;
        let found = self.run.found(found, &format!("authMethods/{method}"))?;
        Ok(found.map(|method| method.access_id))
    }

    async fn create(
        &self,
        document: &Document,
        config: pb::K8sAuthConfig,
        secrets: pb::K8sAuthConfigSecrets,
    ) -> Result<Outcome, Failure> {
        let request = pb::CreateK8sAuthConfigRequest {
            parent: String::new(),
            k8s_auth_config_id: document.name.clone(),
            k8s_auth_config: Some(config),
            secrets: Some(secrets),
            validate_only: self.run.args.dry_run,
        };
        let response = self
            .gateway
            .change(&request, |channel, request| async move {
                Client::new(channel).create_k8s_auth_config(request).await
            })
            .await?;
        warn(&response.warnings);
        let created = response.k8s_auth_config.unwrap_or_default();
        Outcome::new(document, Done::Created, None, &created)
    }

    async fn update(
        &self,
        document: &Document,
        mut config: pb::K8sAuthConfig,
        mask: prost_types::FieldMask,
        secrets: pb::K8sAuthConfigSecrets,
        current: &pb::K8sAuthConfig,
    ) -> Result<Outcome, Failure> {
        config.name.clone_from(&current.name);
        config.meta.clone_from(&current.meta);
        let replacing = self.run.args.replace_secrets && !document.secrets.is_empty();
        let mut request = pb::UpdateK8sAuthConfigRequest {
            k8s_auth_config: Some(config),
            update_mask: Some(mask),
            secrets: replacing.then_some(secrets),
            validate_only: true,
        };
        let then = self.send(&request).await?;
        let would = Outcome::new(document, Done::Changed, Some(current), &then)?;
        if would.diff.is_empty() && !replacing {
            return Outcome::new(document, Done::Unchanged, Some(current), &then);
        }
        if !self.run.args.dry_run {
            request.validate_only = false;
            self.send(&request).await?;
        }
        Ok(would)
    }

    async fn send(
        &self,
        request: &pb::UpdateK8sAuthConfigRequest,
    ) -> Result<pb::K8sAuthConfig, Failure> {
        let response = self
            .gateway
            .change(request, |channel, request| async move {
                Client::new(channel).update_k8s_auth_config(request).await
            })
            .await
            .map_err(|failure| {
                if self.run.args.replace_secrets {
                    failure
                } else {
                    failure.hint("secrets of a config that exists are sent with --replace-secrets")
                }
            })?;
        if !request.validate_only {
            warn(&response.warnings);
        }
        Ok(response.k8s_auth_config.unwrap_or_default())
    }
}

/// Reads what each secret's `{file: …}` or `{env: …}` holds.
fn secrets(document: &Document) -> Result<pb::K8sAuthConfigSecrets, Failure> {
    let mut secrets = pb::K8sAuthConfigSecrets::default();
    for (name, source) in &document.secrets {
        let place = match name.as_str() {
            "signing_key" => &mut secrets.signing_key,
            "token_reviewer_jwt" => &mut secrets.token_reviewer_jwt,
            "k8s_client_key" => &mut secrets.k8s_client_key,
            "rancher_api_key" => &mut secrets.rancher_api_key,
            _ => {
                return Err(Failure::usage(format!(
                    "secrets.{name}: is no secret: there are signing_key, token_reviewer_jwt, k8s_client_key and rancher_api_key"
                )));
            }
        };
        let secret = secret(&format!("secrets.{name}"), source)?;
        *place = Some(secret.expose_secret().to_owned());
    }
    Ok(secrets)
}

fn secret(place: &str, source: &Value) -> Result<SecretString, Failure> {
    let source = source.as_object().filter(|source| source.len() == 1);
    let source = source.and_then(|source| source.iter().next());
    match source {
        Some((kind, Value::String(path))) if kind == "file" => values::read(place, path),
        Some((kind, Value::String(variable))) if kind == "env" => match std::env::var(variable) {
            Ok(value) if !value.trim().is_empty() => Ok(SecretString::from(value.trim())),
            _ => Err(Failure::usage(format!(
                "{place}: the variable {variable} isn't set, or is empty"
            ))),
        },
        _ => Err(Failure::usage(format!(
            "{place}: must be {{file: PATH}} or {{env: VARIABLE}}: a secret has no place in this file"
        ))),
    }
}
