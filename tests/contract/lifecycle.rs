//! A container's life: start, end, stop, kill, pause, restart, rename, remove, wait.

use std::sync::Arc;
use std::time::Duration;

use orlop::engine::container::Status;
use orlop::engine::{
    Class, ContainerSpec, ListContainers, LogsQuery, RemoveContainer, RestartPolicy, StopOptions, WaitCondition,
};

use crate::World;

const SOON: StopOptions = StopOptions { signal: None, timeout: Some(Duration::from_millis(100)) };

pub(crate) async fn a_container_runs_and_its_exit_code_is_told(w: Arc<World>) {
    let id = w.run("one", &w.sh("echo hello; exit 3")).await;
    let exit = w.engine.containers().wait(&id, WaitCondition::NotRunning).await.unwrap();
    assert_eq!((exit.code, exit.signal, exit.oom_killed), (3, None, false));
    let detail = w.inspect(&id).await;
    assert_eq!(detail.state.status, Status::Exited);
    assert_eq!(detail.state.exit.unwrap().code, 3);
    assert!(detail.state.finished_at >= detail.state.started_at);
    assert_eq!(w.log(&id, &LogsQuery::default()).await, "hello\n");
    w.remove(&id).await;
}

pub(crate) async fn what_a_state_says_follows_the_life(w: Arc<World>) {
    let id = w.create("one", &w.sh("sleep 60")).await;
    let created = w.inspect(&id).await.state;
    assert_eq!((created.status, created.pid, created.started_at), (Status::Created, None, None));
    w.engine.containers().start(&id).await.unwrap();
    let running = w.inspect(&id).await.state;
    assert_eq!(running.status, Status::Running);
    assert!(running.pid.is_some() && running.started_at.is_some() && running.exit.is_none());
    w.engine.containers().kill(&id, "KILL").await.unwrap();
    let exited = w.until(&id, |detail| detail.state.status == Status::Exited).await.state;
    assert_eq!((exited.pid, exited.exit.unwrap().code), (None, 137));
    w.remove(&id).await;
}

pub(crate) async fn start_of_a_running_one_changes_nothing(w: Arc<World>) {
    let id = w.run("one", &w.sh("sleep 60")).await;
    let before = w.inspect(&id).await.state.started_at;
    assert_eq!(w.engine.containers().start(&id).await.unwrap_err().class, Class::NotModified);
    assert_eq!(w.inspect(&id).await.state.started_at, before);
    w.remove(&id).await;
}

pub(crate) async fn stop_ends_it_and_a_second_stop_changes_nothing(w: Arc<World>) {
    let id = w.run("one", &w.sh("sleep 60")).await;
    w.engine.containers().stop(&id, &SOON).await.unwrap();
    assert_eq!(w.status(&id).await, Status::Exited);
    assert_eq!(w.engine.containers().stop(&id, &SOON).await.unwrap_err().class, Class::NotModified);
    w.engine.containers().start(&id).await.expect("it starts again");
    assert_eq!(w.status(&id).await, Status::Running);
    w.remove(&id).await;
}

pub(crate) async fn kill_needs_a_running_container(w: Arc<World>) {
    let id = w.create("one", &w.sh("sleep 60")).await;
    let error = w.engine.containers().kill(&id, "TERM").await.unwrap_err();
    assert_eq!(error.class, Class::Conflict);
    assert!(error.message.contains("is not running"), "{error}");
    w.engine.containers().start(&id).await.unwrap();
    assert_eq!(w.engine.containers().kill(&id, "NOPE").await.unwrap_err().class, Class::Invalid);
    w.engine.containers().kill(&id, "9").await.unwrap();
    let exit = w.engine.containers().wait(&id, WaitCondition::NotRunning).await.unwrap();
    assert_eq!(exit.code, 137);
    w.remove(&id).await;
}

pub(crate) async fn pause_and_unpause(w: Arc<World>) {
    let id = w.run("one", &w.sh("sleep 60")).await;
    assert_eq!(w.engine.containers().unpause(&id).await.unwrap_err().class, Class::Conflict);
    w.engine.containers().pause(&id).await.unwrap();
    assert_eq!(w.status(&id).await, Status::Paused);
    assert_eq!(w.engine.containers().pause(&id).await.unwrap_err().class, Class::Conflict);
    assert_eq!(w.engine.containers().start(&id).await.unwrap_err().class, Class::Conflict);
    w.engine.containers().unpause(&id).await.unwrap();
    assert_eq!(w.status(&id).await, Status::Running);
    w.remove(&id).await;
}

