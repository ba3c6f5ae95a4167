//! What a line says about itself: its level, and whether it continues the line before.
//!
//! Called by scans and by painting, on untrusted bytes. Pure; looks only at the front of a line.

use std::ops::Range;

/// How bad a line is. The order is the order of the minimum-level filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// The line does not say.
    #[default]
    None = 0,
    Trace = 1,
    Debug = 2,
    Info = 3,
    Warn = 4,
    Error = 5,
    Fatal = 6,
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "all",
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }

    pub(super) fn from_bits(bits: u8) -> Self {
        match bits & LEVEL_BITS {
            1 => Self::Trace,
            2 => Self::Debug,
            3 => Self::Info,
            4 => Self::Warn,
            5 => Self::Error,
            6 => Self::Fatal,
            _ => Self::None,
        }
    }

    pub(super) fn up(self) -> Self {
        Self::from_bits((self as u8 + 1).min(Self::Fatal as u8))
    }

    pub(super) fn down(self) -> Self {
        Self::from_bits((self as u8).saturating_sub(1))
    }
}

const LEVEL_BITS: u8 = 7;
/// In a class: the line continues the one before (a stack trace).
pub(super) const CONTINUES: u8 = 8;

/// Levels are looked for this far into a line.
const LOOK: usize = 192;

/// The class of a line: level bits and [`CONTINUES`]. A continuation takes the level of its head, `previous`.
pub(super) fn class(line: &[u8], previous: u8) -> u8 {
    if continues(line) {
        return CONTINUES | (previous & LEVEL_BITS);
    }
    level(line) as u8
}

/// Does this line belong to the one before it?
pub(super) fn continues(line: &[u8]) -> bool {
    match line.first() {
        Some(b' ' | b'\t') => line.iter().any(|byte| !matches!(byte, b' ' | b'\t')),
        Some(b'C') => line.starts_with(b"Caused by:"),
        Some(b'.') => line.starts_with(b"... "),
        Some(b'}' | b']' | b')') => line.len() <= 3,
        _ => false,
    }
}

/// The level a line names: a klog prefix, a JSON or logfmt field, or the first level word.
pub(super) fn level(line: &[u8]) -> Level {
    level_place(line).map_or(Level::None, |(level, _)| level)
}

/// The level and the bytes that name it.
pub(super) fn level_place(line: &[u8]) -> Option<(Level, Range<usize>)> {
    if let Some(level) = klog(line) {
        return Some((level, 0..1));
    }
    let look = &line[..line.len().min(LOOK)];
    field(look).or_else(|| first_word(look))
}

/// `I1121 04:05:06.123456` as Kubernetes' components write it.
fn klog(line: &[u8]) -> Option<Level> {
    let digits = line.get(1..5)?;
    if line.get(5) != Some(&b' ') || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    match line[0] {
        b'I' => Some(Level::Info),
        b'W' => Some(Level::Warn),
        b'E' => Some(Level::Error),
        b'F' => Some(Level::Fatal),
        b'D' => Some(Level::Debug),
        _ => None,
    }
}

/// `"level":"error"`, `"severity":"ERROR"`, `"lvl":50`, `level=error`.
fn field(look: &[u8]) -> Option<(Level, Range<usize>)> {
    for at in memchr::memchr2_iter(b'=', b':', look) {
        let (key, quoted) = match look[..at].strip_suffix(b"\"") {
            Some(key) => (key, true),
            None => (&look[..at], false),
        };
        // Level keys end in `l`, `y` or `e`: most keys are ruled out by one byte.
        if !matches!(key.last(), Some(b'l' | b'L' | b'y' | b'Y' | b'e' | b'E')) || !is_level_key(key, quoted) {
            continue;
        }
        let mut start = at + 1;
        while matches!(look.get(start), Some(b' ' | b'"')) {
            start += 1;
        }
        let len = look[start..].iter().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(look.len() - start);
        let value = &look[start..start + len];
        if let Some(level) = word(value).or_else(|| number(value)) {
            return Some((level, start..start + len));
        }
    }
    None
}

fn is_level_key(key: &[u8], quoted: bool) -> bool {
    [b"level".as_slice(), b"severity", b"lvl", b"levelname", b"loglevel"].iter().any(|name| {
        key.len() >= name.len()
            && key[key.len() - name.len()..].eq_ignore_ascii_case(name)
            && key.len().checked_sub(name.len() + 1).is_none_or(|before| is_edge(key[before], quoted))
    })
}

fn is_edge(before: u8, quoted: bool) -> bool {
    if quoted { matches!(before, b'"' | b'.' | b'@') } else { !before.is_ascii_alphanumeric() && before != b'_' }
}

