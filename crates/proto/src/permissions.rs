//! What each RPC needs, and which server serves it: one table, held against the
//! descriptor set by a test. A method without a row is denied.

use postern_core::permission::Permission;

/// What a caller must show. Identities are checked by the server's authorizer, before the
/// request's body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Anonymous,
    /// A token that isn't narrowed to a gateway, whose roles hold the permission.
    Holder(Permission),
    /// At a gateway: a token narrowed to this very gateway, whose roles hold the permission.
    Narrowed(Permission),
    /// A gateway's own credential.
    Gateway,
    /// A gateway's own credential and, in `postern-on-behalf-of`, a token narrowed to that
    /// gateway, whose roles hold the permission.
    GatewayOnBehalf(Permission),
    /// The same two; which permission depends on what the message asks about.
    GatewayAsking,
    /// Either [`Need::GatewayOnBehalf`] or [`Need::Holder`].
    GatewayOnBehalfOrHolder(Permission),
    /// A token that the message asks about itself, whatever it is worth; for another's, a token
    /// whose roles hold the permission. At the control plane it may also stand in
    /// `postern-on-behalf-of`, behind a gateway's credential.
    OwnTokenOr(Permission),
    /// The same, for a method that is about the caller's own token only.
    OwnToken,
}

/// The servers of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    ControlPlane,
    Gateway,
}

/// One gRPC service.
#[derive(Debug)]
pub struct Service {
    /// Full name, `postern.v1.AuthService`.
    pub name: &'static str,
    pub served_by: &'static [Server],
    methods: &'static [(&'static str, Need)],
}

const BOTH: &[Server] = &[Server::ControlPlane, Server::Gateway];
const CONTROL_PLANE: &[Server] = &[Server::ControlPlane];
const GATEWAY: &[Server] = &[Server::Gateway];

