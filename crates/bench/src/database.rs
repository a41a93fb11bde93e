//! The database that logins are kept in, and what one durable row costs there.

use std::time::{Duration, Instant};

use anyhow::Result;
use sqlx::postgres::{PgConnection, PgPoolOptions};
use sqlx::{Connection as _, PgPool};
use tokio::task::JoinSet;

use crate::process;

/// What the server says of itself.
pub(crate) struct Postgres {
    pub(crate) name: String,
    /// All of its processes that are there by now.
    pub(crate) postmaster: Option<u32>,
    pool: PgPool,
}

/// One-row commits: how many a second, and how long each took, in microseconds.
pub(crate) struct Commits {
    pub(crate) length: Duration,
    pub(crate) latencies: Vec<u32>,
}

impl Postgres {
    pub(crate) async fn open(url: &str, clients: u32) -> Result<Self> {
        let pool = PgPoolOptions::new()
            .max_connections(clients)
            .min_connections(clients)
            .connect(url)
            .await?;
        let show = |setting: &'static str| sqlx::query_scalar::<_, String>(setting);
        let version = show("SHOW server_version").fetch_one(&pool).await?;
        let fsync = show("SHOW fsync").fetch_one(&pool).await?;
        let commit = show("SHOW synchronous_commit").fetch_one(&pool).await?;
        let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
            .fetch_one(&pool)
            .await?;
        sqlx::raw_sql(
            "SET client_min_messages = warning;
             DROP TABLE IF EXISTS postern_bench_commits;
             CREATE TABLE postern_bench_commits (id TEXT PRIMARY KEY, row_text TEXT NOT NULL)",
        )
        .execute(&pool)
        .await?;
        let version = version.split(' ').next().unwrap_or_default().to_owned();
        Ok(Self {
            name: format!("PostgreSQL {version}, fsync {fsync}, synchronous_commit {commit}"),
            // Absent where the server is on another machine.
            postmaster: u32::try_from(pid).ok().and_then(process::parent),
            pool,
        })
    }

    /// Inserts single rows, each in a transaction of its own.
    pub(crate) async fn commits(&self, clients: usize, length: Duration) -> Result<Commits> {
        let start = Instant::now();
        let mut running = JoinSet::new();
        for _ in 0..clients {
            let connection = self.pool.acquire().await?.detach();
            running.spawn(insert(connection, start + length));
        }
        let mut latencies = Vec::new();
        while let Some(done) = running.join_next().await {
            latencies.append(&mut done??);
        }
        Ok(Commits {
            length: start.elapsed(),
            latencies,
        })
    }

    pub(crate) async fn clean_up(&self) -> Result<()> {
        sqlx::query("DROP TABLE postern_bench_commits")
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

async fn insert(mut connection: PgConnection, end: Instant) -> Result<Vec<u32>> {
    // As long as a token's row.
    let text = "x".repeat(500);
    let mut latencies = Vec::new();
    while Instant::now() < end {
        let begun = Instant::now();
        sqlx::query("INSERT INTO postern_bench_commits (id, row_text) VALUES ($1, $2)")
            .bind(uuid::Uuid::new_v4().to_string())
            .bind(&text)
            .execute(&mut connection)
            .await?;
        latencies.push(u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    connection.close().await?;
    Ok(latencies)
}
