//! Reading JSON that other daemons wrote: `null` for an empty list, numbers as text, fields that are missing, unknown or of another kind.
//! Called by `from_wire` and by clients; each read falls back by itself, so that one odd field costs that field and no more.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::Value;

use super::time;

static NULL: Value = Value::Null;

/// Lenient access to one JSON value. What is absent reads as empty, zero or false.
pub trait Read {
    /// The member, or null.
    fn at(&self, key: &str) -> &Value;
    fn text(&self, key: &str) -> String;
    /// `None` for absent and for empty.
    fn some_text(&self, key: &str) -> Option<String>;
    fn count(&self, key: &str) -> u64;
    fn int(&self, key: &str) -> i64;
    fn flag(&self, key: &str) -> bool;
    fn items(&self, key: &str) -> &[Value];
    fn texts(&self, key: &str) -> Vec<String>;
    /// `None` for absent and null; an empty list stays one.
    fn some_texts(&self, key: &str) -> Option<Vec<String>>;
    fn pairs(&self, key: &str) -> BTreeMap<String, String>;
    /// The names of an object's members: docker's way of writing a set.
    fn keys(&self, key: &str) -> Vec<String>;
    /// RFC 3339 text or unix seconds; Go's zero time and 0 are `None`.
    fn time(&self, key: &str) -> Option<SystemTime>;
}

impl Read for Value {
    fn at(&self, key: &str) -> &Value {
        self.get(key).unwrap_or(&NULL)
    }

    fn text(&self, key: &str) -> String {
        as_text(self.at(key)).unwrap_or_default()
    }

    fn some_text(&self, key: &str) -> Option<String> {
        as_text(self.at(key)).filter(|text| !text.is_empty())
    }

    fn count(&self, key: &str) -> u64 {
        self.at(key).as_u64().unwrap_or_else(|| u64::try_from(self.int(key)).unwrap_or(0))
    }

    fn int(&self, key: &str) -> i64 {
        as_int(self.at(key)).unwrap_or(0)
    }

    fn flag(&self, key: &str) -> bool {
        match self.at(key) {
            Value::Bool(flag) => *flag,
            Value::String(text) => matches!(text.as_str(), "true" | "True" | "1"),
            other => as_int(other).is_some_and(|number| number != 0),
        }
    }

    fn items(&self, key: &str) -> &[Value] {
        self.at(key).as_array().map_or(&[], Vec::as_slice)
    }

    fn texts(&self, key: &str) -> Vec<String> {
        self.some_texts(key).unwrap_or_default()
    }

    fn some_texts(&self, key: &str) -> Option<Vec<String>> {
        match self.at(key) {
            Value::Array(items) => Some(items.iter().filter_map(as_text).collect()),
            // An entrypoint or a command as one string, as old clients and podman write it.
            Value::String(text) if !text.is_empty() => Some(vec![text.clone()]),
            _ => None,
        }
    }

    fn pairs(&self, key: &str) -> BTreeMap<String, String> {
        let Value::Object(members) = self.at(key) else { return BTreeMap::new() };
        members.iter().map(|(name, value)| (name.clone(), as_text(value).unwrap_or_default())).collect()
    }

    fn keys(&self, key: &str) -> Vec<String> {
        match self.at(key) {
            Value::Object(members) => members.keys().cloned().collect(),
            _ => self.texts(key),
        }
    }

    fn time(&self, key: &str) -> Option<SystemTime> {
        match self.at(key) {
            Value::String(text) => time::from_wire(text),
            other => {
                as_int(other).filter(|seconds| *seconds > 0).and_then(|s| time::from_ns(s.checked_mul(1_000_000_000)?))
            }
        }
    }
}

fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn as_int(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|float| float as i64)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_odd_field_reads_as_something() {
        let doc = json!({"n": "12", "f": 3.7, "t": 1, "s": null, "l": null, "m": {"a": 1, "b": null}, "e": "sh", "big": u64::MAX});
        assert_eq!((doc.int("n"), doc.int("f"), doc.int("none"), doc.count("big")), (12, 3, 0, u64::MAX));
        assert!(doc.flag("t") && !doc.flag("s") && !doc.flag("none"));
        assert_eq!((doc.text("s"), doc.some_text("s"), doc.text("n")), (String::new(), None, "12".to_owned()));
        assert_eq!((doc.texts("l"), doc.some_texts("e")), (vec![], Some(vec!["sh".to_owned()])));
        assert_eq!(doc.pairs("m"), BTreeMap::from([("a".into(), "1".into()), ("b".into(), String::new())]));
        assert_eq!(doc.at("m").at("x").items("y").len(), 0);
        assert_eq!(doc.keys("m"), ["a", "b"]);
    }
}