/// Bunyan's and pino's numbers.
fn number(value: &[u8]) -> Option<Level> {
    match value {
        b"10" => Some(Level::Trace),
        b"20" => Some(Level::Debug),
        b"30" => Some(Level::Info),
        b"40" => Some(Level::Warn),
        b"50" => Some(Level::Error),
        b"60" => Some(Level::Fatal),
        _ => None,
    }
}

/// Bytes that can begin a level word.
const STARTS: [bool; 256] = {
    let mut starts = [false; 256];
    let letters = b"acdefinptwvACDEFINPTWV";
    let mut idx = 0;
    while idx < letters.len() {
        starts[letters[idx] as usize] = true;
        idx += 1;
    }
    starts
};

fn first_word(look: &[u8]) -> Option<(Level, Range<usize>)> {
    let mut at = 0;
    while at < look.len() {
        let byte = look[at];
        if !byte.is_ascii_alphabetic() {
            at += 1 + usize::from(byte == 0x1b) * sgr_len(&look[at..]);
            continue;
        }
        let len = look[at..].iter().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(look.len() - at);
        if STARTS[byte as usize] && (3..=11).contains(&len) {
            let candidate = &look[at..at + len];
            // In the middle of a sentence only a shout or a capital is a level; `an error occurred` still is what it says.
            if let Some(level) = word(candidate)
                && (candidate[0].is_ascii_uppercase() || level >= Level::Error || at < 48)
            {
                return Some((level, at..at + len));
            }
        }
        at += len;
    }
    None
}

/// How much of an SGR sequence follows its escape byte, so that its final `m` starts no word.
fn sgr_len(from_escape: &[u8]) -> usize {
    let rest = &from_escape[1..];
    if rest.first() != Some(&b'[') {
        return 0;
    }
    let body = rest[1..].iter().position(|byte| !matches!(byte, b'0'..=b'9' | b';' | b':'));
    body.map_or(rest.len(), |body| body + 2)
}

fn word(word: &[u8]) -> Option<Level> {
    let is = |names: &[&str]| names.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes()));
    match word.first()?.to_ascii_lowercase() {
        b'e' if is(&["error", "err", "eror", "emerg", "emergency"]) => Some(Level::Error),
        b'w' if is(&["warn", "warning"]) => Some(Level::Warn),
        b'i' if is(&["info", "information"]) => Some(Level::Info),
        b'n' if is(&["notice"]) => Some(Level::Info),
        b'd' if is(&["debug", "dbug"]) => Some(Level::Debug),
        b't' if is(&["trace"]) => Some(Level::Trace),
        b'v' if is(&["verbose"]) => Some(Level::Trace),
        b'f' if is(&["fatal"]) => Some(Level::Fatal),
        b'p' if is(&["panic", "panicked"]) => Some(Level::Fatal),
        b'c' if is(&["critical", "crit"]) => Some(Level::Fatal),
        b'a' if is(&["alert"]) => Some(Level::Fatal),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_from_every_common_form() {
        let cases: &[(&str, Level)] = &[
            ("I1121 04:05:06.1 main.go:1] up", Level::Info),
            ("E1121 04:05:06.1 main.go:1] down", Level::Error),
            (r#"{"level":"error","msg":"info desk"}"#, Level::Error),
            (r#"#1 t=2 {"ts":1,"severity":"WARNING","m":1}"#, Level::Warn),
            (r#"{"time":1,"level":50,"msg":"x"}"#, Level::Error),
            ("ts=1 level=debug msg=\"error\"", Level::Debug),
            ("2026-11-21 04:00:00 WARN pool: slow", Level::Warn),
            ("\x1b[32mINFO \x1b[0m http", Level::Info),
            ("\x1b[1;31mERROR\x1b[0m \x1b[31mupstream", Level::Error),
            ("2026/11/21 [error] 31#31: *1 open() failed", Level::Error),
            ("thread 'main' panicked at src/main.rs", Level::Fatal),
            ("worker-3 processed job 7", Level::None),
            ("", Level::None),
            ("information desk", Level::Info),
            ("informationally", Level::None),
            ("sublevel=error", Level::Error),
        ];
        for (line, expected) in cases {
            assert_eq!(level(line.as_bytes()), *expected, "{line:?}");
        }
    }

    #[test]
    fn a_continuation_takes_the_level_of_its_head() {
        let head = class(b"ERROR boom", 0);
        assert_eq!(class(b"\tat com.acme.Foo", head), CONTINUES | Level::Error as u8);
        assert_eq!(class(b"Caused by: x", head), CONTINUES | Level::Error as u8);
        assert_eq!(class(b"next", head), 0);
        assert_eq!(class(b"   ", head), 0, "a blank line continues nothing");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_have_a_class(line: Vec<u8>, previous: u8) {
            let class = class(&line, previous);
            proptest::prop_assert_eq!(class & !(LEVEL_BITS | CONTINUES), 0);
            proptest::prop_assert!(class & CONTINUES == 0 || class & LEVEL_BITS == previous & LEVEL_BITS);
        }
    }
}
