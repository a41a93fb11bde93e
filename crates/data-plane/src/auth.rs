//! `AuthService`: pods log in here.

use std::sync::Arc;

use postern_core::access_id::{AccessId, AccessIdError};
use postern_core::auth_method::{MAX_LIST, check_audience};
use postern_core::invalid::{Invalid, Violations};
use postern_core::resource_id::{ResourceId, ResourceIdError};
use postern_proto::pb;
use postern_proto::pb::auth_service_renew_request::Credential as RenewalCredential;
use postern_proto::pb::auth_service_server::{AuthService, AuthServiceServer};
use postern_proto::pb::authenticate_request::Credential;
use postern_rpc::caller::Caller;
use postern_rpc::deadline::Deadline;
use postern_rpc::error::Error;
use postern_rpc::request::RequestExt as _;
use secrecy::SecretString;
use tonic::{Request, Response, Status};

use crate::login::{Attempt, Granted, Login, Renewable};

/// The longest request, in bytes: a token of 16 KiB and names, and room for a clear refusal of a
/// longer token.
const MAX_REQUEST: usize = 64 * 1024;
/// What an unset shell variable leads to.
const EMPTY: &str = "is empty; was a variable that should hold it unset?";

pub(crate) struct AuthHandler {
    login: Arc<Login>,
}

impl AuthHandler {
    /// The service, with its limits.
    pub(crate) fn service(login: Arc<Login>) -> AuthServiceServer<Self> {
        AuthServiceServer::new(Self { login }).max_decoding_message_size(MAX_REQUEST)
    }

    async fn handle(
        &self,
        request: Request<pb::AuthenticateRequest>,
    ) -> Result<pb::AuthenticateResponse, Error> {
        let (caller, deadline) = (request.caller()?, request.deadline()?);
        let request = request.into_inner();
        let token_audiences = request.token_audiences.clone();
        let (access_id, config, token) = parse(request)?;
        let attempt = Attempt {
            access_id,
            config,
            token,
            token_audiences,
            caller,
            deadline,
        };
        Ok(response(self.login.login(&attempt).await?))
    }

    async fn prolong(
        &self,
        request: Request<pb::AuthServiceRenewRequest>,
    ) -> Result<pb::AuthServiceRenewResponse, Error> {
        let (caller, deadline) = (request.caller()?, request.deadline()?);
        let (attempt, renewable) = parse_renewal(request.into_inner(), caller, deadline)?;
        Ok(renewed(self.login.renew(&attempt, &renewable).await?))
    }
}

#[tonic::async_trait]
impl AuthService for AuthHandler {
    async fn authenticate(
        &self,
        request: Request<pb::AuthenticateRequest>,
    ) -> Result<Response<pb::AuthenticateResponse>, Status> {
        Ok(Response::new(self.handle(request).await?))
    }

    async fn renew(
        &self,
        request: Request<pb::AuthServiceRenewRequest>,
    ) -> Result<Response<pb::AuthServiceRenewResponse>, Status> {
        Ok(Response::new(self.prolong(request).await?))
    }
}

/// Names that can't exist are the caller's mistake. No fault holds what was sent: a token may
/// stand in the wrong field.
fn parse(
    request: pb::AuthenticateRequest,
) -> Result<(AccessId, ResourceId, SecretString), Invalid> {
    let mut faults = Violations::default();
    let access_id = match request.access_id.parse() {
        Err(AccessIdError::Empty) => faults.check("access_id", Err(EMPTY)),
        parsed => faults.check("access_id", parsed),
    };
    let config = match request.k8s_auth_config.parse() {
        Err(ResourceIdError::Empty) => faults.check("k8s_auth_config", Err(EMPTY)),
        parsed => faults.check("k8s_auth_config", parsed),
    };
    let token = match request.credential {
        Some(Credential::ServiceAccountToken(token)) if !token.is_empty() => {
            Some(SecretString::from(token))
        }
        _ => faults.check("service_account_token", Err(EMPTY)),
    };
    check_audiences(&mut faults, &request.token_audiences);
    let (Some(access_id), Some(config), Some(token)) = (access_id, config, token) else {
        return Err(faults.into_invalid());
    };
    faults.finish()?;
    Ok((access_id, config, token))
}

