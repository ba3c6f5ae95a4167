//! Which system call filter a container gets: our own profile, a given one in docker's or the runtime spec's form, or none. Called when a
//! container is created (to complain early) and started. Must never weaken what it was given: a rule that it cannot read is an error.

use serde_json::{Map, Value, json};

use crate::engine::{Class, ContainerSpec, EngineError, Result};
use crate::oci::runtime::LinuxSeccomp;
use crate::runtime::caps;
use crate::runtime::seccomp;

use super::has_security_opt;
use super::process::bounding;

/// The filter for this container; `None` when it is privileged or asked for `seccomp=unconfined`.
///
/// # Errors
/// `Invalid` for a profile that cannot be read or compiled.
pub(crate) fn seccomp(spec: &ContainerSpec) -> Result<Option<LinuxSeccomp>> {
    if has_security_opt(spec, "seccomp=unconfined") {
        return Ok(None);
    }
    let held = bounding(spec)?;
    match given(spec) {
        Some(text) => given_profile(text, &held).map(Some),
        None if spec.privileged => Ok(None),
        None => Ok(Some(seccomp::default_profile(&held.iter().collect::<Vec<_>>()))),
    }
}

fn given(spec: &ContainerSpec) -> Option<&str> {
    let profile = |option: &String| option.strip_prefix("seccomp=").map(str::len).map(|n| option.len() - n);
    let (option, at) = spec.security_opts.iter().find_map(|option| Some((option, profile(option)?)))?;
    Some(&option[at..]).filter(|text| *text != "builtin")
}

fn given_profile(text: &str, held: &caps::CapSet) -> Result<LinuxSeccomp> {
    let invalid = || EngineError::new(Class::Invalid, "seccomp", "cannot read the seccomp profile");
    let document: Value = serde_json::from_str(text).map_err(|error| invalid().caused_by(&error))?;
    let profile: LinuxSeccomp = serde_json::from_value(to_spec(&document, held)).map_err(|error| {
        invalid().caused_by(&error).with_hint("it is JSON with defaultAction, syscalls and, in docker's form, archMap")
    })?;
    seccomp::compile(&profile).map_err(|error| invalid().caused_by(&error))?;
    Ok(profile)
}

/// Docker's form as the runtime spec has it: rules whose conditions do not hold are left out, the conditions are dropped.
fn to_spec(document: &Value, held: &caps::CapSet) -> Value {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut architectures = list(&document["architectures"]);
    for entry in list(&document["archMap"]).iter().filter(|entry| entry["architecture"] == own_arch()) {
        architectures.push(entry["architecture"].clone());
        architectures.extend(list(&entry["subArchitectures"]));
    }
    let rules = list(&document["syscalls"]);
    let rules: Vec<Value> = rules.iter().filter(|rule| applies(rule, held)).map(plain_rule).collect();
    let mut spec =
        json!({ "defaultAction": document["defaultAction"], "architectures": architectures, "syscalls": rules });
    for key in ["defaultErrnoRet", "flags"] {
        if !document[key].is_null() {
            spec[key] = document[key].clone();
        }
    }
    spec
}

fn own_arch() -> &'static str {
    if cfg!(target_arch = "aarch64") { "SCMP_ARCH_AARCH64" } else { "SCMP_ARCH_X86_64" }
}

fn plain_rule(rule: &Value) -> Value {
    let mut plain = Map::new();
    let names = if rule["names"].is_null() { json!([rule["name"]]) } else { rule["names"].clone() };
    plain.insert("names".to_owned(), names);
    for key in ["action", "errnoRet"] {
        if !rule[key].is_null() {
            plain.insert(key.to_owned(), rule[key].clone());
        }
    }
    if rule["args"].as_array().is_some_and(|args| !args.is_empty()) {
        plain.insert("args".to_owned(), rule["args"].clone());
    }
    Value::Object(plain)
}

/// Docker's `includes` must all hold and none of its `excludes` may.
fn applies(rule: &Value, held: &caps::CapSet) -> bool {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let holds = |name: &String| caps::parse(name).is_ok_and(|cap| held.contains(cap));
    let (includes, excludes) = (&rule["includes"], &rule["excludes"]);
    let arches = texts(&includes["arches"]);
    (arches.is_empty() || arches.iter().any(|one| one == arch))
        && texts(&includes["caps"]).iter().all(holds)
        && includes["minKernel"].as_str().is_none_or(kernel_is_at_least)
        && !texts(&excludes["arches"]).iter().any(|one| one == arch)
        && !texts(&excludes["caps"]).iter().any(holds)
        && !excludes["minKernel"].as_str().is_some_and(kernel_is_at_least)
}

fn kernel_is_at_least(wanted: &str) -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let numbers = |text: &str| {
        let mut parts = text.split(['.', '-']).map(|part| part.trim().parse::<u32>().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    };
    numbers(&release) >= numbers(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(option: &str) -> ContainerSpec {
        ContainerSpec { security_opts: vec![option.to_owned()], ..ContainerSpec::default() }
    }

    fn names(profile: &LinuxSeccomp) -> Vec<String> {
        profile.syscalls().iter().flatten().flat_map(|rule| rule.names().clone()).collect()
    }

    #[test]
    fn a_container_has_a_filter_unless_it_says_otherwise() {
        assert!(seccomp(&ContainerSpec::default()).unwrap().is_some());
        assert!(seccomp(&with("seccomp=builtin")).unwrap().is_some());
        assert!(seccomp(&with("seccomp=unconfined")).unwrap().is_none());
        assert!(seccomp(&ContainerSpec { privileged: true, ..ContainerSpec::default() }).unwrap().is_none());
    }

    #[test]
    fn dockers_conditions_are_decided() {
        let text = r#"seccomp={"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,
            "archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]},
                       {"architecture":"SCMP_ARCH_AARCH64","subArchitectures":[]}],
            "syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[],"includes":{},"excludes":{}},
                        {"names":["mount"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}},
                        {"names":["chown"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_CHOWN"]}},
                        {"names":["bpf"],"action":"SCMP_ACT_ALLOW","excludes":{"caps":["CAP_CHOWN"]}},
                        {"names":["ptrace"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4.8"}},
                        {"names":["open"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"99.0"}}]}"#;
        let profile = seccomp(&with(text)).unwrap().unwrap();
        assert_eq!(names(&profile), ["read", "chown", "ptrace"]);
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for text in ["seccomp={", "seccomp={}", r#"seccomp={"defaultAction":"SCMP_ACT_DREAM","syscalls":[]}"#] {
            assert_eq!(seccomp(&with(text)).unwrap_err().class, Class::Invalid, "{text}");
        }
    }
}
