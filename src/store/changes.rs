//! Dockerfile lines that change an image's defaults: what `import --change` and `commit --change` take. Called by import.
//! Pure; an instruction that would need a build is refused by name.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Result;
use super::error::StoreError;
use crate::oci::image::{ContainerDefaults, Empty, Healthcheck};

/// Applies one line such as `CMD ["sh"]` or `ENV A=b C="d e"`.
pub(super) fn apply(line: &str, config: &mut ContainerDefaults) -> Result<()> {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let bad = |why: &str| StoreError::invalid(format!("change {line:?}"), why);
    if rest.is_empty()
        && !word.is_empty()
        && !word.eq_ignore_ascii_case("cmd")
        && !word.eq_ignore_ascii_case("entrypoint")
    {
        return Err(bad("the instruction has no argument"));
    }
    match word.to_ascii_uppercase().as_str() {
        "CMD" => config.cmd = Some(command(rest, config)),
        "ENTRYPOINT" => config.entrypoint = Some(command(rest, config)),
        "ENV" => {
            for (key, value) in pairs(rest).ok_or_else(|| bad("expected NAME=value"))? {
                let prefix = format!("{key}=");
                config.env.retain(|known| !known.starts_with(&prefix));
                config.env.push(format!("{prefix}{value}"));
            }
        }
        "LABEL" => config.labels.extend(pairs(rest).ok_or_else(|| bad("expected NAME=value"))?),
        "EXPOSE" => {
            for port in rest.split_whitespace() {
                config
                    .exposed_ports
                    .insert(port_key(port).ok_or_else(|| bad("expected PORT[/tcp|udp|sctp]"))?, Empty {});
            }
        }
        "VOLUME" => {
            let list = json_list(rest).unwrap_or_else(|| rest.split_whitespace().map(str::to_owned).collect());
            config.volumes.extend(list.into_iter().map(|path| (path, Empty {})));
        }
        "USER" => config.user = rest.to_owned(),
        "WORKDIR" => {
            // Relative to the one before, as in a Dockerfile.
            let base = std::path::Path::new(if config.working_dir.is_empty() { "/" } else { &config.working_dir });
            config.working_dir = base.join(rest).display().to_string();
        }
        "STOPSIGNAL" => config.stop_signal = rest.to_owned(),
        "ONBUILD" => config.on_build.push(rest.to_owned()),
        "SHELL" => config.shell = json_list(rest).ok_or_else(|| bad("expected a JSON list"))?,
        "HEALTHCHECK" => config.healthcheck = Some(healthcheck(rest).ok_or_else(|| bad("malformed health check"))?),
        "" => return Err(bad("the line is empty")),
        other => {
            return Err(bad(&format!("{other} is not a valid change command")).with_hint(
                "CMD ENTRYPOINT ENV EXPOSE HEALTHCHECK LABEL ONBUILD SHELL STOPSIGNAL USER VOLUME WORKDIR are",
            ));
        }
    }
    Ok(())
}

/// A JSON list is the command itself; anything else is a line for the shell.
fn command(text: &str, config: &ContainerDefaults) -> Vec<String> {
    if let Some(list) = json_list(text) {
        return list;
    }
    if text.is_empty() {
        return Vec::new();
    }
    let default = || vec!["/bin/sh".to_owned(), "-c".to_owned()];
    let mut words = if config.shell.is_empty() { default() } else { config.shell.clone() };
    words.push(text.to_owned());
    words
}

fn json_list(text: &str) -> Option<Vec<String>> {
    if text.starts_with('[') { serde_json::from_str(text).ok() } else { None }
}

/// `A=b C="d e"`, or the old `A the rest of the line`.
fn pairs(text: &str) -> Option<BTreeMap<String, String>> {
    let words = words(text)?;
    if !words.first()?.contains('=') {
        let (key, value) = text.split_once(char::is_whitespace)?;
        return Some([(key.to_owned(), value.trim().to_owned())].into());
    }
    let pair = |word: String| {
        let (key, value) = word.split_once('=')?;
        (!key.is_empty()).then(|| (key.to_owned(), value.to_owned()))
    };
    words.into_iter().map(pair).collect()
}

/// Splits at spaces outside quotes; a backslash takes the next character as it is. `None` for an open quote.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word = None::<String>;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            ('\\', None | Some('"')) => word.get_or_insert_default().push(chars.next()?),
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if quote.is_none() { Some(words) } else { None }
}

