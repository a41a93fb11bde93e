//! Roles.

use postern_proto::pb;
use postern_proto::pb::role_service_client::RoleServiceClient as Client;

use super::document::Document;
use super::{Done, Outcome, Run, mask};
use crate::commands::role::read;
use crate::failure::{Exit, Failure};
use crate::session::Administrator;

pub(super) async fn apply(run: &Run<'_>, document: &Document) -> Result<Outcome, Failure> {
    let (administrator, dry_run) = (&run.administrator, run.args.dry_run);
    match read(administrator, document.full_name()).await {
        Ok(current) => update(administrator, document, &current, dry_run).await,
        Err(failure) if failure.exit() == Exit::NotFound => {
            create(administrator, document, dry_run).await
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
    administrator: &Administrator,
    document: &Document,
    current: &pb::Role,
    dry_run: bool,
) -> Result<Outcome, Failure> {
    if document.body.is_empty() {
        return Outcome::new(document, Done::Unchanged, Some(current), current);
    }
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
    let then = send(administrator, &request).await?;
    let would = Outcome::new(document, Done::Changed, Some(current), &then)?;
    if would.diff.is_empty() {
        return Outcome::new(document, Done::Unchanged, Some(current), &then);
    }
    if !dry_run {
        request.validate_only = false;
        send(administrator, &request).await?;
    }
    Ok(would)
}

async fn send(
    administrator: &Administrator,
    request: &pb::UpdateRoleRequest,
) -> Result<pb::Role, Failure> {
    let response = administrator
        .change(request, |channel, request| async move {
            Client::new(channel).update_role(request).await
        })
        .await?;
    Ok(response.role.unwrap_or_default())
}
