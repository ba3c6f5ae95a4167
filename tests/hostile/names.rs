//! What things are called: control characters, terminal escapes, directions of writing, slashes, colons, unicode, in every field that is shown. The
//! program itself is run; whatever it prints of others' words drives no terminal.

use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Instant;

use orlop::config::host::Endpoint;
use orlop::engine::{Class, Engine, ListContainers, RemoveContainer, StopOptions};
use orlop::remote::Remote;
use orlop::stdx::shown::is_unsafe;
use serde_json::{Value, json};

use crate::daemon::{Daemon, Then};
use crate::good;
use crate::house::{LIMIT, LONG, attempt, run, script};
use crate::sink::Sink;

/// Clears the screen in three ways, rings, turns the writing around, and has what tables and paths split at.
const NASTY: &str = "n\u{1b}[2J\u{9b}31m\u{7}\u{8}\r\n\tx\u{202e}\u{2066}/..:@日本 'q\" {{.}} %00";

/// The program with these words, on a daemon; ended by force when it takes too long.
fn orlop(daemon: &Daemon, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orlop"));
    command.arg("-H").arg(daemon.endpoint().to_string()).args(words);
    let home = tempfile::tempdir().unwrap();
    command.env_clear().env("HOME", home.path()).env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
    ended(&mut command)
}

/// What a verb writes to a terminal: stdout and stderr.
fn on_terminal(daemon: &Daemon, words: &[&str]) -> (Vec<u8>, Vec<u8>) {
    let argv: Vec<String> = ["orlop"].iter().chain(words).map(|&word| word.to_owned()).collect();
    let verb = orlop::cli::parse(&argv).map_err(|usage| usage.text).unwrap().verb.unwrap();
    let (out, err) = (Sink::default(), Sink::default());
    let io = orlop::cli::Io {
        out: Box::new(out.clone()),
        err: Box::new(err.clone()),
        stdin: orlop::cli::io::Stdin::Bytes(Vec::new()),
        is_out_tty: true,
        is_one_sink: false,
        now: std::time::SystemTime::now,
    };
    let engine = Arc::new(Remote::with_patience(daemon.endpoint(), LONG).unwrap());
    run(orlop::cli::run(verb, engine, io));
    (out.take(), err.take())
}

