//! How a cluster is reached and who reviews there: which fields belong together.

use jiff::Timestamp;
use postern_core::ca_bundle::CaBundle;
use postern_core::invalid::{Invalid, Violations};
use postern_core::k8s_auth_config::{
    CertificateChain, ClientCertificate, ClientKey, ClusterAccess, Endpoint, K8sHost,
    PinnedCluster, Reviewer, ReviewerView,
};

use crate::pb;

/// What a config's `reviewer` and `cluster_api_type` come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::convert) enum Kind {
    Token,
    Certificate,
    GatewayServiceAccount,
    PresentedToken,
    Rancher,
}

/// Secrets as they came, or as they stay.
#[derive(Clone, Copy, Default)]
pub(super) struct Secrets<'s> {
    pub(super) signing_key: Option<&'s str>,
    pub(super) token_reviewer_jwt: Option<&'s str>,
    pub(super) k8s_client_key: Option<&'s str>,
    pub(super) rancher_api_key: Option<&'s str>,
}

/// The cluster that this gateway runs in, or why it can't be told.
pub type OwnCluster = Result<PinnedCluster, String>;

// === impl Kind ===

impl Kind {
    /// # Errors
    /// A reviewer beside Rancher's API key, and what this version doesn't know.
    pub(in crate::convert) fn of(wire: &pb::K8sAuthConfig) -> Result<Self, Invalid> {
        use pb::{ClusterApiType as Api, ReviewerType as Type};
        let api = Api::try_from(wire.cluster_api_type.unwrap_or_default());
        let reviewer = Type::try_from(wire.reviewer.unwrap_or_default());
        match (api, reviewer) {
            (Err(_), _) => Err(Invalid::field(
                "cluster_api_type",
                "is not a known API type",
            )),
            (_, Err(_)) => Err(Invalid::field(
                "reviewer",
                "is not a known kind of reviewer",
            )),
            (Ok(Api::Rancher), Ok(Type::Unspecified)) => Ok(Self::Rancher),
            (Ok(Api::Rancher), Ok(_)) => Err(Invalid::field(
                "reviewer",
                "is not used with Rancher, whose API key reviews (--rancher-api-key): leave it out",
            )),
            (Ok(_), Ok(Type::Unspecified | Type::Token)) => Ok(Self::Token),
            (Ok(_), Ok(Type::Certificate)) => Ok(Self::Certificate),
            (Ok(_), Ok(Type::GatewayServiceAccount)) => Ok(Self::GatewayServiceAccount),
            (Ok(_), Ok(Type::PresentedToken)) => Ok(Self::PresentedToken),
        }
    }

    pub(super) fn of_access(access: &ClusterAccess) -> Self {
        match access.reviewer_view() {
            ReviewerView::Token => Self::Token,
            ReviewerView::Certificate(_) => Self::Certificate,
            ReviewerView::GatewayServiceAccount(_) => Self::GatewayServiceAccount,
            ReviewerView::PresentedToken => Self::PresentedToken,
            ReviewerView::RancherApiKey(_) => Self::Rancher,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Token => "a reviewer's token",
            Self::Certificate => "a client certificate",
            Self::GatewayServiceAccount => "the gateway's service account",
            Self::PresentedToken => "the presented token as reviewer",
            Self::Rancher => "Rancher",
        }
    }

    fn names_a_host(self) -> bool {
        self != Self::GatewayServiceAccount
    }

    /// Whether the API server is shown the credential itself.
    pub(super) fn is_bearer(self) -> bool {
        matches!(self, Self::Token | Self::Rancher)
    }

