//! Rows of a list with what a person did to them: filter, order, selection, marks. Called by `update` (changes) and pages (reading).
//!
//! Selection and marks are ids, never row numbers: rows come, go and change places under them. The visible order is computed when data,
//! filter or order change, not when a key moves the cursor, so a key costs the rows on screen and no more.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use crate::engine::EngineError;

use super::filter::{Candidate, Filter};

/// A row: something with an id that can be filtered.
pub trait Row: Candidate {
    fn id(&self) -> &str;
}

/// How far the data of a list has come.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Loading {
    /// Nothing yet: the first answer is under way.
    #[default]
    First,
    Ready,
    /// The last try failed; rows, if any, are those of the last good answer.
    Failed(EngineError),
}

/// A list and its state.
#[derive(Clone, Debug)]
pub struct Listing<T> {
    rows: Vec<T>,
    /// Indices into `rows`, filtered and sorted.
    order: Vec<usize>,
    selected: Option<String>,
    /// Selected as soon as it shows up, unless the cursor is moved before.
    expected: Option<String>,
    /// Position of `selected` in `order`, or where the cursor falls when its row has gone.
    cursor: usize,
    /// First position on screen; clamped by [`Listing::scroll_into`].
    offset: usize,
    marks: BTreeSet<String>,
    /// Where a range of marks began.
    anchor: Option<String>,
    filter: Filter,
    pub loading: Loading,
}

impl<T> Default for Listing<T> {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            order: Vec::new(),
            selected: None,
            expected: None,
            cursor: 0,
            offset: 0,
            marks: BTreeSet::new(),
            anchor: None,
            filter: Filter::default(),
            loading: Loading::First,
        }
    }
}

impl<T: Row> Listing<T> {
    /// Replaces all rows. The selection stays on its id; when that has gone, on the row that took its place.
    pub fn set_rows(&mut self, rows: Vec<T>, compare: impl Fn(&T, &T) -> Ordering) {
        self.rows = rows;
        self.loading = Loading::Ready;
        if !self.marks.is_empty() {
            let present: BTreeSet<&str> = self.rows.iter().map(Row::id).collect();
            self.marks.retain(|id| present.contains(id.as_str()));
        }
        self.arrange(compare);
    }

    /// Replaces one row, adds it, or (with `None`) drops it.
    pub fn set_row(&mut self, id: &str, row: Option<T>, compare: impl Fn(&T, &T) -> Ordering) {
        let at = self.rows.iter().position(|present| present.id() == id);
        match (at, row) {
            (Some(at), Some(row)) => self.rows[at] = row,
            (Some(at), None) => {
                self.rows.remove(at);
                self.marks.remove(id);
            }
            (None, Some(row)) => self.rows.push(row),
            (None, None) => return,
        }
        self.arrange(compare);
    }

    /// Changes something in every row that neither filter nor order looks at; arrange afterwards if they do.
    pub fn each(&mut self, change: impl FnMut(&mut T)) {
        self.rows.iter_mut().for_each(change);
    }

    /// Adds a row and drops the oldest when there are more than `max`.
    pub fn push(&mut self, row: T, max: usize, compare: impl Fn(&T, &T) -> Ordering) {
        if self.rows.len() >= max {
            self.rows.drain(..(max / 4).max(1).min(self.rows.len()));
        }
        self.rows.push(row);
        self.loading = Loading::Ready;
        self.arrange(compare);
    }

    pub fn set_filter(&mut self, filter: Filter, compare: impl Fn(&T, &T) -> Ordering) {
        self.filter = filter;
        self.arrange(compare);
    }

    /// Filters and sorts again.
    pub fn arrange(&mut self, compare: impl Fn(&T, &T) -> Ordering) {
        self.order = (0..self.rows.len()).filter(|at| self.filter.matches(&self.rows[*at])).collect();
        self.order.sort_by(|a, b| compare(&self.rows[*a], &self.rows[*b]));
        if self.expected.as_deref().is_some_and(|id| self.find(id).is_some()) {
            let expected = self.expected.take();
            // One that the filter hides is not waited for any longer.
            self.selected = expected.filter(|id| self.position(id).is_some()).or(self.selected.take());
        }
        let found = self.selected.as_deref().and_then(|id| self.position(id));
        self.put_cursor(found.unwrap_or(self.cursor));
    }

