//! One line in a popup over the view: where it came from, then all of it, JSON laid out, wrapped.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::{Block, BorderType, Clear, Widget};

use super::super::display::JsonMode;
use super::super::model::{Popup, text_rows};
use super::super::times::TimeMode;
use super::line::find_places;
use super::*;
use crate::engine::StreamKind;

impl LogsModel {
    pub(super) fn paint_popup(&self, area: Rect, buf: &mut Buffer, theme: &Theme) {
        let Some(popup) = &self.popup else { return };
        self.store.with_line(popup.seq, |line| self.paint_drawer(line, popup, area, buf, theme));
    }

    /// A drawer as high as the line needs, over the half of the view where the line itself is not.
    fn paint_drawer(&self, line: LineRef<'_>, popup: &Popup, area: Rect, buf: &mut Buffer, theme: &Theme) {
        let shown = whole(line);
        let n_rows = text_rows(&shown.text, usize::from(area.width.saturating_sub(2)).max(1), true, 0);
        let height = u16::try_from(n_rows + 4).unwrap_or(u16::MAX).min(area.height);
        let (top, is_small) = (self.screen.borrow().top, area.height < 8);
        let row = Layout::of(self).distance((top, 0), (popup.seq, 0), area.height.into()).unwrap_or(0);
        let is_below = row < usize::from(area.height / 2);
        let y = if is_below { area.bottom() - height } else { area.y };
        let frame = if is_small { area } else { Rect { y, height, ..area } };
        Clear.render(frame, buf);
        buf.set_style(frame, theme.dialog);
        let block = Block::bordered()
            .border_type(BorderType::Rounded)
            .border_style(theme.dialog_border)
            .title(ratatui::text::Span::styled(" line ", theme.dialog_title))
            .title_bottom(ratatui::text::Span::styled(" c copy  Esc close ", theme.dim));
        let inner = block.inner(frame);
        block.render(frame, buf);
        if !inner.is_empty() {
            self.paint_whole(line, &shown, popup.scroll, inner, buf, theme);
        }
    }

    fn paint_whole(
        &self,
        line: LineRef<'_>,
        shown: &Display<'_>,
        scroll: usize,
        area: Rect,
        buf: &mut Buffer,
        theme: &Theme,
    ) {
        let mut rest = area;
        if rest.height >= 4 {
            let row = take_top(&mut rest);
            let time = times::column(TimeMode::Full, line.meta.time_ns, None, &self.options.zone);
            let stream = if line.meta.stream() == StreamKind::Stdout { "stdout" } else { "stderr" };
            let label = self.sources.get(usize::from(line.meta.source.0)).map_or("", |state| &state.source.label);
            let x = put(buf, row, 0, &format!("{time}  {stream}  {}", text::sanitise(label)), theme.dim);
            put(buf, row, x + 2, &crate::tui::units::bytes(line.bytes.len() as u64), theme.faint);
            take_top(&mut rest);
        }
        let (mut plain, mut places) = (Vec::new(), Vec::new());
        find_places(self.query.pattern.as_ref(), &shown.text, &mut plain, &mut places);
        let mut rows = Rows::new(rest, theme, shown, &places, theme.search_current);
        rows.skip = scroll;
        rows.paint(buf);
        let n_rows = text_rows(&shown.text, rest.width.max(1).into(), true, 0);
        self.screen.borrow_mut().popup_rows = (n_rows + 1).saturating_sub(rest.height.into()).max(1);
    }
}

/// All of a line: what carriage returns overwrote is shown here as well.
fn whole(line: LineRef<'_>) -> Display<'_> {
    let laid = display::display(line.bytes, JsonMode::Pretty, &[], line.meta.flags & ESCAPED != 0);
    if laid.overwritten { Display { text: line.bytes.into(), spans: Vec::new(), overwritten: false } } else { laid }
}
