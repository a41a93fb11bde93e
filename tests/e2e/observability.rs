//! The dashboard, the alert rules and the page of metrics ask for what a running deployment has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use crate::documents::{ROOT, read, sources};
use crate::load::{authority, metrics, of_gateway, samples};
use crate::support::{World, eventually};

const HOUR: Duration = Duration::from_secs(3600);
/// What Prometheus adds, and what a histogram's buckets have.
const BESIDE: [&str; 2] = ["instance", "le"];
const WORDS: [&str; 14] = [
    "by",
    "group_left",
    "histogram_quantile",
    "increase",
    "max",
    "min",
    "on",
    "rate",
    "sum",
    "time",
    "unless",
    "m",
    "s",
    "h",
];

/// Each metric, and its labels.
type Metrics = BTreeMap<String, BTreeSet<String>>;

/// What both servers show after a day's work.
fn live() -> &'static Metrics {
    static LIVE: OnceLock<Metrics> = OnceLock::new();
    LIVE.get_or_init(|| {
        let world = World::checked_every(Duration::from_millis(200));
        work(&world);
        let control_plane = authority(world.stack().control_plane_url());
        let texts = [of_gateway(&world), metrics(&world, &control_plane).1];
        let mut live = Metrics::new();
        for (name, labels) in texts.iter().flat_map(|text| samples(text)) {
            let labels = labels.into_iter().map(|(name, _)| name);
            live.entry(name).or_default().extend(labels);
        }
        live
    })
}

fn work(world: &World) {
    let method = world.route("watched");
    let good = world.pod_token("mypod1");
    world.log_in(&method.access_id, "watched", &good).success();
    let other = world.pod_token("mypod3");
    world.log_in(&method.access_id, "watched", &other).refused();
    world.cluster().let_review("reviewer").unwrap();
    let pair = world.cluster().client_certificate("reviewer", &[], HOUR);
    let (certificate, key) = pair.unwrap();
    world.admin.ok(&[
        "k8s-auth-config",
        "update",
        "--name=watched",
        "--k8s-auth-type=certificate",
        "--k8s-client-certificate",
        &certificate,
        "--k8s-client-key",
        &key,
    ]);
    let offline = world.method_with(
        "keys",
        &[
            "--audience",
            "postern",
            "--bound-namespaces",
            "my-namespace-a",
        ],
    );
    let mut args = world.config_args("keys", &offline);
    args.extend(["--mode".to_owned(), "offline".to_owned()]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    world.admin.ok(&args);
    for metric in [
        "postern_reviewer_credential_expiry_timestamp_seconds{",
        "postern_jwks_last_success_timestamp_seconds{",
        "postern_tls_certificate_expiry_timestamp_seconds{side=\"client\"}",
    ] {
        eventually(metric, Duration::from_secs(10), || {
            of_gateway(world).contains(metric).then_some(())
        });
    }
    let control_plane = authority(world.stack().control_plane_url());
    let keys = "postern_signing_key_expiry_timestamp_seconds{state=\"active\"} inf";
    eventually(keys, Duration::from_secs(10), || {
        metrics(world, &control_plane)
            .1
            .contains(keys)
            .then_some(())
    });
}

/// A histogram is one metric.
fn base(name: &str) -> &str {
    let suffixes = ["_bucket", "_count", "_sum"];
    let histogram = suffixes.iter().find_map(|suffix| {
        let base = name.strip_suffix(suffix)?;
        live()
            .contains_key(&format!("{base}_bucket"))
            .then_some(base)
    });
    histogram.unwrap_or(name)
}

/// The words of a query, with what stands before and behind each.
fn words(query: &str) -> Vec<(&str, &str)> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut words = Vec::new();
    let mut rest = query;
    while let Some(start) = rest.find(is_word) {
        let behind = &rest[start..];
        let end = behind.find(|c| !is_word(c)).unwrap_or(behind.len());
        words.push((&behind[..end], &behind[end..]));
        rest = &behind[end..];
    }
    words
}

/// Text in quotes is a value.
fn without_values(query: &str) -> String {
    query.split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
}

/// The labels of `{a="",b=~""}`.
fn matched(behind: &str) -> Vec<&str> {
    let inside = behind.strip_prefix('{').and_then(|it| it.split_once('}'));
    let parts = inside.map(|(inside, _)| inside.split(','));
    let labels = parts
        .into_iter()
        .flatten()
        .filter_map(|part| part.split(['=', '!']).next());
    labels.map(str::trim).collect()
}

