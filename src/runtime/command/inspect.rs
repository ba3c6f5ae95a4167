//! Commands that print: `state`, `list`, `ps`, `events`, `features`, `spec`. Called by the dispatcher; change nothing.

use super::super::caps;
use super::super::cgroup::{Cgroup, Stats};
use super::super::error::{At, Result, RuntimeError, Step};
use super::super::plan::mounts::{FLAG_OPTIONS, PROPAGATION_OPTIONS, SUPER_OPTIONS};
use super::super::state::{self, Home, Record, Status};
use super::args::{Args, Stop};
use super::{Global, print, usage_error};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

fn existing(global: &Global, args: &mut Args) -> Result<(Home, Record, Status)> {
    let home = Home::open(&global.root, &args.id()?)?;
    let record = home.read()?;
    let status = home.status(&record);
    Ok((home, record, status))
}

fn document(record: &Record, status: Status) -> Value {
    json!({
        "ociVersion": record.oci_version,
        "id": record.id,
        "pid": if status == Status::Stopped { 0 } else { record.pid },
        "status": status.text(),
        "bundle": record.bundle,
        "rootfs": record.rootfs,
        "created": record.created,
        "annotations": record.annotations,
        "owner": record.owner,
    })
}

fn pretty(value: &Value) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

pub(crate) fn state(global: &Global, rest: Vec<String>) -> Result<i32> {
    let mut args = Args::parse(rest, &[], &[], Stop::Never)?;
    let (_, record, status) = existing(global, &mut args)?;
    args.expect_end()?;
    Ok(print(&pretty(&document(&record, status))))
}

pub(crate) fn list(global: &Global, rest: Vec<String>) -> Result<i32> {
    let args = Args::parse(rest, &["--format", "-f"], &["--quiet", "-q"], Stop::Never)?;
    args.expect_end()?;
    let all = state::all(&global.root);
    if args.has("--quiet") || args.has("-q") {
        return Ok(print(&all.iter().fold(String::new(), |text, (_, record)| text + &record.id + "\n")));
    }
    match args.value("--format").or(args.value("-f")).unwrap_or("table") {
        "json" => {
            let documents: Vec<Value> = all.iter().map(|(home, it)| document(it, home.status(it))).collect();
            Ok(print(&format!("{}\n", Value::from(documents))))
        }
        "table" => {
            let mut text =
                format!("{:<24} {:<8} {:<10} {:<32} {:<32} OWNER\n", "ID", "PID", "STATUS", "BUNDLE", "CREATED");
            for (home, record) in &all {
                let status = home.status(record);
                let pid = if status == Status::Stopped { 0 } else { record.pid };
                let bundle = record.bundle.display().to_string();
                let _ = writeln!(
                    text,
                    "{:<24} {pid:<8} {:<10} {bundle:<32} {:<32} {}",
                    record.id,
                    status.text(),
                    record.created,
                    record.owner
                );
            }
            Ok(print(&text))
        }
        other => Err(usage_error(format!("unknown format {other:?}"))),
    }
}

pub(crate) fn ps(global: &Global, rest: Vec<String>) -> Result<i32> {
    let mut args = Args::parse(rest, &["--format", "-f"], &[], Stop::AtSecondWord)?;
    let (_, record, status) = existing(global, &mut args)?;
    if status == Status::Stopped {
        return Err(RuntimeError::new(Step::NotRunning, ""));
    }
    let mut pids = open_cgroup(&record)?.pids().map_err(|err| RuntimeError::new(Step::Cgroup, err.to_string()))?;
    pids.sort_unstable();
    if args.value("--format").or(args.value("-f")) == Some("json") {
        return Ok(print(&format!("{}\n", Value::from(pids))));
    }
    let mut options = args.rest();
    if options.is_empty() {
        options.push("-ef".to_owned());
    }
    // The host's ps on the host's /proc: nothing of the container's is executed (CVE-2022-1227).
    let output = Command::new("ps").args(&options).output().at(Step::Record, "the output of ps")?;
    if !output.status.success() {
        return Err(usage_error(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(print(&only(&String::from_utf8_lossy(&output.stdout), &pids)?))
}

/// The head and the lines of `pids`.
fn only(table: &str, pids: &[u32]) -> Result<String> {
    let mut lines = table.lines();
    let head = lines.next().unwrap_or_default();
    let column = head.split_whitespace().position(|name| name == "PID");
    let column = column.ok_or_else(|| usage_error("couldn't find PID field in ps output".to_owned()))?;
    let mut text = format!("{head}\n");
    for line in lines {
        let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| pids.binary_search(&pid).is_ok()) {
            let _ = writeln!(text, "{line}");
        }
    }
    Ok(text)
}

fn open_cgroup(record: &Record) -> Result<Cgroup> {
    Cgroup::open(&record.cgroup).map_err(|err| RuntimeError::new(Step::Cgroup, format!("({err})")))
}

pub(crate) fn events(global: &Global, rest: Vec<String>) -> Result<i32> {
    let mut args = Args::parse(rest, &["--interval"], &["--stats"], Stop::Never)?;
    let (home, record, status) = existing(global, &mut args)?;
    args.expect_end()?;
    if status == Status::Stopped {
        return Err(RuntimeError::new(Step::NotRunning, ""));
    }
    let interval = interval(args.value("--interval").unwrap_or("5s"))?;
    let cgroup = open_cgroup(&record)?;
    let mut n_kills = cgroup.memory_events().oom_kill;
    loop {
        let stats = cgroup.stats().map_err(|err| RuntimeError::new(Step::Cgroup, err.to_string()))?;
        let line = json!({ "type": "stats", "id": record.id, "data": stats_document(&stats) });
        print(&format!("{line}\n"));
        if args.has("--stats") {
            return Ok(0);
        }
        std::thread::sleep(interval);
        let kills = cgroup.memory_events().oom_kill;
        if kills > n_kills {
            n_kills = kills;
            print(&format!("{}\n", json!({ "type": "oom", "id": record.id })));
        }
        if home.status(&record) == Status::Stopped {
            return Ok(0);
        }
    }
}

/// `5s`, `500ms`, `1m`, or seconds.
fn interval(text: &str) -> Result<Duration> {
    let bad = || usage_error(format!("--interval: invalid duration {text:?}"));
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" => 60.0,
        _ => return Err(bad()),
    };
    let seconds: f64 = digits.parse().map_err(|_| bad())?;
    if seconds * factor >= 0.001 && seconds.is_finite() {
        return Ok(Duration::from_secs_f64(seconds * factor));
    }
    Err(bad())
}

pub(crate) fn features(rest: Vec<String>) -> Result<i32> {
    Args::parse(rest, &[], &[], Stop::Never)?.expect_end()?;
    let mut mount_options: Vec<String> = Vec::new();
    for (name, ..) in FLAG_OPTIONS {
        mount_options.extend([(*name).to_owned(), format!("r{name}")]);
    }
    mount_options.extend(PROPAGATION_OPTIONS.iter().map(|(name, ..)| (*name).to_owned()));
    mount_options.extend(SUPER_OPTIONS.iter().map(|name| (*name).to_owned()));
    mount_options.extend(["bind", "rbind", "defaults", "idmap", "ridmap"].map(str::to_owned));
    mount_options.sort();
    let capabilities: Vec<String> = caps::CapSet::all()
        .names()
        .into_iter()
        .map(|name| format!("CAP_{}", name.trim_start_matches("CAP_")))
        .collect();
    Ok(print(&pretty(&json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.2.1",
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": mount_options,
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "capabilities": capabilities,
            "cgroup": { "v1": true, "v2": true, "systemd": false, "systemdUser": false, "rdma": false },
            "seccomp": {
                "enabled": true,
                "actions": ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
                    "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP"],
                "operators": ["SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT",
                    "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"],
            },
            "apparmor": { "enabled": false },
            "selinux": { "enabled": false },
            "intelRdt": { "enabled": false },
            "mountExtensions": { "idmap": { "enabled": true } },
        },
    }))))
}

