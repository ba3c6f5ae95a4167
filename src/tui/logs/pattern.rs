//! What `/` searches for: a regular expression with smart case, its inverse, or a fuzzy pattern; never an error, at worst plain text.
//!
//! Called by scans (a segment at a time) and by painting (one line). Matching is against what is seen: escapes are not part of the text.

use std::ops::Range;

use nucleo_matcher::pattern::{CaseMatching, Normalization, Pattern as FuzzyPattern};
use nucleo_matcher::{Config, Matcher, Utf32Str};
use regex::bytes::{Regex, RegexBuilder};

use super::cells;
use super::store::{Bits, ESCAPED, Lines};

/// Programs larger than this are refused by the engine and searched as plain text: a pattern must not eat the machine.
const SIZE_LIMIT: usize = 1 << 20;

/// A compiled search.
#[derive(Debug)]
pub(super) struct Pattern {
    source: String,
    kind: Kind,
    inverse: bool,
    /// Why the text was not taken as a regular expression.
    pub(super) complaint: Option<String>,
}

#[derive(Debug)]
enum Kind {
    Regex {
        one_line: Regex,
        /// The same for a whole segment at once; absent when the pattern could tell the difference.
        many_lines: Option<Regex>,
    },
    Fuzzy(FuzzyPattern),
}

impl Pattern {
    /// `None` for an empty pattern. `!x` is the inverse, `~x` fuzzy, `re:x` always a regular expression.
    pub(super) fn parse(source: &str) -> Option<Self> {
        let (inverse, rest) = match source.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, source),
        };
        if let Some(fuzzy) = rest.strip_prefix('~') {
            let fuzzy =
                (!fuzzy.is_empty()).then(|| FuzzyPattern::parse(fuzzy, CaseMatching::Smart, Normalization::Smart))?;
            return Some(Self { source: source.to_owned(), kind: Kind::Fuzzy(fuzzy), inverse, complaint: None });
        }
        let text = rest.strip_prefix("re:").unwrap_or(rest);
        if text.is_empty() {
            return None;
        }
        let ignore_case = !text.chars().any(char::is_uppercase) || only_escapes_are_upper(text);
        let (one_line, complaint, pattern) = match build(text, ignore_case, false) {
            Ok(regex) => (regex, None, text.to_owned()),
            Err(error) => {
                let plain = regex::escape(text);
                let regex = build(&plain, ignore_case, false).or_else(|_| build("[^\\s\\S]", false, false));
                (regex.ok()?, Some(short_reason(&error)), plain)
            }
        };
        let touchy = pattern.contains("(?") || pattern.contains("\\A") || pattern.contains("\\z");
        let many_lines = if touchy { None } else { build(&pattern, ignore_case, true).ok() };
        let kind = Kind::Regex { one_line, many_lines };
        Some(Self { source: source.to_owned(), kind, inverse, complaint })
    }

    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Puts the lines `from..` of a segment that match into `hits`.
    pub(super) fn scan(&self, lines: &Lines, from: usize, to: usize, hits: &mut Bits, work: &mut Work) {
        match &self.kind {
            Kind::Regex { many_lines: Some(regex), .. } if !self.inverse => {
                self.scan_whole(regex, lines, from, to, hits, work);
            }
            _ => {
                for idx in from..to {
                    if self.matches_line(lines, idx, work) {
                        hits.insert(idx);
                    }
                }
            }
        }
    }

    /// One pass over the bytes of many lines. Lines with escapes, and matches across a newline, are asked one by one.
    fn scan_whole(&self, regex: &Regex, lines: &Lines, from: usize, to: usize, hits: &mut Bits, work: &mut Work) {
        for idx in from..to {
            if lines.metas[idx].flags & ESCAPED != 0 && self.matches_line(lines, idx, work) {
                hits.insert(idx);
            }
        }
        if from >= to {
            return;
        }
        let end = lines.start(to - 1) + lines.line(to - 1).bytes.len();
        let haystack = &lines.bytes[..end];
        let mut at = lines.start(from);
        while at <= end {
            let Some(found) = regex.find_at(haystack, at) else { return };
            let idx = lines.at_byte(found.start());
            if idx >= to {
                return;
            }
            let line = lines.line(idx);
            let line_end = lines.start(idx) + line.bytes.len();
            let is_plain = line.meta.flags & ESCAPED == 0;
            if is_plain && (found.end() <= line_end || self.matches_line(lines, idx, work)) {
                hits.insert(idx);
            }
            at = line_end + 1;
        }
    }

    fn matches_line(&self, lines: &Lines, idx: usize, work: &mut Work) -> bool {
        let line = lines.line(idx);
        if line.meta.flags & ESCAPED == 0 {
            return self.matches(line.bytes, work);
        }
        let mut plain = std::mem::take(&mut work.plain);
        cells::plain_text(line.bytes, &mut plain);
        let matches = self.matches(&plain, work);
        work.plain = plain;
        matches
    }

    /// Does this text, escapes taken out, match?
    pub(super) fn matches(&self, text: &[u8], work: &mut Work) -> bool {
        let found = match &self.kind {
            Kind::Regex { one_line, .. } => one_line.is_match(text),
            Kind::Fuzzy(pattern) => {
                let text = String::from_utf8_lossy(&text[..text.len().min(FUZZY_BYTES)]);
                pattern.score(Utf32Str::new(&text, &mut work.chars), &mut work.matcher).is_some()
            }
        };
        found != self.inverse
    }

    /// Where in the text to put the highlight; empty for inverse and fuzzy patterns, which have no place.
    pub(super) fn places(&self, text: &[u8], places: &mut Vec<Range<usize>>) {
        places.clear();
        if let (Kind::Regex { one_line, .. }, false) = (&self.kind, self.inverse) {
            places.extend(
                one_line.find_iter(text).map(|found| found.range()).filter(|range| !range.is_empty()).take(PLACES),
            );
        }
    }
}

/// Highlights in one line, at most.
const PLACES: usize = 4096;
/// Fuzzy matching looks this far into a line.
const FUZZY_BYTES: usize = 1024;

/// Buffers a scan reuses.
pub(super) struct Work {
    plain: Vec<u8>,
    chars: Vec<char>,
    matcher: Matcher,
}

impl Default for Work {
    fn default() -> Self {
        Self { plain: Vec::new(), chars: Vec::new(), matcher: Matcher::new(Config::DEFAULT) }
    }
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Work").finish_non_exhaustive()
    }
}

fn build(pattern: &str, ignore_case: bool, many_lines: bool) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern)
        .case_insensitive(ignore_case)
        .multi_line(many_lines)
        .size_limit(SIZE_LIMIT)
        .dfa_size_limit(2 * SIZE_LIMIT)
        .build()
}

/// `\S`, `\W`, `\D`, `\B` are capitals nobody means as a case.
fn only_escapes_are_upper(text: &str) -> bool {
    let mut escaped = false;
    for ch in text.chars() {
        if ch.is_uppercase() && !escaped {
            return false;
        }
        escaped = ch == '\\' && !escaped;
    }
    true
}

/// The last line of the regex crate's drawing, which is the reason.
fn short_reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default().trim();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}
