//! Containers: rows of a list, inspect, exec sessions, process tables, exits, changes of the file system.

use std::time::{Duration, SystemTime};

use serde_json::Value;
use serde_json::value::RawValue;

use super::spec;
use crate::api::read::Read;
use crate::engine::container::{
    ContainerDetail, ContainerSummary, Exit, Health, HealthProbe, HealthStatus, MountPoint, ProcessTable, State, Status,
};
use crate::engine::spec::PortBinding;
use crate::engine::{Change, ChangeKind, ExecDetail, ExecSpec};

/// `GET /containers/json`. `now` turns "Up 3 minutes" back into a time.
pub fn summaries(doc: &Value, now: SystemTime) -> Vec<ContainerSummary> {
    let rows = doc.as_array().map_or(&[][..], Vec::as_slice);
    super::once_each(rows.iter().map(|row| summary(row, now)).filter(|row| !row.id.is_empty()), |row| &row.id)
}

fn summary(row: &Value, now: SystemTime) -> ContainerSummary {
    let size = |key| row.get(key).is_some_and(|size| !size.is_null()).then(|| row.count(key));
    ContainerSummary {
        host: String::new(),
        id: row.text("Id"),
        name: name(&row.texts("Names")),
        image: row.text("Image"),
        image_id: row.text("ImageID"),
        command: command(row.at("Command")),
        created: row.time("Created"),
        state: listed_state(&row.text("State"), &row.text("Status"), now),
        labels: row.pairs("Labels"),
        ports: row.items("Ports").iter().map(listed_port).collect(),
        mounts: row.items("Mounts").iter().map(mount).collect(),
        networks: row.at("NetworkSettings").keys("Networks"),
        size_rw_bytes: size("SizeRw"),
        size_root_fs_bytes: size("SizeRootFs"),
    }
}

/// A container linked by others has their names for it too: `/other/alias`. Its own has one slash.
fn name(names: &[String]) -> String {
    let own = names.iter().map(|name| name.trim_start_matches('/')).find(|name| !name.contains('/'));
    own.or(names.first().map(String::as_str)).unwrap_or("").to_owned()
}

fn command(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(words) => words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        _ => String::new(),
    }
}

/// A list has a word and a sentence: `exited`, "Exited (137) 2 hours ago".
fn listed_state(word: &str, sentence: &str, now: SystemTime) -> State {
    let status = status(word).unwrap_or_else(|| status_of_sentence(sentence));
    let since = span(sentence).and_then(|span| now.checked_sub(span));
    let code =
        sentence.split_once('(').and_then(|(_, rest)| rest.split_once(')')).and_then(|(code, _)| code.parse().ok());
    let has_ended = matches!(status, Status::Exited | Status::Restarting | Status::Dead);
    State {
        status,
        exit: has_ended.then(|| Exit { code: code.unwrap_or(0), ..Exit::default() }),
        started_at: since.filter(|_| status.is_alive()),
        finished_at: since.filter(|_| has_ended),
        health: Health { status: listed_health(sentence), ..Health::default() },
        ..State::default()
    }
}

fn listed_health(sentence: &str) -> HealthStatus {
    match sentence {
        said if said.contains("(healthy)") => HealthStatus::Healthy,
        said if said.contains("(unhealthy)") => HealthStatus::Unhealthy,
        said if said.contains("(health: starting)") || said.contains("(starting)") => HealthStatus::Starting,
        _ => HealthStatus::None,
    }
}

/// Docker's seven words and podman's others.
fn status(word: &str) -> Option<Status> {
    Some(match word.to_ascii_lowercase().as_str() {
        "created" | "configured" | "initialized" => Status::Created,
        "running" | "stopping" | "up" => Status::Running,
        "paused" => Status::Paused,
        "restarting" => Status::Restarting,
        "removing" => Status::Removing,
        "exited" | "stopped" => Status::Exited,
        "dead" => Status::Dead,
        _ => return None,
    })
}

fn status_of_sentence(sentence: &str) -> Status {
    let table = [
        ("Up", Status::Running),
        ("Exited", Status::Exited),
        ("Restarting", Status::Restarting),
        ("Removal", Status::Removing),
        ("Dead", Status::Dead),
    ];
    let found =
        table.iter().find(|(start, _)| sentence.starts_with(start)).map_or(Status::Created, |(_, status)| *status);
    if found == Status::Running && sentence.contains("(Paused)") { Status::Paused } else { found }
}

