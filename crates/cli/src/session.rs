//! From flags to a server that is what it should be, and an administrator logged in to it.

mod server;

use std::time::Duration;

use jiff::SignedDuration;
use postern_proto::pb;
use postern_proto::pb::access_key_auth_service_client::AccessKeyAuthServiceClient;
use postern_proto::pb::gateway_service_client::GatewayServiceClient;
use postern_proto::pb::server_info_service_client::ServerInfoServiceClient;
use postern_rpc::caller::BearerToken;
use postern_rpc::client::{self, Target};
use postern_rpc::deadline::Deadline;
use postern_rpc::error::Reason;
use secrecy::{ExposeSecret as _, SecretString};

use crate::failure::{Exit, Failure};
use crate::flags::{Connection, present};
use crate::output::note;
use crate::paging;
use crate::profile::{self, Profile};

pub(crate) use server::{Administrator, Server};

pub(crate) const DEFAULT_CONTROL_PLANE_URL: &str = "https://localhost:8100";
pub(crate) const DEFAULT_GATEWAY_URL: &str = "https://localhost:8000";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Addresses and trust: what the flags, the environment and the profile say, in that order.
pub(crate) struct Session {
    connection: Connection,
    profile_name: String,
    profile: Profile,
    ca_pem: Option<Vec<u8>>,
    deadline: Deadline,
}

// === impl Session ===

impl Session {
    pub(crate) fn open(connection: &Connection) -> Result<Self, Failure> {
        let profile_name = profile_name(connection);
        let asked_for = connection.profile.is_some() || variable("POSTERN_PROFILE").is_some();
        let profile = match profile::load(&profile_name)? {
            Some(profile) => profile,
            None if asked_for => {
                return Err(
                    Failure::usage(format!("there is no profile `{profile_name}`")).hint(format!(
                        "make it with: postern configure --profile {profile_name} …"
                    )),
                );
            }
            None => Profile::default(),
        };
        let timeout = match &connection.timeout {
            Some(text) => timeout(text)?,
            None => DEFAULT_TIMEOUT,
        };
        let ca_pem = ca(connection, &profile)?;
        Ok(Self {
            connection: connection.clone(),
            profile_name,
            profile,
            ca_pem,
            deadline: Deadline::after(timeout),
        })
    }

    /// Roots beside the system's: of the flag, the environment or the profile.
    pub(crate) fn ca_pem(&self) -> Option<&[u8]> {
        self.ca_pem.as_deref()
    }

    /// The gateway, once it has said that it is one.
    pub(crate) async fn gateway(&self) -> Result<Server, Failure> {
        let url = self.gateway_url()?;
        self.server("gateway", url, pb::ServerRole::Gateway).await
    }

    /// The control plane, once it has said that it is one.
    pub(crate) async fn control_plane(&self) -> Result<Server, Failure> {
        let given = self.connection.control_plane_url.as_deref();
        let url = self.address(
            "control plane",
            ("--control-plane-url", given),
            "POSTERN_CONTROL_PLANE_URL",
            self.profile.control_plane_url.as_deref(),
            DEFAULT_CONTROL_PLANE_URL,
        )?;
        self.server("control plane", url, pb::ServerRole::ControlPlane)
            .await
    }

    /// Logged in at the control plane.
    pub(crate) async fn administrator(&self) -> Result<Administrator, Failure> {
        // Who has none is told so, whatever there is at the address.
        self.credential()?;
        let server = self.control_plane().await?;
        let token = self.log_in(&server, String::new()).await?;
        Ok(Administrator { server, token })
    }

    /// Logged in for one gateway: its name comes from the control plane or from
    /// `--gateway-name`, never from the gateway, and the token opens nothing but its configs.
    pub(crate) async fn gateway_administrator(&self) -> Result<Administrator, Failure> {
        self.credential()?;
        let gateway_url = self.gateway_url()?;
        let control_plane = self.control_plane().await?;
        let name = match self.gateway_name()? {
            Some(name) => name,
            None => self.name_of(&control_plane, &gateway_url).await?,
        };
        let server = self
            .server("gateway", gateway_url, pb::ServerRole::Gateway)
            .await?;
        if server.info.gateway != name {
            return Err(Failure::new(
                Exit::Unavailable,
                format!(
                    "{} says that it is `{}`, not `{name}`",
                    server.label, server.info.gateway
                ),
            ));
        }
        let token = self.log_in(&control_plane, name).await?;
        Ok(Administrator { server, token })
    }

