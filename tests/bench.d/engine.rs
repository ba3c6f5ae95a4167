//! The whole engine beside docker and podman, through their command lines.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::measure::{Contender, Sample, interleave, ms, output, percentile, print_row, run, time};
use super::peers::Bench;

type Contenders<'a> = Vec<Contender<'a>>;

/// One contender for each engine that is here, by what it does with a fresh command.
fn engines<'a>(bench: &'a Bench, work: impl Fn(&str, Command) -> Sample + Copy + 'a) -> Contenders<'a> {
    let mut all: Contenders<'a> = vec![("orlop".to_owned(), Box::new(move || work("orlop", bench.orlop())))];
    if bench.has_docker() {
        all.push(("docker".to_owned(), Box::new(move || work("docker", bench.docker()))));
    }
    if bench.podman {
        all.push(("podman".to_owned(), Box::new(move || work("podman", bench.podman()))));
    }
    all
}

/// `run` with what each engine needs to run at all here.
fn run_words(engine: &str) -> &'static [&'static str] {
    match engine {
        "podman" => &["run", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"],
        _ => &["run"],
    }
}

pub fn run_rm(bench: &mut Bench, n: usize) {
    for network in ["none", "host"] {
        let work = |engine: &str, mut command: Command| {
            run(command.args(run_words(engine)).args(["--rm", "--network", network, "bb", "true"]))
        };
        print_row(&format!("run --rm bb true, network {network}"), "ms", &interleave(n, &mut engines(bench, work)));
    }
}

fn start_sleepers(bench: &Bench, name: &str) {
    for (engine, mut command) in commands(bench) {
        run(command.args(run_words(engine)).args(["-d", "--network", "none", "--name", name, "bb", "sleep", "100000"]));
    }
}

fn commands(bench: &Bench) -> Vec<(&'static str, Command)> {
    let mut all = vec![("orlop", bench.orlop())];
    if bench.has_docker() {
        all.push(("docker", bench.docker()));
    }
    if bench.podman {
        all.push(("podman", bench.podman()));
    }
    all
}

fn remove(bench: &Bench, name: &str) {
    for (_, mut command) in commands(bench) {
        run(command.args(["rm", "-f", name]));
    }
}

pub fn exec_true(bench: &mut Bench, n: usize) {
    start_sleepers(bench, "sleeper");
    let work = |_: &str, mut command: Command| run(command.args(["exec", "sleeper", "true"]));
    print_row("exec true", "ms", &interleave(n, &mut engines(bench, work)));
    remove(bench, "sleeper");
}

pub fn stop(bench: &mut Bench, n: usize) {
    for (engine, mut command) in commands(bench) {
        let words = [
            "-d",
            "--network",
            "none",
            "--name",
            "polite",
            "bb",
            "sh",
            "-c",
            "trap 'exit 0' TERM; while :; do sleep 0.01; done",
        ];
        run(command.args(run_words(engine)).args(words));
    }
    let work = |engine: &str, mut command: Command| {
        let sample = run(command.args(["stop", "polite"]));
        let (_, mut again) = commands(bench).into_iter().find(|(name, _)| *name == engine).expect("the same engine");
        run(again.args(["start", "polite"]));
        std::thread::sleep(Duration::from_millis(50));
        sample
    };
    print_row(
        "stop of a process that ends on SIGTERM (within 10 ms)",
        "ms",
        &interleave(n.min(10), &mut engines(bench, work)),
    );
    remove(bench, "polite");
}

pub fn fifty_starts(bench: &mut Bench, n: usize) {
    let in_turn = |engine: &str, first: Command| {
        time(|| {
            for _ in 0..50 {
                run(fresh(&first).args(run_words(engine)).args(["--rm", "--network", "none", "bb", "true"]));
            }
        })
    };
    let at_once = |engine: &str, first: Command| {
        time(|| {
            let start = |_| {
                let mut command = fresh(&first);
                command.args(run_words(engine)).args(["--rm", "--network", "none", "bb", "true"]);
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts")
            };
            let children: Vec<_> = (0..50).map(start).collect();
            for mut child in children {
                assert!(child.wait().is_ok_and(|status| status.success()), "one of fifty {engine} runs failed");
            }
        })
    };
    let rounds = (n / 10).max(1);
    print_row("50 x run --rm, one after another", "ms", &interleave(rounds, &mut engines(bench, in_turn)));
    print_row("50 x run --rm at once", "ms", &interleave(rounds, &mut engines(bench, at_once)));
}

/// The same program, arguments and environment once more.
fn fresh(template: &Command) -> Command {
    let mut command = Command::new(template.get_program());
    command.args(template.get_args());
    for (key, value) in template.get_envs() {
        if let Some(value) = value {
            command.env(key, value);
        }
    }
    command
}

pub fn ps_500(bench: &mut Bench, n: usize) {
    for (_, template) in commands(bench) {
        for index in 0..500 {
            run(fresh(&template).args([
                "create",
                "--network",
                "none",
                "--name",
                &format!("many-{index}"),
                "bb",
                "true",
            ]));
        }
    }
    let work = |_: &str, mut command: Command| run(command.args(["ps", "-a"]));
    print_row("ps -a with 500 containers", "ms", &interleave(n, &mut engines(bench, work)));
    for (_, template) in commands(bench) {
        let names: Vec<_> = (0..500).map(|index| format!("many-{index}")).collect();
        run(fresh(&template).args(["rm", "-f"]).args(names));
    }
}

pub fn supervisor_memory(bench: &mut Bench, _n: usize) {
    start_sleepers(bench, "kept");
    println!("\nsupervisor of one container (MiB)");
    println!("  {:<22} {:>9} {:>9} {:>9}", "", "PSS", "RSS", "private");
    for (name, process) in [("orlop", "orlop"), ("docker", "containerd-shim"), ("podman", "conmon")] {
        let pids = bench.pids_named(process, std::path::Path::new(""));
        let Some(rollup) = pids.iter().find_map(|pid| supervisor_rollup(*pid, name)) else { continue };
        println!("  {name:<22} {:>9.2} {:>9.2} {:>9.2}", rollup[0], rollup[1], rollup[2]);
    }
    remove(bench, "kept");
}

/// PSS, RSS and private memory of a process, if it is a supervisor.
fn supervisor_rollup(pid: u32, name: &str) -> Option<[f64; 3]> {
    let line = String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).ok()?).into_owned();
    if name == "orlop" && !line.contains("shim") {
        return None;
    }
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let field = |key: &str| -> f64 {
        let value = text
            .lines()
            .find(|line| line.starts_with(key))
            .and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
        value.unwrap_or(0.0) / 1024.0
    };
    Some([field("Pss:"), field("Rss:"), field("Private_Clean:") + field("Private_Dirty:")])
}

