//! Rows as the databases give them, and the way from there to values that can't be wrong.
//!
//! A row that doesn't make a valid value is an error, never a value: a rule that can't be read
//! must not read as one that isn't there.

mod audit;
mod block;
mod config;
mod gateway;
mod instance;
mod live_token;
mod method;
mod role;
mod signing_key;
mod token;

use std::str::FromStr;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Inconsistent, StoreError};

pub(super) use audit::{EventRow, LoginBucket};
pub(super) use block::BlockRow;
pub(super) use config::ConfigRow;
pub(super) use gateway::GatewayRow;
pub(super) use instance::InstanceRow;
pub(super) use live_token::LiveTokenRow;
pub(super) use method::{KIND_ACCESS_KEY, KIND_KUBERNETES, MethodRow, format, methods};
pub(super) use role::{AssociationRow, RoleColumns, RoleRow, given, held};
pub(super) use signing_key::{SignerRow, SigningKeyRow};
pub(super) use token::{TokenRow, TokenSubject};

/// Names the row in errors.
struct RowOf<'k> {
    table: &'static str,
    key: &'k str,
}

impl RowOf<'_> {
    fn fault(&self, column: &'static str) -> Inconsistent {
        Inconsistent {
            table: self.table,
            column,
            key: self.key.to_owned(),
        }
    }

    fn some<T>(&self, column: &'static str, value: Option<T>) -> Result<T, Inconsistent> {
        value.ok_or_else(|| self.fault(column))
    }

    fn parsed<T: FromStr>(&self, column: &'static str, text: &str) -> Result<T, Inconsistent> {
        self.some(column, text.parse().ok())
    }

    fn json<T: DeserializeOwned>(
        &self,
        column: &'static str,
        text: &str,
    ) -> Result<T, Inconsistent> {
        self.some(column, serde_json::from_str(text).ok())
    }

    /// A JSON list of texts that are parsed each.
    fn list<T: FromStr>(&self, column: &'static str, text: &str) -> Result<Vec<T>, Inconsistent> {
        let texts: Vec<String> = self.json(column, text)?;
        texts.iter().map(|text| self.parsed(column, text)).collect()
    }

    fn time(&self, column: &'static str, micros: i64) -> Result<Timestamp, Inconsistent> {
        self.some(column, super::time::time(micros))
    }

    fn time_or_none(
        &self,
        column: &'static str,
        micros: Option<i64>,
    ) -> Result<Option<Timestamp>, Inconsistent> {
        micros.map(|micros| self.time(column, micros)).transpose()
    }
}

/// A list or the like as a column.
pub(super) fn to_json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|e| sqlx::Error::Encode(e.into()).into())
}
