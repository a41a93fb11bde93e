//! The folder that a deployment starts from: CA, certificates, each service's own keys and the
//! first credentials, a subfolder for each service.

mod certificates;
mod credentials;
mod files;

use std::io;
use std::path::{Path, PathBuf};

use postern_core::access_id::NoRandomness;
use postern_core::invalid::{Invalid, Violations};
use postern_core::jwt::{IssuerUrl, IssuerUrlError};
use postern_core::k8s_auth_config::K8sHost;
use postern_core::own_keys::OwnKeys;
use postern_core::resource_id::GatewayName;
use postern_core::seal::{Keyring, SealKeyId};
use url::{Host, Url};
use uuid::Uuid;

use certificates::Authority;
pub use credentials::AdminFile;
use credentials::Credentials;
use files::Writer;

const CONTROL_PLANE_KEYS: &str = "control-plane/keys";

/// What a deployment is made for.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// `https://host:port` at which clients and gateways reach the control plane.
    pub control_plane_url: String,
    /// `https://host:port` at which workloads reach the gateway.
    pub gateway_url: String,
    pub gateway_name: String,
    /// The API servers that the gateway may talk to; empty: any.
    pub api_servers: Vec<String>,
}

/// A folder that [`Deployment::init`] made or completed.
#[derive(Debug)]
pub struct Deployment {
    dir: PathBuf,
    created: Vec<PathBuf>,
    absent: Vec<PathBuf>,
    mutual_tls: bool,
}

/// Why a folder can't be made or completed.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// By the fields of [`InitOptions`].
    #[error("{0}")]
    Invalid(Invalid),
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Json {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("{} was made for {field} `{there}`, not `{asked}`: give the same again, or change the file", path.display())]
    Differs {
        path: PathBuf,
        field: &'static str,
        there: String,
        asked: String,
    },
    #[error("{} doesn't list {asked} under `api_servers`: add it there, and restart the gateway", path.display())]
    NotListed { path: PathBuf, asked: String },
    #[error("{} is missing, and {needed_for} needs it: put it back, or start with an empty folder", path.display())]
    MissingCa { path: PathBuf, needed_for: String },
    #[error("{}: {fault}", path.display())]
    Content { path: PathBuf, fault: String },
    #[error("a certificate can't be made: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

/// [`InitOptions`] that can be used.
struct Plan {
    control_plane: Origin,
    gateway: Origin,
    gateway_name: GatewayName,
    api_servers: Vec<String>,
}

/// A URL of scheme, host and port.
struct Origin {
    text: String,
    issuer: IssuerUrl,
    host: String,
}

impl Default for InitOptions {
    fn default() -> Self {
        Self {
            control_plane_url: "https://localhost:8100".to_owned(),
            gateway_url: "https://localhost:8000".to_owned(),
            gateway_name: "default".to_owned(),
            api_servers: Vec::new(),
        }
    }
}

// === impl Deployment ===

impl Deployment {
    /// Makes what is missing and changes nothing that exists. Every file gets mode 0600.
    /// Server certificates are for the URL's host, `localhost` and 127.0.0.1, the gateway's client
    /// certificate is for its name; they last 397 days. To renew one, delete it and call this again.
    ///
    /// # Errors
    /// An option is wrong or differs from what the folder was made for, a file can't be read or
    /// written, or the CA's key is needed and gone.
    pub fn init(dir: &Path, options: &InitOptions) -> Result<Self, InitError> {
        let plan = options.check()?;
        let mut writer = Writer::new(dir);
        writer.folder("")?;
        let kept = Credentials::differing(dir, &plan)?;
        writer.folder("control-plane")?;
        let mut authority = Authority::open(&mut writer)?;
        authority.install(&mut writer, "control-plane", &plan.control_plane.host)?;
        writer.missing(CONTROL_PLANE_KEYS, own_key)?;
        let mut absent = Vec::new();
        if kept.admin_moved {
            absent.push(dir.join(credentials::ADMIN));
        }
        if kept.gateway_moved {
            absent.push(dir.join(credentials::GATEWAY));
        } else {
            writer.folder("gateway")?;
            authority.install(&mut writer, "gateway", &plan.gateway.host)?;
            if kept.shows_certificate {
                authority.install_client(&mut writer, "gateway", &plan.gateway_name)?;
            }
            writer.missing("gateway/seal-keys", seal_key)?;
        }
        // Last: whoever sees the bootstrap file finds all the rest.
        Credentials::complete(&mut writer, &plan, authority.pem())?;
        Ok(Self {
            dir: dir.to_owned(),
            created: writer.into_created(),
            absent,
            mutual_tls: kept.shows_certificate,
        })
    }

