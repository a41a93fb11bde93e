//! How many logins ended in which way.

use jiff::{SignedDuration, Timestamp};
use postern_core::invalid::{Invalid, Violations};
use postern_proto::convert::time;
use postern_proto::pb;

use super::filter::{instant, text};
use super::sealer::KEEP_STATS;
use crate::store::{LoginStat, StatsWindow};

const DEFAULT: SignedDuration = SignedDuration::from_hours(1);
const MINUTE: SignedDuration = SignedDuration::from_mins(1);

pub(super) fn window(
    request: &pb::GetLoginStatsRequest,
    now: Timestamp,
) -> Result<StatsWindow, Invalid> {
    let mut faults = Violations::default();
    let end = instant(&mut faults, "end_time", request.end_time.as_ref());
    let start = instant(&mut faults, "start_time", request.start_time.as_ref());
    faults.finish()?;
    // The minute that `end` stands in counts.
    let end = end.unwrap_or(now);
    let end = minute(
        end.saturating_sub(SignedDuration::from_nanos(1))
            .unwrap_or(end),
    )
    .saturating_add(MINUTE)
    .unwrap_or(end);
    let start = start.unwrap_or_else(|| end.saturating_sub(DEFAULT).unwrap_or(end));
    let start = minute(start);
    if start >= end {
        return Err(Invalid::field("start_time", "must be before end_time"));
    }
    if end.duration_since(start) > KEEP_STATS {
        return Err(Invalid::field(
            "start_time",
            "is more than 31 days before end_time",
        ));
    }
    Ok(StatsWindow {
        start,
        end,
        k8s_auth_config: text(&request.k8s_auth_config),
    })
}

fn minute(at: Timestamp) -> Timestamp {
    let second = at.as_second();
    Timestamp::from_second(second - second.rem_euclid(60)).unwrap_or(at)
}

pub(super) fn response(window: &StatsWindow, stats: Vec<LoginStat>) -> pb::GetLoginStatsResponse {
    let stat = |stat: LoginStat| pb::LoginStat {
        k8s_auth_config: stat.k8s_auth_config,
        result: stat.result,
        reason: stat.reason,
        count: stat.count,
    };
    pb::GetLoginStatsResponse {
        stats: stats.into_iter().map(stat).collect(),
        start_time: Some(time::timestamp(window.start)),
        end_time: Some(time::timestamp(window.end)),
    }
}
