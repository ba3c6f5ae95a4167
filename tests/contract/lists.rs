//! Finding containers: lists, filters, names and prefixes.

use std::collections::BTreeMap;
use std::sync::Arc;

use orlop::engine::{Class, ContainerSpec, Filters, ListContainers, WaitCondition};

use crate::World;

async fn names(w: &World, query: &ListContainers) -> Vec<String> {
    let prefix = w.name("");
    let rows = w.engine.containers().list(query).await.expect("the list");
    rows.into_iter().filter_map(|row| row.name.strip_prefix(&prefix).map(str::to_owned)).collect()
}

fn all() -> ListContainers {
    ListContainers { all: true, ..ListContainers::default() }
}

fn filtered(key: &str, value: &str) -> ListContainers {
    ListContainers { all: true, filters: Filters::default().with(key, value), ..ListContainers::default() }
}

pub(crate) async fn only_running_ones_unless_all(w: Arc<World>) {
    let created = w.create("created", &w.sh("true")).await;
    let running = w.run("running", &w.sh("sleep 60")).await;
    assert_eq!(names(&w, &ListContainers::default()).await, ["running"]);
    assert_eq!(names(&w, &all()).await, ["running", "created"]);
    w.remove(&created).await;
    w.remove(&running).await;
}

pub(crate) async fn filters_select(w: Arc<World>) {
    let labels = |value: &str| BTreeMap::from([("tier".to_owned(), value.to_owned())]);
    let front = w.run("front", &ContainerSpec { labels: labels("front"), ..w.sh("sleep 60") }).await;
    let back = w.run("back", &ContainerSpec { labels: labels("back"), ..w.sh("exit 3") }).await;
    w.engine.containers().wait(&back, WaitCondition::NotRunning).await.unwrap();
    let bare = w.create("bare", &w.sh("true")).await;
    let table: [(ListContainers, &[&str]); 12] = [
        (filtered("label", "tier"), &["back", "front"]),
        (filtered("label", "tier=back"), &["back"]),
        (filtered("label", "tier=none"), &[]),
        (filtered("status", "exited"), &["back"]),
        (filtered("status", "created"), &["bare"]),
        (filtered("exited", "3"), &["back"]),
        (filtered("exited", "0"), &[]),
        (filtered("name", &w.name("fr")), &["front"]),
        (filtered("name", &format!("^/?{}$", w.name("back"))), &["back"]),
        (filtered("id", &front[..20]), &["front"]),
        (filtered("since", &w.name("front")), &["bare", "back"]),
        (filtered("before", &w.name("bare")), &["back", "front"]),
    ];
    for (query, wanted) in table {
        assert_eq!(names(&w, &query).await, wanted, "{:?}", query.filters);
    }
    let both = filtered("label", "tier").filters.with("status", "running");
    assert_eq!(names(&w, &ListContainers { all: true, filters: both, ..all() }).await, ["front"]);
    let either = filtered("status", "running").filters.with("status", "exited");
    assert_eq!(names(&w, &ListContainers { filters: either, ..all() }).await, ["back", "front"]);
    let image = filtered("ancestor", w.image);
    assert_eq!(names(&w, &image).await.len(), 3);
    for ctr in [front, back, bare] {
        w.remove(&ctr).await;
    }
}

pub(crate) async fn newest_first_and_limited(w: Arc<World>) {
    let mut made = Vec::new();
    for name in ["a", "b", "c"] {
        made.push(w.create(name, &w.sh("true")).await);
    }
    assert_eq!(names(&w, &all()).await, ["c", "b", "a"]);
    let own = Filters::default().with("name", w.name(""));
    let two = ListContainers { limit: Some(2), filters: own, ..ListContainers::default() };
    assert_eq!(names(&w, &two).await, ["c", "b"]);
    for ctr in made {
        w.remove(&ctr).await;
    }
}

pub(crate) async fn ids_names_and_prefixes_find_it(w: Arc<World>) {
    let id = w.create("one", &w.sh("true")).await;
    assert!(id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()));
    let name = w.name("one");
    for typed in [id.as_str(), &id[..12], &id[..40], &name, &format!("/{name}")] {
        assert_eq!(w.inspect(typed).await.id, id, "{typed}");
    }
    for typed in ["", "nope", "../etc", &w.name("on")] {
        let error = w.engine.containers().inspect(typed).await.unwrap_err();
        assert_eq!(error.class, Class::NotFound, "{typed:?}");
    }
    w.remove(&id).await;
}
