//! What flows: attach, exec, logs, stats, events.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use orlop::engine::{
    AttachOptions, Attached, Class, ContainerSpec, EventsQuery, ExecSpec, Filters, LogsQuery, Output, StatsQuery,
    StreamKind, WaitCondition,
};

use crate::World;
use crate::world::PATIENCE;

/// Everything until the stream ends: standard output and standard error.
async fn read_all(attached: &mut Attached) -> (String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some(step) = attached.output.next().await {
        match step.expect("the output goes on") {
            Output::Bytes(StreamKind::Stdout, bytes) => out.extend_from_slice(&bytes),
            Output::Bytes(StreamKind::Stderr, bytes) => err.extend_from_slice(&bytes),
            Output::Detached => break,
        }
    }
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

fn both() -> AttachOptions {
    AttachOptions { stdout: true, stderr: true, ..AttachOptions::default() }
}

pub(crate) async fn attach_before_start_loses_nothing(w: Arc<World>) {
    let id = w.create("one", &w.sh("echo out; echo err >&2; exit 2")).await;
    let mut attached = w.engine.containers().attach(&id, &both()).await.unwrap();
    w.engine.containers().start(&id).await.unwrap();
    let read = tokio::time::timeout(PATIENCE, read_all(&mut attached)).await.expect("it ends");
    assert_eq!(read, ("out\n".to_owned(), "err\n".to_owned()));
    let exit = w.engine.containers().wait(&id, WaitCondition::NotRunning).await.unwrap();
    assert_eq!(exit.code, 2);
    w.remove(&id).await;
}

pub(crate) async fn attach_replays_the_log_when_asked(w: Arc<World>) {
    let id = w.run("one", &w.sh("echo one; echo two; sleep 1000")).await;
    let end = tokio::time::Instant::now() + PATIENCE;
    while w.log(&id, &LogsQuery::default()).await != "one\ntwo\n" {
        assert!(tokio::time::Instant::now() < end, "its lines do not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let options = AttachOptions { replay_logs: true, ..both() };
    let mut attached = w.engine.containers().attach(&id, &options).await.unwrap();
    w.engine.containers().kill(&id, "KILL").await.unwrap();
    let (out, _) = tokio::time::timeout(PATIENCE, read_all(&mut attached)).await.expect("it ends");
    assert_eq!(out, "one\ntwo\n");
    w.remove(&id).await;
}

pub(crate) async fn stdin_reaches_the_process_and_its_end_too(w: Arc<World>) {
    let spec = ContainerSpec { open_stdin: true, stdin_once: true, ..w.spec(&["cat"]) };
    let id = w.create("one", &spec).await;
    let options = AttachOptions { stdin: true, ..both() };
    let mut attached = w.engine.containers().attach(&id, &options).await.unwrap();
    w.engine.containers().start(&id).await.unwrap();
    attached.input.write(Bytes::from_static(b"one\ntwo\n")).await.unwrap();
    attached.input.close().await.unwrap();
    let (out, _) = tokio::time::timeout(PATIENCE, read_all(&mut attached)).await.expect("cat ends with its input");
    assert_eq!(out, "one\ntwo\n");
    let exit = w.engine.containers().wait(&id, WaitCondition::NotRunning).await.unwrap();
    assert_eq!(exit.code, 0);
    w.remove(&id).await;
}

pub(crate) async fn logs_tail_and_follow(w: Arc<World>) {
    let id = w.run("one", &w.sh("echo a; echo b; echo c; sleep 1; echo d")).await;
    let deadline = std::time::Instant::now() + PATIENCE;
    while w.log(&id, &LogsQuery::default()).await != "a\nb\nc\n" {
        assert!(std::time::Instant::now() < deadline, "the first lines do not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(w.log(&id, &LogsQuery { tail: Some(2), ..LogsQuery::default() }).await, "b\nc\n");
    let follow = LogsQuery { follow: true, tail: Some(1), ..LogsQuery::default() };
    assert_eq!(w.log(&id, &follow).await, "c\nd\n", "it goes on until the container ends");
    assert_eq!(w.log(&id, &LogsQuery { tail: Some(0), ..LogsQuery::default() }).await, "");
    let neither = LogsQuery { stdout: false, stderr: false, ..LogsQuery::default() };
    assert_eq!(w.engine.containers().logs(&id, &neither).await.err().unwrap().class, Class::Invalid);
    w.remove(&id).await;
}

pub(crate) async fn logs_end_with_the_container(w: Arc<World>) {
    let id = w.run("one", &w.sh("echo a; exit 0")).await;
    w.engine.containers().wait(&id, WaitCondition::NotRunning).await.unwrap();
    let follow = LogsQuery { follow: true, ..LogsQuery::default() };
    assert_eq!(w.log(&id, &follow).await, "a\n");
    assert_eq!(w.log(&id, &LogsQuery { stdout: false, ..LogsQuery::default() }).await, "");
    w.remove(&id).await;
}

pub(crate) async fn stats_of_a_stopped_one_are_zeros(w: Arc<World>) {
    let id = w.run("one", &w.sh("sleep 60")).await;
    let once = StatsQuery { once: true };
    let samples: Vec<_> = w.engine.containers().stats(&id, &once).await.unwrap().collect().await;
    assert_eq!(samples.len(), 1);
    let sample = samples[0].as_ref().unwrap();
    assert!(sample.running && sample.n_pids > 0 && sample.mem_used_bytes > 0, "{sample:?}");
    assert_eq!(sample.id, id);
    w.engine.containers().kill(&id, "KILL").await.unwrap();
    w.engine.containers().wait(&id, WaitCondition::NotRunning).await.unwrap();
    let samples: Vec<_> = w.engine.containers().stats(&id, &once).await.unwrap().collect().await;
    let sample = samples[0].as_ref().unwrap();
    assert_eq!((sample.running, sample.n_pids, sample.mem_used_bytes, sample.cpu_total_ns), (false, 0, 0, 0));
    w.remove(&id).await;
}

pub(crate) async fn events_come_in_order(w: Arc<World>) {
    let filters = Filters::default().with("type", "container").with("container", w.name("one"));
    let query = EventsQuery { filters, ..EventsQuery::default() };
    let mut events = w.engine.system().events(&query).await.unwrap();
    let id = w.run("one", &w.sh("exit 3")).await;
    w.engine.containers().wait(&id, WaitCondition::NotRunning).await.unwrap();
    w.remove(&id).await;
    let mut seen = Vec::new();
    while seen.last().map(String::as_str) != Some("destroy") {
        let next = tokio::time::timeout(PATIENCE, events.next()).await.expect("an event in time");
        let event = next.expect("the stream goes on").unwrap();
        assert_eq!((event.id.as_str(), event.attributes["name"].as_str()), (id.as_str(), w.name("one").as_str()));
        if event.action == "die" {
            assert_eq!(event.attributes["exitCode"], "3");
        }
        seen.push(event.action);
    }
    assert_eq!(seen, ["create", "start", "die", "destroy"]);
}

fn exec(words: &[&str]) -> ExecSpec {
    let cmd = words.iter().map(|word| (*word).to_owned()).collect();
    ExecSpec { cmd, attach_stdout: true, attach_stderr: true, ..ExecSpec::default() }
}

pub(crate) async fn exec_runs_and_tells_its_code(w: Arc<World>) {
    let id = w.run("one", &w.sh("sleep 60")).await;
    let execs = w.engine.execs();
    let exec_id = execs.create(&id, &exec(&["sh", "-c", "echo hi; exit 6"])).await.unwrap();
    let mut attached = execs.start(&exec_id, None).await.unwrap();
    let (out, _) = tokio::time::timeout(PATIENCE, read_all(&mut attached)).await.expect("it ends");
    assert_eq!(out, "hi\n");
    let detail = execs.inspect(&exec_id).await.unwrap();
    assert_eq!((detail.running, detail.exit.unwrap().code, detail.container_id), (false, 6, id.clone()));
    let again = execs.start(&exec_id, None).await.err().unwrap();
    assert_eq!(again.class, Class::Conflict);
    w.remove(&id).await;
}

pub(crate) async fn exec_needs_a_running_container(w: Arc<World>) {
    let id = w.create("one", &w.sh("sleep 60")).await;
    let execs = w.engine.execs();
    assert_eq!(execs.create(&id, &exec(&["true"])).await.unwrap_err().class, Class::Conflict);
    w.engine.containers().start(&id).await.unwrap();
    assert_eq!(execs.create(&id, &exec(&[])).await.unwrap_err().class, Class::Invalid);
    assert_eq!(execs.inspect("nope").await.unwrap_err().class, Class::NotFound);
    w.remove(&id).await;
}
