use postern_proto::pb::{ConditionStatus, ConditionType};

use super::*;
use crate::sample::{ACCESS_ID, config, config_at, key_line, method, noon, sealer};

struct Stream {
    feed: Feed,
    state: State,
}

impl Stream {
    fn new(sealer: Sealer, api_servers: AllowedApiServers) -> Self {
        let opener = Opener {
            shared: Arc::default(),
            sealer: Arc::new(sealer),
            api_servers: Arc::new(api_servers),
            instance: "replica".to_owned(),
        };
        Self {
            feed: Feed::new(opener),
            state: State::default(),
        }
    }

    /// With an empty snapshot behind it.
    fn begun() -> Self {
        let mut stream = Self::new(
            sealer("default", &[&key_line("k1")]),
            AllowedApiServers::any(),
        );
        stream.snapshot(1, vec![]);
        stream
    }

    fn send(&mut self, revision: i64, change: Change) -> bool {
        let message = pb::WatchResponse {
            revision: revision.to_string(),
            change: Some(change),
        };
        let published = self.feed.apply(message, noon()).unwrap();
        let replaced = published.is_some();
        if let Some(state) = published {
            self.state = state;
        }
        replaced
    }

    fn snapshot(&mut self, revision: i64, changes: Vec<Change>) {
        assert!(!self.send(revision, Change::SnapshotStart(pb::SnapshotStart {})));
        for change in changes {
            assert!(
                !self.send(revision, change),
                "half a snapshot is shown to nobody"
            );
        }
        assert!(self.send(revision, Change::SnapshotEnd(pb::SnapshotEnd {})));
    }

    fn seal(
        &self,
        config: &postern_core::k8s_auth_config::K8sAuthConfig,
    ) -> pb::SealedK8sAuthConfig {
        self.feed.opener.sealer.seal(config).unwrap()
    }

    fn live(&self, id: &str) -> Option<Arc<Cluster>> {
        match &self.state.configs.get(&id.parse().unwrap())?.live {
            ConfigEntry::Live(cluster) => Some(Arc::clone(cluster)),
            ConfigEntry::Unusable => None,
        }
    }

