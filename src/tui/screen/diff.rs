//! From what the terminal shows to what it should show, in few bytes. Part of `screen`; pure.
//!
//! Blanks are compared by their background alone; runs of them are erased, short gaps between changes are written again where that is cheaper
//! than moving, and the style is only changed where it can be seen.

use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::Rect;
use unicode_width::UnicodeWidthStr;

use super::pen::{Pen, is_blank};
use super::{Charset, Depth, order};

/// A run of blanks at least this long is erased rather than written: the order and the move over it cost about as much.
const ERASE_FROM: u16 = 9;
/// The widest gap written over rather than moved over; a move costs four bytes.
const GAP: u16 = 4;

/// Appends the bytes that turn `shown` into `next`; nothing when they look the same. Both have the same area.
pub(super) fn write(shown: &Buffer, next: &Buffer, depth: Depth, charset: Charset, out: &mut String) {
    let mut writer = Writer { next, pen: Pen::new(depth), charset, at: None, out };
    let area = next.area;
    let n_cols = usize::from(area.width).max(1);
    let rows = shown.content.chunks_exact(n_cols).zip(next.content.chunks_exact(n_cols));
    for (y, _) in (area.top()..area.bottom()).zip(rows).filter(|(_, (before, now))| !is_equal_row(before, now)) {
        let mut x = area.left();
        // Cells that a wide character used to cover are written though they look the same.
        let mut uncovered = 0_u16;
        while x < area.right() {
            let (before, now) = (&shown[(x, y)], &next[(x, y)]);
            let width = width_of(now).min(area.right() - x);
            if uncovered > 0 || !looks_same(before, now) {
                let run = if is_blank(now) { blank_run(shown, next, x, y) } else { 0 };
                if run >= ERASE_FROM && writer.erase(x, y, run) {
                    x += run;
                    uncovered = 0;
                    continue;
                }
                writer.cell(x, y);
            }
            // Half of a wide character that is written over is no character any more: its other half is written too.
            let reach = (0..width).map(|at| at + width_of(&shown[(x + at, y)])).max().unwrap_or(0);
            uncovered = uncovered.max(reach).saturating_sub(width);
            x += width;
        }
    }
    writer.pen.lift(writer.out);
}

fn width_of(cell: &Cell) -> u16 {
    let symbol = cell.symbol();
    if symbol.len() == 1 { 1 } else { (symbol.width() as u16).max(1) }
}

fn looks_same(a: &Cell, b: &Cell) -> bool {
    is_equal(a, b) || (a.bg == b.bg && is_blank(a) && is_blank(b))
}

/// All that is ever painted of a cell; nearly all are one byte, and a call for each to compare them would be most of a frame's time.
fn is_equal(a: &Cell, b: &Cell) -> bool {
    let is_same_symbol = match (a.symbol().as_bytes(), b.symbol().as_bytes()) {
        ([a], [b]) => a == b,
        (a, b) => a == b,
    };
    is_same_symbol && (a.fg, a.bg, a.modifier) == (b.fg, b.bg, b.modifier)
}

fn is_equal_row(before: &[Cell], now: &[Cell]) -> bool {
    before.iter().zip(now).all(|(before, now)| is_equal(before, now))
}

/// Blanks of one background from here on, as far as the last one that changed.
fn blank_run(shown: &Buffer, next: &Buffer, x: u16, y: u16) -> u16 {
    let area: Rect = next.area;
    let bg = next[(x, y)].bg;
    let mut run = 0;
    for at in x..area.right() {
        let cell = &next[(at, y)];
        if !is_blank(cell) || cell.bg != bg {
            break;
        }
        if !looks_same(&shown[(at, y)], cell) || width_of(&shown[(at, y)]) > 1 {
            run = at - x + 1;
        }
    }
    run
}

struct Writer<'a> {
    next: &'a Buffer,
    pen: Pen,
    charset: Charset,
    /// Where the terminal's cursor is, when that is sure.
    at: Option<(u16, u16)>,
    out: &'a mut String,
}

