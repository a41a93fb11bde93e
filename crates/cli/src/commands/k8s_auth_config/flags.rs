//! What a K8s auth config says, as flags.

use clap::{Args, ValueEnum};
use postern_proto::pb;
use secrecy::ExposeSecret as _;

use crate::failure::Failure;
use crate::flags::present;
use crate::values::{self, Unit};

/// What a config says about its cluster.
#[derive(Debug, Args)]
pub(crate) struct ConfigFlags {
    /// The access ID of the auth method that it serves, p-…
    #[arg(long, short = 'i', value_name = "ID")]
    access_id: Option<String>,
    /// The API server, or the Rancher server, https://…
    #[arg(long, value_name = "URL")]
    k8s_host: Option<String>,
    /// The cluster's CA: PEM, or base64 of it [default: the system's roots]
    #[arg(long, value_name = "PEM")]
    k8s_ca_cert: Option<String>,
    /// File of the cluster's CA
    #[arg(long, value_name = "FILE")]
    k8s_ca_cert_file: Option<String>,
    /// The name that the server's certificate must have [default: the host's]
    #[arg(long, value_name = "NAME")]
    tls_server_name: Option<String>,
    /// Issuer that tokens may come from; repeat it for several
    #[arg(long, value_name = "ISSUER", value_delimiter = ',')]
    k8s_issuer: Vec<String>,
    /// Say on purpose that any issuer is fine
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    disable_issuer_validation: Option<bool>,
    /// Who reviews tokens [default: token]
    #[arg(long, value_name = "TYPE")]
    k8s_auth_type: Option<AuthType>,
    /// Review by the gateway's own service account, in the cluster that the gateway runs in
    #[arg(long, conflicts_with_all = ["k8s_auth_type", "cluster_api_type"])]
    use_gw_service_account: bool,
    /// The reviewer's certificate, for --k8s-auth-type certificate: PEM, or base64 of it
    #[arg(long, value_name = "PEM")]
    k8s_client_certificate: Option<String>,
    /// File of the reviewer's certificate
    #[arg(long, value_name = "FILE")]
    k8s_client_certificate_file: Option<String>,
    /// What answers at --k8s-host [default: native_k8s]
    #[arg(long, value_name = "TYPE")]
    cluster_api_type: Option<ApiType>,
    /// The cluster's ID at Rancher, such as c-m-abcdefgh
    #[arg(long, value_name = "ID")]
    rancher_cluster_id: Option<String>,
    /// How tokens are verified [default: review]
    #[arg(long, value_name = "MODE")]
    mode: Option<Mode>,
    /// The cluster's keys for --mode offline and jwks_then_review: a JWK set [default: asked of the cluster]
    #[arg(long, value_name = "JSON")]
    jwks: Option<String>,
    /// File of the cluster's keys
    #[arg(long, value_name = "FILE")]
    jwks_file: Option<String>,
    /// Life of an assertion, in seconds or such as 5m [default and most: 300]
    #[arg(long, value_name = "SECONDS")]
    token_exp: Option<String>,
    /// For connecting to the API server, in seconds or such as 500ms [default: 3]
    #[arg(long, value_name = "SECONDS")]
    connect_timeout: Option<String>,
    /// For a whole answer of the API server, in seconds or such as 1500ms [default and most: 10]
    #[arg(long, value_name = "SECONDS")]
    total_timeout: Option<String>,
    /// Refuse every login
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    disabled: Option<bool>,
    #[command(flatten)]
    pub(super) secrets: SecretFlags,
}

