//! What is asked for when the metrics are read.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use postern_core::clock::Clock;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::cluster::Cluster;
use crate::snapshot::Snapshot;

/// Reads them from the snapshot and its clusters, so that a deleted config has none.
pub(crate) struct Gauges {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) clock: Clock,
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.snapshot(&mut encoder)?;
        let clusters = self.snapshot.clusters();
        verdicts(&mut encoder, &clusters)?;
        let in_flight = |it: &Cluster| Some(read(&it.metrics().now.in_flight));
        let up = |it: &Cluster| match read(&it.metrics().now.reviewer_up) {
            0 => None,
            up => Some(i64::from(up > 0)),
        };
        let now = self.clock.now();
        let expiry = |it: &Cluster| it.alarming_expire_time(now).map(Timestamp::as_second);
        let success = |it: &Cluster| known(&it.metrics().now.jwks_success);
        let pods = |it: &Cluster| it.watched_pods().gauge();
        let seconds = Some(Unit::Seconds);
        by_config(
            &mut encoder,
            ("tokenreview_inflight", "Verifications under way", None),
            &clusters,
            in_flight,
        )?;
        by_config(
            &mut encoder,
            (
                "reviewer_up",
                "Whether the API server accepted the reviewer's credential when it was last used",
                None,
            ),
            &clusters,
            up,
        )?;
        by_config(
            &mut encoder,
            (
                "reviewer_credential_expiry_timestamp",
                "When the reviewer's credential in use expires; of the gateway's own service account only once its token should have been replaced",
                seconds.as_ref(),
            ),
            &clusters,
            expiry,
        )?;
        by_config(
            &mut encoder,
            (
                "pods_watched",
                "Whether pods are watched, of methods whose tokens end with their pods",
                None,
            ),
            &clusters,
            pods,
        )?;
        by_config(
            &mut encoder,
            (
                "jwks_last_success_timestamp",
                "When the cluster's keys were last fetched",
                seconds.as_ref(),
            ),
            &clusters,
            success,
        )
    }
}

impl Gauges {
    fn snapshot(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        if let Some(revision) = self.snapshot.revision() {
            let help = "The control plane's revision that is in use";
            let metric =
                encoder.encode_descriptor("snapshot_revision", help, None, MetricType::Gauge)?;
            ConstGauge::new(revision).encode(metric)?;
        }
        let Some(heard) = self.snapshot.heard() else {
            return Ok(());
        };
        let age = self.clock.now().duration_since(heard).as_secs_f64();
        let help = "How long ago the control plane last said something";
        let unit = Unit::Seconds;
        let metric =
            encoder.encode_descriptor("snapshot_age", help, Some(&unit), MetricType::Gauge)?;
        ConstGauge::new(age.max(0.0)).encode(metric)
    }
}

impl fmt::Debug for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gauges")
    }
}

fn verdicts(
    encoder: &mut DescriptorEncoder<'_>,
    clusters: &[Arc<Cluster>],
) -> Result<(), fmt::Error> {
    let entries = clusters.iter().map(|cluster| cluster.cached_verdicts());
    let (success, refusal) = entries.fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
    let help = "Verdicts in memory, expired ones included";
    let mut metric =
        encoder.encode_descriptor("verdict_cache_entries", help, None, MetricType::Gauge)?;
    for (cache, count) in [("success", success), ("refusal", refusal)] {
        let labels = [("cache", cache)];
        let metric = metric.encode_family(&labels)?;
        ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX)).encode(metric)?;
    }
    Ok(())
}

fn by_config(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, unit): (&str, &str, Option<&Unit>),
    clusters: &[Arc<Cluster>],
    value: impl Fn(&Cluster) -> Option<i64>,
) -> Result<(), fmt::Error> {
    let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    for cluster in clusters {
        if let Some(value) = value(cluster) {
            let metric = metric.encode_family(&*cluster.metrics().config)?;
            ConstGauge::new(value).encode(metric)?;
        }
    }
    Ok(())
}

fn read(gauge: &AtomicI64) -> i64 {
    gauge.load(Ordering::Relaxed)
}

fn known(gauge: &AtomicI64) -> Option<i64> {
    Some(read(gauge)).filter(|value| *value != 0)
}