/// The span in "Up 3 minutes (healthy)": the same words come out of it again.
fn span(sentence: &str) -> Option<Duration> {
    let rest = sentence.strip_prefix("Up ").or_else(|| sentence.split_once(") ").map(|(_, rest)| rest))?;
    if rest.starts_with("Less than a second") {
        return Some(Duration::ZERO);
    }
    let rest = rest.strip_prefix("About ").unwrap_or(rest);
    let mut words = rest.split_whitespace();
    let count = match words.next()? {
        "a" | "an" => 1,
        number => number.parse::<u64>().ok()?,
    };
    let hour = 3600;
    let unit_s = match words.next()?.trim_end_matches('s') {
        "second" => 1,
        "minute" => 60,
        "hour" => hour,
        "day" => 24 * hour,
        "week" => 7 * 24 * hour,
        "month" => 30 * 24 * hour,
        "year" => 365 * 24 * hour,
        _ => return None,
    };
    count.checked_mul(unit_s).map(Duration::from_secs)
}

fn listed_port(port: &Value) -> PortBinding {
    let number = |key| u16::try_from(port.int(key)).unwrap_or(0);
    PortBinding {
        container_port: number("PrivatePort"),
        protocol: port.some_text("Type").unwrap_or_else(|| "tcp".to_owned()),
        host_ip: port.some_text("IP"),
        host_port: Some(number("PublicPort")).filter(|port| *port != 0),
    }
}

fn mount(mount: &Value) -> MountPoint {
    // Old podman lists mere destinations.
    if let Value::String(destination) = mount {
        return MountPoint { destination: destination.clone(), ..MountPoint::default() };
    }
    MountPoint {
        kind: mount.text("Type"),
        name: mount.some_text("Name"),
        source: mount.text("Source"),
        destination: mount.text("Destination"),
        driver: mount.text("Driver"),
        mode: mount.text("Mode"),
        read_write: mount.flag("RW"),
        propagation: mount.text("Propagation"),
    }
}

/// `GET /containers/{id}/json`, with the text itself kept.
pub fn detail(doc: &Value, raw: Option<Box<RawValue>>) -> ContainerDetail {
    let (config, host) = (doc.at("Config"), doc.at("HostConfig"));
    let size = |key| doc.get(key).is_some_and(|size| !size.is_null()).then(|| doc.count(key));
    ContainerDetail {
        id: doc.text("Id"),
        name: doc.text("Name").trim_start_matches('/').to_owned(),
        created: doc.time("Created"),
        spec: spec::spec(config, host),
        image_id: doc.text("Image"),
        path: doc.text("Path"),
        args: doc.texts("Args"),
        state: state(doc),
        mounts: doc.items("Mounts").iter().map(mount).collect(),
        log_path: doc.text("LogPath"),
        hostname_path: doc.text("HostnamePath"),
        hosts_path: doc.text("HostsPath"),
        resolv_conf_path: doc.text("ResolvConfPath"),
        driver: doc.text("Driver"),
        exec_ids: doc.texts("ExecIDs"),
        graph: doc.at("GraphDriver").pairs("Data"),
        size_rw_bytes: size("SizeRw"),
        size_root_fs_bytes: size("SizeRootFs"),
        start_timeline: Vec::new(),
        raw,
    }
}

fn state(doc: &Value) -> State {
    let state = doc.at("State");
    let status = status(&state.text("Status")).unwrap_or_else(|| status_of_flags(state));
    let health = if state.at("Health").is_null() { state.at("Healthcheck") } else { state.at("Health") };
    let has_ended = !status.is_alive() && status != Status::Created;
    let error = state.text("Error");
    let exit = || Exit {
        code: i32::try_from(state.int("ExitCode")).unwrap_or(-1),
        signal: None,
        oom_killed: state.flag("OOMKilled"),
        error: Some(error.clone()).filter(|error| !error.is_empty()),
    };
    State {
        status,
        pid: u32::try_from(state.int("Pid")).ok().filter(|pid| *pid != 0),
        exit: has_ended.then(exit),
        started_at: state.time("StartedAt"),
        finished_at: state.time("FinishedAt"),
        restart_count: u32::try_from(doc.int("RestartCount")).unwrap_or(0),
        error,
        health: Health {
            status: match health.text("Status").as_str() {
                "starting" => HealthStatus::Starting,
                "healthy" => HealthStatus::Healthy,
                "unhealthy" => HealthStatus::Unhealthy,
                _ => HealthStatus::None,
            },
            failing_streak: u32::try_from(health.int("FailingStreak")).unwrap_or(0),
            log: health.items("Log").iter().filter_map(probe).collect(),
        },
    }
}

fn status_of_flags(state: &Value) -> Status {
    let table = [
        ("Dead", Status::Dead),
        ("Restarting", Status::Restarting),
        ("Paused", Status::Paused),
        ("Running", Status::Running),
    ];
    let flag = table.iter().find(|(flag, _)| state.flag(flag)).map(|(_, status)| *status);
    flag.unwrap_or(if state.time("StartedAt").is_some() { Status::Exited } else { Status::Created })
}