/// Everything that a query asks for exists.
fn check(place: &str, query: &str) {
    for (open, close) in [('(', ')'), ('{', '}'), ('[', ']')] {
        assert_eq!(
            query.matches(open).count(),
            query.matches(close).count(),
            "{place}: {query}"
        );
    }
    let query = without_values(query);
    let metrics: Vec<_> = words(&query)
        .into_iter()
        .filter(|(word, _)| word.starts_with("postern_"))
        .collect();
    assert!(!metrics.is_empty(), "{place} asks for nothing: {query}");
    let mut labels: BTreeSet<&str> = BESIDE.into();
    for (metric, behind) in &metrics {
        let has = live()
            .get(*metric)
            .unwrap_or_else(|| panic!("{place}: there is no {metric}"));
        for label in matched(behind) {
            assert!(has.contains(label), "{place}: {metric} has no {label}");
        }
        labels.extend(has.iter().map(String::as_str));
    }
    for (word, _) in words(&query) {
        let number = word.starts_with(|c: char| c.is_ascii_digit());
        let known = number || WORDS.contains(&word) || live().contains_key(word);
        assert!(
            known || labels.contains(word),
            "{place}: what is {word}? {query}"
        );
    }
}

#[test]
fn every_query_of_the_dashboard_asks_for_metrics_and_labels_that_a_live_stack_has() {
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/postern.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let mut queries = 0;
    for panel in panels.filter(|panel| panel["type"] != "row") {
        let title = panel["title"].as_str().unwrap();
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            check(title, query);
            let legend = target["legendFormat"].as_str().unwrap();
            for label in legend.split("{{").skip(1) {
                let label = label.split("}}").next().unwrap();
                assert!(query.contains(label), "{title}: {legend} of {query}");
            }
            queries += 1;
        }
    }
    assert!(queries > 15, "{queries}");
}

#[test]
fn every_alert_asks_for_metrics_and_labels_that_a_live_stack_has() {
    let rules: Value = serde_norway::from_str(&read("deploy/prometheus/alerts.yml")).unwrap();
    let rules = rules["groups"][0]["rules"].as_array().unwrap();
    assert!(rules.len() > 10);
    for rule in rules {
        let (name, query) = (
            rule["alert"].as_str().unwrap(),
            rule["expr"].as_str().unwrap(),
        );
        check(name, query);
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(["page", "ticket"].contains(&severity), "{name}");
        let annotations = rule["annotations"].as_object().unwrap();
        assert!(annotations.contains_key("summary"), "{name}");
        for text in annotations.values() {
            for label in text.as_str().unwrap().split("$labels.").skip(1) {
                let label = label.split(' ').next().unwrap();
                assert!(
                    query.contains(label),
                    "{name}: {label} isn't left of {query}"
                );
            }
        }
    }
}

#[test]
fn a_query_for_what_does_not_exist_is_found() {
    for wrong in [
        "postern_logins",
        "rate(postern_logins_total{pod=\"x\"}[5m])",
        "sum by (pod) (postern_logins_total)",
        "sum by (config) (postern_snapshot_age_seconds)",
        "summ(postern_logins_total)",
        "sum(postern_logins_total",
        "up == 0",
    ] {
        let found = std::panic::catch_unwind(|| check("wrong", wrong));
        assert!(found.is_err(), "{wrong}");
    }
}

#[test]
fn the_page_of_metrics_has_every_metric_with_its_labels_and_no_other() {
    let page = read("docs/metrics.md");
    let mut documented = Metrics::new();
    for text in page.split('`').skip(1).step_by(2) {
        let Some((name, labels)) = text.split_once('{') else {
            continue;
        };
        if !name.starts_with("postern_") {
            continue;
        }
        let labels = labels.strip_suffix('}').expect(text).split(',');
        let labels = labels.filter(|label| !label.is_empty()).map(str::to_owned);
        documented
            .entry(name.to_owned())
            .or_default()
            .extend(labels);
    }
    let mut there = Metrics::new();
    for (name, labels) in live() {
        let labels = labels.iter().filter(|label| *label != "le").cloned();
        there
            .entry(base(name).to_owned())
            .or_default()
            .extend(labels);
    }
    for (name, labels) in &there {
        assert_eq!(documented.get(name), Some(labels), "{name} on the page");
    }
    // What hasn't happened here has no sample: it is at least counted somewhere.
    let root = Path::new(ROOT).join("crates");
    let sources = sources(&root);
    for name in documented.keys().filter(|name| !there.contains_key(*name)) {
        let name = name.trim_start_matches("postern_");
        let name = name.trim_end_matches("_total").trim_end_matches("_seconds");
        assert!(
            sources.contains(&format!("\"{name}\"")),
            "nothing counts {name}"
        );
    }
}
