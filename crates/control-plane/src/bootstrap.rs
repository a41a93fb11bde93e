//! First start: the deployment's ID, its first administrator and its first gateway.

use std::path::{Path, PathBuf};
use std::{fs, io};

use jiff::Timestamp;
use postern_core::access_id::{AccessId, AccessType};
use postern_core::access_token::TokenHash;
use postern_core::auth_method::{AuthMethod, Kind, Settings};
use postern_core::invalid::{Invalid, Violations};
use postern_core::jwt::IssuerUrl;
use postern_core::permission::Permissions;
use postern_core::resource_id::GatewayName;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::gateways::url;
use crate::store::{Cause, FirstStart, Gateway, Store, StoreError, WriteError};

/// The bigger ones aren't bootstrap files.
const MAX_FILE_BYTES: u64 = 64 * 1024;
const ADMIN_ID: &str = "admin";

/// The bootstrap file, as `postern init` writes it. It holds no secret, only hashes of keys.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bootstrap {
    /// What gateways write into their assertions' `aud`.
    pub deployment_id: Uuid,
    /// Where others reach the control plane: who has issued its JWTs. Not in files of older
    /// versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane_url: Option<IssuerUrl>,
    pub admin: BootstrapAdmin,
    pub gateway: BootstrapGateway,
}

/// The first administrator.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootstrapAdmin {
    #[serde(with = "text")]
    pub access_id: AccessId,
    /// SHA-256 of the access key's text, in hexadecimal.
    #[serde(with = "hex")]
    pub access_key_sha256: TokenHash,
}

/// The first gateway.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootstrapGateway {
    #[serde(with = "text")]
    pub name: GatewayName,
    /// Where clients reach it: scheme, host and port.
    pub url: String,
    #[serde(with = "text")]
    pub access_id: AccessId,
    /// SHA-256 of the access key's text, in hexadecimal.
    #[serde(with = "hex")]
    pub access_key_sha256: TokenHash,
}

/// Why a file can't be used for a first start.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapFileError {
    #[error("can't read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is no bootstrap file: {fault}", path.display())]
    Malformed { path: PathBuf, fault: String },
}

/// Why a control plane has no deployment to serve.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    #[error(
        "the database is empty: give the file bootstrap.json that `postern init` made (--bootstrap)"
    )]
    Missing,
    #[error("the database belongs to deployment {stored}, the bootstrap file to {file}")]
    OtherDeployment { stored: Uuid, file: Uuid },
    #[error("the bootstrap file is wrong: {0}")]
    Invalid(Invalid),
    #[error("the database can't be set up")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}

// === impl Bootstrap ===

impl Bootstrap {
    /// Reads a file.
    ///
    /// # Errors
    /// It can't be read, has an unknown field, or a value that can't be right.
    pub fn read(path: &Path) -> Result<Self, BootstrapFileError> {
        let failed = |source| BootstrapFileError::Read {
            path: path.to_owned(),
            source,
        };
        if fs::metadata(path).map_err(failed)?.len() > MAX_FILE_BYTES {
            return Err(failed(io::ErrorKind::FileTooLarge.into()));
        }
        let malformed = |fault: String| BootstrapFileError::Malformed {
            path: path.to_owned(),
            fault,
        };
        let text = fs::read(path).map_err(failed)?;
        let file: Self = serde_json::from_slice(&text).map_err(|e| malformed(e.to_string()))?;
        file.check().map_err(|e| malformed(e.to_string()))?;
        Ok(file)
    }

    fn check(&self) -> Result<(), Invalid> {
        let mut faults = Violations::default();
        let ids = [
            ("admin.access_id", &self.admin.access_id),
            ("gateway.access_id", &self.gateway.access_id),
        ];
        for (field, id) in ids {
            if id.access_type() != AccessType::AccessKey {
                faults.add(field, "is not of the access-key type");
            }
        }
        if self.admin.access_id == self.gateway.access_id {
            faults.add("gateway.access_id", "is the administrator's");
        }
        faults.check("gateway.url", url::parse(&self.gateway.url));
        faults.finish()
    }

