//! What the store promises, held against both engines: each case runs on a PostgreSQL database and
//! on an SQLite file of its own.

mod access_keys;
mod audit;
mod audit_chain;
mod auth_methods;
mod batches;
mod bed;
mod behind;
mod beyond_own;
mod black_hole;
mod blocks;
mod caller_gone;
mod connecting;
mod exchange;
mod feed;
mod fixtures;
mod gateways;
mod instances;
mod jwts;
mod k8s_auth_configs;
mod limits;
mod method_keys;
mod pods;
mod races;
mod revocations;
mod revoked_meanwhile;
mod roles;
mod signing_keys;
mod single_use;
mod token_life;
mod tokens;
mod unreadable;
mod uses;
mod ways_in;

/// A test for each engine out of each `async fn case(bed: Bed)`.
macro_rules! on_both_engines {
    ($($case:ident,)+) => {
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                if let Some(bed) = crate::store::contract::bed::Bed::postgres().await {
                    super::$case(bed).await;
                }
            })+
        }

        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(crate::store::contract::bed::Bed::sqlite().await).await;
            })+
        }
    };
}
use on_both_engines;
