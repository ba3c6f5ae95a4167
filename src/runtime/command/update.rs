//! `update`: new limits for a running container, from a document or from flags. Called by the dispatcher.

use super::super::cgroup::Cgroup;
use super::super::error::{At, Result, RuntimeError, Step};
use super::super::state::{Home, Status};
use super::args::{Args, Stop};
use super::{Global, usage_error};
use crate::oci::runtime::LinuxResources;
use serde_json::{Map, Value};
use std::io::Read as _;

/// Flag, where its value goes in the resources document, and how it is read.
const FIELDS: &[(&str, &str, &str, Unit)] = &[
    ("--blkio-weight", "blockIO", "weight", Unit::Number),
    ("--cpu-period", "cpu", "period", Unit::Number),
    ("--cpu-quota", "cpu", "quota", Unit::Number),
    ("--cpu-burst", "cpu", "burst", Unit::Number),
    ("--cpu-rt-period", "cpu", "realtimePeriod", Unit::Number),
    ("--cpu-rt-runtime", "cpu", "realtimeRuntime", Unit::Number),
    ("--cpu-share", "cpu", "shares", Unit::Number),
    ("--cpu-idle", "cpu", "idle", Unit::Number),
    ("--cpuset-cpus", "cpu", "cpus", Unit::Text),
    ("--cpuset-mems", "cpu", "mems", Unit::Text),
    ("--memory", "memory", "limit", Unit::Bytes),
    ("--memory-reservation", "memory", "reservation", Unit::Bytes),
    ("--memory-swap", "memory", "swap", Unit::Bytes),
    ("--pids-limit", "pids", "limit", Unit::Number),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Number,
    /// With an optional k, m, g or t.
    Bytes,
    Text,
}

pub(crate) fn update(global: &Global, rest: Vec<String>) -> Result<i32> {
    let mut values: Vec<&str> = FIELDS.iter().map(|(flag, ..)| *flag).collect();
    values.extend([
        "--resources",
        "-r",
        "--kernel-memory",
        "--kernel-memory-tcp",
        "--l3-cache-schema",
        "--mem-bw-schema",
    ]);
    let mut args = Args::parse(rest, &values, &[], Stop::Never)?;
    let id = args.id()?;
    args.expect_end()?;
    let home = Home::open(&global.root, &id)?;
    home.lock()?;
    let record = home.read()?;
    if home.status(&record) == Status::Stopped {
        return Err(RuntimeError::new(Step::NotRunning, ""));
    }
    let resources = match args.value("--resources").or(args.value("-r")) {
        Some(path) => from_document(path)?,
        None => from_flags(&args)?,
    };
    let cgroup = Cgroup::open(&record.cgroup).map_err(|err| RuntimeError::new(Step::Cgroup, format!("({err})")))?;
    let warnings = cgroup.update(&resources).map_err(|err| RuntimeError::new(Step::Cgroup, format!("({err})")))?;
    for warning in warnings {
        global.log.warning(&warning);
    }
    Ok(0)
}

fn from_document(path: &str) -> Result<LinuxResources> {
    let text = if path == "-" {
        let mut text = Vec::new();
        std::io::stdin().take(8 << 20).read_to_end(&mut text).at(Step::Config, "standard input")?;
        text
    } else {
        std::fs::read(path).at(Step::Config, path)?
    };
    // The document of an update carries no device rules: an empty list would otherwise read as "none allowed".
    let mut value: Value =
        serde_json::from_slice(&text).map_err(|err| RuntimeError::new(Step::Config, format!("resources: {err}")))?;
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|name, field| !field.is_null() && name != "devices");
    }
    serde_json::from_value(value).map_err(|err| RuntimeError::new(Step::Config, format!("resources: {err}")))
}

fn from_flags(args: &Args) -> Result<LinuxResources> {
    let mut document = Map::new();
    for (flag, section, field, unit) in FIELDS {
        let Some(text) = args.value(flag) else { continue };
        let bad = || usage_error(format!("{flag}: invalid value {text:?}"));
        let value = match unit {
            Unit::Text => Value::from(text),
            Unit::Number => Value::from(text.parse::<i64>().map_err(|_| bad())?),
            Unit::Bytes => Value::from(bytes(text).ok_or_else(bad)?),
        };
        let section = document.entry(*section).or_insert_with(|| Value::Object(Map::new()));
        if let Some(section) = section.as_object_mut() {
            section.insert((*field).to_owned(), value);
        }
    }
    serde_json::from_value(Value::Object(document)).map_err(|err| usage_error(err.to_string()))
}

/// `100`, `64k`, `1.5g`, `512MB`, `-1` (unlimited).
fn bytes(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor: f64 = match &lower[digits.len()..] {
        "" | "b" => 1.0,
        "k" | "kb" | "kib" => 1024.0,
        "m" | "mb" | "mib" => 1024.0 * 1024.0,
        "g" | "gb" | "gib" => 1024.0 * 1024.0 * 1024.0,
        "t" | "tb" | "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let value: f64 = digits.parse().ok()?;
    (value >= 0.0 && value.is_finite()).then_some((value * factor) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, size) in [
            ("0", Some(0)),
            ("64k", Some(65536)),
            ("1.5G", Some(1610612736)),
            ("2mib", Some(2 << 20)),
            ("-1", Some(-1)),
        ] {
            assert_eq!(bytes(text), size, "{text}");
        }
        for text in ["", "x", "1q", "-2", "1e400", "k"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    #[test]
    fn flags_become_a_document() {
        let args: Vec<String> = ["--memory", "64m", "--cpu-quota", "-1", "--pids-limit=5"].map(str::to_owned).into();
        let values: Vec<&str> = FIELDS.iter().map(|(flag, ..)| *flag).collect();
        let res = from_flags(&Args::parse(args, &values, &[], Stop::Never).unwrap()).unwrap();
        assert_eq!(res.memory().as_ref().unwrap().limit(), Some(64 << 20));
        assert_eq!(res.cpu().as_ref().unwrap().quota(), Some(-1));
        assert_eq!(res.pids().as_ref().unwrap().limit(), 5);
    }
}
