//! Postern as it is deployed: a control plane and a gateway in processes of their own, with one
//! method and one K8s auth config.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use anyhow::{Context as _, Result};
use postern_core::access_id::AccessId;
use postern_core::key::{SigningAlgorithm, SigningKey};
use postern_dev::deployment::{AdminFile, Deployment, InitOptions};
use postern_proto::pb;
use postern_proto::pb::access_key_auth_service_client::AccessKeyAuthServiceClient;
use postern_proto::pb::auth_method_service_client::AuthMethodServiceClient;
use postern_proto::pb::k8s_auth_config_service_client::K8sAuthConfigServiceClient;
use postern_proto::pb::token_admin_service_client::TokenAdminServiceClient;
use postern_rpc::caller::BearerToken;
use postern_rpc::client::Credentials as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tonic::Request;
use tonic::transport::Channel;

use crate::client::channel;
use crate::kubernetes::ApiServer;
use crate::process::{Server, until};

pub(crate) const NAME: &str = "bench";

/// What runs, and what to log in with. The servers end with it.
pub(crate) struct Postern {
    pub(crate) servers: Vec<Server>,
    pub(crate) admin: AdminFile,
    pub(crate) echo_url: String,
    pub(crate) method: pb::AuthMethod,
    pub(crate) config: pb::K8sAuthConfig,
    pub(crate) signing_key: SigningKey,
    /// Of the gateway itself.
    pub(crate) gateway_token: String,
    pub(crate) deployment_id: String,
}

impl Postern {
    pub(crate) async fn start(
        dir: &Path,
        database_url: &str,
        api_server: &ApiServer,
        reviewer: &SecretString,
    ) -> Result<Self> {
        let (control_plane, gateway) = (free_port()?, free_port()?);
        let options = InitOptions {
            control_plane_url: format!("https://{control_plane}"),
            gateway_url: format!("https://{gateway}"),
            api_servers: vec![api_server.endpoint.url.clone()],
            ..InitOptions::default()
        };
        let deployment = Deployment::init(dir, &options)?;
        let admin = AdminFile::read(&deployment.admin())?;
        without_caches(&deployment)?;
        let path = dir.to_str().context("the folder's name isn't text")?;
        let arguments = [path, &control_plane, database_url];
        let control_plane = Server::start("control-plane", dir, &arguments)?;
        let gateway = Server::start("gateway", dir, &[path, &gateway])?;
        let echo = Server::start("echo", dir, &[path])?;
        let echo_url = format!("https://{}", echo.address);
        let servers = vec![gateway, control_plane, echo];
        let setup = Setup::log_in(&admin).await?;
        let signing_key = SigningKey::generate(SigningAlgorithm::Es256)?;
        let method = setup.method(api_server, &signing_key).await?;
        let config = setup
            .config(NAME, api_server, &method, &signing_key, reviewer)
            .await?;
        let file: Value = serde_json::from_slice(&std::fs::read(deployment.gateway_config())?)?;
        let text = |key: &str| file[key].as_str().unwrap_or_default().to_owned();
        let gateway_token = setup
            .token(&text("access_id"), &text("access_key"), "")
            .await?;
        Ok(Self {
            deployment_id: text("deployment_id"),
            servers,
            admin,
            echo_url,
            method,
            config,
            signing_key,
            gateway_token,
        })
    }

    pub(crate) fn access_id(&self) -> Result<AccessId> {
        Ok(self.method.access_id.parse()?)
    }
}

/// Each login is to be one that the gateway has never seen.
fn without_caches(deployment: &Deployment) -> Result<()> {
    let path = deployment.gateway_config();
    let mut file: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    file["limits"] = json!({ "verdict_cache_ttl_seconds": 0, "refusal_cache_ttl_seconds": 0 });
    Ok(std::fs::write(path, file.to_string())?)
}

fn free_port() -> Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.to_string())
}

/// An administrator at work.
pub(crate) struct Setup<'a> {
    admin: &'a AdminFile,
    control_plane: Channel,
    gateway: Channel,
}

impl<'a> Setup<'a> {
    pub(crate) async fn log_in(admin: &'a AdminFile) -> Result<Self> {
        let control_plane = channel(&admin.control_plane_url, &admin.ca_cert).await?;
        let gateway = channel(&admin.gateway_url, &admin.ca_cert).await?;
        let setup = Self {
            admin,
            control_plane,
            gateway,
        };
        // The control plane says UNAVAILABLE until it has its database.
        until(
            "a control plane that lets its administrator in",
            async || match setup.administrator("").await {
                Ok(_) => true,
                Err(error) => error
                    .downcast_ref::<tonic::Status>()
                    .is_some_and(|status| status.code() != tonic::Code::Unavailable),
            },
        )
        .await?;
        Ok(setup)
    }

