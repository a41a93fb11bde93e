use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use postern_core::access_id::AccessType;
use postern_core::audit::flood::MAX_WINDOWS;
use postern_core::audit::{Component, Event, EventKind};
use postern_core::auth_method::TokenMaxima;
use postern_core::clock::Clock;
use postern_core::own_keys::OwnKeys;
use postern_rpc::caller::Caller;
use postern_rpc::error::{Failure, LOGIN_REFUSED, Reason};
use postern_rpc::request_id::RequestId;
use postern_rpc::server;
use tempfile::TempDir;
use tonic::Code;
use uuid::Uuid;

use super::*;
use crate::bootstrap::{Bootstrap, BootstrapAdmin, BootstrapGateway};
use crate::store::EventFilter;
use crate::{Config, SubjectLimits};

fn noon() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

fn an_id() -> AccessId {
    AccessId::generate(AccessType::AccessKey).unwrap()
}

/// A control plane that has its database and that nothing is done beside, with one administrator.
async fn opened(folder: &TempDir, admin: &AccessId, key: &AccessKey) -> Context {
    let database = format!("sqlite:{}", folder.path().join("postern.db").display());
    let bootstrap = Bootstrap {
        deployment_id: Uuid::from_u128(7),
        control_plane_url: None,
        admin: BootstrapAdmin {
            access_id: admin.clone(),
            access_key_sha256: key.hash(),
        },
        gateway: BootstrapGateway {
            name: "default".parse().unwrap(),
            url: "https://localhost:8000".to_owned(),
            access_id: an_id(),
            access_key_sha256: AccessKey::generate().unwrap().hash(),
        },
    };
    let line = OwnKeys::generate_line(&"k1".parse().unwrap()).unwrap();
    let config = Config {
        server: server::Config::new("127.0.0.1:0".parse().unwrap()),
        require_gateway_certificate: false,
        database_url: database.parse().ok().unwrap(),
        bootstrap: Some(bootstrap),
        keys: OwnKeys::parse(&line).unwrap(),
        issuer: None,
        clock: Clock::new(noon),
        limits: SubjectLimits::default(),
        token_maxima: TokenMaxima::default(),
        audit: Box::new(std::io::sink()),
        audit_retention: None,
    };
    let bound = crate::bind(config).await.unwrap();
    let (context, database) = (bound.context.clone(), bound.database.clone());
    bound.opening.run(context.clone(), database).await.unwrap();
    context
}

fn from(
    ip: [u8; 4],
    access_id: &AccessId,
    key: &AccessKey,
) -> Request<pb::AuthenticateAccessKeyRequest> {
    let mut request = Request::new(pb::AuthenticateAccessKeyRequest {
        access_id: access_id.to_string(),
        access_key: key.expose().to_owned(),
        gateway: String::new(),
    });
    request.extensions_mut().insert(Caller {
        ip: Some(ip.into()),
        user_agent: None,
        request_id: RequestId::generate(),
        certificate: None,
    });
    let deadline = Deadline::after(Duration::from_secs(20));
    request.extensions_mut().insert(deadline);
    request
}

#[tokio::test]
async fn refusals_from_too_many_addresses_are_counted() {
    let folder = TempDir::new().unwrap();
    let (admin, key) = (an_id(), AccessKey::generate().unwrap());
    let context = opened(&folder, &admin, &key).await;
    for peer in 0..u32::try_from(MAX_WINDOWS).unwrap() {
        let event = Event::new(EventKind::CallLimited, Component::ControlPlane, noon());
        let caller_ip = Some(IpAddr::from(peer.to_be_bytes()));
        context
            .store
            .record_later(Event { caller_ip, ..event })
            .unwrap();
    }
    let service = AccessKeyAuth::new(context.clone());
    let mut request_ids = Vec::new();
    for last in 1..=3 {
        let guess = AccessKey::generate().unwrap();
        let request = from([192, 0, 2, last], &admin, &guess);
        request_ids.push(request.caller().unwrap().request_id.to_string());
        let status = service.authenticate_access_key(request).await.unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (Code::Unauthenticated, LOGIN_REFUSED)
        );
        assert_eq!(Failure::from(status).reason, Some(Reason::LoginRefused));
    }
    let good = from([192, 0, 2, 1], &admin, &key);
    service.authenticate_access_key(good).await.unwrap();

    let of = async |kind| {
        let filter = EventFilter {
            kind: Some(kind),
            ..EventFilter::default()
        };
        context
            .store
            .list_events(&filter, None, 10)
            .await
            .unwrap()
            .items
    };
    assert!(of(EventKind::AccessKeyDenied).await.is_empty());
    // What waits is as much as may wait: the count comes after it.
    context.store.close_refusals(Some(noon())).await.unwrap();
    context.store.close_refusals(Some(noon())).await.unwrap();
    let [overflow] = <[Event; 1]>::try_from(of(EventKind::RefusalsOverflow).await).unwrap();
    assert_eq!((overflow.count, &overflow.request_id), (3, &request_ids[0]));
}
