//! Where each part of the screen is. Pure; called by `view` to paint and by `update` to know how many rows a page has.

use ratatui::layout::Rect;

use super::model::{Model, Pane, Zoom};

/// Below this many columns one pane is shown at a time.
pub const WIDE: u16 = 100;
/// Below this nothing useful fits.
pub const MIN_COLS: u16 = 24;
pub const MIN_ROWS: u16 = 6;

/// A pane and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaneArea {
    pub pane: Pane,
    /// With its title row; frames of a stack share their lines.
    pub outer: Rect,
    /// What the page may paint.
    pub inner: Rect,
    pub frame: Frame,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Lines all around.
    Box,
    /// A title row only: narrow screens have no cells for lines.
    Bare,
}

/// The whole screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    TooSmall,
    Areas(Areas),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Areas {
    pub header: Rect,
    /// The row of pane tabs on narrow screens.
    pub tabs: Option<Rect>,
    pub panes: Vec<PaneArea>,
    pub footer: Rect,
    /// Everything between header and footer: where layers go.
    pub body: Rect,
}

impl Layout {
    pub fn of(model: &Model) -> Self {
        let (cols, rows) = model.size;
        if cols < MIN_COLS || rows < MIN_ROWS {
            return Self::TooSmall;
        }
        let header = Rect::new(0, 0, cols, 1);
        let footer = Rect::new(0, rows - 1, cols, 1);
        let body = Rect::new(0, 1, cols, rows - 2);
        let (tabs, panes) = if cols < WIDE {
            narrow(model, body)
        } else if model.zoom == Zoom::On {
            (None, vec![boxed(model.focus, body)])
        } else {
            (None, wide(model, body))
        };
        Self::Areas(Areas { header, tabs, panes, footer, body })
    }

    /// Rows that a page of this pane has; 1 when it is not shown.
    pub fn rows_of(&self, pane: Pane) -> usize {
        match self {
            Self::TooSmall => 1,
            Self::Areas(areas) => areas.area_of(pane).map_or(1, |area| usize::from(area.inner.height)),
        }
    }
}

impl Areas {
    pub fn area_of(&self, pane: Pane) -> Option<&PaneArea> {
        self.panes.iter().find(|area| area.pane == pane)
    }
}

fn boxed(pane: Pane, outer: Rect) -> PaneArea {
    let inner = Rect::new(outer.x + 1, outer.y + 1, outer.width.saturating_sub(2), outer.height.saturating_sub(2));
    PaneArea { pane, outer, inner, frame: Frame::Box }
}

fn narrow(model: &Model, body: Rect) -> (Option<Rect>, Vec<PaneArea>) {
    let tabs = Rect { height: 1, ..body };
    let inner = Rect { y: body.y + 1, height: body.height - 1, ..body };
    (Some(tabs), vec![PaneArea { pane: model.focus, outer: inner, inner, frame: Frame::Bare }])
}

fn wide(model: &Model, body: Rect) -> Vec<PaneArea> {
    let left = (body.width * 48 / 100).clamp(46, 96);
    let stack = Rect { width: left, ..body };
    let right = Rect { x: left, width: body.width - left, ..body };
    let mut panes = stacked(model, stack);
    let right_pane = if model.focus == Pane::Events { Pane::Events } else { Pane::Detail };
    panes.push(boxed(right_pane, right));
    panes
}

/// The four lists: the one last used is tall, the others as tall as their rows, within reason.
fn stacked(model: &Model, area: Rect) -> Vec<PaneArea> {
    let n = Pane::LISTS.len() as u16;
    let room = area.height.saturating_sub(n + 1);
    let wanted = |pane: Pane| -> u16 {
        let (len, most) = match pane {
            Pane::Containers => (model.containers.n_visible() + 1, 8),
            Pane::Images => (model.images.n_visible(), 5),
            Pane::Volumes => (model.volumes.n_visible(), 4),
            _ => (model.networks.n_visible(), 3),
        };
        // The last quarter of a small screen is not given away.
        (len as u16).clamp(1, most).min(room / 6)
    };
    let others: u16 = Pane::LISTS.iter().filter(|pane| **pane != model.list).map(|pane| wanted(*pane)).sum();
    let tall = room.saturating_sub(others);
    let mut y = area.y;
    let mut panes = Vec::new();
    for pane in Pane::LISTS {
        let rows = if pane == model.list { tall } else { wanted(pane) };
        let outer = Rect { y, height: rows + 1, ..area };
        let inner = Rect::new(area.x + 1, y + 1, area.width.saturating_sub(2), rows);
        panes.push(PaneArea { pane, outer, inner, frame: Frame::Box });
        y += rows + 1;
    }
    panes
}
