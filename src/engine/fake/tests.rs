//! The fake keeps its own promises: verbs change the state, time passes when told, nothing is lost between attach and start.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::stream::StreamExt;

use super::*;
use crate::engine::Engine;
use crate::engine::attach::{AttachOptions, Output};
use crate::engine::container::{ListContainers, RemoveContainer, Status, StopOptions, WaitCondition};
use crate::engine::event::EventsQuery;
use crate::engine::logs::LogsQuery;
use crate::engine::spec::RestartPolicy;

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(found) => return found,
            Poll::Pending => std::thread::park_timeout(Duration::from_secs(20)),
        }
    }
}

fn is_pending<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> bool {
    future.poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

fn spec(cmd: &[&str]) -> ContainerSpec {
    let cmd = cmd.iter().map(|word| (*word).to_owned()).collect();
    ContainerSpec { image: "busybox".to_owned(), cmd: Some(cmd), open_stdin: true, ..ContainerSpec::default() }
}

fn with_busybox() -> Fake {
    let fake = Fake::empty();
    fake.add_image("busybox", 4 << 20);
    fake
}

fn status(fake: &Fake, ctr: &str) -> Status {
    block_on(fake.containers().inspect(ctr)).unwrap().state.status
}

#[test]
fn the_scene_has_every_state_a_list_can_show() {
    let fake = Fake::scripted();
    let all = block_on(fake.containers().list(&ListContainers { all: true, ..ListContainers::default() })).unwrap();
    for wanted in [Status::Created, Status::Running, Status::Paused, Status::Restarting, Status::Exited] {
        let found = all.iter().any(|ctr| ctr.state.status == wanted);
        // The restarting one runs for a second, then waits.
        if !found && wanted == Status::Restarting {
            fake.advance(Duration::from_millis(1100));
            assert_eq!(status(&fake, "mailer"), Status::Restarting);
            continue;
        }
        assert!(found, "{wanted:?}");
    }
}

#[test]
fn attach_before_start_loses_no_byte_and_wait_sees_the_exit_of_an_auto_removed() {
    let fake = with_busybox();
    let containers = fake.containers();
    let spec = ContainerSpec { auto_remove: true, ..spec(&["sh", "-c", "echo a; sleep 5; echo b >&2; exit 7"]) };
    let id = block_on(containers.create(Some("once"), &spec)).unwrap().id;
    let attach = AttachOptions { stdout: true, stderr: true, ..AttachOptions::default() };
    let attached = block_on(containers.attach(&id, &attach)).unwrap();
    let mut removed = std::pin::pin!(containers.wait(&id, WaitCondition::Removed));
    assert!(is_pending(removed.as_mut()));
    block_on(containers.start(&id)).unwrap();
    fake.advance(Duration::from_secs(6));
    let output: Vec<_> = block_on(attached.output.collect::<Vec<_>>()).into_iter().map(Result::unwrap).collect();
    assert_eq!(
        output,
        [
            Output::Bytes(super::super::StreamKind::Stdout, "a\n".into()),
            Output::Bytes(super::super::StreamKind::Stderr, "b\n".into())
        ]
    );
    assert_eq!(block_on(removed).unwrap().code, 7);
    assert_eq!(block_on(containers.inspect("once")).unwrap_err().message, "No such container: once");
}

#[test]
fn stop_kills_after_its_timeout_and_tells_it_in_events() {
    let fake = with_busybox();
    fake.add_running("web", &spec(&["serve"])).unwrap();
    fake.ignore_term("web").unwrap();
    let events = block_on(fake.system().events(&EventsQuery::default())).unwrap();
    let options = StopOptions::default();
    let mut stop = std::pin::pin!(fake.containers().stop("web", &options));
    assert!(is_pending(stop.as_mut()));
    fake.advance(Duration::from_secs(10));
    block_on(stop).unwrap();
    let told: Vec<_> = block_on(events.take(4).map(|event| event.unwrap().action).collect());
    assert_eq!(told, ["kill", "kill", "die", "stop"]);
    let exit = block_on(fake.containers().inspect("web")).unwrap().state.exit.unwrap();
    assert_eq!((exit.code, exit.signal), (137, Some(9)));
}

#[test]
fn a_restart_policy_restarts_until_it_gives_up() {
    let fake = with_busybox();
    let spec = ContainerSpec { restart: RestartPolicy::OnFailure { max_retries: 2 }, ..spec(&["false"]) };
    fake.add_running("flaky", &spec).unwrap();
    fake.advance(Duration::from_secs(10));
    let state = block_on(fake.containers().inspect("flaky")).unwrap().state;
    assert_eq!((state.status, state.restart_count), (Status::Exited, 2));
}

#[test]
fn logs_tail_and_follow_a_fast_writer_without_a_gap() {
    let fake = with_busybox();
    fake.add_running("fast", &spec(&["chatty", "1000"])).unwrap();
    fake.advance(Duration::from_secs(2));
    let query = LogsQuery { follow: true, tail: Some(10), ..LogsQuery::default() };
    let mut logs = block_on(fake.containers().logs("fast", &query)).unwrap();
    let mut numbers = Vec::new();
    for _ in 0..5 {
        let chunk = block_on(logs.next()).unwrap().unwrap();
        assert_eq!(chunk.lost_before, 0);
        for entry in &chunk.entries {
            let line = String::from_utf8_lossy(chunk.line(entry)).into_owned();
            numbers.push(line[1..].split(' ').next().unwrap().parse::<u64>().unwrap());
        }
        fake.advance(Duration::from_millis(100));
    }
    assert_eq!(numbers[0], 1991);
    assert!(numbers.len() > 300 && numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
    fake.end("fast", Exit::default()).unwrap();
    while block_on(logs.next()).is_some() {}
}

#[test]
fn scripted_failures_hit_their_verb_once_and_a_gone_host_ends_streams() {
    let fake = with_busybox();
    fake.add_running("web", &spec(&["serve"])).unwrap();
    fake.fail_next("containers.pause", EngineError::unsupported("no freezer here"));
    assert!(block_on(fake.containers().pause("web")).is_err());
    block_on(fake.containers().pause("web")).unwrap();
    let mut events = block_on(fake.system().events(&EventsQuery::default())).unwrap();
    fake.go_away("cannot reach the host");
    assert_eq!(block_on(events.next()).unwrap().unwrap_err().class, Class::Unavailable);
    assert!(block_on(events.next()).is_none());
    assert!(block_on(fake.system().ping()).is_err());
    fake.come_back();
    let options = RemoveContainer { force: true, volumes: false };
    block_on(fake.containers().remove("web", &options)).unwrap();
    assert!(fake.take_calls().contains(&"containers.remove web".to_owned()));
}

#[test]
fn the_wall_clock_moves_by_itself() {
    let fake = Fake::empty_on_wall_clock();
    fake.add_image("busybox", 1);
    fake.add_running("nap", &spec(&["sleep", "0.05"])).unwrap();
    assert_eq!(block_on(fake.containers().wait("nap", WaitCondition::NotRunning)).unwrap().code, 0);
}
