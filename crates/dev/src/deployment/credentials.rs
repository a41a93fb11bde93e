//! Who may do what at first: an administrator, a gateway, and the control plane's hashes of both.

use std::path::Path;

use postern_control_plane::bootstrap::{Bootstrap, BootstrapAdmin, BootstrapGateway};
use postern_core::access_id::{AccessId, AccessType};
use postern_core::access_token::AccessKey;
use postern_core::k8s_auth_config::{AllowedApiServers, K8sHost};
use postern_data_plane::config::GatewayFile;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::files::{self, Writer};
use super::{InitError, InitOptions, Plan, certificates};

pub(super) const ADMIN: &str = "admin.json";
pub(super) const BOOTSTRAP: &str = "control-plane/bootstrap.json";
pub(super) const GATEWAY: &str = "gateway/gateway.json";

/// `admin.json`: all that an administrator's profile needs. Holds a secret: no `Debug`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminFile {
    /// `p-…`
    pub access_id: String,
    /// `k-…`
    #[serde(serialize_with = "expose", deserialize_with = "conceal")]
    pub access_key: SecretString,
    pub control_plane_url: String,
    pub gateway_url: String,
    /// PEM itself.
    pub ca_cert: String,
}

fn expose<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

fn conceal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    String::deserialize(deserializer).map(SecretString::from)
}

impl AdminFile {
    /// # Errors
    /// It can't be read, or isn't such a file.
    pub fn read(path: &Path) -> Result<Self, InitError> {
        parse(path)?.ok_or_else(|| InitError::File {
            path: path.to_owned(),
            source: std::io::ErrorKind::NotFound.into(),
        })
    }
}

/// The three files that belong together.
pub(super) struct Credentials {
    /// The bootstrap file is there, and the administrator's isn't.
    pub(super) admin_moved: bool,
    /// The bootstrap file is there, and the gateway's isn't.
    pub(super) gateway_moved: bool,
    /// The gateway shows a certificate that is made here: those of new folders do.
    pub(super) shows_certificate: bool,
}

impl Credentials {
    /// Holds what is there against what is asked for.
    pub(super) fn differing(dir: &Path, plan: &Plan) -> Result<Self, InitError> {
        let (admin, bootstrap, gateway) = read(dir)?;
        let same = |file: &str, field, there: &str, asked: &str| {
            if there == asked {
                return Ok(());
            }
            Err(InitError::Differs {
                path: dir.join(file),
                field,
                there: there.to_owned(),
                asked: asked.to_owned(),
            })
        };
        if let Some(admin) = &admin {
            let (there, asked) = (&admin.control_plane_url, &plan.control_plane.text);
            same(ADMIN, "control_plane_url", there, asked)?;
        }
        if let Some(bootstrap) = &bootstrap {
            let there = &bootstrap.gateway;
            same(
                BOOTSTRAP,
                "gateway.name",
                there.name.as_str(),
                plan.gateway_name.as_str(),
            )?;
            same(BOOTSTRAP, "gateway.url", &there.url, &plan.gateway.text)?;
        }
        if let Some(gateway) = &gateway {
            listed(dir, gateway, plan)?;
        }
        Ok(Self {
            admin_moved: bootstrap.is_some() && admin.is_none(),
            gateway_moved: bootstrap.is_some() && gateway.is_none(),
            shows_certificate: gateway.as_ref().is_none_or(shows_ours),
        })
    }

    /// What the files say.
    pub(super) fn options(dir: &Path) -> Result<Option<InitOptions>, InitError> {
        let (Some(admin), Some(bootstrap), Some(gateway)) = read(dir)? else {
            return Ok(None);
        };
        Ok(Some(InitOptions {
            control_plane_url: admin.control_plane_url,
            gateway_url: bootstrap.gateway.url,
            gateway_name: bootstrap.gateway.name.to_string(),
            api_servers: gateway.api_servers.unwrap_or_default(),
        }))
    }

    /// Makes what is missing: both credentials, and then the control plane's hashes of them.
    pub(super) fn complete(
        writer: &mut Writer,
        plan: &Plan,
        ca_pem: &str,
    ) -> Result<(), InitError> {
        let (admin, bootstrap, gateway) = read(writer.dir())?;
        if bootstrap.is_some() {
            return Ok(());
        }
        let admin = match admin {
            Some(admin) => admin,
            None => {
                let admin = new_admin(plan, ca_pem)?;
                write(writer, ADMIN, &admin)?;
                admin
            }
        };
        let gateway = match gateway {
            Some(gateway) => gateway,
            None => {
                let gateway = new_gateway(plan)?;
                write(writer, GATEWAY, &gateway)?;
                gateway
            }
        };
        let bootstrap = hashes(writer.dir(), plan, &admin, &gateway)?;
        write(writer, BOOTSTRAP, &bootstrap)
    }
}

