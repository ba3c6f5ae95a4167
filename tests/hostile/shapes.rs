//! Answers of a strange shape: nulls, missing fields, fields of other kinds, unknown ones, rows that are none, the same id twice. One odd field
//! costs that field and no more; what has no id or name is left out or refused.

use std::collections::BTreeSet;

use orlop::engine::{Engine, Filters, ListContainers, ListImages, Result, StatsQuery};
use orlop::remote::Remote;
use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::good;
use crate::house::{LONG, attempt, run, script};

/// What is put in the place of every field in turn.
fn oddities() -> Vec<Value> {
    let long = "x".repeat(10_000);
    vec![
        Value::Null,
        json!(true),
        json!(-1),
        json!(u64::MAX),
        json!(1.5e300),
        json!(""),
        json!("\u{0}\u{1b}[2J\u{202e}"),
        json!(long),
        json!([]),
        json!([null, 1, "x", [], {}]),
        json!({}),
        json!({"": null, "a": {"b": [null]}}),
    ]
}

/// The document with each member, at any depth, once missing and once replaced by each oddity.
fn mutations(doc: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    for path in paths(doc) {
        let mut without = doc.clone();
        remove(&mut without, &path);
        found.push(without);
        for odd in oddities() {
            let mut changed = doc.clone();
            *at(&mut changed, &path) = odd;
            found.push(changed);
        }
    }
    found
}

fn paths(doc: &Value) -> Vec<Vec<String>> {
    let below = |name: String, value: &Value| {
        let deeper = paths(value).into_iter().map(|rest| [vec![name.clone()], rest].concat()).collect::<Vec<_>>();
        std::iter::once(vec![name.clone()]).chain(deeper).collect::<Vec<_>>()
    };
    match doc {
        Value::Object(members) => members.iter().flat_map(|(name, value)| below(name.clone(), value)).collect(),
        Value::Array(items) => items.iter().enumerate().flat_map(|(n, value)| below(n.to_string(), value)).collect(),
        _ => Vec::new(),
    }
}

fn at<'a>(doc: &'a mut Value, path: &[String]) -> &'a mut Value {
    path.iter().fold(doc, |doc, name| match doc {
        Value::Array(items) => &mut items[name.parse::<usize>().unwrap()],
        other => other.get_mut(name.as_str()).unwrap(),
    })
}

fn remove(doc: &mut Value, path: &[String]) {
    let (last, above) = path.split_last().unwrap();
    match at(doc, above) {
        Value::Array(items) => drop(items.remove(last.parse().unwrap())),
        Value::Object(members) => drop(members.remove(last)),
        _ => unreachable!("a path goes through lists and objects"),
    }
}

/// Asks once for each document; the call says what it makes of the answer.
fn each(path: &'static str, documents: Vec<Value>, call: impl AsyncFn(&Remote, &Value) -> Result<()>) {
    let n = documents.len();
    let texts: Vec<_> = documents.iter().map(Value::to_string).collect();
    let next = std::sync::Mutex::new(texts.into_iter());
    let daemon = Daemon::unix(script(move |request, wire| {
        (request.path == path)
            .then(|| wire.answer(200, "application/json", next.lock().unwrap().next().unwrap().as_bytes()))
    }));
    run(attempt(&daemon, LONG, async |engine| {
        for document in &documents {
            if let Err(error) = call(engine, document).await {
                crate::house::check_sentence(&document.to_string(), &error);
            }
        }
        Ok(())
    }))
    .unwrap();
    println!("{path}: {n} documents");
}

fn rich_detail() -> Value {
    let mut doc = good::detail(&good::id('a'), "web");
    doc["State"]["Health"] = json!({"Status": "healthy", "FailingStreak": 1, "Log": [{"Start": good::STAMP, "End": good::STAMP, "ExitCode": 0, "Output": "ok"}]});
    doc["Mounts"] = json!([{"Type": "bind", "Source": "/x", "Destination": "/y", "RW": true}]);
    doc["Config"]["ExposedPorts"] = json!({"80/tcp": {}});
    doc["Config"]["Healthcheck"] = json!({"Test": ["CMD", "x"], "Interval": 5});
    doc["HostConfig"] = json!({
        "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}, "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3},
        "Binds": ["/a:/b:ro"], "Mounts": [{"Type": "volume", "Source": "v", "Target": "/v"}], "Tmpfs": {"/t": "size=5m"},
        "Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2}], "Devices": [{"PathOnHost": "/dev/x"}], "Memory": 5, "LogConfig": {"Type": "x", "Config": {}}
    });
    doc
}

