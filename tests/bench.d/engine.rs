//! The whole engine beside docker and podman, through their command lines: run, exec, stop, many starts, long lists.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use orlop::config::Places;
use orlop::embedded::{Embedded, EmbeddedSettings};
use orlop::engine::{ContainerSpec, Engine as _, RemoveContainer, WaitCondition};

use super::measure::{Sample, Series, run};
use super::peers::{Bench, Engine};

pub fn run_rm(bench: &mut Bench) {
    for network in ["none", "host"] {
        let series = bench.contest(bench.options.n, |engine| {
            run(bench.making(engine, "run").args(["--rm", "--network", network, "bb", "true"]))
        });
        bench.table.times(&format!("`run --rm … true`, network {network}"), &series);
    }
}

/// From the call of `start` to the executed process, in the process that asks: no command line, no start of a program but the shim.
pub fn start(bench: &mut Bench) {
    let program = bench.options.orlop.clone();
    let places = Places { root: bench.path("orlop"), run: bench.path("orlop-run") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let settings = EmbeddedSettings { program: Some(program), ..EmbeddedSettings::default() };
    let engine = Embedded::open(places, settings).expect("the engine opens");
    let spec = ContainerSpec {
        image: "bb".to_owned(),
        cmd: Some(vec!["true".to_owned()]),
        network_mode: Some("none".to_owned()),
        cgroup_parent: Some(bench.meter.containers_of(Engine::Orlop.name())),
        ..ContainerSpec::default()
    };
    let mut series = [Series { name: "start".to_owned(), ..Series::default() }, Series::default()];
    series[1].name = "end to answered wait".to_owned();
    for round in 0..=bench.options.n * 3 {
        let (started, waited) = runtime.block_on(one_start(bench, &engine, &spec));
        if round > 0 {
            series[0].samples.push(started);
            series[1].samples.push(waited);
        }
    }
    bench.table.times("in-process `start` to the executed program", &series[..1]);
    bench.table.times("in-process: process killed to `wait` answered", &series[1..]);
}

async fn one_start(bench: &Bench, engine: &Arc<Embedded>, spec: &ContainerSpec) -> (Sample, Sample) {
    let sleeper = ContainerSpec { cmd: Some(vec!["sleep".to_owned(), "1000".to_owned()]), ..spec.clone() };
    let name = Engine::Orlop.name();
    let id = engine.containers().create(None, &sleeper).await.expect("created").id;
    bench.meter.enter(name);
    let (cpu, start) = (bench.meter.cpu(name), Instant::now());
    engine.containers().start(&id).await.expect("started");
    let started = Sample { wall: start.elapsed(), cpu: bench.meter.cpu(name) - cpu };
    let (cpu, start) = (bench.meter.cpu(name), Instant::now());
    let waiting = engine.containers().wait(&id, WaitCondition::NotRunning);
    let (exit, killed) = tokio::join!(waiting, engine.containers().kill(&id, "KILL"));
    let waited = Sample { wall: start.elapsed(), cpu: bench.meter.cpu(name) - cpu };
    bench.meter.leave();
    killed.expect("killed");
    assert_eq!(exit.expect("an exit").code, 137);
    engine.containers().remove(&id, &RemoveContainer { force: true, volumes: true }).await.expect("removed");
    (started, waited)
}

/// A container called `name` that does nothing for long, in every engine.
pub fn start_sleepers(bench: &Bench, name: &str) {
    bench.each(|engine| {
        let words = ["-d", "--network", "none", "--name", name, "bb", "sleep", "100000"];
        run(bench.making(engine, "run").args(words));
    });
}

pub fn exec_true(bench: &mut Bench) {
    start_sleepers(bench, "sleeper");
    let work = |engine| run(bench.command(engine).args(["exec", "sleeper", "true"]));
    let series = bench.contest(bench.options.n, work);
    bench.table.times("`exec … true`", &series);
    bench.remove("sleeper");
}

pub fn stop(bench: &mut Bench) {
    let words = ["-d", "--network", "none", "--name", "polite", "bb", super::tool::PATH, "--polite"];
    bench.each(|engine| {
        run(bench.making(engine, "run").args(words));
        wait_ready(bench, engine);
    });
    let series = bench.contest(bench.options.n.min(10), |engine| {
        let wall = run(bench.command(engine).args(["stop", "polite"]));
        run(bench.command(engine).args(["start", "polite"]));
        wait_ready(bench, engine);
        wall
    });
    // What the start used is in the same branch: only the times of a stop are its own.
    let lines: Vec<_> =
        series.iter().map(|one| super::table::Line { min: Some(one.wall_ms(0.0)), ..line(one) }).collect();
    bench.table.row("`stop` of a process that ends on SIGTERM", "ms", &lines);
    bench.remove("polite");
}

fn line(series: &Series) -> super::table::Line {
    super::table::Line::new(&series.name, series.wall_ms(0.5)).n(series.samples.len())
}

/// The process says so when it listens to signals; a second start says it a second time.
fn wait_ready(bench: &Bench, engine: Engine) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let said =
        || super::measure::output(bench.command(engine).args(["logs", "--since", "1s", "--tail", "1", "polite"]));
    while !said().contains("ready") {
        assert!(Instant::now() < deadline, "{engine:?}: the polite process does not listen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn fifty_starts(bench: &mut Bench) {
    let start_one = |engine: Engine| {
        let mut command = bench.making(engine, "run");
        command.args(["--rm", "--network", "none", "bb", "true"]);
        command
    };
    let in_turn = |engine: Engine| {
        let start = Instant::now();
        for _ in 0..50 {
            run(&mut start_one(engine));
        }
        start.elapsed()
    };
    let at_once = |engine: Engine| {
        let start = Instant::now();
        let spawn = |_| {
            let mut command = start_one(engine);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts")
        };
        let children: Vec<_> = (0..50).map(spawn).collect();
        for mut child in children {
            assert!(child.wait().is_ok_and(|status| status.success()), "one of fifty {engine:?} runs failed");
        }
        start.elapsed()
    };
    let n = (bench.options.n / 10).max(1);
    let (in_turn, at_once) = (bench.contest(n, in_turn), bench.contest(n, at_once));
    bench.table.times("50 x `run --rm`, one after another", &in_turn);
    bench.table.times("50 x `run --rm` at once", &at_once);
}

/// Nothing is removed afterwards: it takes minutes, and the stores go with the directory.
pub fn ps(bench: &mut Bench) {
    let n_containers = bench.options.n_containers;
    bench.each(|engine| {
        // Two at a time; the engines are not measured at this.
        for pair in 0..n_containers.div_ceil(2) {
            let create = |half: usize| -> Command {
                let mut command = bench.making(engine, "create");
                command.args(["--network", "none", "--name", &format!("many-{}", pair * 2 + half), "bb", "true"]);
                command.stdin(Stdio::null()).stdout(Stdio::null());
                command
            };
            let children = [create(0).spawn(), create(1).spawn()];
            for child in children {
                let status = child.and_then(|mut child| child.wait()).expect("a command");
                assert!(status.success(), "{engine:?}: create failed");
            }
        }
    });
    let series = bench.contest(bench.options.n, |engine| run(bench.command(engine).args(["ps", "-a"])));
    bench.table.times(&format!("`ps -a` with {n_containers} containers"), &series);
}
