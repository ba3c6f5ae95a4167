//! What stays in memory for a container: its supervisor, and the daemon where there is one.

use std::fs;

use super::measure::run;
use super::peers::{Bench, Engine};
use super::table::Line;

/// Containers of the row with many.
const MANY: usize = 20;

pub fn supervisors(bench: &mut Bench) {
    for n_containers in [1, MANY] {
        bench.each(|engine| {
            for index in 0..n_containers {
                let name = format!("kept-{index}");
                let words = ["-d", "--network", "none", "--name", &name, "bb", "sleep", "100000"];
                run(bench.making(engine, "run").args(words));
            }
        });
        // Ours gives back what the start needed after two quiet seconds; so may the others.
        std::thread::sleep(std::time::Duration::from_secs(3));
        let of = |kind: Kind| -> Vec<Line> {
            let line = |engine: Engine| {
                let pids = supervisor_pids(bench, engine);
                assert!(pids.len() >= n_containers, "{engine:?}: {} supervisors of {n_containers}", pids.len());
                let sum: f64 = pids.iter().map(|pid| memory_mib(*pid, kind)).sum();
                Line::new(engine.name(), sum / n_containers as f64)
            };
            bench.engines().into_iter().map(line).collect()
        };
        let of_each = if n_containers == 1 { "of one container".to_owned() } else { format!("each of {MANY}") };
        let (pss, rss, private) = (of(Kind::Pss), of(Kind::Rss), of(Kind::Private));
        bench.table.row(&format!("supervisor {of_each}: PSS"), "MiB", &pss);
        bench.table.row(&format!("supervisor {of_each}: RSS"), "MiB", &rss);
        bench.table.row(&format!("supervisor {of_each}: private"), "MiB", &private);
        if n_containers == MANY {
            daemons(bench);
        }
        let names: Vec<_> = (0..n_containers).map(|index| format!("kept-{index}")).collect();
        bench.each(|engine| {
            run(bench.command(engine).args(["rm", "-f"]).args(&names));
        });
    }
}

/// dockerd and containerd together; the others have none.
fn daemons(bench: &mut Bench) {
    if !bench.engines().contains(&Engine::Docker) {
        return;
    }
    let own = bench.dir.display().to_string();
    let pids = pids(|comm, line| ["dockerd", "containerd"].contains(&comm) && line.contains(&own));
    let sum = pids.iter().map(|pid| memory_mib(*pid, Kind::Pss)).sum();
    let lines = [Line::new("orlop", 0.0), Line::new("docker", sum)];
    bench.table.row(&format!("daemons with {MANY} containers: PSS (orlop has none)"), "MiB", &lines);
}

fn supervisor_pids(bench: &Bench, engine: Engine) -> Vec<u32> {
    let own = bench.dir.display().to_string();
    match engine {
        Engine::Orlop => pids(|_, line| line.starts_with("orlop-shim\0")),
        Engine::Docker => pids(|comm, line| comm.starts_with("containerd-shim") && line.contains(&own)),
        Engine::Podman => pids(|comm, line| comm == "conmon" && line.contains(&own)),
    }
}

/// The processes that `is_wanted` by name and command line. The pid namespace has only ours.
fn pids(is_wanted: impl Fn(&str, &str) -> bool) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let is_it = |pid: &u32| {
        let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        is_wanted(comm.trim(), &String::from_utf8_lossy(&line))
    };
    entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).filter(is_it).collect()
}

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Pss,
    Rss,
    Private,
}

/// MiB of a process, by /proc/PID/smaps_rollup.
pub fn memory_mib(pid: u32, kind: Kind) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let keys: &[&str] = match kind {
        Kind::Pss => &["Pss:"],
        Kind::Rss => &["Rss:"],
        Kind::Private => &["Private_Clean:", "Private_Dirty:"],
    };
    let of_key = |key: &&str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok()).unwrap_or(0.0)
    };
    keys.iter().map(of_key).sum::<f64>() / 1024.0
}