#[test]
fn every_field_of_a_container_may_be_anything() {
    let mut row = good::row(&good::id('a'), "web");
    row["Ports"] = json!([{"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}]);
    row["Mounts"] = json!([{"Type": "volume", "Name": "v", "Destination": "/d"}]);
    each("/containers/json", mutations(&json!([row])), async |engine, _| {
        let rows = engine.containers().list(&ListContainers::default()).await?;
        assert!(rows.len() <= 5 && rows.iter().all(|row| !row.id.is_empty()));
        Ok(())
    });
    each("/containers/web/json", mutations(&rich_detail()), async |engine, document| {
        let detail = engine.containers().inspect("web").await?;
        assert!(!detail.id.is_empty());
        // What is shown as JSON is what came.
        let raw: Value = serde_json::from_str(detail.raw.unwrap().get()).unwrap();
        assert_eq!(&raw, document);
        Ok(())
    });
    each(
        "/exec/e/json",
        mutations(
            &json!({"ID": "e", "Running": false, "ExitCode": 1, "Pid": 5, "ProcessConfig": {"entrypoint": "sh", "arguments": ["-c"]}}),
        ),
        async |engine, _| engine.execs().inspect("e").await.map(drop),
    );
    each("/containers/web/top", mutations(&json!({"Titles": ["PID"], "Processes": [["1"]]})), async |engine, _| {
        engine.containers().top("web", "").await.map(drop)
    });
    each("/containers/web/changes", mutations(&json!([{"Path": "/x", "Kind": 1}])), async |engine, _| {
        engine.containers().changes("web").await.map(drop)
    });
    let sample = json!({
        "read": good::STAMP, "id": "a", "name": "/web", "pids_stats": {"current": 3, "limit": 100}, "num_procs": 0,
        "cpu_stats": {"cpu_usage": {"total_usage": 500, "percpu_usage": [1, 2]}, "system_cpu_usage": 9000, "online_cpus": 2, "throttling_data": {"periods": 1}},
        "memory_stats": {"usage": 1000, "limit": 5000, "stats": {"inactive_file": 1}},
        "networks": {"eth0": {"rx_bytes": 1, "tx_bytes": 2}}, "blkio_stats": {"io_service_bytes_recursive": [{"op": "Read", "value": 7}]}
    });
    each("/containers/web/stats", mutations(&sample), async |engine, _| {
        use futures_util::StreamExt;
        let mut samples = engine.containers().stats("web", &StatsQuery { once: true }).await?;
        samples.next().await.unwrap().map(drop)
    });
}

#[test]
fn every_field_of_the_other_things_may_be_anything() {
    let image = json!({
        "Id": format!("sha256:{}", good::id('c')), "RepoTags": ["busybox:1"], "RepoDigests": ["x@sha256:y"], "Created": 5, "Size": 5, "SharedSize": 1,
        "Containers": 2, "Labels": {"a": "b"}, "Architecture": "amd64", "Os": "linux", "RootFS": {"Layers": ["x"]},
        "Config": {"Cmd": ["sh"], "Env": ["A=b"], "ExposedPorts": {"80/tcp": {}}, "Healthcheck": {"Test": ["NONE"]}, "Volumes": {"/v": {}}}
    });
    each("/images/json", mutations(&json!([image])), async |engine, _| {
        let rows = engine.images().list(&ListImages::default()).await?;
        assert!(rows.iter().all(|row| !row.id.is_empty()));
        Ok(())
    });
    each("/images/x/json", mutations(&image), async |engine, _| engine.images().inspect("x").await.map(drop));
    each(
        "/images/x/history",
        mutations(&json!([{"Id": "x", "Created": 5, "CreatedBy": "y", "Size": 1, "Tags": ["z"]}])),
        async |engine, _| engine.images().history("x").await.map(drop),
    );
    let volume = json!({"Name": "data", "Driver": "local", "Mountpoint": "/m", "CreatedAt": good::STAMP, "Labels": {}, "Options": {}, "UsageData": {"Size": 5, "RefCount": 1}});
    each("/volumes", mutations(&json!({"Volumes": [volume], "Warnings": null})), async |engine, _| {
        let rows = engine.volumes().list(&Filters::default()).await?;
        assert!(rows.iter().all(|row| !row.name.is_empty()));
        Ok(())
    });
    each("/volumes/data", mutations(&volume), async |engine, _| engine.volumes().inspect("data").await.map(drop));
    each(
        "/networks",
        mutations(&json!([{"Id": "x", "Name": "bridge", "Driver": "bridge", "Scope": "local", "Labels": {}}])),
        async |engine, _| {
            let rows = engine.networks().list(&Filters::default()).await?;
            assert!(rows.iter().all(|row| !row.name.is_empty()));
            Ok(())
        },
    );
    let info = json!({
        "ID": "x", "Name": "host", "ServerVersion": "1", "Containers": 1, "NCPU": 2, "MemTotal": 5, "Runtimes": {"runc": {"path": "runc"}},
        "SecurityOptions": ["name=seccomp"], "Warnings": ["w"], "CgroupVersion": "2"
    });
    each("/info", mutations(&info), async |engine, _| engine.system().info().await.map(drop));
    let df = json!({
        "LayersSize": 100, "Images": [{"Containers": 1, "Size": 70, "SharedSize": 20}], "Containers": [{"SizeRw": 5, "State": "running"}],
        "Volumes": [{"UsageData": {"Size": 9, "RefCount": 0}}], "BuildCache": [{"Size": 1, "Shared": false, "InUse": true}]
    });
    each("/system/df", mutations(&df), async |engine, _| engine.system().disk_usage().await.map(drop));
}

#[test]
fn podmans_nulls_are_none_and_unknown_fields_are_nobodys_business() {
    let daemon = Daemon::unix(script(|request, wire| {
        let document = match request.path.as_str() {
            "/containers/json" | "/images/json" | "/networks" | "/containers/web/changes" => Value::Null,
            "/volumes" => json!({"Volumes": null, "Warnings": null}),
            "/system/df" => {
                json!({"LayersSize": 0, "Images": null, "Containers": null, "Volumes": null, "Tomorrow": [{}]})
            }
            _ => return None,
        };
        Some(wire.json(&document))
    }));
    run(attempt(&daemon, LONG, async |engine| {
        assert!(engine.containers().list(&ListContainers::default()).await?.is_empty());
        assert!(engine.images().list(&ListImages::default()).await?.is_empty());
        assert!(engine.networks().list(&Filters::default()).await?.is_empty());
        assert!(engine.volumes().list(&Filters::default()).await?.is_empty());
        assert!(engine.containers().changes("web").await?.is_empty());
        engine.system().disk_usage().await.map(drop)
    }))
    .unwrap();
}

/// The same id twice is one row, or a screen that selects by id would have two of it.
#[test]
fn the_same_id_twice_is_one_row() {
    let daemon = Daemon::unix(script(|request, wire| {
        let twice = |row: Value| json!([row, row]);
        let document = match request.path.as_str() {
            "/containers/json" => twice(good::row(&good::id('a'), "web")),
            "/images/json" => twice(json!({"Id": good::id('a'), "RepoTags": ["x:1"]})),
            "/volumes" => json!({"Volumes": twice(json!({"Name": "data"}))}),
            "/networks" => twice(json!({"Id": "n", "Name": "bridge"})),
            _ => return None,
        };
        Some(wire.json(&document))
    }));
    run(attempt(&daemon, LONG, async |engine| {
        let ids: Vec<_> =
            engine.containers().list(&ListContainers::default()).await?.into_iter().map(|row| row.id).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
        assert_eq!(engine.images().list(&ListImages::default()).await?.len(), 1);
        assert_eq!(engine.volumes().list(&Filters::default()).await?.len(), 1);
        assert_eq!(engine.networks().list(&Filters::default()).await?.len(), 1);
        Ok(())
    }))
    .unwrap();
}
