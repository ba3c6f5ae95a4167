//! What a create request says of mounts, decided: sources found or made, volumes made, image volumes added, duplicates refused. Called by
//! `create` alone; what it makes is told to the caller, who undoes it when a later step fails.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::engine::spec::{MountKind, MountSpec};
use crate::engine::{Class, ContainerSpec, CreateVolume, EngineError, Result};
use crate::store::Store;

use super::error;
use super::record::{Mounted, MountedKind};

/// What was decided and what was made for it.
#[derive(Debug, Default)]
pub(crate) struct Decided {
    /// Parents before children.
    pub(crate) mounts: Vec<Mounted>,
    /// Volumes that did not exist before.
    pub(crate) made_volumes: Vec<String>,
}

/// Decides all mounts. On failure nothing of `decided.made_volumes` is undone: the caller does.
pub(crate) fn decide(
    store: &Store,
    spec: &ContainerSpec,
    image_volumes: &[String],
    from_others: Vec<Mounted>,
    decided: &mut Decided,
) -> Result<()> {
    let mut asked: Vec<MountSpec> = Vec::new();
    for mount in &spec.mounts {
        let target = clean_target(&mount.target)?;
        if asked.iter().any(|other| other.target == target) {
            return Err(invalid(&target, format!("Duplicate mount point: {target}")));
        }
        asked.push(MountSpec { target, ..mount.clone() });
    }
    for mounted in from_others {
        if !asked.iter().any(|mount| mount.target == mounted.target) {
            decided.mounts.retain(|present| present.target != mounted.target);
            decided.mounts.push(mounted);
        }
    }
    for path in image_volumes {
        let target = clean_target(path)?;
        let is_taken = asked.iter().any(|mount| mount.target == target)
            || decided.mounts.iter().any(|mounted| mounted.target == target);
        if !is_taken {
            let kind = MountKind::Volume { name: None, no_copy: false, subpath: None, labels: BTreeMap::new() };
            asked.push(MountSpec { kind, target, read_only: false });
        }
    }
    // Everything is checked before the first thing is made.
    asked.iter().try_for_each(check)?;
    for mount in asked {
        let kind = match mount.kind {
            MountKind::Bind { source, propagation, create, non_recursive } => {
                let source = clean(&source);
                prepare_source(&source, create)?;
                let propagation = propagation.filter(|text| !text.is_empty()).unwrap_or_else(|| "rprivate".to_owned());
                MountedKind::Bind { source, propagation, non_recursive }
            }
            MountKind::Volume { name, no_copy, labels, .. } => volume(store, name, no_copy, labels, decided)?,
            MountKind::Tmpfs { size_bytes, mode, options } => tmpfs(size_bytes, mode, options),
        };
        decided.mounts.push(Mounted { target: mount.target, read_only: mount.read_only, kind });
    }
    decided.mounts.sort_by_key(|mounted| mounted.target.matches('/').count());
    Ok(())
}

fn invalid(subject: &str, message: impl Into<String>) -> EngineError {
    EngineError::new(Class::Invalid, subject, message).with_exit_code(125)
}

/// Absolute and without `.`, `..`, doubled or trailing slashes.
fn clean_target(target: &str) -> Result<String> {
    if !target.starts_with('/') || target.contains('\0') {
        return Err(invalid(target, format!("invalid mount path: '{target}' mount path must be absolute")));
    }
    match clean(target).as_str() {
        "/" => Err(invalid(target, "invalid specification: destination can't be '/'")),
        clean => Ok(clean.to_owned()),
    }
}

/// Absolute, without `.`, `..`, doubled or trailing slashes; by the text alone.
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn check(mount: &MountSpec) -> Result<()> {
    const PROPAGATIONS: [&str; 7] = ["", "private", "rprivate", "shared", "rshared", "slave", "rslave"];
    match &mount.kind {
        MountKind::Bind { source, propagation, .. } => {
            if !source.starts_with('/') || source.contains('\0') {
                return Err(invalid(
                    source,
                    format!(
                        "invalid mount config for type \"bind\": invalid mount path: '{source}' mount path must be absolute"
                    ),
                ));
            }
            let propagation = propagation.as_deref().unwrap_or_default();
            if !PROPAGATIONS.contains(&propagation) {
                return Err(invalid(propagation, format!("invalid propagation mode: {propagation}")));
            }
            Ok(())
        }
        MountKind::Volume { name, subpath, .. } => {
            if subpath.as_deref().is_some_and(|path| !path.is_empty()) {
                return Err(EngineError::unsupported(
                    "a part of a volume cannot be mounted yet: leave volume-subpath out",
                ));
            }
            match name.as_deref().filter(|name| !name.is_empty() && !is_volume_name(name)) {
                None => Ok(()),
                Some(name) => Err(invalid(
                    name,
                    format!(
                        "create {name}: \"{name}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" \
                         are allowed. If you intended to pass a host directory, use absolute path"
                    ),
                )),
            }
        }
        MountKind::Tmpfs { options, .. } => {
            let is_plain = |option: &String| !option.is_empty() && !option.contains(['\0', ',']);
            match options.iter().find(|option| !is_plain(option)) {
                None => Ok(()),
                Some(bad) => Err(invalid(bad, format!("invalid tmpfs option [\"{bad}\"]"))),
            }
        }
    }
}

