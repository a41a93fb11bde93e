//! An assertion for a token: one transaction that reads the rules, decides on them, and writes
//! token, assertion and audit record, or the record of the refusal.

use aws_lc_rs::digest;
use postern_core::access_token::Accessor;
use postern_core::assertion::Claims;
use postern_core::auth_method::AuthMethod;
use postern_core::policy::Grant;
use postern_core::reason::DenyReason;
use postern_core::resource_id::ConfigName;

use super::{Connection, Engine, audit, auth_methods};
use crate::store::exchange::{self, ConfigFacts, Refusal};
use crate::store::rows::to_json;
use crate::store::time::{micros, stored, time};
use crate::store::{Exchange, Exchanged, Granted, Inconsistent, StoreError};

/// A login that everything but the `jti` speaks for.
struct Allowed {
    method: AuthMethod,
    claims: Claims,
    config: ConfigName,
    grant: Grant,
}

enum Outcome {
    New(Granted),
    /// The same request was granted before.
    Again(Granted),
    Refused(DenyReason),
}

impl Engine {
    pub(in crate::store) async fn exchange(
        &self,
        request: &Exchange,
    ) -> Result<Exchanged, StoreError> {
        let mut tx = self.begin_login().await?;
        let (outcome, event) = match decide(&mut tx, request).await? {
            Err(refusal) => (Outcome::Refused(refusal.reason), refusal.event(request)),
            Ok(allowed) => match issue(&mut tx, request, &allowed).await? {
                Outcome::Refused(reason) => {
                    let refusal = Refusal::new(reason)
                        .of_method(&allowed.method)
                        .of_claims(&allowed.claims)
                        .of_config(&allowed.method, &allowed.config);
                    (Outcome::Refused(reason), refusal.event(request))
                }
                outcome => {
                    let Allowed {
                        method,
                        grant,
                        config,
                        ..
                    } = &allowed;
                    let accessor = request.accessor.as_str();
                    let event = exchange::granted(request, method, grant, config, accessor);
                    (outcome, event)
                }
            },
        };
        let answer = match outcome {
            // It has its record, and there is nothing to write.
            Outcome::Again(granted) => return Ok(Exchanged::Granted(granted)),
            Outcome::New(granted) => Exchanged::Granted(granted),
            Outcome::Refused(reason) => Exchanged::Refused(reason),
        };
        let events = [event];
        let new = audit::insert(&mut tx, &events).await?;
        tx.commit().await?;
        self.hooks.recorded(new);
        Ok(answer)
    }
}

async fn decide(
    connection: &mut Connection,
    request: &Exchange,
) -> Result<Result<Allowed, Refusal>, StoreError> {
    let method = auth_methods::get_by_access_id(connection, &request.access_id).await?;
    let Some(method) = method.map(|method| method.value) else {
        return Ok(Err(Refusal::new(DenyReason::MethodUnknown)));
    };
    let claims = match exchange::verify(request, &method) {
        Ok(claims) => claims,
        Err(reason) => return Ok(Err(Refusal::new(reason).of_method(&method))),
    };
    let row: Option<ConfigFacts> = sqlx::query_as(
        "SELECT id, gateway_uid, method_uid, generation, disabled FROM k8s_auth_configs WHERE uid = $1",
    )
    .bind(claims.config_uid.to_string())
    .fetch_optional(&mut *connection)
    .await?;
    let config = match exchange::own_config(request, &method, &claims, row.as_ref())? {
        Ok(config) => config,
        Err(reason) => {
            return Ok(Err(Refusal::new(reason)
                .of_method(&method)
                .of_claims(&claims)));
        }
    };
    Ok(
        match exchange::grant(request.gateway_ip, &method, &claims.facts, request.now) {
            Ok(grant) => Ok(Allowed {
                method,
                claims,
                config,
                grant,
            }),
            Err(denial) => {
                let refusal = Refusal::new(denial).of_method(&method).of_claims(&claims);
                Err(refusal.of_config(&method, &config))
            }
        },
    )
}

/// Writes the token, or finds the answer that was given before.
async fn issue(
    connection: &mut Connection,
    request: &Exchange,
    allowed: &Allowed,
) -> Result<Outcome, StoreError> {
    let sha256 = digest::digest(&digest::SHA256, request.assertion.as_bytes());
    // Waits for whoever exchanges the same `jti` right now.
    let taken = sqlx::query(
        "INSERT INTO assertions (method_uid, jti, sha256, gateway_uid, accessor, expire_time)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (method_uid, jti) DO NOTHING",
    )
    .bind(allowed.method.uid.to_string())
    .bind(allowed.claims.jti.to_string())
    .bind(sha256.as_ref())
    .bind(request.gateway.uid.to_string())
    .bind(request.accessor.as_str())
    .bind(micros(allowed.claims.expire_time))
    .execute(&mut *connection)
    .await?;
    if taken.rows_affected() == 0 {
        return first_answer(connection, request, allowed, sha256.as_ref()).await;
    }
    if let Err(reason) = take_presented(connection, allowed).await? {
        return Ok(Outcome::Refused(reason));
    }
    let granted = Granted {
        accessor: request.accessor.clone(),
        expire_time: stored(allowed.grant.expire_time()),
        sub_claims: allowed
            .grant
            .facts()
            .sub_claims(&allowed.config.to_string(), request.gateway.name.as_str()),
    };
    Ok(
        if insert_token(connection, request, allowed, &granted).await? {
            Outcome::New(granted)
        } else {
            // The token of another assertion: it must not live twice.
            Outcome::Refused(DenyReason::AssertionReplayed)
        },
    )
}

