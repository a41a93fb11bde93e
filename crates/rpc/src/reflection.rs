//! Server reflection: exactly what this server serves, and the details of its errors.

use std::collections::BTreeSet;

use axum::Router;
use postern_proto::pb::FILE_DESCRIPTOR_SET;
use postern_proto::permissions::{self, Server};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::service::Routes;
use tonic_reflection::pb::{v1, v1alpha};
use tonic_reflection::server::{Builder, Error};

/// Both versions: older tools speak v1alpha only.
pub(crate) fn routes(server: Server) -> Result<Router, Error> {
    let api = served(server)?;
    Ok(Routes::new(builder(server, api.clone()).build_v1()?)
        .add_service(builder(server, api).build_v1alpha()?)
        .into_axum_router())
}

fn builder(server: Server, api: FileDescriptorSet) -> Builder<'static> {
    let builder = Builder::configure()
        .register_file_descriptor_set(api)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(v1alpha::FILE_DESCRIPTOR_SET);
    permissions::services(server).fold(builder, |builder, service| {
        builder.with_service_name(service.name)
    })
}

/// The API's files without the services that this server doesn't serve, and without the
/// files that nothing needs then.
fn served(server: Server) -> Result<FileDescriptorSet, Error> {
    let mut set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET)?;
    let names: BTreeSet<_> = permissions::services(server)
        .map(|service| service.name)
        .collect();
    for file in &mut set.file {
        let package = file.package().to_owned();
        file.service
            .retain(|service| names.contains(format!("{package}.{}", service.name()).as_str()));
    }
    let mut wanted: BTreeSet<String> = BTreeSet::new();
    let mut queue: Vec<String> = set
        .file
        .iter()
        .filter(|file| !file.service.is_empty())
        .map(|file| file.name().to_owned())
        .collect();
    while let Some(name) = queue.pop() {
        if wanted.insert(name.clone()) {
            let file = set.file.iter().find(|file| file.name() == name);
            queue.extend(
                file.into_iter()
                    .flat_map(|file| file.dependency.iter().cloned()),
            );
        }
    }
    set.file.retain(|file| wanted.contains(file.name()));
    Ok(set)
}
