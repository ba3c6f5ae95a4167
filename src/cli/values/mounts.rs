//! `-v`, `--mount` and `--tmpfs`.

use std::collections::BTreeMap;

use super::{Result, ValueError, bad, pair};
use crate::engine::spec::{MountKind, MountSpec};
use crate::stdx::human;

/// `[source:]target[:options]`
pub fn volume(text: &str, home: &dyn Fn(&str) -> String) -> Result<MountSpec> {
    let wrong = |why: &str| ValueError::Plain(format!("invalid volume specification: '{text}': {why}"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => (None, *target, ""),
        [source, target] if target.starts_with('/') || !is_options(target) => (Some(*source), *target, ""),
        [target, options] => (None, *target, *options),
        [source, target, options] => (Some(*source), *target, *options),
        _ => return Err(wrong("invalid mount config for type \"volume\": too many colons")),
    };
    if target.is_empty() || source == Some("") {
        return Err(ValueError::Plain(format!("invalid spec: {text}: empty section between colons")));
    }
    if !target.starts_with('/') {
        return Err(wrong("invalid mount path: mount path must be absolute"));
    }
    if target.trim_end_matches('/').is_empty() {
        return Err(wrong("destination can't be '/'"));
    }
    let mut read_only = false;
    let (mut no_copy, mut propagation, mut non_recursive) = (false, None, false);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            "rw" | "z" | "Z" | "cached" | "delegated" | "consistent" | "rbind" => {}
            "nocopy" => no_copy = true,
            "bind" => non_recursive = true,
            "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" => propagation = Some(option.to_owned()),
            _ => return Err(wrong(&format!("invalid mode: {options}"))),
        }
    }
    let kind = match source {
        Some(source) if source.starts_with(['/', '.', '~']) => {
            MountKind::Bind { source: home(source), propagation, create: true, non_recursive }
        }
        source => {
            if let Some(name) = source.filter(|name| !is_volume_name(name)) {
                let why = format!(
                    "\"{name}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are \
                     allowed. If you intended to pass a host directory, use absolute path"
                );
                return Err(ValueError::Plain(format!("create {name}: {why}")));
            }
            MountKind::Volume { name: source.map(str::to_owned), no_copy, subpath: None, labels: BTreeMap::new() }
        }
    };
    Ok(MountSpec { kind, target: target.to_owned(), read_only })
}

fn is_options(text: &str) -> bool {
    text.split(',').all(|option| matches!(option, "ro" | "rw" | "z" | "Z" | "nocopy"))
}

fn is_volume_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphanumeric())
        && name.len() > 1
        && chars.all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

/// `type=bind,src=…,dst=…,readonly`
pub fn mount(text: &str, home: &dyn Fn(&str) -> String) -> Result<MountSpec> {
    let flag = "--mount";
    let mut fields = Fields::default();
    for field in text.split(',') {
        fields.take(text, field)?;
    }
    let kind = fields.kind.as_deref().unwrap_or("volume");
    let target = fields.target.ok_or_else(|| bad(flag, text, "target is required"))?;
    if !target.starts_with('/') {
        return Err(ValueError::Plain(format!(
            "invalid mount config for type \"{kind}\": invalid mount path: '{target}' mount path must be absolute"
        )));
    }
    let source = fields.source;
    let kind = match kind {
        "bind" => MountKind::Bind {
            source: home(&source.ok_or_else(|| {
                bad(flag, text, "invalid mount config for type \"bind\": field Source must not be empty")
            })?),
            propagation: fields.propagation,
            create: fields.create,
            non_recursive: fields.non_recursive,
        },
        "volume" => {
            MountKind::Volume { name: source, no_copy: fields.no_copy, subpath: fields.subpath, labels: fields.labels }
        }
        "tmpfs" if source.is_some() => {
            return Err(bad(flag, text, "invalid mount config for type \"tmpfs\": field Source must not be specified"));
        }
        "tmpfs" => MountKind::Tmpfs { size_bytes: fields.size_bytes, mode: fields.mode, options: Vec::new() },
        other => return Err(ValueError::Plain(format!("mount type unknown: \"{other}\""))),
    };
    Ok(MountSpec { kind, target, read_only: fields.read_only })
}

#[derive(Default)]
struct Fields {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    propagation: Option<String>,
    create: bool,
    non_recursive: bool,
    no_copy: bool,
    subpath: Option<String>,
    labels: BTreeMap<String, String>,
    size_bytes: Option<u64>,
    mode: Option<u32>,
}

impl Fields {
    fn take(&mut self, whole: &str, field: &str) -> Result<()> {
        let flag = "--mount";
        let (key, value) = field.split_once('=').map_or((field, None), |(key, value)| (key, Some(value)));
        let key = key.to_lowercase();
        let truth = || match value {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(bad(flag, whole, format!("invalid value for {key}: {other}"))),
        };
        match key.as_str() {
            "readonly" | "ro" => return truth().map(|on| self.read_only = on),
            "volume-nocopy" => return truth().map(|on| self.no_copy = on),
            "bind-create-src" => return truth().map(|on| self.create = on),
            "bind-nonrecursive" => return truth().map(|on| self.non_recursive = on),
            _ => {}
        }
        let value =
            value.ok_or_else(|| bad(flag, whole, format!("invalid field '{field}' must be a key=value pair")))?;
        let owned = value.to_owned();
        match key.as_str() {
            "type" => self.kind = Some(value.to_lowercase()),
            "source" | "src" => self.source = Some(owned),
            "target" | "dst" | "destination" => self.target = Some(owned),
            "bind-propagation" => self.propagation = Some(owned),
            "bind-recursive" => self.non_recursive = value == "disabled",
            "volume-subpath" => self.subpath = Some(owned),
            "volume-label" => {
                let (key, value) = pair(value);
                self.labels.insert(key, value);
            }
            // Accepted and without effect: the local driver is the only one, and consistency is a matter of other systems.
            "volume-driver" | "volume-opt" | "consistency" => {}
            "tmpfs-size" => {
                let why = format!("invalid value for {key}: {value}");
                self.size_bytes = Some(human::parse_bytes(value).map_err(|_| bad(flag, whole, why))?);
            }
            "tmpfs-mode" => {
                let why = format!("invalid value for {key}: {value}");
                self.mode = Some(u32::from_str_radix(value, 8).map_err(|_| bad(flag, whole, why))?);
            }
            _ => return Err(bad(flag, whole, format!("unknown option '{key}' in '{field}'"))),
        }
        Ok(())
    }
}

/// `target[:options]`
pub fn tmpfs(text: &str) -> Result<MountSpec> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    if !target.starts_with('/') {
        return Err(ValueError::Plain(format!("invalid tmpfs mount: '{text}': mount path must be absolute")));
    }
    let (mut size_bytes, mut mode, mut rest, mut read_only) = (None, None, Vec::new(), false);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let wrong = || ValueError::Plain(format!("invalid tmpfs option {option:?} in {text:?}"));
        match option.split_once('=') {
            Some(("size", size)) => size_bytes = Some(human::parse_bytes(size).map_err(|_| wrong())?),
            Some(("mode", octal)) => mode = Some(u32::from_str_radix(octal, 8).map_err(|_| wrong())?),
            None if option == "ro" => read_only = true,
            None if option == "rw" => {}
            _ => rest.push(option.to_owned()),
        }
    }
    Ok(MountSpec { kind: MountKind::Tmpfs { size_bytes, mode, options: rest }, target: target.to_owned(), read_only })
}
