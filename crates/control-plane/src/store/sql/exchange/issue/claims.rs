//! What the JWTs say, of logins whose method gives such.

use postern_core::jwt;

use super::super::super::{Connection, associations};
use super::super::Allowed;
use super::{Login, Standing};
use crate::store::{Granted, StoreError, Subject};

/// With the roles that the sub-claims have now.
pub(super) async fn say(
    connection: &mut Connection,
    logins: &mut [Login<'_>],
) -> Result<(), StoreError> {
    for login in logins.iter_mut() {
        if login.standing != Standing::New || login.is_renewal() {
            continue;
        }
        let Some(audiences) = login.allowed.audiences.clone() else {
            continue;
        };
        let granted = login.granted();
        let Allowed { method, .. } = &login.allowed;
        let (uid, forced) = (method.uid.to_string(), method.settings.force_sub_claims);
        let roles =
            associations::roles_of_token(connection, &uid, &granted.sub_claims, forced).await?;
        let roles = roles.iter().map(|role| role.id.to_string()).collect();
        login.jwt = Some(login.claims(audiences, granted, roles));
    }
    Ok(())
}

impl Login<'_> {
    fn claims(&self, aud: Vec<String>, granted: Granted, roles: Vec<String>) -> jwt::Claims {
        let issued = self.request.now.as_second();
        let facts = self.allowed.grant.facts();
        jwt::Claims {
            sub: Subject::Workload {
                config_uid: self.allowed.claims.config_uid.to_string(),
                service_account_uid: facts.service_account_uid.clone(),
                pod_uid: facts.pod_uid.clone(),
            }
            .of(self.allowed.grant.access_id()),
            aud,
            iat: issued,
            nbf: issued,
            exp: granted.expire_time.as_second(),
            jti: granted.accessor.to_string(),
            access_id: self.allowed.grant.access_id().to_string(),
            sub_claims: granted.sub_claims,
            roles,
        }
    }
}