fn is_volume_name(name: &str) -> bool {
    name.len() >= 2
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

/// Docker's two manners: `-v` makes a missing directory, `--mount` refuses.
fn prepare_source(source: &str, create: bool) -> Result<()> {
    let path = Path::new(source);
    match std::fs::metadata(path) {
        Ok(_) => Ok(()),
        Err(failed) if failed.kind() == std::io::ErrorKind::NotFound && create => {
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(path);
            made.map_err(|failed| error::io("make the bind source", path, &failed).with_exit_code(125))
        }
        Err(failed) if failed.kind() == std::io::ErrorKind::NotFound => Err(invalid(
            source,
            format!("invalid mount config for type \"bind\": bind source path does not exist: {source}"),
        )
        .with_hint("make it first, or use -v, which makes a directory")),
        Err(failed) => Err(error::io("look at the bind source", path, &failed).with_exit_code(125)),
    }
}

fn volume(
    store: &Store,
    name: Option<String>,
    no_copy: bool,
    labels: BTreeMap<String, String>,
    decided: &mut Decided,
) -> Result<MountedKind> {
    let name = name.filter(|name| !name.is_empty());
    let anonymous = name.is_none();
    let is_new = match &name {
        Some(name) => store.volumes().get(name).is_err(),
        None => true,
    };
    let made = store.volumes().create(&CreateVolume { name, driver: None, labels, options: BTreeMap::new() })?;
    if is_new {
        decided.made_volumes.push(made.name.clone());
    }
    Ok(MountedKind::Volume { name: made.name, source: made.mountpoint, anonymous, copy_up: !no_copy, subpath: None })
}

fn tmpfs(size_bytes: Option<u64>, mode: Option<u32>, options: Vec<String>) -> MountedKind {
    let mut all = options;
    all.extend(size_bytes.map(|bytes| format!("size={bytes}")));
    all.extend(mode.map(|mode| format!("mode={mode:o}")));
    MountedKind::Tmpfs { options: all }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(source: &str, target: &str, create: bool) -> MountSpec {
        let kind = MountKind::Bind { source: source.into(), propagation: None, create, non_recursive: false };
        MountSpec { kind, target: target.into(), read_only: false }
    }

    fn named(name: Option<&str>, target: &str) -> MountSpec {
        let kind =
            MountKind::Volume { name: name.map(str::to_owned), no_copy: false, subpath: None, labels: BTreeMap::new() };
        MountSpec { kind, target: target.into(), read_only: false }
    }

    fn run(mounts: Vec<MountSpec>, image_volumes: &[&str]) -> (tempfile::TempDir, Result<Decided>) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("root")).unwrap();
        let spec = ContainerSpec { mounts, ..ContainerSpec::default() };
        let image_volumes: Vec<String> = image_volumes.iter().map(|path| (*path).to_owned()).collect();
        let mut decided = Decided::default();
        let done = decide(&store, &spec, &image_volumes, Vec::new(), &mut decided);
        (dir, done.map(|()| decided))
    }

    fn check_fails(mounts: Vec<MountSpec>, says: &str) {
        let error = run(mounts, &[]).1.unwrap_err();
        assert!(error.message.contains(says), "{error} does not say {says}");
    }

    #[test]
    fn bad_mounts_get_dockers_sentence() {
        check_fails(vec![bind("/tmp", "rel", false)], "invalid mount path: 'rel' mount path must be absolute");
        check_fails(vec![bind("/tmp", "/a/..", false)], "destination can't be '/'");
        check_fails(vec![bind("/tmp", "/a", false), bind("/tmp", "/a/", false)], "Duplicate mount point: /a");
        check_fails(vec![bind("/nope/x", "/a", false)], "bind source path does not exist: /nope/x");
        check_fails(vec![bind("rel", "/a", false)], "invalid mount path: 'rel'");
        check_fails(vec![named(Some("a/b"), "/a")], "includes invalid characters for a local volume name");
    }

    #[test]
    fn image_volumes_are_anonymous_and_give_way() {
        let (_dir, decided) = run(vec![named(Some("data"), "/data")], &["/data/", "/cache", "/cache/deep"]);
        let decided = decided.unwrap();
        let kinds: Vec<_> = decided
            .mounts
            .iter()
            .map(|mounted| match &mounted.kind {
                MountedKind::Volume { anonymous, .. } => (mounted.target.as_str(), *anonymous),
                _ => (mounted.target.as_str(), false),
            })
            .collect();
        assert_eq!(kinds, [("/data", false), ("/cache", true), ("/cache/deep", true)]);
        assert_eq!(decided.made_volumes.len(), 3);
    }

    #[test]
    fn a_missing_bind_source_is_made_only_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("a/b");
        run(vec![bind(source.to_str().unwrap(), "/x", true)], &[]).1.unwrap();
        assert!(source.is_dir());
    }
}