/// What goes in and never comes out.
#[derive(Debug, Args)]
pub(crate) struct SecretFlags {
    /// The auth method's private key: PEM, or base64 of it
    #[arg(long, value_name = "KEY")]
    signing_key: Option<String>,
    /// File of the private key; `-` is standard input
    #[arg(long, value_name = "FILE")]
    signing_key_file: Option<String>,
    /// Bearer token that may create TokenReviews
    #[arg(long, value_name = "TOKEN")]
    token_reviewer_jwt: Option<String>,
    /// File of the reviewer's token; `-` is standard input
    #[arg(long, value_name = "FILE")]
    token_reviewer_jwt_file: Option<String>,
    /// Private key of the reviewer's certificate: PEM, or base64 of it
    #[arg(long, value_name = "KEY")]
    k8s_client_key: Option<String>,
    /// File of that private key; `-` is standard input
    #[arg(long, value_name = "FILE")]
    k8s_client_key_file: Option<String>,
    /// Rancher's API key, token-…:…
    #[arg(long, value_name = "KEY")]
    rancher_api_key: Option<String>,
    /// File of Rancher's API key; `-` is standard input
    #[arg(long, value_name = "FILE")]
    rancher_api_key_file: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum AuthType {
    /// The bearer of --token-reviewer-jwt
    Token,
    /// The user that --k8s-client-certificate names
    Certificate,
    /// As --use-gw-service-account
    GatewayServiceAccount,
    /// Each pod, by the token that it presents
    PresentedToken,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ApiType {
    /// A kube-apiserver
    #[value(name = "native_k8s")]
    NativeK8s,
    /// Rancher, by --rancher-api-key, for --rancher-cluster-id
    Rancher,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    /// The API server reviews them
    Review,
    /// By their signature alone; the API server isn't asked
    Offline,
    /// By their signature, then the API server reviews them
    #[value(name = "jwks_then_review", alias = "jwks-then-review")]
    JwksThenReview,
}

// === impl ConfigFlags ===

impl ConfigFlags {
    /// Writes what was given over `config`, and leaves the rest.
    pub(super) fn apply(&self, config: &mut pb::K8sAuthConfig) -> Result<(), Failure> {
        self.apply_access(config)?;
        config.access_id =
            given("--access-id", self.access_id.as_deref())?.or(config.access_id.take());
        for issuer in &self.k8s_issuer {
            present("--k8s-issuer", issuer)?;
        }
        if !self.k8s_issuer.is_empty() {
            config.k8s_issuers.clone_from(&self.k8s_issuer);
            config.disable_issuer_validation = None;
        }
        if let Some(disable) = self.disable_issuer_validation {
            config.disable_issuer_validation = Some(disable);
            if disable && self.k8s_issuer.is_empty() {
                config.k8s_issuers.clear();
            }
        }
        if let Some(mode) = self.mode {
            config.mode = Some(mode.to_pb().into());
        }
        let jwks = values::text("--jwks", self.jwks.as_deref(), self.jwks_file.as_deref())?;
        config.jwks = jwks.or(config.jwks.take());
        for (flag, text, field) in [
            ("--token-exp", &self.token_exp, &mut config.token_exp),
            (
                "--connect-timeout",
                &self.connect_timeout,
                &mut config.connect_timeout,
            ),
            (
                "--total-timeout",
                &self.total_timeout,
                &mut config.total_timeout,
            ),
        ] {
            if let Some(text) = text {
                *field = Some(values::duration(flag, text, Unit::Seconds)?);
            }
        }
        config.disabled = self.disabled.or(config.disabled);
        Ok(())
    }

    /// Where the cluster is and who reviews there. A kind of reviewer that is named takes leave of
    /// what belonged to another.
    fn apply_access(&self, config: &mut pb::K8sAuthConfig) -> Result<(), Failure> {
        if let Some(reviewer) = self.reviewer() {
            config.reviewer = Some(reviewer.into());
        }
        match self.cluster_api_type {
            Some(ApiType::Rancher) => {
                config.cluster_api_type = Some(pb::ClusterApiType::Rancher.into());
                config.reviewer = self.reviewer().map(Into::into);
            }
            Some(ApiType::NativeK8s) => {
                config.cluster_api_type = Some(pb::ClusterApiType::NativeK8s.into());
            }
            None if self.use_gw_service_account => {
                config.cluster_api_type = Some(pb::ClusterApiType::NativeK8s.into());
            }
            None => {}
        }
        if config.reviewer() == pb::ReviewerType::GatewayServiceAccount {
            config.k8s_host = None;
            config.k8s_ca_cert = None;
            config.tls_server_name = None;
        }
        if config.reviewer() != pb::ReviewerType::Certificate {
            config.k8s_client_certificate = None;
        }
        if config.cluster_api_type() != pb::ClusterApiType::Rancher {
            config.rancher_cluster_id = None;
        }
        let ca = values::text(
            "--k8s-ca-cert",
            self.k8s_ca_cert.as_deref(),
            self.k8s_ca_cert_file.as_deref(),
        )?;
        let certificate = values::text(
            "--k8s-client-certificate",
            self.k8s_client_certificate.as_deref(),
            self.k8s_client_certificate_file.as_deref(),
        )?;
        for (value, field) in [
            (
                given("--k8s-host", self.k8s_host.as_deref())?,
                &mut config.k8s_host,
            ),
            (ca, &mut config.k8s_ca_cert),
            (
                given("--tls-server-name", self.tls_server_name.as_deref())?,
                &mut config.tls_server_name,
            ),
            (certificate, &mut config.k8s_client_certificate),
            (
                given("--rancher-cluster-id", self.rancher_cluster_id.as_deref())?,
                &mut config.rancher_cluster_id,
            ),
        ] {
            if value.is_some() {
                *field = value;
            }
        }
        Ok(())
    }

    fn reviewer(&self) -> Option<pb::ReviewerType> {
        if self.use_gw_service_account {
            return Some(pb::ReviewerType::GatewayServiceAccount);
        }
        self.k8s_auth_type.map(AuthType::to_pb)
    }

    /// Empties the fields that are named and not given as well.
    pub(super) fn clear(
        &self,
        fields: &[String],
        config: &mut pb::K8sAuthConfig,
    ) -> Result<(), Failure> {
        for field in fields {
            let given = match field.as_str() {
                "k8s_ca_cert" => self.k8s_ca_cert.is_some() || self.k8s_ca_cert_file.is_some(),
                "k8s_issuers" => !self.k8s_issuer.is_empty(),
                "tls_server_name" => self.tls_server_name.is_some(),
                "jwks" => self.jwks.is_some() || self.jwks_file.is_some(),
                "connect_timeout" => self.connect_timeout.is_some(),
                "total_timeout" => self.total_timeout.is_some(),
                _ => false,
            };
            if given {
                let fault = format!("--clear {field} and the flag that sets it exclude each other");
                return Err(Failure::usage(fault));
            }
            match field.as_str() {
                "k8s_ca_cert" => config.k8s_ca_cert = None,
                "k8s_issuers" => config.k8s_issuers.clear(),
                "tls_server_name" => config.tls_server_name = None,
                "jwks" => config.jwks = None,
                "connect_timeout" => config.connect_timeout = None,
                "total_timeout" => config.total_timeout = None,
                "pinned_cluster" => config.pinned_cluster.clear(),
                _ => {
                    return Err(Failure::usage(format!(
                        "--clear: `{field}` is no field that can be emptied"
                    )));
                }
            }
        }
        Ok(())
    }
}

fn given(flag: &str, value: Option<&str>) -> Result<Option<String>, Failure> {
    value.map(|value| present(flag, value)).transpose()
}

// === impl SecretFlags ===

impl SecretFlags {
    pub(super) fn read(&self) -> Result<pb::K8sAuthConfigSecrets, Failure> {
        let secret = |flag, value: &Option<String>, file: &Option<String>| {
            values::secret(flag, value.as_deref(), file.as_deref())
                .map(|secret| secret.map(|s| s.expose_secret().to_owned()))
        };
        Ok(pb::K8sAuthConfigSecrets {
            signing_key: secret("--signing-key", &self.signing_key, &self.signing_key_file)?,
            token_reviewer_jwt: secret(
                "--token-reviewer-jwt",
                &self.token_reviewer_jwt,
                &self.token_reviewer_jwt_file,
            )?,
            k8s_client_key: secret(
                "--k8s-client-key",
                &self.k8s_client_key,
                &self.k8s_client_key_file,
            )?,
            rancher_api_key: secret(
                "--rancher-api-key",
                &self.rancher_api_key,
                &self.rancher_api_key_file,
            )?,
        })
    }
}

impl AuthType {
    fn to_pb(self) -> pb::ReviewerType {
        match self {
            Self::Token => pb::ReviewerType::Token,
            Self::Certificate => pb::ReviewerType::Certificate,
            Self::GatewayServiceAccount => pb::ReviewerType::GatewayServiceAccount,
            Self::PresentedToken => pb::ReviewerType::PresentedToken,
        }
    }
}

impl Mode {
    fn to_pb(self) -> pb::VerificationMode {
        match self {
            Self::Review => pb::VerificationMode::Review,
            Self::Offline => pb::VerificationMode::Offline,
            Self::JwksThenReview => pb::VerificationMode::JwksThenReview,
        }
    }
}
