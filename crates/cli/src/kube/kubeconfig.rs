//! A kubeconfig, read for one context: where the API server is, whom to trust for it, and who one
//! is there.
//!
//! Whatever would make the connection another one than kubectl's is refused, and said.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use postern_core::ca_bundle::CaBundle;
use postern_core::k8s_auth_config::K8sHost;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::values;

/// One way into one cluster. Its credential is an administrator's: no `Debug`, and it goes to
/// that cluster's API server only.
pub(crate) struct Access {
    /// The context's name.
    pub(crate) context: String,
    pub(crate) server: K8sHost,
    /// PEM; `None`: the system's roots.
    pub(crate) ca: Option<String>,
    /// What the server's certificate is for, where that isn't the URL's host.
    pub(crate) tls_server_name: Option<String>,
    pub(super) token: Option<SecretString>,
    pub(super) certificate: Option<ClientCertificate>,
}

/// In PEM both.
pub(super) struct ClientCertificate {
    pub(super) chain: String,
    pub(super) key: SecretString,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    current_context: Option<String>,
    #[serde(default)]
    clusters: Vec<NamedCluster>,
    #[serde(default)]
    contexts: Vec<NamedContext>,
    #[serde(default)]
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority_data: Option<String>,
    certificate_authority: Option<PathBuf>,
    tls_server_name: Option<String>,
    #[serde(default)]
    insecure_skip_tls_verify: bool,
    proxy_url: Option<String>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    user: String,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    #[serde(default, deserialize_with = "conceal")]
    token: Option<SecretString>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_certificate: Option<PathBuf>,
    #[serde(default, deserialize_with = "conceal")]
    client_key_data: Option<SecretString>,
    client_key: Option<PathBuf>,
    exec: Option<IgnoredAny>,
    auth_provider: Option<IgnoredAny>,
    username: Option<IgnoredAny>,
    password: Option<IgnoredAny>,
    #[serde(rename = "as")]
    impersonate: Option<IgnoredAny>,
}

/// Where to make a credential that can be read, when a kubeconfig has none.
const BY_HAND: &str = "give a kubeconfig whose user has a token or a client certificate; or apply what `postern manifest reviewer` prints with kubectl, and create the config with `postern k8s-auth-config create`";

impl Access {
    /// Reads `path` (`-`: standard input) for a context, or for its current one. Files that it
    /// names are relative to it.
    pub(crate) fn read(path: &str, context: Option<&str>) -> Result<Self, Failure> {
        let text = values::read("--kubeconfig", path)?;
        let folder = Path::new(path).parent().unwrap_or(Path::new(""));
        Self::parse(text.expose_secret(), context, folder)
            .map_err(|failure| failure.of("--kubeconfig"))
    }

    fn parse(text: &str, context: Option<&str>, folder: &Path) -> Result<Self, Failure> {
        // What the reader says about a value would repeat it, and it may be a key.
        let file: File = serde_norway::from_str(text).map_err(|error| {
            let place = error.location();
            let place = place.map(|at| format!(" (line {}, column {})", at.line(), at.column()));
            let place = place.unwrap_or_default();
            Failure::usage(format!("this is no kubeconfig{place}"))
        })?;
        let current = file.current_context.filter(|name| !name.is_empty());
        let name = match (context, current) {
            (Some(name), _) => name.to_owned(),
            (None, Some(name)) => name,
            (None, None) => {
                return Err(Failure::usage("it has no current context")
                    .hint("say which one is meant with --context"));
            }
        };
        let contexts = file.contexts.iter().map(|c| c.name.clone());
        let contexts: Vec<String> = contexts.collect();
        let named = file.contexts.into_iter().find(|c| c.name == name);
        let Context { cluster, user } = named.map(|c| c.context).ok_or_else(|| {
            let known = contexts.join(", ");
            Failure::usage(format!("it has no context `{name}`; it has {known}"))
        })?;
        let missing = |what: &str, name: &str| {
            Failure::usage(format!(
                "its context names a {what} `{name}` that isn't there"
            ))
        };
        let found = file.clusters.into_iter().find(|c| c.name == cluster);
        let reached = found.ok_or_else(|| missing("cluster", &cluster))?.cluster;
        let found = file.users.into_iter().find(|u| u.name == user);
        let known = found.ok_or_else(|| missing("user", &user))?.user;
        let (server, ca) = reached.read(&cluster, folder)?;
        let tls_server_name = reached.tls_server_name.filter(|name| !name.is_empty());
        let (token, certificate) = known.read(&user, folder)?;
        Ok(Self {
            context: name,
            server,
            ca,
            tls_server_name,
            token,
            certificate,
        })
    }

