//! `auth_methods`, each row joined with one of its keys.

use std::time::Duration;

use postern_core::auth_method::{
    Audiences, AuthMethod, Kind, Kubernetes, MethodKey, Settings, TokenBounds, TokenFormat,
    TokenTtl, TokenUses,
};
use postern_core::key::PublicKey;
use postern_core::meta::Stored;
use postern_core::rule::{Rule, RuleSpec};
use postern_core::seconds::Seconds;

use super::{Inconsistent, RowOf};

pub(in crate::store) const KIND_KUBERNETES: &str = "kubernetes";
pub(in crate::store) const KIND_ACCESS_KEY: &str = "access_key";
const FORMAT_OPAQUE: &str = "opaque";
const FORMAT_JWT: &str = "jwt";

/// As a method's and a token's row have it.
pub(in crate::store) fn format(jwt: bool) -> &'static str {
    if jwt { FORMAT_JWT } else { FORMAT_OPAQUE }
}

#[derive(PartialEq, sqlx::FromRow)]
pub(in crate::store) struct MethodRow {
    uid: String,
    id: String,
    access_id: String,
    kind: String,
    description: String,
    access_expire_time: Option<i64>,
    token_ttl_seconds: i64,
    token_max_ttl_seconds: Option<i64>,
    token_num_uses: Option<i64>,
    cap_to_presented_expiry: bool,
    token_format: String,
    token_audiences: String,
    disabled: bool,
    bound_ips: String,
    gw_bound_ips: String,
    force_sub_claims: bool,
    audit_logs_claims: String,
    delete_protection: bool,
    audiences: String,
    allow_any_audience: bool,
    allow_legacy_tokens: bool,
    require_pod: bool,
    single_use: bool,
    max_presented_age_seconds: Option<i64>,
    max_presented_lifetime_seconds: Option<i64>,
    revoke_with_pod: bool,
    rules: String,
    revision: i64,
    create_time: i64,
    update_time: i64,
    // Absent where the method has no key.
    key_id: Option<String>,
    public_key: Option<String>,
    key_create_time: Option<i64>,
    key_expire_time: Option<i64>,
}

/// Methods out of rows that stand together for each method, with what they weigh on a page.
pub(in crate::store) fn methods(
    rows: &[MethodRow],
) -> impl Iterator<Item = (usize, Result<Stored<AuthMethod>, Inconsistent>)> {
    rows.chunk_by(|a, b| a.uid == b.uid)
        .map(|rows| (weight(rows), method(rows)))
}

fn weight(rows: &[MethodRow]) -> usize {
    let keys: usize = rows
        .iter()
        .filter_map(|row| Some(row.public_key.as_ref()?.len() + 200))
        .sum();
    let lists = rows.first().map_or(0, |row| {
        row.rules.len() + row.audiences.len() + row.bound_ips.len() + row.gw_bound_ips.len()
    });
    keys + lists + 2048
}

fn method(rows: &[MethodRow]) -> Result<Stored<AuthMethod>, Inconsistent> {
    let Some(row) = rows.first() else {
        return Err(RowOf {
            table: "auth_methods",
            key: "",
        }
        .fault("uid"));
    };
    let at = RowOf {
        table: "auth_methods",
        key: &row.uid,
    };
    let settings = settings(&at, row, rows)?;
    // What the API refuses to write denies when found stored.
    settings.check().map_err(|_| at.fault("rules"))?;
    Ok(Stored {
        value: AuthMethod {
            id: at.parsed("id", &row.id)?,
            uid: at.parsed("uid", &row.uid)?,
            access_id: at.parsed("access_id", &row.access_id)?,
            settings,
        },
        revision: row.revision,
        create_time: at.time("create_time", row.create_time)?,
        update_time: at.time("update_time", row.update_time)?,
    })
}

