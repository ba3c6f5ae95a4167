//! A container's spec over its image's config: which of the two decides each field. Called by `create`; pure. The rules are docker's
//! (moby `daemon/commit.go` merge, `daemon/container.go` getEntrypointAndArgs).

use crate::engine::image::ImageConfig;
use crate::engine::{Class, ContainerSpec, EngineError, HealthCheck, Result};

/// Fills what the spec leaves open from the image. `spec.cmd`, `spec.entrypoint` hold what is run afterwards.
///
/// # Errors
/// `Invalid` when neither names a command.
pub(crate) fn merge(mut spec: ContainerSpec, image: &ImageConfig) -> Result<ContainerSpec> {
    merge_command(&mut spec, image)?;
    spec.env = merge_env(&spec.env, &image.env);
    if spec.user.as_deref().unwrap_or_default().is_empty() {
        spec.user = (!image.user.is_empty()).then(|| image.user.clone());
    }
    if spec.working_dir.as_deref().unwrap_or_default().is_empty() {
        spec.working_dir = (!image.working_dir.is_empty()).then(|| image.working_dir.clone());
    }
    for (key, value) in &image.labels {
        spec.labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    for port in &image.exposed_ports {
        if !spec.exposed_ports.contains(port) {
            spec.exposed_ports.push(port.clone());
        }
    }
    if spec.stop_signal.as_deref().unwrap_or_default().is_empty() {
        spec.stop_signal = image.stop_signal.clone().filter(|signal| !signal.is_empty());
    }
    spec.health = merge_health(spec.health.take(), image.health.as_ref());
    Ok(spec)
}

/// The executable and its arguments of a merged spec.
pub(crate) fn path_and_args(spec: &ContainerSpec) -> (String, Vec<String>) {
    let words = spec.entrypoint.iter().flatten().chain(spec.cmd.iter().flatten());
    let mut words = words.cloned();
    (words.next().unwrap_or_default(), words.collect())
}

fn merge_command(spec: &mut ContainerSpec, image: &ImageConfig) -> Result<()> {
    let given = spec.entrypoint.as_ref();
    // `--entrypoint ""`: no entrypoint, and the image's command, which was meant for it, does not run either.
    let is_cleared = given.is_some_and(|words| words.len() == 1 && words[0].is_empty());
    if given.is_none_or(Vec::is_empty) {
        if spec.cmd.as_ref().is_none_or(Vec::is_empty) {
            spec.cmd = image.cmd.clone();
        }
        if given.is_none() {
            spec.entrypoint = image.entrypoint.clone();
        }
    }
    if is_cleared {
        spec.entrypoint = Some(Vec::new());
    }
    match spec.entrypoint.iter().flatten().chain(spec.cmd.iter().flatten()).next() {
        Some(first) if !first.is_empty() => Ok(()),
        _ => Err(EngineError::new(Class::Invalid, &spec.image, "no command specified")
            .with_hint("the image names no command: say one after the image")
            .with_exit_code(125)),
    }
}

/// The user's variables, then those of the image that the user does not name. A bare `NAME` removes the image's.
fn merge_env(user: &[String], image: &[String]) -> Vec<String> {
    let name = |entry: &str| entry.split_once('=').map_or(entry, |(name, _)| name).to_owned();
    let named: Vec<String> = user.iter().map(|entry| name(entry)).collect();
    let kept = image.iter().filter(|entry| entry.contains('=') && !named.contains(&name(entry)));
    // The last of several wins, at the place of the first.
    let mut merged: Vec<String> = Vec::new();
    for entry in user.iter().filter(|entry| entry.contains('=')).chain(kept) {
        match merged.iter_mut().find(|present| name(present) == name(entry)) {
            Some(present) => present.clone_from(entry),
            None => merged.push(entry.clone()),
        }
    }
    merged
}

fn merge_health(user: Option<HealthCheck>, image: Option<&HealthCheck>) -> Option<HealthCheck> {
    let (Some(mut user), Some(image)) = (user.clone(), image) else { return user.or_else(|| image.cloned()) };
    if user.test.is_empty() {
        user.test.clone_from(&image.test);
    }
    user.interval = user.interval.or(image.interval);
    user.timeout = user.timeout.or(image.timeout);
    user.start_period = user.start_period.or(image.start_period);
    user.start_interval = user.start_interval.or(image.start_interval);
    user.retries = user.retries.or(image.retries);
    Some(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|word| (*word).to_owned()).collect()
    }

    /// entrypoint and cmd asked for, those of the image, what runs.
    fn check(
        asked: (Option<&[&str]>, Option<&[&str]>),
        image: (Option<&[&str]>, Option<&[&str]>),
        runs: Option<&[&str]>,
    ) {
        let spec =
            ContainerSpec { entrypoint: asked.0.map(words), cmd: asked.1.map(words), ..ContainerSpec::default() };
        let image = ImageConfig { entrypoint: image.0.map(words), cmd: image.1.map(words), ..ImageConfig::default() };
        let got = merge(spec, &image).map(|merged| {
            let (path, mut args) = path_and_args(&merged);
            args.insert(0, path);
            args
        });
        match runs {
            Some(runs) => assert_eq!(got.unwrap(), words(runs), "{asked:?}"),
            None => assert_eq!(got.unwrap_err().message, "no command specified"),
        }
    }

    #[test]
    fn entrypoint_and_cmd_follow_dockers_table() {
        let image = (Some(["e"].as_slice()), Some(["c", "d"].as_slice()));
        check((None, None), image, Some(&["e", "c", "d"]));
        check((None, Some(&["x"])), image, Some(&["e", "x"]));
        check((None, Some(&[])), image, Some(&["e", "c", "d"]));
        check((Some(&["n"]), None), image, Some(&["n"]));
        check((Some(&["n"]), Some(&["x"])), image, Some(&["n", "x"]));
        check((Some(&[]), None), image, Some(&["c", "d"]));
        check((Some(&[""]), Some(&["x"])), image, Some(&["x"]));
        check((Some(&[""]), None), image, None);
        check((None, None), (None, Some(&["c"])), Some(&["c"]));
        check((None, None), (None, None), None);
        check((None, Some(&[""])), (None, None), None);
    }

    #[test]
    fn env_of_the_user_wins_and_a_bare_name_removes() {
        let got = merge_env(&words(&["B=2", "GONE", "A=9", "B=3"]), &words(&["A=1", "P=/bin", "GONE=x"]));
        assert_eq!(got, words(&["B=3", "A=9", "P=/bin"]));
    }

    #[test]
    fn health_fields_fall_back_one_by_one() {
        let image = HealthCheck { test: words(&["CMD", "a"]), retries: Some(4), ..HealthCheck::default() };
        let user = HealthCheck { retries: Some(2), ..HealthCheck::default() };
        let merged = merge_health(Some(user), Some(&image)).unwrap();
        assert_eq!((merged.test, merged.retries), (words(&["CMD", "a"]), Some(2)));
        assert_eq!(merge_health(None, None), None);
    }
}