/// Intake of lines by the log, then reading them back.
pub fn logs(bench: &mut Bench, n: usize) {
    let n_lines: u64 = if n >= 20 { 10_000_000 } else { 1_000_000 };
    let script = format!(
        "yes '2026-11-21 04:05:06 INFO request served in 12 ms, path /api/v1/items, status 200, bytes 4711' | head -n {n_lines}"
    );
    println!("\n{n_lines} log lines of 96 bytes (seconds)");
    println!("  {:<22} {:>9} {:>12} {:>9} {:>12} {:>12}", "", "intake", "lines/s", "logs", "tail 10 ms", "lines back");
    for (engine, template) in commands(bench) {
        let options = match engine {
            "orlop" => &["--log-opt", "max-size=4g"][..],
            _ => &[],
        };
        let words = ["-d", "--network", "none", "--name", "chatty"];
        let start = Instant::now();
        run(fresh(&template).args(run_words(engine)).args(words).args(options).args(["bb", "sh", "-c", &script]));
        run(fresh(&template).args(["wait", "chatty"]));
        let intake = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let mut child = fresh(&template).args(["logs", "chatty"]).stdout(Stdio::piped()).spawn().expect("it starts");
        let lines = count_lines(child.stdout.take().expect("piped"));
        assert!(child.wait().is_ok_and(|status| status.success()), "{engine} logs failed");
        let back = start.elapsed().as_secs_f64();
        let tail =
            percentile((0..5).map(|_| ms(run(fresh(&template).args(["logs", "--tail", "10", "chatty"])).wall)), 0.5);
        println!("  {engine:<22} {intake:>9.2} {:>12.0} {back:>9.2} {tail:>12.1} {lines:>12}", n_lines as f64 / intake);
        run(fresh(&template).args(["rm", "-f", "chatty"]));
    }
}

