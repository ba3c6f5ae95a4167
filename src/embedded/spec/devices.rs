//! Device nodes and the device allow-list. The runtime itself makes the six that every container has (null, zero, full, random, urandom, tty).

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::oci::runtime::{
    LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType,
};
use nix::sys::stat::{major, minor};

use crate::engine::{Class, ContainerSpec, EngineError, Result};
use crate::runtime::devices;

use super::build as built;

/// How deep below /dev a privileged container's devices are looked for.
const MAX_DEPTH: usize = 4;

/// `host[:container[:rwm]]`, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Request {
    host: PathBuf,
    container: PathBuf,
    access: String,
}

/// Nodes made in the container's /dev.
pub(super) fn nodes(spec: &ContainerSpec) -> Result<Vec<LinuxDevice>> {
    let mut all = Vec::new();
    if spec.privileged {
        // What cannot be read (a device that has just gone) is left out, as docker does.
        find(Path::new("/dev"), MAX_DEPTH, &mut |path| all.extend(node(path, path).ok()));
    }
    for text in &spec.resources.devices {
        let request = parse(text)?;
        let before = all.len();
        if request.host.is_dir() {
            find(&request.host, MAX_DEPTH, &mut |path| {
                let below = path.strip_prefix(&request.host).unwrap_or(path);
                all.extend(node(path, &request.container.join(below)).ok());
            });
        } else {
            all.push(node(&request.host, &request.container)?);
        }
        if all.len() == before {
            return Err(missing(&request.host, "no device nodes found"));
        }
    }
    Ok(all)
}

/// The allow-list: nothing, then what is allowed. Making nodes is, because using them is not.
pub(super) fn rules(spec: &ContainerSpec) -> Result<Vec<LinuxDeviceCgroup>> {
    if spec.privileged {
        return Ok(vec![rule(LinuxDeviceType::A, None, None, "rwm")?]);
    }
    let deny = LinuxDeviceCgroupBuilder::default().allow(false).access("rwm").build().map_err(built)?;
    let mut all = vec![deny, rule(LinuxDeviceType::C, None, None, "m")?, rule(LinuxDeviceType::B, None, None, "m")?];
    for (major, minor) in devices::DEFAULT_ALLOWED {
        all.push(rule(LinuxDeviceType::C, Some(major), minor, "rwm")?);
    }
    for text in &spec.resources.devices {
        let request = parse(text)?;
        let mut paths = Vec::new();
        if request.host.is_dir() {
            find(&request.host, MAX_DEPTH, &mut |path| paths.push(path.to_path_buf()));
        } else {
            paths.push(request.host.clone());
        }
        for path in paths {
            let device = node(&path, &path)?;
            all.push(rule(device.typ(), Some(device.major()), Some(device.minor()), &request.access)?);
        }
    }
    for text in &spec.resources.device_cgroup_rules {
        all.push(parse_rule(text)?);
    }
    Ok(all)
}

/// Checks the grammar of what a create request says of devices; the devices themselves are looked at when it starts.
pub(crate) fn check(spec: &ContainerSpec) -> Result<()> {
    spec.resources.devices.iter().try_for_each(|text| parse(text).map(drop))?;
    spec.resources.device_cgroup_rules.iter().try_for_each(|text| parse_rule(text).map(drop))
}

fn rule(typ: LinuxDeviceType, major: Option<i64>, minor: Option<i64>, access: &str) -> Result<LinuxDeviceCgroup> {
    let mut rule = LinuxDeviceCgroupBuilder::default().allow(true).typ(typ).access(access).build().map_err(built)?;
    rule.set_major(major);
    rule.set_minor(minor);
    Ok(rule)
}

fn parse(text: &str) -> Result<Request> {
    let bad = || {
        EngineError::new(Class::Invalid, text, format!("invalid device specification: {text}"))
            .with_hint("write it as /dev/host[:/dev/container[:rwm]]")
            .with_exit_code(125)
    };
    let is_access = |part: &str| !part.is_empty() && part.chars().all(|c| matches!(c, 'r' | 'w' | 'm'));
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, access) = match parts.as_slice() {
        [host] => (*host, *host, "rwm"),
        [host, access] if is_access(access) => (*host, *host, *access),
        [host, container] => (*host, *container, "rwm"),
        [host, container, access] if is_access(access) => (*host, *container, *access),
        _ => return Err(bad()),
    };
    if !host.starts_with('/') || !container.starts_with('/') || container.contains("..") {
        return Err(bad());
    }
    Ok(Request { host: host.into(), container: container.into(), access: access.to_owned() })
}

