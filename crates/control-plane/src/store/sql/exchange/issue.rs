//! The rows of logins that are allowed, in statements that write those of a whole batch.

mod at_once;
mod claims;
mod places;
mod pods;
mod rows;

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest::{self, Digest};
use jiff::Timestamp;
use postern_core::access_token::{Accessor, TokenHash};
use postern_core::jwt;
use postern_core::reason::DenyReason;
use sqlx::QueryBuilder;

use super::super::{Connection, Db, portions, session};
use super::{Allowed, Decision, Issued, Settled, Way};
use crate::store::exchange::Refusal;
use crate::store::rows::TokenSubject;
use crate::store::time::{micros, stored, time};
use crate::store::{Exchange, Granted, Inconsistent, Limited, StoreError, Unsigned};
use rows::{ASSERTIONS, TOKENS, Token};

/// A login that is allowed, and how far it has come.
struct Login<'r> {
    /// Among the requests.
    place: usize,
    request: &'r Exchange,
    allowed: Allowed,
    /// Of the assertion.
    sha256: Digest,
    /// Of one that renews: what is there of its token.
    renews: Option<Granted>,
    /// Of one that renews a JWT: what that said when it was issued.
    first_said: Option<jwt::Claims>,
    /// Of one that gets a JWT: what that says.
    jwt: Option<jwt::Claims>,
    standing: Standing,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Nothing speaks against it yet.
    New,
    /// Its `jti` was there: the same request again, or a replay.
    Presented,
    Refused(DenyReason),
    Limited(Limited),
}

/// In the requests' order.
///
/// Each step takes what is to be had only once for those whose standing is still `New`, and what
/// a method asks of a login beyond its rules is such a step: all of a batch in one statement, the
/// tables always in this order and the rows of one always in the order of their keys, so that no
/// two transactions wait for each other.
pub(super) async fn all(
    connection: &mut Connection,
    rules_revision: i64,
    requests: &[Exchange],
    decisions: Vec<Decision>,
    way: Way,
) -> Result<Issued, StoreError> {
    let (mut settled, mut logins) = (Vec::new(), Vec::new());
    for (place, (request, decision)) in requests.iter().zip(decisions).enumerate() {
        match decision {
            Ok(Ok(allowed)) => logins.push(Login::new(place, request, allowed)),
            Ok(Err(refusal)) => settled.push((place, Settled::Refused(Box::new(refusal)))),
            Err(fault) => settled.push((place, Settled::Fault(fault))),
        }
    }
    pods::refuse_deleted(connection, &mut logins).await?;
    find_renewed(connection, &mut logins).await?;
    let at_once = at_once::Writes::of(way, &logins);
    if !at_once.assertions {
        take_assertions(connection, &mut logins).await?;
    }
    places::take(connection, &mut logins).await?;
    take_presented(connection, &mut logins).await?;
    claims::say(connection, &mut logins).await?;
    let mut recorded = Vec::new();
    if at_once.tokens {
        recorded = at_once.write(connection, rules_revision, &logins).await?;
    } else {
        insert_tokens(connection, rules_revision, &mut logins).await?;
        renew_tokens(connection, &mut logins).await?;
    }
    for login in logins {
        settled.push((login.place, settle(connection, login).await?));
    }
    settled.sort_unstable_by_key(|(place, _)| *place);
    Ok(Issued {
        settled: settled.into_iter().map(|(_, settled)| settled).collect(),
        recorded,
    })
}

async fn settle(connection: &mut Connection, login: Login<'_>) -> Result<Settled, StoreError> {
    let reason = match login.standing {
        Standing::New => {
            let granted = login.granted();
            return Ok(Settled::New(Box::new(login.allowed), granted));
        }
        Standing::Presented => match first_answer(connection, &login).await? {
            Ok(Some(granted)) => return Ok(Settled::Again(granted)),
            Ok(None) => DenyReason::AssertionReplayed,
            Err(fault) => return Ok(Settled::Fault(fault)),
        },
        Standing::Limited(limited) => return Ok(Settled::Limited(limited)),
        Standing::Refused(reason) => reason,
    };
    let Allowed {
        method,
        claims,
        config,
        ..
    } = &login.allowed;
    let refusal = Refusal::new(reason).of_method(method).of_claims(claims);
    Ok(Settled::Refused(Box::new(
        refusal.of_config(method, config),
    )))
}