    /// The field of the credential that a move to another host must carry again, with its flag.
    pub(super) fn credential(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Token => Some(("secrets.token_reviewer_jwt", "--token-reviewer-jwt")),
            Self::Certificate => Some(("secrets.k8s_client_key", "--k8s-client-key")),
            Self::Rancher => Some(("secrets.rancher_api_key", "--rancher-api-key")),
            Self::GatewayServiceAccount | Self::PresentedToken => None,
        }
    }

    /// Empties what `wire` has from before it became one of this kind, unless `patch` says it too.
    pub(super) fn forget(self, wire: &mut pb::K8sAuthConfig, patch: &pb::K8sAuthConfig) {
        let own = !self.names_a_host();
        for (forgotten, field, said) in [
            (own, &mut wire.k8s_host, &patch.k8s_host),
            (own, &mut wire.k8s_ca_cert, &patch.k8s_ca_cert),
            (own, &mut wire.tls_server_name, &patch.tls_server_name),
            (
                self != Self::Certificate,
                &mut wire.k8s_client_certificate,
                &patch.k8s_client_certificate,
            ),
            (
                self != Self::Rancher,
                &mut wire.rancher_cluster_id,
                &patch.rancher_cluster_id,
            ),
        ] {
            if forgotten && said.is_none() {
                *field = None;
            }
        }
    }

    /// A field that is set and would be ignored is a fault.
    fn check_fields(
        self,
        faults: &mut Violations,
        wire: &pb::K8sAuthConfig,
        secrets: &Secrets<'_>,
    ) {
        let host = self.names_a_host();
        for (belongs, field, value) in [
            (host, "k8s_host", wire.k8s_host()),
            (host, "k8s_ca_cert", wire.k8s_ca_cert()),
            (host, "tls_server_name", wire.tls_server_name()),
            (
                self == Self::Certificate,
                "k8s_client_certificate",
                wire.k8s_client_certificate(),
            ),
            (
                self == Self::Rancher,
                "rancher_cluster_id",
                wire.rancher_cluster_id(),
            ),
        ] {
            if !belongs && !value.is_empty() {
                let fault = format!("is not used with {}: leave it out", self.name());
                faults.add(format!("k8s_auth_config.{field}"), fault);
            }
        }
        for (kind, secret) in [
            (Self::Token, secrets.token_reviewer_jwt),
            (Self::Certificate, secrets.k8s_client_key),
            (Self::Rancher, secrets.rancher_api_key),
        ] {
            if let (Some((field, _)), Some(_), true) = (kind.credential(), secret, kind != self) {
                faults.add(
                    field,
                    format!("is not used with {}: leave it out", self.name()),
                );
            }
        }
    }
}

// === impl Secrets ===

impl<'s> Secrets<'s> {
    pub(super) fn of(wire: &'s pb::K8sAuthConfigSecrets) -> Self {
        Self {
            signing_key: wire.signing_key.as_deref(),
            token_reviewer_jwt: wire.token_reviewer_jwt.as_deref(),
            k8s_client_key: wire.k8s_client_key.as_deref(),
            rancher_api_key: wire.rancher_api_key.as_deref(),
        }
    }

    /// The reviewer's credential of an access.
    pub(super) fn of_access(access: &'s ClusterAccess) -> Self {
        let mut secrets = Self::default();
        match access {
            ClusterAccess::Direct { reviewer, .. } => match reviewer {
                Reviewer::Token(token) => secrets.token_reviewer_jwt = Some(token.expose()),
                Reviewer::Certificate(pair) => secrets.k8s_client_key = Some(pair.expose_key()),
                Reviewer::PresentedToken => {}
            },
            ClusterAccess::Rancher { api_key, .. } => {
                secrets.rancher_api_key = Some(api_key.expose());
            }
            ClusterAccess::Own(_) => {}
        }
        secrets
    }

    /// These, and of `others` what these lack.
    pub(super) fn or(self, others: Self) -> Self {
        Self {
            signing_key: self.signing_key.or(others.signing_key),
            token_reviewer_jwt: self.token_reviewer_jwt.or(others.token_reviewer_jwt),
            k8s_client_key: self.k8s_client_key.or(others.k8s_client_key),
            rancher_api_key: self.rancher_api_key.or(others.rancher_api_key),
        }
    }

    pub(super) fn has_credential(&self) -> bool {
        let Self {
            signing_key: _,
            token_reviewer_jwt,
            k8s_client_key,
            rancher_api_key,
        } = self;
        token_reviewer_jwt.is_some() || k8s_client_key.is_some() || rancher_api_key.is_some()
    }
}

