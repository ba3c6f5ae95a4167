//! Many processes on one store at once: two that make and remove two hundred containers, one that lists, one that follows the events, and the
//! command line. Nothing may be lost, and nothing left.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use orlop::embedded::Embedded;
use orlop::engine::spec::MountKind;
use orlop::engine::{ContainerSpec, Engine, EventsQuery, ListContainers, MountSpec, RemoveContainer, WaitCondition};

use super::embedded::{CHILD_ROOT, Lab, PATIENCE, open, places, sh};

/// What each of the two makers makes.
const N_EACH: usize = 100;
/// Every so manieth is started too.
const STARTED: usize = 10;
/// The crowd as a whole, on a machine that has other things to do.
const CROWD_PATIENCE: Duration = Duration::from_secs(240);

/// A process of this test program that runs one of the tests below on the lab's store.
pub(crate) fn child(lab: &Lab, test: &str, env: &[(&str, &str)]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads", "1"])
        .env(CHILD_ROOT, lab.dir.path())
        .envs(env.iter().copied())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Reads what the child says until a line holds `word`.
pub(crate) fn await_word(child: &mut Child, word: &str) {
    let said = child.stdout.as_mut().expect("its output is ours");
    let mut lines = BufReader::new(said).lines();
    // The child has a deadline of its own, after which this ends too.
    let found = lines.any(|line| line.is_ok_and(|line| line.contains(word)));
    assert!(found, "a child ended before it said {word:?}");
}

/// Runs `work` in a child process of the tests here; `None` where this is no child.
pub(crate) fn as_child<F: Future<Output = ()>>(work: impl FnOnce(Arc<Embedded>) -> F) {
    let Some(root) = std::env::var_os(CHILD_ROOT) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _inside = runtime.enter();
    let engine = open(Path::new(&root));
    let bounded = async { tokio::time::timeout(CROWD_PATIENCE, work(engine)).await.expect("the child ends in time") };
    runtime.block_on(bounded);
}

/// Not a test by itself: makes, sometimes starts, and removes containers.
#[test]
fn child_makes_and_removes() {
    as_child(|engine| async move {
        let volume = MountSpec {
            kind: MountKind::Volume { name: None, no_copy: false, subpath: None, labels: BTreeMap::new() },
            target: "/data".to_owned(),
            read_only: false,
        };
        for n in 0..N_EACH {
            let is_started = n % STARTED == 0;
            let mounts = if n % 7 == 0 { vec![volume.clone()] } else { Vec::new() };
            let spec = ContainerSpec { mounts, ..sh("exit 3") };
            let id = engine.containers().create(None, &spec).await.unwrap().id;
            if is_started {
                let exited = engine.containers().wait(&id, WaitCondition::NextExit);
                let (exit, started) = tokio::join!(exited, engine.containers().start(&id));
                started.unwrap();
                assert_eq!(exit.unwrap().code, 3);
            }
            let options = RemoveContainer { volumes: true, ..RemoveContainer::default() };
            engine.containers().remove(&id, &options).await.unwrap();
        }
    });
}

/// Not a test by itself: lists until the flag is there; no list may fail, and each shows a container at most once.
#[test]
fn child_lists() {
    as_child(|engine| async move {
        let flag = Path::new(&std::env::var_os(CHILD_ROOT).unwrap()).join("enough");
        let query = ListContainers { all: true, ..ListContainers::default() };
        while !flag.exists() {
            let mut ids: Vec<String> =
                engine.containers().list(&query).await.unwrap().into_iter().map(|row| row.id).collect();
            let n = ids.len();
            ids.sort();
            ids.dedup();
            assert_eq!(ids.len(), n, "a container twice in one list");
            engine.volumes().list(&Default::default()).await.unwrap();
        }
    });
}

/// Not a test by itself: follows the events until all containers have come and gone, each in the right order.
#[test]
fn child_follows() {
    as_child(|engine| async move {
        let mut events = engine.system().events(&EventsQuery::default()).await.unwrap();
        println!("following");
        let mut lives: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut n_gone = 0;
        while n_gone < 2 * N_EACH {
            let event = events.next().await.expect("events do not end").unwrap();
            if event.kind == orlop::engine::EventKind::Container {
                n_gone += usize::from(event.action == "destroy");
                lives.entry(event.id).or_default().push(event.action);
            }
        }
        let n_of = |wanted: &[&str]| lives.values().filter(|life| *life == wanted).count();
        let (started, unstarted) = (["create", "start", "die", "destroy"], ["create", "destroy"]);
        let n_started = 2 * N_EACH / STARTED;
        assert_eq!((n_of(&started), n_of(&unstarted)), (n_started, 2 * N_EACH - n_started), "{lives:#?}");
    });
}

#[test]
fn a_crowd_on_one_store_loses_nothing_and_leaves_nothing() {
    let lab = Lab::new();
    let before = lab.census();
    let mut follower = child(&lab, "crowd::child_follows", &[]);
    await_word(&mut follower, "following");
    let lister = child(&lab, "crowd::child_lists", &[]);
    let mut makers = [(); 2].map(|()| child(&lab, "crowd::child_makes_and_removes", &[]));
    let deadline = Instant::now() + CROWD_PATIENCE;
    let mut n_open = makers.len();
    while n_open > 0 {
        lab.all();
        let out = command_line(&lab, &["ps", "-a", "--no-trunc", "-q"]);
        assert!(out.lines().all(|line| line.len() == 64), "{out}");
        assert!(Instant::now() < deadline, "they do not end");
        n_open = makers.iter_mut().filter_map(|maker| maker.try_wait().unwrap().is_none().then_some(())).count();
    }
    std::fs::write(lab.dir.path().join("enough"), "").unwrap();
    for (mut process, who) in
        makers.into_iter().map(|it| (it, "maker")).chain([(follower, "follower"), (lister, "lister")])
    {
        assert!(process.wait().unwrap().success(), "the {who} failed");
    }
    assert_eq!(lab.all(), Vec::<String>::new());
    lab.settles_to(&before);
    assert!(lab.cgroups().is_empty());
}

/// What the command line says on the lab's store.
pub(crate) fn command_line(lab: &Lab, words: &[&str]) -> String {
    let out = command(lab, words).output().unwrap();
    assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

pub(crate) fn command(lab: &Lab, words: &[&str]) -> Command {
    let places = places(lab.dir.path());
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", &PATIENCE.as_secs().to_string(), env!("CARGO_BIN_EXE_orlop")]);
    command.arg("--root").arg(places.root).arg("--run-root").arg(places.run).args(words).stdin(Stdio::null());
    command
}
