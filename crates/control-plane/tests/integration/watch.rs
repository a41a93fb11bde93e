//! What gateways hear, and when.

use std::time::Duration;

use postern_proto::pb;
use postern_proto::pb::watch_response::Change;
use postern_rpc::error::{Failure, Reason};
use tonic::{Status, Streaming};

use crate::messages::{config, signing_key};
use crate::world::{PATIENCE, Persona, World};

/// A change in a word.
fn word(message: &pb::WatchResponse) -> String {
    match message.change.as_ref().unwrap() {
        Change::SnapshotStart(_) => "start".to_owned(),
        Change::AuthMethod(method) => method.name.clone(),
        Change::Config(config) => {
            assert!(!config.sealed.is_empty(), "its gateway gets the box");
            config.view.as_ref().unwrap().name.clone()
        }
        Change::DeletedName(name) => format!("-{name}"),
        Change::SnapshotEnd(_) => "end".to_owned(),
        Change::Bookmark(_) => "bookmark".to_owned(),
    }
}

struct Watch {
    stream: Streaming<pb::WatchResponse>,
    revision: String,
}

impl Watch {
    async fn open(world: &World, gateway: &Persona, resume: &str) -> Self {
        let message = pb::WatchRequest {
            instance: "replica-1".to_owned(),
            resume_revision: resume.to_owned(),
        };
        let answer = world.sync().watch(gateway.request(message)).await.unwrap();
        Self {
            stream: answer.into_inner(),
            revision: resume.to_owned(),
        }
    }

    async fn next(&mut self) -> Result<Option<String>, Status> {
        let next = tokio::time::timeout(PATIENCE, self.stream.message());
        let message = next.await.expect("a message or an end")?;
        if let Some(message) = &message {
            self.revision.clone_from(&message.revision);
        }
        Ok(message.as_ref().map(word))
    }

    /// All up to `last`, bookmarks left out.
    async fn until(&mut self, last: &str) -> Vec<String> {
        let mut words = Vec::new();
        loop {
            let word = self.next().await.unwrap().expect("the stream goes on");
            if word != "bookmark" {
                words.push(word.clone());
            }
            if word == last {
                return words;
            }
        }
    }

    /// Bookmarks left out.
    async fn end(&mut self) -> Result<(), Status> {
        loop {
            match self.next().await {
                Ok(None) => return Ok(()),
                Ok(Some(word)) => assert_eq!(word, "bookmark"),
                Err(status) => return Err(status),
            }
        }
    }
}

async fn current(world: &World, gateway: &Persona) -> String {
    let request = gateway.request(pb::GetRevisionRequest {});
    world
        .sync()
        .get_revision(request)
        .await
        .unwrap()
        .into_inner()
        .revision
}

const METHOD: &str = "authMethods/my-k8s-auth-method";
const CONFIG: &str = "gateways/default/k8sAuthConfigs/k8s-conf";

#[tokio::test]
async fn a_snapshot_holds_what_concerns_the_gateway_and_nothing_else() {
    let world = World::start().await;
    world.setup().await;
    world.create_method("unused", &signing_key()).await;
    let gateway = world.gateway().await;
    let mut watch = Watch::open(&world, &gateway, "").await;
    assert_eq!(watch.until("end").await, ["start", METHOD, CONFIG, "end"]);
    assert_eq!(watch.revision, current(&world, &gateway).await);
    let other = world.other_gateway("other").await;
    let mut watch = Watch::open(&world, &other, "").await;
    assert_eq!(watch.until("end").await, ["start", "end"]);
}