/// `c 1:3 rwm`, `b 8:* r`, `a *:* rwm`.
fn parse_rule(text: &str) -> Result<LinuxDeviceCgroup> {
    let bad = || {
        EngineError::new(Class::Invalid, text, format!("invalid device cgroup rule format: '{text}'"))
            .with_hint("write it as 'c 1:3 rwm'")
            .with_exit_code(125)
    };
    let mut words = text.split_whitespace();
    let (Some(typ), Some(numbers), Some(access), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(bad());
    };
    let typ = match typ {
        "a" => LinuxDeviceType::A,
        "b" => LinuxDeviceType::B,
        "c" => LinuxDeviceType::C,
        _ => return Err(bad()),
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(bad)?;
    let number = |text: &str| match text {
        "*" => Ok(None),
        text => text.parse::<u32>().map(|number| Some(i64::from(number))).map_err(|_| bad()),
    };
    if access.is_empty() || access.len() > 3 || !access.chars().all(|c| matches!(c, 'r' | 'w' | 'm')) {
        return Err(bad());
    }
    rule(typ, number(major)?, number(minor)?, access)
}

fn node(host: &Path, container: &Path) -> Result<LinuxDevice> {
    let meta = std::fs::metadata(host).map_err(|error| missing(host, &errno_text(&error)))?;
    let kind = meta.file_type();
    let typ = match () {
        () if kind.is_block_device() => LinuxDeviceType::B,
        () if kind.is_char_device() => LinuxDeviceType::C,
        () => return Err(missing(host, "not a device node")),
    };
    LinuxDeviceBuilder::default()
        .path(container)
        .typ(typ)
        .major(major(meta.rdev()) as i64)
        .minor(minor(meta.rdev()) as i64)
        .file_mode(meta.mode() & 0o7777)
        .uid(meta.uid())
        .gid(meta.gid())
        .build()
        .map_err(built)
}

fn missing(host: &Path, why: &str) -> EngineError {
    let host = host.display();
    EngineError::new(
        Class::Invalid,
        host.to_string(),
        format!("error gathering device information while adding custom device \"{host}\": {why}"),
    )
}

fn errno_text(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        _ => error.to_string(),
    }
}

/// Device nodes below a directory: no links are followed, terminals and the like are the container's own.
fn find(dir: &Path, depth: usize, found: &mut dyn FnMut(&Path)) {
    const OWN: [&str; 6] = ["pts", "shm", "fd", "mqueue", "console", ".lxc"];
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let is_own = entry.file_name().to_str().is_some_and(|name| OWN.contains(&name));
        let Ok(kind) = entry.file_type() else { continue };
        match () {
            () if is_own => {}
            () if kind.is_dir() && depth > 0 => find(&entry.path(), depth - 1, found),
            () if kind.is_block_device() || kind.is_char_device() => found(&entry.path()),
            () => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_requests_parse_as_dockers() {
        let want = |host: &str, container: &str, access: &str| Request {
            host: host.into(),
            container: container.into(),
            access: access.into(),
        };
        assert_eq!(parse("/dev/null").unwrap(), want("/dev/null", "/dev/null", "rwm"));
        assert_eq!(parse("/dev/null:r").unwrap(), want("/dev/null", "/dev/null", "r"));
        assert_eq!(parse("/dev/a:/dev/b").unwrap(), want("/dev/a", "/dev/b", "rwm"));
        assert_eq!(parse("/dev/a:/dev/b:rw").unwrap(), want("/dev/a", "/dev/b", "rw"));
        for bad in ["", "null", "/dev/a:/dev/b:x", "/dev/a:/dev/../b", "/dev/a:/b:rw:x"] {
            assert!(parse(bad).unwrap_err().message.starts_with("invalid device specification"), "{bad}");
        }
    }

    #[test]
    fn cgroup_rules_parse() {
        let got = parse_rule("c 1:* rw").unwrap();
        assert_eq!((got.typ(), got.major(), got.minor()), (Some(LinuxDeviceType::C), Some(1), None));
        for bad in ["", "c 1:3", "x 1:3 r", "c 1 r", "c -1:3 r", "c 1:3 q", "c 1:3 r w"] {
            assert!(parse_rule(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_missing_device_is_named() {
        let error = node(Path::new("/dev/nope"), Path::new("/dev/nope")).unwrap_err();
        assert!(error.message.ends_with("\"/dev/nope\": no such file or directory"), "{error}");
    }
}
