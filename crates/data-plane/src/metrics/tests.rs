use super::*;
use crate::sample::noon;

fn counted(act: impl FnOnce(&Metrics)) -> String {
    let mut registry = postern_rpc::metrics::Metrics::new();
    let metrics = Metrics::register(&mut registry);
    act(&metrics);
    registry.text().unwrap()
}

#[test]
fn each_metric_moves_when_its_thing_happens() {
    let second = Duration::from_secs(1);
    let text = counted(|metrics| {
        let cluster = metrics.cluster(&"k8s-conf".parse().unwrap());
        cluster.reviewed("201", second);
        cluster.waited(second);
        cluster.rejected();
        cluster.jwks_fetched(true, noon());
        metrics.verdict_cache.count(CacheUse::ConfirmedHit);
        metrics.verdict_cache.count(CacheUse::RefusedHit);
        metrics.verdict_cache.count(CacheUse::Joined);
        metrics.verdict_cache.count(CacheUse::Miss);
        metrics.propagated(noon(), noon());
        metrics.audit().sent(3);
        metrics.audit().dropped(2);
    });
    for line in [
        "postern_tokenreview_requests_total{config=\"k8s-conf\",code=\"201\"} 1",
        "postern_tokenreview_duration_seconds_count{config=\"k8s-conf\",code=\"201\"} 1",
        "postern_tokenreview_queue_wait_seconds_count{config=\"k8s-conf\"} 1",
        "postern_tokenreview_rejected_total{config=\"k8s-conf\"} 1",
        "postern_rate_limited_total{scope=\"cluster_queue\"} 1",
        "postern_jwks_fetch_total{config=\"k8s-conf\",status=\"success\"} 1",
        "postern_verdict_cache_requests_total{cache=\"success\",status=\"hit\"} 1",
        "postern_verdict_cache_requests_total{cache=\"refusal\",status=\"hit\"} 1",
        "postern_verdict_cache_requests_total{cache=\"success\",status=\"joined\"} 1",
        "postern_verdict_cache_requests_total{cache=\"success\",status=\"miss\"} 1",
        "postern_config_propagation_seconds_count 1",
        "postern_audit_events_total{sink=\"control_plane\"} 3",
        "postern_audit_dropped_total{sink=\"control_plane\"} 2",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}\n{text}");
    }
}
