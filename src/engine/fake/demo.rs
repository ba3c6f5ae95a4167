//! The demo's scene: what a small shop's host might run, with every state there is. Called by the fake's constructors.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::tape::{Style, Tape};
use super::world::World;
use super::{Fake, containers, images};
use crate::engine::container::{Exit, Status};
use crate::engine::spec::{ContainerSpec, HealthCheck, MountKind, MountSpec, PortBinding, Resources, RestartPolicy};

const MIB: u64 = 1 << 20;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// One row of the scene.
struct Part {
    name: &'static str,
    image: &'static str,
    cmd: &'static str,
    /// Seconds before now.
    age_s: u64,
    ports: &'static [(u16, u16)],
    mem_mib: u64,
    volume: Option<(&'static str, &'static str)>,
    tape: Option<(Style, f64)>,
    fate: Fate,
}

enum Fate {
    Runs,
    Healthy,
    Unhealthy,
    Paused,
    Restarts,
    Created,
    /// Exit code and how long ago.
    Exited(i32, u64),
    OomKilled(u64),
}

const fn part(name: &'static str, image: &'static str, cmd: &'static str, age_s: u64, fate: Fate) -> Part {
    Part { name, image, cmd, age_s, ports: &[], mem_mib: 0, volume: None, tape: None, fate }
}

fn parts() -> Vec<Part> {
    let web = |name, age_s, port: &'static [(u16, u16)]| Part {
        ports: port,
        tape: Some((Style::Access, 12.0)),
        ..part(name, "nginx:1.27", "nginx -g 'daemon off;'", age_s, Fate::Healthy)
    };
    vec![
        web("web-1", 2 * HOUR, &[(8080, 80)]),
        web("web-2", 2 * HOUR - 4, &[(8081, 80), (8443, 443)]),
        Part {
            ports: &[(5432, 5432)],
            mem_mib: 512,
            volume: Some(("pgdata", "/var/lib/postgresql/data")),
            tape: Some((Style::Database, 3.0)),
            ..part("db", "postgres:16", "postgres", 6 * DAY, Fate::Healthy)
        },
        Part {
            volume: Some(("redis-data", "/data")),
            tape: Some((Style::Logfmt, 0.4)),
            ..part("cache", "redis:7-alpine", "redis-server --save 60 1", 6 * DAY, Fate::Runs)
        },
        Part {
            mem_mib: 256,
            tape: Some((Style::Json, 25.0)),
            ..part("api", "registry.example.com/shop/api:4.2.1", "/app/server --port 3000", 3 * HOUR, Fate::Unhealthy)
        },
        Part {
            tape: Some((Style::Logfmt, 4.0)),
            ..part("worker-1", "registry.example.com/shop/worker:4.2.1", "worker", 26 * HOUR, Fate::Runs)
        },
        Part {
            tape: Some((Style::Logfmt, 4.0)),
            ..part("worker-2", "registry.example.com/shop/worker:4.2.1", "worker", 26 * HOUR, Fate::Paused)
        },
        Part {
            tape: Some((Style::Mixed, 5000.0)),
            ..part("firehose", "chatty:latest", "chatty 5000", 20 * 60, Fate::Runs)
        },
        part("mailer", "registry.example.com/shop/mailer:1.0", "sh -c 'sleep 1; exit 1'", 40 * 60, Fate::Restarts),
        Part {
            mem_mib: 64,
            ..part(
                "thumbnails",
                "registry.example.com/shop/thumbs:0.9",
                "thumbs --watch",
                5 * HOUR,
                Fate::OomKilled(47 * 60),
            )
        },
        part(
            "migrate",
            "registry.example.com/shop/api:4.2.1",
            "sh -c 'echo migrated 42 tables'",
            3 * HOUR,
            Fate::Exited(0, 3 * HOUR - 9),
        ),
        part(
            "backup",
            "debian:trixie-slim",
            "sh -c 'echo disk full >&2; exit 2'",
            9 * HOUR,
            Fate::Exited(2, 9 * HOUR - 70),
        ),
        part("toolbox", "busybox:1.36", "sh", 15 * 60, Fate::Runs),
        part("batch-next", "debian:trixie-slim", "sleep 600", 4 * 60, Fate::Created),
        Part {
            tape: Some((Style::Json, 0.1)),
            ..part("metrics", "prom/prometheus:v3.1.0", "prometheus --config.file=/etc/p.yml", 12 * DAY, Fate::Runs)
        },
        Part {
            tape: Some((Style::Logfmt, 0.2)), ..part("ledger-数据", "busybox:1.36", "serve", 2 * DAY, Fate::Runs)
        },
    ]
}

const IMAGES: [(&str, u64, u64); 11] = [
    ("nginx:1.27", 192, 20),
    ("postgres:16", 434, 33),
    ("redis:7-alpine", 41, 41),
    ("registry.example.com/shop/api:4.2.1", 128, 1),
    ("registry.example.com/shop/worker:4.2.1", 131, 1),
    ("registry.example.com/shop/mailer:1.0", 88, 70),
    ("registry.example.com/shop/thumbs:0.9", 310, 90),
    ("chatty:latest", 2, 2),
    ("debian:trixie-slim", 78, 12),
    ("busybox:1.36", 4, 400),
    ("prom/prometheus:v3.1.0", 296, 25),
];