fn ended(command: &mut Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let end = Instant::now() + LIMIT;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            let _ = child.kill();
            panic!("{command:?} hangs");
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

/// Every text of the document becomes the nasty one, but for those that say what kind of thing it is.
fn nasty(doc: Value) -> Value {
    const KEPT: &[&str] =
        &["State", "Status", "Type", "Created", "CreatedAt", "Action", "StartedAt", "ApiVersion", "MinAPIVersion"];
    match doc {
        Value::String(_) => NASTY.into(),
        Value::Array(items) => items.into_iter().map(nasty).collect(),
        Value::Object(members) => {
            let member = |(name, value): (String, Value)| {
                let is_kept = KEPT.contains(&name.as_str()) && !value.is_object();
                let value = if is_kept { value } else { nasty(value) };
                (name, value)
            };
            Value::Object(members.into_iter().map(member).collect())
        }
        other => other,
    }
}

fn hostile() -> Daemon {
    Daemon::unix(script(|request, wire| {
        let mut row = good::row(&good::id('a'), "web");
        row["Labels"] = json!({NASTY: NASTY});
        row["Ports"] = json!([{"IP": NASTY, "PrivatePort": 80, "PublicPort": 80, "Type": NASTY}]);
        row["Mounts"] = json!([{"Type": "volume", "Name": NASTY, "Source": NASTY, "Destination": NASTY}]);
        row["NetworkSettings"] = json!({"Networks": {NASTY: {}}});
        let image = json!({"Id": "x", "RepoTags": ["x:1"], "RepoDigests": ["x@y"], "Created": 5, "Size": 5, "Labels": {"a": "b"},
            "Author": "x", "Comment": "x", "Config": {"Env": ["x"], "Cmd": ["x"]}});
        let document = match request.path.as_str() {
            "/containers/json" => json!([row]),
            "/containers/web/json" => {
                let mut doc = good::detail(&good::id('a'), "web");
                doc["HostConfig"]["PortBindings"] = json!({"80/tcp": [{"HostIp": "x", "HostPort": "80"}]});
                doc
            }
            "/containers/web/top" => json!({"Titles": ["x", "y"], "Processes": [["x", "y"]]}),
            "/containers/web/changes" => json!([{"Path": "x", "Kind": 1}]),
            "/containers/web/stats" => {
                json!({"read": good::STAMP, "id": "x", "name": "x", "pids_stats": {"current": 1}})
            }
            "/containers/prune" => json!({"ContainersDeleted": ["x"], "SpaceReclaimed": 5}),
            "/containers/create" => json!({"Id": "x", "Warnings": ["x"]}),
            "/commit" => json!({"Id": "x"}),
            "/images/json" => json!([image]),
            "/images/x/json" => image,
            "/images/x/history" => json!([{"Id": "x", "CreatedBy": "x", "Comment": "x", "Tags": ["x"]}]),
            "/images/search" => json!([{"name": "x", "description": "x", "star_count": 1}]),
            "/images/x" => json!([{"Untagged": "x"}, {"Deleted": "x"}]),
            "/images/prune" => json!({"ImagesDeleted": [{"Untagged": "x"}], "SpaceReclaimed": 1}),
            "/images/create" => json!({"status": "x", "id": "x", "error": "x", "errorDetail": {"message": "x"}}),
            "/volumes" => json!({"Volumes": [{"Name": "x", "Driver": "x", "Mountpoint": "x"}]}),
            "/volumes/create" => json!({"Name": "x", "Driver": "x"}),
            "/volumes/prune" => json!({"VolumesDeleted": ["x"], "SpaceReclaimed": 1}),
            "/networks" => json!([{"Id": "x", "Name": "x", "Driver": "x", "Scope": "x"}]),
            "/info" => {
                json!({"ID": "x", "Name": "x", "ServerVersion": "x", "Driver": "x", "KernelVersion": "x", "OperatingSystem": "x",
                "OSType": "x", "Architecture": "x", "DockerRootDir": "x", "Runtimes": {NASTY: {}}, "SecurityOptions": ["x"], "Warnings": ["x"],
                "LoggingDriver": "x", "CgroupDriver": "x", "CgroupVersion": "x", "DefaultRuntime": "x"})
            }
            "/version" => {
                json!({"Version": "x", "ApiVersion": "1.41", "MinAPIVersion": "1.12", "Os": "x", "Arch": "x", "GitCommit": "x", "BuildTime": "x",
                "KernelVersion": "x", "Components": [{"Name": "x", "Version": "x"}]})
            }
            "/events" => {
                let mut event = good::event(0, NASTY);
                event["Actor"]["Attributes"] = json!({NASTY: NASTY});
                event["Actor"]["ID"] = NASTY.into();
                let sent = wire.answer(200, "application/json", event.to_string().as_bytes());
                return Some(sent.map(|_| Then::Close));
            }
            _ => return None,
        };
        Some(wire.json(&nasty(document)))
    }))
}

#[test]
fn nothing_that_is_shown_drives_the_terminal() {
    let daemon = hostile();
    let lines: &[&[&str]] = &[
        &["ps", "-a"],
        &["ps", "-a", "--no-trunc"],
        &["images"],
        &["images", "--digests", "--no-trunc"],
        &["volume", "ls"],
        &["network", "ls"],
        &["info"],
        &["version"],
        &["system", "df"],
        &["top", "web"],
        &["diff", "web"],
        &["port", "web"],
        &["history", "x"],
        &["history", "--no-trunc", "x"],
        &["search", "x"],
        &["stats", "--no-stream", "web"],
        &["events", "--until", "1"],
        &["inspect", "web"],
        &["image", "inspect", "x"],
        &["network", "inspect", "x"],
        &["rmi", "x"],
        &["commit", "web"],
        &["create", "x"],
        &["volume", "create"],
        &["container", "prune", "-f"],
        &["image", "prune", "-f"],
        &["volume", "prune", "-f"],
    ];
    let mut n_shown = 0;
    for words in lines {
        // As on a terminal: what goes into a pipe is left as it is where docker leaves it.
        let ran = on_terminal(&daemon, words);
        for (name, bytes) in [("stdout", &ran.0), ("stderr", &ran.1)] {
            let text = String::from_utf8(bytes.clone()).unwrap_or_else(|_| panic!("{words:?}: {name} is no text"));
            let bad = text.chars().find(|c| is_unsafe(*c) && !matches!(c, '\n' | '\t'));
            assert_eq!(bad, None, "{words:?} {name}: {text:?}");
            n_shown += usize::from(text.contains("日本"));
        }
        assert!(!ran.0.is_empty() || !ran.1.is_empty(), "{words:?} says something");
    }
    assert!(n_shown >= 20, "the nasty name was shown {n_shown} times only");
    let ran = orlop(&daemon, &["pull", "x"]);
    let said = String::from_utf8(ran.stderr).unwrap();
    assert!(said.contains("日本") && !said.chars().any(|c| is_unsafe(c) && !matches!(c, '\n' | '\t')), "{said:?}");
}

/// The name a daemon gives is asked for as it stands, or not at all; it never becomes another path of the API.
#[test]
fn a_name_is_no_path() {
    let daemon = Daemon::unix(script(|_, _| None));
    run(attempt(&daemon, LONG, async |engine| {
        for name in [
            "../volumes/data",
            "web/../../info",
            "a b",
            "web?force=1",
            "web\r\nX: y",
            "..",
            "",
            "ünï",
            "web/json",
            "x%2fy",
        ] {
            let error = engine.containers().stop(name, &StopOptions::default()).await.unwrap_err();
            assert_eq!(error.class, Class::NotFound, "{name:?}");
            let error = engine.containers().remove(name, &RemoveContainer::default()).await.unwrap_err();
            assert_eq!(error.class, Class::NotFound, "{name:?}");
            assert_eq!(engine.volumes().inspect(name).await.unwrap_err().class, Class::NotFound, "{name:?}");
        }
        Ok(())
    }))
    .unwrap();
    let asked: Vec<_> = daemon.requests().into_iter().map(|request| request.path).collect();
    assert!(asked.iter().all(|path| path == "/_ping"), "{asked:?}");
}

/// An exec's id comes from the daemon and goes into the next request's first line.
#[test]
fn an_id_with_a_line_end_makes_no_second_request() {
    let daemon = Daemon::unix(script(|request, wire| {
        let id = "x HTTP/1.1\r\n\r\nDELETE /containers/web";
        (request.method == "POST" && request.path.ends_with("/exec")).then(|| wire.json(&json!({ "Id": id })))
    }));
    run(attempt(&daemon, LONG, async |engine| {
        let spec = orlop::engine::ExecSpec { cmd: vec!["sh".into()], ..Default::default() };
        let started = async {
            let id = engine.execs().create("web", &spec).await?;
            engine.execs().start(&id, None).await
        };
        assert!(started.await.is_err());
        engine.containers().list(&ListContainers::default()).await
    }))
    .unwrap();
    assert!(daemon.requests().iter().all(|request| request.method != "DELETE"));
}

/// A socket that belongs to somebody else: the sentence says who may use it.
#[test]
fn a_socket_without_permission_says_which_group() {
    use std::os::unix::fs::{PermissionsExt, chown};
    let setpriv = ["/usr/bin/setpriv", "/bin/setpriv"].into_iter().find(|path| std::path::Path::new(path).exists());
    let (true, Some(setpriv)) = (nix::unistd::geteuid().is_root(), setpriv) else {
        println!("NOT RUN: it takes root, and setpriv of util-linux, to be somebody else");
        return;
    };
    let group_file = std::fs::read_to_string("/etc/group").unwrap();
    let mut groups = group_file.lines().filter_map(|line| {
        let mut words = line.split(':');
        Some((words.next()?.to_owned(), words.nth(1)?.parse::<u32>().ok()?))
    });
    let (group, gid) = groups.find(|(_, gid)| *gid != 0 && *gid != 65534).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mode = |path: &std::path::Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    mode(dir.path(), 0o755);
    let program = dir.path().join("orlop");
    crate::program::copy(env!("CARGO_BIN_EXE_orlop"), &program);
    let socket = dir.path().join("docker.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let closed = dir.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    mode(&closed, 0o700);
    let say = |path: &std::path::Path| {
        let mut command = Command::new(setpriv);
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
        command.arg("-H").arg(format!("unix://{}", path.display())).arg("ps");
        command.env_clear().env("HOME", "/nonexistent").stdin(Stdio::null());
        let ran = ended(&mut command);
        assert_eq!(ran.status.code(), Some(1), "{ran:?}");
        String::from_utf8(ran.stderr).unwrap()
    };
    chown(&socket, Some(0), Some(gid)).unwrap();
    mode(&socket, 0o660);
    let said = say(&socket);
    assert!(said.contains("permission denied") && said.contains(&format!("group '{group}'")), "{said}");
    assert!(said.contains("usermod -aG"), "{said}");
    mode(&socket, 0o600);
    assert!(say(&socket).contains("only its owner (uid 0)"), "{}", say(&socket));
    let said = say(&closed.join("docker.sock"));
    assert!(said.contains("permission denied") && said.contains("closed to you"), "{said}");
}

#[test]
fn the_program_ends_with_a_sentence_too() {
    let daemon = Daemon::tcp(script(|request, wire| match request.path.as_str() {
        "/containers/json" => Some(wire.answer(200, "application/json", b"{\"not\":\"a list\"}")),
        "/images/json" => Some(wire.answer(502, "text/html", b"<html>")),
        "/volumes" => Some(Ok(Then::Close)),
        _ => None,
    }));
    assert!(matches!(daemon.endpoint(), Endpoint::Tcp { .. }));
    for words in [&["ps"][..], &["images"], &["volume", "ls"]] {
        let ran = orlop(&daemon, words);
        let said = String::from_utf8(ran.stderr).unwrap();
        assert_eq!(ran.status.code(), Some(1), "{words:?}: {said}");
        let lines: Vec<_> = said.lines().collect();
        assert!(
            lines.len() == 2 && lines[0].starts_with("Error: ") && lines[1].starts_with("hint: "),
            "{words:?}: {said}"
        );
        assert!(ran.stdout.is_empty(), "{words:?}: an empty list is a lie");
    }
}