/// Whether a method lists them is no word for who hasn't logged in yet.
fn check_audiences(faults: &mut Violations, audiences: &[String]) {
    if audiences.len() > MAX_LIST {
        faults.add(
            "token_audiences",
            format!("has more than {MAX_LIST} entries"),
        );
    }
    for (i, audience) in audiences.iter().take(MAX_LIST).enumerate() {
        faults.check(format!("token_audiences[{i}]"), check_audience(audience));
    }
}

/// A renewal: a login, and the token that is to live longer.
fn parse_renewal(
    request: pb::AuthServiceRenewRequest,
    caller: Caller,
    deadline: Deadline,
) -> Result<(Attempt, Renewable), Invalid> {
    let mut faults = Violations::default();
    let renewable = match request.access_token.as_str() {
        "" => faults.check("access_token", Err(EMPTY)),
        text => faults.check("access_token", text.parse()),
    };
    let login = parse(pb::AuthenticateRequest {
        token_audiences: Vec::new(),
        access_id: request.access_id,
        k8s_auth_config: request.k8s_auth_config,
        credential: request
            .credential
            .map(|RenewalCredential::ServiceAccountToken(token)| {
                Credential::ServiceAccountToken(token)
            }),
    });
    let (Some((access_id, config, token)), Some(renewable)) = (faults.absorb(login), renewable)
    else {
        return Err(faults.into_invalid());
    };
    faults.finish()?;
    let attempt = Attempt {
        access_id,
        config,
        token,
        token_audiences: Vec::new(),
        caller,
        deadline,
    };
    Ok((attempt, renewable))
}

fn renewed(answer: pb::ExchangeAssertionResponse) -> pb::AuthServiceRenewResponse {
    pb::AuthServiceRenewResponse {
        accessor: answer.accessor,
        expire_time: answer.expire_time,
        expires_in: answer.expires_in,
        sub_claims: answer.sub_claims,
        access_token: answer.access_token,
        token_format: answer.token_format,
    }
}

fn response(granted: Granted) -> pb::AuthenticateResponse {
    let Granted {
        access_token,
        answer,
    } = granted;
    pb::AuthenticateResponse {
        access_token: match answer.token_format() {
            pb::TokenFormat::Jwt => answer.access_token.clone(),
            pb::TokenFormat::Opaque | pb::TokenFormat::Unspecified => {
                access_token.expose().to_owned()
            }
        },
        token_format: answer.token_format,
        accessor: answer.accessor,
        expire_time: answer.expire_time,
        expires_in: answer.expires_in,
        sub_claims: answer.sub_claims,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(access_id: &str, config: &str, token: Option<&str>) -> pb::AuthenticateRequest {
        pb::AuthenticateRequest {
            token_audiences: Vec::new(),
            access_id: access_id.to_owned(),
            k8s_auth_config: config.to_owned(),
            credential: token.map(|token| Credential::ServiceAccountToken(token.to_owned())),
        }
    }

    fn faults(request: pb::AuthenticateRequest) -> Vec<String> {
        let invalid = parse(request).err().unwrap();
        invalid
            .violations()
            .iter()
            .map(|violation| violation.field.clone())
            .collect()
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let all = ["access_id", "k8s_auth_config", "service_account_token"];
        assert_eq!(faults(request("", "", None)), all);
        assert_eq!(faults(request("x", "a b", Some(""))), all);
        assert_eq!(
            faults(request("p-abcdefghijkl", "..", Some("t"))),
            ["k8s_auth_config"]
        );
        assert!(parse(request("p-abcdefghijkl", "k8s-conf", Some("t"))).is_ok());
    }

    #[test]
    fn an_empty_variable_is_suspected() {
        let text = parse(request("", "", None)).err().unwrap().to_string();
        assert_eq!(text.matches("variable").count(), 3, "{text}");
    }

    #[test]
    fn a_token_in_the_wrong_field_isnt_repeated() {
        let token = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJhIn0.c2ln";
        let text = parse(request(token, &format!("{token}/ /"), None))
            .err()
            .unwrap()
            .to_string();
        assert!(!text.contains("eyJ"), "{text}");
    }
}