pub(crate) fn spec(rest: Vec<String>) -> Result<i32> {
    let args = Args::parse(rest, &["--bundle", "-b"], &["--rootless"], Stop::Never)?;
    args.expect_end()?;
    let path = Path::new(args.value("--bundle").or(args.value("-b")).unwrap_or(".")).join("config.json");
    if path.exists() {
        return Err(usage_error(format!("{} exists. Remove it first", path.display())));
    }
    let document = example(args.has("--rootless"));
    std::fs::write(&path, pretty(&document)).at(Step::Record, path.display())?;
    Ok(0)
}

/// A config to start from: a shell in a read-only root, with few rights.
fn example(is_rootless: bool) -> Value {
    let few = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let mut namespaces = vec!["pid", "network", "ipc", "uts", "mount", "cgroup"];
    if is_rootless {
        namespaces.retain(|name| *name != "network");
        namespaces.push("user");
    }
    let namespaces: Vec<Value> = namespaces.into_iter().map(|name| json!({ "type": name })).collect();
    let mut pts = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    if !is_rootless {
        pts.push("gid=5");
    }
    let sys = if is_rootless {
        json!({ "destination": "/sys", "type": "none", "source": "/sys",
            "options": ["rbind", "nosuid", "noexec", "nodev", "ro"] })
    } else {
        json!({ "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] })
    };
    let mut linux = json!({
        "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
        "namespaces": namespaces,
        "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
            "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware",
            "/sys/devices/virtual/powercap", "/proc/scsi"],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    });
    if is_rootless {
        linux["uidMappings"] = json!([{ "containerID": 0, "hostID": crate::sys::process::euid(), "size": 1 }]);
        linux["gidMappings"] = json!([{ "containerID": 0, "hostID": crate::sys::process::egid(), "size": 1 }]);
        linux["resources"] = json!({});
    }
    json!({
        "ociVersion": "1.2.1",
        "process": {
            "terminal": true,
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": { "bounding": few, "effective": few, "permitted": few },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "orlop",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": pts },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"] },
            sys,
            { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] },
        ],
        "linux": linux,
    })
}

/// Figures as `runc events` has them.
fn stats_document(stats: &Stats) -> Value {
    serde_json::to_value(stats).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ps_keeps_the_lines_of_the_container() {
        let table = "UID PID CMD\nroot 1 init\nroot 12 sh\nroot 112 x\n";
        assert_eq!(only(table, &[12]).unwrap(), "UID PID CMD\nroot 12 sh\n");
        assert!(only("A B\n1 2\n", &[2]).is_err());
    }

    #[test]
    fn intervals_are_durations() {
        assert_eq!(interval("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(interval("2").unwrap(), Duration::from_secs(2));
        assert!(interval("x").is_err() && interval("0s").is_err() && interval("1h").is_err());
    }

    #[test]
    fn the_example_config_is_one_that_we_read() {
        for is_rootless in [false, true] {
            super::super::super::parse_spec(example(is_rootless).to_string().as_bytes()).unwrap();
        }
    }
}
