use super::*;
use crate::auth_method::Kind;
use crate::fixtures::{facts, kubernetes, method, noon, rule};

fn granted(method: &AuthMethod, facts: Facts) -> Result<Grant, Denial> {
    decide(admit(method, facts.client_ip, noon())?, facts, noon())
}

fn refused(method: &AuthMethod, facts: Facts) -> DenyReason {
    granted(method, facts).unwrap_err().reason
}

#[test]
fn the_tutorials_pod_is_granted_fifteen_minutes() {
    let grant = granted(&method(vec![]), facts()).unwrap();
    assert_eq!(grant.rule(), 0);
    assert_eq!(grant.expire_time().to_string(), "2026-11-23T12:15:00Z");
}

#[test]
fn a_token_never_outlives_the_methods_access() {
    let mut short = method(vec![]);
    short.settings.access_expires = Some("2026-11-23T12:01:00Z".parse().unwrap());
    let grant = granted(&short, facts()).unwrap();
    assert_eq!(grant.expire_time().to_string(), "2026-11-23T12:01:00Z");
}

#[test]
fn a_token_ends_with_the_presented_one_where_the_method_says_so() {
    let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
    let short = Facts {
        expire_time: at("2026-11-23T12:05:00Z"),
        ..facts()
    };
    let mut capped = method(vec![]);
    let end = |method: &AuthMethod, facts: &Facts| {
        let grant = granted(method, facts.clone()).unwrap();
        grant.expire_time().to_string()
    };
    assert_eq!(end(&capped, &short), "2026-11-23T12:15:00Z");
    capped.settings.cap_to_presented_expiry = true;
    assert_eq!(end(&capped, &short), "2026-11-23T12:05:00Z");
    let long = Facts {
        expire_time: at("2026-11-23T13:00:00Z"),
        ..facts()
    };
    assert_eq!(end(&capped, &long), "2026-11-23T12:15:00Z");
    // Taken within the skew, and over already.
    let over = Facts {
        expire_time: Some(noon()),
        ..facts()
    };
    assert_eq!(refused(&capped, over), DenyReason::TokenExpired);
    let endless = Facts {
        expire_time: None,
        ..facts()
    };
    assert_eq!(refused(&capped, endless), DenyReason::TokenWithoutExpiry);
}

#[test]
fn a_method_that_takes_nobody_says_why() {
    let mut disabled = method(vec![]);
    disabled.settings.disabled = true;
    assert_eq!(refused(&disabled, facts()), DenyReason::MethodDisabled);

    let mut expired = method(vec![]);
    expired.settings.access_expires = Some(noon());
    assert_eq!(refused(&expired, facts()), DenyReason::AccessExpired);

    let mut bound = method(vec![]);
    bound.settings.bound_ips = vec!["192.0.2.0/24".parse().unwrap()];
    assert_eq!(refused(&bound, facts()), DenyReason::ClientIpNotBound);
    let unknown_peer = Facts {
        client_ip: None,
        ..facts()
    };
    assert_eq!(refused(&bound, unknown_peer), DenyReason::ClientIpNotBound);

    let mut access_key = method(vec![]);
    access_key.settings.kind = Kind::AccessKey;
    assert_eq!(refused(&access_key, facts()), DenyReason::MethodUnknown);

    let mut empty = method(vec![]);
    kubernetes(&mut empty).rules.clear();
    assert_eq!(refused(&empty, facts()), DenyReason::NoRules);
}

#[test]
fn a_token_without_expiry_is_refused() {
    let method = method(vec![]);
    let legacy = Facts {
        legacy: true,
        ..facts()
    };
    assert_eq!(refused(&method, legacy), DenyReason::TokenWithoutExpiry);
}

#[test]
fn the_nearest_rule_gives_the_reason() {
    let mut method = method(vec![]);
    kubernetes(&mut method).rules = vec![rule(&["other"], &[]), rule(&["my-namespace-a"], &["x"])];
    let denial = granted(&method, facts()).unwrap_err();
    assert_eq!(denial.reason, DenyReason::PodNameNotBound);
    assert_eq!(denial.rule, Some(1));
}

#[test]
fn one_rule_that_holds_is_enough() {
    let mut method = method(vec![]);
    kubernetes(&mut method)
        .rules
        .insert(0, rule(&["other"], &[]));
    assert_eq!(granted(&method, facts()).unwrap().rule(), 1);
}

#[test]
fn an_audience_that_the_method_takes_no_more_is_refused() {
    let mut method = method(vec![]);
    let listed =
        |audiences: &[&str]| Audiences::Listed(audiences.iter().map(|a| (*a).to_owned()).collect());
    let confirmed = |aud: &str, for_api_server| Facts {
        aud: vec![aud.to_owned()],
        for_api_server,
        ..facts()
    };
    kubernetes(&mut method).audiences = listed(&["a"]);
    assert!(granted(&method, confirmed("a", false)).is_ok());
    assert_eq!(
        refused(&method, confirmed("b", false)),
        DenyReason::AudienceNotConfirmed
    );
    kubernetes(&mut method).audiences = Audiences::ApiServer;
    assert_eq!(
        refused(&method, confirmed("a", false)),
        DenyReason::AudienceNotConfirmed
    );
    assert!(granted(&method, confirmed("a", true)).is_ok());
    kubernetes(&mut method).audiences = Audiences::Any;
    assert!(granted(&method, confirmed("b", false)).is_ok());
}

#[test]
fn what_was_verified_offline_needs_listed_audiences_and_an_hour_at_most() {
    let offline = Facts {
        mode: VerificationMode::Offline,
        aud: vec!["postern".to_owned()],
        for_api_server: false,
        issue_time: Some(noon()),
        expire_time: Some(noon() + SignedDuration::from_hours(1)),
        ..facts()
    };
    let mut listed = method(vec![]);
    kubernetes(&mut listed).audiences = Audiences::Listed(vec!["postern".to_owned()]);
    assert!(granted(&listed, offline.clone()).is_ok());
    let longer = Facts {
        expire_time: Some(noon() + SignedDuration::from_secs(3601)),
        ..offline.clone()
    };
    assert_eq!(refused(&listed, longer), DenyReason::TokenLifetimeTooLong);
    for audiences in [Audiences::Any, Audiences::ApiServer] {
        let mut unlisted = method(vec![]);
        kubernetes(&mut unlisted).audiences = audiences;
        let reason = refused(&unlisted, offline.clone());
        assert_eq!(reason, DenyReason::OfflineWithoutAudiences);
    }
}