    fn position(&self, id: &str) -> Option<usize> {
        self.order.iter().position(|at| self.rows[*at].id() == id)
    }

    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// All rows, as they came.
    pub fn all(&self) -> &[T] {
        &self.rows
    }

    pub fn find(&self, id: &str) -> Option<&T> {
        self.rows.iter().find(|row| row.id() == id)
    }

    /// Rows after filter and sort.
    pub fn n_visible(&self) -> usize {
        self.order.len()
    }

    pub fn n_total(&self) -> usize {
        self.rows.len()
    }

    pub fn visible(&self) -> impl Iterator<Item = &T> {
        self.order.iter().map(|at| &self.rows[*at])
    }

    /// At most `height` rows from the scroll offset on, with their positions.
    pub fn window(&self, height: usize) -> impl Iterator<Item = (usize, &T)> {
        let first = self.first_on_screen(height);
        self.order.iter().enumerate().skip(first).take(height).map(|(at, row)| (at, &self.rows[*row]))
    }

    /// The offset that a pane of `height` rows shows: close to the remembered one, with the cursor inside.
    pub fn first_on_screen(&self, height: usize) -> usize {
        let last_first = self.order.len().saturating_sub(height);
        let lowest = (self.cursor + 1).saturating_sub(height);
        self.offset.clamp(lowest, self.cursor.max(lowest)).min(last_first)
    }

    /// Remembers the offset for a pane of `height` rows.
    pub fn scroll_into(&mut self, height: usize) {
        self.offset = self.first_on_screen(height);
    }

    pub fn selected(&self) -> Option<&T> {
        self.order.get(self.cursor).map(|at| &self.rows[*at])
    }

    pub fn selected_id(&self) -> Option<&str> {
        self.selected().map(Row::id)
    }

    pub fn cursor(&self) -> usize {
        self.cursor
    }

    /// Moves the cursor by `delta` rows, stopping at the ends.
    pub fn step(&mut self, delta: isize) {
        self.select_at(self.cursor.saturating_add_signed(delta));
    }

    pub fn select_at(&mut self, position: usize) {
        self.expected = None;
        self.put_cursor(position);
    }

    fn put_cursor(&mut self, position: usize) {
        self.cursor = position.min(self.order.len().saturating_sub(1));
        if let Some(id) = self.selected_id().map(str::to_owned) {
            self.selected = Some(id);
        }
    }

    /// Selects a row by id; false when it is not visible.
    pub fn select_id(&mut self, id: &str) -> bool {
        let found = self.position(id);
        if let Some(position) = found {
            self.select_at(position);
        }
        found.is_some()
    }

    /// Selects that id as soon as it shows up.
    pub fn expect_id(&mut self, id: &str) {
        if !self.select_id(id) {
            self.expected = Some(id.to_owned());
        }
    }

    pub fn is_marked(&self, id: &str) -> bool {
        self.marks.contains(id)
    }

    pub fn n_marks(&self) -> usize {
        self.marks.len()
    }

    pub fn toggle_mark(&mut self) {
        let Some(id) = self.selected_id().map(str::to_owned) else { return };
        if !self.marks.remove(&id) {
            self.marks.insert(id.clone());
        }
        self.anchor = Some(id);
    }

    /// Marks from the last mark to the cursor.
    pub fn mark_range(&mut self) {
        let anchor = self.anchor.as_ref().and_then(|id| self.order.iter().position(|at| self.rows[*at].id() == id));
        let anchor = anchor.unwrap_or(self.cursor);
        let (low, high) = (anchor.min(self.cursor), anchor.max(self.cursor));
        for at in self.order.iter().take(high + 1).skip(low) {
            self.marks.insert(self.rows[*at].id().to_owned());
        }
    }

