//! What an engine tells of a thing as one JSON document, for the tree and the raw text. Called by `update` and the JSON pager; pure.
//! A daemon's own JSON is shown as it came, the embedded engine's in docker's shape.

use serde_json::{Map, Value, json};

use crate::api;
use crate::engine::{ContainerDetail, MountSpec, RestartPolicy, spec::MountKind};

use super::model::detail::Loaded;

/// The whole document, as docker's inspect would print it.
pub fn of(loaded: &Loaded) -> Value {
    match loaded {
        Loaded::Container(detail) => {
            let mut document = api::container::to_json(detail, api::container::Sizes::Shown);
            let steps =
                detail.start_timeline.iter().map(|(step, ns)| (step.clone(), json!(format!("{} µs", ns / 1000))));
            let steps: Map<String, Value> = steps.collect();
            if let (Value::Object(map), false) = (&mut document, steps.is_empty()) {
                map.insert("StartTimeline".to_owned(), Value::Object(steps));
            }
            document
        }
        Loaded::Image(detail, _) => api::image::to_json(detail),
        Loaded::Volume(volume) => api::volume::to_json(volume),
        Loaded::Network(network) => api::network::to_json(network),
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
    fn documents_have_dockers_names_and_our_timeline() {
        let timeline = vec![("pivot".to_owned(), 42_000)];
        let document = of(&Loaded::Container(Box::new(ContainerDetail {
            start_timeline: timeline,
            ..ContainerDetail::default()
        })));
        assert_eq!(document["State"]["Status"], "created");
        assert_eq!(document["StartTimeline"]["pivot"], "42 µs");
    }
}
