//! AuthorizationService: the roles, asked the other way round.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use jiff::Timestamp;
use postern_core::association::Association;
use postern_core::auth_method::{AuthMethod, Kind};
use postern_core::facts::SUB_CLAIMS;
use postern_core::invalid::{Invalid, Violations};
use postern_core::permission::Permission;
use postern_core::resource_id::ResourceId;
use postern_core::role::{self, BuiltIn, Capability, Given, Question, ResourcePath};
use postern_proto::convert::audit::sub_claims;
use postern_proto::convert::role::capability;
use postern_proto::pb;
use postern_proto::pb::authorization_service_server::AuthorizationService;
use postern_proto::permissions;
use postern_rpc::error::Error;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::associations::{cursor, key};
use crate::context::Context;
use crate::identity::Administrator;
use crate::page::Paging;
use crate::store::{AssociationFilter, MethodRef};

pub(crate) struct Authorization(pub(crate) Context);

#[tonic::async_trait]
impl AuthorizationService for Authorization {
    async fn who_can(
        &self,
        request: Request<pb::WhoCanRequest>,
    ) -> Result<Response<pb::WhoCanResponse>, Status> {
        Ok(Response::new(self.answer(request).await?))
    }

    async fn describe_permissions(
        &self,
        request: Request<pb::DescribePermissionsRequest>,
    ) -> Result<Response<pb::DescribePermissionsResponse>, Status> {
        Administrator::of(&request)?;
        Ok(Response::new(description()))
    }
}

/// An auth method, as far as it gives roles. By one that lets nobody in nobody has any.
#[derive(Default)]
struct Giver {
    /// By association, those in the same place.
    associations: Vec<Uuid>,
    given: Vec<Given>,
    /// Whether its tokens carry any.
    has_sub_claims: bool,
}

// === impl Authorization ===

impl Authorization {
    async fn answer(
        &self,
        request: Request<pb::WhoCanRequest>,
    ) -> Result<pb::WhoCanResponse, Error> {
        Administrator::of(&request)?;
        let request = request.into_inner();
        let question = self.question(&request)?;
        let list = format!("whoCan {} {}", request.path, request.capability);
        let paging = Paging::parse(request.page_size, &request.page_token, list)?;
        let after = paging.after(cursor)?;
        let store = &self.0.store;
        let everything = AssociationFilter::default();
        let page = store
            .list_associations(&everything, after.as_ref(), paging.limit)
            .await?;
        let mut givers: HashMap<ResourceId, Giver> = HashMap::new();
        let mut access = Vec::new();
        for association in page.items.iter().map(|stored| &stored.value) {
            let giver = match givers.entry(association.auth_method.clone()) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    let giver = self.giver(&association.auth_method, question.now).await?;
                    entry.insert(giver)
                }
            };
            access.extend(giver.access(association, &question));
        }
        let last = page.items.last().map(key);
        Ok(pb::WhoCanResponse {
            access,
            next_page_token: paging.next(page.more, last),
        })
    }

    async fn giver(&self, method: &ResourceId, now: Timestamp) -> Result<Giver, Error> {
        let store = &self.0.store;
        let found = store
            .get_auth_method(&MethodRef::Id(method.clone()))
            .await?;
        let Some(AuthMethod { uid, settings, .. }) = found.map(|stored| stored.value) else {
            return Ok(Giver::default());
        };
        if settings.disabled || settings.access_expires.is_some_and(|end| end <= now) {
            return Ok(Giver::default());
        }
        let given = store.given_by_method(&uid).await?.into_iter();
        let counts = |given: &Given| !(settings.force_sub_claims && given.required.is_empty());
        let (associations, given) = given.filter(|(_, given)| counts(given)).unzip();
        Ok(Giver {
            associations,
            given,
            has_sub_claims: !matches!(settings.kind, Kind::AccessKey),
        })
    }

    fn question(&self, request: &pb::WhoCanRequest) -> Result<Question, Invalid> {
        let (path, capability) = asked(&request.path, request.capability())?;
        Ok(Question {
            path,
            capability,
            now: self.0.now(),
        })
    }
}

/// What somebody may do where: fields as all such requests have them.
pub(crate) fn asked(
    path: &str,
    wire: pb::Capability,
) -> Result<(ResourcePath, Capability), Invalid> {
    let mut faults = Violations::default();
    let path = faults.check("path", path.parse());
    let asked = capability(wire).filter(|asked| *asked != Capability::Deny);
    let asked = faults.check("capability", asked.ok_or("must be one other than deny"));
    match (path, asked) {
        (Some(path), Some(capability)) => Ok((path, capability)),
        _ => Err(faults.into_invalid()),
    }
}

// === impl Giver ===

impl Giver {
    /// A row for each way in which the association's tokens may.
    fn access(&self, association: &Association, question: &Question) -> Vec<pb::Access> {
        let place = self
            .associations
            .iter()
            .position(|uid| *uid == association.uid);
        let Some(own) = place.and_then(|place| self.given.get(place)) else {
            return Vec::new();
        };
        let access = role::who_can(own, &self.given, self.has_sub_claims, question);
        access
            .into_iter()
            .map(|access| pb::Access {
                auth_method: association.auth_method.auth_method_name(),
                association: association.name(),
                role: own.role.id.role_name(),
                rule_path: access.rule_path,
                sub_claims: sub_claims(own.required.claims()),
                template_claims: access.template_claims.into_iter().collect(),
                more_fillings: access.more_fillings,
                may_be_denied: access.may_be_denied,
            })
            .collect()
    }
}

fn description() -> pb::DescribePermissionsResponse {
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    let permissions = Permission::ALL.iter().map(|permission| {
        let holders = BuiltIn::ALL
            .iter()
            .filter(|role| role.permissions().has(*permission))
            .map(|role| format!("roles/{}", role.as_str()));
        pb::DescribedPermission {
            permission: permission.to_string(),
            methods: permissions::paths_that_need(*permission),
            roles: holders.collect(),
        }
    });
    pb::DescribePermissionsResponse {
        permissions: permissions.collect(),
        capabilities: Capability::ALL.iter().map(ToString::to_string).collect(),
        sub_claims: texts(SUB_CLAIMS),
    }
}