fn probe(probe: &Value) -> Option<HealthProbe> {
    let start = probe.time("Start")?;
    Some(HealthProbe {
        start,
        end: probe.time("End").unwrap_or(start),
        exit_code: i32::try_from(probe.int("ExitCode")).unwrap_or(-1),
        output: probe.text("Output"),
    })
}

/// The answer of a wait.
pub fn exit(doc: &Value) -> Exit {
    Exit {
        code: i32::try_from(doc.int("StatusCode")).unwrap_or(-1),
        error: doc.at("Error").some_text("Message"),
        ..Exit::default()
    }
}

/// `GET /containers/{id}/top`.
pub fn processes(doc: &Value) -> ProcessTable {
    let words =
        |row: &Value| row.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    ProcessTable { titles: doc.texts("Titles"), rows: doc.items("Processes").iter().map(words).collect() }
}

/// `GET /containers/{id}/changes`; null for none. Sizes are not told.
pub fn changes(doc: &Value) -> Vec<Change> {
    let change = |row: &Value| {
        let kind = match row.int("Kind") {
            0 => ChangeKind::Modified,
            1 => ChangeKind::Added,
            _ => ChangeKind::Deleted,
        };
        Change { path: row.text("Path"), kind, size_bytes: 0 }
    };
    let mut changes: Vec<_> = doc.as_array().into_iter().flatten().map(change).collect();
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    changes
}

/// `GET /exec/{id}/json`.
pub fn exec(doc: &Value) -> ExecDetail {
    let process = doc.at("ProcessConfig");
    let mut cmd = vec![process.text("entrypoint")];
    cmd.extend(process.texts("arguments"));
    let running = doc.flag("Running");
    let exit = || Exit { code: i32::try_from(doc.int("ExitCode")).unwrap_or(-1), ..Exit::default() };
    ExecDetail {
        id: doc.text("ID"),
        container_id: doc.text("ContainerID"),
        running,
        exit: (!running && !doc.at("ExitCode").is_null()).then(exit),
        pid: u32::try_from(doc.int("Pid")).ok().filter(|pid| *pid != 0),
        spec: ExecSpec {
            cmd,
            user: process.some_text("user"),
            tty: process.flag("tty"),
            attach_stdin: doc.flag("OpenStdin"),
            attach_stdout: doc.flag("OpenStdout"),
            attach_stderr: doc.flag("OpenStderr"),
            privileged: process.flag("privileged"),
            ..ExecSpec::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::status as words;

    #[test]
    fn the_words_of_a_list_come_out_again() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
        for (word, sentence) in [
            ("running", "Up 3 minutes"),
            ("running", "Up Less than a second"),
            ("running", "Up About an hour (healthy)"),
            ("running", "Up 2 weeks (health: starting)"),
            ("paused", "Up 30 hours (Paused)"),
            ("exited", "Exited (137) 5 days ago"),
            ("exited", "Exited (0) 13 months ago"),
            ("restarting", "Restarting (1) 4 seconds ago"),
            ("created", "Created"),
            ("dead", "Dead"),
        ] {
            let state = listed_state(word, sentence, now);
            assert_eq!(words::status(&state, now), sentence);
            assert_eq!(listed_state("", sentence, now), state, "the sentence alone says the same");
        }
        assert_eq!(listed_state("stopped", "Exited (3) About a minute ago", now).exit.map(|exit| exit.code), Some(3));
        assert_eq!(listed_state("", "Up 99999999999999999999 years", now).status, Status::Running);
    }

    #[test]
    fn rows_are_read_leniently() {
        let doc = json!([
            {"Id": "a".repeat(64), "Names": ["/other/alias", "/web"], "Command": ["sh", "-c"], "Ports": null, "Labels": null,
             "Created": 1_700_000_000, "State": "running", "Mounts": ["/data"], "NetworkSettings": {"Networks": {"bridge": null}}},
            {"Names": ["/without-an-id"]}, null, 3
        ]);
        let rows = summaries(&doc, SystemTime::UNIX_EPOCH);
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].name.as_str(), rows[0].command.as_str()), ("web", "sh -c"));
        assert_eq!(
            (rows[0].networks.as_slice(), rows[0].mounts[0].destination.as_str()),
            (&["bridge".to_owned()][..], "/data")
        );
        assert!(summaries(&json!({"message": "no list"}), SystemTime::UNIX_EPOCH).is_empty());
    }

    #[test]
    fn a_state_without_a_word_is_read_from_its_flags() {
        let status = |state: Value| super::state(&json!({ "State": state })).status;
        assert_eq!(status(json!({"Running": true})), Status::Running);
        assert_eq!(status(json!({"Running": true, "Paused": true})), Status::Paused);
        assert_eq!(status(json!({"StartedAt": "2026-01-01T00:00:00Z"})), Status::Exited);
        assert_eq!(status(json!(null)), Status::Created);
        assert_eq!(status(json!({"Status": "configured"})), Status::Created);
    }
}
