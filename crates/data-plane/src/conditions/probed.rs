//! Conditions that only the API server can tell, each failure by its own reason and with what to
//! do.

use std::error::Error as StdError;
use std::io;

use jiff::{SignedDuration, Timestamp};
use postern_core::k8s_auth_config::{ClusterAccess, Issuers, K8sAuthConfig};
use postern_proto::pb::{ConditionStatus, ConditionType};
use rustls::CertificateError;

use super::{Finding, holds};
use crate::cluster::probe::{Audience, Probe};
use crate::cluster::{KEYS_GOOD_FOR, KeysFault, KeysState, ReviewFault};

/// More than this between two clocks is a fault: a minute more, and tokens are refused.
const MAX_SKEW: SignedDuration = SignedDuration::from_secs(30);
/// How long before a credential ends there is still time to replace it.
const FRESH: SignedDuration = SignedDuration::from_hours(7 * 24);

/// One of the conditions of this module.
pub(crate) type Probed = (ConditionType, Finding);

/// All of them, in the order in which they build on each other. `listed` are the audiences that
/// the auth method lists; `None`: the method isn't known.
pub(crate) fn of(
    probe: &Probe,
    config: &K8sAuthConfig,
    listed: Option<&[String]>,
    now: Timestamp,
) -> Vec<Probed> {
    let fault = probe.reviewer.as_ref().err();
    let mut all = of_review(fault);
    if probe.presented {
        all[2].1 = presented(fault);
    }
    all.extend([
        (
            ConditionType::IssuerMatches,
            issuer_matches(&config.issuers, &probe.issuer),
        ),
        (
            ConditionType::AudienceAccepted,
            audience_accepted(&probe.audience, listed),
        ),
        (
            ConditionType::ClockSynchronised,
            clock_synchronised(probe.skew),
        ),
        (
            ConditionType::CredentialFresh,
            match config.access {
                ClusterAccess::Own(_) => mounted_fresh(probe.credential_end, now),
                _ => credential_fresh(probe.credential_end, now),
            },
        ),
    ]);
    let keys = probe.keys.as_ref();
    all.extend(keys.map(|keys| (ConditionType::KeysAvailable, keys_available(keys))));
    all
}

/// What is said of a config that isn't used, so that its API server isn't asked.
pub(crate) fn not_tried(reason: &'static str, message: &str) -> Vec<Probed> {
    use ConditionType::{
        AudienceAccepted, CaTrusted, ClockSynchronised, CredentialFresh, IssuerMatches, Reachable,
        ReviewerAuthorized,
    };
    let all = [
        Reachable,
        CaTrusted,
        ReviewerAuthorized,
        IssuerMatches,
        AudienceAccepted,
        ClockSynchronised,
        CredentialFresh,
    ];
    all.map(|kind| (kind, unknown(reason, message, "see the other conditions")))
        .into()
}

/// What a single review tells, and so a login too: `None` is an answer.
pub(crate) fn of_review(fault: Option<&ReviewFault>) -> Vec<Probed> {
    vec![
        (ConditionType::Reachable, reachable(fault)),
        (ConditionType::CaTrusted, ca_trusted(fault)),
        (
            ConditionType::ReviewerAuthorized,
            reviewer_authorized(fault),
        ),
    ]
}

