//! What is refused, and how: class, docker's sentence, exit code, nothing left behind.

use std::sync::Arc;

use orlop::engine::container::Status;
use orlop::engine::{
    Class, ContainerSpec, EngineError, EventsQuery, Filters, Force, ListContainers, ListImages, RemoveContainer,
    RemoveImage, StopOptions, WaitCondition,
};

use crate::World;

fn check(error: EngineError, class: Class, says: &str) {
    assert_eq!(error.class, class, "{error}");
    assert!(error.to_string().contains(says), "{error:?} does not say {says:?}");
    assert!(!error.message.ends_with('.') || says.ends_with('.'), "{error}");
}

pub(crate) async fn unknown_things_are_not_found(w: Arc<World>) {
    let (containers, nope) = (w.engine.containers(), "no-such-thing");
    let missing = "No such container: no-such-thing";
    check(containers.inspect(nope).await.unwrap_err(), Class::NotFound, missing);
    check(containers.start(nope).await.unwrap_err(), Class::NotFound, missing);
    check(containers.stop(nope, &StopOptions::default()).await.unwrap_err(), Class::NotFound, missing);
    check(containers.kill(nope, "TERM").await.unwrap_err(), Class::NotFound, missing);
    check(containers.remove(nope, &RemoveContainer::default()).await.unwrap_err(), Class::NotFound, missing);
    check(containers.wait(nope, WaitCondition::NotRunning).await.unwrap_err(), Class::NotFound, missing);
    check(containers.rename(nope, "other").await.unwrap_err(), Class::NotFound, missing);
    check(containers.pause(nope).await.unwrap_err(), Class::NotFound, missing);
    let spec = ContainerSpec { image: nope.to_owned(), ..w.sh("true") };
    check(containers.create(None, &spec).await.unwrap_err(), Class::NotFound, "No such image: no-such-thing");
    check(w.engine.images().inspect(nope).await.unwrap_err(), Class::NotFound, "No such image: no-such-thing");
    let remove = RemoveImage::default();
    check(w.engine.images().remove(nope, &remove).await.unwrap_err(), Class::NotFound, "No such image: no-such-thing");
    check(w.engine.volumes().inspect(nope).await.unwrap_err(), Class::NotFound, "get no-such-thing: no such volume");
    check(w.engine.volumes().remove(nope, Force::No).await.unwrap_err(), Class::NotFound, "no such volume");
}

pub(crate) async fn a_taken_name_is_a_conflict(w: Arc<World>) {
    let id = w.create("one", &w.sh("true")).await;
    let name = w.name("one");
    let error = w.engine.containers().create(Some(&name), &w.sh("true")).await.unwrap_err();
    let says = format!("Conflict. The container name \"/{name}\" is already in use by container \"{id}\".");
    check(error, Class::Conflict, &says);
    w.remove(&id).await;
    let free = w.create("one", &w.sh("true")).await;
    w.remove(&free).await;
}

pub(crate) async fn bad_requests_are_invalid(w: Arc<World>) {
    let containers = w.engine.containers();
    let bad_name = containers.create(Some("-bad"), &w.sh("true")).await.unwrap_err();
    check(bad_name, Class::Invalid, "only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed");
    let mut small = w.sh("true");
    small.resources.memory_bytes = Some(1 << 20);
    check(containers.create(None, &small).await.unwrap_err(), Class::Invalid, "inimum memory limit allowed is 6MB");
}

pub(crate) async fn a_missing_command_is_127(w: Arc<World>) {
    let id = w.create("one", &w.spec(&["nope"])).await;
    let error = w.engine.containers().start(&id).await.unwrap_err();
    assert_eq!(error.exit_code, Some(127), "{error:?}");
    check(error, Class::Invalid, "executable file not found in $PATH");
    let state = w.inspect(&id).await.state;
    assert_eq!(state.status, Status::Created);
    assert!(!state.error.is_empty());
    w.remove(&id).await;
    let id = w.create("two", &w.spec(&["/bin/not-executable"])).await;
    let error = w.engine.containers().start(&id).await.unwrap_err();
    assert_eq!(error.exit_code, Some(126), "{error:?}");
    check(error, Class::Invalid, "permission denied");
    w.remove(&id).await;
}

pub(crate) async fn unknown_filters_are_refused(w: Arc<World>) {
    let filters = Filters::default().with("frob", "x");
    let list = ListContainers { filters: filters.clone(), ..ListContainers::default() };
    check(w.engine.containers().list(&list).await.unwrap_err(), Class::Invalid, "invalid filter 'frob'");
    let images = ListImages { filters: filters.clone(), ..ListImages::default() };
    check(w.engine.images().list(&images).await.unwrap_err(), Class::Invalid, "invalid filter 'frob'");
    check(w.engine.volumes().list(&filters).await.unwrap_err(), Class::Invalid, "invalid filter 'frob'");
    let events = EventsQuery { filters, ..EventsQuery::default() };
    check(w.engine.system().events(&events).await.err().unwrap(), Class::Invalid, "invalid filter 'frob'");
}

pub(crate) async fn nothing_is_left_of_a_refused_create(w: Arc<World>) {
    let query = ListContainers { all: true, ..ListContainers::default() };
    let own = |rows: Vec<orlop::engine::ContainerSummary>| {
        rows.into_iter().filter(|row| row.name.starts_with(&w.name(""))).count()
    };
    let name = w.name("one");
    let spec = ContainerSpec { image: "no-such-thing".to_owned(), ..w.sh("true") };
    w.engine.containers().create(Some(&name), &spec).await.unwrap_err();
    assert_eq!(own(w.engine.containers().list(&query).await.unwrap()), 0);
    let id = w.create("one", &w.sh("true")).await;
    w.remove(&id).await;
}
