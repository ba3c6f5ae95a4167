//! What an engine tells of a thing as one JSON document, for the tree and the raw text. Called by `update` and the JSON pager; pure.
//! A daemon's own JSON is shown as it came; the embedded engine's domain types are laid out by their own names.

use serde_json::{Map, Value, json};

use crate::engine::{ContainerDetail, ImageDetail, MountSpec, RestartPolicy, spec::MountKind};

use super::model::detail::Loaded;

/// The whole document.
pub fn of(loaded: &Loaded) -> Value {
    match loaded {
        Loaded::Container(detail) => raw(detail.raw.as_deref()).unwrap_or_else(|| container(detail)),
        Loaded::Image(detail, history) => {
            let mut document = raw(detail.raw.as_deref()).unwrap_or_else(|| image(detail));
            if let Value::Object(map) = &mut document {
                let entries = history.iter().map(|entry| json!({"created_by": entry.created_by, "size_bytes": entry.size_bytes, "created": time(entry.created), "comment": entry.comment}));
                map.insert("history".to_owned(), entries.collect());
            }
            document
        }
        Loaded::Volume(volume) => json!({
            "name": volume.name,
            "driver": volume.driver,
            "mountpoint": volume.mountpoint,
            "created": time(volume.created),
            "anonymous": volume.anonymous,
            "used_by": volume.used_by,
            "size_bytes": volume.size_bytes,
            "labels": volume.labels,
            "options": volume.options,
        }),
        Loaded::Network(network) => json!({
            "name": network.name,
            "id": network.id,
            "driver": network.driver,
            "scope": network.scope,
            "labels": network.labels,
        }),
    }
}

fn raw(raw: Option<&serde_json::value::RawValue>) -> Option<Value> {
    serde_json::from_str(raw?.get()).ok()
}

fn time(moment: Option<std::time::SystemTime>) -> Value {
    let stamp = moment.and_then(|moment| jiff::Timestamp::try_from(moment).ok());
    stamp.map_or(Value::Null, |stamp| Value::String(stamp.to_string()))
}

fn container(detail: &ContainerDetail) -> Value {
    let state = &detail.state;
    json!({
        "id": detail.id,
        "name": detail.name,
        "created": time(detail.created),
        "path": detail.path,
        "args": detail.args,
        "image_id": detail.image_id,
        "state": {
            "status": state.status.as_str(),
            "pid": state.pid,
            "started": time(state.started_at),
            "finished": time(state.finished_at),
            "exit": state.exit,
            "restart_count": state.restart_count,
            "error": state.error,
            "health": state.health.status,
            "failing_streak": state.health.failing_streak,
        },
        "spec": dense(serde_json::to_value(&detail.spec).unwrap_or_default()),
        "mounts": detail.mounts,
        "log_path": detail.log_path,
        "hostname_path": detail.hostname_path,
        "hosts_path": detail.hosts_path,
        "resolv_conf_path": detail.resolv_conf_path,
        "driver": detail.driver,
        "graph": detail.graph,
        "exec_ids": detail.exec_ids,
        "start_timeline_us": detail.start_timeline.iter().map(|(step, ns)| json!({"step": step, "us": ns / 1000})).collect::<Vec<_>>(),
    })
}

fn image(detail: &ImageDetail) -> Value {
    json!({
        "id": detail.summary.id,
        "references": detail.summary.references,
        "digests": detail.summary.digests,
        "created": time(detail.summary.created),
        "size_bytes": detail.summary.size_bytes,
        "architecture": detail.architecture,
        "os": detail.os,
        "author": detail.author,
        "comment": detail.comment,
        "config": dense(serde_json::to_value(&detail.config).unwrap_or_default()),
        "layers": detail.layers,
        "layer_sizes": detail.layer_sizes,
        "graph": detail.graph,
    })
}

