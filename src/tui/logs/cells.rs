//! Untrusted bytes into cells: SGR becomes style, everything else that could command a terminal becomes visible.
//!
//! Called by painting, by layout and by the search (which matches what is seen). Guarantees: no glyph is a control character, widths are
//! 1 or 2, and a line's style starts fresh. Characters on whose width terminals disagree (joiners, variation selectors, skin tones) are
//! left out, so that a row is as long as we think it is; copying and saving use the raw bytes.

use ratatui::style::{Color, Modifier, Style};
use unicode_width::UnicodeWidthChar;

use crate::tui::text;

/// Combining marks kept on one base character.
const MARKS: usize = 3;
/// A control sequence longer than this is taken for text.
const SEQUENCE: usize = 64;
/// The same for operating system commands (titles, links, clipboard).
const STRING_SEQUENCE: usize = 4096;
const TAB: usize = 8;

/// What a glyph stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// A stand-in for something that is not text: a control character, an escape sequence, an invalid byte.
    Escape,
    /// A line break inside laid-out text; takes no cell.
    Break,
}

/// One thing to paint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Glyph<'a> {
    pub(super) ch: char,
    /// Combining marks that belong to it.
    pub(super) marks: &'a str,
    pub(super) width: u8,
    pub(super) kind: Kind,
    /// From the line's own SGR; empty without.
    pub(super) style: Style,
    /// Where in the plain text (escapes taken out) it stands.
    pub(super) plain_at: usize,
}

/// The part of a line that a terminal would show in the end: after the last carriage return that overwrote something.
pub(super) fn visible(line: &[u8]) -> (&[u8], bool) {
    let mut line = line;
    while let Some(rest) = line.strip_suffix(b"\r") {
        line = rest;
    }
    match memchr::memrchr(b'\r', line) {
        Some(at) => (&line[at + 1..], true),
        None => (line, false),
    }
}

/// What is seen of a line, without its SGR sequences: what searches match against. Same offsets as `Glyph::plain_at`.
pub(super) fn plain_text(line: &[u8], plain: &mut Vec<u8>) {
    plain.clear();
    let (line, _) = visible(line);
    strip_sgr(line, plain);
}

/// Appends `text` without its SGR sequences.
pub(super) fn strip_sgr(text: &[u8], plain: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = memchr::memchr(0x1b, rest) {
        plain.extend_from_slice(&rest[..at]);
        match sgr(&rest[at..]) {
            Some(len) => rest = &rest[at + len..],
            None => {
                plain.push(0x1b);
                rest = &rest[at + 1..];
            }
        }
    }
    plain.extend_from_slice(rest);
}

/// The length of the SGR sequence at the front of `bytes`, if there is one.
fn sgr(bytes: &[u8]) -> Option<usize> {
    let body = bytes.strip_prefix(b"\x1b[")?;
    let len = body.iter().take(SEQUENCE).position(|byte| !matches!(byte, b'0'..=b'9' | b';' | b':'))?;
    (body[len] == b'm').then_some(len + 3)
}

/// Walks over the glyphs of a text.
#[derive(Clone, Debug)]
pub(super) struct Glyphs<'a> {
    bytes: &'a [u8],
    pos: usize,
    plain_at: usize,
    style: Style,
    column: usize,
    /// Up to here bytes belong to an escape sequence made visible.
    escape_end: usize,
    /// Stand-ins not yet given out.
    pending: Pending,
}

#[derive(Clone, Copy, Debug, Default)]
struct Pending {
    chars: [u8; 10],
    len: u8,
    at: u8,
}

