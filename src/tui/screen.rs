//! What the terminal shows and what it should show: keeps both, and writes the difference as few bytes. Called by the event loop.
//! Pure: it makes bytes, `terminal` writes them. It must never emit a byte when nothing changed.
//!
//! Our own backend rather than ratatui's: crossterm's erases bold and reverse under `NO_COLOR` and resets the style on every frame, so an
//! idle screen would still write; and the fallbacks (few colours, no colours, ASCII only) belong in one place, behind every widget.

use std::fmt::Write as _;

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

mod diff;
mod pen;

/// Colours the terminal can show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// `NO_COLOR`, or a terminal without colours.
    None,
    Ansi16,
    #[default]
    Indexed,
    True,
}

/// Characters the terminal can show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Charset {
    #[default]
    Unicode,
    Ascii,
}

/// Both buffers and the pen.
#[derive(Debug)]
pub struct Screen {
    shown: Buffer,
    next: Buffer,
    depth: Depth,
    charset: Charset,
    cursor_shown: Option<Position>,
    out: String,
}

/// Begin and end of a synchronised update (DEC mode 2026); terminals that do not know it ignore it.
const SYNC_BEGIN: &str = "\x1b[?2026h";
const SYNC_END: &str = "\x1b[?2026l";

impl Screen {
    pub fn new(depth: Depth, charset: Charset) -> Self {
        let empty = Buffer::empty(Rect::ZERO);
        Self { shown: empty.clone(), next: empty, depth, charset, cursor_shown: None, out: String::new() }
    }

    /// Forgets what the terminal shows: the next frame clears it and paints everything.
    pub fn forget(&mut self) {
        self.shown = Buffer::empty(Rect::ZERO);
        self.cursor_shown = None;
    }

    /// Paints one frame; returns the bytes that bring the terminal there, none when it is there already.
    /// `paint` returns where the text cursor stands, if it is to be seen.
    pub fn frame(&mut self, area: Rect, paint: impl FnOnce(&mut Buffer) -> Option<Position>) -> &[u8] {
        self.frame_but(area, None, paint)
    }

    /// The same, but the terminal keeps what it shows in `held`.
    pub fn frame_but(
        &mut self,
        area: Rect,
        held: Option<Rect>,
        paint: impl FnOnce(&mut Buffer) -> Option<Position>,
    ) -> &[u8] {
        self.out.clear();
        self.next.resize(area);
        self.next.reset();
        let cursor = paint(&mut self.next).filter(|at| area.contains(*at));
        if let Some(held) = held.filter(|_| self.shown.area == area) {
            for at in held.intersection(area).positions() {
                self.next[at].clone_from(&self.shown[at]);
            }
        }
        let mut body = String::new();
        if self.shown.area != area {
            body.push_str("\x1b[0m\x1b[2J");
            self.shown = Buffer::empty(area);
        }
        let moved = self.write_changes(&mut body);
        self.write_cursor(cursor, moved, &mut body);
        std::mem::swap(&mut self.shown, &mut self.next);
        if !body.is_empty() {
            self.out.push_str(SYNC_BEGIN);
            self.out.push_str(&body);
            self.out.push_str(SYNC_END);
        }
        self.out.as_bytes()
    }

    fn write_changes(&self, out: &mut String) -> bool {
        let start = out.len();
        diff::write(&self.shown, &self.next, self.depth, self.charset, out);
        let is_changed = out.len() > start;
        if self.cursor_shown.is_some() && is_changed {
            out.insert_str(start, "\x1b[?25l");
        }
        is_changed
    }

    fn write_cursor(&mut self, cursor: Option<Position>, moved: bool, out: &mut String) {
        if cursor == self.cursor_shown && !moved {
            return;
        }
        match cursor {
            Some(at) => order(out, format_args!("\x1b[{};{}H\x1b[?25h", at.y + 1, at.x + 1)),
            None if self.cursor_shown.is_some() && !moved => out.push_str("\x1b[?25l"),
            None => {}
        }
        self.cursor_shown = cursor;
    }
}

/// Appends an escape sequence; writing to a string cannot fail.
fn order(out: &mut String, sequence: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(sequence);
}

