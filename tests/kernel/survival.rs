//! Who goes on when somebody is killed: containers, logs and sessions of others when a client dies in the middle of everything, and what is
//! told at once when a shim dies.

use std::process::{Child, Stdio};
use std::time::Instant;

use bytes::Bytes;
use futures_util::StreamExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use orlop::embedded::Embedded;
use orlop::engine::container::Status;
use orlop::engine::{
    AttachOptions, Attached, ContainerSpec, Engine, EventsQuery, ExecSpec, LogsQuery, Output, StatsQuery, WaitCondition,
};

use super::crowd::{as_child, await_word, child, command, command_line};
use super::embedded::{Lab, PATIENCE, sh};

/// Which container the child test process holds on to.
const CHILD_CTR: &str = "ORLOP_TEST_CHILD_CTR";

const COUNTING: &str = "n=0; while true; do n=$((n+1)); echo line $n; sleep 0.02; done";

async fn session(engine: &Embedded, ctr: &str, tty: bool) -> Attached {
    let cmd = if tty { "sh" } else { "cat" };
    let spec = ExecSpec {
        cmd: vec![cmd.to_owned()],
        tty,
        attach_stdin: true,
        attach_stdout: true,
        attach_stderr: true,
        ..ExecSpec::default()
    };
    let id = engine.execs().create(ctr, &spec).await.unwrap();
    engine.execs().start(&id, None).await.unwrap()
}

async fn read_until(attached: &mut Attached, wanted: &str) -> String {
    let mut text = String::new();
    while !text.contains(wanted) {
        match attached.output.next().await {
            Some(Ok(Output::Bytes(_, bytes))) => text.push_str(&String::from_utf8_lossy(&bytes)),
            other => panic!("wanted {wanted:?} after {text:?}, got {other:?}"),
        }
    }
    text
}

/// Says something to a session and hears the answer, which no echo of a terminal gives.
async fn talk(attached: &mut Attached, n: u32) {
    let (say, hear) = match attached.tty {
        true => (format!("echo $(({n}+5000))-heard\n"), format!("{}-heard", n + 5000)),
        false => (format!("{n}-heard\n"), format!("{n}-heard")),
    };
    attached.input.write(Bytes::from(say)).await.unwrap();
    read_until(attached, &hear).await;
}

/// Not a test by itself: opens everything on one container that a screen has open, says so, and waits for its death.
#[test]
fn child_holds_everything_open() {
    as_child(|engine| async move {
        let ctr = std::env::var(CHILD_CTR).unwrap();
        let (mut with_tty, mut without) = (session(&engine, &ctr, true).await, session(&engine, &ctr, false).await);
        talk(&mut with_tty, 1).await;
        talk(&mut without, 1).await;
        let everything = AttachOptions { stdin: true, stdout: true, stderr: true, ..AttachOptions::default() };
        let mut attached = engine.containers().attach(&ctr, &everything).await.unwrap();
        read_until(&mut attached, "line").await;
        let mut log =
            engine.containers().logs(&ctr, &LogsQuery { follow: true, ..LogsQuery::default() }).await.unwrap();
        log.next().await.unwrap().unwrap();
        let mut stats = engine.containers().stats(&ctr, &StatsQuery::default()).await.unwrap();
        stats.next().await.unwrap().unwrap();
        let _events = engine.system().events(&EventsQuery::default()).await.unwrap();
        println!("everything is open");
        std::future::pending::<()>().await;
    });
}