impl<'a> Glyphs<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, pos: 0, plain_at: 0, style: Style::new(), column: 0, escape_end: 0, pending: Pending::default() }
    }

    /// The same for plain text ([`text::is_plain`]), from a byte in its middle.
    pub(super) fn simple_from(bytes: &'a [u8], pos: usize) -> Self {
        Self { pos, plain_at: pos, column: pos, ..Self::new(bytes) }
    }

    /// How many of the next glyphs are printable ASCII characters, one cell each.
    fn simple_run(&self) -> usize {
        if self.pending.at < self.pending.len {
            return 0;
        }
        let rest = &self.bytes[self.pos..];
        let n = rest.iter().position(|byte| !(0x20..0x7f).contains(byte)).unwrap_or(rest.len());
        // The last one may carry marks.
        if rest.get(n).is_some_and(|byte| *byte >= 0x80) { n.saturating_sub(1) } else { n }
    }

    fn skip_simple(&mut self, n: usize) {
        self.pos += n;
        self.plain_at += n;
        self.column += n;
    }

    fn glyph(&self, ch: char, width: u8, kind: Kind) -> Glyph<'a> {
        let style = if kind == Kind::Text { self.style } else { Style::new() };
        Glyph { ch, marks: "", width, kind, style, plain_at: self.plain_at }
    }

    fn take(&mut self, n_bytes: usize, glyph: Glyph<'a>) -> Option<Glyph<'a>> {
        self.pos += n_bytes;
        self.plain_at += n_bytes;
        self.column += glyph.width as usize;
        Some(glyph)
    }

    /// Gives out `text` (ASCII) in place of `n_bytes` bytes.
    fn stand_in(&mut self, text: &str, n_bytes: usize) -> Option<Glyph<'a>> {
        let bytes = text.as_bytes();
        let len = bytes.len().min(self.pending.chars.len());
        self.pending = Pending { len: len as u8, at: 1, ..Pending::default() };
        self.pending.chars[..len].copy_from_slice(&bytes[..len]);
        let glyph = self.glyph(bytes[0] as char, 1, Kind::Escape);
        self.take(n_bytes, glyph)
    }

    fn pending(&mut self) -> Option<Glyph<'a>> {
        if self.pending.at >= self.pending.len {
            return None;
        }
        let ch = self.pending.chars[self.pending.at as usize] as char;
        self.pending.at += 1;
        let kind = if ch == ' ' { Kind::Text } else { Kind::Escape };
        let mut glyph = self.glyph(ch, 1, kind);
        glyph.plain_at = self.plain_at.saturating_sub(1);
        self.column += 1;
        Some(glyph)
    }

    fn control(&mut self, byte: u8) -> Option<Glyph<'a>> {
        match byte {
            b'\t' => {
                let n = TAB - self.column % TAB;
                self.pending = Pending { chars: [b' '; 10], len: n as u8, at: 1 };
                let glyph = self.glyph(' ', 1, Kind::Text);
                self.take(1, glyph)
            }
            b'\n' => {
                let glyph = self.glyph(' ', 0, Kind::Break);
                self.column = 0;
                self.take(1, glyph)
            }
            0x1b => {
                self.escape_end = self.pos + sequence_len(&self.bytes[self.pos..]);
                self.stand_in("^[", 1)
            }
            // Caret notation: control pictures are a smudge in most fonts.
            _ => self.stand_in(&format!("^{}", char::from(byte ^ 0x40)), 1),
        }
    }

    fn character(&mut self, ch: char, n_bytes: usize) -> Option<Glyph<'a>> {
        if is_dropped(ch) {
            self.pos += n_bytes;
            self.plain_at += n_bytes;
            return self.next();
        }
        if text::is_unsafe(ch) {
            return self.stand_in(&format!("<{:x}>", ch as u32), n_bytes);
        }
        let mut glyph = match ch.width().unwrap_or(0) {
            0 => {
                // A mark with nothing before it to sit on.
                let marks = std::str::from_utf8(&self.bytes[self.pos..self.pos + n_bytes]).unwrap_or("");
                Glyph { marks, ..self.glyph(' ', 1, Kind::Text) }
            }
            width @ (1 | 2) => self.glyph(ch, width as u8, Kind::Text),
            // Nothing that terminals would agree on (U+17D8 counts as three cells).
            _ => return self.stand_in(&format!("<{:x}>", ch as u32), n_bytes),
        };
        let marks_from = self.pos + n_bytes;
        let marks_len = marks_len(&self.bytes[marks_from..]);
        if marks_len.all > 0 && glyph.marks.is_empty() {
            glyph.marks = std::str::from_utf8(&self.bytes[marks_from..marks_from + marks_len.kept]).unwrap_or("");
        }
        self.take(n_bytes + marks_len.all, glyph)
    }
}

/// Cuts glyphs into rows. Runs of plain ASCII are counted, not looked at: a line of a megabyte takes about a millisecond.
#[derive(Clone, Debug)]
pub(super) struct RowCutter<'a> {
    pub(super) glyphs: Glyphs<'a>,
    /// Cells of a row; `None` breaks at line breaks alone.
    width: Option<usize>,
    /// The row of the next glyph, and the cells taken in it.
    pub(super) row: usize,
    pub(super) column: usize,
}

impl<'a> RowCutter<'a> {
    /// `indent` cells are taken in the first row.
    pub(super) fn new(text: &'a [u8], width: Option<usize>, indent: usize) -> Self {
        Self { glyphs: Glyphs::new(text), width: width.map(|width| width.max(1)), row: 0, column: indent }
    }