#[tokio::test]
async fn changes_follow_and_what_is_none_of_its_business_only_moves_it_on() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    let mut watch = Watch::open(&world, &gateway, "").await;
    assert_eq!(watch.until("end").await, ["start", "end"]);
    let setup = world.setup().await;
    assert_eq!(watch.until(CONFIG).await, [METHOD, CONFIG]);
    world.create_method("unused", &signing_key()).await;
    let wanted = current(&world, &gateway).await;
    let catching_up = async {
        while watch.revision != wanted {
            assert_eq!(watch.next().await.unwrap().as_deref(), Some("bookmark"));
        }
    };
    tokio::time::timeout(Duration::from_secs(3), catching_up)
        .await
        .expect("at once, not with the next bookmark");
    let message = pb::DeleteAuthMethodRequest {
        name: setup.method.name,
        etag: "*".to_owned(),
        force: true,
    };
    let request = world.administrator().await.request(message);
    world.methods().delete_auth_method(request).await.unwrap();
    let mut gone = vec![watch.until_deleted().await, watch.until_deleted().await];
    gone.sort();
    assert_eq!(gone, [format!("-{METHOD}"), format!("-{CONFIG}")]);
}

impl Watch {
    async fn until_deleted(&mut self) -> String {
        loop {
            let word = self.next().await.unwrap().unwrap();
            if word != "bookmark" {
                return word;
            }
        }
    }
}

#[tokio::test]
async fn a_resumed_stream_goes_on_where_it_was() {
    let world = World::start().await;
    let setup = world.setup().await;
    let gateway = world.gateway().await;
    let mut watch = Watch::open(&world, &gateway, "").await;
    watch.until("end").await;
    let seen = watch.revision.clone();
    drop(watch);
    let mut idle = Watch::open(&world, &gateway, &seen).await;
    assert_eq!(
        idle.next().await.unwrap().as_deref(),
        Some("bookmark"),
        "nothing was missed"
    );
    assert_eq!(idle.revision, seen);
    let relayed = world.relayed().await;
    world
        .create_config(
            &relayed,
            config("second", &setup.method.access_id, &setup.key),
        )
        .await;
    let second = "gateways/default/k8sAuthConfigs/second";
    let mut resumed = Watch::open(&world, &gateway, &seen).await;
    let words = resumed.until(second).await;
    assert!(
        !words.contains(&"start".to_owned()) && words.len() <= 2,
        "{words:?}"
    );
    for unknown in ["999999", "x", "-1"] {
        let mut watch = Watch::open(&world, &gateway, unknown).await;
        assert_eq!(watch.until("end").await[0], "start", "{unknown}");
    }
}

#[tokio::test]
async fn bookmarks_come_every_few_seconds() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    let mut watch = Watch::open(&world, &gateway, "").await;
    watch.until("end").await;
    let two = async {
        for _ in 0..2 {
            assert_eq!(watch.next().await.unwrap().as_deref(), Some("bookmark"));
        }
    };
    tokio::time::timeout(Duration::from_secs(7), two)
        .await
        .expect("two bookmarks in 7 s");
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    let mut watch = Watch::open(&world, &gateway, "").await;
    watch.until("end").await;
    world.clock.advance(jiff::SignedDuration::from_mins(61));
    let failure = Failure::from(watch.end().await.unwrap_err());
    assert_eq!(failure.reason, Some(Reason::Unauthenticated));
}

#[tokio::test]
async fn a_stream_ends_with_its_gateway() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    let mut watch = Watch::open(&world, &gateway, "").await;
    watch.until("end").await;
    let message = pb::DeleteGatewayRequest {
        name: "gateways/default".to_owned(),
        etag: "*".to_owned(),
        force: false,
    };
    let request = world.administrator().await.request(message);
    world.gateways().delete_gateway(request).await.unwrap();
    let failure = Failure::from(watch.end().await.unwrap_err());
    assert_eq!(failure.reason, Some(Reason::Unauthenticated));
}

#[tokio::test]
async fn a_stream_ends_well_when_the_server_stops() {
    let mut world = World::start().await;
    let gateway = world.gateway().await;
    let mut watch = Watch::open(&world, &gateway, "").await;
    watch.until("end").await;
    let stopping = async { tokio::time::timeout(Duration::from_secs(5), world.stop()).await };
    let (stopped, ended) = tokio::join!(stopping, watch.end());
    stopped.expect("no stream holds the server up");
    ended.unwrap();
}
