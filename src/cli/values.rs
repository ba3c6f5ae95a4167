//! Flag values → meaning: sizes, durations, times, ports, volumes, mounts, environment files. Called by `create` and the verbs.
//! Messages are docker's. Pure but for environment and label files, which are read here.

mod mounts;
mod ports;

use std::time::{Duration, SystemTime};

use crate::engine::spec::{RestartPolicy, Ulimit};
use crate::stdx::human;

pub use self::mounts::{mount, tmpfs, volume};
pub use self::ports::{expose, publish};

/// Why a value cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// The flag's value itself is wrong: usage is shown.
    #[error("invalid argument {value:?} for \"{flag}\" flag: {why}")]
    Flag { value: String, flag: &'static str, why: String },
    /// Values do not fit together, or a file cannot be read.
    #[error("{0}")]
    Plain(String),
}

pub type Result<T> = std::result::Result<T, ValueError>;

/// Blames a flag, named as docker names it (`-m, --memory`).
pub fn bad(flag: &'static str, value: &str, why: impl Into<String>) -> ValueError {
    ValueError::Flag { value: value.to_owned(), flag, why: why.into() }
}

/// `64m`, `1.5g`.
pub fn bytes(flag: &'static str, text: &str) -> Result<u64> {
    human::parse_bytes(text).map_err(|_| bad(flag, text, format!("invalid size: '{text}'")))
}

/// As [`bytes`], with -1 for unlimited.
pub fn bytes_or_unlimited(flag: &'static str, text: &str) -> Result<i64> {
    if text == "-1" {
        return Ok(-1);
    }
    i64::try_from(bytes(flag, text)?).map_err(|_| bad(flag, text, format!("invalid size: '{text}'")))
}

pub fn whole<T: std::str::FromStr>(flag: &'static str, text: &str) -> Result<T> {
    let why = || format!("strconv.ParseInt: parsing {text:?}: invalid syntax");
    text.parse().map_err(|_| bad(flag, text, why()))
}

/// `--cpus`: billionths of a CPU.
pub fn cpus(flag: &'static str, text: &str) -> Result<u64> {
    let unreadable = || bad(flag, text, format!("failed to parse {text} as a rational number"));
    let value: f64 = text.parse().map_err(|_| unreadable())?;
    if !(0.0..=1e6).contains(&value) {
        return Err(unreadable());
    }
    let nano = value * 1e9;
    if (nano - nano.round()).abs() > 1e-3 {
        return Err(bad(flag, text, "value is too precise"));
    }
    Ok(nano.round() as u64)
}

/// Go's durations: `1h30m`, `500ms`, `1.5s`; a bare 0 too.
pub fn duration(flag: &'static str, text: &str) -> Result<Duration> {
    go_duration(text).ok_or_else(|| bad(flag, text, format!("time: invalid duration {text:?}")))
}

pub fn go_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut total_s) = (text, 0.0);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?);
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len()));
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total_s += number.parse::<f64>().ok()? * seconds;
        rest = after;
    }
    Duration::try_from_secs_f64(total_s).ok()
}

/// A moment: RFC 3339 (zone and parts of it may be missing: local), Unix seconds with a fraction, or a duration before `now`.
pub fn moment(text: &str, now: SystemTime) -> Option<SystemTime> {
    let (ago, is_future) = match text.strip_prefix('-') {
        Some(rest) => (go_duration(rest), true),
        None => (go_duration(text), false),
    };
    if let Some(span) = ago.filter(|_| text.ends_with(|c: char| c.is_ascii_alphabetic()) || text == "0") {
        return if is_future { now.checked_add(span) } else { now.checked_sub(span) };
    }
    if let Ok(unix) = text.parse::<f64>() {
        return SystemTime::UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(unix).ok()?);
    }
    if let Ok(stamp) = text.parse::<jiff::Timestamp>() {
        return Some(SystemTime::from(stamp));
    }
    let civil = text.parse::<jiff::civil::DateTime>().ok()?;
    let zoned = civil.to_zoned(crate::stdx::zone::local().clone()).ok()?;
    Some(SystemTime::from(zoned.timestamp()))
}