fn count_lines(mut from: impl std::io::Read) -> u64 {
    let mut buffer = vec![0; 1 << 20];
    let mut n_lines = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) | Err(_) => return n_lines,
            Ok(n) => n_lines += memchr::memchr_iter(b'\n', &buffer[..n]).count() as u64,
        }
    }
}

/// Loads an archive of about 500 MB in several layers, made from this machine's own files.
pub fn load(bench: &mut Bench, n: usize) {
    let archive = bench.path("big.tar");
    make_archive(bench, &archive);
    let size = fs::metadata(&archive).map_or(0, |meta| meta.len()) >> 20;
    let work = |_: &str, mut command: Command| {
        let again = fresh(&command);
        let sample = run(command.args(["load", "-i"]).arg(&archive));
        let mut again = again;
        run(again.args(["rmi", "-f", "big:1"]));
        sample
    };
    print_row(
        &format!("load of an archive of {size} MiB"),
        "ms",
        &interleave((n / 5).clamp(1, 5), &mut engines(bench, work)),
    );
}

/// Five layers of about 100 MB from /usr, in the form `docker save` writes.
fn make_archive(bench: &Bench, archive: &std::path::Path) {
    let dir = bench.path("archive");
    fs::create_dir_all(&dir).expect("a directory");
    let files = output(Command::new("find").args([
        "/usr/lib",
        "/usr/share",
        "/usr/bin",
        "-xdev",
        "-type",
        "f",
        "-size",
        "-20M",
    ]));
    let mut layers = Vec::new();
    let mut list = String::new();
    let mut bytes = 0;
    for file in files.lines() {
        bytes += fs::metadata(file).map_or(0, |meta| meta.len());
        list.push_str(file);
        list.push('\n');
        if bytes > 102 << 20 {
            layers.push(make_layer(&dir, layers.len(), &list));
            list.clear();
            bytes = 0;
        }
        if layers.len() == 5 {
            break;
        }
    }
    let diff_ids: Vec<_> = layers.iter().map(|(_, digest)| format!("sha256:{digest}")).collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "created": "2026-01-01T00:00:00Z", "config": { "Cmd": ["/bin/true"] },
        "history": diff_ids.iter().map(|id| serde_json::json!({ "created_by": format!("layer {id}") })).collect::<Vec<_>>(),
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    fs::write(dir.join("config.json"), config.to_string()).expect("written");
    let manifest = serde_json::json!([{
        "Config": "config.json", "RepoTags": ["big:1"], "Layers": layers.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(),
    }]);
    fs::write(dir.join("manifest.json"), manifest.to_string()).expect("written");
    output(Command::new("tar").arg("-C").arg(&dir).arg("-cf").arg(archive).arg("."));
    let _ = fs::remove_dir_all(&dir);
}

fn make_layer(dir: &std::path::Path, index: usize, list: &str) -> (String, String) {
    let name = format!("layer{index}.tar");
    let names = dir.join("names");
    fs::write(&names, list).expect("written");
    output(
        Command::new("tar")
            .arg("-cf")
            .arg(dir.join(&name))
            .arg("-T")
            .arg(&names)
            .arg("--absolute-names")
            .arg("--transform=s,^/,,"),
    );
    fs::remove_file(&names).expect("removed");
    let digest = output(Command::new("sha256sum").arg(dir.join(&name)));
    (name, digest.split_whitespace().next().unwrap_or_default().to_owned())
}