/// The tokens that are to live longer: good ones, and given to the very same subject.
async fn find_renewed(
    connection: &mut Connection,
    logins: &mut [Login<'_>],
) -> Result<(), StoreError> {
    let renewals = logins.iter_mut().filter(|login| login.is_renewal());
    for login in renewals.filter(|login| login.standing == Standing::New) {
        let row = session::row(connection, &login.token()).await?;
        login.standing = match row {
            Some(row) if !row.counts(login.request.now)? => {
                Standing::Refused(DenyReason::RenewedTokenUnknown)
            }
            None => Standing::Refused(DenyReason::RenewedTokenUnknown),
            Some(row) if !row.is_of(&login.subject()) => {
                Standing::Refused(DenyReason::RenewedTokenOfAnother)
            }
            Some(row) => {
                let Allowed { method, grant, .. } = &login.allowed;
                let longest = method.max_expire_time(row.issue_time()?);
                login.renews = Some(row.renewed(grant.expire_time().min(longest))?);
                match row.is_jwt() {
                    true => claims::find_first(connection, login).await?,
                    false => {
                        // Whatever its method gives now.
                        login.allowed.audiences = None;
                        Standing::New
                    }
                }
            }
        };
    }
    Ok(())
}

/// Waits for whoever exchanges one of the same `jti`s right now.
async fn take_assertions(
    connection: &mut Connection,
    logins: &mut [Login<'_>],
) -> Result<(), StoreError> {
    let firsts = firsts(logins, |login| Some(login.assertion()));
    let rows: Vec<_> = firsts.iter().collect();
    let mut taken = BTreeSet::new();
    for rows in portions(&rows) {
        let mut insert = QueryBuilder::<Db>::new(ASSERTIONS);
        insert.push_values(rows, |row, (_, first)| logins[**first].bind_assertion(row));
        insert.push(" ON CONFLICT (method_uid, jti) DO NOTHING RETURNING method_uid, jti");
        let keys: Vec<(String, String)> =
            insert.build_query_as().fetch_all(&mut *connection).await?;
        taken.extend(keys);
    }
    let key = |login: &Login<'_>| Some(login.assertion());
    keep(logins, &firsts, &taken, key, Standing::Presented);
    Ok(())
}

/// Where a method takes each presented token once. Waits for whoever logs in with one of the same
/// right now.
async fn take_presented(
    connection: &mut Connection,
    logins: &mut [Login<'_>],
) -> Result<(), StoreError> {
    for login in logins.iter_mut().filter(|login| login.is_single_use()) {
        if login.standing == Standing::New
            && let Err(reason) = login.presented()
        {
            login.standing = Standing::Refused(reason);
        }
    }
    let key = |login: &Login<'_>| {
        let presented = login.is_single_use().then(|| login.presented().ok())?;
        presented.map(|(key, _)| key)
    };
    let firsts = firsts(logins, key);
    let end = |first: &usize| logins[*first].allowed.grant.facts().expire_time;
    let rows: Vec<_> = firsts
        .iter()
        .map(|(key, first)| (key, end(first)))
        .collect();
    let mut taken = BTreeSet::new();
    for rows in portions(&rows) {
        let mut insert = QueryBuilder::<Db>::new(
            "INSERT INTO presented_tokens (config_uid, credential_id, expire_time) ",
        );
        insert.push_values(rows, |mut row, ((config_uid, credential_id), end)| {
            row.push_bind(config_uid)
                .push_bind(credential_id)
                .push_bind(end.map(micros));
        });
        insert
            .push(" ON CONFLICT (config_uid, credential_id) DO NOTHING RETURNING config_uid, credential_id");
        let keys: Vec<(String, String)> =
            insert.build_query_as().fetch_all(&mut *connection).await?;
        taken.extend(keys);
    }
    let used = Standing::Refused(DenyReason::TokenUsedBefore);
    keep(logins, &firsts, &taken, key, used);
    Ok(())
}

/// The token of another assertion must not live twice.
async fn insert_tokens(
    connection: &mut Connection,
    rules_revision: i64,
    logins: &mut [Login<'_>],
) -> Result<(), StoreError> {
    let key = |login: &Login<'_>| (!login.is_renewal()).then(|| login.token());
    let firsts = firsts(logins, key);
    let rows = firsts.values().map(|first| Token::of(&logins[*first]));
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    let mut taken = BTreeSet::new();
    for rows in portions(&rows) {
        let mut insert = QueryBuilder::<Db>::new(TOKENS);
        insert.push_values(rows, |row, token: &Token<'_>| {
            token.bind(row, rules_revision)
        });
        insert.push(" ON CONFLICT (hash) DO NOTHING RETURNING hash");
        let hashes: Vec<Vec<u8>> = insert
            .build_query_scalar()
            .fetch_all(&mut *connection)
            .await?;
        taken.extend(hashes);
    }
    let replayed = Standing::Refused(DenyReason::AssertionReplayed);
    keep(logins, &firsts, &taken, key, replayed);
    Ok(())
}

/// In the order of their keys. One that was revoked meanwhile stays so.
async fn renew_tokens(
    connection: &mut Connection,
    logins: &mut [Login<'_>],
) -> Result<(), StoreError> {
    let mut renewals: Vec<_> = logins
        .iter_mut()
        .filter(|login| login.standing == Standing::New && login.is_renewal())
        .collect();
    renewals.sort_by_key(|login| login.token());
    for login in renewals {
        // Another renewal may have given it more meanwhile.
        let renewed = sqlx::query(
            "UPDATE tokens
             SET expire_time = CASE WHEN expire_time > $2 THEN expire_time ELSE $2 END
             WHERE hash = $1",
        )
        .bind(login.token())
        .bind(micros(login.granted().expire_time))
        .execute(&mut *connection)
        .await?;
        if renewed.rows_affected() != 1 {
            login.standing = Standing::Refused(DenyReason::RenewedTokenUnknown);
            continue;
        }
        claims::keep(connection, login).await?;
    }
    Ok(())
}

/// The first login with each key, among those that are new and need one.
fn firsts<K: Ord>(
    logins: &[Login<'_>],
    key: impl Fn(&Login<'_>) -> Option<K>,
) -> BTreeMap<K, usize> {
    let mut firsts = BTreeMap::new();
    for (i, login) in logins.iter().enumerate() {
        if login.standing == Standing::New
            && let Some(key) = key(login)
        {
            firsts.entry(key).or_insert(i);
        }
    }
    firsts
}

/// Leaves new whose key was taken for it, and who needs none; all others that were become `lost`.
fn keep<K: Ord>(
    logins: &mut [Login<'_>],
    firsts: &BTreeMap<K, usize>,
    taken: &BTreeSet<K>,
    key: impl Fn(&Login<'_>) -> Option<K>,
    lost: Standing,
) {
    for (i, login) in logins.iter_mut().enumerate() {
        if login.standing == Standing::New
            && let Some(key) = key(login)
            && !(firsts.get(&key) == Some(&i) && taken.contains(&key))
        {
            login.standing = lost;
        }
    }
}

// === impl Login ===

impl<'r> Login<'r> {
    fn new(place: usize, request: &'r Exchange, allowed: Allowed) -> Self {
        Self {
            place,
            request,
            allowed,
            sha256: digest::digest(&digest::SHA256, request.assertion.as_bytes()),
            renews: None,
            first_said: None,
            jwt: None,
            standing: Standing::New,
        }
    }

    fn is_renewal(&self) -> bool {
        self.allowed.claims.renews
    }

    /// What must be the same for a token to be renewed.
    fn subject(&self) -> TokenSubject {
        let (claims, facts) = (&self.allowed.claims, self.allowed.grant.facts());
        TokenSubject {
            method_uid: self.allowed.method.uid.to_string(),
            config_uid: claims.config_uid.to_string(),
            service_account_uid: facts.service_account_uid.clone(),
            pod_uid: facts.pod_uid.clone(),
        }
    }

    fn assertion(&self) -> (String, String) {
        let Allowed { method, claims, .. } = &self.allowed;
        (method.uid.to_string(), claims.jti.to_string())
    }

    /// What its token is stored under. What the gateway drew is nobody's where there is a JWT.
    fn token(&self) -> Vec<u8> {
        let jwt = self.allowed.audiences.is_some() && !self.is_renewal();
        let hash = match jwt {
            true => TokenHash::of_jwt(&self.request.accessor),
            false => self.allowed.claims.token,
        };
        hash.as_bytes().to_vec()
    }

    /// Whether its method takes each presented token once.
    fn is_single_use(&self) -> bool {
        let kubernetes = self.allowed.method.kubernetes();
        kubernetes.is_some_and(|kubernetes| kubernetes.tokens.single_use)
    }

    /// What the presented token is known by, and its end.
    fn presented(&self) -> Result<((String, String), Timestamp), DenyReason> {
        let facts = self.allowed.grant.facts();
        let credential_id = facts.credential_id.clone();
        let credential_id = credential_id.ok_or(DenyReason::CredentialIdMissing)?;
        // Without an end it would have to be remembered for ever.
        let end = facts.expire_time.ok_or(DenyReason::TokenWithoutExpiry)?;
        let config_uid = self.allowed.claims.config_uid.to_string();
        Ok(((config_uid, credential_id), end))
    }

    fn granted(&self) -> Granted {
        let jwt = self.jwt.clone().map(Unsigned::of);
        if let Some(renewed) = &self.renews {
            return Granted {
                jwt,
                ..renewed.clone()
            };
        }
        let Allowed { grant, config, .. } = &self.allowed;
        let gateway = self.request.gateway.name.as_str();
        Granted {
            accessor: self.request.accessor.clone(),
            expire_time: stored(grant.expire_time()),
            sub_claims: grant.facts().sub_claims(&config.to_string(), gateway),
            renewed: false,
            jwt,
        }
    }
}

#[derive(sqlx::FromRow)]
struct FirstAnswer {
    sha256: Vec<u8>,
    gateway_uid: String,
    accessor: String,
    expire_time: i64,
    sub_claims: String,
    /// Of a login.
    jwt_claims: Option<String>,
    /// Of a renewal.
    renewed_claims: Option<String>,
}

/// `None` for who didn't get it; the inner error is of its row.
async fn first_answer(
    connection: &mut Connection,
    login: &Login<'_>,
) -> Result<Result<Option<Granted>, Inconsistent>, StoreError> {
    let (method_uid, jti) = login.assertion();
    let row: Option<FirstAnswer> = sqlx::query_as(
        "SELECT a.sha256, a.gateway_uid, a.jwt_claims AS renewed_claims, t.accessor,
                t.expire_time, t.sub_claims, t.jwt_claims
         FROM assertions a JOIN tokens t ON t.accessor = a.accessor
         WHERE a.method_uid = $1 AND a.jti = $2",
    )
    .bind(method_uid)
    .bind(jti)
    .fetch_optional(connection)
    .await?;
    let gateway_uid = login.request.gateway.uid.to_string();
    let same =
        |row: &FirstAnswer| row.sha256 == login.sha256.as_ref() && row.gateway_uid == gateway_uid;
    let Some(row) = row.filter(same) else {
        return Ok(Ok(None));
    };
    Ok(match granted(&row, login.is_renewal()) {
        Some(granted) => Ok(Some(granted)),
        None => Err(Inconsistent {
            table: "tokens",
            column: "sub_claims",
            key: row.accessor,
        }),
    })
}

fn granted(row: &FirstAnswer, renewed: bool) -> Option<Granted> {
    let claims = match renewed {
        true => &row.renewed_claims,
        false => &row.jwt_claims,
    };
    let claims: Option<jwt::Claims> = match claims {
        None => None,
        Some(claims) => Some(serde_json::from_str(claims).ok()?),
    };
    let expire_time = time(row.expire_time)?;
    Some(Granted {
        accessor: row.accessor.parse::<Accessor>().ok()?,
        expire_time: match &claims {
            Some(said) => claims::end(said, expire_time)?,
            None => expire_time,
        },
        sub_claims: serde_json::from_str(&row.sub_claims).ok()?,
        renewed,
        jwt: claims.map(Unsigned::of),
    })
}