/// Without what was not asked for: nulls, empty texts, lists and tables, switches that are off.
fn dense(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().map(|(key, value)| (key, dense(value)));
            let kept: Map<String, Value> = kept.filter(|(_, value)| !is_nothing(value)).collect();
            Value::Object(kept)
        }
        other => other,
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// The `docker run` line that makes such a container, as far as one can be written.
pub fn docker_run(detail: &ContainerDetail) -> String {
    let spec = &detail.spec;
    let mut words: Vec<String> = ["docker", "run", "-d", "--name", &detail.name].map(str::to_owned).to_vec();
    let mut flag = |name: &str, value: String| words.extend([name.to_owned(), value]);
    spec.env.iter().for_each(|env| flag("-e", env.clone()));
    for port in &spec.ports {
        let ip = port.host_ip.as_ref().map(|ip| format!("{ip}:")).unwrap_or_default();
        let host = port.host_port.map(|host| format!("{host}:")).unwrap_or_default();
        flag("-p", format!("{ip}{host}{}/{}", port.container_port, port.protocol));
    }
    for mount in &spec.mounts {
        if let Some(written) = written_mount(mount) {
            flag("-v", written);
        }
    }
    let resources = &spec.resources;
    resources.memory_bytes.filter(|n| *n > 0).into_iter().for_each(|n| flag("-m", n.to_string()));
    resources.nano_cpus.filter(|n| *n > 0).into_iter().for_each(|n| flag("--cpus", format!("{}", n as f64 / 1e9)));
    resources.pids_limit.filter(|n| *n > 0).into_iter().for_each(|n| flag("--pids-limit", n.to_string()));
    for (name, value) in [
        ("--network", &spec.network_mode),
        ("-u", &spec.user),
        ("-w", &spec.working_dir),
        ("--hostname", &spec.hostname),
    ] {
        value.iter().filter(|value| !value.is_empty()).for_each(|value| flag(name, value.clone()));
    }
    match spec.restart {
        RestartPolicy::No => {}
        RestartPolicy::OnFailure { max_retries: 0 } => flag("--restart", "on-failure".to_owned()),
        RestartPolicy::OnFailure { max_retries } => flag("--restart", format!("on-failure:{max_retries}")),
        RestartPolicy::Always => flag("--restart", "always".to_owned()),
        RestartPolicy::UnlessStopped => flag("--restart", "unless-stopped".to_owned()),
    }
    for (name, is_on) in [
        ("-t", spec.tty),
        ("-i", spec.open_stdin),
        ("--rm", spec.auto_remove),
        ("--init", spec.init),
        ("--read-only", spec.read_only_rootfs),
        ("--privileged", spec.privileged),
    ] {
        if is_on {
            words.push(name.to_owned());
        }
    }
    if let Some(entrypoint) = spec.entrypoint.as_ref().and_then(|words| words.first()) {
        words.extend(["--entrypoint".to_owned(), entrypoint.clone()]);
    }
    words.push(spec.image.clone());
    words.extend(spec.entrypoint.iter().flat_map(|words| words.iter().skip(1)).cloned());
    words.extend(spec.cmd.iter().flatten().cloned());
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

fn written_mount(mount: &MountSpec) -> Option<String> {
    let source = match &mount.kind {
        MountKind::Bind { source, .. } => source.clone(),
        MountKind::Volume { name, .. } => name.clone()?,
        MountKind::Tmpfs { .. } => return None,
    };
    Some(format!("{source}:{}{}", mount.target, if mount.read_only { ":ro" } else { "" }))
}

/// As a shell needs it written.
fn quoted(word: &str) -> String {
    let is_plain = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "_-./:=@,+%".contains(c));
    if is_plain { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use crate::engine::{ContainerSpec, PortBinding, Resources};

    use super::*;

    #[test]
    fn a_container_as_a_docker_line() {
        let port = PortBinding { container_port: 80, protocol: "tcp".into(), host_ip: None, host_port: Some(8080) };
        let spec = ContainerSpec {
            image: "nginx:1".into(),
            env: vec!["A=b c".into()],
            ports: vec![port],
            restart: RestartPolicy::OnFailure { max_retries: 3 },
            resources: Resources { memory_bytes: Some(1 << 20), ..Resources::default() },
            cmd: Some(vec!["sh".into(), "-c".into(), "it's".into()]),
            ..ContainerSpec::default()
        };
        let detail = ContainerDetail { name: "web".into(), spec, ..ContainerDetail::default() };
        assert_eq!(
            docker_run(&detail),
            r"docker run -d --name web -e 'A=b c' -p 8080:80/tcp -m 1048576 --restart on-failure:3 nginx:1 sh -c 'it'\''s'"
        );
    }

    #[test]
    fn what_was_not_asked_for_is_left_out() {
        let document = of(&Loaded::Container(Box::default()));
        assert_eq!(document["spec"].get("privileged"), None);
        assert_eq!(document["state"]["status"], "created");
    }
}
