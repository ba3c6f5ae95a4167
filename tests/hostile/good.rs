//! What a healthy daemon says, for everything that a case does not care about: two containers, an image, a volume, a network, streams.

use orlop::api::stdcopy;
use orlop::engine::StreamKind;
use serde_json::{Value, json};

use crate::daemon::{Outcome, Request, Then, Wire};

pub const STAMP: &str = "2026-11-21T04:45:39.000000001Z";

pub fn id(letter: char) -> String {
    letter.to_string().repeat(64)
}

pub fn row(id: &str, name: &str) -> Value {
    json!({
        "Id": id, "Names": [format!("/{name}")], "Image": "busybox:1", "ImageID": format!("sha256:{id}"), "Command": "sleep 1",
        "Created": 1_795_236_339, "State": "running", "Status": "Up 3 minutes", "Labels": {"a": "b"}, "Ports": [], "Mounts": [],
        "NetworkSettings": {"Networks": {"bridge": {}}}
    })
}

pub fn detail(id: &str, name: &str) -> Value {
    json!({
        "Id": id, "Name": format!("/{name}"), "Created": STAMP, "Path": "sleep", "Args": ["1"], "Image": format!("sha256:{id}"),
        "State": {"Status": "running", "Running": true, "Pid": 7, "StartedAt": STAMP},
        "Config": {"Image": "busybox:1", "Cmd": ["sleep", "1"], "Tty": false}, "HostConfig": {"NetworkMode": "bridge"}
    })
}

fn image() -> Value {
    json!({"Id": format!("sha256:{}", id('c')), "RepoTags": ["busybox:1"], "RepoDigests": [], "Created": 1_795_236_339, "Size": 5,
        "Architecture": "amd64", "Os": "linux", "Config": {"Cmd": ["sh"]}, "RootFS": {"Layers": []}})
}

pub fn event(n: u64, action: &str) -> Value {
    json!({"Type": "container", "Action": action, "time": 1_795_236_339 + n, "timeNano": (1_795_236_339 + n) * 1_000_000_000,
        "Actor": {"ID": id('a'), "Attributes": {"name": "web"}}})
}

/// One frame of a stream.
pub fn frame(text: &str) -> Vec<u8> {
    [&stdcopy::head(StreamKind::Stdout, text.len() as u32)[..], text.as_bytes()].concat()
}

/// One line of a log with its frame and its time, `n` seconds after the first.
pub fn line(n: u64, text: &str) -> Vec<u8> {
    let seconds = orlop::api::time::seconds(1_795_236_339 + n as i64);
    frame(&format!("{seconds}.000000000Z {text}\n"))
}

/// Whose first line says that it is docker's raw stream.
pub fn upgrade(wire: &mut Wire) -> std::io::Result<()> {
    use std::io::Write;
    wire.write_all(b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
}

/// `None` for what it does not know.
pub fn answer(request: &Request, wire: &mut Wire) -> Option<Outcome> {
    let document = match (request.method.as_str(), request.path.as_str()) {
        ("GET" | "HEAD", "/_ping") => return Some(wire.answer(200, "text/plain", b"OK")),
        ("GET", "/version") => {
            json!({"Version": "20.10.24", "ApiVersion": "1.41", "MinAPIVersion": "1.12", "Os": "linux"})
        }
        ("GET", "/info") => json!({"ID": "x", "Name": "host", "ServerVersion": "20.10.24", "Containers": 2}),
        ("GET", "/containers/json") => json!([row(&id('a'), "web"), row(&id('b'), "db")]),
        ("GET", "/images/json") => json!([image()]),
        ("GET", "/images/search") => json!([{"name": "busybox", "description": "small", "star_count": 1}]),
        ("GET", "/volumes") => json!({"Volumes": [{"Name": "data", "Driver": "local"}], "Warnings": null}),
        ("GET", "/networks") => json!([{"Id": id('d'), "Name": "bridge", "Driver": "bridge", "Scope": "local"}]),
        ("GET", "/system/df") => json!({"LayersSize": 5, "Images": [], "Containers": [], "Volumes": []}),
        ("GET", "/events") => return Some(events(wire)),
        _ => return about_one(request, wire),
    };
    Some(wire.json(&document))
}

fn about_one(request: &Request, wire: &mut Wire) -> Option<Outcome> {
    let mut parts = request.path.trim_start_matches('/').splitn(3, '/');
    let (kind, name, verb) = (parts.next()?, parts.next()?, parts.next().unwrap_or(""));
    let document = match (request.method.as_str(), kind, verb) {
        ("GET", "containers", "json") => detail(&id('a'), name),
        ("GET", "containers", "top") => json!({"Titles": ["PID", "CMD"], "Processes": [["1", "sleep 1"]]}),
        ("GET", "containers", "changes") => json!([{"Path": "/x", "Kind": 1}]),
        ("GET", "containers", "logs") => return Some(logs(request, wire)),
        ("GET", "containers", "stats") => return Some(stats(request, wire)),
        ("POST", "containers", "attach") | ("POST", "exec", "start") => return Some(echo(wire)),
        ("POST", "containers", "exec") => json!({"Id": id('e')}),
        ("POST", "containers", "wait") => json!({"StatusCode": 3}),
        ("POST", "containers", "start" | "stop" | "kill" | "pause" | "unpause" | "restart") => {
            return Some(wire.answer(204, "text/plain", b""));
        }
        ("DELETE", ..) => return Some(wire.answer(204, "text/plain", b"")),
        ("GET", "exec", "json") => {
            json!({"ID": name, "Running": true, "ContainerID": id('a'), "ProcessConfig": {"entrypoint": "sh"}})
        }
        ("GET", "images", "json") => image(),
        ("GET", "images", "history") => json!([{"Id": image()["Id"], "CreatedBy": "COPY", "Size": 5}]),
        ("GET", "volumes", _) => json!({"Name": name, "Driver": "local"}),
        _ => return None,
    };
    Some(wire.json(&document))
}

fn follows(request: &Request) -> bool {
    request.query.split('&').any(|word| word == "follow=1" || word == "stream=1")
}

fn logs(request: &Request, wire: &mut Wire) -> Outcome {
    wire.chunked("application/vnd.docker.raw-stream")?;
    for n in 0..3 {
        wire.chunk(&line(n, &format!("line {n}")))?;
    }
    if follows(request) { Ok(Then::Stall) } else { wire.end() }
}

fn events(wire: &mut Wire) -> Outcome {
    wire.chunked("application/json")?;
    wire.chunk(event(0, "start").to_string().as_bytes())?;
    Ok(Then::Stall)
}

fn stats(request: &Request, wire: &mut Wire) -> Outcome {
    wire.chunked("application/json")?;
    let sample = json!({"read": STAMP, "id": id('a'), "name": "/web", "pids_stats": {"current": 1}, "cpu_stats": {"cpu_usage": {"total_usage": 5}}});
    wire.chunk(sample.to_string().as_bytes())?;
    if follows(request) { Ok(Then::Stall) } else { wire.end() }
}

/// A process that says what it is told.
fn echo(wire: &mut Wire) -> Outcome {
    use std::io::Write;
    upgrade(wire)?;
    wire.write_all(&frame("hello\n"))?;
    let mut buffer = [0; 4096];
    loop {
        let n_read = wire.read(&mut buffer)?;
        if n_read == 0 {
            return Ok(Then::Close);
        }
        let text = String::from_utf8_lossy(&buffer[..n_read]).into_owned();
        wire.write_all(&frame(&text))?;
    }
}
