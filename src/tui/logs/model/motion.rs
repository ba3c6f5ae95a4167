//! Moving about in the lines. Part of the model.

use super::super::action::LogsAction;
use super::super::command::LogsCommand;
use super::super::store::Seq;
use super::{Layout, LogsModel};

impl LogsModel {
    pub(super) fn apply_motion(&mut self, action: LogsAction, count: Option<u32>) -> Vec<LogsCommand> {
        let n = count.unwrap_or(1).max(1) as usize;
        let rows = usize::from(self.screen.borrow().text_height).max(2);
        match action {
            LogsAction::Down => self.step(Way::Down, n),
            LogsAction::Up => self.step(Way::Up, n),
            LogsAction::HalfPageDown => self.scroll(Way::Down, n * (rows / 2)),
            LogsAction::HalfPageUp => self.scroll(Way::Up, n * (rows / 2)),
            LogsAction::PageDown => self.scroll(Way::Down, n * (rows - 1)),
            LogsAction::PageUp => self.scroll(Way::Up, n * (rows - 1)),
            LogsAction::Top => return self.go_to_top(count),
            LogsAction::NextMark => self.go_to_next_mark(),
            LogsAction::Left => self.sideways = self.sideways.saturating_sub(n * self.side_step()),
            LogsAction::Right => self.sideways = self.sideways.saturating_add(n * self.side_step()).min(1 << 31),
            LogsAction::LineStart => self.sideways = 0,
            _ => {}
        }
        self.more_if_near_an_end()
    }

    fn side_step(&self) -> usize {
        usize::from(self.screen.borrow().text_width / 4).max(1)
    }

    /// Asks for lines before the reader gets to the end of those held.
    fn more_if_near_an_end(&mut self) -> Vec<LogsCommand> {
        if self.follow {
            return Vec::new();
        }
        let margin = 3 * u64::from(self.screen.borrow().text_height).max(24);
        let range = self.store.range();
        if self.detached && self.current() + margin > range.end {
            return self.reattach();
        }
        if self.current() > range.start + margin { Vec::new() } else { self.fetch_older() }
    }

    /// Cursor by lines; inside a line taller than the screen, by rows.
    fn step(&mut self, way: Way, n: usize) {
        if way == Way::Down && self.follow {
            return;
        }
        self.freeze_if_following();
        for _ in 0..n.min(100_000) {
            if self.scroll_inside(way) {
                continue;
            }
            let next = match way {
                Way::Down => self.next_visible(self.cursor + 1),
                Way::Up => self.cursor.checked_sub(1).and_then(|before| self.previous_visible(before)),
            };
            let Some(next) = next else { return };
            self.cursor = next;
        }
    }

    fn freeze_if_following(&mut self) {
        if self.follow {
            self.freeze();
        }
    }

    /// Scrolls by one row when the cursor's line goes on beyond the screen that way.
    fn scroll_inside(&self, way: Way) -> bool {
        let layout = Layout::of(self);
        let rows = layout.rows(self.cursor);
        let mut screen = self.screen.borrow_mut();
        let height = usize::from(screen.text_height);
        if rows <= height || screen.top != self.cursor {
            return false;
        }
        match way {
            Way::Down if screen.top_row + height < rows => screen.top_row += 1,
            Way::Up if screen.top_row > 0 => screen.top_row -= 1,
            _ => return false,
        }
        true
    }

    /// The view by rows, the cursor along with it.
    fn scroll(&mut self, way: Way, n_rows: usize) {
        if way == Way::Down && self.follow {
            return;
        }
        self.freeze_if_following();
        let layout = Layout::of(self);
        let (top, top_row) = {
            let screen = self.screen.borrow();
            (screen.top, screen.top_row)
        };
        let (new_top, cursor) = match way {
            Way::Down => (layout.down(top, top_row, n_rows), layout.down(self.cursor, 0, n_rows)),
            Way::Up => (layout.up(top, top_row, n_rows), layout.up(self.cursor, 0, n_rows)),
        };
        let mut cursor = cursor.0;
        if cursor == self.cursor {
            let end = match way {
                Way::Down => self.next_visible(cursor + 1),
                Way::Up => cursor.checked_sub(1).and_then(|before| self.previous_visible(before)),
            };
            let tall = layout.rows(cursor) > usize::from(self.screen.borrow().text_height);
            cursor = if tall { cursor } else { end.unwrap_or(cursor) };
        }
        self.cursor = cursor;
        let mut screen = self.screen.borrow_mut();
        (screen.top, screen.top_row) = new_top;
    }

    pub(super) fn go_to(&mut self, seq: Seq) {
        self.freeze_if_following();
        let range = self.store.range();
        let seq = seq.clamp(range.start, range.end.saturating_sub(1).max(range.start));
        self.cursor = self.next_visible(seq).or_else(|| self.previous_visible(seq)).unwrap_or(seq);
        self.screen.borrow_mut().center = true;
    }

    fn go_to_top(&mut self, percent: Option<u32>) -> Vec<LogsCommand> {
        let range = self.store.range();
        let skip = (range.end - range.start) as u128 * u128::from(percent.unwrap_or(0).min(100)) / 100;
        self.go_to(range.start + skip as u64);
        self.more_if_near_an_end()
    }

    fn go_to_next_mark(&mut self) {
        let after = self.marks.range(self.current() + 1..).next();
        let Some(mark) = after.or_else(|| self.marks.first()).copied() else {
            self.notice = Some("no bookmark yet".to_owned());
            return;
        };
        self.go_to(mark);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Down,
    Up,
}