/// Where the method takes each presented token once: whether this is its first login.
async fn take_presented(
    connection: &mut Connection,
    allowed: &Allowed,
) -> Result<Result<(), DenyReason>, StoreError> {
    let kubernetes = allowed.method.kubernetes();
    if !kubernetes.is_some_and(|kubernetes| kubernetes.tokens.single_use) {
        return Ok(Ok(()));
    }
    let facts = allowed.grant.facts();
    let Some(credential_id) = &facts.credential_id else {
        return Ok(Err(DenyReason::CredentialIdMissing));
    };
    // Without an end it would have to be remembered for ever.
    let Some(end) = facts.expire_time else {
        return Ok(Err(DenyReason::TokenWithoutExpiry));
    };
    // Waits for whoever logs in with the same token right now.
    let taken = sqlx::query(
        "INSERT INTO presented_tokens (config_uid, credential_id, expire_time)
         VALUES ($1, $2, $3) ON CONFLICT (config_uid, credential_id) DO NOTHING",
    )
    .bind(allowed.claims.config_uid.to_string())
    .bind(credential_id)
    .bind(micros(end))
    .execute(connection)
    .await?;
    Ok(match taken.rows_affected() {
        1 => Ok(()),
        _ => Err(DenyReason::TokenUsedBefore),
    })
}

#[derive(sqlx::FromRow)]
struct FirstAnswer {
    sha256: Vec<u8>,
    gateway_uid: String,
    accessor: String,
    expire_time: i64,
    sub_claims: String,
}

async fn first_answer(
    connection: &mut Connection,
    request: &Exchange,
    allowed: &Allowed,
    sha256: &[u8],
) -> Result<Outcome, StoreError> {
    let row: Option<FirstAnswer> = sqlx::query_as(
        "SELECT a.sha256, a.gateway_uid, t.accessor, t.expire_time, t.sub_claims
         FROM assertions a JOIN tokens t ON t.accessor = a.accessor
         WHERE a.method_uid = $1 AND a.jti = $2",
    )
    .bind(allowed.method.uid.to_string())
    .bind(allowed.claims.jti.to_string())
    .fetch_optional(connection)
    .await?;
    let gateway_uid = request.gateway.uid.to_string();
    let same = row.filter(|row| row.sha256 == sha256 && row.gateway_uid == gateway_uid);
    let Some(row) = same else {
        return Ok(Outcome::Refused(DenyReason::AssertionReplayed));
    };
    let granted = granted(&row).ok_or_else(|| Inconsistent {
        table: "tokens",
        column: "sub_claims",
        key: row.accessor.clone(),
    })?;
    Ok(Outcome::Again(granted))
}

fn granted(row: &FirstAnswer) -> Option<Granted> {
    Some(Granted {
        accessor: row.accessor.parse::<Accessor>().ok()?,
        expire_time: time(row.expire_time)?,
        sub_claims: serde_json::from_str(&row.sub_claims).ok()?,
    })
}

/// `false` when there is such a token already.
async fn insert_token(
    connection: &mut Connection,
    request: &Exchange,
    allowed: &Allowed,
    granted: &Granted,
) -> Result<bool, StoreError> {
    let (claims, facts) = (&allowed.claims, allowed.grant.facts());
    let done = sqlx::query(
        "INSERT INTO tokens
             (hash, accessor, kind, access_id, method_uid, gateway_uid, config_uid,
              service_account_uid, pod_uid, namespace, instance, sub_claims, issue_time,
              expire_time, max_expire_time)
         VALUES ($1, $2, 'kubernetes', $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
         ON CONFLICT (hash) DO NOTHING",
    )
    .bind(claims.token.as_bytes().as_slice())
    .bind(granted.accessor.as_str())
    .bind(allowed.grant.access_id().as_str())
    .bind(allowed.method.uid.to_string())
    .bind(request.gateway.uid.to_string())
    .bind(claims.config_uid.to_string())
    .bind(&facts.service_account_uid)
    .bind(&facts.pod_uid)
    .bind(&facts.namespace)
    .bind(&claims.instance)
    .bind(to_json(&granted.sub_claims)?)
    .bind(micros(request.now))
    .bind(micros(granted.expire_time))
    .bind(micros(allowed.method.max_expire_time(request.now)))
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}
