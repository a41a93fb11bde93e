//! Reflection shows what is served and nothing else, in both versions.

use postern_proto::permissions::{self, Server};
use prost::Message as _;
use prost_types::FileDescriptorProto;
use tonic::{Code, Status};
use tonic_reflection::pb::v1;
use tonic_reflection::pb::v1alpha;

use crate::testing::{Running, loopback};

type Question = v1::server_reflection_request::MessageRequest;
type Answer = v1::server_reflection_response::MessageResponse;

async fn ask(server: &Running, question: Question) -> Result<Answer, Status> {
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(server.channel());
    let message_request = Some(question);
    let request = v1::ServerReflectionRequest {
        message_request,
        ..Default::default()
    };
    let mut answers = client
        .server_reflection_info(tokio_stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    Ok(answers.message().await?.unwrap().message_response.unwrap())
}

async fn file_of(server: &Running, symbol: &str) -> Option<FileDescriptorProto> {
    match ask(server, Question::FileContainingSymbol(symbol.to_owned())).await {
        Ok(Answer::FileDescriptorResponse(files)) => {
            Some(FileDescriptorProto::decode(files.file_descriptor_proto[0].as_slice()).unwrap())
        }
        Ok(other) => panic!("{other:?}"),
        Err(status) => {
            assert_eq!(status.code(), Code::NotFound);
            None
        }
    }
}

#[tokio::test]
async fn it_lists_exactly_what_this_server_serves() {
    let server = Running::plain(loopback()).await;
    let Ok(Answer::ListServicesResponse(listed)) =
        ask(&server, Question::ListServices(String::new())).await
    else {
        panic!("no list");
    };
    let mut listed: Vec<_> = listed
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    let mut served: Vec<_> = permissions::services(Server::ControlPlane)
        .map(|service| service.name)
        .collect();
    listed.sort();
    served.sort_unstable();
    assert_eq!(listed, served);
    server.stop().await;
}

#[tokio::test]
async fn every_file_it_shows_can_be_resolved() {
    let server = Running::plain(loopback()).await;
    let mut queue = Vec::new();
    for symbol in permissions::services(Server::ControlPlane).map(|service| service.name) {
        queue.extend(file_of(&server, symbol).await.expect(symbol).dependency);
    }
    for details in [
        "BadRequest",
        "ErrorInfo",
        "RetryInfo",
        "RequestInfo",
        "Status",
    ] {
        let file = file_of(&server, &format!("google.rpc.{details}"))
            .await
            .expect(details);
        queue.extend(file.dependency);
    }
    while let Some(name) = queue.pop() {
        let answer = ask(&server, Question::FileByFilename(name.clone())).await;
        let Ok(Answer::FileDescriptorResponse(files)) = answer else {
            panic!("{name} is missing")
        };
        let file = FileDescriptorProto::decode(files.file_descriptor_proto[0].as_slice()).unwrap();
        queue.extend(file.dependency);
    }
    server.stop().await;
}

#[tokio::test]
async fn it_shows_neither_other_servers_services_nor_sealed_boxes() {
    let server = Running::plain(loopback()).await;
    assert!(
        file_of(&server, "postern.v1.GatewaySyncService")
            .await
            .is_some()
    );
    for symbol in [
        "postern.v1.AuthService",
        "postern.v1.K8sAuthConfigService",
        "postern.sealed.v1.K8sAuthConfig",
    ] {
        assert!(file_of(&server, symbol).await.is_none(), "{symbol}");
    }
    server.stop().await;
}

#[tokio::test]
async fn older_tools_are_answered_too() {
    let server = Running::plain(loopback()).await;
    let mut client =
        v1alpha::server_reflection_client::ServerReflectionClient::new(server.channel());
    let request = v1alpha::ServerReflectionRequest {
        message_request: Some(
            v1alpha::server_reflection_request::MessageRequest::ListServices(String::new()),
        ),
        ..Default::default()
    };
    let answers = client
        .server_reflection_info(tokio_stream::iter([request]))
        .await
        .unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap();
    let Some(v1alpha::server_reflection_response::MessageResponse::ListServicesResponse(listed)) =
        answer.message_response
    else {
        panic!("no list");
    };
    assert_eq!(
        listed.service.len(),
        permissions::services(Server::ControlPlane).count()
    );
    server.stop().await;
}

#[tokio::test]
async fn it_can_be_switched_off() {
    let mut config = loopback();
    config.reflection = false;
    let server = Running::plain(config).await;
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(server.channel());
    let none = tokio_stream::iter(Vec::<v1::ServerReflectionRequest>::new());
    let status = client.server_reflection_info(none).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    server.stop().await;
}
