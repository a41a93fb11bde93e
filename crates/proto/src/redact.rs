//! `Debug` of the messages that hold a secret: everything but the secret.
//!
//! `build.rs` lists them; a message that is listed there and missing here doesn't compile.

use std::fmt;

use crate::pb;
use crate::pb::auth_service_renew_request::Credential as RenewalCredential;
use crate::pb::authenticate_request::Credential;
use crate::sealed;

/// Says that a secret is there, and not even how long it is.
struct Redacted(bool);

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 { "[redacted]" } else { "[unset]" })
    }
}

trait Secret {
    fn is_set(&self) -> bool;
}

impl Secret for String {
    fn is_set(&self) -> bool {
        !self.is_empty()
    }
}

impl Secret for Option<String> {
    fn is_set(&self) -> bool {
        self.is_some()
    }
}

/// Takes a message apart without `..`, so that a new field has to be put on one side or the other.
macro_rules! redacted {
    ($message:ty { $($clear:ident),* ; $($secret:ident),* }) => {
        impl fmt::Debug for $message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let Self { $($clear,)* $($secret),* } = self;
                let mut message = f.debug_struct(stringify!($message));
                $(message.field(stringify!($clear), $clear);)*
                $(message.field(stringify!($secret), &Redacted($secret.is_set()));)*
                message.finish()
            }
        }
    };
}

redacted!(pb::AuthenticateRequest { access_id, k8s_auth_config, credential, token_audiences; });
redacted!(pb::AuthenticateResponse { accessor, expire_time, expires_in, sub_claims, token_format; access_token });
redacted!(pb::AuthenticateAccessKeyRequest { access_id, gateway; access_key });
redacted!(pb::AuthenticateAccessKeyResponse {
    accessor, expire_time, expires_in, gateway, deployment_id; access_token
});
redacted!(pb::K8sAuthConfigSecrets { ; signing_key, token_reviewer_jwt, k8s_client_key, rancher_api_key });
redacted!(pb::ExplainAuthenticationRequest { k8s_auth_config, access_id, client_ip; service_account_token });
redacted!(pb::CreateGatewayResponse { gateway, deployment_id, warnings; access_key });
redacted!(pb::CreateAuthMethodResponse { auth_method, warnings; access_key });
redacted!(pb::RotateAccessKeyResponse { auth_method; access_key });
redacted!(pb::RotateCredentialResponse { gateway, deployment_id; access_key });
redacted!(pb::ExchangeAssertionRequest { access_id, request_id, token_audiences; assertion, renewed_jwt });
redacted!(pb::ExchangeAssertionResponse { accessor, expire_time, expires_in, sub_claims, token_format; access_token });
redacted!(pb::AuthServiceRenewRequest { access_id, k8s_auth_config, credential; access_token });
redacted!(pb::AuthServiceRenewResponse { accessor, expire_time, expires_in, sub_claims, token_format; access_token });
redacted!(pb::IntrospectRequest { client_address, caller_address; token });
redacted!(pb::AuthorizeRequest { client_address, caller_address, path, capability; token });
redacted!(pb::RevokeRequest { accessor, caller_address; token });
redacted!(sealed::K8sAuthConfig {
    name, uid, generation, access_id, k8s_host, k8s_ca_cert, k8s_issuers, disable_issuer_validation,
    disabled, token_exp_seconds, tls_server_name, reviewer, cluster_api_type, k8s_client_certificate,
    rancher_cluster_id, pinned_cluster, mode, jwks, connect_timeout_millis, total_timeout_millis;
    signing_key, token_reviewer_jwt, k8s_client_key, rancher_api_key
});

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::ServiceAccountToken(token) = self;
        f.debug_tuple("ServiceAccountToken")
            .field(&Redacted(token.is_set()))
            .finish()
    }
}

