//! Tokens as if they had been issued, by the database itself.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, PgPool};

const SECOND: &str = "postern_bench_full";
/// Rows in a statement.
const CHUNK: u64 = 200_000;
const LOOK: Duration = Duration::from_millis(200);

pub(super) struct Filled(PgPool);

/// The URL of a second database on the same server.
pub(super) async fn create(url: &str) -> Result<String> {
    drop(url).await?;
    let pool = open(url).await?;
    sqlx::query("CREATE DATABASE postern_bench_full")
        .execute(&pool)
        .await?;
    let (base, options) = url
        .split_once('?')
        .map_or((url, None), |(b, o)| (b, Some(o)));
    let (server, _) = base.rsplit_once('/').context("no database in the URL")?;
    let options = options
        .map(|options| format!("?{options}"))
        .unwrap_or_default();
    Ok(format!("{server}/{SECOND}{options}"))
}

pub(super) async fn drop(url: &str) -> Result<()> {
    let pool = open(url).await?;
    // Together they would be one transaction, and no database is dropped in one.
    for statement in [
        "SET client_min_messages = warning",
        "DROP DATABASE IF EXISTS postern_bench_full WITH (FORCE)",
    ] {
        sqlx::raw_sql(statement).execute(&pool).await?;
    }
    Ok(())
}

async fn open(url: &str) -> Result<PgPool> {
    let options: PgConnectOptions = url.parse()?;
    // Filling takes long, and everybody knows.
    let options = options.disable_statement_logging();
    Ok(PgPoolOptions::new()
        .max_connections(1)
        .connect_with(options)
        .await?)
}

impl Filled {
    pub(super) async fn open(url: &str) -> Result<Self> {
        Ok(Self(open(url).await?))
    }

    /// Live ones, from the first.
    pub(super) async fn add(&self, count: u64) -> Result<()> {
        let now = Timestamp::now().as_microsecond();
        self.insert(0, count, now).await
    }

    pub(super) async fn add_expired(&self, after: u64, count: u64) -> Result<()> {
        let two_days = 2 * 86_400_000_000;
        let then = Timestamp::now().as_microsecond() - two_days;
        self.insert(after, count, then).await
    }

    /// Issued at that time, to three pods in ten of a service account's, for a day.
    async fn insert(&self, after: u64, count: u64, issued: i64) -> Result<()> {
        let (mut from, end) = (after + 1, after + count);
        while from <= end {
            let to = end.min(from + CHUNK - 1);
            sqlx::query(
                r#"INSERT INTO tokens
                     (hash, accessor, kind, access_id, method_uid, gateway_uid, config_uid,
                      service_account_uid, pod_uid, namespace, service_account_name, instance,
                      sub_claims, issue_time, expire_time, max_expire_time, rules_revision)
                   SELECT sha256(convert_to('t-' || lpad(i::text, 43, '0'), 'UTF8')),
                          'a-' || left(md5(i::text), 22), 'kubernetes', m.access_id, m.uid,
                          c.gateway_uid, c.uid, md5('account' || i % 100000)::uuid::text,
                          md5('pod' || i / 3)::uuid::text, 'namespace-' || i % 500,
                          'account-' || i % 100000, 'bench',
                          '{"namespace":["namespace-1"],"service_account_name":["account-1"],"service_account_uid":["00000000-0000-0000-0000-000000000000"],"pod_name":["account-1-abcdef"],"pod_uid":["00000000-0000-0000-0000-000000000000"],"aud":["https://kubernetes.default.svc"],"config_name":["gateways/default/k8sAuthConfigs/bench"],"gateway":["default"]}',
                          $3, $3 + 86400000000 + i % 1000, $3 + 86400000000 + i % 1000, r.value
                   FROM generate_series($1, $2) AS i, auth_methods m, k8s_auth_configs c, revision r
                   WHERE m.kind = 'kubernetes' AND c.method_uid = m.uid"#,
            )
            .bind(i64::try_from(from)?)
            .bind(i64::try_from(to)?)
            .bind(issued)
            .execute(&self.0)
            .await?;
            from = to + 1;
        }
        sqlx::raw_sql("ANALYZE tokens; CHECKPOINT")
            .execute(&self.0)
            .await?;
        Ok(())
    }

    pub(super) async fn expired(&self) -> Result<i64> {
        let expired = "SELECT COUNT(*) FROM tokens WHERE expire_time <= $1";
        let expired = sqlx::query_scalar(expired).bind(Timestamp::now().as_microsecond());
        Ok(expired.fetch_one(&self.0).await?)
    }

    /// Waits for the sweep.
    pub(super) async fn sweep_begins(&self, most: Duration) -> Result<Instant> {
        let (before, start) = (self.expired().await?, Instant::now());
        while self.expired().await? == before {
            if start.elapsed() > most {
                bail!("no expired token was swept within {most:?}");
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(Instant::now())
    }

    /// Of the table with its indexes, in bytes.
    pub(super) async fn size(&self) -> Result<i64> {
        let size = "SELECT pg_total_relation_size('tokens')";
        Ok(sqlx::query_scalar(size).fetch_one(&self.0).await?)
    }
}