fn reachable(fault: Option<&ReviewFault>) -> Finding {
    let Some(fault) = fault else {
        return holds("REACHED", "the API server answers");
    };
    let (reason, fix) = match fault {
        ReviewFault::Tls(_) => {
            return holds("CONNECTED", "the API server accepts connections");
        }
        ReviewFault::ReviewerUnauthorized
        | ReviewFault::ReviewerForbidden
        | ReviewFault::ReadForbidden
        | ReviewFault::NoSuchObject => {
            return holds("REACHED", "the API server answers");
        }
        ReviewFault::OwnCluster(_) => {
            return unknown(
                "GATEWAY_SERVICE_ACCOUNT",
                &fault.to_string(),
                "see the condition CLUSTER_PINNED",
            );
        }
        ReviewFault::Keys(_) => {
            return unknown(
                "KEYS_UNKNOWN",
                &fault.to_string(),
                "see to it that the reviewer can read the cluster's keys, or give them (--jwks-file)",
            );
        }
        ReviewFault::Request(_) | ReviewFault::QueueFull | ReviewFault::Lost => {
            return unknown(
                "INTERNAL",
                &fault.to_string(),
                "look into the gateway's log",
            );
        }
        ReviewFault::Dns(_) => (
            "DNS_FAILED",
            "check k8s_host, and that the gateway's resolver knows the name",
        ),
        ReviewFault::Connect(error) if is_refused(error) => (
            "CONNECTION_REFUSED",
            "nothing listens there: check host and port of k8s_host, and that the API server runs",
        ),
        ReviewFault::Connect(_) => (
            "CONNECTION_FAILED",
            "check k8s_host, and routes and firewalls between the gateway and the API server",
        ),
        ReviewFault::Timeout => (
            "TIMED_OUT",
            "check routes, firewalls and network policies between the gateway and the API server, and its load",
        ),
        ReviewFault::Broken(_) => (
            "CONNECTION_BROKEN",
            "see whether something between the gateway and the API server closes connections",
        ),
        ReviewFault::TooManyRequests => (
            "TOO_MANY_REQUESTS",
            "give the reviewer's requests a priority level of their own (API Priority and Fairness)",
        ),
        ReviewFault::ServerError(_) => ("SERVER_ERROR", "look into the API server's own log"),
        ReviewFault::Redirect(_) => (
            "REDIRECTED",
            "k8s_host is a login proxy or another address of the API server: name the API server itself",
        ),
        ReviewFault::UnexpectedStatus(_)
        | ReviewFault::NotATokenReview
        | ReviewFault::NotTheObject
        | ReviewFault::TooLarge => (
            "NOT_AN_API_SERVER",
            "k8s_host answers, but not as a Kubernetes API server: check host, port and path",
        ),
    };
    fails(reason, fault.to_string(), fix)
}