    /// Goes to the first glyph of a row, or to the end. True when that row exists.
    pub(super) fn go_to_row(&mut self, row: usize) -> bool {
        while self.row < row {
            let run = self.glyphs.simple_run();
            if let Some(width) = self.width
                && run > 1
            {
                // A wide character in a row of one cell hangs over: the row is full, no more.
                let column = self.column.min(width);
                let to_row = (row - self.row) * width - column;
                let n = run.min(to_row);
                self.glyphs.skip_simple(n);
                let cells = column + n;
                (self.row, self.column) = if n == to_row {
                    (row, 0)
                } else {
                    (self.row + cells.saturating_sub(1) / width, cells.saturating_sub(1) % width + 1)
                };
                // A row begins only when something stands in it.
                if n == to_row {
                    match self.glyphs.clone().next().map(|glyph| glyph.kind) {
                        None => {
                            (self.row, self.column) = (row - 1, width);
                            return false;
                        }
                        Some(Kind::Break) => (self.row, self.column) = (row - 1, width),
                        Some(_) => {}
                    }
                }
                continue;
            }
            let before = self.glyphs.clone();
            let Some(glyph) = self.next() else { return false };
            if self.row == row && glyph.kind != Kind::Break {
                self.glyphs = before;
                self.column = 0;
            }
        }
        true
    }

    /// Rows of all that is left, counted from the start of the text.
    pub(super) fn count_rows(mut self) -> usize {
        self.go_to_row(usize::MAX / 2 / self.width.unwrap_or(1));
        self.row + 1
    }
}

impl<'a> Iterator for RowCutter<'a> {
    type Item = Glyph<'a>;

    /// The next glyph; `row` is then its row, and `column` the cells taken in it with the glyph.
    fn next(&mut self) -> Option<Glyph<'a>> {
        let glyph = self.glyphs.next()?;
        if glyph.kind == Kind::Break {
            (self.row, self.column) = (self.row + 1, 0);
            return Some(glyph);
        }
        let cells = usize::from(glyph.width);
        if self.width.is_some_and(|width| self.column + cells > width && self.column > 0) {
            (self.row, self.column) = (self.row + 1, 0);
        }
        self.column += cells;
        Some(glyph)
    }
}

impl<'a> Iterator for Glyphs<'a> {
    type Item = Glyph<'a>;

    fn next(&mut self) -> Option<Glyph<'a>> {
        if let Some(glyph) = self.pending() {
            return Some(glyph);
        }
        while self.bytes.get(self.pos) == Some(&0x1b)
            && let Some(len) = sgr(&self.bytes[self.pos..])
        {
            apply_sgr(&mut self.style, &self.bytes[self.pos + 2..self.pos + len - 1]);
            self.pos += len;
        }
        let byte = *self.bytes.get(self.pos)?;
        if self.pos < self.escape_end && (0x20..0x7f).contains(&byte) {
            let glyph = self.glyph(byte as char, 1, Kind::Escape);
            return self.take(1, glyph);
        }
        if (0x20..0x7f).contains(&byte) && self.bytes.get(self.pos + 1).is_none_or(u8::is_ascii) {
            let glyph = self.glyph(byte as char, 1, Kind::Text);
            return self.take(1, glyph);
        }
        if byte < 0x20 || byte == 0x7f {
            return self.control(byte);
        }
        match decode(&self.bytes[self.pos..]) {
            Some((ch, n_bytes)) => self.character(ch, n_bytes),
            None => self.stand_in(&format!("\\x{byte:02x}"), 1),
        }
    }
}

/// The first character, if the bytes begin with a valid one.
fn decode(bytes: &[u8]) -> Option<(char, usize)> {
    let len = match bytes[0] {
        0..=0x7f => 1,
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return None,
    };
    let ch = std::str::from_utf8(bytes.get(..len)?).ok()?.chars().next()?;
    Some((ch, len))
}

/// Joiners, variation selectors, skin tones, tags: widths with them are a matter of taste.
fn is_dropped(ch: char) -> bool {
    matches!(ch, '\u{200c}' | '\u{200d}' | '\u{ad}' | '\u{fe00}'..='\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}' | '\u{e0000}'..='\u{e0fff}')
}

struct MarksLen {
    kept: usize,
    all: usize,
}

/// How many bytes of combining marks follow, and how many of them are kept.
fn marks_len(bytes: &[u8]) -> MarksLen {
    let mut len = MarksLen { kept: 0, all: 0 };
    let mut n_marks = 0;
    while let Some(byte) = bytes.get(len.all)
        && *byte >= 0x80
        && let Some((ch, n_bytes)) = decode(&bytes[len.all..])
        && ch.width() == Some(0)
        && !text::is_unsafe(ch)
        && !is_dropped(ch)
    {
        len.all += n_bytes;
        n_marks += 1;
        if n_marks <= MARKS {
            len.kept = len.all;
        }
    }
    len
}

