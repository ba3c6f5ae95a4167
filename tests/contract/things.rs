//! Volumes, images, networks, the engine itself, prune and inspect.

use std::collections::BTreeMap;
use std::sync::Arc;

use orlop::engine::spec::MountKind;
use orlop::engine::{
    Class, ContainerSpec, CreateVolume, Filters, Force, ListContainers, ListImages, MountSpec, RemoveImage,
    RemovedImage,
};

use crate::World;
use crate::world::PRUNING;

pub(crate) async fn volumes_are_made_listed_and_removed(w: Arc<World>) {
    let volumes = w.engine.volumes();
    let name = w.name("data");
    let labels = BTreeMap::from([("tier".to_owned(), w.name("x"))]);
    let options = CreateVolume { name: Some(name.clone()), labels, ..CreateVolume::default() };
    let made = volumes.create(&options).await.unwrap();
    assert_eq!((made.name.as_str(), made.driver.as_str(), made.anonymous), (name.as_str(), "local", false));
    assert_eq!(volumes.create(&options).await.unwrap().name, name, "made twice is made once");
    let labelled = Filters::default().with("label", format!("tier={}", w.name("x")));
    assert_eq!(volumes.list(&labelled).await.unwrap().len(), 1);
    let mount = MountSpec {
        kind: MountKind::Volume { name: Some(name.clone()), no_copy: false, subpath: None, labels: BTreeMap::new() },
        target: "/mnt".to_owned(),
        read_only: false,
    };
    let id = w.create("user", &ContainerSpec { mounts: vec![mount], ..w.sh("true") }).await;
    assert_eq!(volumes.remove(&name, Force::No).await.unwrap_err().class, Class::Conflict);
    w.remove(&id).await;
    volumes.remove(&name, Force::No).await.unwrap();
    assert_eq!(volumes.inspect(&name).await.unwrap_err().class, Class::NotFound);
}

pub(crate) async fn images_are_listed_tagged_and_removed(w: Arc<World>) {
    let images = w.engine.images();
    let reference = format!("{}:1", w.name("copy"));
    let id = images.inspect(w.image).await.unwrap().summary.id;
    assert!(id.starts_with("sha256:"));
    images.tag(w.image, &reference).await.unwrap();
    assert_eq!(images.inspect(&reference).await.unwrap().summary.id, id);
    let rows = images.list(&ListImages::default()).await.unwrap();
    let row = rows.iter().find(|row| row.id == id).expect("it is listed");
    assert!(row.references.contains(&reference), "{:?}", row.references);
    let removed = images.remove(&reference, &RemoveImage::default()).await.unwrap();
    assert_eq!(removed, [RemovedImage::Untagged(reference.clone())]);
    assert_eq!(images.inspect(&reference).await.unwrap_err().class, Class::NotFound);
    assert!(!images.history(w.image).await.unwrap().is_empty());
}

pub(crate) async fn networks_are_there(w: Arc<World>) {
    let all = w.engine.networks().list(&Filters::default()).await.unwrap();
    for wanted in ["none", "host"] {
        assert!(all.iter().any(|network| network.name == wanted), "{all:?}");
    }
}

pub(crate) async fn the_engine_tells_of_itself(w: Arc<World>) {
    let id = w.run("one", &w.sh("sleep 60")).await;
    let info = w.engine.system().info().await.unwrap();
    assert!(info.n_containers >= 1 && info.n_running >= 1 && info.n_images >= 1, "{info:?}");
    assert!(info.n_cpus >= 1 && info.mem_total_bytes > 0);
    let version = w.engine.system().version().await.unwrap();
    assert!(!version.version.is_empty() && version.os == "linux");
    w.engine.system().ping().await.unwrap();
    assert!(w.engine.system().disk_usage().await.unwrap().images.n_total >= 1);
    w.remove(&id).await;
}

pub(crate) async fn prune_takes_the_stopped(w: Arc<World>) {
    let _turn = PRUNING.lock().await;
    let label = w.name("prune");
    let labels = BTreeMap::from([(label.clone(), String::new())]);
    let stopped = w.create("stopped", &ContainerSpec { labels: labels.clone(), ..w.sh("true") }).await;
    let running = w.run("running", &ContainerSpec { labels, ..w.sh("sleep 60") }).await;
    let filters = Filters::default().with("label", label);
    let report = w.engine.containers().prune(&filters).await.unwrap();
    assert_eq!(report.removed, [stopped]);
    let query = ListContainers { all: true, filters, ..ListContainers::default() };
    let left: Vec<_> = w.engine.containers().list(&query).await.unwrap().into_iter().map(|row| row.id).collect();
    assert_eq!(left, std::slice::from_ref(&running));
    w.remove(&running).await;
}

pub(crate) async fn inspect_shows_what_was_asked(w: Arc<World>) {
    let spec = ContainerSpec {
        env: vec!["A=b".to_owned()],
        working_dir: Some("/tmp".to_owned()),
        labels: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
        hostname: Some("boat".to_owned()),
        ..w.sh("echo x")
    };
    let id = w.create("one", &spec).await;
    let detail = w.inspect(&id).await;
    assert_eq!((detail.name, detail.path.as_str()), (w.name("one"), "sh"));
    assert_eq!(detail.args, ["-c", "echo x"]);
    assert!(detail.spec.env.contains(&"A=b".to_owned()));
    assert_eq!(detail.spec.working_dir.as_deref(), Some("/tmp"));
    assert_eq!(detail.spec.hostname.as_deref(), Some("boat"));
    assert_eq!(detail.spec.labels["k"], "v");
    assert_eq!(detail.image_id, w.engine.images().inspect(w.image).await.unwrap().summary.id);
    w.remove(&id).await;
}

pub(crate) async fn prunes_heed_their_filters(w: Arc<World>) {
    let _turn = PRUNING.lock().await;
    let label = w.name("heeded");
    let labels = BTreeMap::from([(label.clone(), "x".to_owned())]);
    let stopped = w.create("stopped", &ContainerSpec { labels: labels.clone(), ..w.sh("true") }).await;
    let mine = || Filters::default().with("label", format!("{label}=x"));
    let containers = w.engine.containers();
    assert!(containers.prune(&mine().with("until", "1h")).await.unwrap().removed.is_empty(), "it is not so old");
    let other = Filters::default().with("label", format!("{label}=other"));
    assert!(containers.prune(&other).await.unwrap().removed.is_empty());
    assert_eq!(containers.prune(&mine()).await.unwrap().removed, [stopped]);
    let volumes = w.engine.volumes();
    let named = CreateVolume { name: Some(w.name("heeded")), labels, ..CreateVolume::default() };
    volumes.create(&named).await.unwrap();
    assert!(volumes.prune(&other.with("all", "true")).await.unwrap().removed.is_empty());
    assert_eq!(volumes.prune(&mine().with("all", "true")).await.unwrap().removed, [w.name("heeded")]);
    assert_eq!(volumes.inspect(&w.name("heeded")).await.unwrap_err().class, Class::NotFound);
}
