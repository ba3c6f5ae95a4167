//! What stands in the detail pane when nothing is selected: for a newcomer, what to press; otherwise, that there is nothing.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::super::action::Action;
use super::super::listing::Loading;
use super::super::model::{Link, Model};
use super::super::text;
use super::super::widgets::put_line;

pub(super) fn paint(model: &Model, area: Rect, buf: &mut Buffer) {
    let mut lines = lines(model, usize::from(area.width.saturating_sub(4)));
    // Where there is little room the air goes first.
    if lines.len() > usize::from(area.height) {
        lines.retain(|line| line.width() > 0);
    }
    let top = area.y + (area.height.saturating_sub(lines.len() as u16)) / 3;
    for (y, line) in (top..area.bottom()).zip(&lines) {
        put_line(buf, area.x + 2, y, area.width.saturating_sub(3), line);
    }
}

fn lines(model: &Model, width: usize) -> Vec<Line<'static>> {
    let theme = &model.theme;
    let is_known = model.containers.loading == Loading::Ready && model.images.loading == Loading::Ready;
    if let Link::Down { error, .. } = &model.link {
        let mut lines: Vec<Line<'static>> = text::wrap(&text::sanitise(&error.to_string()), width)
            .into_iter()
            .map(|line| Line::styled(line, theme.error))
            .collect();
        if let Some(hint) = &error.hint {
            lines
                .extend(text::wrap(&text::sanitise(hint), width).into_iter().map(|line| Line::styled(line, theme.dim)));
        }
        return lines;
    }
    if !is_known || model.containers.n_total() > 0 {
        return Vec::new();
    }
    let key = |action: Action, what: &str| {
        let shown = model.keymap.shown_key(&model.scopes(), action).map(|key| key.to_string()).unwrap_or_default();
        Line::from(vec![
            Span::styled(format!("  {}  ", text::pad_left(&shown, 3)), theme.key),
            Span::styled(what.to_owned(), theme.text),
        ])
    };
    let mut lines = vec![Line::styled("Nothing here yet.", theme.title_focus), Line::default()];
    if model.images.n_total() == 0 {
        lines.extend([
            Line::styled("A container needs an image. Bring one in:", theme.text),
            Line::default(),
            key(Action::AddImage, "add an image:"),
            Line::styled("         load an archive of docker save, or an OCI layout", theme.dim),
            Line::styled("         import a root file system from a tar", theme.dim),
            Line::styled("         or make one from this host's own programs", theme.dim),
            Line::default(),
            Line::styled("then", theme.dim),
            key(Action::New, "run it"),
        ]);
    } else {
        let n = model.images.n_total();
        let what = if n == 1 { "1 image is".to_owned() } else { format!("{n} images are") };
        lines.extend([
            Line::styled(format!("{what} here, no container."), theme.text),
            Line::default(),
            key(Action::New, "run an image"),
        ]);
    }
    lines.extend([
        Line::default(),
        key(Action::Help, "every key"),
        key(Action::CommandLine, "every command"),
        key(Action::Quit, "leave; containers go on"),
    ]);
    lines
}