/// How many bytes an escape sequence takes; 1 when it is nothing known.
fn sequence_len(bytes: &[u8]) -> usize {
    match bytes.get(1) {
        Some(b'[') => {
            let end = bytes.iter().take(SEQUENCE).skip(2).position(|byte| matches!(byte, 0x40..=0x7e));
            end.map_or(2, |end| end + 3)
        }
        Some(b']' | b'P' | b'_' | b'^' | b'X') => {
            let body = &bytes[..bytes.len().min(STRING_SEQUENCE)];
            body.iter()
                .position(|byte| *byte == 0x07)
                .map(|end| end + 1)
                .or_else(|| memchr::memmem::find(&body[2..], b"\x1b\\").map(|end| end + 4))
                .unwrap_or(2)
        }
        Some(0x20..0x7f) => 2,
        _ => 1,
    }
}

/// Applies the parameters of one SGR sequence. What is unknown is ignored; concealed text stays visible, and nothing blinks.
fn apply_sgr(style: &mut Style, parameters: &[u8]) {
    let mut groups = parameters.split(|byte| *byte == b';');
    while let Some(group) = groups.next() {
        let mut parts = group.split(|byte| *byte == b':').map(number);
        match parts.next().flatten().unwrap_or(0) {
            0 => *style = Style::new(),
            1 => *style = style.add_modifier(Modifier::BOLD),
            2 => *style = style.add_modifier(Modifier::DIM),
            3 => *style = style.add_modifier(Modifier::ITALIC),
            4 if parts.next().flatten() == Some(0) => *style = without(*style, Modifier::UNDERLINED),
            4 => *style = style.add_modifier(Modifier::UNDERLINED),
            7 => *style = style.add_modifier(Modifier::REVERSED),
            9 => *style = style.add_modifier(Modifier::CROSSED_OUT),
            21 => *style = style.add_modifier(Modifier::UNDERLINED),
            22 => *style = without(*style, Modifier::BOLD | Modifier::DIM),
            23 => *style = without(*style, Modifier::ITALIC),
            24 => *style = without(*style, Modifier::UNDERLINED),
            27 => *style = without(*style, Modifier::REVERSED),
            29 => *style = without(*style, Modifier::CROSSED_OUT),
            n @ 30..=37 => style.fg = Some(ansi(n - 30)),
            38 => style.fg = extended(parts, &mut groups).or(style.fg),
            39 => style.fg = None,
            n @ 40..=47 => style.bg = Some(ansi(n - 40)),
            48 => style.bg = extended(parts, &mut groups).or(style.bg),
            49 => style.bg = None,
            58 => drop(extended(parts, &mut groups)),
            n @ 90..=97 => style.fg = Some(ansi(n - 90 + 8)),
            n @ 100..=107 => style.bg = Some(ansi(n - 100 + 8)),
            _ => {}
        }
    }
}

fn without(mut style: Style, modifier: Modifier) -> Style {
    style.add_modifier.remove(modifier);
    style
}

fn number(digits: &[u8]) -> Option<u16> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The colour after 38 or 48: `5;n`, `2;r;g;b`, or with colons in the same group, where a colour space may stand before red.
fn extended<'a>(
    parts: impl Iterator<Item = Option<u16>>,
    groups: &mut impl Iterator<Item = &'a [u8]>,
) -> Option<Color> {
    let parts: Vec<Option<u16>> = parts.take(6).collect();
    let byte = |value: Option<u16>| value.and_then(|value| u8::try_from(value).ok());
    if let Some(kind) = parts.first() {
        return match (kind, parts.len()) {
            (Some(5), _) => byte(*parts.get(1)?).map(Color::Indexed),
            (Some(2), 4) => Some(Color::Rgb(byte(parts[1])?, byte(parts[2])?, byte(parts[3])?)),
            (Some(2), 5..) => Some(Color::Rgb(byte(parts[2])?, byte(parts[3])?, byte(parts[4])?)),
            _ => None,
        };
    }
    let mut next = || groups.next().and_then(number);
    match next() {
        Some(5) => byte(next()).map(Color::Indexed),
        Some(2) => {
            let (red, green, blue) = (next(), next(), next());
            Some(Color::Rgb(byte(red)?, byte(green)?, byte(blue)?))
        }
        _ => None,
    }
}

fn ansi(n: u16) -> Color {
    const COLORS: [Color; 16] = [
        Color::Black,
        Color::Red,
        Color::Green,
        Color::Yellow,
        Color::Blue,
        Color::Magenta,
        Color::Cyan,
        Color::Gray,
        Color::DarkGray,
        Color::LightRed,
        Color::LightGreen,
        Color::LightYellow,
        Color::LightBlue,
        Color::LightMagenta,
        Color::LightCyan,
        Color::White,
    ];
    COLORS[usize::from(n) % 16]
}

#[cfg(test)]
mod tests;
