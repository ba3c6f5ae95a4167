//! The terminal's present style, so that only what differs is written, in the shorter of two ways. Part of `screen`.

use std::fmt::Write as _;

use ratatui::buffer::Cell;
use ratatui::style::{Color, Modifier};

use super::{Depth, order};

/// Modifiers that show where there is no character.
const SEEN_ON_BLANKS: Modifier = Modifier::UNDERLINED.union(Modifier::REVERSED).union(Modifier::CROSSED_OUT);

/// Whether a cell shows nothing but its background.
pub(super) fn is_blank(cell: &Cell) -> bool {
    cell.symbol() == " " && !cell.modifier.intersects(SEEN_ON_BLANKS)
}

/// The terminal's style as far as we have set it; it begins and ends plain.
pub(super) struct Pen {
    depth: Depth,
    fg: Color,
    bg: Color,
    modifier: Modifier,
}

impl Pen {
    pub(super) fn new(depth: Depth) -> Self {
        Self { depth, fg: Color::Reset, bg: Color::Reset, modifier: Modifier::empty() }
    }

    /// Whether this cell would look right without another order.
    pub(super) fn fits(&self, cell: &Cell) -> bool {
        let bg = reduce(cell.bg, self.depth);
        if is_blank(cell) {
            return bg == self.bg && !self.modifier.intersects(SEEN_ON_BLANKS);
        }
        (reduce(cell.fg, self.depth), bg, cell.modifier) == (self.fg, self.bg, self.modifier)
    }

    /// Whether what the terminal erases now looks like a plain blank, whatever the terminal fills erased cells with.
    pub(super) fn erases_plainly(&self) -> bool {
        self.bg == Color::Reset && !self.modifier.intersects(SEEN_ON_BLANKS)
    }

    pub(super) fn set(&mut self, cell: &Cell, out: &mut String) {
        if self.fits(cell) {
            return;
        }
        let (fg, bg) = (reduce(cell.fg, self.depth), reduce(cell.bg, self.depth));
        // The text colour of a blank is nobody's business: the next character says its own.
        let (fg, modifier) =
            if is_blank(cell) { (self.fg, self.modifier - SEEN_ON_BLANKS) } else { (fg, cell.modifier) };
        let mut changes = String::new();
        self.push_changes(fg, bg, modifier, &mut changes);
        let mut anew = String::from("0;");
        Self::new(self.depth).push_changes(fg, bg, modifier, &mut anew);
        (self.fg, self.bg, self.modifier) = (fg, bg, modifier);
        let mut codes = if anew.len() < changes.len() { anew } else { changes };
        codes.pop();
        order(out, format_args!("\x1b[{}m", if codes == "0" { "" } else { &codes }));
    }

    /// The codes, each with its semicolon, from the present style to another.
    fn push_changes(&self, fg: Color, bg: Color, modifier: Modifier, codes: &mut String) {
        let mut present = self.modifier;
        for (bits, code) in OFF {
            if (present - modifier).intersects(*bits) {
                codes.push_str(code);
                present -= *bits;
            }
        }
        for (bit, code) in ON {
            if (modifier - present).contains(*bit) {
                codes.push_str(code);
            }
        }
        if fg != self.fg {
            push_color(fg, 30, codes);
        }
        if bg != self.bg {
            push_color(bg, 40, codes);
        }
    }

    pub(super) fn lift(&self, out: &mut String) {
        if (self.fg, self.bg, self.modifier) != (Color::Reset, Color::Reset, Modifier::empty()) {
            out.push_str("\x1b[m");
        }
    }
}

const ON: &[(Modifier, &str)] = &[
    (Modifier::BOLD, "1;"),
    (Modifier::DIM, "2;"),
    (Modifier::ITALIC, "3;"),
    (Modifier::UNDERLINED, "4;"),
    (Modifier::REVERSED, "7;"),
    (Modifier::CROSSED_OUT, "9;"),
];

/// One code takes bold and dim away together.
const OFF: &[(Modifier, &str)] = &[
    (Modifier::BOLD.union(Modifier::DIM), "22;"),
    (Modifier::ITALIC, "23;"),
    (Modifier::UNDERLINED, "24;"),
    (Modifier::REVERSED, "27;"),
    (Modifier::CROSSED_OUT, "29;"),
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

/// The cube's nearest, channel by channel, or the grey nearest to the mean, whichever is nearer.
fn nearest_256(r: u8, g: u8, b: u8) -> u8 {
    let level = |channel: u8| (0_u8..6).min_by_key(|at| CUBE[usize::from(*at)].abs_diff(channel)).unwrap_or(0);
    let cube = 16 + 36 * level(r) + 6 * level(g) + level(b);
    let mean = (u16::from(r) + u16::from(g) + u16::from(b)) / 3;
    let below = 232 + (mean.saturating_sub(8) / 10).min(23) as u8;
    let all = [cube, below, below.saturating_add(1)];
    all.into_iter().min_by_key(|n| distance(rgb_of_256(*n), (r, g, b))).unwrap_or(cube)
}

fn nearest_16(r: u8, g: u8, b: u8) -> u8 {
    (0..16).min_by_key(|n| distance(ANSI16[usize::from(*n)], (r, g, b))).unwrap_or(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_of_256_is_the_nearest_of_all() {
        let steps = || (0..=255_u8).step_by(5).chain([8, 18, 95, 118, 128, 238, 254]);
        for (r, g) in steps().flat_map(|r| steps().map(move |g| (r, g))) {
            for b in steps() {
                let of_all = (16..=255).min_by_key(|n| distance(rgb_of_256(*n), (r, g, b)));
                assert_eq!(Some(nearest_256(r, g, b)), of_all, "{r} {g} {b}");
            }
        }
    }
}