    fn condition(&self, id: &str, kind: ConditionType) -> (ConditionStatus, String) {
        let entry = &self.state.configs[&id.parse().unwrap()];
        let mut of_kind = entry.conditions.iter().filter(|c| c.r#type() == kind);
        let condition = of_kind.next().unwrap();
        assert!(of_kind.next().is_none());
        assert_eq!(condition.instance, "replica");
        (condition.status(), condition.reason.clone())
    }
}

fn access_id(text: &str) -> AccessId {
    text.parse().unwrap()
}

#[test]
fn a_snapshot_is_shown_when_it_is_whole() {
    let mut stream = Stream::new(
        sealer("default", &[&key_line("k1")]),
        AllowedApiServers::any(),
    );
    let row = stream.seal(&config("k8s-conf", 1, 1));
    stream.snapshot(
        7,
        vec![
            Change::AuthMethod(method("m", ACCESS_ID)),
            Change::Config(row),
        ],
    );
    assert_eq!(stream.state.revision, Some(7));
    assert!(stream.live("k8s-conf").is_some());
    assert!(stream.state.methods.contains_key(&access_id(ACCESS_ID)));
    assert_eq!(stream.feed.resume_revision(), "7");
    for kind in [ConditionType::SealIntact, ConditionType::ApiServerAllowed] {
        assert_eq!(stream.condition("k8s-conf", kind).0, ConditionStatus::True);
    }
}

#[test]
fn a_new_snapshot_forgets_what_it_does_not_hold() {
    let mut stream = Stream::begun();
    let (one, two) = (
        stream.seal(&config("one", 1, 1)),
        stream.seal(&config("two", 2, 1)),
    );
    stream.send(2, Change::Config(one.clone()));
    stream.send(3, Change::Config(two));
    let before = stream.live("one").unwrap();
    stream.snapshot(9, vec![Change::Config(one)]);
    assert!(
        Arc::ptr_eq(&before, &stream.live("one").unwrap()),
        "connections stay"
    );
    assert!(!stream.state.configs.contains_key(&"two".parse().unwrap()));
}

#[test]
fn a_snapshot_that_was_cut_off_changes_nothing() {
    let mut stream = Stream::begun();
    let row = stream.seal(&config("one", 1, 1));
    stream.send(2, Change::Config(row));
    stream.send(5, Change::SnapshotStart(pb::SnapshotStart {}));
    stream.feed.reopened();
    assert_eq!(stream.feed.resume_revision(), "2");
    assert!(stream.send(3, Change::Bookmark(pb::Bookmark {})));
    assert!(stream.live("one").is_some());
    assert_eq!(stream.state.revision, Some(3));
}

#[test]
fn a_stream_that_makes_no_sense_is_an_error() {
    let message = |revision: &str, change| pb::WatchResponse {
        revision: revision.to_owned(),
        change: Some(change),
    };
    let fresh = || {
        Stream::new(
            sealer("default", &[&key_line("k1")]),
            AllowedApiServers::any(),
        )
        .feed
    };
    let change = Change::AuthMethod(method("m", ACCESS_ID));
    assert!(fresh().apply(message("1", change), noon()).is_err());
    let end = Change::SnapshotEnd(pb::SnapshotEnd {});
    assert!(fresh().apply(message("1", end), noon()).is_err());
    let start = Change::SnapshotStart(pb::SnapshotStart {});
    assert!(fresh().apply(message("one", start), noon()).is_err());

    let mut stream = Stream::begun();
    stream.feed.distrust();
    assert_eq!(
        stream.feed.resume_revision(),
        "",
        "everything is asked for anew"
    );
}

#[test]
fn a_changed_config_is_another_cluster_and_a_touched_row_is_not() {
    let mut stream = Stream::begun();
    let mut row = stream.seal(&config("one", 1, 1));
    stream.send(2, Change::Config(row.clone()));
    let first = stream.live("one").unwrap();

    row.view.as_mut().unwrap().meta.as_mut().unwrap().etag = "3".to_owned();
    stream.send(3, Change::Config(row));
    assert!(Arc::ptr_eq(&first, &stream.live("one").unwrap()));

    let changed = stream.seal(&config("one", 1, 2));
    stream.send(4, Change::Config(changed));
    assert!(!Arc::ptr_eq(&first, &stream.live("one").unwrap()));
}

#[test]
fn an_older_box_that_is_put_back_is_not_used() {
    let mut stream = Stream::begun();
    let (old, new) = (
        stream.seal(&config("one", 1, 1)),
        stream.seal(&config("one", 1, 2)),
    );
    stream.send(2, Change::Config(old.clone()));
    stream.send(3, Change::Config(new.clone()));
    stream.send(4, Change::Config(old.clone()));
    assert!(stream.live("one").is_none());
    assert_eq!(
        stream.condition("one", ConditionType::SealIntact),
        (ConditionStatus::False, "ROLLED_BACK".to_owned())
    );
    assert_eq!(
        stream.condition("one", ConditionType::ApiServerAllowed).0,
        ConditionStatus::Unknown
    );

    stream.send(
        5,
        Change::DeletedName("gateways/default/k8sAuthConfigs/one".to_owned()),
    );
    stream.send(6, Change::Config(old.clone()));
    assert!(
        stream.live("one").is_none(),
        "not by way of a deletion either"
    );
    stream.snapshot(7, vec![Change::Config(old)]);
    assert!(stream.live("one").is_none(), "nor of a new snapshot");
    stream.send(8, Change::Config(new));
    assert!(stream.live("one").is_some());
}

#[test]
fn an_edited_row_takes_the_config_out_of_use_until_it_is_mended() {
    let mut stream = Stream::begun();
    let row = stream.seal(&config("one", 1, 1));
    let mut edited = row.clone();
    edited.view.as_mut().unwrap().k8s_host = Some("https://thief".to_owned());
    stream.send(2, Change::Config(row.clone()));
    stream.send(3, Change::Config(edited));
    assert!(stream.live("one").is_none());
    assert_eq!(
        stream.condition("one", ConditionType::SealIntact),
        (ConditionStatus::False, "ROW_DIFFERS".to_owned())
    );
    stream.send(4, Change::Config(row));
    assert!(stream.live("one").is_some());
}

#[test]
fn an_api_server_outside_the_list_is_not_used_though_the_box_is_intact() {
    let list = AllowedApiServers::only(vec!["https://allowed".parse().unwrap()]);
    let mut stream = Stream::new(sealer("default", &[&key_line("k1")]), list);
    let rows = [("in", "https://allowed"), ("out", "https://elsewhere")];
    let rows = rows.map(|(id, host)| stream.seal(&config_at(host, id, 1, 1)));
    stream.snapshot(1, rows.map(Change::Config).to_vec());
    assert!(stream.live("in").is_some());
    assert!(stream.live("out").is_none());
    assert_eq!(
        stream.condition("out", ConditionType::ApiServerAllowed),
        (ConditionStatus::False, "NOT_IN_LIST".to_owned())
    );
    assert_eq!(
        stream.condition("out", ConditionType::SealIntact).0,
        ConditionStatus::True
    );
}

#[test]
fn another_gateways_config_is_not_taken() {
    let line = key_line("k1");
    let mut stream = Stream::new(sealer("default", &[&line]), AllowedApiServers::any());
    let mut row = stream.seal(&config("one", 1, 1));
    row.view.as_mut().unwrap().name = "gateways/other/k8sAuthConfigs/one".to_owned();
    stream.snapshot(1, vec![Change::Config(row)]);
    assert!(stream.state.configs.is_empty());
}

#[test]
fn a_method_that_cant_be_read_lets_nobody_in() {
    let mut stream = Stream::begun();
    stream.send(2, Change::AuthMethod(method("m", ACCESS_ID)));
    assert!(stream.state.methods.contains_key(&access_id(ACCESS_ID)));
    let mut damaged = method("m", ACCESS_ID);
    damaged.bound_ips = vec!["nowhere".to_owned()];
    stream.send(3, Change::AuthMethod(damaged));
    assert!(stream.state.methods.is_empty());
}

#[test]
fn a_method_that_was_created_anew_under_its_name_replaces_the_old_one() {
    let mut stream = Stream::begun();
    stream.send(2, Change::AuthMethod(method("m", ACCESS_ID)));
    stream.send(3, Change::AuthMethod(method("m", "p-aaaaaaaaaakx")));
    assert!(!stream.state.methods.contains_key(&access_id(ACCESS_ID)));
    assert!(
        stream
            .state
            .methods
            .contains_key(&access_id("p-aaaaaaaaaakx"))
    );
    stream.send(4, Change::DeletedName("authMethods/m".to_owned()));
    assert!(stream.state.methods.is_empty());
}

#[test]
fn a_written_config_is_known_by_its_uid_and_generation() {
    let mut stream = Stream::begun();
    let row = stream.seal(&config("one", 1, 2));
    stream.send(2, Change::Config(row));
    let entry = &stream.state.configs[&"one".parse().unwrap()];
    assert!(entry.is(Uuid::from_u128(1), 2) && entry.is(Uuid::from_u128(1), 1));
    assert!(!entry.is(Uuid::from_u128(1), 3) && !entry.is(Uuid::from_u128(2), 1));
}