type Files = (Option<AdminFile>, Option<Bootstrap>, Option<GatewayFile>);

fn read(dir: &Path) -> Result<Files, InitError> {
    Ok((
        parse(&dir.join(ADMIN))?,
        parse(&dir.join(BOOTSTRAP))?,
        parse(&dir.join(GATEWAY))?,
    ))
}

/// Hosts are compared as the gateway compares them.
fn listed(dir: &Path, gateway: &GatewayFile, plan: &Plan) -> Result<(), InitError> {
    let Some(list) = &gateway.api_servers else {
        return Ok(());
    };
    let there = list.iter().filter_map(|text| text.parse::<K8sHost>().ok());
    let allowed = AllowedApiServers::only(there.collect());
    for asked in &plan.api_servers {
        if !asked.parse().is_ok_and(|host| allowed.allows(&host)) {
            return Err(InitError::NotListed {
                path: dir.join(GATEWAY),
                asked: asked.clone(),
            });
        }
    }
    Ok(())
}

fn shows_ours(gateway: &GatewayFile) -> bool {
    gateway.client_cert.as_deref() == Some(Path::new(certificates::CLIENT))
}

fn new_admin(plan: &Plan, ca_pem: &str) -> Result<AdminFile, InitError> {
    Ok(AdminFile {
        access_id: AccessId::generate(AccessType::AccessKey)?.to_string(),
        access_key: AccessKey::generate()?.expose().into(),
        control_plane_url: plan.control_plane.text.clone(),
        gateway_url: plan.gateway.text.clone(),
        ca_cert: ca_pem.to_owned(),
    })
}

fn new_gateway(plan: &Plan) -> Result<GatewayFile, InitError> {
    Ok(GatewayFile {
        gateway: plan.gateway_name.to_string(),
        access_id: AccessId::generate(AccessType::AccessKey)?.to_string(),
        access_key: AccessKey::generate()?.expose().into(),
        deployment_id: Uuid::new_v4().to_string(),
        control_plane_url: plan.control_plane.text.clone(),
        ca_cert: Some(certificates::CA.into()),
        client_cert: Some(certificates::CLIENT.into()),
        client_key: Some(certificates::CLIENT_KEY.into()),
        tls_cert: certificates::CERTIFICATE.into(),
        tls_key: certificates::KEY.into(),
        seal_keys: "seal-keys".into(),
        api_servers: Some(plan.api_servers.clone()).filter(|list| !list.is_empty()),
        ..GatewayFile::default()
    })
}

fn hashes(
    dir: &Path,
    plan: &Plan,
    admin: &AdminFile,
    gateway: &GatewayFile,
) -> Result<Bootstrap, InitError> {
    let wrong = |name: &str, fault: &dyn std::fmt::Display| InitError::Content {
        path: dir.join(name),
        fault: fault.to_string(),
    };
    let parsed = |name: &str, id: &str, key: &SecretString| {
        let id: AccessId = id.parse().map_err(|e| wrong(name, &e))?;
        let key: AccessKey = key.expose_secret().parse().map_err(|e| wrong(name, &e))?;
        Ok::<_, InitError>((id, key.hash()))
    };
    let (admin_id, admin_key) = parsed(ADMIN, &admin.access_id, &admin.access_key)?;
    let (gateway_id, gateway_key) = parsed(GATEWAY, &gateway.access_id, &gateway.access_key)?;
    let deployment_id = gateway
        .deployment_id
        .parse()
        .map_err(|e| wrong(GATEWAY, &e))?;
    Ok(Bootstrap {
        deployment_id,
        control_plane_url: Some(plan.control_plane.issuer.clone()),
        admin: BootstrapAdmin {
            access_id: admin_id,
            access_key_sha256: admin_key,
        },
        gateway: BootstrapGateway {
            name: plan.gateway_name.clone(),
            url: plan.gateway.text.clone(),
            access_id: gateway_id,
            access_key_sha256: gateway_key,
        },
    })
}

fn parse<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, InitError> {
    let Some(text) = files::read(path)?.map(Zeroizing::new) else {
        return Ok(None);
    };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|source| InitError::Json {
            path: path.to_owned(),
            source,
        })
}

fn write<T: Serialize>(writer: &mut Writer, name: &str, file: &T) -> Result<(), InitError> {
    let json = serde_json::to_string_pretty(file).map_err(|source| InitError::Json {
        path: writer.dir().join(name),
        source,
    })?;
    let text = Zeroizing::new(format!("{}\n", json));
    writer.write(name, &text)
}