    async fn token(&self, access_id: &str, access_key: &str, gateway: &str) -> Result<String> {
        let message = pb::AuthenticateAccessKeyRequest {
            access_id: access_id.to_owned(),
            access_key: access_key.to_owned(),
            gateway: gateway.to_owned(),
        };
        let mut client = AccessKeyAuthServiceClient::new(self.control_plane.clone());
        let answer = client.authenticate_access_key(message).await?;
        Ok(answer.into_inner().access_token)
    }

    async fn administrator(&self, gateway: &str) -> Result<BearerToken> {
        let (id, key) = (&self.admin.access_id, self.admin.access_key.expose_secret());
        Ok(BearerToken::new(self.token(id, key, gateway).await?))
    }

    pub(crate) async fn method(
        &self,
        api_server: &ApiServer,
        key: &SigningKey,
    ) -> Result<pb::AuthMethod> {
        let rule = pb::Rule {
            namespaces: vec![api_server.namespace.clone()],
            service_accounts: vec!["account-*".to_owned()],
            ..pb::Rule::default()
        };
        let public_key = pb::PublicKey {
            public_key: key.public().to_pem(),
            ..pb::PublicKey::default()
        };
        let kubernetes = pb::KubernetesAuthMethod {
            rules: vec![rule],
            public_keys: vec![public_key],
            ..pb::KubernetesAuthMethod::default()
        };
        let request = pb::CreateAuthMethodRequest {
            auth_method_id: NAME.to_owned(),
            auth_method: Some(pb::AuthMethod {
                r#type: Some(pb::auth_method::Type::Kubernetes(kubernetes)),
                ..pb::AuthMethod::default()
            }),
            ..pb::CreateAuthMethodRequest::default()
        };
        let request = Request::new(request).with_bearer(&self.administrator("").await?);
        let mut client = AuthMethodServiceClient::new(self.control_plane.clone());
        let created = client.create_auth_method(request).await?.into_inner();
        created.auth_method.context("no auth method was made")
    }

    /// All tokens of the method: how many, counted as far as they are counted.
    pub(crate) async fn revoke_all(&self) -> Result<i64> {
        let filter = pb::TokenFilter {
            auth_method: format!("authMethods/{NAME}"),
            ..pb::TokenFilter::default()
        };
        let request = pb::RevokeTokensRequest {
            filter: Some(filter),
            validate_only: false,
        };
        let request = Request::new(request).with_bearer(&self.administrator("").await?);
        let mut client = TokenAdminServiceClient::new(self.control_plane.clone());
        Ok(client.revoke_tokens(request).await?.into_inner().count)
    }

    /// Of a name that the gateway hasn't got.
    pub(crate) async fn config(
        &self,
        name: &str,
        api_server: &ApiServer,
        method: &pb::AuthMethod,
        key: &SigningKey,
        reviewer: &SecretString,
    ) -> Result<pb::K8sAuthConfig> {
        let administrator = self.administrator("default").await?;
        let request = pb::CreateK8sAuthConfigRequest {
            k8s_auth_config_id: name.to_owned(),
            k8s_auth_config: Some(pb::K8sAuthConfig {
                access_id: Some(method.access_id.clone()),
                k8s_host: Some(api_server.endpoint.url.clone()),
                k8s_ca_cert: Some(api_server.endpoint.ca_cert.clone()),
                k8s_issuers: vec![api_server.issuer.clone()],
                ..pb::K8sAuthConfig::default()
            }),
            secrets: Some(pb::K8sAuthConfigSecrets {
                signing_key: Some(key.to_pkcs8_pem().expose_secret().to_owned()),
                token_reviewer_jwt: Some(reviewer.expose_secret().to_owned()),
                ..pb::K8sAuthConfigSecrets::default()
            }),
            ..pb::CreateK8sAuthConfigRequest::default()
        };
        // The gateway says UNAVAILABLE until it has found its control plane.
        let mut client = K8sAuthConfigServiceClient::new(self.gateway.clone());
        let mut created = None;
        let mut last = None;
        until("a gateway that takes a config", async || {
            let request = Request::new(request.clone()).with_bearer(&administrator);
            match client.create_k8s_auth_config(request).await {
                Ok(answer) => created = answer.into_inner().k8s_auth_config,
                Err(status) => last = Some(status),
            }
            created.is_some()
                || last
                    .as_ref()
                    .is_some_and(|s| s.code() != tonic::Code::Unavailable)
        })
        .await?;
        created.with_context(|| format!("no K8s auth config was made: {last:?}"))
    }
}
