//! The OCI runtime beside crun and runc, on one bundle.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::measure::{Contender, Series, interleave, output, peak_rss_mib, print_row, run, time};
use super::peers::{Bench, ORLOP, on_path};

/// A runtime and how it is called.
#[derive(Clone)]
struct Runtime {
    name: &'static str,
    args: Vec<String>,
}

impl Runtime {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.args[0]);
        command.args(&self.args[1..]);
        command
    }
}

fn runtimes(bench: &Bench) -> Vec<Runtime> {
    let state = |name: &str| format!("--root={}", bench.path(&format!("state-{name}")).display());
    let mut all = vec![Runtime { name: "orlop", args: vec![ORLOP.to_owned(), "runtime".to_owned(), state("orlop")] }];
    for peer in ["crun", "runc"] {
        if on_path(peer) {
            all.push(Runtime {
                name: if peer == "crun" { "crun" } else { "runc" },
                args: vec![peer.to_owned(), state(peer)],
            });
        } else {
            println!("{peer} is not installed: its figures are missing");
        }
    }
    all
}

/// A bundle whose process is `args`, made from `runc spec`, or from our own where runc is missing.
fn bundle(bench: &Bench, name: &str, args: &[&str], seccomp: bool) -> PathBuf {
    let dir = bench.path(name);
    fs::create_dir_all(&dir).expect("a directory");
    let _ = std::os::unix::fs::symlink(bench.path("rootfs"), dir.join("rootfs"));
    let mut spec = if on_path("runc") { Command::new("runc") } else { Command::new(ORLOP) };
    if !on_path("runc") {
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

fn run_row(bench: &Bench, n: usize, title: &str, dir: &Path) {
    let mut contenders: Vec<Contender<'_>> = Vec::new();
    for runtime in runtimes(bench) {
        let dir = dir.to_path_buf();
        contenders.push((
            runtime.name.to_owned(),
            Box::new(move || run(runtime.command().args(["run", "--bundle"]).arg(&dir).arg("bench-run"))),
        ));
    }
    print_row(title, "ms", &interleave(n * 3, &mut contenders));
}

pub fn run_true(bench: &mut Bench, n: usize) {
    let dir = bundle(bench, "bundle-true", &["/bin/true"], false);
    run_row(bench, n, "runtime run of /bin/true, `runc spec` config", &dir);
}

pub fn run_seccomp(bench: &mut Bench, n: usize) {
    let dir = bundle(bench, "bundle-seccomp", &["/bin/true"], true);
    run_row(bench, n, "runtime run of /bin/true with an allow-list seccomp filter", &dir);
}

pub fn exec_true(bench: &mut Bench, n: usize) {
    let dir = bundle(bench, "bundle-sleep", &["/bin/sleep", "1000"], false);
    let all = runtimes(bench);
    for runtime in &all {
        let status = runtime
            .command()
            .args(["run", "--detach", "--bundle"])
            .arg(&dir)
            .arg("bench-exec")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status();
        assert!(status.is_ok_and(|status| status.success()), "{} run --detach failed", runtime.name);
    }
    let mut contenders: Vec<Contender<'_>> = Vec::new();
    for runtime in all.clone() {
        contenders.push((
            runtime.name.to_owned(),
            Box::new(move || run(runtime.command().args(["exec", "bench-exec", "/bin/true"]))),
        ));
    }
    print_row("runtime exec of /bin/true", "ms", &interleave(n * 3, &mut contenders));
    for runtime in all {
        run(runtime.command().args(["delete", "--force", "bench-exec"]));
    }
}

pub fn create_to_delete(bench: &mut Bench, n: usize) {
    let dir = bundle(bench, "bundle-cycle", &["/bin/sleep", "1000"], false);
    let mut contenders: Vec<Contender<'_>> = Vec::new();
    for runtime in runtimes(bench) {
        let dir = dir.to_path_buf();
        contenders.push((runtime.name.to_owned(), Box::new(move || time(|| cycle(&runtime, &dir)))));
    }
    print_row("runtime create + start + kill + delete", "ms", &interleave(n * 2, &mut contenders));
}

fn cycle(runtime: &Runtime, dir: &Path) {
    let create = runtime
        .command()
        .args(["create", "--bundle"])
        .arg(dir)
        .arg("bench-cycle")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    assert!(create.is_ok_and(|status| status.success()), "{} create failed", runtime.name);
    run(runtime.command().args(["start", "bench-cycle"]));
    run(runtime.command().args(["kill", "bench-cycle", "KILL"]));
    while !runtime
        .command()
        .args(["delete", "bench-cycle"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
    {}
}

pub fn peak_memory(bench: &mut Bench, n: usize) {
    let dir = bundle(bench, "bundle-true", &["/bin/true"], false);
    println!("\npeak memory of runtime run (MiB, largest process)");
    for runtime in runtimes(bench) {
        let mut args = runtime.args.clone();
        args.extend(["run".to_owned(), "--bundle".to_owned(), dir.display().to_string(), "bench-rss".to_owned()]);
        let series = Series { name: runtime.name.to_owned(), samples: Vec::new() };
        let values: Vec<_> = (0..n.min(7)).map(|_| peak_rss_mib(&args)).collect();
        println!("  {:<22} {:>9.2}", series.name, super::measure::percentile(values.into_iter(), 0.5));
    }
}