fn settings(at: &RowOf<'_>, row: &MethodRow, rows: &[MethodRow]) -> Result<Settings, Inconsistent> {
    let ttl = TokenTtl::parse(row.token_ttl_seconds, 0).ok();
    let ttl =
        ttl.filter(|ttl| ttl.get() == Duration::from_secs(row.token_ttl_seconds.unsigned_abs()));
    let kind = match row.kind.as_str() {
        KIND_KUBERNETES => Kind::Kubernetes(kubernetes(at, row, rows)?),
        KIND_ACCESS_KEY => Kind::AccessKey,
        _ => return Err(at.fault("kind")),
    };
    Ok(Settings {
        description: row.description.clone(),
        access_expires: at.time_or_none("access_expire_time", row.access_expire_time)?,
        token_ttl: at.some("token_ttl_seconds", ttl)?,
        token_max_ttl: seconds(at, "token_max_ttl_seconds", row.token_max_ttl_seconds)?,
        token_num_uses: uses(at, row.token_num_uses)?,
        cap_to_presented_expiry: row.cap_to_presented_expiry,
        token_format: token_format(at, row)?,
        disabled: row.disabled,
        bound_ips: at.list("bound_ips", &row.bound_ips)?,
        gw_bound_ips: at.list("gw_bound_ips", &row.gw_bound_ips)?,
        force_sub_claims: row.force_sub_claims,
        audit_logs_claims: at.list("audit_logs_claims", &row.audit_logs_claims)?,
        delete_protection: row.delete_protection,
        kind,
    })
}

/// A number that is there means a limit: one that is none must not read as no limit.
fn seconds<const MAX: u64>(
    at: &RowOf<'_>,
    column: &'static str,
    seconds: Option<i64>,
) -> Result<Option<Seconds<MAX>>, Inconsistent> {
    let parsed = |seconds| Seconds::parse(seconds, 0).ok().flatten();
    seconds
        .map(|seconds| at.some(column, parsed(seconds)))
        .transpose()
}

fn uses(at: &RowOf<'_>, uses: Option<i64>) -> Result<Option<TokenUses>, Inconsistent> {
    let parsed = |uses| TokenUses::parse(uses).ok().flatten();
    uses.map(|uses| at.some("token_num_uses", parsed(uses)))
        .transpose()
}

fn token_format(at: &RowOf<'_>, row: &MethodRow) -> Result<TokenFormat, Inconsistent> {
    let jwt = match row.token_format.as_str() {
        FORMAT_JWT => true,
        FORMAT_OPAQUE => false,
        _ => return Err(at.fault("token_format")),
    };
    let parsed = TokenFormat::parse(jwt, at.json("token_audiences", &row.token_audiences)?);
    at.some("token_audiences", parsed.ok())
}

fn token_bounds(at: &RowOf<'_>, row: &MethodRow) -> Result<TokenBounds, Inconsistent> {
    Ok(TokenBounds {
        allow_legacy: row.allow_legacy_tokens,
        require_pod: row.require_pod,
        single_use: row.single_use,
        max_age: seconds(
            at,
            "max_presented_age_seconds",
            row.max_presented_age_seconds,
        )?,
        max_lifetime: seconds(
            at,
            "max_presented_lifetime_seconds",
            row.max_presented_lifetime_seconds,
        )?,
    })
}

fn kubernetes(
    at: &RowOf<'_>,
    row: &MethodRow,
    rows: &[MethodRow],
) -> Result<Kubernetes, Inconsistent> {
    let audiences = Audiences::parse(
        at.json("audiences", &row.audiences)?,
        row.allow_any_audience,
    );
    let rules: Vec<RuleSpec> = at.json("rules", &row.rules)?;
    let rules: Result<Vec<Rule>, _> = rules.into_iter().map(Rule::parse).collect();
    Ok(Kubernetes {
        audiences: at.some("audiences", audiences.ok())?,
        tokens: token_bounds(at, row)?,
        rules: at.some("rules", rules.ok())?,
        revoke_with_pod: row.revoke_with_pod,
        public_keys: rows
            .iter()
            .filter_map(|row| key(row).transpose())
            .collect::<Result<_, _>>()?,
    })
}

fn key(row: &MethodRow) -> Result<Option<MethodKey>, Inconsistent> {
    let Some(key_id) = &row.key_id else {
        return Ok(None);
    };
    let at = RowOf {
        table: "auth_method_keys",
        key: key_id,
    };
    let pem = at.some("public_key", row.public_key.as_ref())?;
    let key = PublicKey::parse(pem).map_err(|_| at.fault("public_key"))?;
    // The ID is what an assertion names the key by: it must be this key's and no other's.
    if key.id().as_str() != key_id {
        return Err(at.fault("key_id"));
    }
    let create_time = at.some("create_time", row.key_create_time)?;
    Ok(Some(MethodKey {
        key,
        create_time: at.time("create_time", create_time)?,
        expire_time: at.time_or_none("expire_time", row.key_expire_time)?,
    }))
}