pub(crate) async fn restart_runs_it_again(w: Arc<World>) {
    let id = w.run("one", &w.sh("sleep 60")).await;
    let before = w.inspect(&id).await.state;
    w.engine.containers().restart(&id, &SOON).await.unwrap();
    let after = w.inspect(&id).await.state;
    assert_eq!(after.status, Status::Running);
    assert!(after.started_at > before.started_at);
    w.remove(&id).await;
}

pub(crate) async fn rename_moves_the_name(w: Arc<World>) {
    let id = w.create("old", &w.sh("sleep 60")).await;
    let other = w.create("other", &w.sh("sleep 60")).await;
    let (old, new) = (w.name("old"), w.name("new"));
    let containers = w.engine.containers();
    assert_eq!(containers.rename(&old, &w.name("other")).await.unwrap_err().class, Class::Conflict);
    assert_eq!(containers.rename(&old, "-bad").await.unwrap_err().class, Class::Invalid);
    containers.rename(&old, &new).await.unwrap();
    assert_eq!(w.inspect(&new).await.id, id);
    assert_eq!(containers.inspect(&old).await.unwrap_err().class, Class::NotFound);
    let again = w.create("old", &w.sh("sleep 60")).await;
    for ctr in [id, other, again] {
        w.remove(&ctr).await;
    }
}

pub(crate) async fn remove_needs_force_while_it_runs(w: Arc<World>) {
    let id = w.run("one", &w.sh("sleep 60")).await;
    let careful = RemoveContainer::default();
    let error = w.engine.containers().remove(&id, &careful).await.unwrap_err();
    assert_eq!(error.class, Class::Conflict);
    assert_eq!(w.status(&id).await, Status::Running);
    w.engine.containers().remove(&id, &RemoveContainer { force: true, volumes: false }).await.unwrap();
    assert_eq!(w.engine.containers().inspect(&id).await.unwrap_err().class, Class::NotFound);
    assert_eq!(w.engine.containers().remove(&id, &careful).await.unwrap_err().class, Class::NotFound);
    let stopped = w.create("two", &w.sh("true")).await;
    w.engine.containers().remove(&stopped, &careful).await.unwrap();
}

pub(crate) async fn auto_remove_leaves_nothing(w: Arc<World>) {
    let spec = ContainerSpec { auto_remove: true, ..w.sh("exit 0") };
    let id = w.create("one", &spec).await;
    let removed = w.engine.containers().wait(&id, WaitCondition::Removed);
    let started = w.engine.containers().start(&id);
    let (removed, started) = tokio::join!(removed, started);
    started.unwrap();
    assert_eq!(removed.unwrap().code, 0);
    assert_eq!(w.engine.containers().inspect(&id).await.unwrap_err().class, Class::NotFound);
    let again = w.create("one", &w.sh("true")).await;
    w.remove(&again).await;
}

pub(crate) async fn wait_registered_before_the_start_sees_the_exit(w: Arc<World>) {
    let id = w.create("one", &w.sh("exit 7")).await;
    let next = w.engine.containers().wait(&id, WaitCondition::NextExit);
    let (exit, started) = tokio::join!(next, w.engine.containers().start(&id));
    started.unwrap();
    assert_eq!(exit.unwrap().code, 7);
    let past = w.engine.containers().wait(&id, WaitCondition::NotRunning).await.unwrap();
    assert_eq!(past.code, 7);
    w.remove(&id).await;
}

pub(crate) async fn wait_for_removal(w: Arc<World>) {
    let id = w.run("one", &w.sh("exit 4")).await;
    w.engine.containers().wait(&id, WaitCondition::NotRunning).await.unwrap();
    let gone = w.engine.containers().wait(&id, WaitCondition::Removed);
    let (gone, ()) = tokio::join!(gone, w.remove(&id));
    assert_eq!(gone.unwrap().code, 4);
}

pub(crate) async fn restart_policy_starts_it_again(w: Arc<World>) {
    let restart = RestartPolicy::OnFailure { max_retries: 2 };
    let id = w.run("one", &ContainerSpec { restart, ..w.sh("exit 5") }).await;
    let done = w.until(&id, |detail| detail.state.status == Status::Exited && detail.state.restart_count == 2).await;
    assert_eq!(done.state.exit.unwrap().code, 5);
    let query = ListContainers { all: true, ..ListContainers::default() };
    let rows = w.engine.containers().list(&query).await.unwrap();
    assert!(rows.iter().any(|row| row.id == id && row.state.status == Status::Exited));
    w.remove(&id).await;
}