pub(super) fn fill(fake: &Fake) {
    let now = fake.now();
    let mut world = fake.lock();
    for (reference, mib, days) in IMAGES {
        images::add(&mut world, reference, mib * MIB + 123_456, now - Duration::from_secs(days * DAY));
    }
    images::add(&mut world, "", 127 * MIB, now - Duration::from_secs(8 * DAY));
    let mut parts = parts();
    parts.sort_by_key(|part| std::cmp::Reverse(part.age_s));
    for part in &parts {
        place(&mut world, part, now);
    }
    for name in ["old-uploads", "build-cache"] {
        let mount = MountSpec { kind: named(name), target: "/x".to_owned(), read_only: false };
        super::volumes::mount(&mut world, &mount, now - Duration::from_secs(30 * DAY));
    }
    world.events.retain(|event| event.time + Duration::from_secs(7 * DAY) > now);
    fake.tell(world);
}

/// `n` quiet containers more.
pub(super) fn crowd(fake: &Fake, n: usize) {
    let now = fake.now();
    let mut world = fake.lock();
    for i in 0..n {
        let name: &'static str = Box::leak(format!("unit-{i:04}").into_boxed_str());
        let fate = if i % 5 == 4 { Fate::Exited(0, 60 * i as u64) } else { Fate::Runs };
        let tape = Some((Style::Logfmt, 0.2));
        place(&mut world, &Part { tape, ..part(name, "busybox:1.36", "serve", HOUR + 60 * i as u64, fate) }, now);
    }
    fake.tell(world);
}

fn named(name: &str) -> MountKind {
    MountKind::Volume { name: Some(name.to_owned()), no_copy: false, subpath: None, labels: BTreeMap::new() }
}

fn spec(part: &Part) -> ContainerSpec {
    let port = |(host, container): &(u16, u16)| PortBinding {
        container_port: *container,
        protocol: "tcp".to_owned(),
        host_ip: Some("0.0.0.0".to_owned()),
        host_port: Some(*host),
    };
    let mounts =
        part.volume.map(|(name, target)| MountSpec { kind: named(name), target: target.to_owned(), read_only: false });
    let project = [("com.example.project".to_owned(), "shop".to_owned())];
    let has_health = matches!(part.fate, Fate::Healthy | Fate::Unhealthy);
    let test = vec!["CMD-SHELL".to_owned(), "curl -fs localhost/health".to_owned()];
    let is_shell = part.cmd == "sh";
    ContainerSpec {
        image: part.image.to_owned(),
        cmd: Some(words(part.cmd)),
        env: vec!["TZ=UTC".to_owned(), format!("SERVICE={}", part.name)],
        tty: is_shell,
        open_stdin: is_shell,
        labels: BTreeMap::from(project),
        ports: part.ports.iter().map(port).collect(),
        exposed_ports: part.ports.iter().map(|(_, container)| format!("{container}/tcp")).collect(),
        mounts: mounts.into_iter().collect(),
        restart: if matches!(part.fate, Fate::Restarts) { RestartPolicy::Always } else { RestartPolicy::No },
        health: has_health.then(|| HealthCheck { test, ..HealthCheck::default() }),
        resources: Resources { memory_bytes: (part.mem_mib > 0).then_some(part.mem_mib * MIB), ..Resources::default() },
        ..ContainerSpec::default()
    }
}

/// Splits at spaces; single quotes hold together.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            _ => words.iter_mut().last().into_iter().for_each(|word| word.push(c)),
        }
    }
    words
}

fn place(world: &mut World, part: &Part, now: SystemTime) {
    let born = now - Duration::from_secs(part.age_s);
    // The scene's names and images are known to be good.
    let Ok(id) = containers::create(world, None, &spec(part), born) else { return };
    let Ok(idx) = world.find(&id) else { return };
    world.containers[idx].name = part.name.to_owned();
    if let Some((style, lines_per_s)) = part.tape {
        let keep = if lines_per_s > 1000.0 { 200_000 } else { 50_000 };
        containers::with_tape(world, idx, Tape::new(style, lines_per_s, keep));
    }
    if matches!(part.fate, Fate::Created) {
        return;
    }
    // A restarting container has been at it for a while: its present run starts now.
    let start = if matches!(part.fate, Fate::Restarts) { now } else { born };
    if world.start(idx, start).is_err() {
        return;
    }
    let ctr = &mut world.containers[idx];
    // One that does not listen: stop takes its ten seconds.
    ctr.ignores_term = part.name == "worker-1";
    match part.fate {
        Fate::Runs | Fate::Created => {}
        Fate::Restarts => ctr.state.restart_count = 7,
        Fate::Healthy => (0..3).for_each(|_| ctr.probe(now, 0, "ok")),
        Fate::Unhealthy => (0..4).for_each(|_| ctr.probe(now, 22, "curl: (22) The requested URL returned error: 502")),
        Fate::Paused => {
            ctr.state.status = Status::Paused;
            if let super::program::Program::Serves(tape) = &mut ctr.program {
                tape.stop(now - Duration::from_secs(90));
            }
        }
        Fate::Exited(code, ago_s) => {
            finish(world, idx, now - Duration::from_secs(ago_s), Exit { code, ..Exit::default() })
        }
        Fate::OomKilled(ago_s) => {
            let exit = Exit { code: 137, signal: Some(9), oom_killed: true, error: None };
            let at = now - Duration::from_secs(ago_s);
            world.emit_ctr(at, idx, "oom", &[]);
            finish(world, idx, at, exit);
        }
    }
}

/// Plays the script to its end before it is recorded as ended, so that its log is there.
fn finish(world: &mut World, idx: usize, at: SystemTime, exit: Exit) {
    world.settle(at);
    if world.containers[idx].state.status.is_alive() {
        world.end(idx, at, exit);
    }
    let ctr = &mut world.containers[idx];
    ctr.state.finished_at = Some(at);
}
