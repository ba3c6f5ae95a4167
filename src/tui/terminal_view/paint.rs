//! The interpreted screen into cells. Called once a frame; costs what the area costs.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::{State, TerminalModel};
use crate::tui::text;
use crate::tui::theme::Theme;

impl TerminalModel {
    /// Paints the screen into `area`, from its upper left corner. Returns where the cursor stands, if it is to be seen.
    pub fn view(&self, area: Rect, buf: &mut Buffer, theme: &Theme) -> Option<Position> {
        let area = area.intersection(*buf.area());
        let screen = self.parser.screen();
        let (rows, cols) = screen.size();
        let (height, width) = (rows.get().min(area.height), cols.get().min(area.width));
        for row in 0..height {
            let mut col = 0;
            while col < width {
                let Some(cell) = screen.cell(row, col) else { break };
                col += put(cell, area.x + col, area.y + row, width - col, buf, theme);
            }
        }
        let (row, col) = screen.cursor_position();
        let row = usize::from(row) + screen.scrollback();
        let is_seen = self.is_running() && !screen.hide_cursor() && row < usize::from(area.height) && col < area.width;
        is_seen.then(|| Position { x: area.x + col, y: area.y + row as u16 })
    }

    /// What the frame says: how to leave, how far up the view is, how it ended.
    pub fn hint(&self, theme: &Theme) -> Line<'static> {
        let above = self.parser.screen().scrollback();
        let mut spans = Vec::new();
        if above > 0 {
            spans.push(Span::styled(format!(" {above} lines up · "), theme.warn));
        }
        match &self.state {
            State::Running if self.detach_keys.is_empty() => {}
            State::Running => {
                spans.push(Span::styled(format!(" {}", self.detach_keys.replace(',', " ")), theme.key));
                spans.push(Span::styled(" detach ", theme.key_label));
            }
            State::Ended(code) => {
                let (text, style) = match code {
                    Some(0) => (" ended with exit code 0, ".to_owned(), theme.stopped),
                    Some(code) => (format!(" ended with exit code {code}, "), theme.error),
                    None => (" ended, ".to_owned(), theme.stopped),
                };
                spans.push(Span::styled(text, style));
                spans.push(Span::styled("Enter", theme.key));
                spans.push(Span::styled(" closes ", theme.key_label));
            }
            State::Lost(reason) => {
                spans.push(Span::styled(format!(" connection lost: {reason}, "), theme.error));
                spans.push(Span::styled("Enter", theme.key));
                spans.push(Span::styled(" closes ", theme.key_label));
            }
        }
        Line::from(spans)
    }
}

/// Writes one cell; returns the columns it takes (1 or 2).
fn put(cell: &vt100::Cell, x: u16, y: u16, room: u16, buf: &mut Buffer, theme: &Theme) -> u16 {
    let style = style_of(cell, theme);
    let target = &mut buf[(x, y)];
    let contents = cell.contents();
    let is_wide = cell.is_wide();
    if !cell.has_contents() || cell.is_wide_continuation() || (is_wide && room < 2) {
        target.set_char(' ').set_style(style);
        return 1;
    }
    if let [byte @ 0x20..0x7f] = contents.as_bytes() {
        target.set_char(char::from(*byte)).set_style(style);
        return 1;
    }
    let clean: String = contents.chars().filter(|ch| !is_joiner(*ch)).map(visible).collect();
    let cells = if is_wide { 2 } else { 1 };
    // Where two tables of widths disagree the row must not shift.
    if (1..=usize::from(cells)).contains(&text::width(&clean)) {
        target.set_symbol(&clean);
    } else {
        target.set_char('\u{fffd}');
    }
    target.set_style(style);
    if is_wide {
        buf[(x + 1, y)].reset();
        buf[(x + 1, y)].set_style(style);
    }
    cells
}

fn visible(ch: char) -> char {
    if text::is_unsafe(ch) { '\u{fffd}' } else { ch }
}

fn is_joiner(ch: char) -> bool {
    matches!(ch, '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}')
}

fn style_of(cell: &vt100::Cell, theme: &Theme) -> Style {
    let mut style = theme.text;
    if let Some(color) = color_of(cell.fgcolor()) {
        style = style.fg(color);
    }
    if let Some(color) = color_of(cell.bgcolor()) {
        style = style.bg(color);
    }
    for (is_on, modifier) in [
        (cell.bold(), Modifier::BOLD),
        (cell.dim(), Modifier::DIM),
        (cell.italic(), Modifier::ITALIC),
        (cell.underline(), Modifier::UNDERLINED),
        (cell.inverse(), Modifier::REVERSED),
    ] {
        if is_on {
            style = style.add_modifier(modifier);
        }
    }
    style
}

fn color_of(color: vt100::Color) -> Option<Color> {
    match color {
        vt100::Color::Default => None,
        vt100::Color::Idx(idx) => Some(Color::Indexed(idx)),
        vt100::Color::Rgb(red, green, blue) => Some(Color::Rgb(red, green, blue)),
    }
}
