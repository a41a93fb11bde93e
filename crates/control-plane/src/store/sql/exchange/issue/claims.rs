//! What the JWTs say, of logins whose method gives such and of renewals of what these gave.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use jiff::Timestamp;
use postern_core::jwt;
use postern_core::reason::DenyReason;

use super::super::super::{Connection, associations};
use super::super::Allowed;
use super::{Login, Standing};
use crate::store::rows::to_json;
use crate::store::{Granted, Inconsistent, StoreError, Subject};

/// With the roles that the sub-claims have now. Those of a method are read once for all of a batch.
pub(super) async fn say(
    connection: &mut Connection,
    logins: &mut [Login<'_>],
) -> Result<(), StoreError> {
    let mut methods = HashMap::new();
    for login in logins.iter_mut() {
        let is_new = login.standing == Standing::New;
        let Some(audiences) = login.allowed.audiences.clone().filter(|_| is_new) else {
            continue;
        };
        let granted = login.granted();
        let Allowed { method, .. } = &login.allowed;
        let rows = match methods.entry(method.uid) {
            Entry::Occupied(read) => read.into_mut(),
            Entry::Vacant(new) => {
                let uid = method.uid.to_string();
                new.insert(associations::roles_of_method(connection, &uid).await?)
            }
        };
        let forced = method.settings.force_sub_claims;
        let roles = associations::role_ids(rows, &granted.sub_claims, forced)?;
        let claims = login.claims(audiences, granted, roles);
        if to_json(&claims)?.len() > jwt::MAX_CLAIMS_LENGTH {
            login.standing = Standing::Refused(DenyReason::JwtTooLong);
            continue;
        }
        login.jwt = Some(claims);
    }
    Ok(())
}

/// What the JWT said that is renewed. Its method must still list its audiences.
pub(super) async fn find_first(
    connection: &mut Connection,
    login: &mut Login<'_>,
) -> Result<Standing, StoreError> {
    // An accessor is no secret: the JWT itself has to be shown.
    if login.request.renewed_jwt != Some(login.allowed.claims.token) {
        return Ok(Standing::Refused(DenyReason::RenewedTokenUnknown));
    }
    let said: Option<Option<String>> =
        sqlx::query_scalar("SELECT jwt_claims FROM tokens WHERE hash = $1")
            .bind(login.token())
            .fetch_optional(connection)
            .await?;
    let said = said.flatten();
    let said: Option<jwt::Claims> = said.and_then(|said| serde_json::from_str(&said).ok());
    let said = said.ok_or_else(|| Inconsistent {
        table: "tokens",
        column: "jwt_claims",
        key: login.granted().accessor.to_string(),
    })?;
    let format = &login.allowed.method.settings.token_format;
    Ok(match format.granted(&said.aud) {
        Ok(Some(audiences)) => {
            login.allowed.audiences = Some(audiences);
            login.first_said = Some(said);
            Standing::New
        }
        Ok(None) => Standing::Refused(DenyReason::TokenAudienceNotAllowed),
        Err(reason) => Standing::Refused(reason),
    })
}

/// For a renewal that is repeated. What its token says itself stays as it was issued.
pub(super) async fn keep(connection: &mut Connection, login: &Login<'_>) -> Result<(), StoreError> {
    let Some(said) = &login.jwt else {
        return Ok(());
    };
    let (method_uid, jti) = login.assertion();
    sqlx::query("UPDATE assertions SET jwt_claims = $3 WHERE method_uid = $1 AND jti = $2")
        .bind(method_uid)
        .bind(jti)
        .bind(to_json(said)?)
        .execute(connection)
        .await?;
    Ok(())
}

/// When a JWT ends whose token has that end now: it may have been renewed since, and says its own.
pub(super) fn end(said: &jwt::Claims, stored: Timestamp) -> Option<Timestamp> {
    match said.exp == stored.as_second() {
        true => Some(stored),
        false => Timestamp::from_second(said.exp).ok(),
    }
}

impl Login<'_> {
    fn claims(&self, aud: Vec<String>, granted: Granted, roles: Vec<String>) -> jwt::Claims {
        let exp = granted.expire_time.as_second();
        if let Some(first) = &self.first_said {
            return jwt::Claims {
                exp,
                roles,
                ..first.clone()
            };
        }
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
            exp,
            jti: granted.accessor.to_string(),
            access_id: self.allowed.grant.access_id().to_string(),
            sub_claims: granted.sub_claims,
            roles,
        }
    }
}
