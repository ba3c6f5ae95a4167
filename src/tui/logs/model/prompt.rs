//! Text being typed into the view: a search, JSON fields, a time. Part of the model.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::super::command::LogsCommand;
use super::super::store::Seq;
use super::super::times;
use super::LogsModel;
use super::scan::{Jump, Toward, What};
use crate::tui::edit::{Edited, LineEdit};

/// Searches remembered.
const HISTORY: usize = 50;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum PromptKind {
    Search,
    Fields,
    Time,
}

impl PromptKind {
    pub(in super::super) fn label(self) -> &'static str {
        match self {
            Self::Search => "/",
            Self::Fields => "fields: ",
            Self::Time => "go to time: ",
        }
    }

    pub(in super::super) fn hint(self) -> &'static str {
        match self {
            Self::Search => "text, !not, ~fuzzy, re:expression",
            Self::Fields => "level msg user.id; empty shows all",
            Self::Time => "14:02, 2026-11-21 14:02:09, -5m",
        }
    }
}

/// An open prompt, and where the reader was when it opened.
#[derive(Debug)]
pub(in super::super) struct Prompt {
    pub(in super::super) kind: PromptKind,
    pub(in super::super) edit: LineEdit,
    origin: Seq,
    was_following: bool,
    was_searching: String,
    /// How far back in the remembered searches.
    recalled: usize,
}

impl LogsModel {
    pub(super) fn open_prompt(&self, kind: PromptKind) -> Prompt {
        let text = if kind == PromptKind::Fields { self.fields.join(" ") } else { String::new() };
        Prompt {
            kind,
            edit: LineEdit::new(text),
            origin: self.current(),
            was_following: self.follow,
            was_searching: self.query.pattern.as_ref().map_or(String::new(), |pattern| pattern.source().to_owned()),
            recalled: 0,
        }
    }

    /// Whether keys are text now: then they belong to [`LogsModel::input`], not to the key map.
    pub fn wants_text(&self) -> bool {
        self.prompt.is_some()
    }

    /// A key while a prompt is open. `now_ns` is the time of day, for times typed relative to it.
    pub fn input(&mut self, key: KeyEvent, now_ns: i64) -> Vec<LogsCommand> {
        let Some(mut prompt) = self.prompt.take() else { return Vec::new() };
        self.touch();
        let is_cancel = key.code == KeyCode::Esc
            || (key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL))
            || (key.code == KeyCode::Backspace && prompt.edit.text().is_empty());
        if is_cancel {
            self.cancel(&prompt);
            return Vec::new();
        }
        match key.code {
            KeyCode::Enter => return self.submit(&prompt, now_ns),
            KeyCode::Up | KeyCode::Down if prompt.kind == PromptKind::Search => {
                self.recall(&mut prompt, key.code == KeyCode::Up);
            }
            _ => {
                if prompt.edit.key(key) == Edited::Changed && prompt.kind == PromptKind::Search {
                    self.search_from(&prompt);
                }
            }
        }
        self.prompt = Some(prompt);
        Vec::new()
    }

    /// Text pasted while a prompt is open.
    pub fn paste(&mut self, text: &str) {
        let Some(mut prompt) = self.prompt.take() else { return };
        self.touch();
        prompt.edit.insert(text.lines().next().unwrap_or_default());
        if prompt.kind == PromptKind::Search {
            self.search_from(&prompt);
        }
        self.prompt = Some(prompt);
    }

    fn recall(&mut self, prompt: &mut Prompt, is_older: bool) {
        let n = self.searches.len();
        prompt.recalled = if is_older { (prompt.recalled + 1).min(n) } else { prompt.recalled.saturating_sub(1) };
        let text = n.checked_sub(prompt.recalled).and_then(|at| self.searches.get(at)).cloned().unwrap_or_default();
        prompt.edit.set(text);
        self.search_from(prompt);
    }

    /// Searches for what is typed so far: the nearest match from where the reader was.
    fn search_from(&mut self, prompt: &Prompt) {
        self.set_search(prompt.edit.text());
        self.notice = None;
        self.scan.jump = None;
        self.return_to(prompt);
        if self.query.pattern.is_some() {
            let toward = if prompt.was_following { Toward::Older } else { Toward::Newer };
            self.scan.jump = Some(Jump { toward, what: What::Match, from: prompt.origin, wrapped: false });
            self.try_jump();
        }
    }

    fn return_to(&mut self, prompt: &Prompt) {
        let range = self.store.range();
        self.follow = prompt.was_following;
        self.cursor = prompt.origin.clamp(range.start, range.end.saturating_sub(1).max(range.start));
    }

    fn cancel(&mut self, prompt: &Prompt) {
        if prompt.kind == PromptKind::Search {
            self.set_search(&prompt.was_searching);
            self.scan.jump = None;
            self.return_to(prompt);
        }
    }

    fn submit(&mut self, prompt: &Prompt, now_ns: i64) -> Vec<LogsCommand> {
        let text = prompt.edit.text();
        match prompt.kind {
            PromptKind::Search => {
                self.remember(text);
                self.notice = self.query.pattern.as_ref().and_then(|pattern| pattern.complaint.clone());
                if let Some(reason) = &mut self.notice {
                    *reason = format!("searched as plain text: {reason}");
                }
                if self.query.only_matches {
                    self.screen.borrow_mut().center = true;
                }
                Vec::new()
            }
            PromptKind::Fields => {
                self.fields = text.split([' ', ',']).filter(|field| !field.is_empty()).map(str::to_owned).collect();
                if self.json == super::JsonMode::Raw && !self.fields.is_empty() {
                    self.json = super::JsonMode::Compact;
                }
                self.relayout();
                Vec::new()
            }
            PromptKind::Time => match times::parse(text, now_ns, &self.options.zone) {
                Some(time_ns) => self.go_to_time(time_ns),
                None => {
                    self.notice = Some(format!("not a time: {text}"));
                    Vec::new()
                }
            },
        }
    }

    fn remember(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.searches.retain(|known| known != text);
        if self.searches.len() >= HISTORY {
            self.searches.remove(0);
        }
        self.searches.push(text.to_owned());
    }
}