impl fmt::Debug for RenewalCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::ServiceAccountToken(token) = self;
        f.debug_tuple("ServiceAccountToken")
            .field(&Redacted(token.is_set()))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "eyJhbGciOiJSUzI1NiJ9.secret";

    fn secret() -> String {
        SECRET.to_owned()
    }

    #[test]
    fn no_secret_is_printed() {
        let printed = [
            format!(
                "{:?}",
                pb::AuthenticateRequest {
                    credential: Some(Credential::ServiceAccountToken(secret())),
                    ..Default::default()
                }
            ),
            format!(
                "{:?}",
                pb::AuthenticateResponse {
                    access_token: secret(),
                    ..Default::default()
                }
            ),
            format!(
                "{:?}",
                pb::AuthenticateAccessKeyRequest {
                    access_key: secret(),
                    ..Default::default()
                }
            ),
            format!(
                "{:?}",
                pb::AuthenticateAccessKeyResponse {
                    access_token: secret(),
                    ..Default::default()
                }
            ),
            format!(
                "{:?}",
                pb::CreateGatewayResponse {
                    access_key: secret(),
                    ..Default::default()
                }
            ),
            format!(
                "{:?}",
                pb::IntrospectRequest {
                    token: secret(),
                    ..Default::default()
                }
            ),
            format!(
                "{:?}",
                pb::AuthorizeRequest {
                    token: secret(),
                    ..Default::default()
                }
            ),
            format!(
                "{:?}",
                pb::CreateAuthMethodResponse {
                    access_key: secret(),
                    ..Default::default()
                }
            ),
            format!(
                "{:?}",
                pb::RevokeRequest {
                    token: secret(),
                    ..Default::default()
                }
            ),
            format!(
                "{:?}",
                pb::RotateAccessKeyResponse {
                    access_key: secret(),
                    ..Default::default()
                }
            ),
            format!(
                "{:?}",
                pb::AuthServiceRenewRequest {
                    credential: Some(RenewalCredential::ServiceAccountToken(secret())),
                    access_token: secret(),
                    ..Default::default()
                }
            ),
            format!(
                "{:?}",
                pb::AuthServiceRenewResponse {
                    access_token: secret(),
                    ..Default::default()
                }
            ),
            format!(
                "{:?}",
                pb::RotateCredentialResponse {
                    access_key: secret(),
                    ..Default::default()
                }
            ),
            format!(
                "{:?}",
                pb::ExchangeAssertionRequest {
                    assertion: secret(),
                    renewed_jwt: secret(),
                    ..Default::default()
                }
            ),
            format!(
                "{:?}",
                sealed::K8sAuthConfig {
                    signing_key: secret(),
                    ..Default::default()
                }
            ),
            format!(
                "{:#?}",
                sealed::K8sAuthConfig {
                    token_reviewer_jwt: secret(),
                    ..Default::default()
                }
            ),
        ];
        for text in printed {
            assert!(text.contains("[redacted]"), "{text}");
            assert!(
                !text.contains("eyJ") && !text.contains("secret\""),
                "{text}"
            );
        }
    }

    #[test]
    fn a_message_that_contains_one_hides_it_too() {
        let request = pb::UpdateK8sAuthConfigRequest {
            secrets: Some(pb::K8sAuthConfigSecrets {
                signing_key: Some(secret()),
                k8s_client_key: Some(secret()),
                rancher_api_key: Some(secret()),
                token_reviewer_jwt: None,
            }),
            ..Default::default()
        };
        let text = format!("{request:?}");
        assert!(!text.contains("eyJ"), "{text}");
        assert!(
            text.contains("signing_key: [redacted], token_reviewer_jwt: [unset]"),
            "{text}"
        );
    }

    #[test]
    fn what_is_no_secret_is_still_printed() {
        let request = pb::ExchangeAssertionRequest {
            access_id: "p-abcdefghijkl".to_owned(),
            assertion: secret(),
            ..Default::default()
        };
        assert!(format!("{request:?}").contains("p-abcdefghijkl"));
    }
}