    fn gateway_name(&self) -> Result<Option<String>, Failure> {
        match &self.connection.gateway_name {
            Some(name) => present("--gateway-name", name).map(Some),
            // A stored name belongs to the stored URL: at another one it would be the gateway's
            // own word that it is the same.
            None if self.gateway_url()? == self.profile.gateway_url.clone().unwrap_or_default() => {
                Ok(self.profile.gateway_name.clone())
            }
            None => Ok(None),
        }
    }

    /// Full name of the gateway that this session would ask, if it is one of those.
    pub(crate) fn own_gateway(&self, known: &[pb::Gateway]) -> Result<Option<String>, Failure> {
        if let Some(name) = self.gateway_name()? {
            return Ok(Some(format!("gateways/{name}")));
        }
        let wanted = origin(&self.gateway_url()?);
        let mut there = known
            .iter()
            .filter(|gateway| wanted.is_some() && origin(gateway.url()) == wanted);
        Ok(there.next().map(|gateway| gateway.name.clone()))
    }

    async fn name_of(&self, control_plane: &Server, gateway_url: &str) -> Result<String, Failure> {
        let token = self.log_in(control_plane, String::new()).await?;
        let administrator = Administrator {
            server: control_plane.clone(),
            token,
        };
        let gateways = list_gateways(&administrator).await?;
        let wanted = origin(gateway_url);
        let mut there = gateways
            .iter()
            .filter(|g| wanted.is_some() && origin(g.url()) == wanted);
        let known = there.next();
        if let (Some(one), Some(other)) = (known, there.next()) {
            let (one, other) = (&one.name, &other.name);
            return Err(
                Failure::usage(format!("{one} and {other} are both at {gateway_url}"))
                    .hint("say which one it is with --gateway-name"),
            );
        }
        known
            .and_then(|g| g.name.strip_prefix("gateways/"))
            .map(str::to_owned)
            .ok_or_else(|| {
                let urls: Vec<String> = gateways
                    .iter()
                    .map(|g| format!("{} at {}", g.name, g.url()))
                    .collect();
                Failure::new(
                    Exit::NotFound,
                    format!(
                        "the control plane knows no gateway at {gateway_url}; it knows {}",
                        urls.join(", ")
                    ),
                )
                .hint("say which one it is with --gateway-name")
            })
    }

    async fn log_in(&self, server: &Server, gateway: String) -> Result<BearerToken, Failure> {
        let (access_id, access_key) = self.credential()?;
        let request = pb::AuthenticateAccessKeyRequest {
            access_id,
            access_key: access_key.expose_secret().to_owned(),
            gateway,
        };
        let response = server
            .call_as(&request, |channel, request| async move {
                AccessKeyAuthServiceClient::new(channel)
                    .authenticate_access_key(request)
                    .await
            })
            .await;
        match response {
            Ok(response) => Ok(BearerToken::new(response.access_token)),
            Err(failure) if failure.reason == Some(Reason::LoginRefused) => {
                let (id, profile) = (failure.request_id.unwrap_or_default(), &self.profile_name);
                Err(Failure::new(
                    Exit::Refused,
                    format!(
                        "{} refused the access key of the profile `{profile}` (request ID {id})",
                        server.label
                    ),
                )
                .hint(
                    "store one that is good with: postern configure --access-key-file admin.json",
                ))
            }
            Err(failure) => Err(Failure::of_call(&server.label, failure)),
        }
    }

    fn credential(&self) -> Result<(String, SecretString), Failure> {
        match (&self.profile.access_id, &self.profile.access_key) {
            (Some(id), Some(key)) => Ok((id.clone(), SecretString::from(key.as_str()))),
            _ => Err(Failure::usage(format!(
                "the profile `{}` has no administrator's credential",
                self.profile_name
            ))
            .hint("make it with: postern configure --access-key-file admin.json")),
        }
    }

    fn gateway_url(&self) -> Result<String, Failure> {
        self.address(
            "gateway",
            ("--gateway-url", self.connection.gateway_url.as_deref()),
            "POSTERN_GATEWAY_URL",
            self.profile.gateway_url.as_deref(),
            DEFAULT_GATEWAY_URL,
        )
    }

