//! The detail pane: which tab, what is loaded for which subject, how far it is scrolled. Changed by `update`, painted by `pages`.

use std::time::{Instant, SystemTime};

use crate::engine::{ContainerDetail, EngineError, HistoryEntry, ImageDetail, NetworkSummary, ProcessTable, Volume};

use super::super::logs::LogsModel;
use super::inspect::Inspect;
use super::layer_tree::LayerTree;
use super::{Pane, Subject, Tab};

/// What an engine told about one thing, beyond its row.
#[derive(Clone, Debug)]
pub enum Loaded {
    Container(Box<ContainerDetail>),
    Image(Box<ImageDetail>, Vec<HistoryEntry>),
    Volume(Volume),
    Network(NetworkSummary),
}

/// State of the detail pane.
pub struct Detail {
    tabs: [Tab; 4],
    pub loaded: Option<(Subject, Box<Loaded>)>,
    pub failed: Option<(Subject, EngineError)>,
    /// The question under way.
    pub asked: Option<Subject>,
    /// What is loaded has changed since.
    pub is_stale: bool,
    /// What was shown in the last turn, and since when: slow questions wait until the cursor rests.
    pub shown: Option<(Subject, Tab)>,
    pub shown_since: Instant,
    /// The cursor moves fast: nothing is asked until it rests.
    pub is_passing: bool,
    /// The pane on screen stays as it is until the new subject is loaded, or until then at the latest: it is painted once, and whole.
    pub held_until: Option<Instant>,

    pub top: Option<(Subject, Result<ProcessTable, EngineError>)>,
    pub top_asked: Option<Instant>,
    /// The files of each layer of an image.
    pub layer_tree: Option<(Subject, Result<LayerTree, EngineError>)>,
    pub layers_asked: Option<Subject>,
    pub last_lines: Option<(Subject, Vec<String>)>,
    pub last_lines_asked: Option<Subject>,

    /// First line of the summary, the process table or the layer list on screen.
    pub scroll: usize,
    pub inspect: Inspect,
    /// What the tree was made of.
    pub inspect_of: Option<Subject>,

    pub logs: Option<LogsModel>,
    /// Ids and names of the containers whose log is followed.
    pub logs_of: Vec<String>,
    /// The log of this container goes to this time when it is opened.
    pub find_time: Option<(String, SystemTime)>,
    /// Containers of the merged view; empty when the log is the subject's own.
    pub merged: Vec<super::super::msg::Target>,
}

impl Default for Detail {
    fn default() -> Self {
        Self {
            tabs: [Tab::Summary; 4],
            loaded: None,
            failed: None,
            asked: None,
            is_stale: false,
            shown: None,
            shown_since: Instant::now(),
            is_passing: false,
            held_until: None,
            top: None,
            top_asked: None,
            layer_tree: None,
            layers_asked: None,
            last_lines: None,
            last_lines_asked: None,
            scroll: 0,
            inspect: Inspect::default(),
            inspect_of: None,
            logs: None,
            logs_of: Vec::new(),
            find_time: None,
            merged: Vec::new(),
        }
    }
}

impl Detail {
    pub fn tab_of(&self, list: Pane) -> Tab {
        self.tabs[slot(list)]
    }

    pub fn set_tab(&mut self, list: Pane, tab: Tab) {
        if self.tab_of(list) != tab {
            self.scroll = 0;
        }
        self.tabs[slot(list)] = tab;
    }

    /// What is loaded, if it is of this subject.
    pub fn loaded_for(&self, subject: &Subject) -> Option<&Loaded> {
        self.loaded.as_ref().filter(|(of, _)| of == subject).map(|(_, loaded)| &**loaded)
    }

    /// The layers of this image, if their files are known.
    pub fn layers_for(&self, subject: &Subject) -> Option<&LayerTree> {
        let (of, answer) = self.layer_tree.as_ref()?;
        answer.as_ref().ok().filter(|_| of == subject)
    }

    /// The tree that is known, to move in.
    pub fn layers_mut(&mut self) -> Option<&mut LayerTree> {
        self.layer_tree.as_mut().and_then(|(_, answer)| answer.as_mut().ok())
    }

    pub fn container_for(&self, subject: &Subject) -> Option<&ContainerDetail> {
        match self.loaded_for(subject)? {
            Loaded::Container(detail) => Some(detail),
            _ => None,
        }
    }
}

fn slot(list: Pane) -> usize {
    Pane::LISTS.iter().position(|pane| *pane == list).unwrap_or(0)
}
