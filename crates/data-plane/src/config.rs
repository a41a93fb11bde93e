//! A gateway's configuration: `gateway.json`, and what [`crate::bind`] takes.

use std::env;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postern_core::access_id::{AccessId, AccessType};
use postern_core::access_token::AccessKey;
use postern_core::clock::Clock;
use postern_core::invalid::{Invalid, Violations};
use postern_core::k8s_auth_config::{AllowedApiServers, K8sHost};
use postern_core::resource_id::GatewayName;
use postern_core::seal::Keyring;
use postern_rpc::client::{self, Channel, FileTarget, FollowTarget, TargetError};
use postern_rpc::forwarded::TrustedProxies;
use postern_rpc::server;
use postern_rpc::tls::PairFiles;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::cluster::SERVICE_ACCOUNT_DIR;
use crate::limits::Limits;

/// Often enough to be warned of what expires, and no load.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// `gateway.json`. Relative paths are relative to the file. Holds a secret: no `Debug`.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GatewayFile {
    /// Its name.
    pub gateway: String,
    /// Of the gateway's own credential, `p-…`.
    pub access_id: String,
    /// Its key, `k-…`.
    #[serde(serialize_with = "expose", deserialize_with = "conceal")]
    pub access_key: SecretString,
    /// The deployment's UUID: for whom assertions are.
    pub deployment_id: String,
    /// `https://host:port`.
    pub control_plane_url: String,
    /// PEM: whom to trust for the control plane, beside the system's roots; read again when it
    /// changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_cert: Option<PathBuf>,
    /// PEM: what the gateway shows the control plane, with `postern://gateway/NAME` among its
    /// names; read again when it changes. Absent: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<PathBuf>,
    /// PEM: its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key: Option<PathBuf>,
    /// PEM: the gateway's own certificate, read again when it changes.
    pub tls_cert: PathBuf,
    /// PEM: its key.
    pub tls_key: PathBuf,
    /// Lines of `id:base64`; read at start.
    pub seal_keys: PathBuf,
    /// The API servers that this gateway may talk to, by origin. Absent: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_servers: Option<Vec<String>>,
    /// Addresses or CIDR blocks of the proxies whose `forwarded` and `x-forwarded-for` headers
    /// count. Empty: nobody's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trusted_proxies: Vec<String>,
    /// `host:port` of a second port for metrics and administrators, which the first one then
    /// doesn't serve. Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_listen: Option<String>,
    /// How much one cluster, one client and one token may use.
    #[serde(skip_serializing_if = "is_default")]
    pub limits: Limits,
    /// The cluster that the gateway runs in, where it differs from what Kubernetes says in a pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own_cluster: Option<OwnClusterFile>,
}

/// `own_cluster` in `gateway.json`.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OwnClusterFile {
    /// Has `ca.crt` and `token`, read again when they change. Absent: where Kubernetes mounts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account_dir: Option<PathBuf>,
    /// `https` URL of the API server. Absent: that of KUBERNETES_SERVICE_HOST and
    /// KUBERNETES_SERVICE_PORT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// The cluster that a gateway runs in.
pub struct OwnClusterConfig {
    /// Has `ca.crt` and `token`.
    pub service_account_dir: PathBuf,
    /// Its API server; `None`: it runs in none.
    pub api_server: Option<K8sHost>,
}

/// What a gateway is started with.
pub struct Config {
    /// Its name, which all its replicas share.
    pub gateway: GatewayName,
    /// What it logs in to the control plane with.
    pub credential: Credential,
    /// Where it was read, and is read again; `None`: it doesn't change.
    pub credential_file: Option<PathBuf>,
    /// For whom assertions are.
    pub deployment: Uuid,
    /// The way to the control plane; connects at the first call.
    pub control_plane: Channel,
    /// Looks after the files of `control_plane`.
    pub control_plane_files: FollowTarget,
    /// Seals and opens configs.
    pub keyring: Keyring,
    /// Whom it may review tokens with.
    pub api_servers: AllowedApiServers,
    /// The cluster that it runs in.
    pub own_cluster: OwnClusterConfig,
    /// How much one cluster, one client and one token may use.
    pub limits: Limits,
    /// The port, its certificate and its limits.
    pub server: server::Config,
    /// How often each config's cluster is tried, for its conditions; `None`: when asked only.
    pub check_interval: Option<Duration>,
    /// Tells the time.
    pub clock: Clock,
    /// This replica; drawn at start.
    pub instance: Uuid,
}

