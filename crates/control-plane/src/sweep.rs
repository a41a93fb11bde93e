//! What happens beside the requests: health, and what has had its time.

use std::time::Duration;

use postern_rpc::http::Component;

use crate::context::Context;
use crate::store::StoreError;

const PING_EVERY: Duration = Duration::from_secs(1);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Gateways that were away for longer get a snapshot.
const KEEP_REVISIONS: i64 = 10_000;

/// Asks the database whether it is there. Never ends by itself.
pub(crate) async fn watch_database(context: Context, database: Component) {
    let mut ticks = tokio::time::interval(PING_EVERY);
    loop {
        ticks.tick().await;
        match tokio::time::timeout(PING_TIMEOUT, context.store.ping()).await {
            Ok(Ok(())) => database.ready(),
            Ok(Err(_)) => database.not_ready("the database doesn't answer"),
            Err(_) => database.not_ready("the database doesn't answer in time"),
        }
    }
}

/// Removes what has expired. Never ends by itself.
pub(crate) async fn sweep(context: Context) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    loop {
        // Also as soon as tokens were taken away.
        tokio::select! {
            _ = ticks.tick() => {}
            () = context.swept_for.notified() => {}
        }
        match once(&context).await {
            Ok(0) => {}
            Ok(rows) => tracing::debug!(rows, "removed what had expired"),
            // The next round comes soon enough.
            Err(error) => tracing::warn!(%error, "couldn't remove what has expired"),
        }
    }
}

async fn once(context: &Context) -> Result<u64, StoreError> {
    let expired = context.store.sweep(context.now()).await?;
    Ok(expired + context.store.prune_changes(KEEP_REVISIONS).await?)
}
