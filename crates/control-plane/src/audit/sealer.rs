//! What happens to records beside the requests: sealing, and what retention removes.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use postern_core::audit::chain::{Chain, Seal};
use tokio::time::{MissedTickBehavior, interval};

use super::log::Log;
use crate::context::Context;
use crate::store::StoreError;

const SEAL_EVERY: Duration = Duration::from_secs(1);
const PRUNE_EVERY: Duration = Duration::from_secs(60);
/// How long logins are counted for.
pub(super) const KEEP_STATS: SignedDuration = SignedDuration::from_hours(31 * 24);
/// How long the last lines may take when the server stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// Seals each second what has been committed. Never ends by itself.
pub(crate) async fn seal(context: Context, log: Log) {
    let mut ticks = interval(SEAL_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        round(&context, &log).await;
    }
}

/// What was recorded since the last seal, and the lines that wait.
pub(crate) async fn finish(context: &Context, log: &Log) {
    // Without a database there is nothing to seal.
    if context.deployment().is_ok()
        && tokio::time::timeout(FAREWELL, last(context, log))
            .await
            .is_err()
    {
        tracing::warn!(
            "stopped before the last audit records were sealed; another replica, or the next start, seals them"
        );
    }
    log.flush(FAREWELL).await;
}

async fn last(context: &Context, log: &Log) {
    if let Err(error) = context.store.close_refusals(None).await {
        tracing::error!(%error, "stopped with counts of refusals that aren't on record");
    }
    round(context, log).await;
}

async fn round(context: &Context, log: &Log) {
    if let Err(error) = context.store.close_refusals(Some(context.now())).await {
        tracing::warn!(%error, "couldn't record how many were refused; trying again");
    }
    match all(context).await {
        Ok(Some(seal)) => log.head(&seal, context.now()),
        Ok(None) => {}
        // The records stay where they are, for the next round.
        Err(error) => tracing::warn!(%error, "couldn't seal audit records"),
    }
}

/// The last of the seals that were made.
async fn all(context: &Context) -> Result<Option<Seal>, StoreError> {
    let mut last = None;
    let chain = Chain(context.deployment()?);
    while let Some(sealed) = context
        .store
        .seal_events(chain, &context.keys, context.now())
        .await?
    {
        last = Some(sealed.seal);
        if !sealed.full {
            break;
        }
    }
    Ok(last)
}

/// Removes records that were sealed longer ago than `keep`, and old counts of logins. Never ends by
/// itself.
pub(crate) async fn retain(context: Context, keep: Option<SignedDuration>) {
    let mut ticks = interval(PRUNE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = prune(&context, keep).await {
            tracing::warn!(%error, "couldn't remove old audit records");
        }
    }
}

async fn prune(context: &Context, keep: Option<SignedDuration>) -> Result<(), StoreError> {
    let ago = |keep| context.now().saturating_sub(keep).unwrap_or(Timestamp::MIN);
    context.store.prune_stats(ago(KEEP_STATS)).await?;
    let Some(keep) = keep else { return Ok(()) };
    let chain = Chain(context.deployment()?);
    let rows = context
        .store
        .prune_events(chain, &context.keys, ago(keep))
        .await?;
    if rows > 0 {
        tracing::info!(
            rows,
            "removed audit records that are older than the retention"
        );
    }
    Ok(())
}
