//! What the terminal shows and what it should show: keeps both, and writes the difference as few bytes. Called by the event loop.
//! Pure: it makes bytes, `terminal` writes them. It must never emit a byte when nothing changed.
//!
//! Our own backend rather than ratatui's: crossterm's erases bold and reverse under `NO_COLOR` and resets the style on every frame, so an
//! idle screen would still write; and the fallbacks (few colours, no colours, ASCII only) belong in one place, behind every widget.

use std::fmt::Write as _;

use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::{Position, Rect};
use ratatui::style::{Color, Modifier};

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
        self.out.clear();
        self.next.resize(area);
        self.next.reset();
        let cursor = paint(&mut self.next).filter(|at| area.contains(*at));
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
        let mut pen = Pen::new(self.depth);
        let mut at: Option<(u16, u16)> = None;
        let changes = self.shown.diff(&self.next);
        if self.cursor_shown.is_some() && !changes.is_empty() {
            out.push_str("\x1b[?25l");
        }
        for (x, y, cell) in &changes {
            match at {
                Some(here) if here == (*x, *y) => {}
                Some((cx, cy)) if cy == *y && cx < *x => order(out, format_args!("\x1b[{}C", x - cx)),
                _ => order(out, format_args!("\x1b[{};{}H", y + 1, x + 1)),
            }
            pen.set(cell, out);
            at = self.write_symbol(cell.symbol(), out).then_some((x + 1, *y));
        }
        if !changes.is_empty() {
            pen.lift(out);
        }
        !changes.is_empty()
    }

    /// Writes one cell's text; true when the terminal's cursor is known to have moved by exactly one cell.
    fn write_symbol(&self, symbol: &str, out: &mut String) -> bool {
        match self.charset {
            Charset::Ascii if !symbol.is_ascii() => {
                let plain = ascii(symbol);
                out.push_str(plain);
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

/// The terminal's current style, so that only changes are written.
struct Pen {
    depth: Depth,
    fg: Color,
    bg: Color,
    modifier: Modifier,
}

impl Pen {
    fn new(depth: Depth) -> Self {
        Self { depth, fg: Color::Reset, bg: Color::Reset, modifier: Modifier::empty() }
    }

    fn set(&mut self, cell: &Cell, out: &mut String) {
        let (fg, bg) = (reduce(cell.fg, self.depth), reduce(cell.bg, self.depth));
        let modifier = cell.modifier;
        if (fg, bg, modifier) == (self.fg, self.bg, self.modifier) {
            return;
        }
        let mut codes = String::new();
        if !(self.modifier - modifier).is_empty() {
            codes.push_str("0;");
            (self.fg, self.bg, self.modifier) = (Color::Reset, Color::Reset, Modifier::empty());
        }
        for (bit, code) in MODIFIERS {
            if (modifier - self.modifier).contains(*bit) {
                codes.push_str(code);
            }
        }
        if fg != self.fg {
            push_color(fg, 30, &mut codes);
        }
        if bg != self.bg {
            push_color(bg, 40, &mut codes);
        }
        (self.fg, self.bg, self.modifier) = (fg, bg, modifier);
        codes.pop();
        order(out, format_args!("\x1b[{codes}m"));
    }

    fn lift(&self, out: &mut String) {
        if (self.fg, self.bg, self.modifier) != (Color::Reset, Color::Reset, Modifier::empty()) {
            out.push_str("\x1b[0m");
        }
    }
}

const MODIFIERS: &[(Modifier, &str)] = &[
    (Modifier::BOLD, "1;"),
    (Modifier::DIM, "2;"),
    (Modifier::ITALIC, "3;"),
    (Modifier::UNDERLINED, "4;"),
    (Modifier::REVERSED, "7;"),
    (Modifier::CROSSED_OUT, "9;"),
];

/// `base` is 30 for the foreground, 40 for the background.
fn push_color(color: Color, base: u8, codes: &mut String) {
    let _ = match color {
        Color::Reset => write!(codes, "{};", base + 9),
        Color::Rgb(r, g, b) => write!(codes, "{};2;{r};{g};{b};", base + 8),
        Color::Indexed(n @ 0..=7) => write!(codes, "{};", base + n),
        Color::Indexed(n @ 8..=15) => write!(codes, "{};", base + 60 + n - 8),
        Color::Indexed(n) => write!(codes, "{};5;{n};", base + 8),
        named => write!(codes, "{};", named_code(named, base)),
    };
}

fn named_code(color: Color, base: u8) -> u8 {
    match color {
        Color::Black => base,
        Color::Red => base + 1,
        Color::Green => base + 2,
        Color::Yellow => base + 3,
        Color::Blue => base + 4,
        Color::Magenta => base + 5,
        Color::Cyan => base + 6,
        Color::Gray => base + 7,
        Color::DarkGray => base + 60,
        Color::LightRed => base + 61,
        Color::LightGreen => base + 62,
        Color::LightYellow => base + 63,
        Color::LightBlue => base + 64,
        Color::LightMagenta => base + 65,
        Color::LightCyan => base + 66,
        Color::White => base + 67,
        _ => base + 9,
    }
}

/// The nearest colour that the terminal has.
fn reduce(color: Color, depth: Depth) -> Color {
    match (color, depth) {
        (_, Depth::None) => Color::Reset,
        (Color::Rgb(r, g, b), Depth::Indexed) => Color::Indexed(nearest_256(r, g, b)),
        (Color::Rgb(r, g, b), Depth::Ansi16) => Color::Indexed(nearest_16(r, g, b)),
        (Color::Indexed(n @ 16..), Depth::Ansi16) => {
            let (r, g, b) = rgb_of_256(n);
            Color::Indexed(nearest_16(r, g, b))
        }
        (color, _) => color,
    }
}

const CUBE: [u8; 6] = [0, 95, 135, 175, 215, 255];

fn rgb_of_256(n: u8) -> (u8, u8, u8) {
    match n {
        16..=231 => {
            let n = usize::from(n - 16);
            (CUBE[n / 36], CUBE[n / 6 % 6], CUBE[n % 6])
        }
        232.. => (8 + (n - 232) * 10, 8 + (n - 232) * 10, 8 + (n - 232) * 10),
        _ => ANSI16[usize::from(n)],
    }
}

/// The usual look of the sixteen colours, for measuring distance only.
const ANSI16: [(u8, u8, u8); 16] = [
    (0, 0, 0),
    (205, 0, 0),
    (0, 205, 0),
    (205, 205, 0),
    (0, 0, 238),
    (205, 0, 205),
    (0, 205, 205),
    (229, 229, 229),
    (127, 127, 127),
    (255, 0, 0),
    (0, 255, 0),
    (255, 255, 0),
    (92, 92, 255),
    (255, 0, 255),
    (0, 255, 255),
    (255, 255, 255),
];

fn distance(a: (u8, u8, u8), b: (u8, u8, u8)) -> u32 {
    let d = |x: u8, y: u8| u32::from(x.abs_diff(y)).pow(2);
    d(a.0, b.0) + d(a.1, b.1) + d(a.2, b.2)
}

fn nearest_256(r: u8, g: u8, b: u8) -> u8 {
    (16..=255).min_by_key(|n| distance(rgb_of_256(*n), (r, g, b))).unwrap_or(15)
}

fn nearest_16(r: u8, g: u8, b: u8) -> u8 {
    (0..16).min_by_key(|n| distance(ANSI16[usize::from(*n)], (r, g, b))).unwrap_or(7)
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
    use ratatui::style::Style;

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
        assert!(out.contains("\x1b[1;7mx\x1b[0m"), "{out:?}");
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