fn ca_trusted(fault: Option<&ReviewFault>) -> Finding {
    let error = match fault {
        Some(ReviewFault::Tls(error)) => error,
        Some(
            ReviewFault::Dns(_)
            | ReviewFault::Connect(_)
            | ReviewFault::Timeout
            | ReviewFault::Broken(_)
            | ReviewFault::OwnCluster(_)
            | ReviewFault::Keys(_)
            | ReviewFault::Request(_)
            | ReviewFault::QueueFull
            | ReviewFault::Lost,
        ) => return no_answer(),
        _ => return holds("TRUSTED", "the API server's certificate is trusted"),
    };
    let rustls::Error::InvalidCertificate(certificate) = error else {
        let message = format!("TLS with the API server failed: {error}");
        return fails(
            "TLS_FAILED",
            message,
            "check that k8s_host is the API server's TLS port",
        );
    };
    match certificate {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => fails(
            "CA_MISMATCH",
            "the API server's certificate wasn't signed by the config's CA".to_owned(),
            "set k8s_ca_cert (--k8s-ca-cert) to the CA of this cluster: certificate-authority-data of a kubeconfig that works",
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            fails(
                "SERVER_NAME_MISMATCH",
                format!("the API server's certificate is for another name: {certificate}"),
                "use a name of the certificate in k8s_host, or say it with tls_server_name (--tls-server-name)",
            )
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => fails(
            "CERTIFICATE_EXPIRED",
            format!("the API server's certificate has expired: {certificate}"),
            "renew the API server's certificate",
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => fails(
            "CERTIFICATE_NOT_YET_VALID",
            format!("the API server's certificate isn't valid yet: {certificate}"),
            "compare the clocks of the gateway and of who issued the certificate",
        ),
        other => fails(
            "CERTIFICATE_REJECTED",
            format!("the API server's certificate can't be used: {other}"),
            "look at it with: openssl s_client -connect HOST:PORT -showcerts",
        ),
    }
}

fn reviewer_authorized(fault: Option<&ReviewFault>) -> Finding {
    match fault {
        None => holds("AUTHORIZED", "the reviewer may create TokenReviews"),
        Some(fault @ ReviewFault::ReviewerUnauthorized) => fails(
            "REVIEWER_UNAUTHENTICATED",
            fault.to_string(),
            "replace the reviewer's credential (--token-reviewer-jwt): its Secret or service account is gone, it expired, or it is another cluster's",
        ),
        Some(fault @ ReviewFault::ReviewerForbidden) => fails(
            "REVIEWER_FORBIDDEN",
            fault.to_string(),
            "let it create tokenreviews: postern manifest reviewer | kubectl apply -f -",
        ),
        Some(fault @ ReviewFault::ReadForbidden) => fails(
            "REVIEWER_MAY_NOT_READ",
            fault.to_string(),
            "let it read namespaces and service accounts: postern manifest reviewer --with-namespaces | kubectl apply -f -",
        ),
        Some(_) => no_answer(),
    }
}

/// A stranger's token is let in nowhere: nothing is known before a pod shows its own.
fn presented(fault: Option<&ReviewFault>) -> Finding {
    match fault {
        None | Some(ReviewFault::ReviewerUnauthorized | ReviewFault::ReviewerForbidden) => unknown(
            "PRESENTED_TOKEN",
            "each pod reviews the token that it presents, so that only a login can tell",
            "try it with a pod's token: postern explain --token-file FILE --config NAME",
        ),
        Some(_) => no_answer(),
    }
}

fn issuer_matches(issuers: &Issuers, found: &Result<String, ReviewFault>) -> Finding {
    let listed = match issuers {
        Issuers::NotValidated => {
            return holds(
                "NOT_VALIDATED",
                "tokens of any issuer are taken, on purpose",
            );
        }
        Issuers::Listed(listed) => listed,
    };
    match found {
        Ok(issuer) if listed.contains(issuer) => {
            holds("MATCHES", &format!("the cluster's issuer is {issuer}"))
        }
        Ok(issuer) => fails(
            "ISSUER_DIFFERS",
            format!(
                "the cluster's issuer is {issuer}; the config takes {}",
                listed.join(", ")
            ),
            "add the cluster's issuer (--k8s-issuer), letter by letter; keep the old one only while the cluster changes its issuer",
        ),
        Err(ReviewFault::ReviewerUnauthorized | ReviewFault::ReviewerForbidden) => unknown(
            "DISCOVERY_FORBIDDEN",
            "the reviewer may not read what the cluster's issuer is",
            "let it: postern manifest reviewer --with-discovery | kubectl apply -f -",
        ),
        Err(_) => no_answer(),
    }
}

fn audience_accepted(audience: &Audience, listed: Option<&[String]>) -> Finding {
    let Some(listed) = listed else {
        return unknown(
            "METHOD_UNKNOWN",
            "the auth method isn't known here, and so not which audiences it asks for",
            "name an auth method that exists (--access-id)",
        );
    };
    let asked = match listed {
        [] => "its own audience".to_owned(),
        listed => listed.join(", "),
    };
    match audience {
        Audience::NotTried => unknown(
            "NOT_TRIED",
            "without a reviewer's token there is nothing to try audiences with",
            "try it with a pod's token: postern explain --token-file FILE --config NAME",
        ),
        Audience::Own(audiences) => holds(
            "ACCEPTED",
            &format!(
                "the API server takes tokens for {}",
                shown(audiences, &asked)
            ),
        ),
        Audience::Judged => holds(
            "JUDGED",
            &format!(
                "the API server looks at audiences: it refuses the reviewer's token for {asked}"
            ),
        ),
        Audience::Ignored => fails(
            "AUDIENCE_REFUSED",
            format!("asked about {asked}, the API server confirms no audience"),
            "every login would be refused: the API server, or what stands in front of it, must look at audiences (a webhook that answers without status.audiences doesn't)",
        ),
        Audience::Refused => fails(
            "AUDIENCE_REFUSED",
            "the API server lets the reviewer in and doesn't take its token for its own audience"
                .to_owned(),
            "look at --api-audiences of the API server, and for which audience the reviewer's token was made",
        ),
    }
}

fn shown(audiences: &[String], asked: &str) -> String {
    let short = |text: &String| text.chars().filter(|c| !c.is_control()).take(128).collect();
    let audiences: Vec<String> = audiences.iter().take(4).map(short).collect();
    if audiences.is_empty() {
        asked.to_owned()
    } else {
        audiences.join(", ")
    }
}

fn clock_synchronised(skew: Option<SignedDuration>) -> Finding {
    let Some(skew) = skew else {
        return no_answer();
    };
    if skew.abs() <= MAX_SKEW {
        return holds("SYNCHRONISED", "the clocks agree");
    }
    let (seconds, where_to) = match skew.is_positive() {
        true => (skew.as_secs(), "ahead of"),
        false => (-skew.as_secs(), "behind"),
    };
    fails(
        "CLOCK_DIFFERS",
        format!("the API server's clock is {seconds} s {where_to} this gateway's"),
        "synchronise both (chrony, systemd-timesyncd): tokens are refused at a difference of 60 s",
    )
}

fn credential_fresh(end: Option<Timestamp>, now: Timestamp) -> Finding {
    let Some(end) = end else {
        return holds(
            "NO_EXPIRY",
            "the reviewer's credential doesn't say that it expires",
        );
    };
    let left = end.duration_since(now);
    if left > FRESH {
        return holds(
            "FRESH",
            &format!("the reviewer's credential is good until {end}"),
        );
    }
    const FIX: &str = "replace it: --token-reviewer-jwt or --k8s-client-certificate of `postern k8s-auth-config update`, or run `postern k8s-auth-config import` again";
    if left.is_positive() {
        let message = format!("the reviewer's credential expires at {end}");
        fails("EXPIRES_SOON", message, FIX)
    } else {
        let message = format!("the reviewer's credential expired at {end}");
        fails("EXPIRED", message, FIX)
    }
}

/// A mounted token lives for an hour or so, and is replaced long before it ends.
fn mounted_fresh(end: Option<Timestamp>, now: Timestamp) -> Finding {
    match end {
        None => holds("NO_EXPIRY", "the mounted token doesn't say that it expires"),
        Some(end) if end > now => holds(
            "ROTATED",
            &format!("the mounted token is good until {end}, and is replaced before"),
        ),
        Some(end) => fails(
            "EXPIRED",
            format!("the mounted token expired at {end} and wasn't replaced"),
            "see why the kubelet doesn't renew it, and whether what is mounted is a projected token",
        ),
    }
}

fn keys_available(keys: &KeysState) -> Finding {
    let (usable, last_success) = match keys {
        KeysState::Given(usable) => {
            return holds(
                "GIVEN",
                &format!(
                    "{usable} keys were given with the config; when the cluster rotates its own, give them anew"
                ),
            );
        }
        KeysState::Discovered {
            usable,
            last_success,
        } => (usable, last_success),
    };
    let last = |when: &Timestamp| {
        let end = when.saturating_add(KEYS_GOOD_FOR).unwrap_or(*when);
        format!("those fetched at {when} go on until {end}")
    };
    let fault = match usable {
        Ok(usable) => {
            let at = last_success.map(|at| format!(", last fetched at {at}"));
            let at = at.unwrap_or_default();
            return holds(
                "FETCHED",
                &format!(
                    "the cluster publishes {usable} keys that tokens can be verified with{at}"
                ),
            );
        }
        Err(fault) => fault,
    };
    let last = last_success.as_ref().map(last);
    let last = last.unwrap_or_else(|| "none were fetched before: nobody can log in".to_owned());
    let message = format!("{fault}; {last}");
    match &**fault {
        KeysFault::Pending => unknown(
            "NO_ANSWER",
            &message,
            "see the other conditions, and try again",
        ),
        KeysFault::Call(_) => fails(
            "FETCH_FAILED",
            message,
            "see the other conditions; without a way to the API server, give the keys with the config (--jwks-file)",
        ),
        KeysFault::Forbidden => fails(
            "KEYS_FORBIDDEN",
            message,
            "let it: postern manifest reviewer --with-discovery | kubectl apply -f -",
        ),
        KeysFault::NotADocument => fails(
            "NOT_A_DOCUMENT",
            message,
            "check that k8s_host is the API server itself: kubectl get --raw /.well-known/openid-configuration",
        ),
        KeysFault::IssuerDiffers(issuer) => fails(
            "ISSUER_DIFFERS",
            format!(
                "{message} (it says {})",
                shown(std::slice::from_ref(issuer), "")
            ),
            "add the cluster's issuer (--k8s-issuer), letter by letter",
        ),
        KeysFault::NotKeys(_) => fails(
            "NO_USABLE_KEYS",
            message,
            "look at what the cluster publishes: kubectl get --raw /openid/v1/jwks",
        ),
    }
}

fn is_refused(error: &reqwest::Error) -> bool {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return io.kind() == io::ErrorKind::ConnectionRefused;
        }
        next = error.source();
    }
    false
}

fn no_answer() -> Finding {
    unknown(
        "NO_ANSWER",
        "the API server didn't say",
        "see the other conditions",
    )
}

fn unknown(reason: &'static str, message: &str, fix: &'static str) -> Finding {
    Finding {
        status: ConditionStatus::Unknown,
        reason,
        message: message.to_owned(),
        fix,
    }
}

fn fails(reason: &'static str, message: String, fix: &'static str) -> Finding {
    Finding {
        status: ConditionStatus::False,
        reason,
        message,
        fix,
    }
}