/// Every service of every server.
#[rustfmt::skip]
pub const SERVICES: &[Service] = &[
    Service { name: "postern.v1.ServerInfoService", served_by: BOTH, methods: &[
        ("GetServerInfo", Need::Anonymous),
    ]},
    Service { name: "postern.v1.AuthService", served_by: GATEWAY, methods: &[
        ("Authenticate", Need::Anonymous),
        ("Renew", Need::Anonymous),
    ]},
    Service { name: "postern.v1.K8sAuthConfigService", served_by: GATEWAY, methods: &[
        ("CreateK8sAuthConfig", Need::Narrowed(Permission::K8sAuthConfigsWrite)),
        ("GetK8sAuthConfig", Need::Narrowed(Permission::K8sAuthConfigsRead)),
        ("ListK8sAuthConfigs", Need::Narrowed(Permission::K8sAuthConfigsRead)),
        ("UpdateK8sAuthConfig", Need::Narrowed(Permission::K8sAuthConfigsWrite)),
        ("DeleteK8sAuthConfig", Need::Narrowed(Permission::K8sAuthConfigsWrite)),
        ("CheckK8sAuthConfig", Need::Narrowed(Permission::Diagnose)),
    ]},
    Service { name: "postern.v1.DiagnosticsService", served_by: GATEWAY, methods: &[
        ("ExplainAuthentication", Need::Narrowed(Permission::Diagnose)),
        ("SimulateAuthentication", Need::Narrowed(Permission::Diagnose)),
    ]},
    Service { name: "postern.v1.AccessKeyAuthService", served_by: CONTROL_PLANE, methods: &[
        ("AuthenticateAccessKey", Need::Anonymous),
    ]},
    Service { name: "postern.v1.AuthMethodService", served_by: CONTROL_PLANE, methods: &[
        ("CreateAuthMethod", Need::Holder(Permission::AuthMethodsWrite)),
        ("GetAuthMethod", Need::Holder(Permission::AuthMethodsRead)),
        ("ListAuthMethods", Need::Holder(Permission::AuthMethodsRead)),
        ("UpdateAuthMethod", Need::Holder(Permission::AuthMethodsWrite)),
        ("RenameAuthMethod", Need::Holder(Permission::AuthMethodsWrite)),
        ("DeleteAuthMethod", Need::Holder(Permission::AuthMethodsWrite)),
        ("AddPublicKey", Need::Holder(Permission::AuthMethodsWrite)),
        ("RemovePublicKey", Need::Holder(Permission::AuthMethodsWrite)),
        ("RotateAccessKey", Need::Holder(Permission::AuthMethodsWrite)),
        ("RevokeAccessKey", Need::Holder(Permission::AuthMethodsWrite)),
    ]},
    Service { name: "postern.v1.SealedK8sAuthConfigService", served_by: CONTROL_PLANE, methods: &[
        ("CreateSealedK8sAuthConfig", Need::GatewayOnBehalf(Permission::K8sAuthConfigsWrite)),
        ("GetSealedK8sAuthConfig", Need::GatewayOnBehalfOrHolder(Permission::K8sAuthConfigsRead)),
        ("ListSealedK8sAuthConfigs", Need::GatewayOnBehalfOrHolder(Permission::K8sAuthConfigsRead)),
        ("UpdateSealedK8sAuthConfig", Need::GatewayOnBehalf(Permission::K8sAuthConfigsWrite)),
        ("DeleteSealedK8sAuthConfig", Need::GatewayOnBehalfOrHolder(Permission::K8sAuthConfigsWrite)),
    ]},
    Service { name: "postern.v1.GatewayService", served_by: CONTROL_PLANE, methods: &[
        ("CreateGateway", Need::Holder(Permission::GatewaysWrite)),
        ("GetGateway", Need::Holder(Permission::GatewaysRead)),
        ("ListGateways", Need::Holder(Permission::GatewaysRead)),
        ("DeleteGateway", Need::Holder(Permission::GatewaysWrite)),
        ("UpdateGateway", Need::Holder(Permission::GatewaysWrite)),
        ("RotateCredential", Need::Holder(Permission::GatewaysWrite)),
    ]},
    Service { name: "postern.v1.GatewaySyncService", served_by: CONTROL_PLANE, methods: &[
        ("Watch", Need::Gateway),
        ("GetRevision", Need::Gateway),
        ("ExchangeAssertion", Need::Gateway),
        ("BatchExchangeAssertions", Need::Gateway),
        ("AuthorizeAdministrator", Need::GatewayAsking),
        ("ReportEvents", Need::Gateway),
        ("RevokePods", Need::Gateway),
        ("ListTokenPods", Need::Gateway),
        ("ReportStatus", Need::Gateway),
    ]},
    Service { name: "postern.v1.RoleService", served_by: CONTROL_PLANE, methods: &[
        ("CreateRole", Need::Holder(Permission::RolesWrite)),
        ("GetRole", Need::Holder(Permission::RolesRead)),
        ("ListRoles", Need::Holder(Permission::RolesRead)),
        ("UpdateRole", Need::Holder(Permission::RolesWrite)),
        ("DeleteRole", Need::Holder(Permission::RolesWrite)),
    ]},
    Service { name: "postern.v1.AssociationService", served_by: CONTROL_PLANE, methods: &[
        ("CreateAssociation", Need::Holder(Permission::RolesWrite)),
        ("GetAssociation", Need::Holder(Permission::RolesRead)),
        ("ListAssociations", Need::Holder(Permission::RolesRead)),
        ("UpdateAssociation", Need::Holder(Permission::RolesWrite)),
        ("DeleteAssociation", Need::Holder(Permission::RolesWrite)),
    ]},
    Service { name: "postern.v1.AuthorizationService", served_by: CONTROL_PLANE, methods: &[
        ("WhoCan", Need::Holder(Permission::RolesRead)),
        ("DescribePermissions", Need::Holder(Permission::RolesRead)),
    ]},
    Service { name: "postern.v1.TokenService", served_by: BOTH, methods: &[
        ("Introspect", Need::OwnTokenOr(Permission::TokensCheck)),
        ("Authorize", Need::OwnTokenOr(Permission::TokensCheck)),
        ("Revoke", Need::OwnTokenOr(Permission::TokensRevoke)),
        ("Renew", Need::OwnToken),
    ]},
    Service { name: "postern.v1.SigningKeyService", served_by: CONTROL_PLANE, methods: &[
        ("ListSigningKeys", Need::Holder(Permission::SigningKeysRead)),
        ("PrepareSigningKey", Need::Holder(Permission::SigningKeysWrite)),
        ("ActivateSigningKey", Need::Holder(Permission::SigningKeysWrite)),
        ("RetireSigningKey", Need::Holder(Permission::SigningKeysWrite)),
    ]},
    Service { name: "postern.v1.TokenAdminService", served_by: CONTROL_PLANE, methods: &[
        ("ListTokens", Need::Holder(Permission::TokensRead)),
        ("GetToken", Need::Holder(Permission::TokensRead)),
        ("RevokeTokens", Need::Holder(Permission::TokensRevoke)),
        ("Block", Need::Holder(Permission::TokensRevoke)),
        ("Unblock", Need::Holder(Permission::TokensRevoke)),
        ("ListBlocks", Need::Holder(Permission::TokensRead)),
    ]},
    Service { name: "postern.v1.AuditService", served_by: CONTROL_PLANE, methods: &[
        ("ListAuditEvents", Need::Holder(Permission::AuditRead)),
        ("TailAuditEvents", Need::Holder(Permission::AuditRead)),
        ("VerifyAuditLog", Need::Holder(Permission::AuditRead)),
        ("GetLoginStats", Need::Holder(Permission::AuditRead)),
    ]},
    Service { name: "grpc.health.v1.Health", served_by: BOTH, methods: &[
        ("Check", Need::Anonymous),
        ("List", Need::Anonymous),
        ("Watch", Need::Anonymous),
    ]},
    Service { name: "grpc.reflection.v1.ServerReflection", served_by: BOTH, methods: &[
        ("ServerReflectionInfo", Need::Anonymous),
    ]},
    Service { name: "grpc.reflection.v1alpha.ServerReflection", served_by: BOTH, methods: &[
        ("ServerReflectionInfo", Need::Anonymous),
    ]},
];