/// An access ID and its key. Secret.
pub struct Credential {
    /// Of the access-key type.
    pub access_id: AccessId,
    /// Its key.
    pub access_key: AccessKey,
}

/// Why a configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file itself can't be read.
    #[error("can't read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not JSON, an unknown field, or a value of the wrong type.
    #[error("{}: {source}", path.display())]
    Syntax {
        /// Which.
        path: PathBuf,
        /// Where and what.
        source: serde_json::Error,
    },
    /// Everything that is wrong, by field.
    #[error("{}: {invalid}", path.display())]
    Invalid {
        /// Which.
        path: PathBuf,
        /// Never holds a secret.
        invalid: Invalid,
    },
}

fn is_default(limits: &Limits) -> bool {
    *limits == Limits::default()
}

fn expose<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

fn conceal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    String::deserialize(deserializer).map(SecretString::from)
}

// === impl Config ===

impl Config {
    /// Reads `gateway.json` and the files that it names. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// Everything that is wrong at once, unless the file can't be read or isn't such JSON.
    pub fn load(path: &Path, listen: SocketAddr, clock: Clock) -> Result<Self, ConfigError> {
        let file = GatewayFile::read(path)?;
        let base = path.parent().unwrap_or(Path::new(""));
        let config = Self::new(&file, base, listen, clock);
        let config = config.map_err(|invalid| ConfigError::Invalid {
            path: path.to_owned(),
            invalid,
        })?;
        Ok(Self {
            credential_file: Some(path.to_owned()),
            ..config
        })
    }

    /// The configuration that `file` describes; its relative paths are relative to `base`.
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// Everything that is wrong at once, by the file's field names.
    pub fn new(
        file: &GatewayFile,
        base: &Path,
        listen: SocketAddr,
        clock: Clock,
    ) -> Result<Self, Invalid> {
        let mut faults = Violations::default();
        let gateway = faults.check("gateway", file.gateway.parse());
        let credential = credential(&mut faults, file);
        let deployment = faults.check("deployment_id", file.deployment_id.parse());
        let control_plane = control_plane(&mut faults, file, base);
        let server = server_config(&mut faults, file, base, listen);
        let keyring = keyring(&mut faults, file, base);
        let api_servers = api_servers(&mut faults, file);
        let own_cluster = own_cluster(&mut faults, file, base);
        faults.absorb(file.limits.check());
        let (
            Some(gateway),
            Some(credential),
            Some(deployment),
            Some((control_plane, control_plane_files)),
            Some(keyring),
        ) = (gateway, credential, deployment, control_plane, keyring)
        else {
            return Err(faults.into_invalid());
        };
        faults.finish()?;
        Ok(Self {
            gateway,
            credential,
            credential_file: None,
            deployment,
            control_plane,
            control_plane_files,
            keyring,
            api_servers,
            own_cluster,
            limits: file.limits.clone(),
            server,
            check_interval: Some(CHECK_INTERVAL),
            clock,
            instance: Uuid::new_v4(),
        })
    }
}

// === impl GatewayFile ===

impl GatewayFile {
    fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let text = Zeroizing::new(text);
        serde_json::from_str(&text).map_err(|source| ConfigError::Syntax {
            path: path.to_owned(),
            source,
        })
    }
}

// === impl Credential ===

impl Credential {
    /// What `gateway.json` says now.
    ///
    /// # Errors
    /// It can't be read, or holds no credential of a gateway.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let file = GatewayFile::read(path)?;
        let mut faults = Violations::default();
        let found = credential(&mut faults, &file);
        found.ok_or_else(|| ConfigError::Invalid {
            path: path.to_owned(),
            invalid: faults.into_invalid(),
        })
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        self.access_id == other.access_id && self.access_key.hash() == other.access_key.hash()
    }
}

fn credential(faults: &mut Violations, file: &GatewayFile) -> Option<Credential> {
    let access_id = faults.check("access_id", file.access_id.parse::<AccessId>());
    let access_key = faults.check("access_key", file.access_key.expose_secret().parse());
    let access_id = access_id?;
    if access_id.access_type() != AccessType::AccessKey {
        faults.add("access_id", "is an auth method's for pods, not a gateway's");
        return None;
    }
    Some(Credential {
        access_id,
        access_key: access_key?,
    })
}

