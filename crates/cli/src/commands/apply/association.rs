//! Associations. One is known by its auth method, its role and its sub-claims: other sub-claims make
//! another one, and none is removed.

use std::collections::{BTreeMap, BTreeSet};

use postern_proto::pb;
use postern_proto::pb::association_service_client::AssociationServiceClient as Client;

use super::document::Document;
use super::{Done, Outcome, Run};
use crate::commands::{association, auth_method, role};
use crate::failure::Failure;
use crate::output;

pub(super) async fn apply(run: &Run<'_>, document: &Document) -> Result<Outcome, Failure> {
    let wanted: pb::Association = document.message()?;
    if run.args.dry_run && awaits_any(run, &wanted).await? {
        return Ok(Outcome::not_checked(document));
    }
    let (method, role) = (wanted.auth_method.clone(), wanted.role.clone());
    let all = association::of(&run.administrator, method, role).await?;
    match all
        .iter()
        .find(|existing| claims(existing) == claims(&wanted))
    {
        Some(current) => update(run, document, wanted, current).await,
        None => {
            let created = create(run, document, wanted).await?;
            if !all.is_empty() {
                let ids: Vec<_> = all.iter().map(|other| other.name.as_str()).collect();
                output::note(&format!(
                    "warning: {} under other sub-claims too: {}",
                    document.name,
                    ids.join(", ")
                ));
            }
            Ok(created)
        }
    }
}

/// Whether this run would have made the method or the role first.
async fn awaits_any(run: &Run<'_>, wanted: &pb::Association) -> Result<bool, Failure> {
    let method = wanted.auth_method.trim_start_matches("authMethods/");
    let method = auth_method::read(&run.administrator, method).await;
    let role = role::read(&run.administrator, wanted.role.clone()).await;
    Ok(run.found(method, &wanted.auth_method)?.is_none()
        || run.found(role, &wanted.role)?.is_none())
}

/// In whatever order they are written.
fn claims(association: &pb::Association) -> BTreeMap<&String, BTreeSet<&String>> {
    let claims = association.sub_claims.iter();
    claims
        .map(|(name, list)| (name, list.values.iter().collect()))
        .collect()
}

async fn create(
    run: &Run<'_>,
    document: &Document,
    wanted: pb::Association,
) -> Result<Outcome, Failure> {
    let request = pb::CreateAssociationRequest {
        association: Some(wanted),
        validate_only: run.args.dry_run,
    };
    let response = run
        .administrator
        .change(&request, |channel, request| async move {
            Client::new(channel).create_association(request).await
        })
        .await?;
    let created = response.association.unwrap_or_default();
    Outcome::new(document, Done::Created, None, &created)
}

async fn update(
    run: &Run<'_>,
    document: &Document,
    wanted: pb::Association,
    current: &pb::Association,
) -> Result<Outcome, Failure> {
    let case_insensitive = wanted.case_insensitive.or(current.case_insensitive);
    if case_insensitive == current.case_insensitive {
        return Outcome::new(document, Done::Unchanged, Some(current), current);
    }
    let request = pb::UpdateAssociationRequest {
        association: Some(pb::Association {
            case_insensitive,
            ..current.clone()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["case_insensitive".to_owned()],
        }),
        validate_only: run.args.dry_run,
    };
    let response = run
        .administrator
        .change(&request, |channel, request| async move {
            Client::new(channel).update_association(request).await
        })
        .await?;
    let then = response.association.unwrap_or_default();
    Outcome::new(document, Done::Changed, Some(current), &then)
}
