//! The functions a template may call: Go's built-ins and docker's helpers, over JSON values.

use std::cmp::Ordering;

use serde_json::Value;
use serde_json::ser::{PrettyFormatter, Serializer};

const NAMES: [&str; 28] = [
    "and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "len", "index", "slice", "print", "printf", "println",
    "json", "split", "join", "title", "lower", "upper", "pad", "truncate", "html", "js", "urlquery", "table", "toJson",
];

/// Widths and lengths asked for stay below this.
const MAX_WIDTH: usize = 4096;

pub(super) fn known(name: String) -> Result<String, String> {
    if NAMES.contains(&name.as_str()) { Ok(name) } else { Err(format!("function \"{name}\" not defined")) }
}

/// Go's truth: zero values are false.
pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

pub(super) fn call(name: &str, arguments: Vec<Value>) -> Result<Value, String> {
    let n = arguments.len();
    let at = |i: usize| arguments.get(i).ok_or_else(|| format!("wrong number of args for {name}: got {n}"));
    let text = |i: usize| at(i).map(as_text);
    let compare = |wanted: fn(Ordering) -> bool| {
        let order = order(at(0)?, at(1)?).ok_or("incompatible types for comparison")?;
        Ok::<_, String>(Value::Bool(wanted(order)))
    };
    Ok(match name {
        // Those that decide early were returned before the call: the last one counts.
        "and" | "or" => arguments.last().cloned().ok_or("wrong number of args")?,
        "not" => Value::Bool(!is_true(at(0)?)),
        "eq" => {
            let first = at(0)?.clone();
            at(1)?;
            Value::Bool(arguments[1..].iter().any(|other| same(&first, other)))
        }
        "ne" => Value::Bool(!same(at(0)?, at(1)?)),
        "lt" => compare(Ordering::is_lt)?,
        "le" => compare(Ordering::is_le)?,
        "gt" => compare(Ordering::is_gt)?,
        "ge" => compare(Ordering::is_ge)?,
        "len" => Value::from(length(at(0)?)?),
        "index" => index(at(0)?, &arguments[1..])?,
        "slice" => slice(at(0)?, &arguments[1..])?,
        "print" => Value::from(print(&arguments)),
        "println" => {
            let words: Vec<_> = arguments.iter().map(print_value).collect();
            Value::from(format!("{}\n", words.join(" ")))
        }
        "printf" => Value::from(printf(&text(0)?, &arguments[1..])),
        "json" | "toJson" => Value::from(json(at(0)?)),
        "split" => text(0)?.split(&text(1)?).map(Value::from).collect(),
        "join" => {
            let Value::Array(items) = at(0)? else { return Err("not a list".to_owned()) };
            let words: Vec<_> = items.iter().map(print_value).collect();
            Value::from(words.join(&text(1)?))
        }
        "title" => Value::from(title(&text(0)?)),
        "lower" => Value::from(text(0)?.to_lowercase()),
        "upper" => Value::from(text(0)?.to_uppercase()),
        "pad" => {
            let spaces = |i: usize| Ok::<_, String>(" ".repeat(whole(at(i)?)?.min(MAX_WIDTH)));
            let inner = text(0)?;
            Value::from(if inner.is_empty() { inner } else { format!("{}{inner}{}", spaces(1)?, spaces(2)?) })
        }
        "truncate" => Value::from(text(0)?.chars().take(whole(at(1)?)?).collect::<String>()),
        _ => Value::from(text(0)?),
    })
}

/// Compact JSON without the hidden keys, `<`, `>` and `&` as they are.
pub(crate) fn json(value: &Value) -> String {
    match value {
        Value::Object(map) if map.keys().any(|key| key.starts_with('@')) => {
            let shown: serde_json::Map<_, _> = map
                .iter()
                .filter(|(key, _)| !key.starts_with('@'))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            without_controls(Value::Object(shown).to_string())
        }
        _ => without_controls(value.to_string()),
    }
}

/// Four spaces, as docker's inspect.
pub(crate) fn pretty(value: &Value) -> String {
    let mut out = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut out, PrettyFormatter::with_indent(b"    "));
    match serde::Serialize::serialize(value, &mut serializer) {
        Ok(()) => without_controls(String::from_utf8(out).unwrap_or_default()),
        Err(_) => value.to_string(),
    }
}

/// JSON leaves DEL and the C1 controls as they are; a terminal may take U+009B for the beginning of a command, so they are escaped too.
fn without_controls(json: String) -> String {
    let is_bad = |c: char| matches!(c, '\u{7f}'..='\u{9f}');
    if !json.contains(is_bad) {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        match is_bad(c) {
            true => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => out.push(c),
        }
    }
    out
}

/// Go's `%v`.
pub(super) fn print_value(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(print_value).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut pairs: Vec<_> = map.iter().filter(|(key, _)| !key.starts_with('@')).collect();
            pairs.sort_by(|a, b| a.0.cmp(b.0));
            let pairs: Vec<_> = pairs.iter().map(|(key, value)| format!("{key}:{}", print_value(value))).collect();
            format!("map[{}]", pairs.join(" "))
        }
    }
}

