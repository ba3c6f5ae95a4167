//! A dockerd that is a swarm of one: nothing of it is shown yet, and nothing breaks by it.

use std::process::Command;
use std::time::Instant;

use orlop::engine::container::Status;
use orlop::engine::{Engine, EventsQuery, ListContainers, ListImages};

use crate::daemons::{self, Daemon, PATIENCE};
use crate::world::{not_here, runtime};

const TEST: &str = "a_swarm_of_one_breaks_nothing";

#[test]
fn a_swarm_of_one_breaks_nothing() {
    if !daemons::is_here(TEST, &["docker", "dockerd", "containerd", "runc"]) {
        return;
    }
    let daemon = Daemon::dockerd(&[]);
    let docker = |args: &[&str]| {
        let socket = format!("unix://{}", daemon.socket().display());
        let output = Command::new("docker").args(["--host", &socket]).args(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if output.status.success() { Ok(String::from_utf8(output.stdout).unwrap()) } else { Err(said) }
    };
    let address = daemons::own_address().to_string();
    if let Err(why) =
        docker(&["swarm", "init", "--advertise-addr", &address, "--listen-addr", &format!("{address}:2377")])
    {
        return not_here(TEST, &format!("docker swarm init: {why}"));
    }
    let engine = daemon.engine();
    let runtime = runtime();
    let events = runtime.block_on(engine.system().events(&EventsQuery::default()));
    assert!(events.is_ok());
    let args = ["service", "create", "--detach", "--name", "web", "--network", "host", "busybox", "sleep", "1000"];
    docker(&args).expect("the service is made");
    let end = Instant::now() + PATIENCE;
    runtime.block_on(async {
        let everything = ListContainers { all: true, ..ListContainers::default() };
        let task = loop {
            let rows = engine.containers().list(&everything).await.unwrap();
            if let Some(row) = rows.into_iter().find(|row| row.state.status == Status::Running) {
                break row;
            }
            assert!(Instant::now() < end, "no task runs: {:?}", docker(&["service", "ps", "--no-trunc", "web"]));
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        };
        assert!(task.name.starts_with("web.1."), "{}", task.name);
        let detail = engine.containers().inspect(&task.name).await.expect("a task's container is found by its name");
        assert_eq!(detail.id, task.id);
        let networks = engine.networks().list(&orlop::engine::Filters::default()).await.unwrap();
        assert!(networks.iter().any(|network| network.name == "host"), "{networks:?}");
        assert_eq!(engine.images().list(&ListImages::default()).await.unwrap().len(), 1);
        engine.system().info().await.unwrap();
        engine.system().disk_usage().await.unwrap();
    });
    docker(&["service", "rm", "web"]).unwrap();
    docker(&["swarm", "leave", "--force"]).unwrap();
}
