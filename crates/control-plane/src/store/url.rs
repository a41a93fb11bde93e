//! Which database to use.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// `postgres://…` or `sqlite:PATH`. May hold a password, and so has no `Debug`.
#[derive(Clone)]
pub struct DatabaseUrl(pub(super) Target);

#[derive(Clone)]
pub(super) enum Target {
    Postgres(Box<PgConnectOptions>),
    Sqlite(PathBuf),
}

/// Why a text names no database that can be used. Never holds the text.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseUrlError {
    /// Nothing was given.
    #[error("is empty: give `postgres://…` or `sqlite:PATH`")]
    Empty,
    /// Another scheme, or none.
    #[error("must begin with `postgres://` or `sqlite:`")]
    Scheme,
    /// `sqlite:` without a file: a database in memory would be another one for each connection.
    #[error("must name a file after `sqlite:`")]
    SqlitePath,
    /// Not the URL of a PostgreSQL.
    #[error("is not a PostgreSQL URL: {0}")]
    Postgres(#[source] sqlx::Error),
    /// Passwords and tokens' hashes would go over the network to whoever answers.
    #[error(
        "names the PostgreSQL server `{0}` beyond this host, which needs `sslmode=verify-full` (and `sslrootcert=FILE` for a private CA)"
    )]
    NotVerified(String),
}

// === impl DatabaseUrl ===

impl DatabaseUrl {
    /// Whether it is somebody else's to start: a file is there, or never comes.
    pub(crate) fn may_be_away(&self) -> bool {
        matches!(self.0, Target::Postgres(_))
    }
}

impl FromStr for DatabaseUrl {
    type Err = DatabaseUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().is_empty() {
            return Err(DatabaseUrlError::Empty);
        }
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() || path.contains(":memory:") || path.contains('?') {
                return Err(DatabaseUrlError::SqlitePath);
            }
            return Ok(Self(Target::Sqlite(PathBuf::from(path))));
        }
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(DatabaseUrlError::Scheme);
        }
        let options: PgConnectOptions = text.parse().map_err(DatabaseUrlError::Postgres)?;
        if !stays_here(&options) && !matches!(options.get_ssl_mode(), PgSslMode::VerifyFull) {
            return Err(DatabaseUrlError::NotVerified(options.get_host().to_owned()));
        }
        Ok(Self(Target::Postgres(Box::new(options))))
    }
}

fn stays_here(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    options.get_socket().is_some()
        || host.starts_with('/')
        || host == "localhost"
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        text.parse::<DatabaseUrl>()
            .err()
            .map_or_else(String::new, |e| e.to_string())
    }

    #[test]
    fn a_server_beyond_this_host_must_prove_who_it_is() {
        for near in [
            "postgres://u:p@localhost/d",
            "postgres://u@127.0.0.1:5433/d",
            "postgresql://u@[::1]/d",
            "postgres:///d?host=/run/postgresql",
            "postgres://%2Frun%2Fpostgresql/d",
            "postgres://u@db.example/d?sslmode=verify-full",
            "sqlite:relative.db",
            "sqlite:/abs/x.db",
            "sqlite:///abs/x.db",
        ] {
            assert_eq!(fault(near), "", "{near}");
        }
        for mode in [
            "",
            "?sslmode=require",
            "?sslmode=verify-ca",
            "?sslmode=disable",
        ] {
            let fault = fault(&format!("postgres://u:hunter2@db.example/d{mode}"));
            assert!(fault.contains("sslmode=verify-full"), "{fault}");
            assert!(!fault.contains("hunter2"), "{fault}");
        }
    }

    #[test]
    fn what_is_no_database_is_named() {
        assert!(fault("").contains("empty"));
        assert!(fault("mysql://x").contains("must begin with"));
        for text in ["sqlite:", "sqlite::memory:", "sqlite:x?mode=memory"] {
            assert!(fault(text).contains("name a file"), "{text}");
        }
        assert!(!fault("postgres://u:hunter2@[/d").contains("hunter2"));
    }
}
