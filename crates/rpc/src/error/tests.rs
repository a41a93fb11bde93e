use http::HeaderMap;
use tonic::Status;

use super::*;
use crate::request_id::RequestId;

/// What a client sees of an error.
fn sent(error: Error) -> Failure {
    Failure::from(Status::from(error))
}

fn all() -> Vec<Error> {
    let mut errors = vec![
        Error::invalid("k8s_host", "must be an https URL"),
        Error::LoginRefused,
        Error::Unauthenticated,
        Error::OnBehalfUnauthenticated,
        Error::permission_denied("needs admin"),
        Error::not_found("authMethods/x"),
        Error::already_exists("authMethods/x"),
        Error::Aborted {
            your_etag: "1".to_owned(),
            current_etag: "2".to_owned(),
        },
        Error::FailedPrecondition {
            reason: Precondition::InUse,
            message: "in use".to_owned(),
            violations: vec![Blocker {
                subject: "gateways/default/k8sAuthConfigs/c".to_owned(),
                description: "names it".to_owned(),
            }],
        },
        Error::ResourceExhausted {
            retry_after: Duration::from_secs(3),
        },
        Error::DeadlineExceeded,
        Error::Unimplemented,
        Error::internal("cause"),
    ];
    errors.extend(Outage::ALL.map(|outage| Error::unavailable(outage, "later", "cause")));
    errors
}

#[test]
fn every_error_reaches_the_client_with_its_code_and_reason() {
    for error in all() {
        let (code, reason, retryable) = (error.code(), error.reason(), error.retryable());
        let failure = sent(error);
        assert_eq!((failure.code, failure.reason), (code, Some(reason)));
        assert_eq!(failure.retryable(), retryable, "{reason}");
        assert_eq!(failure.retry_after.is_some(), retryable, "{reason}");
        assert!(!failure.message.is_empty(), "{reason}");
    }
}

#[test]
fn what_a_client_needs_travels_with_the_error() {
    let failure = sent(Error::Invalid(vec![
        Violation {
            field: "a".to_owned(),
            fault: "empty".to_owned(),
        },
        Violation {
            field: "b[0]".to_owned(),
            fault: "blank".to_owned(),
        },
    ]));
    assert_eq!(failure.message, "a: empty; b[0]: blank");
    assert_eq!(failure.violations.len(), 2);
    assert_eq!(failure.violations[1].field, "b[0]");

    assert_eq!(
        sent(Error::not_found("roles/x")).resource.as_deref(),
        Some("roles/x")
    );
    let aborted = Error::Aborted {
        your_etag: "1".to_owned(),
        current_etag: "2".to_owned(),
    };
    let etags = Etags {
        yours: "1".to_owned(),
        current: "2".to_owned(),
    };
    assert_eq!(sent(aborted).etags, Some(etags));
    let retry_after = Duration::from_secs(3);
    assert_eq!(
        sent(Error::ResourceExhausted { retry_after }).retry_after,
        Some(retry_after)
    );
}

#[test]
fn causes_are_never_sent() {
    for error in [
        Error::internal("eyJcause"),
        Error::unavailable(Outage::Database, "the database doesn't answer", "eyJcause"),
    ] {
        let status = Status::from(error);
        let details = String::from_utf8_lossy(status.details());
        assert!(!status.message().contains("eyJ") && !details.contains("eyJ"));
    }
}

#[test]
fn details_fit_into_a_header_however_many_faults_there_are() {
    let violations = (0..5_000)
        .map(|i| Violation {
            field: format!("rules[{i}]"),
            fault: "x".repeat(10_000),
        })
        .collect();
    let status = Status::from(Error::Invalid(violations));
    assert!(status.details().len() < 9_000, "{}", status.details().len());
    assert!(status.message().len() < 1_500, "{}", status.message().len());
    let failure = Failure::from(status);
    assert_eq!(failure.violations.last().unwrap().fault, "and 4975 more");
}

#[test]
fn a_status_from_below_gets_a_reason_and_a_request_id() {
    let id = RequestId::generate();
    let mut headers = HeaderMap::new();
    headers.insert("grpc-status", "11".parse().unwrap());
    headers.insert("grpc-message", "too%20large".parse().unwrap());
    assert_eq!(complete(&mut headers, id), Some(Code::OutOfRange));

    let failure = Failure::from(Status::from_header_map(&headers).unwrap());
    assert_eq!(failure.reason, Some(Reason::MessageTooLarge));
    assert_eq!(failure.message, "too large");
    assert_eq!(failure.request_id, Some(id.to_string()));
}

#[test]
fn completing_a_status_loses_none_of_its_details() {
    for error in all() {
        let status = Status::from(error);
        let mut headers = HeaderMap::new();
        status.add_header(&mut headers).unwrap();
        complete(&mut headers, RequestId::generate());
        let mut after = Failure::from(Status::from_header_map(&headers).unwrap());
        assert!(after.request_id.take().is_some());
        assert_eq!(format!("{after:?}"), format!("{:?}", Failure::from(status)));
    }
}

#[test]
fn a_gateway_relays_what_concerns_its_caller_and_hides_what_concerns_itself() {
    let relayed = |error| sent(error).relay().reason();
    for kept in [
        Error::LoginRefused,
        Error::invalid("a", "b"),
        Error::permission_denied("no"),
        Error::not_found("a/b"),
        Error::already_exists("a/b"),
        Error::Aborted {
            your_etag: "1".to_owned(),
            current_etag: "2".to_owned(),
        },
        Error::ResourceExhausted {
            retry_after: Duration::from_secs(1),
        },
        Error::unavailable(Outage::Database, "later", "cause"),
        Error::DeadlineExceeded,
    ] {
        let reason = kept.reason();
        assert_eq!(relayed(kept), reason);
    }
    let in_use = all()
        .into_iter()
        .find(|error| error.reason() == Reason::InUse)
        .unwrap();
    assert!(matches!(
        sent(in_use).relay(),
        Error::FailedPrecondition { violations, .. } if violations.len() == 1
    ));
    assert_eq!(
        relayed(Error::OnBehalfUnauthenticated),
        Reason::Unauthenticated
    );
    for own in [
        Error::Unauthenticated,
        Error::Unimplemented,
        Error::internal("cause"),
    ] {
        assert_eq!(relayed(own), Reason::ControlPlane);
    }
}

#[test]
fn a_hostile_servers_text_cannot_paint_a_terminal() {
    let failure = sent(Error::permission_denied("a\u{1b}[31mb\r\nc"));
    assert_eq!(failure.message, "a[31mbc");
}

#[test]
fn reasons_are_told_apart_by_their_text() {
    for (i, reason) in Reason::ALL.iter().enumerate() {
        assert_eq!(Reason::parse(reason.as_str()), Some(*reason));
        assert!(
            Reason::ALL[..i]
                .iter()
                .all(|other| other.as_str() != reason.as_str())
        );
    }
    assert_eq!(Reason::parse("internal"), None);
}