impl Writer<'_> {
    fn cell(&mut self, x: u16, y: u16) {
        self.go_to(x, y);
        let cell = &self.next[(x, y)];
        self.pen.set(cell, self.out);
        let is_sure = super::write_symbol(cell.symbol(), self.charset, self.out);
        // In the last column terminals wait with the wrap, each in its own way.
        let is_last = x + 1 >= self.next.area.right();
        self.at = (is_sure && !is_last).then_some((x + 1, y));
    }

    /// Erases a run of blanks; false when erasing would not look plain in every terminal.
    fn erase(&mut self, x: u16, y: u16, run: u16) -> bool {
        let cell = &self.next[(x, y)];
        if cell.bg != ratatui::style::Color::Reset {
            return false;
        }
        self.go_to(x, y);
        self.pen.set(cell, self.out);
        if !self.pen.erases_plainly() {
            return false;
        }
        if x + run >= self.next.area.right() {
            self.out.push_str("\x1b[K");
        } else {
            order(self.out, format_args!("\x1b[{run}X"));
        }
        true
    }

    fn go_to(&mut self, x: u16, y: u16) {
        match self.at {
            Some(here) if here == (x, y) => {}
            Some((from, row)) if row == y && from < x && self.may_write_over(from, x, y) => {
                for at in from..x {
                    self.out.push_str(self.next[(at, y)].symbol());
                }
            }
            Some((from, row)) if row == y && from < x => match x - from {
                1 => self.out.push_str("\x1b[C"),
                n => order(self.out, format_args!("\x1b[{n}C")),
            },
            _ if x == 0 => order(self.out, format_args!("\x1b[{}H", y + 1)),
            _ => order(self.out, format_args!("\x1b[{};{}H", y + 1, x + 1)),
        }
        self.at = Some((x, y));
    }

    /// Whether the unchanged cells between are short, plain and in the present style.
    fn may_write_over(&self, from: u16, to: u16, y: u16) -> bool {
        to - from <= GAP
            && (from..to).all(|at| {
                let cell = &self.next[(at, y)];
                cell.symbol().len() == 1 && self.pen.fits(cell)
            })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ratatui::style::{Color, Modifier, Style};

    use super::super::Screen;
    use super::*;

    const AREA: Rect = Rect { x: 0, y: 0, width: 24, height: 5 };

    /// Pieces of text to paint: place, words, style.
    fn pieces() -> impl Strategy<Value = Vec<(u16, u16, String, Style)>> {
        let words =
            prop_oneof!["[a-c]{1,6}", " {1,20}", "[a-b ]{3,12}", Just("漢字".to_owned()), Just("─│●".to_owned())];
        let color =
            prop_oneof![Just(Color::Reset), Just(Color::Red), Just(Color::Indexed(73)), Just(Color::Rgb(1, 2, 3))];
        let modifier = prop_oneof![
            4 => Just(Modifier::empty()),
            1 => Just(Modifier::BOLD),
            1 => Just(Modifier::ITALIC),
            1 => Just(Modifier::BOLD | Modifier::UNDERLINED),
            1 => Just(Modifier::REVERSED),
        ];
        let style = (color.clone(), prop_oneof![3 => Just(Color::Reset), 1 => color], modifier)
            .prop_map(|(fg, bg, modifier)| Style::new().fg(fg).bg(bg).add_modifier(modifier));
        prop::collection::vec((0..AREA.width, 0..AREA.height, words, style), 0..12)
    }

    /// What a cell of the emulator looks like, the same way as [`expected`].
    fn seen(terminal: &vt100::Screen, x: u16, y: u16) -> String {
        let cell = terminal.cell(y, x).unwrap();
        let text = if cell.has_contents() { cell.contents() } else { " " };
        if text == " " && !cell.underline() && !cell.inverse() {
            return format!("blank {:?}", cell.bgcolor());
        }
        let (fg, bg) = (cell.fgcolor(), cell.bgcolor());
        format!("{text} {fg:?} {bg:?} {} {} {} {}", cell.bold(), cell.italic(), cell.underline(), cell.inverse())
    }

    fn color(color: Color) -> vt100::Color {
        match color {
            Color::Red => vt100::Color::Idx(1),
            Color::Indexed(n) => vt100::Color::Idx(n),
            Color::Rgb(r, g, b) => vt100::Color::Rgb(r, g, b),
            _ => vt100::Color::Default,
        }
    }

    fn expected(cell: &Cell) -> String {
        let (fg, bg) = (color(cell.fg), color(cell.bg));
        if is_blank(cell) {
            return format!("blank {bg:?}");
        }
        let has = |modifier| cell.modifier.contains(modifier);
        let (bold, italic) = (has(Modifier::BOLD), has(Modifier::ITALIC));
        let (line, reverse) = (has(Modifier::UNDERLINED), has(Modifier::REVERSED));
        format!("{} {fg:?} {bg:?} {bold} {italic} {line} {reverse}", cell.symbol())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_terminal_shows_what_was_painted(frames in prop::collection::vec(pieces(), 1..6)) {
            let mut screen = Screen::new(Depth::True, Charset::Unicode);
            let size = |n: u16| std::num::NonZeroU16::new(n).unwrap();
            let mut terminal = vt100::Parser::new(size(AREA.height), size(AREA.width), 0);
            for pieces in frames {
                let mut painted = Buffer::empty(AREA);
                let bytes = screen.frame(AREA, |buf| {
                    for (x, y, words, style) in &pieces {
                        buf.set_stringn(*x, *y, words, usize::from(AREA.width - x), *style);
                    }
                    painted = buf.clone();
                    None
                });
                terminal.process(bytes);
                for y in 0..AREA.height {
                    let mut x = 0;
                    while x < AREA.width {
                        let cell = &painted[(x, y)];
                        prop_assert_eq!(seen(terminal.screen(), x, y), expected(cell), "at {},{}: {:?}", x, y, bytes_of(&screen));
                        x += width_of(cell);
                    }
                }
            }
        }
    }

    fn bytes_of(screen: &Screen) -> &str {
        &screen.out
    }

    #[test]
    fn blanks_are_erased_and_short_gaps_written_over() {
        let check = |before: &str, after: &str, expected: &str| {
            let mut screen = Screen::new(Depth::True, Charset::Unicode);
            let paint = |buf: &mut Buffer, text: &str| buf.set_string(0, 0, text, Style::new());
            screen.frame(AREA, |buf| {
                paint(buf, before);
                None
            });
            let bytes = screen.frame(AREA, |buf| {
                paint(buf, after);
                None
            });
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            assert_eq!(text.trim_start_matches("\x1b[?2026h").trim_end_matches("\x1b[?2026l"), expected);
        };
        check("a long line of text here", "a", "\x1b[1;3H\x1b[K");
        check("[a long line in a box__]", "[                      ]", "\x1b[1;2H\x1b[22X");
        check("abcdefg", "Abc efG", "\x1b[1HAbc efG");
        check("a.......b", "A.......B", "\x1b[1HA\x1b[7CB");
    }
}