/// `no`, `always`, `unless-stopped`, `on-failure[:n]`.
pub fn restart(text: &str) -> Result<RestartPolicy> {
    let wrong = || ValueError::Plain(format!("invalid restart policy '{text}'"));
    let (name, count) = text.split_once(':').map_or((text, None), |(name, count)| (name, Some(count)));
    match (name, count) {
        ("" | "no", None) => Ok(RestartPolicy::No),
        ("always", None) => Ok(RestartPolicy::Always),
        ("unless-stopped", None) => Ok(RestartPolicy::UnlessStopped),
        ("on-failure", None) => Ok(RestartPolicy::OnFailure { max_retries: 0 }),
        ("on-failure", Some(count)) => {
            let too_odd = || {
                ValueError::Plain("invalid restart policy format: maximum retry count must be an integer".to_owned())
            };
            Ok(RestartPolicy::OnFailure { max_retries: count.parse().map_err(|_| too_odd())? })
        }
        ("no" | "always" | "unless-stopped", Some(_)) => Err(ValueError::Plain(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'".to_owned(),
        )),
        _ => Err(wrong()),
    }
}

/// `name=soft[:hard]`
pub fn ulimit(text: &str) -> Result<Ulimit> {
    let flag = "--ulimit";
    let shape = || bad(flag, text, format!("invalid ulimit argument: {text}"));
    let (name, limits) = text.split_once('=').ok_or_else(shape)?;
    if !Ulimit::NAMES.contains(&name) {
        return Err(bad(flag, text, format!("invalid ulimit type: {name}")));
    }
    let (soft, hard) = limits.split_once(':').map_or((limits, None), |(soft, hard)| (soft, Some(hard)));
    let number = |text: &str| match text {
        "unlimited" => Ok(-1),
        _ => text.parse::<i64>().map_err(|_| shape()),
    };
    let soft = number(soft)?;
    let hard = hard.map_or(Ok(soft), number)?;
    if hard != -1 && (soft > hard || soft == -1) {
        return Err(bad(
            flag,
            text,
            format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"),
        ));
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

/// `key=value` or `key`.
pub fn pair(text: &str) -> (String, String) {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    (key.to_owned(), value.to_owned())
}

/// `NAME=value`; a bare name takes its value from our own environment, and is left out when it is not there.
pub fn env(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Option<String>> {
    let name = text.split('=').next().unwrap_or("");
    if name.is_empty() {
        return Err(bad("-e, --env", text, format!("invalid environment variable: {text}")));
    }
    Ok(if text.contains('=') { Some(text.to_owned()) } else { lookup(text).map(|value| format!("{text}={value}")) })
}

/// Lines of an `--env-file` or `--label-file`; comments and empty lines are left out.
pub fn file_lines(path: &str) -> Result<Vec<String>> {
    let bytes = std::fs::read(path).map_err(|error| ValueError::Plain(format!("open {path}: {}", plain_io(&error))))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| ValueError::Plain(format!("invalid utf8 bytes in '{path}': it must be a text file")))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let lines = text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let lines: Vec<_> = lines.map(str::to_owned).collect();
    let has_space = |line: &&String| line.split('=').next().unwrap_or("").contains(char::is_whitespace);
    if let Some(line) = lines.iter().find(has_space) {
        let name = line.split('=').next().unwrap_or("");
        return Err(ValueError::Plain(format!("invalid env file ({path}): variable '{name}' contains whitespaces")));
    }
    if lines.iter().any(|line| line.starts_with('=')) {
        return Err(ValueError::Plain(format!("invalid env file ({path}): no variable name on line '='")));
    }
    Ok(lines)
}

/// `no such file or directory` rather than `No such file or directory (os error 2)`.
pub fn plain_io(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

/// What a device rate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateUnit {
    Bytes,
    Operations,
}

/// `path:rate` of `--device-read-bps` and its kin.
pub fn device_rate(flag: &'static str, text: &str, unit: RateUnit) -> Result<(String, u64)> {
    let wrong = || bad(flag, text, format!("bad format: {text}"));
    let (path, rate) = text.split_once(':').ok_or_else(wrong)?;
    if !path.starts_with("/dev/") {
        return Err(bad(flag, text, format!("bad format for device path: {text}")));
    }
    let why = "rate must be a positive integer";
    let unreadable = || {
        bad(
            flag,
            text,
            format!(
                "invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. Number {why}"
            ),
        )
    };
    let rate = match unit {
        RateUnit::Bytes => human::parse_bytes(rate).ok(),
        RateUnit::Operations => rate.parse().ok(),
    };
    Ok((path.to_owned(), rate.ok_or_else(unreadable)?))
}

/// Single-quoted, double-quoted and escaped words, as a shell splits them; `None` when a quote stays open.
pub fn shell_words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\'' => {
                let into = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '\'' => break,
                        c => into.push(c),
                    }
                }
            }
            '"' => {
                let into = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '"' => break,
                        '\\' => match chars.next()? {
                            c @ ('"' | '\\' | '$' | '`') => into.push(c),
                            c => into.extend(['\\', c]),
                        },
                        c => into.push(c),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(chars.next()?),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests;
