//! The OCI runtime beside crun and runc, on one bundle.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::measure::{Contender, Series, interleave, output, peak_rss_mib, percentile, run};
use super::peers::{Bench, on_path};
use super::table::Line;

/// A runtime and how it is called.
#[derive(Clone)]
struct Runtime {
    name: &'static str,
    /// What counts its CPU time.
    branch: String,
    args: Vec<String>,
}

impl Runtime {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.args[0]);
        command.args(&self.args[1..]).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }
}

fn runtimes(bench: &Bench) -> Vec<Runtime> {
    let state = |name: &str| format!("--root={}", bench.path(&format!("state-{name}")).display());
    let orlop = bench.options.orlop.display().to_string();
    let branch = |name: &str| format!("runtime-{name}");
    let mut all = vec![Runtime {
        name: "orlop",
        branch: branch("orlop"),
        args: vec![orlop, "runtime".to_owned(), state("orlop")],
    }];
    for peer in ["crun", "runc"] {
        if on_path(peer) {
            all.push(Runtime { name: peer, branch: branch(peer), args: vec![peer.to_owned(), state(peer)] });
        }
    }
    all
}

/// Says once which runtimes are missing.
pub fn tell_missing() {
    for peer in ["crun", "runc"] {
        if !on_path(peer) {
            println!("{peer} is not installed: its figures are missing\n");
        }
    }
}

/// A bundle for one runtime whose process is `args`, made from `runc spec`, or from our own where runc is missing.
fn bundle(bench: &Bench, runtime: &Runtime, args: &[&str], seccomp: bool) -> PathBuf {
    let dir = bench.path(&format!("bundle-{}", runtime.name));
    fs::create_dir_all(&dir).expect("a directory");
    let mut spec = Command::new("runc");
    if !on_path("runc") {
        spec = Command::new(&bench.options.orlop);
        spec.arg("runtime");
    }
    let _ = fs::remove_file(dir.join("config.json"));
    output(spec.arg("spec").current_dir(&dir));
    let text = fs::read_to_string(dir.join("config.json")).expect("spec wrote it");
    let mut config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    config["process"]["args"] = args.iter().map(|arg| (*arg).to_owned()).collect();
    config["process"]["terminal"] = false.into();
    config["process"]["rlimits"] = serde_json::Value::Array(Vec::new());
    config["root"]["path"] = bench.path("rootfs").display().to_string().into();
    config["linux"]["cgroupsPath"] = format!("{}/bench", bench.meter.containers_of(&runtime.branch)).into();
    if seccomp {
        config["linux"]["seccomp"] = allow_list();
    }
    fs::write(dir.join("config.json"), config.to_string()).expect("written");
    dir
}

/// An allow-list of docker's size and shape: a few hundred names, some with argument conditions.
fn allow_list() -> serde_json::Value {
    let names: Vec<String> = fs::read_to_string("/usr/share/containers/seccomp.json")
        .ok()
        .and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok())
        .and_then(|profile| {
            let rules = profile["syscalls"].as_array()?.clone();
            let allow = rules
                .iter()
                .filter(|rule| rule["action"] == "SCMP_ACT_ALLOW" && rule["args"].as_array().is_none_or(Vec::is_empty));
            Some(
                allow
                    .flat_map(|rule| rule["names"].as_array().cloned().unwrap_or_default())
                    .filter_map(|name| Some(name.as_str()?.to_owned()))
                    .collect(),
            )
        })
        .expect("podman's profile is at /usr/share/containers/seccomp.json");
    serde_json::json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [
            { "names": names, "action": "SCMP_ACT_ALLOW" },
            { "names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{ "index": 0, "value": 0, "op": "SCMP_CMP_EQ" }] },
        ]
    })
}

/// Runs all runtimes in turn on `process`, and prints the row.
fn row(
    bench: &mut Bench,
    n: usize,
    title: &str,
    setting: (&[&str], bool),
    work: impl Fn(&Runtime, &PathBuf) -> Duration,
) {
    let all = runtimes(bench);
    let (borrowed, work) = (&*bench, &work);
    let contender = |runtime: &Runtime| -> Contender<'_> {
        let dir = bundle(borrowed, runtime, setting.0, setting.1);
        let runtime = runtime.clone();
        let name = runtime.name.to_owned();
        (name, Box::new(move || borrowed.metered(&runtime.branch, || work(&runtime, &dir))))
    };
    let mut contenders: Vec<_> = all.iter().map(contender).collect();
    let series: Vec<Series> = interleave(2, n, &mut contenders);
    drop(contenders);
    bench.table.times(title, &series);
}

fn run_once(runtime: &Runtime, dir: &PathBuf) -> Duration {
    run(runtime.command().args(["run", "--bundle"]).arg(dir).arg("bench"))
}

pub fn run_true(bench: &mut Bench) {
    let n = bench.options.n * 5;
    row(bench, n, "`runtime run` of /bin/true, `runc spec` config", (&["/bin/true"], false), run_once);
}

pub fn run_seccomp(bench: &mut Bench) {
    let n = bench.options.n * 5;
    row(bench, n, "the same with an allow-list seccomp filter", (&["/bin/true"], true), run_once);
}

/// Starts a container without pipes of ours, which it would keep open.
fn make(runtime: &Runtime, verb: &[&str], dir: &PathBuf) {
    let mut command = runtime.command();
    let status = command.args(verb).arg("--bundle").arg(dir).arg("bench").stderr(Stdio::null()).status();
    assert!(status.is_ok_and(|status| status.success()), "{} {verb:?} failed", runtime.name);
}

pub fn exec_true(bench: &mut Bench) {
    let n = bench.options.n * 5;
    let all = runtimes(bench);
    for runtime in &all {
        make(runtime, &["run", "--detach"], &bundle(bench, runtime, &["/bin/sleep", "1000"], false));
    }
    row(bench, n, "`runtime exec` of /bin/true", (&["/bin/sleep", "1000"], false), |runtime, _| {
        run(runtime.command().args(["exec", "bench", "/bin/true"]))
    });
    for runtime in all {
        run(runtime.command().args(["delete", "--force", "bench"]));
    }
}

pub fn create_to_delete(bench: &mut Bench) {
    let n = bench.options.n * 3;
    row(bench, n, "`runtime` create + start + kill + delete", (&["/bin/sleep", "1000"], false), |runtime, dir| {
        let start = Instant::now();
        make(runtime, &["create"], dir);
        run(runtime.command().args(["start", "bench"]));
        run(runtime.command().args(["kill", "bench", "KILL"]));
        // Refused until the killed process has gone.
        let delete = || runtime.command().args(["delete", "bench"]).stderr(Stdio::null()).status();
        while !delete().is_ok_and(|status| status.success()) {
            assert!(start.elapsed() < Duration::from_secs(30), "{} delete fails", runtime.name);
        }
        start.elapsed()
    });
}

pub fn peak_memory(bench: &mut Bench) {
    let mut lines = Vec::new();
    for runtime in runtimes(bench) {
        let dir = bundle(bench, &runtime, &["/bin/true"], false);
        let mut args = runtime.args.clone();
        args.extend(["run".to_owned(), "--bundle".to_owned(), dir.display().to_string(), "bench".to_owned()]);
        let n = bench.options.n.min(7);
        let values: Vec<_> = (0..n).map(|_| peak_rss_mib(&args)).collect();
        lines.push(Line::new(runtime.name, percentile(values.into_iter(), 0.5)).n(n));
    }
    bench.table.row("peak RSS of `runtime run`, largest process", "MiB", &lines);
}
