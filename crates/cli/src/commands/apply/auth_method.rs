//! Auth methods.

use postern_proto::pb;
use postern_proto::pb::auth_method::Type;
use postern_proto::pb::auth_method_service_client::AuthMethodServiceClient as Client;

use super::document::Document;
use super::{Done, Made, Outcome, Run, mask};
use crate::commands::auth_method::keys::{self, KeyPair};
use crate::commands::auth_method::{read, warn};
use crate::failure::{Exit, Failure};
use crate::session::Administrator;

pub(super) async fn apply(run: &Run<'_>, document: &Document) -> Result<Outcome, Failure> {
    match read(&run.administrator, &document.name).await {
        Ok(current) => update(run, document, &current).await,
        Err(failure) if failure.exit() == Exit::NotFound => {
            create(&run.administrator, document, run.args.dry_run).await
        }
        Err(failure) => Err(failure),
    }
}

async fn create(
    administrator: &Administrator,
    document: &Document,
    dry_run: bool,
) -> Result<Outcome, Failure> {
    let mut method: pb::AuthMethod = document.message()?;
    let mut private_key = None;
    if let Some(Type::Kubernetes(kubernetes)) = &mut method.r#type
        && kubernetes.public_keys.is_empty()
    {
        let KeyPair { public, private } = keys::generate(None)?;
        kubernetes.public_keys.push(pb::PublicKey {
            public_key: public.to_pem(),
            ..pb::PublicKey::default()
        });
        private_key = private;
    }
    let request = pb::CreateAuthMethodRequest {
        auth_method_id: document.name.clone(),
        auth_method: Some(method),
        validate_only: dry_run,
        roles: Vec::new(),
    };
    let response = administrator
        .change(&request, |channel, request| async move {
            Client::new(channel).create_auth_method(request).await
        })
        .await?;
    warn(&response.warnings);
    let created = response.auth_method.unwrap_or_default();
    let access_id = created.access_id.clone();
    let made = private_key.filter(|_| !dry_run).map(|private_key| Made {
        access_id,
        private_key,
    });
    Ok(Outcome {
        made,
        ..Outcome::new(document, Done::Created, None, &created)?
    })
}

async fn update(
    run: &Run<'_>,
    document: &Document,
    current: &pb::AuthMethod,
) -> Result<Outcome, Failure> {
    let mut method: pb::AuthMethod = document.message()?;
    method.name.clone_from(&current.name);
    // What was read is what is changed: who changes it meanwhile is noticed.
    method.meta.clone_from(&current.meta);
    let mut request = pb::UpdateAuthMethodRequest {
        auth_method: Some(method),
        update_mask: Some(mask(&document.body)),
        validate_only: true,
    };
    let send = async |validate_only| {
        request.validate_only = validate_only;
        let updated = run
            .administrator
            .change(&request, |channel, request| async move {
                Client::new(channel).update_auth_method(request).await
            });
        let updated = updated.await?;
        if !validate_only {
            warn(&updated.warnings);
        }
        Ok(updated.auth_method.unwrap_or_default())
    };
    run.update(document, current, send).await
}
