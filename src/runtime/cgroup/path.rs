//! Where a container's cgroup lies below each hierarchy, from the three ways in which callers write it. Called by
//! `runtime::cgroup`. Must never let a path leave the root of a hierarchy.

use std::path::{Component, Path, PathBuf};

use super::CgroupError;

/// `/orlop/<id>` or `orlop/<id>` → its components. The root itself is no container's cgroup.
pub(super) fn components(path: &Path) -> Result<Vec<String>, CgroupError> {
    let fail = |why: &'static str| CgroupError::Path { path: path.to_owned(), why };
    let mut names = Vec::new();
    for part in path.components() {
        match part {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => names.push(name.to_str().ok_or_else(|| fail("it is not UTF-8"))?.to_owned()),
            Component::ParentDir | Component::Prefix(_) => return Err(fail("it must not contain `..`")),
        }
    }
    if names.is_empty() {
        return Err(fail("it is empty"));
    }
    if names.iter().any(|name| name.contains(['\n', '\0']) || name.len() > 255 || name.starts_with("cgroup.")) {
        return Err(fail("a component is too long, starts with `cgroup.` or holds a control character"));
    }
    Ok(names)
}

/// How many of a cgroup's nearest parents are this engine's own making, so that the last container below takes them along: all of
/// `/orlop/…` and `/orlop-…/…`.
pub(super) fn n_own_parents(names: &[String]) -> usize {
    match names {
        [top, parents @ .., _] if top == "orlop" || (top.starts_with("orlop-") && !top.ends_with(".slice")) => {
            parents.len() + 1
        }
        _ => 0,
    }
}

/// systemd's form `slice:prefix:name` as a cgroupfs path: `user-1000.slice:orlop:abc` →
/// `/user.slice/user-1000.slice/orlop-abc.scope`. An empty slice means `system.slice`.
///
/// Decision: systemd is not told. The directory is made where systemd would have put the scope, and all limits are written
/// there by us; what is lost is that `systemctl status` knows the scope's name. The caller gets a warning that says so.
pub(super) fn from_systemd(form: &Path) -> Result<PathBuf, CgroupError> {
    let fail = |why: &'static str| CgroupError::Path { path: form.to_owned(), why };
    let text = form.to_str().ok_or_else(|| fail("it is not UTF-8"))?;
    let parts: Vec<&str> = text.split(':').collect();
    let [slice, prefix, name] = parts[..] else { return Err(fail("expected slice:prefix:name")) };
    if name.is_empty() || prefix.contains('/') || name.contains('/') {
        return Err(fail("expected slice:prefix:name"));
    }
    let mut path = expand_slice(if slice.is_empty() { "system.slice" } else { slice })
        .ok_or_else(|| fail("the slice is not of the form a-b-c.slice"))?;
    let unit = match (prefix, name.ends_with(".slice")) {
        (_, true) => name.to_owned(),
        ("", false) => format!("{name}.scope"),
        (prefix, false) => format!("{prefix}-{name}.scope"),
    };
    path.push(unit);
    Ok(path)
}

/// `a-b.slice` lies in `a.slice` (man 5 systemd.slice); `-.slice` is the root.
fn expand_slice(slice: &str) -> Option<PathBuf> {
    let stem = slice.strip_suffix(".slice").filter(|stem| !stem.contains('/'))?;
    let mut path = PathBuf::from("/");
    if stem == "-" {
        return Some(path);
    }
    let mut prefix = String::new();
    for part in stem.split('-') {
        if part.is_empty() {
            return None;
        }
        if !prefix.is_empty() {
            prefix.push('-');
        }
        prefix.push_str(part);
        path.push(format!("{prefix}.slice"));
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_own_parents_are_taken_along() {
        let id = "a".repeat(64);
        for (path, n) in [
            (format!("/orlop/0123456789ab-{id}"), 1),
            (format!("/site/0123456789ab-{id}"), 0),
            (format!("/docker/{id}"), 0),
            ("/orlop-test/x".to_owned(), 1),
            ("/orlop.slice/orlop-a.slice/x.scope".to_owned(), 0),
            ("/orlop-a.slice/x.scope".to_owned(), 0),
            ("/orlop".to_owned(), 0),
        ] {
            assert_eq!(n_own_parents(&components(Path::new(&path)).unwrap()), n, "{path}");
        }
    }

    #[test]
    fn systemd_form() {
        let check =
            |form: &str, want: &str| assert_eq!(from_systemd(Path::new(form)).unwrap(), Path::new(want), "{form}");
        check("user-1000.slice:orlop:abc", "/user.slice/user-1000.slice/orlop-abc.scope");
        check(":docker:abc", "/system.slice/docker-abc.scope");
        check("-.slice::abc", "/abc.scope");
        check("a-b-c.slice:x:y", "/a.slice/a-b.slice/a-b-c.slice/x-y.scope");
        check("::.", "/system.slice/..scope");
        for bad in ["", "/orlop/abc", "a:b", "a:b:c:d", "x.slice:p:", "a//b.slice:p:n", "a--b.slice:p:n", ".slice:p:n"]
        {
            assert!(from_systemd(Path::new(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_stay_below_the_root() {
        assert_eq!(components(Path::new("/orlop/x")).unwrap(), ["orlop", "x"]);
        assert_eq!(components(Path::new("orlop/./x")).unwrap(), ["orlop", "x"]);
        for bad in ["", "/", "/a/../b", "..", "/a/cgroup.procs", "/a\nb"] {
            assert!(components(Path::new(bad)).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_form_escapes(text in "[a./:-]{0,20}|\\PC{0,20}") {
            if let Ok(path) = from_systemd(Path::new(&text)) {
                prop_assert!(path.components().all(|it| it != Component::ParentDir), "{path:?}");
            }
            if let Ok(names) = components(Path::new(&text)) {
                prop_assert!(names.iter().all(|it| it != ".." && !it.contains('/')));
            }
        }
    }
}