/// What the method at `path` (`/package.Service/Method`) needs. `None`: deny.
pub fn need(path: &str) -> Option<Need> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    let service = SERVICES.iter().find(|row| row.name == service)?;
    service
        .methods
        .iter()
        .find(|(name, _)| *name == method)
        .map(|(_, need)| *need)
}

/// The methods that the permission is needed for.
pub fn paths_that_need(permission: Permission) -> Vec<String> {
    let paths = SERVICES.iter().flat_map(Service::paths);
    paths
        .filter(|path| need(path).and_then(Need::permission) == Some(permission))
        .collect()
}

/// The services that `server` serves.
pub fn services(server: Server) -> impl Iterator<Item = &'static Service> {
    SERVICES
        .iter()
        .filter(move |service| service.served_by.contains(&server))
}

// === impl Need ===

impl Need {
    /// The permission that it asks for, if it asks for one.
    pub const fn permission(self) -> Option<Permission> {
        match self {
            Self::Holder(permission)
            | Self::Narrowed(permission)
            | Self::GatewayOnBehalf(permission)
            | Self::GatewayOnBehalfOrHolder(permission)
            | Self::OwnTokenOr(permission) => Some(permission),
            Self::Gateway => Some(Permission::GatewaySync),
            Self::Anonymous | Self::GatewayAsking | Self::OwnToken => None,
        }
    }
}

// === impl Service ===

impl Service {
    /// Paths of the service's methods, as in a request.
    pub fn paths(&self) -> impl Iterator<Item = String> {
        self.methods
            .iter()
            .map(|(method, _)| format!("/{}/{method}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;
    use crate::pb::FILE_DESCRIPTOR_SET;

    fn described() -> Vec<String> {
        let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
        let mut paths = Vec::new();
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    paths.push(format!(
                        "/{}.{}/{}",
                        file.package(),
                        service.name(),
                        method.name()
                    ));
                }
            }
        }
        paths
    }

    fn rows() -> Vec<String> {
        SERVICES
            .iter()
            .filter(|s| s.name.starts_with("postern."))
            .flat_map(Service::paths)
            .collect()
    }

    #[test]
    fn every_rpc_has_one_row_and_every_row_an_rpc() {
        let (described, rows) = (described(), rows());
        assert!(described.len() > 25, "the descriptor set is whole");
        assert_eq!(
            rows.iter().collect::<BTreeSet<_>>().len(),
            rows.len(),
            "a row is there twice"
        );
        assert_eq!(
            described.into_iter().collect::<BTreeSet<_>>(),
            rows.into_iter().collect::<BTreeSet<_>>()
        );
    }

    #[test]
    fn a_missing_row_denies() {
        for path in [
            "",
            "/",
            "/postern.v1.AuthService",
            "/postern.v1.AuthService/",
            "/postern.v1.AuthService/Nope",
            "/postern.v1.AuthService/Authenticate/",
            "//postern.v1.AuthService/Authenticate",
            "postern.v1.AuthService/Authenticate",
            "/postern.v1.authservice/Authenticate",
            "/postern.v2.AuthService/Authenticate",
        ] {
            assert_eq!(need(path), None, "{path}");
        }
    }

    #[test]
    fn anonymous_callers_get_login_server_info_health_and_reflection_only() {
        let anonymous: Vec<_> = SERVICES
            .iter()
            .flat_map(Service::paths)
            .filter(|path| need(path) == Some(Need::Anonymous))
            .collect();
        assert_eq!(
            anonymous,
            [
                "/postern.v1.ServerInfoService/GetServerInfo",
                "/postern.v1.AuthService/Authenticate",
                "/postern.v1.AuthService/Renew",
                "/postern.v1.AccessKeyAuthService/AuthenticateAccessKey",
                "/grpc.health.v1.Health/Check",
                "/grpc.health.v1.Health/List",
                "/grpc.health.v1.Health/Watch",
                "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            ]
        );
    }

    #[test]
    fn a_gateway_serves_no_rpc_that_takes_a_broad_token() {
        for service in services(Server::Gateway) {
            for path in service.paths() {
                // Behind a gateway the control plane takes administrators' tokens about themselves only.
                assert!(
                    matches!(
                        need(&path),
                        Some(
                            Need::Anonymous
                                | Need::Narrowed(_)
                                | Need::OwnTokenOr(_)
                                | Need::OwnToken
                        )
                    ),
                    "{path}"
                );
            }
        }
    }

    #[test]
    fn reflection_does_not_show_the_inside_of_a_sealed_box() {
        let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
        assert!(
            set.file
                .iter()
                .all(|file| file.package() != "postern.sealed.v1")
        );
        assert!(
            set.file.iter().any(|file| file.source_code_info.is_some()),
            "with comments"
        );
    }
}