    /// What a folder was made for; `None` when its credentials aren't there.
    ///
    /// # Errors
    /// A file can't be read or isn't what it should be.
    pub fn options(dir: &Path) -> Result<Option<InitOptions>, InitError> {
        Credentials::options(dir)
    }

    /// What the call made, in the order in which it was made.
    pub fn created(&self) -> &[PathBuf] {
        &self.created
    }

    /// Credentials that the bootstrap file names and that aren't in the folder any more.
    /// They can't be made again.
    pub fn absent(&self) -> &[PathBuf] {
        &self.absent
    }

    /// Whether the gateway shows a client certificate, as far as is known here.
    pub fn mutual_tls(&self) -> bool {
        self.mutual_tls
    }

    /// Whose client certificates the control plane is to trust.
    pub fn client_ca(&self) -> PathBuf {
        self.dir.join("control-plane").join(certificates::CA)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The CA's certificate.
    pub fn ca_cert(&self) -> PathBuf {
        self.dir.join(certificates::CA)
    }

    /// The administrator's credential, an [`AdminFile`].
    pub fn admin(&self) -> PathBuf {
        self.dir.join(credentials::ADMIN)
    }

    pub fn bootstrap(&self) -> PathBuf {
        self.dir.join(credentials::BOOTSTRAP)
    }

    pub fn gateway_config(&self) -> PathBuf {
        self.dir.join(credentials::GATEWAY)
    }

    /// The file of the control plane's own keys.
    pub fn control_plane_keys(&self) -> PathBuf {
        self.dir.join(CONTROL_PLANE_KEYS)
    }

    /// The control plane's certificate and its key.
    pub fn control_plane_tls(&self) -> (PathBuf, PathBuf) {
        let folder = self.dir.join("control-plane");
        (
            folder.join(certificates::CERTIFICATE),
            folder.join(certificates::KEY),
        )
    }
}

fn seal_key() -> Result<String, InitError> {
    let line = Keyring::generate_line(&key_id("seal-keys", "k1")?)?;
    Ok(format!("{}\n", line.as_str()))
}

/// Of an ID that no other file has: a file that was lost and made again is told from what it was.
fn own_key() -> Result<String, InitError> {
    let id = format!("k{}", Uuid::now_v7().simple());
    let line = OwnKeys::generate_line(&key_id(CONTROL_PLANE_KEYS, &id)?)?;
    Ok(format!("{}\n", line.as_str()))
}

fn key_id(file: &str, id: &str) -> Result<SealKeyId, InitError> {
    id.parse().map_err(|fault| InitError::Content {
        path: PathBuf::from(file),
        fault: format!("{fault}"),
    })
}

// === impl InitOptions ===

impl InitOptions {
    fn check(&self) -> Result<Plan, InitError> {
        let mut faults = Violations::default();
        let control_plane = faults.check("control_plane_url", origin(&self.control_plane_url));
        let gateway = faults.check("gateway_url", origin(&self.gateway_url));
        let gateway_name = faults.check("gateway_name", self.gateway_name.parse());
        let mut api_servers = Vec::new();
        for (i, text) in self.api_servers.iter().enumerate() {
            let host = faults.check(format!("api_servers[{i}]"), text.parse::<K8sHost>());
            if host.is_some() {
                api_servers.push(text.trim().to_owned());
            }
        }
        let (Some(control_plane), Some(gateway), Some(gateway_name)) =
            (control_plane, gateway, gateway_name)
        else {
            return Err(InitError::Invalid(faults.into_invalid()));
        };
        faults.finish().map_err(InitError::Invalid)?;
        Ok(Plan {
            control_plane,
            gateway,
            gateway_name,
            api_servers,
        })
    }
}

fn origin(text: &str) -> Result<Origin, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    let url = Url::parse(text).map_err(|error| format!("`{text}` is not a URL: {error}"))?;
    let host = match url.host() {
        Some(Host::Domain(name)) => name.to_owned(),
        Some(Host::Ipv4(ip)) => ip.to_string(),
        Some(Host::Ipv6(ip)) => ip.to_string(),
        None => return Err(format!("`{text}` has no host")),
    };
    if url.scheme() != "https" {
        return Err(format!("`{text}` must be an https URL"));
    }
    let user_info = !url.username().is_empty() || url.password().is_some();
    if user_info || url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err("must be scheme, host and port only".to_owned());
    }
    let text = url.origin().ascii_serialization();
    Ok(Origin {
        issuer: text
            .parse()
            .map_err(|fault: IssuerUrlError| fault.to_string())?,
        text,
        host,
    })
}

#[cfg(test)]
mod tests;