/// A client in the middle of something.
fn victims(lab: &Lab, id: &str) -> Vec<Child> {
    let mut clients = vec![child(lab, "survival::child_holds_everything_open", &[(CHILD_CTR, id)])];
    let verbs: [&[&str]; 4] = [
        &["exec", id, "sh", "-c", "echo line; sleep 1000"],
        &["exec", "-i", id, "sh", "-c", "echo line; cat"],
        &["logs", "-f", id],
        &["attach", "--no-stdin", id],
    ];
    for words in verbs {
        let mut command = command(lab, words);
        // Itself and not a `timeout` around it is what is to be killed.
        let args: Vec<_> = command.get_args().skip(3).map(std::ffi::OsStr::to_owned).collect();
        command = std::process::Command::new(&args[0]);
        clients.push(command.args(&args[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    }
    clients
}

#[test]
fn a_client_that_is_killed_in_the_middle_of_everything_disturbs_nobody() {
    let lab = Lab::new();
    let before = lab.census();
    let id = lab.run(&ContainerSpec { open_stdin: true, ..sh(COUNTING) });
    let init = lab.state(&id).init;
    let [mut with_tty, mut without] = [true, false].map(|tty| lab.block_on(session(&lab.engine, &id, tty)));
    let watching = AttachOptions { stdout: true, replay_logs: true, ..AttachOptions::default() };
    let mut attached = lab.block_on(lab.engine.containers().attach(&id, &watching)).unwrap();
    let mut seen = String::new();
    let mut n_said = 10;
    for mut victim in victims(&lab, &id) {
        await_word(&mut victim, if n_said == 10 { "everything is open" } else { "line" });
        victim.kill().unwrap();
        victim.wait().unwrap();
        n_said += 1;
        lab.block_on(talk(&mut with_tty, n_said));
        lab.block_on(talk(&mut without, n_said));
        // The log goes on, and who watches it misses nothing.
        let n_logged = lab.log(&id).lines().count();
        seen.push_str(&lab.block_on(read_until(&mut attached, &format!("line {}\n", n_logged + 3))));
    }
    let lines: Vec<&str> = seen.lines().collect();
    assert!(lines.iter().enumerate().all(|(n, line)| *line == format!("line {}", n + 1)), "{seen}");
    assert!(lab.log(&id).lines().enumerate().all(|(n, line)| line == format!("line {}", n + 1)));
    assert_eq!((lab.state(&id).init, lab.inspect(&id).state.status), (init, Status::Running));
    // A new client finds everything as it is, and its sessions work.
    assert!(command_line(&lab, &["ps"]).contains("Up "));
    assert_eq!(command_line(&lab, &["exec", &id, "echo", "here"]), "here\n");
    drop((with_tty, without, attached));
    lab.remove(&id);
    lab.settles_to(&before);
}

/// Dead, whether or not somebody has reaped it.
fn is_dead(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

#[test]
fn the_first_look_after_a_shims_death_shows_its_container_as_ended() {
    let lab = Lab::new();
    let before = lab.census();
    for _ in 0..3 {
        let id = lab.run(&sh("sleep 600 & sleep 600"));
        let mut exec = lab.block_on(session(&lab.engine, &id, false));
        let mut log = lab.block_on(async {
            lab.engine.containers().logs(&id, &LogsQuery { follow: true, ..LogsQuery::default() }).await.unwrap()
        });
        let shim = lab.state(&id).shim.unwrap();
        let exit = lab.block_on(async {
            let waiting = lab.engine.containers().wait(&id, WaitCondition::NotRunning);
            let killing = async {
                kill(Pid::from_raw(shim.pid as i32), Signal::SIGKILL).unwrap();
                let deadline = Instant::now() + PATIENCE;
                while !is_dead(shim.pid) {
                    assert!(Instant::now() < deadline, "it survives SIGKILL");
                    tokio::task::yield_now().await;
                }
                // The very next thing that anybody asks.
                assert_eq!(command_line(&lab, &["ps", "-q"]), "");
            };
            tokio::join!(waiting, killing).0.unwrap()
        });
        assert_eq!(exit.code, 137);
        assert!(command_line(&lab, &["ps", "-a"]).contains("Exited (137)"));
        let reason = command_line(&lab, &["inspect", "--format", "{{.State.Error}}", &id]);
        assert!(reason.contains("shim) was killed"), "{reason}");
        assert!(lab.cgroups().is_empty(), "{:?}", lab.cgroups());
        lab.block_on(async {
            while let Some(step) = exec.output.next().await {
                // The end, with or without a word about why.
                if step.is_err() {
                    break;
                }
            }
            while let Some(chunk) = log.next().await {
                chunk.unwrap();
            }
        });
        lab.remove(&id);
    }
    lab.settles_to(&before);
}