/// Writes one cell's text; true when the terminal's cursor is known to have moved by exactly one cell.
fn write_symbol(symbol: &str, charset: Charset, out: &mut String) -> bool {
    match charset {
        Charset::Ascii if !symbol.is_ascii() => {
            out.push_str(ascii(symbol));
            true
        }
        _ => {
            out.push_str(symbol);
            let mut chars = symbol.chars();
            match (chars.next(), chars.next()) {
                // Terminals agree on the width of these; about anything else they may not, so the next cell is addressed anew.
                (Some(c), None) => {
                    (c as u32) < 0x300
                        || (0x2500..0x25a0).contains(&(c as u32))
                        || (0x2800..0x2900).contains(&(c as u32))
                }
                _ => false,
            }
        }
    }
}

/// A character of the same meaning for terminals that show ASCII alone.
fn ascii(symbol: &str) -> &'static str {
    match symbol.chars().next().unwrap_or(' ') {
        '─' | '━' | '╌' | '┄' | '–' | '—' | '▁' => "-",
        '│' | '┃' | '╎' | '┆' | '▏' | '▕' => "|",
        '┌' | '┐' | '└' | '┘' | '├' | '┤' | '┬' | '┴' | '┼' | '╭' | '╮' | '╰' | '╯' => "+",
        '●' | '•' => "*",
        '○' | '◌' => "o",
        '◐' | '↻' => "@",
        '✖' | '✗' | '×' => "x",
        '✓' | '✔' => "v",
        '▌' | '▶' | '▸' | '›' | '→' => ">",
        '◀' | '‹' | '←' => "<",
        '▾' | '▼' | '↓' => "v",
        '▲' | '▴' | '↑' => "^",
        '·' | '…' => ".",
        'µ' => "u",
        '█' | '▓' | '▉' | '▊' | '▇' | '▆' => "#",
        '▅' | '▄' | '▒' | '▋' => "=",
        '▃' | '▂' | '░' | '▍' | '▎' => ":",
        '⏸' | '‖' => "=",
        '\u{2801}'..='\u{28ff}' => "*",
        '\u{2800}' => " ",
        _ => "?",
    }
}

#[cfg(test)]
mod tests {
    use ratatui::style::{Color, Style};

    use super::*;

    const AREA: Rect = Rect { x: 0, y: 0, width: 10, height: 2 };

    fn paint(screen: &mut Screen, text: &str, style: Style) -> String {
        let bytes = screen.frame(AREA, |buf| {
            buf.set_string(0, 0, text, style);
            None
        });
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn an_unchanged_screen_writes_nothing() {
        let mut screen = Screen::new(Depth::True, Charset::Unicode);
        assert!(paint(&mut screen, "hello", Style::new().bold()).contains("hello"));
        assert_eq!(paint(&mut screen, "hello", Style::new().bold()), "");
    }

    #[test]
    fn only_the_difference_is_written() {
        let mut screen = Screen::new(Depth::True, Charset::Unicode);
        paint(&mut screen, "hello", Style::new());
        assert_eq!(paint(&mut screen, "hallo", Style::new()), "\x1b[?2026h\x1b[1;2Ha\x1b[?2026l");
    }

    #[test]
    fn no_color_keeps_bold_and_reverse() {
        let mut screen = Screen::new(Depth::None, Charset::Unicode);
        let out = paint(&mut screen, "x", Style::new().fg(Color::Red).bold().reversed());
        assert!(out.contains("\x1b[1;7mx\x1b[m"), "{out:?}");
    }

    #[test]
    fn few_colors_get_the_nearest() {
        let check = |depth, expected: &str| {
            let out = paint(&mut Screen::new(depth, Charset::Unicode), "x", Style::new().fg(Color::Rgb(250, 4, 4)));
            assert!(out.contains(expected), "{out:?}");
        };
        check(Depth::True, "\x1b[38;2;250;4;4mx");
        check(Depth::Indexed, "\x1b[38;5;196mx");
        check(Depth::Ansi16, "\x1b[91mx");
    }

    #[test]
    fn ascii_terminals_get_ascii() {
        let out = paint(&mut Screen::new(Depth::None, Charset::Ascii), "─●漢é▌", Style::new());
        assert!(out.is_ascii(), "{out:?}");
        assert!(out.contains("-*?"), "{out:?}");
    }

    #[test]
    fn the_cursor_is_shown_moved_and_hidden() {
        let mut screen = Screen::new(Depth::True, Charset::Unicode);
        let mut at = |position: Option<Position>| String::from_utf8(screen.frame(AREA, |_| position).to_vec()).unwrap();
        assert!(at(Some(Position::new(3, 1))).contains("\x1b[2;4H\x1b[?25h"));
        assert_eq!(at(Some(Position::new(3, 1))), "");
        assert!(at(None).contains("\x1b[?25l"));
    }
}