/// `None` after a fault.
pub(super) fn parse(
    faults: &mut Violations,
    wire: &pb::K8sAuthConfig,
    secrets: &Secrets<'_>,
    own: &OwnCluster,
    now: Timestamp,
) -> Option<(ClusterAccess, Vec<pb::Warning>)> {
    let kind = Kind::of(wire).map_err(|fault| fault.within("k8s_auth_config"));
    let kind = faults.absorb(kind)?;
    kind.check_fields(faults, wire, secrets);
    if kind == Kind::GatewayServiceAccount {
        let own = faults.check("k8s_auth_config.reviewer", own.clone())?;
        return Some((ClusterAccess::Own(own), vec![]));
    }
    let endpoint = endpoint(faults, wire, now);
    let access = credential(faults, kind, wire, secrets);
    let ((at, warnings), access) = (endpoint?, access?);
    Some((access(at), warnings))
}

type WithEndpoint = Box<dyn FnOnce(Endpoint) -> ClusterAccess>;

/// The credential, waiting for the server that it is for.
fn credential(
    faults: &mut Violations,
    kind: Kind,
    wire: &pb::K8sAuthConfig,
    secrets: &Secrets<'_>,
) -> Option<WithEndpoint> {
    let reviewer = match kind {
        Kind::GatewayServiceAccount => return None,
        Kind::Rancher => return rancher(faults, wire, secrets),
        Kind::PresentedToken => Reviewer::PresentedToken,
        Kind::Token => {
            let token = secrets.token_reviewer_jwt.unwrap_or_default();
            Reviewer::Token(faults.check("secrets.token_reviewer_jwt", token.parse())?)
        }
        Kind::Certificate => Reviewer::Certificate(certificate(faults, wire, secrets)?),
    };
    Some(Box::new(move |at| ClusterAccess::Direct { at, reviewer }))
}

fn rancher(
    faults: &mut Violations,
    wire: &pb::K8sAuthConfig,
    secrets: &Secrets<'_>,
) -> Option<WithEndpoint> {
    let cluster = wire.rancher_cluster_id().parse();
    let cluster = faults.check("k8s_auth_config.rancher_cluster_id", cluster);
    let api_key = secrets.rancher_api_key.unwrap_or_default().parse();
    let api_key = faults.check("secrets.rancher_api_key", api_key);
    let (cluster, api_key) = (cluster?, api_key?);
    Some(Box::new(move |at| ClusterAccess::Rancher {
        at,
        cluster,
        api_key,
    }))
}

fn certificate(
    faults: &mut Violations,
    wire: &pb::K8sAuthConfig,
    secrets: &Secrets<'_>,
) -> Option<ClientCertificate> {
    let chain = CertificateChain::parse(wire.k8s_client_certificate());
    let chain = faults.check("k8s_auth_config.k8s_client_certificate", chain);
    let key = ClientKey::parse(secrets.k8s_client_key.unwrap_or_default());
    let key = faults.check("secrets.k8s_client_key", key);
    let pair = ClientCertificate::new(chain?, key?);
    faults.check("secrets.k8s_client_key", pair)
}

fn endpoint(
    faults: &mut Violations,
    wire: &pb::K8sAuthConfig,
    now: Timestamp,
) -> Option<(Endpoint, Vec<pb::Warning>)> {
    let host = wire.k8s_host().parse::<K8sHost>();
    let host = faults.check("k8s_auth_config.k8s_host", host);
    let ca = ca(faults, wire, now);
    let name = match wire.tls_server_name() {
        "" => Some(None),
        name => faults
            .check("k8s_auth_config.tls_server_name", name.parse())
            .map(Some),
    };
    let (host, (ca, warnings), tls_server_name) = (host?, ca?, name?);
    let endpoint = Endpoint {
        host,
        ca,
        tls_server_name,
    };
    Some((endpoint, warnings))
}

/// `None` after a fault; no CA at all is `Some`.
fn ca(
    faults: &mut Violations,
    wire: &pb::K8sAuthConfig,
    now: Timestamp,
) -> Option<(Option<CaBundle>, Vec<pb::Warning>)> {
    const FIELD: &str = "k8s_auth_config.k8s_ca_cert";
    let text = wire.k8s_ca_cert();
    if text.is_empty() {
        return Some((None, vec![]));
    }
    let (bundle, warnings) = faults.check(FIELD, CaBundle::parse(text, now))?;
    let warnings = warnings
        .into_iter()
        .map(|message| pb::Warning {
            reason: "CERTIFICATE_EXPIRED".to_owned(),
            field: FIELD.to_owned(),
            message,
        })
        .collect();
    Some((Some(bundle), warnings))
}
