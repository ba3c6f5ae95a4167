//! The generated document, part by part.

use super::*;
use crate::embedded::record::tests::sample;
use crate::embedded::record::{Mounted, MountedKind};

fn generated(change: impl FnOnce(&mut ContainerRecord)) -> serde_json::Value {
    let mut record = sample();
    change(&mut record);
    let user = ResolvedUser { uid: 0, gid: 0, groups: vec![0], home: "/root".to_owned() };
    let joins = Joins { network: Some("/proc/7/ns/net".into()), ..Joins::default() };
    let around = Surroundings {
        rootfs: Path::new("/r"),
        cgroups_path: "/orlop/x",
        files_dir: Path::new("/f"),
        init: record.spec.init.then_some(Path::new("/bin/orlop")),
        run_dir: Path::new("/run/x"),
        user: &user,
        n_cpus: 0,
        joins: &joins,
        seccomp: None,
    };
    serde_json::to_value(generate(&record, &around).unwrap()).unwrap()
}

fn strings(value: &serde_json::Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect()
}

#[test]
fn defaults_are_the_safety_page() {
    let doc = generated(|_| {});
    assert_eq!(doc["process"]["args"], serde_json::json!(["/bin/sh", "-c", "true"]));
    let caps = &doc["process"]["capabilities"];
    assert_eq!(strings(&caps["bounding"]).len(), 14);
    let sorted = |set: &str| {
        let mut names = strings(&caps[set]);
        names.sort_unstable();
        names
    };
    assert_eq!(sorted("bounding"), sorted("effective"));
    assert_eq!(sorted("bounding"), sorted("permitted"));
    assert_eq!(caps["inheritable"], serde_json::json!([]));
    assert_eq!(caps["ambient"], serde_json::json!([]));
    let masked = strings(&doc["linux"]["maskedPaths"]);
    assert!(masked.contains(&"/proc/kcore") && masked.contains(&"/proc/interrupts"));
    assert_eq!(strings(&doc["linux"]["readonlyPaths"]).len(), 5);
    let kinds: Vec<_> = doc["linux"]["namespaces"].as_array().unwrap().iter().map(|ns| ns["type"].clone()).collect();
    assert_eq!(kinds, ["mount", "uts", "ipc", "pid", "network", "cgroup"]);
    assert_eq!(doc["linux"]["resources"]["devices"][0], serde_json::json!({"allow": false, "access": "rwm"}));
    assert_eq!(doc["process"]["noNewPrivileges"], false);
    assert_eq!(doc["hostname"], "abababababab");
}

#[test]
fn the_environment_has_dockers_defaults_below_the_containers() {
    let doc = generated(|record| {
        record.spec.tty = true;
        record.spec.env = vec!["TERM=dumb".to_owned(), "A=b".to_owned()];
    });
    let env = strings(&doc["process"]["env"]).join("|");
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(env, format!("{path}|HOSTNAME=abababababab|HOME=/root|TERM=dumb|A=b"));
}

#[test]
fn privileged_lifts_masks_and_limits_but_keeps_namespaces() {
    let doc = generated(|record| record.spec.privileged = true);
    assert_eq!(doc["linux"]["maskedPaths"], serde_json::json!([]));
    assert_eq!(doc["linux"]["readonlyPaths"], serde_json::json!([]));
    assert!(strings(&doc["process"]["capabilities"]["bounding"]).len() > 30);
    assert_eq!(
        doc["linux"]["resources"]["devices"],
        serde_json::json!([{"allow": true, "type": "a", "access": "rwm"}])
    );
    assert_eq!(doc["linux"]["namespaces"].as_array().unwrap().len(), 6);
}

#[test]
fn modes_decide_the_namespaces() {
    let doc = generated(|record| {
        record.spec.network_mode = Some("container:x".to_owned());
        record.spec.pid_mode = Some("host".to_owned());
        record.spec.uts_mode = Some("host".to_owned());
    });
    let list = doc["linux"]["namespaces"].as_array().unwrap();
    assert!(!list.iter().any(|ns| ns["type"] == "pid" || ns["type"] == "uts"));
    assert!(list.iter().any(|ns| ns["type"] == "network" && ns["path"] == "/proc/7/ns/net"));
    assert_eq!(doc.get("hostname"), None);
}

#[test]
fn limits_are_the_runtimes_units() {
    let doc = generated(|record| {
        record.spec.resources.memory_bytes = Some(64 << 20);
        record.spec.resources.nano_cpus = Some(500_000_000);
        record.spec.resources.pids_limit = Some(0);
    });
    let resources = &doc["linux"]["resources"];
    assert_eq!(resources["memory"], serde_json::json!({"limit": 64 << 20, "swap": 128 << 20}));
    assert_eq!(resources["cpu"], serde_json::json!({"quota": 50_000, "period": 100_000}));
    assert_eq!(resources["pids"], serde_json::json!({"limit": -1}));
}

#[test]
fn asked_mounts_come_last_and_replace_ours() {
    let doc = generated(|record| {
        record.mounts = vec![
            Mounted {
                target: "/dev/shm".to_owned(),
                read_only: false,
                kind: MountedKind::Tmpfs { options: vec!["size=1m".to_owned()] },
            },
            Mounted {
                target: "/data".to_owned(),
                read_only: true,
                kind: MountedKind::Bind {
                    source: "/s".to_owned(),
                    propagation: "rprivate".to_owned(),
                    non_recursive: false,
                },
            },
        ];
    });
    let list = doc["mounts"].as_array().unwrap();
    assert_eq!(list.iter().filter(|mount| mount["destination"] == "/dev/shm").count(), 1);
    let last = list.last().unwrap();
    assert_eq!((last["destination"].as_str(), last["source"].as_str()), (Some("/data"), Some("/s")));
    assert_eq!(strings(&last["options"]), ["rbind", "rro", "rprivate"]);
}

#[test]
fn an_init_is_mounted_read_only_and_runs_the_command() {
    let doc = generated(|record| record.spec.init = true);
    assert_eq!(strings(&doc["process"]["args"]), ["/sbin/docker-init", "--", "/bin/sh", "-c", "true"]);
    let mount = doc["mounts"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (mount["destination"].as_str(), mount["source"].as_str()),
        (Some("/sbin/docker-init"), Some("/bin/orlop"))
    );
    assert!(strings(&mount["options"]).contains(&"ro"));
}
