//! What a line looks like before it is cut into cells: its own text, or its JSON laid out, with spans that say what each part means.
//!
//! Called by painting and by the popup, for lines on screen only. Looks at a bounded front of the line; the rest is plain.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::{Map, Value};

use super::cells;
use super::classify::{self, Level};

/// JSON longer than this stays as it came.
const JSON_BYTES: usize = 256 * 1024;
/// Keys and values are coloured this far into a line.
const COLOUR_BYTES: usize = 8 * 1024;

/// How lines that hold JSON are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JsonMode {
    /// As they came, keys coloured.
    #[default]
    Raw,
    /// One row: level, message, then `key=value`; or the chosen fields alone.
    Compact,
    /// Laid out over rows.
    Pretty,
}

impl JsonMode {
    pub(super) fn next(self) -> Self {
        match self {
            Self::Raw => Self::Compact,
            Self::Compact => Self::Pretty,
            Self::Pretty => Self::Raw,
        }
    }
}

/// What a part of a line means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Level(Level),
    Key,
    String,
    Number,
    Word,
    Dim,
}

pub(super) type Span = (Range<usize>, Part);

/// A line ready to be cut into cells. Spans are in order, apart, and count in bytes of `text`.
#[derive(Debug)]
pub(super) struct Display<'a> {
    pub(super) text: Cow<'a, [u8]>,
    pub(super) spans: Vec<Span>,
    /// Something before the last carriage return is not shown.
    pub(super) overwritten: bool,
}

/// The line as the view shows it. `escaped` says that it may hold SGR, which then rules the colours.
pub(super) fn display<'a>(line: &'a [u8], mode: JsonMode, fields: &[String], escaped: bool) -> Display<'a> {
    let (text, overwritten) = cells::visible(line);
    if mode != JsonMode::Raw
        && let Some((prefix, object)) = json(text)
    {
        let mut out = Laid::default();
        out.prefix(prefix);
        match mode {
            JsonMode::Compact => compact(&object, fields, &mut out),
            _ => pretty(&object, fields, &mut out),
        }
        return Display { text: Cow::Owned(out.text), spans: out.spans, overwritten };
    }
    let spans = if escaped && memchr::memchr(0x1b, text).is_some() { Vec::new() } else { colour(text) };
    Display { text: Cow::Borrowed(text), spans, overwritten }
}

/// The JSON object a line ends with, and what stands before it.
pub(super) fn json(text: &[u8]) -> Option<(&[u8], Map<String, Value>)> {
    let at = memchr::memchr(b'{', text)?;
    if text.len() > JSON_BYTES || !text.trim_ascii_end().ends_with(b"}") {
        return None;
    }
    let object = serde_json::from_slice(&text[at..]).ok()?;
    Some((&text[..at], object))
}

#[derive(Default)]
struct Laid {
    text: Vec<u8>,
    spans: Vec<Span>,
}

impl Laid {
    fn prefix(&mut self, prefix: &[u8]) {
        if !prefix.trim_ascii().is_empty() {
            self.text.extend_from_slice(prefix.trim_ascii_end());
            self.text.push(b' ');
            self.spans.push((0..self.text.len(), Part::Dim));
        }
    }

    fn plain(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
    }

    fn part(&mut self, text: &str, part: Part) {
        let start = self.text.len();
        self.plain(text);
        self.spans.push((start..self.text.len(), part));
    }

    fn gap(&mut self) {
        if self.text.last().is_some_and(|byte| *byte != b' ' && *byte != b'\n') {
            self.text.push(b' ');
        }
    }

    fn scalar(&mut self, value: &Value) {
        match value {
            Value::String(text) if text.chars().any(|c| c == ' ' || c == '"' || c.is_control()) || text.is_empty() => {
                self.part(&Value::from(text.as_str()).to_string(), Part::String);
            }
            Value::String(text) => self.part(text, Part::String),
            Value::Number(number) => self.part(&number.to_string(), Part::Number),
            Value::Bool(_) | Value::Null => self.part(&value.to_string(), Part::Word),
            Value::Array(_) | Value::Object(_) => self.plain(&value.to_string()),
        }
    }
}

const LEVEL_KEYS: &[&str] = &["level", "severity", "lvl", "levelname", "loglevel", "log.level", "@level"];
const MESSAGE_KEYS: &[&str] = &["msg", "message", "event", "@message", "text"];
/// Left out of the compact form: the view has its own time column.
const TIME_KEYS: &[&str] = &["time", "ts", "timestamp", "@timestamp", "t", "datetime", "asctime"];

