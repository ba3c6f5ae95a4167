//! Text made safe and measured in terminal cells. Called by every page and widget; pure functions only.
//!
//! Whatever comes from outside (names, labels, commands, errors) passes [`sanitise`] before it is painted: control characters become
//! visible pictures, so that no byte of a container ever reaches the terminal as an order.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Cells that `text` takes.
pub fn width(text: &str) -> usize {
    if is_plain(text.as_bytes()) { text.len() } else { text.width() }
}

/// Printable ASCII only: one byte, one cell, no surprises, as nearly all text on the screen is. Such text needs no tables.
pub fn is_plain(text: &[u8]) -> bool {
    text.iter().fold(true, |plain, byte| plain & (0x20..0x7f).contains(byte))
}

/// Cells that one character takes; control characters take one, as [`sanitise`] shows them.
pub fn char_width(c: char) -> usize {
    c.width().unwrap_or(1)
}

/// `text` with every control and direction-changing character replaced by a visible one, on one line.
pub fn sanitise(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if is_unsafe(c) { picture(c) } else { c }).collect())
}

pub use crate::stdx::shown::is_unsafe;

/// The visible stand-in of an unsafe character: tabs and line ends as a blank, C0 as its control picture, the rest as U+FFFD.
pub fn picture(c: char) -> char {
    match c {
        '\t' | '\n' | '\r' => ' ',
        '\u{7f}' => '\u{2421}',
        c if (c as u32) < 0x20 => char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}'),
        _ => '\u{fffd}',
    }
}

/// The longest start of `text` that fits into `max` cells, without an ellipsis.
pub fn clip_plain(text: &str, max: usize) -> &str {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += char_width(c);
        if used > max {
            return &text[..at];
        }
    }
    text
}

/// `text` in at most `max` cells; what is cut off shows as an ellipsis.
pub fn clip(text: &str, max: usize) -> Cow<'_, str> {
    if width(text) <= max {
        return Cow::Borrowed(text);
    }
    match max {
        0 => Cow::Borrowed(""),
        _ => Cow::Owned(format!("{}…", clip_plain(text, max - 1))),
    }
}

/// `text` in at most `max` cells with the middle cut out: for paths and image references, whose ends matter.
pub fn clip_middle(text: &str, max: usize) -> Cow<'_, str> {
    if width(text) <= max {
        return Cow::Borrowed(text);
    }
    if max < 4 {
        return clip(text, max);
    }
    let head = (max - 1) / 2;
    Cow::Owned(format!("{}…{}", clip_plain(text, head), clip_start_plain(text, max - 1 - head)))
}

/// `text` in at most `max` cells with its start cut off.
pub fn clip_start(text: &str, max: usize) -> Cow<'_, str> {
    if width(text) <= max {
        return Cow::Borrowed(text);
    }
    match max {
        0 => Cow::Borrowed(""),
        _ => Cow::Owned(format!("…{}", clip_start_plain(text, max - 1))),
    }
}

fn clip_start_plain(text: &str, max: usize) -> &str {
    let mut used = 0;
    for (at, c) in text.char_indices().rev() {
        used += char_width(c);
        if used > max {
            return &text[at + c.len_utf8()..];
        }
    }
    text
}

/// `text` clipped to, and filled up with blanks to, exactly `cells`.
pub fn pad(text: &str, cells: usize) -> String {
    let clipped = clip(text, cells);
    let blanks = cells.saturating_sub(width(&clipped));
    format!("{clipped}{}", " ".repeat(blanks))
}

/// Like [`pad`], against the right edge: for numbers.
pub fn pad_left(text: &str, cells: usize) -> String {
    let clipped = clip(text, cells);
    let blanks = cells.saturating_sub(width(&clipped));
    format!("{}{clipped}", " ".repeat(blanks))
}

/// Words of `text` broken into lines of at most `cells`; words longer than a line are split. Never empty.
pub fn wrap(text: &str, cells: usize) -> Vec<String> {
    let cells = cells.max(1);
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        wrap_paragraph(paragraph, cells, &mut lines);
    }
    lines
}

fn wrap_paragraph(paragraph: &str, cells: usize, lines: &mut Vec<String>) {
    let mut line = String::new();
    for word in paragraph.split_whitespace() {
        let mut word = word;
        if !line.is_empty() && width(&line) + 1 + width(word) <= cells {
            line.push(' ');
            line.push_str(word);
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        while width(word) > cells {
            let head = clip_plain(word, cells);
            // A character wider than the line still has to go somewhere.
            let cut = if head.is_empty() { word.chars().next().map_or(word.len(), char::len_utf8) } else { head.len() };
            lines.push(word[..cut].to_owned());
            word = &word[cut..];
        }
        line.push_str(word);
    }
    lines.push(line);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_stays_an_order() {
        assert_eq!(sanitise("plain näme 漢字"), "plain näme 漢字");
        assert_eq!(
            sanitise("a\u{1b}[31mb\u{7}\u{9b}c\u{7f}\td\u{202e}e"),
            "a\u{241b}[31mb\u{2407}\u{fffd}c\u{2421} d\u{fffd}e"
        );
    }

    #[test]
    fn clipping_counts_cells() {
        assert_eq!(clip("hello", 5), "hello");
        assert_eq!(clip("hello!", 5), "hell…");
        assert_eq!(clip("漢字漢字", 5), "漢字…");
        assert_eq!(clip("漢字漢字", 4), "漢…");
        assert_eq!(clip("x", 0), "");
        assert_eq!(clip_middle("registry.example.org/team/app:1.2", 16), "registr…/app:1.2");
        assert_eq!(clip_start("/very/long/path", 6), "…/path");
        assert_eq!(clip_middle("漢字漢字漢字漢字", 7), "漢…字");
    }

    #[test]
    fn padding_is_exact() {
        assert_eq!(pad("ab", 4), "ab  ");
        assert_eq!(pad_left("ab", 4), "  ab");
        assert_eq!(pad("漢字漢", 4), "漢… ");
        assert_eq!(width(&pad("e\u{301}a", 6)), 6);
    }

    #[test]
    fn wrapping_keeps_every_word() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrap("", 3), [""]);
        assert_eq!(wrap("漢字", 1), ["漢", "字", ""]);
        assert_eq!(wrap("a\n\nb", 5), ["a", "", "b"]);
    }
}