fn as_text(value: &Value) -> String {
    print_value(value)
}

/// Go's Print: a space between operands when neither is a string.
fn print(arguments: &[Value]) -> String {
    let mut out = String::new();
    for (i, value) in arguments.iter().enumerate() {
        let beside = i.checked_sub(1).and_then(|before| arguments.get(before));
        if beside.is_some_and(|before| !before.is_string() && !value.is_string()) {
            out.push(' ');
        }
        out.push_str(&print_value(value));
    }
    out
}

fn printf(format: &str, arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut next = arguments.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let (mut left, mut zero) = (false, false);
        while let Some(flag @ ('-' | '+' | '#' | ' ' | '0')) = chars.peek().copied() {
            left |= flag == '-';
            zero |= flag == '0';
            chars.next();
        }
        let digits = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            let mut number = String::new();
            while let Some(digit) = chars.peek().copied().filter(char::is_ascii_digit) {
                number.push(digit);
                chars.next();
            }
            number.parse::<usize>().ok().map(|number| number.min(MAX_WIDTH))
        };
        let width = digits(&mut chars).unwrap_or(0);
        let precision = if chars.next_if_eq(&'.').is_some() { Some(digits(&mut chars).unwrap_or(0)) } else { None };
        let Some(verb) = chars.next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            out.push('%');
            continue;
        }
        let Some(value) = next.next() else {
            out.push_str(&format!("%!{verb}(MISSING)"));
            continue;
        };
        let text = formatted(verb, value, precision);
        let fill = width.saturating_sub(text.chars().count());
        match (left, zero && value.is_number()) {
            (true, _) => out.push_str(&format!("{text}{}", " ".repeat(fill))),
            (false, true) => out.push_str(&format!("{}{text}", "0".repeat(fill))),
            (false, false) => out.push_str(&format!("{}{text}", " ".repeat(fill))),
        }
    }
    out
}

fn formatted(verb: char, value: &Value, precision: Option<usize>) -> String {
    let number = || value.as_f64().unwrap_or(0.0);
    match verb {
        's' | 'v' => match precision {
            Some(n) if value.is_string() => print_value(value).chars().take(n).collect(),
            _ => print_value(value),
        },
        'q' => Value::from(print_value(value)).to_string(),
        'd' if value.is_number() => value.to_string(),
        'f' if value.is_number() => format!("{:.*}", precision.unwrap_or(6), number()),
        'x' if value.is_number() => format!("{:x}", value.as_i64().unwrap_or(0)),
        'x' => print_value(value).bytes().map(|byte| format!("{byte:02x}")).collect(),
        't' if value.is_boolean() => value.to_string(),
        'T' => kind(value).to_owned(),
        _ => format!("%!{verb}({}={})", kind(value), print_value(value)),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

fn length(value: &Value) -> Result<usize, String> {
    match value {
        Value::String(text) => Ok(text.len()),
        Value::Array(items) => Ok(items.len()),
        Value::Object(map) => Ok(map.keys().filter(|key| !key.starts_with('@')).count()),
        Value::Null => Ok(0),
        other => Err(format!("len of type {}", kind(other))),
    }
}

fn whole(value: &Value) -> Result<usize, String> {
    let number = value.as_u64().ok_or_else(|| format!("cannot use {} as a length", print_value(value)))?;
    usize::try_from(number).map_err(|error| error.to_string())
}

fn index(value: &Value, keys: &[Value]) -> Result<Value, String> {
    let mut value = value;
    for key in keys {
        value = match (value, key) {
            (Value::Object(map), Value::String(key)) => map.get(key).unwrap_or(&Value::Null),
            (Value::Array(items), Value::Number(_)) => {
                let at = whole(key).map_err(|_| format!("index out of range: {key}"))?;
                items.get(at).ok_or_else(|| format!("index out of range: {at}"))?
            }
            (Value::Null, _) => return Err("index of untyped nil".to_owned()),
            (other, key) => return Err(format!("cannot index {} with {}", kind(other), print_value(key))),
        };
    }
    // A missing map entry is the zero value of its kind, and maps in docker's answers hold strings.
    Ok(if value.is_null() { Value::from("") } else { value.clone() })
}

fn slice(value: &Value, bounds: &[Value]) -> Result<Value, String> {
    let len = length(value)?;
    let from = bounds.first().map_or(Ok(0), whole)?;
    let to = bounds.get(1).map_or(Ok(len), whole)?;
    let outside = || format!("slice bounds out of range: {from}:{to}");
    match value {
        Value::String(text) => text.get(from..to).map(Value::from).ok_or_else(outside),
        Value::Array(items) => items.get(from..to).map(|part| Value::from(part.to_vec())).ok_or_else(outside),
        other => Err(format!("can't slice item of type {}", kind(other))),
    }
}

fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut starts = true;
    for c in text.chars() {
        if starts {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
        starts = c.is_whitespace();
    }
    out
}