fn compact(object: &Map<String, Value>, fields: &[String], out: &mut Laid) {
    if !fields.is_empty() {
        for field in fields {
            if let Some(value) = lookup(object, field) {
                pair(field, value, out);
            }
        }
        return;
    }
    let named = |keys: &[&str]| keys.iter().find_map(|key| object.get_key_value(*key));
    let level = named(LEVEL_KEYS);
    let message = named(MESSAGE_KEYS).filter(|(_, value)| value.is_string());
    if let Some((_, value)) = level {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_uppercase);
        let named = classify::level(format!("level={text}").as_bytes());
        out.gap();
        out.part(&format!("{text:<5}"), Part::Level(named));
        out.plain(" ");
    }
    if let Some((_, Value::String(text))) = message {
        out.gap();
        out.plain(&text.replace('\n', "\u{2424}").replace('\u{1b}', "\u{241b}"));
    }
    for (key, value) in object {
        let shown = level.is_some_and(|(k, _)| k == key) || message.is_some_and(|(k, _)| k == key);
        if !shown && !TIME_KEYS.contains(&key.as_str()) {
            flatten(key, value, out);
        }
    }
}

fn flatten(key: &str, value: &Value, out: &mut Laid) {
    match value {
        Value::Object(inner) if !inner.is_empty() => {
            for (name, value) in inner {
                flatten(&format!("{key}.{name}"), value, out);
            }
        }
        _ => pair(key, value, out),
    }
}

fn pair(key: &str, value: &Value, out: &mut Laid) {
    out.gap();
    out.part(&format!("{key}="), Part::Key);
    out.scalar(value);
}

/// A field by name; dots reach into objects.
fn lookup<'v>(object: &'v Map<String, Value>, field: &str) -> Option<&'v Value> {
    if let Some(value) = object.get(field) {
        return Some(value);
    }
    let (head, rest) = field.split_once('.')?;
    lookup(object.get(head)?.as_object()?, rest)
}

fn pretty(object: &Map<String, Value>, fields: &[String], out: &mut Laid) {
    out.plain("{");
    let mut first = true;
    for (key, value) in object {
        if fields.is_empty() || fields.iter().any(|field| field == key || field.split('.').next() == Some(key.as_str()))
        {
            if !first {
                out.plain(",");
            }
            first = false;
            member(key, value, 1, out);
        }
    }
    out.plain("\n}");
}

fn member(key: &str, value: &Value, depth: usize, out: &mut Laid) {
    out.plain("\n");
    out.plain(&"  ".repeat(depth));
    out.part(&Value::from(key).to_string(), Part::Key);
    out.plain(": ");
    nested(value, depth, out);
}

fn nested(value: &Value, depth: usize, out: &mut Laid) {
    match value {
        Value::Object(inner) if !inner.is_empty() => {
            out.plain("{");
            for (idx, (key, value)) in inner.iter().enumerate() {
                if idx > 0 {
                    out.plain(",");
                }
                member(key, value, depth + 1, out);
            }
            out.plain("\n");
            out.plain(&"  ".repeat(depth));
            out.plain("}");
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            out.plain("[");
            for (idx, item) in items.iter().enumerate() {
                if idx > 0 {
                    out.plain(",");
                }
                out.plain("\n");
                out.plain(&"  ".repeat(depth + 1));
                nested(item, depth + 1, out);
            }
            out.plain("\n");
            out.plain(&"  ".repeat(depth));
            out.plain("]");
        }
        Value::String(text) => out.part(&Value::from(text.as_str()).to_string(), Part::String),
        _ => out.scalar(value),
    }
}

/// Keys, values and the level word of a line as it came.
fn colour(text: &[u8]) -> Vec<Span> {
    let look = &text[..text.len().min(COLOUR_BYTES)];
    let mut spans = Vec::new();
    match memchr::memchr(b'{', look) {
        Some(at) if look[at + 1..].trim_ascii_start().first() == Some(&b'"') => {
            logfmt(&look[..at], 0, &mut spans);
            json_tokens(&look[at..], at, &mut spans);
        }
        _ => logfmt(look, 0, &mut spans),
    }
    if let Some((level, range)) = classify::level_place(text) {
        let at = spans.partition_point(|(span, _)| span.end <= range.start);
        let n_over = spans[at..].iter().take_while(|(span, _)| span.start < range.end).count();
        spans.splice(at..at + n_over, [(range, Part::Level(level))]);
    }
    spans
}