fn port_key(text: &str) -> Option<String> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let is_port = |p: &str| p.parse::<u16>().is_ok_and(|p| p > 0);
    let is_range = port.split_once('-').map_or(is_port(port), |(low, high)| is_port(low) && is_port(high));
    (is_range && matches!(protocol, "tcp" | "udp" | "sctp")).then(|| format!("{port}/{protocol}"))
}

fn healthcheck(text: &str) -> Option<Healthcheck> {
    let mut check = Healthcheck::default();
    let mut rest = text;
    while let Some(flag) = rest.strip_prefix("--") {
        let (flag, after) = flag.split_once(char::is_whitespace)?;
        let (name, value) = flag.split_once('=')?;
        match name {
            "interval" => check.interval = nanos(value)?,
            "timeout" => check.timeout = nanos(value)?,
            "start-period" => check.start_period = nanos(value)?,
            "start-interval" => check.start_interval = nanos(value)?,
            "retries" => check.retries = value.parse().ok().filter(|n| *n >= 0)?,
            _ => return None,
        }
        rest = after.trim_start();
    }
    if rest.eq_ignore_ascii_case("none") {
        check.test = vec!["NONE".to_owned()];
        return Some(check);
    }
    let (word, command) = rest.split_once(char::is_whitespace)?;
    if !word.eq_ignore_ascii_case("cmd") {
        return None;
    }
    check.test = match json_list(command.trim()) {
        Some(list) => [vec!["CMD".to_owned()], list].concat(),
        None => vec!["CMD-SHELL".to_owned(), command.trim().to_owned()],
    };
    Some(check)
}

/// Go's durations: `1m30s`, `500ms`.
fn nanos(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total = 0f64;
    while !rest.is_empty() {
        let split = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let value: f64 = rest[..split].parse().ok()?;
        let unit_end = rest[split..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| split + at);
        let unit = match &rest[split..unit_end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total += value * unit;
        rest = &rest[unit_end..];
    }
    let span = Duration::try_from_secs_f64(total).ok()?;
    (!text.is_empty()).then(|| i64::try_from(span.as_nanos()).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_instruction_changes_its_part() {
        let mut config = ContainerDefaults::default();
        let lines = [
            "CMD [\"sh\", \"-c\", \"echo hi\"]",
            "entrypoint run it",
            "ENV A=b C=\"d e\" F='g h' I=j\\ k",
            "ENV OLD the whole line",
            "ENV A=new",
            "LABEL x=y",
            "EXPOSE 80 53/udp",
            "VOLUME [\"/data\"]",
            "VOLUME /a /b",
            "USER 1000:1000",
            "WORKDIR /srv",
            "WORKDIR app",
            "STOPSIGNAL SIGINT",
            "HEALTHCHECK --interval=1m30s --retries=2 CMD curl -f localhost",
        ];
        for line in lines {
            apply(line, &mut config).unwrap();
        }
        assert_eq!(config.cmd.unwrap(), ["sh", "-c", "echo hi"]);
        assert_eq!(config.entrypoint.unwrap(), ["/bin/sh", "-c", "run it"]);
        assert_eq!(config.env, ["C=d e", "F=g h", "I=j k", "OLD=the whole line", "A=new"]);
        assert_eq!(config.exposed_ports.keys().collect::<Vec<_>>(), ["53/udp", "80/tcp"]);
        assert_eq!(config.volumes.keys().collect::<Vec<_>>(), ["/a", "/b", "/data"]);
        assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("1000:1000", "/srv/app"));
        let check = config.healthcheck.unwrap();
        assert_eq!((check.interval, check.retries), (90_000_000_000, 2));
        assert_eq!(check.test, ["CMD-SHELL", "curl -f localhost"]);
    }

    #[test]
    fn what_is_no_change_is_refused() {
        let bads = [
            "",
            "RUN make",
            "FROM x",
            "ENV",
            "ENV A",
            "ENV A=\"b",
            "EXPOSE 0",
            "EXPOSE 80/icmp",
            "EXPOSE 70000",
            "HEALTHCHECK CMD",
            "HEALTHCHECK --interval=x CMD y",
            "SHELL sh",
            "LABEL =x",
        ];
        for bad in bads {
            assert!(apply(bad, &mut ContainerDefaults::default()).is_err(), "{bad:?}");
        }
    }
}