    /// Whether pods and gateways elsewhere would mean themselves by this address.
    pub(crate) fn is_loopback(&self) -> bool {
        let text = self.server.to_string();
        let url = url::Url::parse(&text).ok();
        match url.as_ref().and_then(url::Url::host) {
            Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(url::Host::Ipv4(ip)) => ip.is_loopback() || ip.is_unspecified(),
            Some(url::Host::Ipv6(ip)) => ip.is_loopback() || ip.is_unspecified(),
            None => false,
        }
    }
}

impl Cluster {
    fn read(&self, name: &str, folder: &Path) -> Result<(K8sHost, Option<String>), Failure> {
        if self.insecure_skip_tls_verify {
            return Err(Failure::usage(format!(
                "its cluster `{name}` says insecure-skip-tls-verify, and a gateway always verifies"
            ))
            .hint(
                "put the cluster's CA into the kubeconfig (certificate-authority-data) instead",
            ));
        }
        if self.proxy_url.as_ref().is_some_and(|url| !url.is_empty()) {
            return Err(Failure::usage(format!(
                "its cluster `{name}` is behind a proxy (proxy-url), which isn't used here"
            )));
        }
        let server = self.server.parse();
        let server = server.map_err(|fault| {
            Failure::usage(format!("the server of its cluster `{name}` {fault}"))
        })?;
        let ca = match (
            &self.certificate_authority_data,
            &self.certificate_authority,
        ) {
            // kubectl's order: what is inline comes first.
            (Some(data), _) if !data.is_empty() => data.clone(),
            (_, Some(path)) => file(folder, path)?.to_string(),
            _ => return Ok((server, None)),
        };
        let (bundle, _) = CaBundle::parse(&ca, Timestamp::now())
            .map_err(|fault| Failure::usage(format!("the CA of its cluster `{name}` {fault}")))?;
        Ok((server, Some(bundle.pem().to_owned())))
    }
}

impl User {
    fn read(
        self,
        name: &str,
        folder: &Path,
    ) -> Result<(Option<SecretString>, Option<ClientCertificate>), Failure> {
        self.refuse_what_isnt_done(name)?;
        let token = match (self.token, self.token_file) {
            (Some(token), _) if !token.expose_secret().trim().is_empty() => Some(token),
            (_, Some(path)) => Some(SecretString::from(file(folder, &path)?.trim())),
            _ => None,
        };
        let chain = match (self.client_certificate_data, self.client_certificate) {
            (Some(data), _) => Some(decoded(&data, name)?),
            (None, Some(path)) => Some(file(folder, &path)?),
            (None, None) => None,
        };
        let key = match (self.client_key_data, self.client_key) {
            (Some(data), _) => Some(decoded(data.expose_secret(), name)?),
            (None, Some(path)) => Some(file(folder, &path)?),
            (None, None) => None,
        };
        let certificate = match (chain, key) {
            (Some(chain), Some(key)) => Some(ClientCertificate {
                chain: chain.to_string(),
                key: SecretString::from(key.as_str()),
            }),
            (None, None) => None,
            _ => {
                return Err(Failure::usage(format!(
                    "its user `{name}` has only one of client certificate and key"
                )));
            }
        };
        if token.is_none() && certificate.is_none() {
            return Err(
                Failure::usage(format!("its user `{name}` has no credential")).hint(BY_HAND),
            );
        }
        Ok((token, certificate))
    }

    fn refuse_what_isnt_done(&self, name: &str) -> Result<(), Failure> {
        let refused = [
            (
                self.exec.is_some(),
                "gets its credential from a program (exec), and none is run for you here",
            ),
            (
                self.auth_provider.is_some(),
                "gets its credential from an auth-provider, which isn't used here",
            ),
            (
                self.username.is_some() || self.password.is_some(),
                "has a name and a password, which no API server takes any more",
            ),
            (
                self.impersonate.is_some(),
                "impersonates somebody (as), which isn't done here",
            ),
        ];
        match refused.into_iter().find(|(found, _)| *found) {
            Some((_, why)) => Err(Failure::usage(format!("its user `{name}` {why}")).hint(BY_HAND)),
            None => Ok(()),
        }
    }
}

fn decoded(data: &str, user: &str) -> Result<Zeroizing<String>, Failure> {
    let bytes = STANDARD.decode(data.trim()).map(Zeroizing::new).ok();
    let text = bytes.and_then(|bytes| std::str::from_utf8(&bytes).map(str::to_owned).ok());
    text.map(Zeroizing::new).ok_or_else(|| {
        Failure::usage(format!(
            "the client certificate or key of its user `{user}` isn't base64 of PEM"
        ))
    })
}

fn file(folder: &Path, path: &Path) -> Result<Zeroizing<String>, Failure> {
    let path = folder.join(path);
    std::fs::read_to_string(&path)
        .map(Zeroizing::new)
        .map_err(|error| Failure::file(&path, &error))
}

fn conceal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(SecretString::from))
}

#[cfg(test)]
mod tests;