/// `key=` of `key=value` and quoted values.
fn logfmt(text: &[u8], offset: usize, spans: &mut Vec<Span>) {
    for at in memchr::memchr_iter(b'=', text) {
        let is_key = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        let start = text[..at].iter().rposition(|byte| !is_key(byte)).map_or(0, |before| before + 1);
        let fits = start < at
            && (text[start].is_ascii_alphabetic() || text[start] == b'_')
            && start
                .checked_sub(1)
                .is_none_or(|before| matches!(text[before], b' ' | b'\t' | b'(' | b'[' | b'{' | b','));
        if fits && spans.last().is_none_or(|(span, _)| span.end <= offset + start) {
            spans.push((offset + start..offset + at + 1, Part::Key));
            if text.get(at + 1) == Some(&b'"')
                && let Some(len) = string_len(&text[at + 1..])
            {
                spans.push((offset + at + 1..offset + at + 1 + len, Part::String));
            }
        }
    }
}

/// The length of the quoted string at the front.
fn string_len(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

fn json_tokens(text: &[u8], offset: usize, spans: &mut Vec<Span>) {
    let mut at = 0;
    while at < text.len() {
        let (len, part) = match text[at] {
            b'"' => {
                let len = string_len(&text[at..]).unwrap_or(text.len() - at);
                let is_key = text.get(at + len..).is_some_and(|rest| rest.trim_ascii_start().first() == Some(&b':'));
                (len, Some(if is_key { Part::Key } else { Part::String }))
            }
            b'0'..=b'9' | b'-' => {
                let is_number = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E');
                (text[at..].iter().take_while(|byte| is_number(byte)).count(), Some(Part::Number))
            }
            byte if byte.is_ascii_alphabetic() => {
                (text[at..].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count(), Some(Part::Word))
            }
            _ => (1, None),
        };
        if let Some(part) = part {
            spans.push((offset + at..offset + at + len, part));
        }
        at += len.max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str, mode: JsonMode, fields: &[&str]) -> String {
        let fields: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
        String::from_utf8(display(line.as_bytes(), mode, &fields, false).text.into_owned()).unwrap()
    }

    #[test]
    fn json_is_laid_out_by_mode() {
        let line =
            r##"#7 {"time":1,"level":"warn","msg":"slow query","user":{"id":4,"name":"ana"},"ok":true,"tags":[1,2]}"##;
        assert_eq!(
            shown(line, JsonMode::Compact, &[]),
            "#7 WARN  slow query user.id=4 user.name=ana ok=true tags=[1,2]"
        );
        assert_eq!(shown(line, JsonMode::Compact, &["msg", "user.id", "none"]), "#7 msg=\"slow query\" user.id=4");
        assert_eq!(
            shown(r#"{"a":1,"b":{"c":"x"}}"#, JsonMode::Pretty, &[]),
            "{\n  \"a\": 1,\n  \"b\": {\n    \"c\": \"x\"\n  }\n}"
        );
        assert_eq!(shown("{not json}", JsonMode::Pretty, &[]), "{not json}");
        assert_eq!(shown(line, JsonMode::Raw, &[]), line);
    }

    #[test]
    fn parts_are_found_in_lines_as_they_came() {
        let text = b"ts=1 level=warn msg=\"a = b\" done";
        let parts: Vec<(&str, Part)> =
            colour(text).into_iter().map(|(range, part)| (std::str::from_utf8(&text[range]).unwrap(), part)).collect();
        assert_eq!(
            parts,
            [
                ("ts=", Part::Key),
                ("level=", Part::Key),
                ("warn", Part::Level(Level::Warn)),
                ("msg=", Part::Key),
                ("\"a = b\"", Part::String),
            ]
        );
    }

    proptest::proptest! {
        #[test]
        fn spans_are_ordered_apart_and_inside(line in "[ -~é漢\"{}:=,\\\\]{0,80}") {
            for mode in [JsonMode::Raw, JsonMode::Compact, JsonMode::Pretty] {
                let display = display(line.as_bytes(), mode, &[], false);
                let mut end = 0;
                for (range, _) in &display.spans {
                    proptest::prop_assert!(range.start >= end && range.start <= range.end);
                    end = range.end;
                }
                proptest::prop_assert!(end <= display.text.len());
            }
        }
    }
}