    pub fn clear_marks(&mut self) {
        self.marks.clear();
        self.anchor = None;
    }

    /// The marked rows in order of the list, else the selected one: what an action is done to.
    pub fn targets(&self) -> Vec<&T> {
        if self.marks.is_empty() {
            return self.selected().into_iter().collect();
        }
        self.rows.iter().filter(|row| self.marks.contains(row.id())).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    struct Item(&'static str);

    impl Candidate for Item {
        fn texts(&self, visit: &mut dyn FnMut(&str) -> bool) -> bool {
            visit(self.0)
        }
        fn labels(&self) -> Option<&BTreeMap<String, String>> {
            None
        }
        fn state(&self) -> &str {
            ""
        }
    }

    impl Row for Item {
        fn id(&self) -> &str {
            self.0
        }
    }

    fn by_id(a: &Item, b: &Item) -> Ordering {
        a.0.cmp(b.0)
    }

    fn list(ids: &[&'static str]) -> Listing<Item> {
        let mut list = Listing::default();
        list.set_rows(ids.iter().map(|id| Item(id)).collect(), by_id);
        list
    }

    #[test]
    fn selection_follows_its_id_not_its_row() {
        let mut list = list(&["b", "c", "d"]);
        list.step(1);
        assert_eq!(list.selected_id(), Some("c"));
        list.set_row("a", Some(Item("a")), by_id);
        assert_eq!((list.selected_id(), list.cursor()), (Some("c"), 2));
        list.set_row("c", None, by_id);
        assert_eq!(list.selected_id(), Some("d"));
        list.set_rows(Vec::new(), by_id);
        assert_eq!(list.selected_id(), None);
        list.set_rows(vec![Item("d"), Item("x")], by_id);
        assert_eq!(list.selected_id(), Some("d"));
    }

    #[test]
    fn an_expected_row_is_selected_when_it_comes_unless_the_cursor_moved() {
        let mut list = list(&["b", "c"]);
        list.expect_id("a");
        list.arrange(by_id);
        list.set_rows(vec![Item("b"), Item("c")], by_id);
        assert_eq!(list.selected_id(), Some("b"));
        list.set_row("a", Some(Item("a")), by_id);
        assert_eq!((list.selected_id(), list.cursor()), (Some("a"), 0));
        list.expect_id("d");
        list.step(1);
        list.set_row("d", Some(Item("d")), by_id);
        assert_eq!(list.selected_id(), Some("b"));
    }

    #[test]
    fn an_expected_row_that_the_filter_hides_does_not_jump_out_later() {
        let mut list = list(&["b1", "b2"]);
        list.set_filter(Filter::parse("b").unwrap(), by_id);
        list.expect_id("a");
        list.set_row("a", Some(Item("a")), by_id);
        list.set_filter(Filter::default(), by_id);
        assert_eq!(list.selected_id(), Some("b1"));
    }

    #[test]
    fn marks_survive_the_filter_and_die_with_their_row() {
        let mut list = list(&["a1", "a2", "b1"]);
        list.toggle_mark();
        list.step(2);
        list.mark_range();
        assert_eq!(list.n_marks(), 3);
        list.set_filter(Filter::parse("a").unwrap(), by_id);
        assert_eq!((list.n_visible(), list.targets().len()), (2, 3));
        list.set_rows(vec![Item("a1")], by_id);
        assert_eq!(list.targets().len(), 1);
    }

    #[test]
    fn the_window_keeps_the_cursor_inside() {
        let mut list = list(&["a", "b", "c", "d", "e"]);
        list.step(4);
        assert_eq!(list.first_on_screen(2), 3);
        list.scroll_into(2);
        list.step(-1);
        assert_eq!(list.first_on_screen(2), 3);
        list.step(-2);
        assert_eq!(list.first_on_screen(2), 1);
        assert_eq!(list.first_on_screen(9), 0);
        assert_eq!(list.window(0).count(), 0);
    }
}
