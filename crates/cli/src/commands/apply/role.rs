//! Roles.

use postern_proto::pb;
use postern_proto::pb::role_service_client::RoleServiceClient as Client;

use super::document::Document;
use super::{Done, Outcome, Run, mask};
use crate::commands::role::read;
use crate::failure::{Exit, Failure};
use crate::session::Administrator;

pub(super) async fn apply(run: &Run<'_>, document: &Document) -> Result<Outcome, Failure> {
    match read(&run.administrator, document.full_name()).await {
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
    let request = pb::CreateRoleRequest {
        role_id: document.name.clone(),
        role: Some(document.message()?),
        validate_only: dry_run,
    };
    let response = administrator
        .change(&request, |channel, request| async move {
            Client::new(channel).create_role(request).await
        })
        .await?;
    Outcome::new(
        document,
        Done::Created,
        None,
        &response.role.unwrap_or_default(),
    )
}

async fn update(
    run: &Run<'_>,
    document: &Document,
    current: &pb::Role,
) -> Result<Outcome, Failure> {
    let role = pb::Role {
        name: current.name.clone(),
        // What was read is what is changed: who changes it meanwhile is noticed.
        meta: current.meta.clone(),
        ..document.message()?
    };
    let mut request = pb::UpdateRoleRequest {
        role: Some(role),
        update_mask: Some(mask(&document.body)),
        validate_only: true,
    };
    let send = async |validate_only| {
        request.validate_only = validate_only;
        let updated = run
            .administrator
            .change(&request, |channel, request| async move {
                Client::new(channel).update_role(request).await
            });
        Ok(updated.await?.role.unwrap_or_default())
    };
    run.update(document, current, send).await
}