    fn address(
        &self,
        what: &str,
        (flag, given): (&str, Option<&str>),
        variable_name: &str,
        stored: Option<&str>,
        default: &str,
    ) -> Result<String, Failure> {
        let (url, source) = if let Some(given) = given {
            (present(flag, given)?, format!("from {flag}"))
        } else if let Some(value) = variable(variable_name) {
            (value, format!("from {variable_name}"))
        } else if let Some(stored) = stored {
            (
                stored.to_owned(),
                format!("from the profile `{}`", self.profile_name),
            )
        } else {
            (default.to_owned(), "the default".to_owned())
        };
        if self.connection.verbose {
            note(&format!("{what}: {url} ({source})"));
        }
        Ok(url)
    }

    async fn server(
        &self,
        what: &str,
        url: String,
        role: pb::ServerRole,
    ) -> Result<Server, Failure> {
        let target = Target {
            url: url.clone(),
            ca_pem: self.ca_pem.clone(),
        };
        let channel =
            client::connect(&target).map_err(|error| Failure::usage(error.to_string()))?;
        let mut server = Server {
            channel,
            label: format!("the {what} at {url}"),
            url,
            info: pb::GetServerInfoResponse::default(),
            deadline: self.deadline,
        };
        let info = server
            .call(
                &pb::GetServerInfoRequest {},
                |channel, request| async move {
                    ServerInfoServiceClient::new(channel)
                        .get_server_info(request)
                        .await
                },
            )
            .await
            .map_err(not_postern)?;
        if info.role() != role {
            let is = match info.role() {
                pb::ServerRole::ControlPlane => "a Postern control plane",
                pb::ServerRole::Gateway => "a Postern gateway",
                pb::ServerRole::Unspecified => "an unknown kind of server",
            };
            return Err(Failure::new(
                Exit::Unavailable,
                format!("{} is {is}, not a {what}; check the URL", server.url),
            ));
        }
        server.info = info;
        Ok(server)
    }
}

/// Which profile is meant.
pub(crate) fn profile_name(connection: &Connection) -> String {
    let given = connection.profile.clone();
    given
        .or_else(|| variable("POSTERN_PROFILE"))
        .unwrap_or_else(|| profile::DEFAULT.to_owned())
}

/// A server that doesn't even know the first question is none of ours, whatever its answer's code.
fn not_postern(failure: Failure) -> Failure {
    match failure.exit() {
        Exit::Unavailable => failure,
        _ => failure.into_unavailable("this isn't a Postern server; check the URL"),
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name)
        .ok()
        .filter(|value| !value.trim().is_empty())
}

fn timeout(text: &str) -> Result<Duration, Failure> {
    let text = present("--timeout", text)?;
    let seconds = text.parse::<u64>().ok().map(Duration::from_secs);
    let friendly = || {
        text.parse::<SignedDuration>()
            .ok()
            .and_then(|d| Duration::try_from(d).ok())
    };
    seconds
        .or_else(friendly)
        .filter(|d| !d.is_zero() && *d <= Duration::from_secs(3600))
        .ok_or_else(|| Failure::usage(format!("--timeout: `{text}` must be between 1s and 1h")))
}

fn ca(connection: &Connection, profile: &Profile) -> Result<Option<Vec<u8>>, Failure> {
    let file = match &connection.ca_cert {
        Some(path) => Some(("--ca-cert", present("--ca-cert", path)?)),
        None => variable("POSTERN_CA_CERT").map(|path| ("POSTERN_CA_CERT", path)),
    };
    match file {
        Some((source, path)) => std::fs::read(&path)
            .map(Some)
            .map_err(|error| Failure::usage(format!("{source}: {path}: {error}"))),
        None => Ok(profile.ca_cert.as_ref().map(|pem| pem.clone().into_bytes())),
    }
}

fn origin(text: &str) -> Option<String> {
    let url = url::Url::parse(text).ok()?;
    Some(url.origin().ascii_serialization())
}

/// All gateways that the control plane knows.
pub(crate) async fn list_gateways(
    administrator: &Administrator,
) -> Result<Vec<pb::Gateway>, Failure> {
    paging::collect(usize::MAX, async |page| {
        let request = pb::ListGatewaysRequest {
            page_size: page.size,
            page_token: page.token,
        };
        let page = administrator
            .call(&request, |channel, request| async move {
                GatewayServiceClient::new(channel)
                    .list_gateways(request)
                    .await
            })
            .await?;
        Ok((page.gateways, page.next_page_token))
    })
    .await
}