    fn first_start(&self) -> Result<FirstStart, Invalid> {
        self.check()?;
        let mut faults = Violations::default();
        let id = faults.check("admin", ADMIN_ID.parse());
        let url = faults.check("gateway.url", url::parse(&self.gateway.url));
        let (Some(id), Some(url)) = (id, url) else {
            return Err(faults.into_invalid());
        };
        Ok(FirstStart {
            deployment_id: self.deployment_id,
            admin: AuthMethod {
                id,
                uid: Uuid::now_v7(),
                access_id: self.admin.access_id.clone(),
                settings: administrator(),
            },
            admin_key: self.admin.access_key_sha256,
            gateway: Gateway {
                name: self.gateway.name.clone(),
                uid: Uuid::now_v7(),
                url,
                description: String::new(),
                disabled: false,
                access_id: self.gateway.access_id.clone(),
            },
            gateway_key: self.gateway.access_key_sha256,
        })
    }
}

fn administrator() -> Settings {
    Settings {
        description: "The first administrator".to_owned(),
        ..Settings::new(Kind::AccessKey)
    }
}

/// The deployment's ID; a first start creates it, the administrator and the gateway at once.
/// Nothing that exists is changed.
pub(crate) async fn deployment(
    store: &Store,
    file: Option<&Bootstrap>,
    now: Timestamp,
) -> Result<Uuid, BootstrapError> {
    let Some(file) = file else {
        let stored = store.deployment_id().await;
        return stored?.ok_or(BootstrapError::Missing);
    };
    let start = file.first_start().map_err(BootstrapError::Invalid)?;
    let stored = store.bootstrap(&start, &at_start(now)).await?;
    if stored != file.deployment_id {
        return Err(BootstrapError::OtherDeployment {
            stored,
            file: file.deployment_id,
        });
    }
    Ok(stored)
}

/// Nobody called: whoever starts the server did it.
pub(crate) fn at_start(now: Timestamp) -> Cause {
    Cause {
        now,
        request_id: String::new(),
        access_id: String::new(),
        accessor: String::new(),
        gateway: String::new(),
        caller_ip: None,
        user_agent: String::new(),
        permissions: Permissions::default(),
    }
}

impl From<StoreError> for BootstrapError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.into())
    }
}

impl From<WriteError> for BootstrapError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Invalid(invalid) => Self::Invalid(invalid),
            WriteError::NotFound
            | WriteError::Exists
            | WriteError::Stale { .. }
            | WriteError::InUse(_)
            | WriteError::BuiltIn
            | WriteError::Protected
            | WriteError::BeyondOwn(_)
            | WriteError::CallerGone { .. }
            | WriteError::NoAdministratorLeft
            | WriteError::KeyLimit => Self::Store(error.into()),
            WriteError::Store(error) => error.into(),
        }
    }
}

/// A domain type as its text.
mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<T: Display, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr,
        T::Err: Display,
        D: Deserializer<'de>,
    {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map_err(|fault| D::Error::custom(format!("`{text}` {fault}")))
    }
}

/// A hash as 64 hexadecimal digits.
mod hex {
    use postern_core::access_token::TokenHash;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(
        hash: &TokenHash,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let digits = hash.as_bytes().iter().map(|byte| format!("{byte:02x}"));
        serializer.serialize_str(&digits.collect::<String>())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<TokenHash, D::Error> {
        let text = String::deserialize(deserializer)?;
        // The text isn't repeated: somebody may have put the key itself there.
        parse(&text)
            .ok_or_else(|| D::Error::custom("a key's SHA-256 must be 64 hexadecimal digits"))
    }

    fn parse(text: &str) -> Option<TokenHash> {
        let digits: Vec<u8> = text
            .chars()
            .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect::<Option<_>>()?;
        let pairs = digits.chunks(2);
        let bytes: Vec<u8> = pairs
            .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
            .collect();
        (digits.len() == 64)
            .then(|| TokenHash::try_from(bytes.as_slice()).ok())
            .flatten()
    }
}

#[cfg(test)]
mod tests;