fn control_plane(
    faults: &mut Violations,
    file: &GatewayFile,
    base: &Path,
) -> Option<(Channel, FollowTarget)> {
    let ca = file.ca_cert.as_deref();
    let ca = ca.and_then(|path| readable(faults, "ca_cert", base, path));
    let certificate = match (&file.client_cert, &file.client_key) {
        (None, None) => None,
        (certificate, key) => {
            let mut path = |field, path: &Option<PathBuf>| {
                let path = path.as_deref().unwrap_or(Path::new(""));
                readable(faults, field, base, path)
            };
            let (certificate, key) = (path("client_cert", certificate), path("client_key", key));
            certificate
                .zip(key)
                .map(|(certificate, key)| PairFiles { certificate, key })
        }
    };
    let target = FileTarget {
        url: file.control_plane_url.clone(),
        ca,
        certificate,
    };
    match client::connect_by_files(target) {
        Ok(channel) => Some(channel),
        Err(TargetError::Url { fault, .. }) => {
            faults.add("control_plane_url", fault);
            None
        }
        Err(TargetError::Ca(error)) => {
            faults.add("ca_cert", error.to_string());
            None
        }
        Err(TargetError::Certificate(error)) => {
            faults.add("client_cert", error.to_string());
            None
        }
    }
}

fn server_config(
    faults: &mut Violations,
    file: &GatewayFile,
    base: &Path,
    listen: SocketAddr,
) -> server::Config {
    for (field, path) in [("tls_cert", &file.tls_cert), ("tls_key", &file.tls_key)] {
        faults.check(field, read(base, path));
    }
    let mut proxies = Vec::with_capacity(file.trusted_proxies.len());
    for (i, text) in file.trusted_proxies.iter().enumerate() {
        proxies.extend(faults.check(format!("trusted_proxies[{i}]"), text.parse()));
    }
    let (certificate, key) = (base.join(&file.tls_cert), base.join(&file.tls_key));
    let mut server = server::Config::new(listen).with_tls(certificate, key);
    let admin_listen = file.admin_listen.as_ref();
    server.admin_listen =
        admin_listen.and_then(|address| faults.check("admin_listen", address.parse()));
    file.limits.apply(&mut server);
    server.trusted_proxies = TrustedProxies::new(proxies);
    server
}

fn keyring(faults: &mut Violations, file: &GatewayFile, base: &Path) -> Option<Keyring> {
    let text = faults.check("seal_keys", read(base, &file.seal_keys))?;
    faults.check("seal_keys", Keyring::parse(&text))
}

fn api_servers(faults: &mut Violations, file: &GatewayFile) -> AllowedApiServers {
    let Some(texts) = &file.api_servers else {
        return AllowedApiServers::any();
    };
    let mut hosts = Vec::with_capacity(texts.len());
    for (i, text) in texts.iter().enumerate() {
        hosts.extend(faults.check(format!("api_servers[{i}]"), text.parse()));
    }
    AllowedApiServers::only(hosts)
}

fn own_cluster(faults: &mut Violations, file: &GatewayFile, base: &Path) -> OwnClusterConfig {
    let own = file.own_cluster.clone().unwrap_or_default();
    let dir = own.service_account_dir.map(|dir| base.join(dir));
    let api_server = match own.url {
        Some(url) => faults.check("own_cluster.url", url.parse()),
        None => pods_api_server(
            env::var("KUBERNETES_SERVICE_HOST").ok(),
            env::var("KUBERNETES_SERVICE_PORT").ok(),
        ),
    };
    OwnClusterConfig {
        service_account_dir: dir.unwrap_or_else(|| PathBuf::from(SERVICE_ACCOUNT_DIR)),
        api_server,
    }
}

/// From what Kubernetes says in every pod's environment.
fn pods_api_server(host: Option<String>, port: Option<String>) -> Option<K8sHost> {
    let (host, port) = (host?, port?);
    let url = if host.contains(':') {
        format!("https://[{host}]:{port}")
    } else {
        format!("https://{host}:{port}")
    };
    url.parse().ok()
}

/// Where a file is that can be read.
fn readable(
    faults: &mut Violations,
    field: &'static str,
    base: &Path,
    path: &Path,
) -> Option<PathBuf> {
    faults
        .check(field, read(base, path))
        .map(|_| base.join(path))
}

fn read(base: &Path, path: &Path) -> Result<Zeroizing<String>, String> {
    if path.as_os_str().is_empty() {
        return Err("is missing".to_owned());
    }
    let path = base.join(path);
    fs::read_to_string(&path)
        .map(Zeroizing::new)
        .map_err(|error| format!("can't read {}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
